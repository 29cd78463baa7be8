"""The original example from files as pandas writes them; the real ones are not at hand."""

import csv
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dgex
from data_prep.fetching import read_list
from dgex import parallel
from dgex.data.normalization import unstandardize
from dgex.errors import DgexError
from dgex.model.directory import load_model
from dgex.networks import forward
from experiments import authors_example, compare

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("example")
    random = np.random.default_rng(0)
    level = np.linspace(5, 13, 12)
    for split, samples in (("train", 90), ("test", 30)):
        landmark = level + random.normal(size=(samples, 12))
        names = [f"{split}{number}" for number in range(samples)]
        for kind, values in (
            ("lm", landmark),
            ("tg", level[:7] + np.tanh((landmark - level)[:, :7]) + 0.1 * random.normal(size=(samples, 7))),
        ):
            frame = pd.DataFrame(values, index=names, columns=[f"{kind}{gene}" for gene in range(values.shape[1])])
            frame.to_hdf(tmp_path / f"ddf_{kind}_dataset_small_example_{split}.h5", key="table")
    return tmp_path


@pytest.fixture(scope="module")
def done(folder: Path) -> Path:
    authors_example.run(folder, folder / "out", parallel.devices(1), epochs=4)
    return folder / "out"


def test_table_of_the_original_readme(done: Path) -> None:
    text, results = (done / "results.md").read_text(), json.loads((done / "results.json").read_text())
    for name, title in (("taaf_output", "TAAF"), ("sigmoid", "classical")):
        with (done / "runs" / name / "seed-42/log.csv").open(newline="") as file:
            log = list(csv.DictReader(file))
        train = min(float(row["train_mae"]) for row in log)
        test = min(float(row["validation_mae"]) for row in log)
        published = {"TAAF": ("0.17866", "0.19068"), "classical": ("0.19045", "0.20115")}[title]
        assert f"| {title} | {train:.5f} | {published[0]} | {test:.5f} | {published[1]} |" in text
        assert results["minimum_over_epochs_mae"][name]["test"] == pytest.approx(test)
    assert "taken on the test set" in text
    assert results["networks"]["taaf_output"]["hidden"] == [300, 300]
    assert results["protocol"]["optimizer"] == "keras_nadam"
    assert "Does the example" in (done / "report.html").read_text()


def test_one_dropout_mask_for_both_layers(folder: Path, done: Path, tmp_path: Path) -> None:
    arguments = ["--authors-example", folder, "--shared-dropout-mask", "--epochs", 1, "--devices", 1, "-o", tmp_path]
    compare.app([str(argument) for argument in arguments])
    shared, independent = (json.loads((path / "results.json").read_text()) for path in (tmp_path, done))
    assert {network["dropout_mask"] for network in shared["networks"].values()} == {"network"}
    assert {network["dropout_mask"] for network in independent["networks"].values()} == {"layer"}


def test_sharing_the_mask_needs_the_example(refused, tmp_path: Path) -> None:
    arguments = ["--data", str(tmp_path / "absent.h5"), "--shared-dropout-mask", "-o", str(tmp_path)]
    assert "--shared-dropout-mask belongs to --authors-example" in refused(lambda: compare.app(arguments))


def test_says_that_files_are_not_the_authors(done: Path, folder: Path) -> None:
    files = [f"ddf_{kind}_dataset_small_example_{split}.h5" for kind in ("lm", "tg") for split in ("train", "test")]
    (line,) = [line for line in (done / "results.md").read_text().splitlines() if "not the authors'" in line]
    assert all(name in line for name in files) and "cannot be compared" in line


def test_the_list_to_fetch_has_the_authors_files() -> None:
    listed, _ = read_list(ROOT / "data_prep" / "authors_example.toml")
    wanted = {
        f"ddf_{kind}_dataset_small_example_{split}.h5": blob for (kind, split), blob in authors_example.BLOBS.items()
    }
    assert {each.name: each.git_blob for each in listed} == wanted


def test_figure_of_the_original(done: Path) -> None:
    """Test solid and training dashed, in one panel."""
    ((figure,),) = [section["figures"] for section in json.loads((done / "results.json").read_text())["sections"]]
    (panel,) = figure["data"]["panels"]
    drawn = {(curve["label"], curve["dashed"]): curve for curve in panel["series"]}
    assert len(drawn) == 4
    for name, title in (("taaf_output", "TAAF"), ("sigmoid", "classical")):
        with (done / "runs" / name / "seed-42/log.csv").open(newline="") as file:
            log = list(csv.DictReader(file))
        for column, dashed in (("train_mae", True), ("validation_mae", False)):
            curve = drawn[title, dashed]
            wanted = [float(log[epoch - 1][column]) for epoch in curve["x"]]
            assert curve["y"] == pytest.approx(wanted, abs=1e-5)
    assert 4 in drawn["TAAF", False]["x"]


@pytest.mark.parametrize("name", ["taaf_output", "sigmoid"])
def test_models_predict_on_the_scale_of_the_files(done: Path, folder: Path, name: str) -> None:
    """Landmarks as read go through the network in float64, without standardising; the model has it inside."""
    model = load_model(done / "models" / name)
    frames = {kind: pd.read_hdf(folder / f"ddf_{kind}_dataset_small_example_test.h5", "table") for kind in ("lm", "tg")}
    assert model.reference.landmark_genes.ensembl == tuple(frames["lm"].columns)
    assert model.reference.target_genes.ensembl == tuple(frames["tg"].columns)
    raw = frames["lm"].to_numpy(np.float32)
    scaler = model.reference.landmark_scaler
    output = forward(model.config, model.params, (raw - scaler.mean) / scaler.sd)
    inferred = unstandardize(np.asarray(output), model.reference.target_scaler)
    error = np.abs(inferred - frames["tg"].to_numpy()).mean()
    minimum = json.loads((done / "results.json").read_text())["minimum_over_epochs_mae"][name]["test"]
    assert error == pytest.approx(minimum, rel=1e-5)
    assert model.provenance["scores"]["test"]["network"]["log2_mae"] == pytest.approx(minimum, rel=1e-5)


def test_models_predict_tables_with_the_files_names(done: Path, folder: Path) -> None:
    plate = pd.read_hdf(folder / "ddf_lm_dataset_small_example_test.h5", "table")
    with warnings.catch_warnings(action="ignore"):  # of profiles out of range, which some are
        profiles = dgex.predict(load_model(done / "models" / "sigmoid"), plate)
    assert list(profiles.columns) == [f"lm{gene}" for gene in range(12)] + [f"tg{gene}" for gene in range(7)]


def test_resumed_it_ends_with_the_same_models(done: Path, folder: Path) -> None:
    before = {path: path.read_bytes() for path in (done / "models").rglob("*") if path.is_file()}
    authors_example.run(folder, done, parallel.devices(1), epochs=4, resume=True)
    assert {path: path.read_bytes() for path in (done / "models").rglob("*") if path.is_file()} == before


def test_genes_of_train_and_test_must_agree(folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("out")))
    path = folder / "ddf_tg_dataset_small_example_test.h5"
    frame = pd.read_hdf(path, "table")
    path.unlink()
    frame.rename(columns={"tg0": "other"}).to_hdf(path, key="table")
    with pytest.raises(DgexError, match="tg files of train and test have different genes"):
        authors_example.run(folder, folder / "out", parallel.devices(1), epochs=1)
    assert not (folder / "out").exists()
