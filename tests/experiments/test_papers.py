"""The papers' tables from the command line, with networks of a few units; and ``make reproduce`` from a server."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from data_prep.__main__ import app as data_prep
from data_prep.fetching import Listed, write_list
from data_prep.simulate import SCALES, Scale
from data_prep.simulate_dgex import GTEX, SIZES, THOUSAND_GENOMES
from dgex.data.dataset import read_dataset
from experiments import papers
from experiments.analysis.statistics import Errors
from experiments.full_size import PUBLISHED
from experiments.trials import estimate
from experiments.trials.estimate import Cost

ROOT = Path(__file__).resolve().parents[2]
COHORTS = ("GTEx", "1000G", "GTEx-as-published", "1000G-as-published")
COLUMNS = {"test": "test z-score MAE", **{name: f"{name} z-score MAE" for name in COHORTS}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ``make`` prepares it, of 150 arrays."""
    folder = tmp_path_factory.mktemp("dgex")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            SCALES, "small", Scale(15, 40, overlap=7, rows=150, profiles=150, profiles_per_study=18, duplicates=0)
        )
        patch.setitem(SIZES, "small", {GTEX: (30, 90), THOUSAND_GENOMES: (20, 70)})
        data_prep(["simulate-dgex", "-o", str(folder), "--profiles", "150"])
    onto = str(folder / "GEO.h5")
    data_prep(["prepare", f"{folder}/bgedv2_QNORM.gctx", "--genes", str(folder), "--split", "sample", "-o", onto])
    for name in COHORTS:
        (table,) = folder.glob("GTEx_*.gctx" if "GTEx" in name else "GD462*.txt")
        options = ["--legacy"] if "published" in name else []
        data_prep(["prepare", str(table), "--onto", onto, *options, "-o", str(folder / f"{name}.h5")])
    return folder


def command(data: Path, *more: object) -> list[str]:
    cohorts = [part for name in COHORTS for part in ("--cohort", data / f"{name}.h5")]
    return [str(each) for each in ("--data", data / "GEO.h5", *cohorts, "--devices", 1, *more)]


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papers, "LAYERS", (1,))
        patch.setattr(papers, "WIDTHS", (1, 2))
        patch.setattr(papers, "NETWORKS", ("tanh", "sigmoid", "taaf"))
        patch.setattr(estimate, "measure", lambda config, protocol, devices: Cost(36.0, 0.0, 0))
        yield


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("papers")
    papers.app(command(data, "--units", 4, "--seeds", 1, "--epochs", 2, "-o", output))
    return output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_linear_regression_and_mean_on_every_set(done: Path, data: Path) -> None:
    """Both by NumPy in float64 from the prepared files."""
    table = {row["model"]: row for row in rows(done / "tables" / "papers.csv")}
    dataset = read_dataset(data / "GEO.h5")
    landmark, target = (values.astype(np.float64) for values in dataset.zscores("train"))
    ones = np.ones((len(landmark), 1))
    weights = np.linalg.lstsq(np.hstack([landmark, ones]), target, rcond=None)[0]
    for name, column in COLUMNS.items():
        held_out = dataset if name == "test" else read_dataset(data / f"{name}.h5")
        x, y = held_out.zscores("test")
        assert float(table["mean predictor"][column]) == pytest.approx(np.abs(y).mean(), rel=1e-4)
        inferred = np.hstack([x, np.ones((len(x), 1))]) @ weights
        assert float(table["linear regression"][column]) == pytest.approx(np.abs(inferred - y).mean(), rel=1e-4)
        log2 = (np.abs(y) * dataset.target_scaler.sd).mean()
        assert float(table["mean predictor"][column.replace("z-score", "log2")]) == pytest.approx(log2, rel=1e-4)


def test_as_published_a_cohort_has_no_offset(done: Path) -> None:
    """Standardised by itself, its mean predictor is as good as in training; on the training scale it is not."""
    (row,) = [row for row in rows(done / "tables" / "papers.csv") if row["model"] == "mean predictor"]
    assert float(row["GTEx-as-published z-score MAE"]) < 0.9 < 1.5 < float(row["GTEx z-score MAE"])


