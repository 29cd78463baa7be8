"""Learning-rate rules against the papers' numbers, and refused settings."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from dgex.errors import DgexError
from dgex.protocols import (
    DGEX,
    DGEX_ONE_LAYER,
    EXAMPLE,
    EXAMPLE_SCHEDULED,
    LOSSES,
    PROTOCOLS,
    Plateau,
    Protocol,
    learning_rate,
    named_protocol,
)


def test_example_matches_the_readme():
    assert EXAMPLE == Protocol("keras_nadam", "mae", 5e-4, 64, 600)
    assert {learning_rate(EXAMPLE, [math.nan] * done) for done in range(600)} == {5e-4}


@pytest.mark.parametrize(
    ("epoch", "factor"),
    [
        *[(0, 1), (400, 1), (401, 0.1), (475, 0.1), (476, 0.01)],
        *[(550, 0.01), (551, 1e-3), (575, 1e-3), (576, 5e-4), (599, 5e-4)],
    ],
)
def test_written_schedule(epoch, factor):
    """The original's function says `if epoch > 400`, with epochs counted from 0."""
    assert learning_rate(EXAMPLE_SCHEDULED, [math.nan] * epoch) == pytest.approx(5e-4 * factor, rel=1e-12)


def test_dgex_settings():
    assert DGEX == Protocol("dgex_sgd", "sse", 3e-4, 200, DGEX.epochs, plateau=Plateau(0.9, 1e-5, 5000))
    assert replace(DGEX_ONE_LAYER, learning_rate=3e-4) == DGEX
    assert DGEX_ONE_LAYER.learning_rate == 5e-4


@pytest.mark.parametrize(
    ("monitor", "rises"),
    [
        ([], 0),
        ([0.5], 0),
        ([0.5, 0.4, 0.3], 0),
        ([0.5, 0.5], 0),
        ([0.5, 0.51], 1),
        ([0.5, 0.3, 0.4, 0.35, 0.36], 2),  # against the epoch before, not against the best
    ],
)
def test_plateau_lowers_the_rate_whenever_the_monitor_rises(monitor, rises):
    assert learning_rate(DGEX, monitor) == pytest.approx(3e-4 * 0.9**rises, rel=1e-12)


def test_plateau_floor():
    # 3e-4 * 0.9^32 is the last above 1e-5.
    assert learning_rate(DGEX, list(range(33))) == pytest.approx(3e-4 * 0.9**32, rel=1e-12)
    assert learning_rate(DGEX, list(range(34))) == 1e-5
    assert learning_rate(DGEX, list(range(100))) == 1e-5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "adam"}, "unknown optimiser 'adam'; known: keras_nadam"),
        ({"loss": "huber"}, "unknown loss 'huber'; known: mae, mse, sse"),
        ({"learning_rate": 0.0}, "learning rate must be positive, not 0.0"),
        ({"learning_rate": math.nan}, "learning rate must be positive, not nan"),
        ({"batch": 0}, "batch and epochs must be at least 1, not 0 and 600"),
        ({"epochs": 0}, "batch and epochs must be at least 1, not 64 and 0"),
    ],
)
def test_errors(fields, message):
    with pytest.raises(DgexError, match=message):
        replace(EXAMPLE, **fields)


@pytest.mark.parametrize(("loss", "expected"), [("mae", 3 / 4), ("mse", 5 / 4), ("sse", 5.0)])
def test_a_missing_target_has_no_loss_and_no_gradient(loss, expected):
    """A value weighs the same however many others its profile lacks."""
    prediction, target = jnp.array([[1.0, 9.0, 2.0, 0.0]]), jnp.array([[0.0, jnp.nan, 4.0, 0.0]])
    assert LOSSES[loss](prediction, target).tolist() == [expected]
    gradient = jax.grad(lambda prediction: LOSSES[loss](prediction, target).sum())(prediction)
    slope = {"mae": [1 / 4, -1 / 4], "mse": [2 / 4, -4 / 4], "sse": [2.0, -4.0]}[loss]
    assert gradient[0, [0, 2]].tolist() == slope and gradient[0, 1] == 0


def test_named_protocols():
    assert set(PROTOCOLS) == {"example", "example-scheduled", "dgex", "quick", "residual"}
    assert named_protocol("example", 2) == named_protocol("example", 1) == (EXAMPLE, "glorot")
    with pytest.raises(DgexError, match="unknown protocol 'slow'; known: example, example-scheduled, dgex, quick"):
        named_protocol("slow", 2)
    with pytest.raises(DgexError, match="batch and epochs must be at least 1, not 64 and 0"):
        named_protocol("example", 2, 0)


@pytest.mark.parametrize(("layers", "rate"), [(0, 5e-4), (1, 5e-4), (2, 3e-4), (3, 3e-4)])
def test_dgex_by_name_has_its_initialisation_and_the_rate_of_the_depth(layers, rate):
    assert named_protocol("dgex", layers) == (replace(DGEX, learning_rate=rate), "dgex")
    assert named_protocol("dgex", layers, 7) == (replace(DGEX, learning_rate=rate, epochs=7), "dgex")
