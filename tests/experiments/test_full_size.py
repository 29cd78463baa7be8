"""D-GEX's grid and the comparison of activations, from the command line to a report, with layers of a few units."""

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from dgex.data.dataset import read_dataset
from dgex.networks import PRESETS, NetworkConfig
from dgex.protocols import Protocol
from experiments import full_size
from experiments.trials import estimate
from experiments.trials.estimate import Cost

DROPOUTS = dict(full_size.DROPOUTS)
VALIDATION = "validation z-score MAE"
ARGUMENTS = ["--epochs", "2", "--devices", "1"]


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full_size, "LAYERS", (1, 2))
        patch.setattr(full_size, "UNITS", (4,))
        patch.setattr(full_size, "DROPOUTS", {"": 0.1})
        patch.setattr(estimate, "measure", lambda config, protocol, devices: Cost(36.0, 0.0, 0))
        yield


def grid(*arguments: object) -> Callable[[], object]:
    return lambda: full_size.app(["grid", *map(str, arguments)], standalone_mode=False)


@pytest.fixture(scope="module")
def done(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("grid")
    grid("--data", prepared, "-o", output, *ARGUMENTS)()
    return output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_data_left_in_their_file_give_the_same_tables(
    done: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is a single chunk, so that its samples are visited in the same order."""
    grid("--data", prepared, "-o", tmp_path / "grid", "--memory", 0, *ARGUMENTS)()
    assert f"warning: {prepared}: takes 0.00 GiB in memory, where 0.00 GiB may be used" in capsys.readouterr().err
    for table in ("dgex-grid", "dgex-grid-errors"):
        assert rows(tmp_path / "grid" / "tables" / f"{table}.csv") == rows(done / "tables" / f"{table}.csv")


def test_networks_are_the_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_size, "LAYERS", (1, 2, 3))
    monkeypatch.setattr(full_size, "UNITS", (3000, 6000, 9000))
    monkeypatch.setattr(full_size, "DROPOUTS", DROPOUTS)
    found = {model.name: NetworkConfig(943, 9520, **model.network or {}) for model in full_size.grid_networks()}
    assert found == {name: config for name, config in PRESETS.items() if name.startswith("dgex-")}
    assert len(found) == 27


def test_one_layer_has_its_own_rate(done: Path) -> None:
    identities = [np.load(path)["identity"].item() for path in sorted(done.rglob("dgex-*/**/outcome.npz"))]
    rates = {
        len(trial["model"]["network"]["hidden"]): trial["protocol"]["learning_rate"]
        for trial in map(json.loads, identities)
    }
    assert rates == {1: 5e-4, 2: 3e-4}


def test_report_has_the_grid(done: Path, prepared: Path) -> None:
    by_model = {row["model"]: row for row in rows(done / "tables" / "dgex-grid-errors.csv")}
    assert len(by_model) == 2 + 2
    assert by_model["2 × 4, dropout 10 %"]["parameters"] == str(16 * 4 + 5 * 4 + 5 * 40)
    table = rows(done / "tables" / "dgex-grid.csv")
    assert [(row["hidden layers"], row["dropout"]) for row in table] == [("1", "10 %"), ("2", "10 %")]
    for row in table:
        assert row["4 units"] == by_model[f"{row['hidden layers']} × 4, dropout 10 %"]["z-score MAE"]
        assert row["published, 4 units"] == ""
    _, target = read_dataset(prepared).zscores("test")
    assert float(by_model["mean predictor"]["z-score MAE"]) == pytest.approx(np.abs(target).mean(), abs=1e-4)

    results = json.loads((done / "results.json").read_text())
    (section,) = results["sections"]
    best = min((label for label in by_model if "×" in label), key=lambda label: by_model[label][VALIDATION])
    assert section["answer"][0].startswith(f"Of 2 networks, {best} has the lowest validation error.")
    assert "without an interval" in section["answer"][1]  # one seed
    assert best in (done / "report.html").read_text()


def test_each_half_of_the_targets_has_a_network(
    done: Path, prepared: Path, tmp_path: Path, refused: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    grid("--data", prepared, "-o", tmp_path, *ARGUMENTS, "--halves")()
    assert {path.parts[-4].split("-targets")[0] for path in tmp_path.rglob("dgex-*/**/outcome.npz")} == {
        "20",
        "other-20",
    }
    by_model, whole = (
        {row["model"]: row for row in rows(folder / "tables" / "dgex-grid-errors.csv")} for folder in (tmp_path, done)
    )
    assert by_model["2 × 4, dropout 10 %"]["parameters"] == str(2 * (16 * 4 + 5 * 4 + 5 * 20))
    assert by_model["ridge regression"] == whole["ridge regression"]
    assert 0 < float(by_model["2 × 4, dropout 10 %"]["z-score MAE"]) < 2
    caveats = [
        json.loads((folder / "results.json").read_text())["sections"][0]["caveats"] for folder in (tmp_path, done)
    ]
    assert [any("D-GEX trained two networks" in line for line in each) for each in caveats] == [False, True]
    capsys.readouterr()
    assert "differs in: halves" in refused(grid("--data", prepared, "-o", tmp_path, *ARGUMENTS, "--resume"))


def test_published_numbers_stand_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_size, "DROPOUTS", DROPOUTS)
    monkeypatch.setattr(full_size, "UNITS", (4, 6))
    monkeypatch.setattr(full_size, "PUBLISHED", {(2, 6): 0.3252})
    monkeypatch.setattr(full_size, "_test_mae", lambda run: 0.5)
    runs = {model.name: None for model in full_size.grid_networks()}
    table = full_size.grid_table(runs, "")  # type: ignore[arg-type]
    dropouts = ["10 %", "10 %", "0 %", "0 %", "25 %", "25 %"]
    column = dict(zip(table.columns, zip(*table.rows, strict=True), strict=True))
    assert column["hidden layers"] == (1, 2) * 3
    assert list(column["dropout"]) == dropouts
    assert column["4 units"] == column["6 units"] == (0.5,) * 6
    assert column["published, 4 units"] == (None,) * 6
    assert column["published, 6 units"] == (None, 0.3252, None, None, None, None)


def test_resumed_it_trains_nothing_again(done: Path, prepared: Path, tmp_path: Path) -> None:
    output = tmp_path / "copy"
    shutil.copytree(done, output)
    outcomes = {path: path.stat().st_mtime_ns for path in output.rglob("outcome.npz")}
    assert len(outcomes) == 4
    missing = next(path for path in outcomes if "dgex-1x4" in str(path))
    missing.unlink()
    grid("--data", prepared, "-o", output, *ARGUMENTS, "--resume")()
    assert {path for path, time in outcomes.items() if path.stat().st_mtime_ns != time} == {missing}
    for name in ("dgex-grid", "dgex-grid-errors"):
        assert (output / "tables" / f"{name}.csv").read_text() == (done / "tables" / f"{name}.csv").read_text()


def test_estimate_writes_nothing(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    grid("--data", prepared, "--estimate", "--epochs", 100, "-o", tmp_path / "new", "--devices", 1)()
    printed = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    (line,) = [line for line in printed.splitlines() if line.strip().startswith("1 × 4, dropout 10 %")]
    (heading,) = [line for line in printed.splitlines() if line.strip().startswith("network ")]
    headings, cells = ([cell.strip() for cell in re.split("[│┃]", each)] for each in (heading, line))
    cell = dict(zip(headings, cells, strict=True))
    train, validation, _ = np.bincount(read_dataset(prepared).split)
    assert cell["parameters"] == str(16 * 4 + 5 * 40)
    assert cell["steps"] == "100"  # a step an epoch
    assert cell["ms a step"] == "36,000" and cell["hours"] == "1"
    assert f"{train} training and {validation} validation samples, 15 -> 40 genes" in printed
    assert "left to train: 2 networks, 2 hours in one process" in printed


def test_estimate_of_what_is_left(done: Path, prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid("--data", prepared, "-o", done, *ARGUMENTS, "--estimate")()
    assert "left to train: 0 networks, 0 hours" in capsys.readouterr().out


def test_bad_input_is_one_line(prepared: Path, done: Path, tmp_path: Path, refused: Callable) -> None:
    assert "give -o, a folder for the results, or --estimate" in refused(grid("--data", prepared))
    assert "holds a run already" in refused(grid("--data", prepared, "-o", done, *ARGUMENTS))
    assert "differs in: epochs" in refused(grid("--data", prepared, "-o", done, "--epochs", 3, "--resume"))
    assert "choose 1 to 4" in refused(grid("--data", prepared, "-o", tmp_path / "new", "--devices", 9))
    assert "No such file" in refused(grid("--data", tmp_path / "none.h5", "-o", tmp_path / "new"))
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(grid("--data", prepared, "-o", tmp_path / "file"))
    mapped = tmp_path / "mapped.h5"
    shutil.copy(prepared, mapped)
    with h5py.File(mapped, "r+") as file:
        preparation = json.loads(file["preparation"].asstr()[()])
        file["preparation"][()] = json.dumps({**preparation, "onto": "another"})
    assert "was mapped onto another data set" in refused(grid("--data", mapped, "-o", tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def activations_done(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("paper")
    arguments = ["--data", prepared, "-o", output, "--units", 12, "--epochs", 2, "--devices", 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full_size, "DEPTH", 1)
        full_size.app(["activations", *map(str, arguments)], standalone_mode=False)
    return output


def test_networks_at_paper_size() -> None:
    models = full_size.activation_networks(6000, 943, 9520)
    found = {model.name: NetworkConfig(943, 9520, **model.network or {}) for model in models}
    size = {"landmarks": 943, "targets": 9520, "hidden": (6000, 6000, 6000), "dropout": 0.1}
    # 10,463 n + 0.4 n^2 is 10,463 x 6,000 + 2 x 6,000^2 at n = 9,460.1.
    towers = {**size, "hidden": (9460, 9460, 9460), "activation": "sigmoid", "taaf": "hidden", "towers": 5}
    assert found == {
        "tanh": NetworkConfig(**size, activation="tanh"),
        "sigmoid": NetworkConfig(**size, activation="sigmoid"),
        "taaf": NetworkConfig(**size, activation="sigmoid", taaf="hidden"),
        "taaf_output_wide": NetworkConfig(**size, activation="sigmoid", taaf="all"),
        "taaf_towers": NetworkConfig(**towers),
        "taaf_checkerboard": NetworkConfig(**towers, checkerboard=True),
        "taaf_checkerboard_linear": NetworkConfig(**towers, checkerboard=True, linear=True, linear_rate=0.1),
    }
    assert [model.covered_fraction for model in models] == [None, None, None, 0.999, None, None, None]


def test_protocol_of_activations() -> None:
    assert full_size.PROTOCOL == Protocol("keras_nadam", "mae", 5e-4, batch=200, epochs=200)


def test_report_of_activations(activations_done: Path) -> None:
    with (activations_done / "tables" / "activations-errors.csv").open(newline="") as file:
        errors = {row["model"]: row for row in csv.DictReader(file)}
    plain = 16 * 12 + 13 * 40  # 15 landmarks, 40 targets
    towers = 15 * 10 + 2 * 5 * 2 * 2 + 11 * 40 + 3 * 4 * 10  # of two units each
    assert {label: row["parameters"] for label, row in errors.items()} == {
        "mean predictor": "",
        "ridge regression": "",
        "tanh": str(plain),
        "sigmoid": str(plain),
        "TAAF": str(plain + 3 * 12),
        "TAAF, output too, wide start": str(plain + 3 * (12 + 40)),
        "TAAF in five towers": str(towers),
        "TAAF in a checkerboard": str(towers),
        "TAAF in a checkerboard with a linear path": str(towers + 16 * 40),
    }
    with (activations_done / "tables" / "activations-comparisons.csv").open(newline="") as file:
        header, *comparisons = csv.reader(file)
    assert len(comparisons) == 12
    for row in comparisons:
        first, second = (
            float(errors[label]["z-score MAE"]) for label in (row[header.index("first")], row[header.index("second")])
        )
        # The first of its name: columns of other intervals end in low and high too.
        difference, low, high = (float(row[header.index(name)]) for name in ("first − second", "low", "high"))
        assert difference == pytest.approx(first - second, abs=1e-6)
        assert low < difference < high
        assert row[header.index("seeds")] == "3"
    results = json.loads((activations_done / "results.json").read_text())
    assert results["work"] == {"experiment": "activations", "units": 12, "seeds": 3, "epochs": 2}
    assert "Which activation is better" in (activations_done / "report.html").read_text()
    assert len(list(activations_done.rglob("outcome.npz"))) == 7 * 3 + 2
    assert not list(activations_done.rglob("checkpoints"))


def test_activations_folder_of_another_run(prepared: Path, activations_done: Path, refused: Callable) -> None:
    def again(*options: str) -> Callable[[], object]:
        return lambda: full_size.app(["activations", "--data", str(prepared), *options], standalone_mode=False)

    assert "give -o" in refused(again())
    assert "differs in: units" in refused(
        again("-o", str(activations_done), "--units", "7", "--epochs", "2", "--resume")
    )
