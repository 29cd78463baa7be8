"""The original example from files as pandas writes them; the real ones are not at hand."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dgex import parallel
from dgex.errors import DgexError
from experiments import authors_example


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for split, samples in (("train", 90), ("test", 30)):
        landmark = random.normal(size=(samples, 12))
        names = [f"{split}{number}" for number in range(samples)]
        for kind, values in (
            ("lm", landmark),
            ("tg", np.tanh(landmark[:, :7]) + 0.1 * random.normal(size=(samples, 7))),
        ):
            frame = pd.DataFrame(values, index=names, columns=[f"{kind}{gene}" for gene in range(values.shape[1])])
            frame.to_hdf(tmp_path / f"ddf_{kind}_dataset_small_example_{split}.h5", key="table")
    return tmp_path


def test_prints_the_readme_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = authors_example.run(folder, folder / "out", parallel.devices(1), epochs=4)
    printed = capsys.readouterr().out
    for name, title in (("taaf_output", "TAAF"), ("sigmoid", "classical")):
        with (folder / "out/runs" / name / "seed-42/log.csv").open(newline="") as file:
            log = list(csv.DictReader(file))
        train = min(float(row["train_mae"]) for row in log)
        test = min(float(row["validation_mae"]) for row in log)
        published = {"TAAF": ("0.17866", "0.19068"), "classical": ("0.19045", "0.20115")}[title]
        assert f"| {title} | {train:.5f} | {published[0]} | {test:.5f} | {published[1]} |" in printed
    assert "taken on the test set" in printed
    assert results["networks"]["taaf_output"]["hidden"] == (300, 300)
    assert json.loads((folder / "out/results.json").read_text())["protocol"]["optimizer"] == "keras_nadam"


def test_genes_of_train_and_test_must_agree(folder: Path) -> None:
    path = folder / "ddf_tg_dataset_small_example_test.h5"
    frame = pd.read_hdf(path, "table")
    path.unlink()
    frame.rename(columns={"tg0": "other"}).to_hdf(path, key="table")
    with pytest.raises(DgexError, match="tg files of train and test have different genes"):
        authors_example.run(folder, folder / "out", parallel.devices(1), epochs=1)
    assert not (folder / "out").exists()