def test_published_numbers_stand_beside(done: Path) -> None:
    table = {row["model"]: row for row in rows(done / "tables" / "papers.csv")}
    assert table["linear regression"]["published z-score MAE"] == "0.3784"
    assert (table["tanh"]["published log2 MAE"], table["TAAF"]["published log2 MAE"]) == ("0.1637", "0.134")
    assert table["1 × 4, dropout 10 %"]["published z-score MAE"] == ""  # of other sizes there is none
    names = {f"dgex-{layers}x{units}" for layers, units in PUBLISHED}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papers, "LAYERS", (1, 2, 3))
        patch.setattr(papers, "WIDTHS", (1, 2, 3))
        assert {model.name for model in papers.grid_models(3000)} == names


def test_improvements_are_those_of_the_errors(done: Path) -> None:
    errors = {row["model"]: row for row in rows(done / "tables" / "papers.csv")}
    improvements = rows(done / "tables" / "papers-improvements.csv")
    assert len(improvements) == 6 * len(COLUMNS)
    for row in improvements:
        first, second = (float(errors[row[which]][COLUMNS[row["samples"]]]) for which in ("first", "second"))
        assert float(row["first − second"]) == pytest.approx(first - second, abs=1e-6)
        assert float(row["first lower by, %"]) == pytest.approx(100 * (1 - first / second), abs=1e-3)
        assert float(row["low over samples"]) < first - second < float(row["high over samples"])
        assert row["low"] == "" and "1 study" in row["no interval"]
    published = {row["samples"]: row["published, %"] for row in improvements if row["published, %"]}
    assert published == {"test": "15.33", "GTEx-as-published": "6.57"}


def test_the_network_is_chosen_as_by_dgex(done: Path) -> None:
    """On validation for the test split, on 1000 Genomes for GTEx."""
    table = [row for row in rows(done / "tables" / "papers.csv") if "×" in row["model"]]
    validation = [row for row in rows(done / "tables" / "papers-errors-test.csv") if "×" in row["model"]]
    best = {
        "test": min(validation, key=lambda row: float(row["validation z-score MAE"]))["model"],
        "GTEx": min(table, key=lambda row: float(row["1000G z-score MAE"]))["model"],
        "GTEx-as-published": min(table, key=lambda row: float(row["1000G-as-published z-score MAE"]))["model"],
    }
    improvements = rows(done / "tables" / "papers-improvements.csv")
    chosen = {row["samples"]: row["first"] for row in improvements if row["second"] == "nearest genes (KNN-GE)"}
    assert {name: chosen[name] for name in best} == best


def test_interval_over_samples_is_that_of_a_paired_t_test() -> None:
    random = np.random.default_rng(0)
    samples = random.normal(size=(2, 3, 40))
    a, b = (Errors("m", ("",) * 40, each, np.zeros((3, 1, 5), np.float32)) for each in samples)
    wanted = stats.ttest_rel(*samples.mean(1)).confidence_interval(0.95)
    assert papers.over_samples(a, b) == pytest.approx((wanted.low, wanted.high))


def test_report_and_origin(done: Path, data: Path) -> None:
    results = json.loads((done / "results.json").read_text())
    (section,) = results["sections"]
    assert any("simulated by python -m data_prep simulate" in line for line in results["summary"])
    assert len(section["answer"]) == 3 * len(COLUMNS)
    assert "published 15.33 % and 99.97 %" in section["answer"][0]
    assert results["work"]["cohorts"].keys() == set(COHORTS)
    assert "Do the papers' models" in (done / "report.html").read_text().replace("&#39;", "'")


