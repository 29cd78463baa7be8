"""The transformative adaptive activation function (TAAF).

    g_i(z) = alpha_i * f(beta_i * z + gamma_i) + delta_i

for unit i, with any elementwise base f and four learnt parameters a unit, initially 1, 1, 0, 0, so that a fresh TAAF is
its base. ``taaf`` is the function; ``TAAF`` is the Linen module around it, put where a network calls its activation:

    x = nn.Dense(300, use_bias=False)(x)    # gamma is the bias
    x = TAAF("sigmoid")(x)

Source: Kunc & Klema, "On transformative adaptive activation functions in neural networks for gene expression
inference", PLoS ONE 16(1): e0243915 (2021), doi 10.1371/journal.pone.0243915.
"""

import math
from typing import Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dgex.activations import RANGES, Base, base_function
from dgex.errors import DgexError

PARAMETERS = ("alpha", "beta", "gamma", "delta")
Share = Literal["unit", "layer"]

Initializer = jax.nn.initializers.Initializer


def align(parameter: jax.Array, z: jax.Array) -> jax.Array:
    """Gives a parameter ``[units]`` leading axes of length one, as many as ``z`` has, so that no rank is promoted."""
    missing = jnp.ndim(z) - jnp.ndim(parameter)
    return jnp.expand_dims(parameter, range(missing)) if jnp.ndim(parameter) and missing > 0 else parameter


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

    Example: tanh is a TAAF of the sigmoid.

      >>> import jax.numpy as jnp
      >>> taaf(jnp.array([-1.0, 0.0, 1.0]), 2.0, 2.0, 0.0, -1.0)
      Array([-0.7615942 ,  0.        ,  0.76159406], dtype=float32)
    """
    alpha, beta, gamma, delta = (align(parameter, z) for parameter in (alpha, beta, gamma, delta))
    return alpha * base_function(base)(beta * z + gamma) + delta


def spanning(base: str, reach: float) -> tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]:
    """The scalars ``(alpha, beta, gamma, delta)`` with which a TAAF starts as a linear unit, but wide enough.

    A TAAF of a bounded base on the output layer cannot follow targets outside ``[delta, delta + alpha]``, at first
    [0, 1] for a sigmoid; and an optimiser that normalises its steps, as Adam and Nadam do, moves alpha and delta by no
    more than about the learning rate a step. So they must start where the targets are. For targets of mean 0 that lie
    within ``+-reach``, beta and delta of ``o(z) = alpha f(beta z + gamma) + delta`` follow from alpha and gamma by

        centre   o(0) = 0, the mean of the targets       =>  delta = -alpha f(gamma)
        slope    o'(0) = alpha beta f'(gamma) = 1        =>  beta = 1 / (alpha f'(gamma))

    which make a fresh output layer equal to a linear one to first order in z, so initial kernels and learning rates
    mean the same for both. Alpha and gamma depend on which ends f's range (low, high) has:

        both finite   gamma = 0, the centre of symmetry; alpha = 2 reach / (high - low), the least whose range, centred
                      by delta, contains +-reach
        low finite    alpha = 1 by convention; gamma = reach, for relu and elu the least shift that keeps the bend from
                      lying above the least target, and the same for the smooth bases, which have no such point
        none          alpha = 1, gamma = 0, the identity

    In the second row o's lower end, low - f(reach), is at most -reach for every base of ``dgex.activations``. One reach
    serves all genes, as z-scores have mean 0 and SD 1 in each.

    Args:
      base: a name of ``dgex.activations.BASES``.
      reach: how far the targets lie from 0, in their units (standard deviations for z-scores); positive. ``reach``
        takes it from training targets.

    Raises:
      DgexError: no base function has that name.
    """
    f = base_function(base)
    low, high = RANGES[base]
    alpha = 2 * reach / (high - low) if math.isfinite(high - low) else 1.0
    gamma = float(reach) if math.isfinite(low) and not math.isfinite(high) else 0.0
    value, slope = jax.value_and_grad(f)(gamma)
    return alpha, 1 / (alpha * slope), gamma, -alpha * value


def reach(target: np.ndarray | jax.Array, share: float = 0.999) -> float:
    """How far from 0 an output TAAF must reach to cover that share of the training targets.

    The least r with ``|z| <= r`` for at least ``share`` of all values, samples and genes together. It is one number for
    all genes because z-scores have mean 0 and SD 1 in each, so that genes differ only in their tails. Nor is it the
    largest value: one outlier would set the scale of every gene, while the few values beyond r are still in reach of
    alpha and delta, which training moves.

    Args:
      target: z-scores of training samples, ``[samples, genes]``. Two copies are made, so give a sample of a large set:
        some thousand profiles hold millions of values.
      share: in [0, 1].

    Raises:
      DgexError: no values, or not all are finite.
    """
    distance = np.abs(np.asarray(target))
    if distance.size == 0:
        raise DgexError("the reach of no target values is asked for; give at least one training sample and one gene")
    if unfit := np.count_nonzero(~np.isfinite(distance)):
        raise DgexError(f"{unfit:,} of {distance.size:,} target z-scores are not finite; correct or leave them out")
    return float(np.quantile(distance, share, method="inverted_cdf"))


def arithmetic_dtype(z: jax.Array) -> jnp.dtype:
    """Returns the dtype that a learnable activation computes in: float64 for float64 input, otherwise float32."""
    return jnp.dtype(jnp.float64 if z.dtype == jnp.float64 else jnp.float32)


def parameter_axes(z: jax.Array, share: Share) -> tuple[int, ...]:
    """The leading axes of a learnt activation's parameters: ``[units]`` of ``z``'s last axis, or none for a layer.

    Raises:
      DgexError: an unknown ``share``.
      TypeError: ``z`` is not of a floating dtype.
    """
    if share not in get_args(Share):
        raise DgexError(f"activation parameters are shared per 'unit' or per 'layer', not {share!r}")
    if not jnp.issubdtype(z.dtype, jnp.floating):
        raise TypeError(f"a learnt activation needs floating-point input, not {z.dtype}")
    return z.shape[-1:] if share == "unit" else ()


class TAAF(nn.Module):
    """One TAAF per unit (or one for the layer) over the last axis of its input.

    The parameters are float32 and so is the arithmetic; the result has the input's dtype, as with any activation
    function, so the module fits a bfloat16 network as it is. float64 input (with x64 enabled) is computed in float64.

    Attributes:
      base: the base function, a name of ``dgex.activations.BASES`` or a callable on arrays.
      learn: which of alpha, beta, gamma and delta are learnt. The others are no parameters of the module; they stay at
        their initialiser's value, which should then be a constant.
      share: "unit" gives every unit its own four ``[units]``, "layer" one set of four scalars ``[]`` to the whole
        layer, or to every layer that calls the same instance.
      alpha_init, beta_init, gamma_init, delta_init: initialisers; 1, 1, 0, 0 start the unit as its base function.

    Raises:
      DgexError: an unknown base, an unknown name in ``learn``, or an unknown ``share``.
      TypeError: the input is not of a floating dtype.

    Example:

      >>> import jax, jax.numpy as jnp
      >>> module = TAAF("sigmoid", learn=("alpha", "delta"))
      >>> params = module.init(jax.random.key(0), jnp.ones((1, 3)))["params"]
      >>> params
      {'alpha': Array([1., 1., 1.], dtype=float32), 'delta': Array([0., 0., 0.], dtype=float32)}
      >>> module.apply({"params": params}, jnp.zeros((2, 3)))
      Array([[0.5, 0.5, 0.5],
             [0.5, 0.5, 0.5]], dtype=float32)
    """

    base: str | Base = "sigmoid"
    learn: tuple[str, ...] = PARAMETERS
    share: Share = "unit"
    alpha_init: Initializer = nn.initializers.ones
    beta_init: Initializer = nn.initializers.ones
    gamma_init: Initializer = nn.initializers.zeros
    delta_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps ``[..., units]`` to ``[..., units]``."""
        if unknown := set(self.learn) - set(PARAMETERS):
            raise DgexError(f"TAAF cannot learn {', '.join(sorted(unknown))}; choose from {', '.join(PARAMETERS)}")
        shape = parameter_axes(z, self.share)

        def parameter(name: str) -> jax.Array:
            init = getattr(self, f"{name}_init")
            if name in self.learn:
                return self.param(name, init, shape, jnp.float32)
            return init(jax.random.key(0), shape, jnp.float32)

        dtype = arithmetic_dtype(z)
        alpha, beta, gamma, delta = (parameter(name).astype(dtype) for name in PARAMETERS)
        return taaf(z.astype(dtype), alpha, beta, gamma, delta, self.base).astype(z.dtype)
