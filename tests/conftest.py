"""Fixtures for all tests: the real data, prepared once, a server on this machine, and a JAX with four CPU devices."""

import gzip
import os
import re
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
def published() -> Callable[..., dict[str, str]]:
    """Writes one RNA-seq experiment in the layouts of public portals, by the names of their files.

    Takes a folder, the genes (Ensembl ids, symbols), TPM and counts [genes, samples]; gives for each file its scale.
    """

    def write(
        folder: Path, ensembl: list[str], symbol: list[str], tpm: np.ndarray, counts: np.ndarray
    ) -> dict[str, str]:
        samples = [f"S-{i}" for i in range(tpm.shape[1])]
        versions = [f"{name}.{3 + i % 9}" for i, name in enumerate(ensembl)]

        def lines(columns: list[list[str]], values: np.ndarray, separator: str, form: str) -> str:
            texts = ([form % value for value in row] for row in values.tolist())
            return "".join(
                separator.join([*map(str, ids), *row]) + "\n" for *ids, row in zip(*columns, texts, strict=True)
            )

        def gct(values: np.ndarray, form: str, numbered: bool = False) -> str:
            columns = [[str(i) for i in range(len(ensembl))]] * numbered + [versions, symbol]
            header = ["id"] * numbered + ["Name", "Description", *samples]
            return (
                f"#1.2\n{len(ensembl)}\t{len(samples)}\n"
                + "\t".join(header)
                + "\n"
                + lines(columns, values, "\t", form)
            )

        def tsv(first: str, ids: list[str], values: np.ndarray, form: str = "%.4f") -> str:
            return "\t".join([first, *samples]) + "\n" + lines([ids], values, "\t", form)

        def depmap(*columns: tuple[str, list[str]]) -> str:
            genes = [f"{name} ({1001 + i})" for i, name in enumerate(symbol)]
            header = [*(name for name, _ in columns), *genes]
            return ",".join(header) + "\n" + lines([ids for _, ids in columns], np.log2(tpm + 1).T, ",", "%.10g")

        number, yes = [str(i) for i in range(len(samples))], ["Yes"] * len(samples)
        model, condition = ([f"{start}-{i:06d}" for i in range(len(samples))] for start in ("ACH", "MC"))
        contents = {
            "GTEx_Analysis_2017-06-05_v8_RNASeQCv1.1.9_gene_tpm.gct.gz": (gct(tpm, "%.6g"), "linear"),
            "gene_tpm_2017-06-05_v8_adipose_subcutaneous.gct.gz": (gct(tpm, "%.6g", numbered=True), "linear"),
            "gene_reads_2017-06-05_v8_adipose_subcutaneous.gct.gz": (gct(counts, "%d", numbered=True), "counts"),
            "gene_tpm_v10_whole_blood.gct.gz": (gct(tpm, "%.6g"), "linear"),
            "OmicsExpressionProteinCodingGenesTPMLogp1.csv": (depmap(("", samples)), "log2"),
            "OmicsExpressionTPMLogp1HumanProteinCodingGenes.csv": (
                depmap(
                    ("", number),
                    ("SequencingID", samples),
                    ("ModelID", model),
                    ("IsDefaultEntryForModel", yes),
                    ("ModelConditionID", condition),
                    ("IsDefaultEntryForMC", yes),
                ),
                "log2",
            ),
            "TcgaTargetGtex_rsem_gene_tpm.gz": (tsv("sample", versions, np.log2(tpm + 0.001)), "log2(x + 0.001)"),
            "TcgaTargetGtex_RSEM_Hugo_norm_count.gz": (tsv("sample", symbol, np.log2(counts + 1)), "log2"),
            "sra.gene_sums.SRP123456.G026.gz": (
                "##annotation=G026\n##date.generated=2020-04-29\n" + tsv("gene_id", versions, counts * 98, "%d"),
                "counts",
            ),
        }
        for name, (text, _) in contents.items():
            data = text.encode()
            (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return {name: scale for name, (_, scale) in contents.items()}

    return write


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


class Server:
    """Answers the n-th request as the n-th of ``answers`` says, and every later one as the last does.

    An answer takes the handler and the request's first byte. ``ranges`` and ``served`` are what was asked for and sent.
    """

    def __init__(self, serve):
        self.answers, self.ranges, self.served = [], [], []
        self.stop = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked = self.headers["Range"]
                server.ranges.append(asked)
                answer = server.answers[min(len(server.ranges), len(server.answers)) - 1]
                server.served.append(0)
                answer(self, int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0)
                self.close_connection = True

            def head(self, status, **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), str(value))
                self.end_headers()

            def body(self, data):
                server.served[-1] += len(data)
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.url = f"{serve(Handler)}/data.txt.gz"


@pytest.fixture
def server(serve):
    server = Server(serve)
    yield server
    server.stop.set()
