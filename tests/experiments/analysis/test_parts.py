"""A model's errors on two halves of the targets are, joined, those on all of them."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.analysis.parts import joined
from experiments.trials.heldout import HeldOut, score
from experiments.trials.loading import random_subset
from experiments.trials.outcome import Outcome

GENES, HALF = 11, 5


def outcome(held_out: HeldOut, weights: np.ndarray, validation: float) -> Outcome:
    """The outcome of a linear model."""
    errors = score(lambda landmark: landmark @ weights, held_out)
    curve = np.full((2, 3), validation)
    return Outcome({"test": errors}, validation, 7, 2, None, None, curve, {}, 1.0, None, "abacus")


def test_joined_halves_are_the_whole() -> None:
    random = np.random.default_rng(0)
    landmark, target = (random.normal(size=(20, genes)).astype(np.float32) for genes in (4, GENES))
    weights = random.normal(size=(4, GENES)).astype(np.float32)
    sd, overlap = random.uniform(1, 2, GENES).astype(np.float32), np.arange(GENES) % 3 == 0
    measured = np.arange(GENES) != 6  # a cohort lacks a gene
    whole = HeldOut("test", landmark, target, ("a", "b") * 10, sd, overlap, measured)

    def part(targets: int) -> tuple[int, Outcome]:
        columns = random_subset(GENES, targets)
        fields = {"sd": sd[columns], "overlap": overlap[columns], "measured": measured[columns]}
        held_out = replace(whole, target=target[:, columns], **fields)
        return targets, outcome(held_out, weights[:, columns], validation=float(len(columns)))

    both = joined([part(HALF), part(HALF - GENES)])
    wanted = outcome(whole, weights, 0.0).held_out_errors["test"]
    for name, values in vars(both.held_out_errors["test"]).items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(values, getattr(wanted, name), rtol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(values, getattr(wanted, name), err_msg=name)
    assert both.validation_mae == pytest.approx((5 * 5 + 6 * 6) / 11)
    assert both.curve == pytest.approx(np.full((2, 3), 61 / 11))
    assert (both.parameters, both.best_epoch, both.seconds) == (14, 2, 2.0)


def test_two_outcomes_on_all_targets_are_no_parts() -> None:
    held_out = HeldOut(
        "test", np.ones((2, 4)), np.ones((2, 3)), ("a", "b"), np.ones(3), np.zeros(3, bool), np.ones(3, bool)
    )
    one = outcome(held_out, np.ones((4, 3)), 0.5)
    assert joined([(None, one)]) is one
    with pytest.raises(ValueError, match="all targets"):
        joined([(None, one), (2, one)])
