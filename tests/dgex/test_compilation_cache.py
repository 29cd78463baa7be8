"""Compiled programs in the user's cache folder: they are used, bounded, and never a reason to fail."""

import os
import subprocess
import sys
import time
from pathlib import Path

from dgex import compilation_cache
from dgex.compilation_cache import keep_compiled_programs

# Prints a result, and how many programs were taken from the cache.
PROGRAM = """
import sys
from dgex import console

def work():
    import jax
    hits = []
    jax.monitoring.register_event_listener(lambda event, **more: hits.append(event.endswith("/cache_hits")))
    print(jax.jit(lambda x: jax.numpy.tanh(x) @ x.T)(jax.numpy.ones((30, 20), "float32")).sum(), sum(hits))

console.main(work)
"""
SETTINGS = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


def run(cache: Path, program: str = PROGRAM, **environment: str) -> tuple[str, int]:
    """The program's result and its hits; nothing stands on stderr."""
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", program], env=kept | {"XDG_CACHE_HOME": str(cache)} | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    result, hits = done.stdout.split()
    assert done.stderr == ""
    return result, int(hits)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*-cache"))


def test_the_second_start_compiles_nothing_and_gives_the_same(tmp_path):
    result, hits = run(tmp_path)
    assert hits == 0 and (tmp_path / "dgex" / "compiled").stat().st_mode & 0o777 == 0o700
    assert run(tmp_path) == (result, len(entries(tmp_path)))
    # The experiments import JAX before the commands begin.
    assert run(tmp_path, f"import jax\n{PROGRAM}") == (result, len(entries(tmp_path)))
    for entry in entries(tmp_path):  # as when the disk ran full
        entry.write_bytes(entry.read_bytes()[:-9])
    assert run(tmp_path) == (result, 0)


def test_a_folder_of_the_users_own_wins(tmp_path):
    run(tmp_path / "default", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert entries(tmp_path / "own") and not (tmp_path / "default").exists()


def test_a_folder_that_cannot_be_used_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    assert run(tmp_path / "file")[1] == 0
    (tmp_path / "dgex" / "compiled").mkdir(parents=True)
    for cores in range(1, 1 + (os.cpu_count() or 1)):  # files where JAX wants its folder
        (tmp_path / "dgex" / "compiled" / f"{cores}-cores").touch()
    assert run(tmp_path)[1] == 0


def test_old_entries_go_and_then_the_oldest(tmp_path, monkeypatch):
    folder = tmp_path / "dgex" / "compiled"
    folder.mkdir(parents=True)
    for name, days in (("new", 0), ("recent", 1), ("earlier", 2), ("old", 31)):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (time.time() - 86_400 * days,) * 2)
    for name in SETTINGS:  # the second time to remember, so that the monkeypatch takes back what is set
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setattr(compilation_cache.warnings, "filterwarnings", lambda *arguments: None)
    keep_compiled_programs()
    assert {path.name for path in folder.iterdir()} == {"new", "recent", "earlier"}
    for name in SETTINGS:
        monkeypatch.delenv(name)
    monkeypatch.setattr(compilation_cache, "LARGEST", 250)
    keep_compiled_programs()
    assert {path.name for path in folder.iterdir()} == {"new", "recent"}


def test_importing_the_package_sets_nothing():
    program = "import os; before = dict(os.environ); import dgex.networks; print(os.environ == before, 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True 0\n"
