"""Learnable activations that TAAF is compared with.

TAAF contains none of them but swish, with the difference that swish ties alpha to beta. Each is a pure function
``f(z, *parameters)``, elementwise in ``z [..., units]``. ``RIVALS`` has its parameters and their initial values, and
``Rival`` is the one Linen module around all of them. They stand after a dense layer *with* a bias, because only TAAF
has a bias inside:

    x = nn.Dense(300)(x)
    x = Rival("prelu")(x)

In their papers ABU and PAU have one set of parameters a layer, so ``share="layer"`` is the published variant of those
two; PReLU and SReLU have one set a channel, here a unit: ``share="unit"``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from dgex.activations import linear
from dgex.errors import DgexError
from dgex.taaf import Share, align, arithmetic_dtype, parameter_axes


def prelu(z: jax.Array, slope: jax.Array) -> jax.Array:
    """Computes the parametric ReLU, ``max(z, 0) + slope * min(z, 0)``.

    Args:
      z: pre-activations ``[..., units]``.
      slope: ``[units]`` or a scalar.

    Source: He et al., "Delving deep into rectifiers", ICCV 2015, equation 1, where slope starts at 0.25 and each
    channel has its own.
    """
    return jnp.where(z > 0, z, align(slope, z) * z)


def srelu(
    z: jax.Array,
    left_threshold: jax.Array,
    left_slope: jax.Array,
    right_threshold: jax.Array,
    right_slope: jax.Array,
) -> jax.Array:
    """Computes the S-shaped ReLU: the identity between two thresholds, and a learnt slope beyond each.

        t_r + a_r (z - t_r)    for z >= t_r
        z                      for t_l < z < t_r
        t_l + a_l (z - t_l)    for z <= t_l

    Args:
      z: pre-activations ``[..., units]``.
      left_threshold: t_l, ``[units]`` or a scalar, as all four parameters.
      left_slope: a_l.
      right_threshold: t_r.
      right_slope: a_r.

    Source: Jin et al., "Deep learning with S-shaped rectified linear activation units", AAAI 2016, where each
    channel has its own four. There it starts as a leaky ReLU (t_l = 0, a_r = 1), frozen for some epochs, after which
    t_r is set to a high quantile of the unit's inputs. Here nothing is frozen, and the starts a_l = 0.2 and t_r = 1 are
    this project's choice, not the paper's; with a_r = 1 it starts as a leaky ReLU whatever t_r is.
    """
    left_threshold, left_slope, right_threshold, right_slope = (
        align(parameter, z) for parameter in (left_threshold, left_slope, right_threshold, right_slope)
    )
    right = right_threshold + right_slope * (z - right_threshold)
    left = left_threshold + left_slope * (z - left_threshold)
    return jnp.where(z >= right_threshold, right, jnp.where(z > left_threshold, z, left))


BLENDED = (jnp.tanh, jax.nn.elu, jax.nn.relu, linear, jax.nn.silu)


def abu(z: jax.Array, weight: jax.Array) -> jax.Array:
    """Computes the adaptive blending unit, ``sum_k weight_k f_k(z)`` of tanh, ELU, ReLU, identity and swish.

    Args:
      z: pre-activations ``[..., units]``.
      weight: the weights of the five functions, ``[units, 5]`` or ``[5]``.

    Source: Suetfeld et al., "Adaptive blending units: trainable activation functions for deep neural networks",
    Intelligent Computing (SAI 2020), arXiv 1806.10064: the unrestricted form, weights starting at 1/5. There each layer
    has one set of weights, ``share="layer"`` of ``Rival``. The slope inside swish stays 1 here.
    """
    return sum((align(weight[..., k], z) * f(z) for k, f in enumerate(BLENDED)), jnp.zeros_like(z))


def pau(z: jax.Array, numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """Computes the Pade activation unit in its safe form, ``sum_{j=0}^5 a_j z^j / (1 + sum_{k=1}^4 |b_k z^k|)``.

    The absolute values keep the denominator from ever being 0.

    Args:
      z: pre-activations ``[..., units]``.
      numerator: the coefficients a_0 to a_5, ``[units, 6]`` or ``[6]``.
      denominator: the coefficients b_1 to b_4, ``[units, 4]`` or ``[4]``.

    Source: Molina et al., "Pade activation units: end-to-end learning of flexible activation functions in deep
    networks", ICLR 2020, arXiv 1907.06732, where each layer has one set, ``share="layer"`` of ``Rival``. It starts
    from that paper's coefficients for the leaky ReLU of slope 0.01. They belong to the sum of absolute values, version
    A of the authors' code (github.com/ml-research/pau): with it they fit within 0.03 for z in [-3, 3], with the
    absolute value of the sum, ``|sum_k b_k z^k|``, they do not.
    """
    size = jnp.abs(z)
    return horner(z, numerator) / (1 + size * horner(size, jnp.abs(denominator)))


def horner(z: jax.Array, coefficients: jax.Array) -> jax.Array:
    """Evaluates the polynomial ``sum_k coefficients[..., k] z^k`` by Horner's rule."""
    total = jnp.zeros_like(z)
    for k in reversed(range(coefficients.shape[-1])):
        total = total * z + align(coefficients[..., k], z)
    return total


