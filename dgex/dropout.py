"""Dropout whose random bits are a function of the seed, the step and the row of the global batch, and of nothing else.

The bits come from Threefry-2x32, which turns a key and a counter into 64 of them. The key is (seed, step) and the
counter (row, number of the draw), so there is no generator state to keep, and any device can draw the bits of any row.
A unit takes 16 bits, a quarter of a draw, because on CPUs a step's draws would otherwise take as long as one of its
smaller matrix products.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), doi 10.1145/2063384.2063405.
"""

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

LEVELS = 2**16  # values of a unit's random bits


def random_bits(seed: jax.Array, step: jax.Array, row: jax.Array, units: int) -> jax.Array:
    """Draws the random bits of some rows of a step's batch, uniform in [0, ``LEVELS``).

    Args:
      seed: the seed of the training, ``u4 []``.
      step: how many steps are done, ``i4 []``.
      row: the rows' numbers in the global batch, ``i4 [rows]``.
      units: how many values each row gets.

    Returns:
      ``u2 [rows, units]``.
    """
    shape = len(row), -(-units // 4)
    counters = (
        jnp.broadcast_to(row.astype(jnp.uint32)[:, None], shape),
        jax.lax.broadcasted_iota(jnp.uint32, shape, 1),
    )
    words = threefry_2x32((seed, step.astype(jnp.uint32)), jnp.stack(counters))
    quarters = [quarter for word in words for quarter in (word % jnp.uint32(LEVELS), word // jnp.uint32(LEVELS))]
    return jnp.concatenate(quarters, axis=1)[:, :units].astype(jnp.uint16)


def dropout(x: jax.Array, bits: jax.Array, rate: float) -> jax.Array:
    """Applies dropout: sets values to 0 with probability ``rate``, and divides the others by 1 - ``rate``.

    Args:
      x: the outputs of a layer, ``[..., units]``.
      bits: random bits of ``random_bits``, of the same shape.
      rate: the probability, in [0, 1), which is rounded to a multiple of 1 / ``LEVELS``.
    """
    dropped = min(round(rate * LEVELS), LEVELS - 1)
    return jnp.where(bits < dropped, 0, x * (LEVELS / (LEVELS - dropped)))