def test_bad_input_is_one_line(
    data: Path, done: Path, tmp_path: Path, refused: Callable[..., str], prepared: Path
) -> None:
    def run(*arguments: object) -> str:
        return refused(lambda: papers.app([str(each) for each in arguments]))

    assert "give -o, a folder for the results, or --estimate" in run("--data", data / "GEO.h5")
    new = ("-o", tmp_path / "new")
    assert "GTEx.h5: was not mapped onto" in run("--data", prepared, "--cohort", data / "GTEx.h5", *new)
    assert "GEO.h5: was not mapped onto" in run("--data", data / "GEO.h5", "--cohort", data / "GEO.h5", *new)
    (tmp_path / "other").mkdir()
    for name in ("GTEx.h5", "test.h5"):
        shutil.copy(data / "GTEx.h5", tmp_path / "other" / name)
    twice = ("--cohort", data / "GTEx.h5", "--cohort", tmp_path / "other" / "GTEx.h5")
    assert "second held-out set called GTEx; rename" in run("--data", data / "GEO.h5", *twice, *new)
    named = ("--cohort", tmp_path / "other" / "test.h5")
    assert "second held-out set called test; rename" in run("--data", data / "GEO.h5", *named, *new)
    options = ("--units", 4, "--seeds", 1, "--epochs", 2, "-o", done, "--resume", "--devices", 1)
    assert "differs in: cohorts" in run("--data", data / "GEO.h5", *options)
    assert not (tmp_path / "new").exists()


class Tree:
    """A copy of the project, in which ``make`` fetches from a server on this machine."""

    def __init__(self, folder: Path, published: Path, serve: Callable[[Any], str]) -> None:
        self.folder, self.asked = folder, (asked := [])

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(published))

            def log_message(self, *_: object) -> None:
                asked.append(self.path)

        for name in ("dgex", "data_prep", "experiments"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Makefile", "requirements.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, folder / name)
        (folder / ".venv").mkdir()
        (folder / ".venv" / "ready").touch()
        self.command = ["make", "reproduce", f"MIRROR={serve(Handler)}", f"LIST={published / 'files.toml'}"]
        self.command.append(f"BIN={Path(sys.executable).parent}")

    def reproduce(self, data: str, options: str) -> str:
        """What ``make reproduce`` prints."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "COLUMNS": "200"}
        command = [*self.command, f"DATA={data}", f"OPTIONS={options} --devices 1"]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.mark.slow
def test_make_reproduce_the_papers(tmp_path: Path, serve: Callable[[Any], str]) -> None:
    """From nothing to the tables; then again, which fetches, prepares and trains nothing."""
    data_prep(["simulate-dgex", "-o", str(tmp_path / "published"), "--profiles", "200"])
    tree = Tree(tmp_path / "tree", tmp_path / "published", serve)
    first = tree.reproduce("dgex", "--units 4 --epochs 1")
    said = [
        "5 of 5 files to download",
        "hours in one process",
        "report: results/dgex/report.html",
        "0.3784",
        "| TAAF |",
    ]
    places = [first.index(text) for text in said]
    assert places == sorted(places)
    assert re.search(r"\| GTEx-as-published \| .* \| linear regression \| .* \| 6\.57", first)
    assert len(tree.asked) == 5
    trained = {path: path.stat().st_mtime_ns for path in (tree.folder / "results").rglob("outcome.npz")}
    assert len(trained) == 4 + 9 + 4 * 3
    second = tree.reproduce("dgex", "--units 4 --epochs 1")
    assert len(tree.asked) == 5 and "hours in one process" not in second
    assert {path: path.stat().st_mtime_ns for path in trained} == trained


@pytest.mark.slow
def test_make_reproduce_the_authors_example(tmp_path: Path, serve: Callable[[Any], str]) -> None:
    published, random = tmp_path / "published", np.random.default_rng(0)
    published.mkdir()
    names = []
    for split, samples in (("train", 90), ("test", 30)):
        landmark = random.normal(9, 1, (samples, 12))
        for kind, values in (("lm", landmark), ("tg", np.tanh(landmark[:, :7] - 9) + 8)):
            names.append(f"ddf_{kind}_dataset_small_example_{split}.h5")
            frame = pd.DataFrame(values, columns=[f"{kind}{gene}" for gene in range(values.shape[1])])
            frame.rename(index=str).to_hdf(published / names[-1], key="table")
    listed = [Listed(name, (f"http://127.0.0.1/{name}",), 0.001) for name in names]
    write_list(published / "files.toml", listed)
    tree = Tree(tmp_path / "tree", published, serve)
    for _ in range(2):
        printed = tree.reproduce("authors-example", "--epochs 3")
        assert "| 0.17866 |" in printed and "| 0.20115 |" in printed and "not the authors' files" in printed
    assert len(tree.asked) == 4
    assert (tree.folder / "results" / "authors-example" / "figures" / "learning-curves.svg").exists()
