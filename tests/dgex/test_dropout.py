"""Dropout: its random bits are Threefry's, a row's do not depend on the other rows, and the expected value stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgex.dropout import LEVELS, dropout, random_bits


@jax.jit
def drawn(seed, step, row):
    return random_bits(jnp.uint32(seed), jnp.int32(step), jnp.asarray(row, jnp.int32), 4001)


def test_bits_are_those_of_threefry():
    """The published answer for key (0, 0) and counter (0, 0) is 6b200159 99ba4efe (Random123, kat_vectors)."""
    bits = random_bits(jnp.uint32(0), jnp.int32(0), jnp.array([0], jnp.int32), 4)
    assert bits.dtype == np.uint16
    assert bits.tolist() == [[0x0159, 0x6B20, 0x4EFE, 0x99BA]]


def test_bits_belong_to_seed_step_and_row():
    bits = np.asarray(drawn(1, 2, [0, 1, 2, 3]))
    np.testing.assert_array_equal(drawn(1, 2, [3, 1]), bits[[3, 1]])
    # Two independent rows agree in one of 2^16 places.
    for other in (drawn(2, 2, [0])[0], drawn(1, 3, [0])[0], bits[1]):
        assert np.mean(bits[0] == other) < 0.002


def test_bits_are_uniform():
    bits = np.asarray(drawn(0, 0, np.arange(50))) / LEVELS
    assert abs(bits.mean() - 0.5) < 5 / np.sqrt(12 * bits.size)
    assert abs(np.mean(bits < 0.25) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / bits.size)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.999999])
def test_expected_value_stays(rate):
    every = jnp.arange(LEVELS, dtype=jnp.uint16)
    kept = np.asarray(jax.jit(dropout, static_argnums=2)(jnp.full(LEVELS, 3.0), every, rate))
    assert abs(np.mean(kept == 0) - rate) <= 1 / LEVELS
    assert kept.mean(dtype=float) == pytest.approx(3, rel=1e-6)