def swish(z: jax.Array, slope: jax.Array) -> jax.Array:
    """Computes swish, ``z * sigmoid(slope * z)``.

    It is the TAAF of silu with beta = slope and alpha = 1 / slope, so that one parameter stands for two.

    Args:
      z: pre-activations ``[..., units]``.
      slope: ``[units]`` or a scalar.

    Source: Ramachandran et al., "Searching for activation functions", 2017, arXiv 1710.05941, slope starting at 1.
    """
    return z * jax.nn.sigmoid(align(slope, z) * z)


@dataclass(frozen=True)
class Learnable:
    """Describes a learnable activation.

    Attributes:
      function: the activation ``function(z, *parameters)``.
      initial: the initial value of each parameter by its name, in the order of ``function``; a tuple stands for a
        parameter with several values a unit.
    """

    function: Callable[..., jax.Array]
    initial: Mapping[str, float | tuple[float, ...]]


RIVALS: dict[str, Learnable] = {
    "prelu": Learnable(prelu, {"slope": 0.25}),
    "srelu": Learnable(srelu, {"left_threshold": 0.0, "left_slope": 0.2, "right_threshold": 1.0, "right_slope": 1.0}),
    "abu": Learnable(abu, {"weight": (1 / len(BLENDED),) * len(BLENDED)}),
    "pau": Learnable(
        pau,
        {
            "numerator": (0.02979246, 0.61837738, 2.32335207, 3.05202660, 1.48548002, 0.25103717),
            "denominator": (1.14201226, 4.39322834, 0.87154450, 0.34720652),
        },
    ),
    "swish": Learnable(swish, {"slope": 1.0}),
}


class Rival(nn.Module):
    """Applies a learnable activation of ``RIVALS``, with its own parameters for every unit of its input's last axis.

    Parameters and arithmetic are float32 (float64 for float64 input) and the result has the input's dtype, as in
    ``dgex.taaf.TAAF``.

    Attributes:
      activation: a name of ``RIVALS``.
      share: "unit" gives every unit its own parameters, ``[units]`` or ``[units, values]``. "layer", the published
        variant of ABU and PAU, gives one set to the whole layer, or to every layer that calls the same instance.

    Raises:
      DgexError: ``activation`` or ``share`` is unknown.
      TypeError: the input does not have a floating dtype.
    """

    activation: str
    share: Share = "unit"

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Applies the activation to pre-activations ``[..., units]``; the result has the same shape and dtype."""
        if self.activation not in RIVALS:
            raise DgexError(f"unknown learnable activation {self.activation!r}; known: {', '.join(sorted(RIVALS))}")
        rival = RIVALS[self.activation]
        axes = parameter_axes(z, self.share)
        dtype = arithmetic_dtype(z)

        def parameter(name: str, initial: float | tuple[float, ...]) -> jax.Array:
            values = jnp.asarray(initial, jnp.float32)
            return self.param(name, lambda key: jnp.broadcast_to(values, axes + values.shape)).astype(dtype)

        parameters = [parameter(name, initial) for name, initial in rival.initial.items()]
        return rival.function(z.astype(dtype), *parameters).astype(z.dtype)
