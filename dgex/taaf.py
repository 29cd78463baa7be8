"""The transformative adaptive activation function (TAAF).

    g_i(z) = alpha_i * f(beta_i * z + gamma_i) + delta_i

for unit i, with any elementwise base f and four learnt parameters a unit, initially 1, 1, 0, 0, so that a fresh TAAF is
its base. ``taaf`` is the function; ``TAAF`` is the Linen module around it, put where a network calls its activation:

    x = nn.Dense(300, use_bias=False)(x)    # gamma is the bias
    x = TAAF("sigmoid")(x)

Source: Kunc & Klema, "On transformative adaptive activation functions in neural networks for gene expression
inference", PLoS ONE 16(1): e0243915 (2021), doi 10.1371/journal.pone.0243915.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from dgex.activations import Base, base_function
from dgex.errors import DgexError

PARAMETERS = ("alpha", "beta", "gamma", "delta")

Initializer = jax.nn.initializers.Initializer


def taaf(
    z: jax.Array, alpha: jax.Array, beta: jax.Array, gamma: jax.Array, delta: jax.Array, base: str | Base = "sigmoid"
) -> jax.Array:
    """``alpha * base(beta * z + gamma) + delta``, elementwise.

    Args:
      z: pre-activations ``[..., units]``.
      alpha, beta, gamma, delta: output scale, input scale, input shift, output shift; each ``[units]`` or a scalar, or
        anything that broadcasts against ``z``.
      base: the base function, a name of ``dgex.activations.BASES`` or a callable on arrays.

    Returns:
      ``[..., units]``, in the dtype that the arguments promote to.

    Raises:
      DgexError: no base function has that name.
    """
    return alpha * base_function(base)(beta * z + gamma) + delta


class TAAF(nn.Module):
    """One TAAF per unit (or one for the layer) over the last axis of its input.

    The parameters are float32 and so is the arithmetic; the result has the input's dtype, as with any activation
    function, so the module fits a bfloat16 network as it is. float64 input (with x64 enabled) is computed in float64.

    Attributes:
      base: the base function, a name of ``dgex.activations.BASES`` or a callable on arrays.
      learn: which of alpha, beta, gamma and delta are learnt. The others are no parameters of the module; they stay at
        their initialiser's value, which should then be a constant.
      share: "unit" gives every unit its own four ``[units]``, "layer" one set of four scalars ``[]`` to the whole
        layer.
      alpha_init, beta_init, gamma_init, delta_init: initialisers; 1, 1, 0, 0 start the unit as its base function.

    Raises:
      DgexError: an unknown base, an unknown name in ``learn``, or an unknown ``share``.
      TypeError: the input is not of a floating dtype.
    """

    base: str | Base = "sigmoid"
    learn: tuple[str, ...] = PARAMETERS
    share: Literal["unit", "layer"] = "unit"
    alpha_init: Initializer = nn.initializers.ones
    beta_init: Initializer = nn.initializers.ones
    gamma_init: Initializer = nn.initializers.zeros
    delta_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps ``[..., units]`` to ``[..., units]``."""
        if unknown := set(self.learn) - set(PARAMETERS):
            raise DgexError(f"TAAF cannot learn {', '.join(sorted(unknown))}; choose from {', '.join(PARAMETERS)}")
        if self.share not in ("unit", "layer"):
            raise DgexError(f"TAAF is shared per 'unit' or per 'layer', not {self.share!r}")
        if not jnp.issubdtype(z.dtype, jnp.floating):
            raise TypeError(f"TAAF needs floating-point input, not {z.dtype}")
        shape = z.shape[-1:] if self.share == "unit" else ()

        def parameter(name: str) -> jax.Array:
            init = getattr(self, f"{name}_init")
            if name in self.learn:
                return self.param(name, init, shape, jnp.float32)
            return init(jax.random.key(0), shape, jnp.float32)

        dtype = jnp.promote_types(z.dtype, jnp.float32)
        alpha, beta, gamma, delta = (parameter(name).astype(dtype) for name in PARAMETERS)
        return taaf(z.astype(dtype), alpha, beta, gamma, delta, self.base).astype(z.dtype)
