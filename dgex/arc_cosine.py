"""Computes the arc-cosine kernel of profiles with given ones, as a layer of a network.

The kernel of order 1 of Cho & Saul (2009, eq. 1 and 6) is ``k(x, y) = |x| |y| / pi (sin t + (pi - t) cos t)``, where t
is the angle between x and y. It equals ``2 E[relu(w x) relu(w y)]`` over ``w ~ N(0, 1)``: a linear layer on the kernel
with all training profiles is a ReLU layer of infinite width (``dgex.baselines.kernel``).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


def arc_cosine(x: jax.Array, profiles: jax.Array) -> jax.Array:
    """Computes the arc-cosine kernel of order 1, float32 ``[..., profiles]``.

    Args:
      x: ``[..., landmarks]``.
      profiles: ``[profiles, landmarks]``; the kernel with a profile of zeros is 0.
    """
    norms = jnp.linalg.norm(profiles, axis=-1).reshape((1,) * (x.ndim - 1) + (-1,))
    lengths = jnp.linalg.norm(x, axis=-1, keepdims=True) * norms
    products = jnp.matmul(x, profiles.T, precision="highest")
    # Rounding takes the cosine of equal profiles beyond 1.
    cosine = jnp.clip(products / jnp.where(lengths > 0, lengths, 1), -1, 1)
    angle = jnp.arccos(cosine)
    return lengths / jnp.pi * (jnp.sin(angle) + (jnp.pi - angle) * cosine)


class ArcCosine(nn.Module):
    """Maps landmarks ``[..., landmarks]`` to their kernel with ``number`` profiles, parameters that are not learnt.

    The kernel is divided by the number of landmarks, so that it is about 1 for z-scores. Its derivative at a profile
    itself is not defined, so none is taken.
    """

    number: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes the kernel, float32 ``[..., number]``."""
        profiles = self.param("profiles", nn.initializers.zeros, (self.number, x.shape[-1]))
        return jax.lax.stop_gradient(arc_cosine(x.astype(jnp.float32), profiles) / x.shape[-1])
