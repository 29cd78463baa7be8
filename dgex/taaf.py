"""The transformative adaptive activation function (TAAF).

    g_i(z) = alpha_i * f(beta_i * z + gamma_i) + delta_i

for unit i, with any elementwise base function f and four learnable parameters a unit, initially 1, 1, 0, 0, so that a
fresh TAAF is its base function. ``taaf`` is the function. ``TAAF`` is the Linen module around it, which stands where a
network calls its activation:

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
    new_axes = jnp.ndim(z) - jnp.ndim(parameter)
    return jnp.expand_dims(parameter, range(new_axes)) if jnp.ndim(parameter) and new_axes > 0 else parameter


def taaf(
    z: jax.Array, alpha: jax.Array, beta: jax.Array, gamma: jax.Array, delta: jax.Array, base: str | Base = "sigmoid"
) -> jax.Array:
    """Computes ``alpha * base(beta * z + gamma) + delta``, elementwise.

    Args:
      z: pre-activations ``[..., units]``.
      alpha: output scale; ``[units]``, a scalar, or any array that broadcasts against ``z``, as all four parameters.
      beta: input scale.
      gamma: input shift.
      delta: output shift.
      base: the base function, a name of ``dgex.activations.BASES`` or a callable on arrays.

    Returns:
      Activations ``[..., units]``, in the dtype that the arguments promote to.

    Raises:
      DgexError: no base function has that name.

    Examples:
      The hyperbolic tangent is a TAAF of the sigmoid.

      >>> import jax.numpy as jnp
      >>> taaf(jnp.array([-1.0, 0.0, 1.0]), 2.0, 2.0, 0.0, -1.0)
      Array([-0.7615942 ,  0.        ,  0.76159406], dtype=float32)
    """
    alpha, beta, gamma, delta = (align(parameter, z) for parameter in (alpha, beta, gamma, delta))
    return alpha * base_function(base)(beta * z + gamma) + delta


def spanning(base: str, reach: float) -> tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]:
    """Computes the ``(alpha, beta, gamma, delta)`` with which a TAAF starts linear and wide enough for the targets.

    A TAAF of a bounded base on the output layer cannot follow targets outside ``[delta, delta + alpha]``, at first
    [0, 1] for a sigmoid; and an optimiser that normalises its steps, as Adam and Nadam do, moves alpha and delta by no
    more than about the learning rate a step. So alpha and delta must start where the targets are. Let these have mean 0
    and lie within ``+-reach``. Then beta and delta of ``o(z) = alpha f(beta z + gamma) + delta`` follow from alpha and
    gamma by

        centre   o(0) = 0, the mean of the targets       =>  delta = -alpha f(gamma)
        slope    o'(0) = alpha beta f'(gamma) = 1        =>  beta = 1 / (alpha f'(gamma))

    With these a fresh output layer equals a linear one to first order in z, so initial kernels and learning rates mean
    the same for both. Alpha and gamma depend on which ends of f's range (low, high) are finite:

        both finite   gamma = 0, the centre of symmetry; alpha = 2 reach / (high - low), the least whose range, centred
                      by delta, contains +-reach
        low finite    alpha = 1 by convention; gamma = reach, for relu and elu the least shift that keeps the bend from
                      lying above the least target, and the same for the smooth bases, which have no such point
        none          alpha = 1, gamma = 0, the identity

    In the second row the lower end of o, low - f(reach), is at most -reach for every base of ``dgex.activations``. One
    reach serves all genes, as the z-scores of each have mean 0 and SD 1.

    Args:
      base: a name of ``dgex.activations.BASES``.
      reach: how far the targets lie from 0, in their units (standard deviations for z-scores); positive. The function
        ``reach`` computes it from training targets.

    Returns:
      The four parameters, each a scalar.

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
    """Computes how far from 0 an output TAAF must reach to cover a share of the training targets.

    The result is the least r with ``|z| <= r`` for at least ``share`` of all values, samples and genes together, a
    quantile. It is one number for all genes because the z-scores of each have mean 0 and SD 1, so that genes differ
    only in their tails. It is not the largest value: one outlier would set the scale of every gene. The few values
    beyond r remain within what training can reach, as it moves alpha and delta.

    Args:
      target: z-scores of training samples, ``[samples, genes]``. Two copies are made, so give a sample of a large set:
        some thousand profiles hold millions of values.
      share: the share of the values to cover, in [0, 1].

    Raises:
      DgexError: there are no values, or some are not finite.
    """
    distance = np.abs(np.asarray(target))
    if distance.size == 0:
        raise DgexError("there are no target values to reach; give at least one training sample and one gene")
    if unusable := np.count_nonzero(~np.isfinite(distance)):
        raise DgexError(f"{unusable:,} of {distance.size:,} target z-scores are not finite; correct or leave them out")
    return float(np.quantile(distance, share, method="inverted_cdf"))


def arithmetic_dtype(z: jax.Array) -> jnp.dtype:
    """Returns the dtype that a learnable activation computes in: float64 for float64 input, otherwise float32."""
    return jnp.dtype(jnp.float64 if z.dtype == jnp.float64 else jnp.float32)


def parameter_axes(z: jax.Array, share: Share) -> tuple[int, ...]:
    """Returns the leading axes of a learnable activation's parameters.

    Args:
      z: pre-activations ``[..., units]``.
      share: "unit" for axes ``(units,)``, "layer" for no axes.

    Raises:
      DgexError: ``share`` is neither.
      TypeError: ``z`` does not have a floating dtype.
    """
    if share not in get_args(Share):
        raise DgexError(f"activation parameters are shared per 'unit' or per 'layer', not {share!r}")
    if not jnp.issubdtype(z.dtype, jnp.floating):
        raise TypeError(f"a learnable activation needs floating-point input, not {z.dtype}")
    return z.shape[-1:] if share == "unit" else ()


class TAAF(nn.Module):
    """Applies a TAAF, a learnable activation, per unit (or one for the layer) over the last axis of its input.

    The parameters are float32 and so is the arithmetic. The result has the input's dtype, as with any activation
    function, so the module fits a bfloat16 network as it is. float64 input (with x64 enabled) is computed in float64.

    Attributes:
      base: the base function, a name of ``dgex.activations.BASES`` or a callable on arrays.
      learn: which of alpha, beta, gamma and delta are learnt. The others are no parameters of the module; they stay at
        their initialiser's value, which should then be a constant.
      share: "unit" gives every unit its own four parameters, each ``[units]``. "layer" gives one set of four scalars
        ``[]`` to the whole layer, or to every layer that calls the same instance.
      alpha_init: initialiser of alpha, by default to 1; the four defaults start the unit as its base function.
      beta_init: initialiser of beta, by default to 1.
      gamma_init: initialiser of gamma, by default to 0.
      delta_init: initialiser of delta, by default to 0.

    Raises:
      DgexError: ``base``, ``share`` or a name in ``learn`` is unknown.
      TypeError: the input does not have a floating dtype.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> module = TAAF("sigmoid", learn=("alpha", "delta"))
      >>> params = module.init(jax.random.key(0), jnp.ones((1, 3)))["params"]
      >>> params
      {'alpha': Array([1., 1., 1.], dtype=float32), 'delta': Array([0., 0., 0.], dtype=float32)}
      >>> module.apply({"params": params}, jnp.zeros((2, 3)))
      Array([[0.5, 0.5, 0.5],
             [0.5, 0.5, 0.5]], dtype=float32)

      In a Flax NNX network it stands inside Flax's own bridge.

      >>> from flax import nnx
      >>> class Net(nnx.Module):
      ...     def __init__(self, rngs):
      ...         self.hidden = nnx.Linear(8, 64, use_bias=False, rngs=rngs)
      ...         self.taaf = nnx.bridge.ToNNX(TAAF("sigmoid"), rngs=rngs).lazy_init(jnp.ones((1, 64)))
      ...         self.out = nnx.Linear(64, 1, rngs=rngs)
      ...
      ...     def __call__(self, x):
      ...         return self.out(self.taaf(self.hidden(x)))
      >>> net = Net(nnx.Rngs(0))
      >>> net(jnp.ones((5, 8))).shape
      (5, 1)
      >>> sorted(nnx.state(net.taaf, nnx.Param)), net.taaf.alpha.shape
      (['alpha', 'beta', 'delta', 'gamma'], (64,))
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
        """Applies the activation to pre-activations ``[..., units]``; the result has the same shape and dtype."""
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
