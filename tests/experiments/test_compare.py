"""The comparison, from the command line to its folder of results."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from dgex.dataset import Dataset, read_dataset
from experiments import compare

NETWORKS = {"tanh", "sigmoid", "taaf", "taaf_output"}


@pytest.fixture(scope="module")
def results(compared: Path) -> dict:
    return json.loads((compared / "results.json").read_text())


@pytest.fixture(scope="module")
def dataset(prepared: Path) -> Dataset:
    return read_dataset(prepared)


def test_folder_holds_every_output(compared: Path) -> None:
    taaf = [f"{name}_{what}" for name in ("taaf", "taaf_output") for what in ("parameters", "shapes")]
    names = ["learning_curves", "gene_errors", *taaf]
    figures = {f"{name}.{suffix}" for name in names for suffix in ("png", "svg")}
    assert {path.name for path in (compared / "figures").iterdir()} == figures
    assert {path.name for path in compared.iterdir()} == {
        "compare.json", "figures", "genes.csv", "report.html", "results.json", "results.md", "runs",
    }  # fmt: skip


def test_figures_over_seeds(results: dict) -> None:
    assert set(results["networks"]) == NETWORKS
    for entry in results["networks"].values():
        for split in ("train", "validation", "test"):
            for scores in (entry[split], entry[split]["without_overlap"]):
                error = scores["zscore_mae"]
                assert len(set(error["seeds"])) == 2  # the seeds did something
                assert error["mean"] == pytest.approx(np.mean(error["seeds"]))
                assert error["sd"] == pytest.approx(np.std(error["seeds"], ddof=1))


def test_baselines_are_those_of_scikit_learn(results: dict, dataset: Dataset) -> None:
    x, y = dataset.zscores("train")
    landmark, target = dataset.zscores("test")
    ridge = results["baselines"]["ridge"]
    error = np.abs(Ridge(alpha=ridge["penalty"]).fit(x.astype(float), y.astype(float)).predict(landmark) - target)
    sd, overlap = dataset.target_scaler.sd, dataset.overlap
    assert 0 < overlap.sum() < len(overlap)
    for scores, kept in ((ridge["test"], slice(None)), (ridge["test"]["without_overlap"], ~overlap)):
        assert scores["zscore_mae"]["mean"] == pytest.approx(error.mean(axis=0)[kept].mean(), rel=1e-5)
        assert scores["log2_mae"]["mean"] == pytest.approx((error * sd).mean(axis=0)[kept].mean(), rel=1e-5)
    mean = results["baselines"]["mean"]["test"]
    assert mean["zscore_mae"]["mean"] == pytest.approx(np.abs(target).mean(), rel=1e-4)
    assert mean["pearson"]["mean"] is None


def test_best_epoch_is_that_of_the_log(compared: Path, results: dict) -> None:
    for name, entry in results["networks"].items():
        for seed, best in enumerate(entry["best_epoch"]["seeds"]):
            with (compared / "runs" / name / f"seed-{seed}" / "log.csv").open(newline="") as file:
                errors = [float(row["validation_mae"]) for row in csv.DictReader(file)]
            assert best == 1 + int(np.argmin(errors))
            assert entry["validation"]["zscore_mae"]["seeds"][seed] == pytest.approx(min(errors), rel=1e-6)


def test_gene_table_averages_to_the_results(compared: Path, results: dict, dataset: Dataset) -> None:
    with (compared / "genes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["ensembl"] for row in rows] == list(dataset.target_genes.ensembl)
    for name in NETWORKS:
        mean = np.mean([float(row[f"{name}_test_zscore_mae"]) for row in rows])
        assert mean == pytest.approx(results["networks"][name]["test"]["zscore_mae"]["mean"], rel=1e-6)


def test_provenance(results: dict, prepared: Path) -> None:
    import hashlib

    import jax

    assert results["data"]["sha256"] == hashlib.sha256(prepared.read_bytes()).hexdigest()
    assert results["provenance"]["packages"]["jax"] == jax.__version__
    assert results["provenance"]["devices"] == 1
    assert results["provenance"]["matmul_precision"] == "default"


@pytest.mark.slow
def test_more_devices_give_the_same_numbers(compared: Path, prepared: Path, results: dict, tmp_path: Path) -> None:
    arguments = ["--data", prepared, "--seeds", 1, "--epochs", 3, "--devices", 3, "-o", tmp_path / "three"]
    compare.app([str(argument) for argument in arguments], standalone_mode=False)
    three = json.loads((tmp_path / "three" / "results.json").read_text())
    for name in NETWORKS:
        for score in ("zscore_mae", "zscore_rmse", "log2_mae"):
            one_device = results["networks"][name]["test"][score]["seeds"][0]
            assert three["networks"][name]["test"][score]["seeds"][0] == pytest.approx(one_device, rel=1e-5)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "experiments.compare", *map(str, arguments)]


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_results(prepared: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}

    def arguments(folder: str) -> list[str]:
        return command("--data", prepared, "--seeds", 1, "--epochs", 40, "-o", tmp_path / folder, "--resume")

    subprocess.run(arguments("whole"), check=True, capture_output=True, env=environment)
    killed = subprocess.Popen(
        arguments("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    log = tmp_path / "killed/runs/sigmoid/seed-0/log.csv"
    while not (log.exists() and log.read_text().count("\n") > 5):  # the second network has begun
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "results.json").exists()
    subprocess.run(arguments("killed"), check=True, capture_output=True, env=environment)

    whole, resumed = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "killed"))
    assert resumed["networks"] == whole["networks"]
    for name in NETWORKS:
        logs = [(tmp_path / run / "runs" / name / "seed-0/log.csv").read_bytes() for run in ("whole", "killed")]
        assert logs[0] == logs[1]


def refused(*arguments: object) -> str:
    """Runs a command that must fail with one line; returns the line."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "absent.h5"], "absent.h5"),
        ([], "--data or --authors-example"),
        (["--authors-example", "absent"], "ddf_lm_dataset_small_example_train.h5"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    assert message in refused(*arguments, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_protocol_and_too_many_devices(prepared: Path, tmp_path: Path) -> None:
    assert "quick" in refused("--data", prepared, "--protocol", "slow", "-o", tmp_path / "out")
    assert "99 devices" in refused("--data", prepared, "--devices", 99, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_of_another_run_is_refused(prepared: Path, compared: Path) -> None:
    before = (compared / "results.json").read_bytes()
    assert "--resume" in refused("--data", prepared, "--seeds", 2, "--epochs", 3, "-o", compared)
    assert "protocol" in refused("--data", prepared, "--seeds", 2, "--epochs", 4, "-o", compared, "--resume")
    assert (compared / "results.json").read_bytes() == before


def test_unwritable_output(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert "cannot be written" in refused("--data", prepared, "-o", tmp_path / "file" / "out")


def test_damaged_checkpoint(prepared: Path, compared: Path, tmp_path: Path) -> None:
    shutil.copytree(compared, tmp_path / "damaged")
    for path in (tmp_path / "damaged/runs/tanh/seed-0/checkpoints").rglob("d/*"):
        os.truncate(path, 10)
    arguments = ["--data", prepared, "--seeds", 2, "--epochs", 3, "--devices", 1, "-o", tmp_path / "damaged"]
    done = subprocess.run(command(*arguments, "--resume"), capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "the checkpoint of epoch 3 cannot be read" in done.stderr.strip().splitlines()[-1]
