"""The comparison, from the command line to its folder of results."""

import csv
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from tensorboardX.proto.event_pb2 import Event

from dgex.data.dataset import Dataset, read_dataset
from dgex.log import read_log
from dgex.networks import NetworkConfig
from dgex.taaf import PARAMETERS
from experiments import compare

NETWORKS = {"tanh", "sigmoid", "taaf", "taaf_output", "taaf_linear"}
LABELLED_PAIRS = [
    ("sigmoid", "tanh"),
    ("TAAF", "sigmoid"),
    ("TAAF", "tanh"),
    ("TAAF, output too", "TAAF"),
    ("tanh", "ridge regression"),
    ("TAAF", "ridge regression"),
    ("TAAF with a linear path", "TAAF"),
    ("TAAF with a linear path", "ridge regression"),
]


@pytest.fixture(scope="module")
def results(compared: Path) -> dict:
    return json.loads((compared / "results.json").read_text())


@pytest.fixture(scope="module")
def dataset(prepared: Path) -> Dataset:
    return read_dataset(prepared)


def test_folder_holds_every_output(compared: Path) -> None:
    with_taaf = ("taaf", "taaf_output", "taaf_linear")
    taaf = [f"{name}-{what}" for name in with_taaf for what in ("parameters", "shapes")]
    names = ["compare-differences", "learning-curves", "genes-tanh", "genes-sigmoid", "genes-ridge", *taaf]
    figures = {f"{name}.{suffix}" for name in names for suffix in ("png", "svg")}
    assert {path.name for path in (compared / "figures").iterdir()} == figures
    assert {path.name for path in compared.iterdir()} == {
        "experiment.json", "figures", "genes.csv", "lock", "report.html", "results.json", "results.md", "tables",
        "trials",
    }  # fmt: skip


def test_figures_over_seeds(results: dict) -> None:
    assert results["schema_version"] == 2
    assert set(results["networks"]) == NETWORKS
    for entry in results["networks"].values():
        for error in (
            entry["validation"]["zscore_mae"],
            entry["test"]["zscore_mae"],
            entry["test"]["without_overlap"]["zscore_mae"],
        ):
            assert len(set(error["seeds"])) == 2  # the seeds did something
            assert error["mean"] == pytest.approx(np.mean(error["seeds"]))
            assert error["sd"] == pytest.approx(np.std(error["seeds"], ddof=1))


def test_one_seed_has_no_sd() -> None:
    assert compare.over_seeds([0.5]) == {"mean": 0.5, "sd": None, "seeds": [0.5]}


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [(0.40123, 0.00104, "0.4012 ± 0.0010"), (0.40123, None, "0.4012"), (float("nan"), None, "–")],
)
def test_shown(mean: float, sd: float | None, text: str) -> None:
    assert compare.shown({"mean": mean, "sd": sd}) == text


def test_configuration_and_learnt_parameters(results: dict, prepared: Path) -> None:
    taaf = results["networks"]["taaf"]
    assert NetworkConfig(**taaf["config"]) == NetworkConfig(15, 40, (300, 300), taaf="hidden", dropout=0.25)
    assert taaf["parameters"] == 15 * 300 + 300 * 300 + 301 * 40 + 2 * 4 * 300
    for seed in taaf["taaf_parameters"]:
        assert {layer: set(learnt) for layer, learnt in seed.items()} == dict.fromkeys(("H0", "H1"), set(PARAMETERS))
        assert all(values == sorted(values) and len(values) == 5 for of in seed.values() for values in of.values())
    assert results["data"][prepared.name]["sha256"] == hashlib.sha256(prepared.read_bytes()).hexdigest()
    assert results["size"]["samples"]["train"] > 0


