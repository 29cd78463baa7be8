"""Fixtures for all tests: the real data, prepared once, a server on this machine, and a JAX with four CPU devices."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgex.console import run

# Several fake devices must be asked for before JAX starts its backend.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Commands that tests start keep what they compile here, not in the user's home.
os.environ.setdefault("XDG_CACHE_HOME", str(Path(__file__).resolve().parent.parent / ".cache"))

import jax  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; the test is skipped, with the reason, where it is absent."""
    folder = Path(os.environ.get("DGEX_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"real data not found in {folder}; set DGEX_SHARED to the folder that holds data/")
    return folder


@pytest.fixture(scope="session")
def prepared_compendium(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real compendium, 704 arrays of 21 studies, prepared with a split by study."""
    from data_prep.pipeline import Settings, prepare  # not before the lines above: it may import JAX

    source = shared / "data" / "geo" / "geo_compendium_n704x16687.gctx"
    path = tmp_path_factory.mktemp("compendium") / "prepared.h5"
    prepare(source, shared / "data" / "genes", path, Settings("study"), command="prepare")
    return path


@pytest.fixture(scope="session")
def assert_trees_close() -> Callable[..., None]:
    """Compares two trees: their structures are equal, and their leaves equal or, given tolerances, close."""

    def compare(actual: Any, expected: Any, **tolerances: Any) -> None:
        assert jax.tree.structure(actual) == jax.tree.structure(expected)
        compare_leaves = np.testing.assert_allclose if tolerances else np.testing.assert_array_equal
        for (path, leaf), wanted in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
            compare_leaves(leaf, wanted, err_msg=jax.tree_util.keystr(path), **tolerances)

    return compare


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[[Callable[[], object]], str]:
    """Runs a command that must end as bad input does, exit status 2 and one line on stderr, and gives that line."""

    def line_of(command: Callable[[], object]) -> str:
        with pytest.raises(SystemExit) as stopped:
            run(command)
        line = capsys.readouterr().err
        assert stopped.value.code == 2
        assert line.startswith("error: ") and line.count("\n") == 1 and line.endswith("\n")
        return line

    return line_of


@pytest.fixture
def serve() -> Iterator[Callable[[type[BaseHTTPRequestHandler]], str]]:
    """Starts a server that handles requests so, and gives its address; it is stopped after the test."""
    with ExitStack() as stack:

        def start(handler: type[BaseHTTPRequestHandler]) -> str:
            http = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            http.daemon_threads = True
            thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(http.shutdown)
            return f"http://127.0.0.1:{http.server_port}"

        yield start
