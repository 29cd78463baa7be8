"""The comparison at paper size, from the command line to its report, with layers of a few units."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dgex.networks import NetworkConfig
from dgex.protocols import Protocol
from experiments import paper_size
from experiments.trials import estimate


@pytest.fixture(scope="module")
def done(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("paper")
    arguments = ["--data", prepared, "-o", output, "--units", 5, "--epochs", 2, "--devices", 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper_size, "LAYERS", 1)
        patch.setattr(estimate, "matmul_rate", lambda config, batch, devices: 1e6)
        paper_size.app([str(argument) for argument in arguments], standalone_mode=False)
    return output


def test_networks_at_paper_size() -> None:
    found = {model.name: NetworkConfig(943, 9520, **model.network or {}) for model in paper_size.networks(6000)}
    size = {"landmarks": 943, "targets": 9520, "hidden": (6000, 6000, 6000), "dropout": 0.1}
    assert found == {
        "tanh": NetworkConfig(**size, activation="tanh"),
        "sigmoid": NetworkConfig(**size, activation="sigmoid"),
        "taaf": NetworkConfig(**size, activation="sigmoid", taaf="hidden"),
        "taaf_output_wide": NetworkConfig(**size, activation="sigmoid", taaf="all"),
    }
    assert [model.reach_share for model in paper_size.networks(6000)] == [None, None, None, 0.999]


def test_protocol() -> None:
    assert paper_size.PROTOCOL == Protocol("keras_nadam", "mae", 5e-4, batch=200, epochs=200)


def test_report(done: Path) -> None:
    with (done / "tables" / "paper-size-errors.csv").open(newline="") as file:
        errors = {row["model"]: row for row in csv.DictReader(file)}
    plain = 16 * 5 + 6 * 40  # 15 landmarks, 40 targets
    assert {label: row["parameters"] for label, row in errors.items()} == {
        "mean predictor": "",
        "ridge regression": "",
        "tanh": str(plain),
        "sigmoid": str(plain),
        "TAAF": str(plain + 3 * 5),
        "TAAF, output too, wide start": str(plain + 3 * (5 + 40)),
    }
    with (done / "tables" / "paper-size-comparisons.csv").open(newline="") as file:
        header, *comparisons = csv.reader(file)
    assert len(comparisons) == 7
    for row in comparisons:
        first, second = (
            float(errors[label]["z-score MAE"]) for label in (row[header.index("first")], row[header.index("second")])
        )
        # The first of its name: columns of other intervals end in low and high too.
        difference, low, high = (float(row[header.index(name)]) for name in ("first − second", "low", "high"))
        assert difference == pytest.approx(first - second, abs=1e-6)
        assert low < difference < high
        assert row[header.index("seeds")] == "3"
    results = json.loads((done / "results.json").read_text())
    assert results["work"] == {"experiment": "paper_size", "units": 5, "seeds": 3, "epochs": 2}
    assert "Which activation is better" in (done / "report.html").read_text()
    assert len(list(done.rglob("outcome.npz"))) == 4 * 3 + 2
    assert not list(done.rglob("checkpoints"))


def test_bad_input_is_one_line(prepared: Path, done: Path, refused: Callable) -> None:
    def again(*options: str) -> Callable[[], object]:
        return lambda: paper_size.app(["--data", str(prepared), *options], standalone_mode=False)

    assert "give -o" in refused(again())
    assert "differs in: units" in refused(again("-o", str(done), "--units", "6", "--epochs", "2", "--resume"))