def test_linear_path_starts_at_ridge_regression(results: dict) -> None:
    entry, ridge = results["networks"]["taaf_linear"], results["baselines"]["ridge"]
    config = NetworkConfig(15, 40, (300, 300), taaf="hidden", dropout=0.25, linear=True, linear_rate=0.1)
    assert NetworkConfig(**entry["config"]) == config
    assert entry["parameters"] == results["networks"]["taaf"]["parameters"] + (15 + 1) * 40
    # Three epochs are far from enough for a network that starts at random.
    for scores in ("validation", "test"):
        error, baseline, random = (
            found[scores]["zscore_mae"]["mean"] for found in (entry, ridge, results["networks"]["taaf"])
        )
        assert abs(error - baseline) < 0.5 * (random - baseline)


@pytest.mark.parametrize(
    ("protocol", "size"),
    [
        ("quick", ((300, 300), 0.25, "glorot")),
        ("dgex", ((3000,) * 3, 0.1, "dgex")),
    ],
)
def test_size_that_goes_with_a_protocol(protocol: str, size: tuple) -> None:
    for model in compare.networks(protocol, "high"):
        config = NetworkConfig(943, 9520, **model.network)
        assert (config.hidden, config.dropout, config.init) == size
        assert config.matmul_precision == "high"


def test_terminal_has_baselines_first_and_says_why_there_is_no_interval(prepared: Path, compared: Path, capsys) -> None:
    arguments = ["--data", prepared, "--seeds", 2, "--epochs", 3, "--devices", 1, "--resume", "-o", compared]
    compare.app([str(argument) for argument in arguments], standalone_mode=False)
    printed = capsys.readouterr().out
    rows = [line.split("│")[0].strip() for line in printed.splitlines() if "│" in line]
    assert rows[:6] == ["mean predictor", "ridge regression", "tanh", "sigmoid", "TAAF", "TAAF, output too"]
    assert rows[6] == "TAAF with a linear path"
    assert rows[7:] == [f"{a} − {b}" for a, b in LABELLED_PAIRS]
    assert "no interval: 2 seeds, at least 3 needed" in printed
    assert printed.splitlines()[-1] == f"report: {compared / 'report.html'}"


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


def run_of(folder: Path, name: str, seed: int) -> Path:
    return folder / "trials" / "prepared" / "all-targets-all-profiles-all-studies" / name / f"seed-{seed}"


def test_best_epoch_is_that_of_the_log(compared: Path, results: dict) -> None:
    for name, entry in results["networks"].items():
        for seed, best in enumerate(entry["best_epoch"]["seeds"]):
            with (run_of(compared, name, seed) / "training" / "log.csv").open(newline="") as file:
                errors = [float(row["validation_mae"]) for row in csv.DictReader(file)]
            assert best == 1 + int(np.argmin(errors))
            assert entry["validation"]["zscore_mae"]["seeds"][seed] == pytest.approx(min(errors), rel=1e-6)


def events(path: Path) -> list[Event]:
    """The records of an event file: length (u8), its checksum (u4), the event, its checksum (u4)."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def test_event_files_say_what_the_log_says(compared: Path) -> None:
    run = run_of(compared, "taaf", 1)
    (path,) = (run / "events").iterdir()
    values = {(value.tag, event.step): value.simple_value for event in events(path) for value in event.summary.value}
    assert not any(tag == "monitor_mae" for tag, _ in values)  # undefined without a plateau rule
    for row in read_log(run / "training" / "log.csv", 3):
        assert values["validation_mae", row.epoch] == pytest.approx(row.validation_mae, rel=1e-6)
        assert values["train_loss", row.epoch] == pytest.approx(row.train_loss, rel=1e-6)


def test_gene_table_averages_to_the_results(compared: Path, results: dict, dataset: Dataset) -> None:
    with (compared / "genes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["ensembl"] for row in rows] == list(dataset.target_genes.ensembl)
    for name in NETWORKS:
        mean = np.mean([float(row[f"{name}_test_zscore_mae"]) for row in rows])
        assert mean == pytest.approx(results["networks"][name]["test"]["zscore_mae"]["mean"], rel=1e-6)


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
    log = run_of(tmp_path / "killed", "sigmoid", 0) / "training" / "log.csv"
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
        logs = [(run_of(tmp_path / run, name, 0) / "training/log.csv").read_bytes() for run in ("whole", "killed")]
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
