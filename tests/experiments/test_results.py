"""Figures over seeds and how they are written."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.results import figure, markdown, over_seeds, taaf_summary, write_json


def test_over_seeds_descends_into_groups() -> None:
    merged = over_seeds([{"a": 1.0, "group": {"b": 4.0}}, {"a": 3.0, "group": {"b": 4.0}}])
    assert merged["a"] == {"mean": 2.0, "sd": pytest.approx(2**0.5), "seeds": [1.0, 3.0]}
    assert merged["group"]["b"] == {"mean": 4.0, "sd": 0.0, "seeds": [4.0, 4.0]}


def test_one_run_has_no_sd() -> None:
    assert over_seeds([{"a": 1.0}])["a"]["sd"] is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"mean": 0.40123, "sd": 0.00104}, "0.4012 ± 0.0010"),
        ({"mean": 0.40123, "sd": None}, "0.4012"),
        ({"mean": float("nan"), "sd": None}, "–"),
    ],
)
def test_figure(value: dict, text: str) -> None:
    assert figure(value) == text


def test_markdown() -> None:
    assert markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_summary_of_what_a_taaf_learns() -> None:
    params = {
        "H0": {"kernel": np.zeros((2, 5)), "bias": np.zeros(5)},
        "H0_taaf": {"beta": np.float32([5, 1, 4, 2, 3])},  # the other three are not learnt
        "H1_prelu": {"slope": np.zeros(5)},
        "outputs_taaf": {"alpha": np.float32(1.5)},  # one for the layer
    }
    assert taaf_summary(params) == {"H0_taaf": {"beta": [1, 2, 3, 4, 5]}, "outputs_taaf": {"alpha": [1.5] * 5}}


def test_undefined_numbers_become_null(tmp_path: Path) -> None:
    write_json(tmp_path / "out.json", {"x": float("nan"), "deep": [{"y": float("nan")}, 1.5]})
    assert json.loads((tmp_path / "out.json").read_text()) == {"x": None, "deep": [{"y": None}, 1.5]}
