"""The base functions and the activations that TAAF contains, each against its closed form in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from dgex.activations import BASES, CONTAINED, RANGES, base_function
from dgex.errors import DgexError
from dgex.taaf import taaf

Z = np.concatenate([np.linspace(-6, 6, 121), [-30.0, 30.0]])


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def relu(z):
    return np.maximum(z, 0)


def elu(z):
    return np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1)


def normal_cdf(z):
    return (1 + erf(z / np.sqrt(2))) / 2


BASE_FORMS = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": relu,
    "silu": lambda z: z * sigmoid(z),
    "gelu": lambda z: z * normal_cdf(z),
    "elu": elu,
    "softplus": lambda z: relu(z) + np.log1p(np.exp(-np.abs(z))),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "hard_tanh": lambda z: np.clip(z, -1, 1),
    "linear": lambda z: z,
}

# The published forms, written out anew: functions of z and the activation's own a and b.
CONTAINED_FORMS = {
    "tanh": lambda z, a, b: np.tanh(z),
    "scaled_tanh": lambda z, a, b: a * np.tanh(b * z),
    "trainable_amplitude": lambda z, a, b: a * np.tanh(z) + b,
    "adaptive_slope": lambda z, a, b: np.tanh(b * a * z),
    "psigmoid": lambda z, a, b: a * sigmoid(b * z),
    "swish": lambda z, a, b: z * sigmoid(a * z),
    "eswish": lambda z, a, b: a * z * sigmoid(z),
    "ahaf": lambda z, a, b: a * z * sigmoid(b * z),
    "pelu": lambda z, a, b: np.where(z > 0, a / b * z, a * (np.exp(np.minimum(z, 0) / b) - 1)),
    "celu": lambda z, a, b: np.where(z > 0, z, a * (np.exp(np.minimum(z, 0) / a) - 1)),
    "frelu": lambda z, a, b: relu(z + a) + b,
    "shilu": lambda z, a, b: a * relu(z) + b,
    "elu_vertical": lambda z, a, b: elu(z) + b,
    "elu_horizontal": lambda z, a, b: elu(z + b),
    "max": lambda z, a, b: np.maximum(z, a),
    "hard_sigmoid": lambda z, a, b: np.clip(0.2 * z + 0.5, 0, 1),
    "scaled_softsign": lambda z, a, b: a * z / (b + np.abs(z)),
    "log_sigmoid": lambda z, a, b: np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z))),
    "pgelu": lambda z, a, b: z * normal_cdf(z / a),
}


def test_every_entry_has_a_closed_form_here():
    assert set(BASE_FORMS) == set(BASES)
    assert set(CONTAINED_FORMS) == set(CONTAINED)
    assert set(RANGES) == set(BASES)


@pytest.mark.parametrize("name", BASES)
def test_base(name):
    with jax.enable_x64(True):
        result = base_function(name)(jnp.asarray(Z))
    np.testing.assert_allclose(result, BASE_FORMS[name](Z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", BASES)
def test_range(name):
    # Far enough for the slowest approach, softsign's 1 / |z|, and dense where silu and gelu turn.
    z = np.concatenate([-np.logspace(0, 9, 91)[::-1], np.linspace(-2, 2, 400_001), np.logspace(0, 9, 91)])
    with np.errstate(over="ignore"):
        values = BASE_FORMS[name](z)
    for extreme, bound in zip((values.min(), values.max()), RANGES[name], strict=True):
        if np.isfinite(bound):
            assert abs(extreme - bound) < 1e-8
        else:
            assert extreme == np.copysign(1e9, bound)


@pytest.mark.parametrize("a", [0.4, 1.0, 1.7159])
@pytest.mark.parametrize("b", [2 / 3, 1.0, 2.5])
@pytest.mark.parametrize("name", CONTAINED)
def test_contained(name, a, b):
    contained = CONTAINED[name]
    with jax.enable_x64(True):
        result = taaf(jnp.asarray(Z), *contained.parameters(a, b), contained.base)
    np.testing.assert_allclose(result, CONTAINED_FORMS[name](Z, a, b), rtol=1e-12, atol=1e-12)


def test_callable_base_is_returned_as_it_is():
    assert base_function(jnp.sin) is jnp.sin


def test_unknown_base():
    with pytest.raises(DgexError, match="unknown activation 'sine'; known: elu, gelu"):
        base_function("sine")
