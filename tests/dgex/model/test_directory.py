"""A model's directory: all of it comes back, and it is written whole or not at all.

What is refused of directories that were altered is in ``test_altered_directory``.
"""

import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

from dgex.data.platforms import Platforms
from dgex.errors import DgexError
from dgex.model import Model
from dgex.model.directory import check_new, load_model, save_model

FILES = ("README.md", "genes.tsv", "model.json", "reference.safetensors", "weights.safetensors")
SUMS = "SHA256SUMS"


@pytest.fixture(scope="module")
def saved(model_files) -> Path:
    return model_files / "model"


def content(model: Model) -> dict[str, np.ndarray]:
    reference, reliability = model.reference, model.reliability
    return {
        **{f"landmark {name}": values for name, values in vars(reference.landmark_scaler).items()},
        **{f"target {name}": values for name, values in vars(reference.target_scaler).items()},
        **vars(reliability),
        **vars(model.training_map),
        "quantiles": reference.quantiles,
        "loadings": model.factors.loadings,
        "noise": model.factors.noise,
    }


def test_round_trip_is_exact(small_model, saved, assert_trees_close):
    assert sorted(path.name for path in saved.iterdir()) == sorted((*FILES, SUMS))
    loaded = load_model(saved)
    assert loaded.config == small_model.config
    assert loaded.reference.landmark_genes == small_model.reference.landmark_genes
    assert loaded.reference.target_genes == small_model.reference.target_genes
    assert_trees_close(loaded.params, small_model.params, rtol=0, strict=True)
    for name, values in content(small_model).items():
        np.testing.assert_array_equal(content(loaded)[name], values, err_msg=name)
    assert loaded.provenance == json.loads(json.dumps(small_model.provenance))


def test_a_model_need_not_say_where_its_training_profiles_lie(small_model, tmp_path):
    save_model(tmp_path / "model", replace(small_model, training_map=None))
    assert load_model(tmp_path / "model").training_map is None


def test_a_string_names_a_directory_too(saved):
    assert load_model(str(saved)).config == load_model(saved).config


def test_nan_and_infinity_come_back_where_they_may_be(small_model, tmp_path):
    trusted = small_model.reliability
    quantile = trusted.quantile.copy()
    quantile[3] = np.inf
    pearson = np.where(np.arange(60) == 3, np.nan, trusted.pearson).astype(np.float32)
    save_model(tmp_path / "model", replace(small_model, reliability=replace(trusted, quantile=quantile,
                                                                            pearson=pearson)))  # fmt: skip
    loaded = load_model(tmp_path / "model").reliability
    np.testing.assert_array_equal(loaded.quantile, quantile)
    np.testing.assert_array_equal(loaded.pearson, pearson)


def test_names_that_tables_quote_come_back(small_model, tmp_path):
    genes = small_model.reference.landmark_genes
    odd = replace(genes, symbol=('a"b', "tab\there", "line\nbreak", "Müller", "", *genes.symbol[5:]))
    save_model(tmp_path / "model", replace(small_model, reference=replace(small_model.reference, landmark_genes=odd)))
    assert load_model(tmp_path / "model").reference.landmark_genes == odd


def test_platforms_come_back(small_model, tmp_path):
    platforms = Platforms(("array", "mine"), *(np.arange(2 * n, dtype=np.float32).reshape(2, n) % 3 for n in (24, 60)))
    reference = replace(small_model.reference, platforms=platforms)
    save_model(tmp_path / "model", replace(small_model, reference=reference))
    found = load_model(tmp_path / "model").reference.platforms
    assert found.name == ("array", "mine")
    np.testing.assert_array_equal(found.landmark, platforms.landmark)
    np.testing.assert_array_equal(found.target, platforms.target)


def test_equal_models_give_equal_bytes(small_model, saved, tmp_path):
    save_model(tmp_path / "again", small_model)
    save_model(tmp_path / "loaded", load_model(saved))
    for name in (*FILES, SUMS):
        expected = (saved / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == expected
        assert (tmp_path / "loaded" / name).read_bytes() == expected


def test_others_can_check_and_read_it(small_model, saved):
    """sha256sum, a reader of tab-separated text, and one of safetensors."""
    checked = subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=saved, capture_output=True, text=True)
    assert checked.returncode == 0 and checked.stdout.count(": OK\n") == 5
    weights = safetensors.numpy.load_file(saved / "weights.safetensors")
    assert {name: values.shape for name, values in weights.items()} == {
        "H0/kernel": (24, 16),
        **{f"H0_taaf/{name}": (16,) for name in ("alpha", "beta", "gamma", "delta")},
        "outputs/kernel": (16, 60),
        "outputs/bias": (60,),
    }
    np.testing.assert_array_equal(weights["H0_taaf/alpha"], small_model.params["H0_taaf"]["alpha"])
    header, first, *rest = (saved / "genes.tsv").read_text().splitlines()
    assert header.split("\t") == ["side", "ensembl", "symbol", "probes"]
    assert first.split("\t") == ["landmark", "ENSG90000000000", "MADEUP0", "900000_at"]
    assert len(rest) == 24 - 1 + 60 and rest[-1].startswith("target\t")
    assert json.loads((saved / "model.json").read_text())["schema_version"] == 3


def test_loading_does_not_import_card_or_training(saved):
    """Reading a model takes no Orbax and no optimiser: what is published is read without what made it."""
    code = (
        "import sys; from dgex.model.directory import load_model; load_model(sys.argv[1]); "
        "print(sorted({'orbax', 'optax', 'pandas', 'anndata'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, saved], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_a_model_is_not_written_over(small_model, saved, tmp_path):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    (tmp_path / "file").write_text("text")
    (tmp_path / "empty").mkdir()
    for path in (saved, tmp_path / "file", tmp_path / "empty"):
        for write in (check_new, lambda path: save_model(path, small_model)):
            with pytest.raises(DgexError, match="exists already; choose another folder"):
                write(path)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_where_nothing_can_be_written(small_model, tmp_path):
    (tmp_path / "file").write_text("text")
    for write in (check_new, lambda path: save_model(path, small_model)):
        with pytest.raises(DgexError, match="file/model: cannot be written"):
            write(tmp_path / "file" / "model")


def test_a_full_disk_is_found_out_before(small_model, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=2**24))
    with pytest.raises(DgexError, match="needs 16 MiB, the disk has 16 MiB left; make room"):
        save_model(tmp_path / "model", small_model)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", [*FILES, SUMS])
def test_a_disk_that_fills_up_leaves_nothing(small_model, tmp_path, monkeypatch, failing):
    write = Path.write_bytes

    def fill_up(path, content):
        if path.name == failing:
            write(path, content[:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(DgexError, match=r"model: cannot be written \(No space left on device\)"):
        save_model(tmp_path / "model", small_model)
    assert not list(tmp_path.iterdir())


def test_a_path_that_no_folder_has(tmp_path):
    for call in (load_model, check_new):
        with pytest.raises(DgexError, match=r"\.\.\.: is too long; paths have 4000 bytes at most"):
            call(tmp_path / ("x" * 256))
