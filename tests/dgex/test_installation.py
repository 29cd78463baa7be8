"""What an installation has: the command, its start-up, data files, and one line about an extra that is not there."""

import fnmatch
import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dgex
from data_prep.__main__ import app as data_prep_app
from dgex.cli import app as dgex_app
from dgex.errors import DgexError
from dgex.files.optional import need
from experiments import compare, full_size, study

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = ("anndata", "huggingface_hub", "jinja2", "matplotlib", "pandas", "pyarrow", "sklearn", "tensorboardX")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python as a user does, with nothing imported yet."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import dgex; print(*sorted(set(sys.modules) - before))"
    assert python("-c", code).stdout.split() == ["dgex", "dgex.version"]


def test_help_comes_at_once_and_without_jax() -> None:
    before = os.times()
    helped = python("-X", "importtime", "-m", "dgex", "--help")
    after = os.times()
    assert "predict" in helped.stdout
    imported = {line.split("|")[2].strip().partition(".")[0] for line in helped.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"jax", "flax", "orbax", "h5py", "numpy", "scipy", *EXTRAS}
    # Of the processor, whoever else uses it.
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1


@pytest.mark.parametrize("script", ["dgex", "dgex-prepare"])
def test_the_commands_are_scripts(script: str) -> None:
    module, function = PROJECT["project"]["scripts"][script].split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_public_names_are_imported_when_used() -> None:
    assert {name: callable(getattr(dgex, name)) for name in dgex.HOMES} == dict.fromkeys(dgex.HOMES, True)
    with pytest.raises(AttributeError, match="module 'dgex' has no attribute 'train'"):
        _ = dgex.train


def test_the_library_needs_no_extra() -> None:
    of_extras = {"dgex.files.svg", "dgex.estimator", "dgex.reporting.page", "dgex.reporting.pictures"}
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "dgex").rglob("*.py")}
    chosen = sorted(names - of_extras - {"dgex.__main__"})
    python("-c", f"import sys; sys.modules.update(dict.fromkeys({EXTRAS})); import {', '.join(chosen)}")


def test_every_package_and_data_file_is_declared() -> None:
    declared = PROJECT["tool"]["setuptools"]
    folders = {path.parent for name in ("dgex", "data_prep", "experiments") for path in (ROOT / name).rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders)
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    patterns = declared["packages"]["find"]["include"]
    installed = {name for name in packages if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)}
    assert installed == {name for name in packages if not name.startswith("experiments")}
    for name, patterns in declared["package-data"].items():
        paths = {path for path in (ROOT / name).rglob("*") if path.is_file() and not path.name.startswith(".")}
        data = {path for path in paths if path.suffix not in (".py", ".pyc")}
        assert data and data <= {path for pattern in patterns for path in (ROOT / name).glob(pattern)}


def test_what_is_installed_is_not_missed() -> None:
    need("numpy", "jax", extra="plots", what="a test")


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
@pytest.mark.parametrize(
    ("app", "arguments"),
    [
        (dgex_app, ["predict", "absent.gctx", "-o", "out.gctx", "--report", "page.html"]),
        (data_prep_app, ["inspect", "absent.gctx", "--html", "page.html"]),
        (compare.app, ["--data", "absent.h5", "-o", "results"]),
        (study.app, ["--data", "absent", "-o", "results"]),
        (study.app, ["--redraw", "-o", "absent"]),
        (full_size.app, ["grid", "--data", "absent.h5", "-o", "results"]),
        (full_size.app, ["activations", "--data", "absent.h5", "-o", "results"]),
    ],
    ids=["predict", "inspect", "compare", "study", "redraw", "grid", "activations"],
)
def test_drawing_without_its_packages_ends_before_the_work(app, arguments, missing, refused, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert f'needs {missing}; install it: pip install "dgex[plots]"\n' in refused(lambda: app(arguments))


def test_what_draws_nothing_does_without(refused, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    absent = str(tmp_path / "absent.h5")
    assert "absent.h5" in refused(lambda: data_prep_app(["inspect", absent]))
    assert "absent.h5" in refused(lambda: full_size.app(["grid", "--data", absent, "--estimate"]))


def test_event_files_without_their_package(refused, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    line = refused(lambda: compare.app(["--data", "absent.h5", "-o", "results", "--tensorboard"]))
    assert line == 'error: --tensorboard: needs tensorboardX; install it: pip install "dgex[tensorboard]"\n'


def test_loading_a_model_that_is_not_there(tmp_path) -> None:
    with pytest.raises(DgexError, match="absent"):
        dgex.load_model(tmp_path / "absent")
