"""Figures of runs with known contents: TAAF's parameters and shapes, whatever a network learns and shares; curves."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments.report.charts import KINDS
from experiments.report.figures import learning_curves, taaf_parameters, taaf_shapes
from experiments.report.sections import Figure
from experiments.trials.models import ModelSpec
from experiments.trials.outcome import Outcome

# A network that learns two of the four in each unit, and whose output starts wide; and one that shares all of them.
PARTIAL = {"hidden": (30,), "taaf": "all", "learn": ("alpha", "gamma")}
SHARED = {"hidden": (30, 20), "taaf": "all", "share": "network"}
FOUR = {"alpha": np.float32(2), "beta": np.float32(3), "gamma": np.float32(-1), "delta": np.float32(0.5)}


def run(network: dict[str, Any], taaf: dict[str, Any], reach: float | None = None, seeds: int = 2) -> Any:
    """A run, as far as these figures look at it."""
    outcome = Outcome(
        held_out_errors={}, validation_mae=0.5, parameters=1, best_epoch=1, chosen=None, output_reach=reach,
        curve=np.ones((2, 1)), taaf=taaf, seconds=1.0, diverged=None, made="",
    )  # fmt: skip
    return SimpleNamespace(model=ModelSpec("taaf", "TAAF", network), outcomes=[[outcome] * seeds])


WIDE = run(
    PARTIAL,
    {
        "H0_taaf/alpha": np.linspace(0.5, 1.5, 30),
        "H0_taaf/gamma": np.zeros(30),
        "outputs_taaf/alpha": np.linspace(8, 12, 50),
        "outputs_taaf/gamma": np.linspace(-1, 1, 50),
    },
    reach=5.0,
)
ONE = run(SHARED, {f"{layer}_taaf/{name}": value for layer in ("hidden", "outputs") for name, value in FOUR.items()})


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def drawn(figure: Figure) -> Any:
    return KINDS[figure.kind](**figure.data)


@pytest.mark.parametrize(
    ("of", "panels"),
    [
        # Title, initial value, number of values over two seeds.
        (
            WIDE,
            [("H0: alpha", 1, 60), ("H0: gamma", 0, 60), ("outputs: alpha", 10, 100), ("outputs: gamma", 0, 100)],
        ),
        (
            ONE,
            [
                (f"{layer}: {name}", initial, 2)
                for layer in ("hidden", "outputs")
                for name, initial in (("alpha", 1), ("beta", 1), ("gamma", 0), ("delta", 0))
            ],
        ),
    ],
)
def test_histograms_of_what_is_learnt(of: Any, panels: list[tuple[str, float, int]]) -> None:
    figure = taaf_parameters("parameters", of)
    assert [(each["title"], each["mark"], sum(each["counts"])) for each in figure.data["panels"]] == panels
    assert drawn(figure).axes


def test_parameters_a_few_roundings_apart() -> None:
    alpha = np.float32(1) + np.arange(3, dtype=np.float32) * np.finfo(np.float32).eps
    figure = taaf_parameters("parameters", run({"hidden": (3,), "taaf": "hidden"}, {"H0_taaf/alpha": alpha}, seeds=1))
    assert sum(figure.data["panels"][0]["counts"]) == 3  # every unit is in a bar


def test_shapes_with_parameters_that_are_not_learnt() -> None:
    figure = taaf_shapes("shapes", WIDE)
    hidden, outputs = figure.data["panels"]
    assert (hidden["title"], outputs["title"]) == ("H0: 24 of 30", "outputs: 24 of 50")
    *curves, initial = hidden["series"]
    z = np.array(initial["x"])
    assert (len(curves), z[0], z[-1]) == (24, -6, 6)
    np.testing.assert_allclose(curves[0]["y"], 0.5 * sigmoid(z), atol=1e-5)
    np.testing.assert_allclose(curves[-1]["y"], 1.5 * sigmoid(z), atol=1e-5)
    np.testing.assert_allclose(initial["y"], sigmoid(z), atol=1e-5)
    # Reach 5: alpha = 10, beta = 1 / (10 / 4), delta = -5. Beta and delta, not learnt, are still those.
    *curves, initial = outputs["series"]
    np.testing.assert_allclose(curves[0]["y"], 8 * sigmoid(0.4 * z - 1) - 5, atol=2e-5)
    np.testing.assert_allclose(initial["y"], 10 * sigmoid(0.4 * z) - 5, atol=2e-5)
    assert drawn(figure).axes


def test_a_shared_shape_is_one_curve() -> None:
    hidden, outputs = taaf_shapes("shapes", ONE).data["panels"]
    assert (hidden["title"], outputs["title"]) == ("hidden: 1 of 1", "outputs: 1 of 1")
    curve, initial = hidden["series"]
    z = np.array(curve["x"])
    np.testing.assert_allclose(curve["y"], 2 * sigmoid(3 * z - 1) + 0.5, atol=1e-5)
    np.testing.assert_allclose(initial["y"], sigmoid(z), atol=1e-5)


def test_curves_begin_after_a_tenth_and_end_where_all_have_diverged() -> None:
    curves = np.stack([np.arange(40.0).reshape(2, 20), np.arange(40.0).reshape(2, 20) + 2])
    curves[:, :, 15:] = np.nan
    curves[0, :, 14] = np.nan
    figure = learning_curves("curves", {"TAAF": curves})
    training, validation = (panel["series"][0] for panel in figure.data["panels"])
    assert training["x"] == validation["x"] == list(range(3, 16))
    assert (training["y"][0], training["low"][0], training["high"][0]) == (3, 2, 4)
    assert (validation["y"][-1], validation["low"][-1]) == (36, 36)  # one of the two is left
    assert [panel["title"] for panel in figure.data["panels"]] == ["training (dropout on)", "validation"]
    assert drawn(figure).axes
