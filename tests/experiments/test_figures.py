"""Figures of parameters that training hardly moved, as with a small learning rate, are drawn all the same."""

from pathlib import Path

import numpy as np

from experiments.figures import save, taaf_parameters


def test_parameters_a_few_roundings_apart(tmp_path: Path) -> None:
    alpha = np.float32(1) + np.arange(3, dtype=np.float32) * np.finfo(np.float32).eps
    params = {"H0_taaf": {"alpha": alpha, "beta": alpha, "gamma": np.zeros(3), "delta": np.float32([1e-9, 0, -1e-9])}}
    figure = taaf_parameters([params], "TAAF")
    for axes in figure.axes:
        assert sum(patch.get_height() for patch in axes.patches) == 3  # every unit is in a bar
    save(figure, tmp_path, "parameters")
    assert {path.name for path in tmp_path.iterdir()} == {"parameters.png", "parameters.svg"}
