"""Figures of TAAF's parameters and shapes: whatever a network learns and shares, and if training hardly moved it."""

from pathlib import Path

import numpy as np
import pytest

from dgex.networks import NetworkConfig
from experiments.figures import save, taaf_parameters, taaf_shapes


def test_parameters_a_few_roundings_apart(tmp_path: Path) -> None:
    alpha = np.float32(1) + np.arange(3, dtype=np.float32) * np.finfo(np.float32).eps
    params = {"H0_taaf": {"alpha": alpha, "beta": alpha, "gamma": np.zeros(3), "delta": np.float32([1e-9, 0, -1e-9])}}
    figure = taaf_parameters([params], NetworkConfig(4, 2, (3,), taaf="hidden"), "TAAF")
    for axes in figure.axes:
        assert sum(patch.get_height() for patch in axes.patches) == 3  # every unit is in a bar
    save(figure, tmp_path, "parameters")
    assert {path.name for path in tmp_path.iterdir()} == {"parameters.png", "parameters.svg"}


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


# A network that learns two of the four in each unit, and whose output starts wide; and one that shares all of them.
PARTIAL = NetworkConfig(4, 50, (30,), taaf="all", learn=("alpha", "gamma"), output_reach=5.0)
SHARED = NetworkConfig(4, 50, (30, 20), taaf="all", share="network")
FOUR = {"alpha": np.float32(2), "beta": np.float32(3), "gamma": np.float32(-1), "delta": np.float32(0.5)}
PARAMS = {
    PARTIAL: {
        "H0": {"kernel": np.zeros((4, 30), "f4")},
        "H0_taaf": {"alpha": np.linspace(0.5, 1.5, 30), "gamma": np.zeros(30)},
        "outputs_taaf": {"alpha": np.linspace(8, 12, 50), "gamma": np.linspace(-1, 1, 50)},
    },
    SHARED: {
        "H0": {"kernel": np.zeros((4, 30), "f4"), "bias": np.zeros(30)},
        "hidden_taaf": FOUR,
        "outputs_taaf": FOUR,
    },
}


@pytest.mark.parametrize(
    ("config", "panels"),
    [
        # Title, initial value (dotted), number of values over two seeds.
        (
            PARTIAL,
            [("H0: alpha", 1, 60), ("H0: gamma", 0, 60), ("outputs: alpha", 10, 100), ("outputs: gamma", 0, 100)],
        ),
        (
            SHARED,
            [
                (f"{layer}: {name}", initial, 2)
                for layer in ("hidden", "outputs")
                for name, initial in (("alpha", 1), ("beta", 1), ("gamma", 0), ("delta", 0))
            ],
        ),
    ],
    ids=["partial", "shared"],
)
def test_histograms_of_what_is_learnt(config: NetworkConfig, panels: list[tuple[str, float, int]]) -> None:
    figure = taaf_parameters([PARAMS[config]] * 2, config, "TAAF")
    found = [
        (axes.get_title(), axes.lines[0].get_xdata()[0], sum(patch.get_height() for patch in axes.patches))
        for axes in figure.axes
    ]
    assert found == panels
    assert figure.axes[0].get_ylabel() == ("units" if config is PARTIAL else "networks")


@pytest.mark.parametrize("params", [{}, {"H0_taaf": {}}])
def test_nothing_learnt_is_a_title_alone(params: dict[str, dict[str, np.ndarray]], tmp_path: Path) -> None:
    config = NetworkConfig(4, 3, (5,), taaf="hidden", learn=())
    for figure in (taaf_parameters([params], config, "TAAF"), taaf_shapes(params, config, "TAAF")):
        assert not figure.axes
        assert figure.get_suptitle() == "TAAF: no learnt parameters"
        save(figure, tmp_path, "nothing")


def test_shapes_with_parameters_that_are_not_learnt() -> None:
    hidden, outputs = taaf_shapes(PARAMS[PARTIAL], PARTIAL, "TAAF").axes
    assert hidden.get_title() == "H0: 24 of 30 units"
    assert outputs.get_title() == "outputs: 24 of 50 units"
    z = np.linspace(-6, 6, 241)
    *curves, initial = (line.get_ydata() for line in hidden.lines)
    assert len(curves) == 24
    np.testing.assert_allclose(curves[0], 0.5 * sigmoid(z), rtol=1e-5)
    np.testing.assert_allclose(curves[-1], 1.5 * sigmoid(z), rtol=1e-5)
    np.testing.assert_allclose(initial, sigmoid(z), rtol=1e-5)
    # Reach 5: alpha = 10, beta = 1 / (10 / 4), delta = -5. Beta and delta, not learnt, are still those.
    *curves, initial = (line.get_ydata() for line in outputs.lines)
    np.testing.assert_allclose(curves[0], 8 * sigmoid(0.4 * z - 1) - 5, atol=1e-5)
    np.testing.assert_allclose(initial, 10 * sigmoid(0.4 * z) - 5, atol=1e-5)


def test_a_shared_shape_is_one_curve() -> None:
    hidden, outputs = taaf_shapes(PARAMS[SHARED], SHARED, "TAAF").axes
    assert hidden.get_title() == "hidden: one for all layers"
    assert outputs.get_title() == "outputs: one for the layer"
    curve, initial = (line.get_ydata() for line in hidden.lines)
    z = np.linspace(-6, 6, 241)
    np.testing.assert_allclose(curve, 2 * sigmoid(3 * z - 1) + 0.5, rtol=1e-5)
    np.testing.assert_allclose(initial, sigmoid(z), rtol=1e-5)
