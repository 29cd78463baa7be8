"""Base functions by name, and the published activations that are special cases of TAAF.

A base is an elementwise function of ``z`` without parameters. A contained activation is a record of the
``alpha, beta, gamma, delta`` that turn a base into it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from dgex.errors import DgexError

Base = Callable[[jax.Array], jax.Array]


def linear(z: jax.Array) -> jax.Array:
    """Returns ``z`` unchanged: the identity."""
    return z


BASES: dict[str, Base] = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "hard_tanh": jax.nn.hard_tanh,
    "linear": linear,
}

# The infimum and supremum of every base.
RANGES: dict[str, tuple[float, float]] = {
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
    "relu": (0, math.inf),
    "silu": (-0.2784645427610738, math.inf),
    "gelu": (-0.16997120747990369, math.inf),
    "elu": (-1, math.inf),
    "softplus": (0, math.inf),
    "softsign": (-1, 1),
    "hard_tanh": (-1, 1),
    "linear": (-math.inf, math.inf),
}


def base_function(base: str | Base) -> Base:
    """Looks up the base function of that name; a callable is returned as it is.

    Args:
      base: a name of ``BASES``, or an elementwise function on arrays.

    Raises:
      DgexError: no base function has that name.
    """
    if callable(base):
        return base
    if base not in BASES:
        raise DgexError(f"unknown activation {base!r}; known: {', '.join(sorted(BASES))}")
    return BASES[base]


Parameters = tuple[float, float, float, float]


@dataclass(frozen=True)
class Contained:
    """Describes a published activation that equals ``alpha * base(beta * z + gamma) + delta``.

    Where one parameter of the activation sets two of the four, the activation is a curve inside TAAF's four dimensions:
    a TAAF can become it, but is free to leave it.

    Attributes:
      base: a name of ``BASES``.
      parameters: maps the activation's own parameters ``(a, b)`` to ``(alpha, beta, gamma, delta)``; it may use none,
        one or both.
      formula: the published form.
      source: the publication, or where else the activation comes from.
    """

    base: str
    parameters: Callable[[float, float], Parameters]
    formula: str
    source: str


CONTAINED: dict[str, Contained] = {
    "tanh": Contained("sigmoid", lambda a, b: (2, 2, 0, -1), "tanh(z)", "identity"),
    "scaled_tanh": Contained("tanh", lambda a, b: (a, b, 0, 0), "a tanh(b z)", "LeCun et al. 1998, a=1.7159, b=2/3"),
    "trainable_amplitude": Contained("tanh", lambda a, b: (a, 1, 0, b), "a tanh(z) + b", "Trentin 2001, any base"),
    "adaptive_slope": Contained(
        "tanh", lambda a, b: (1, b * a, 0, 0), "tanh(b a z)", "Jagtap et al. 2020 (LAAF), n = b"
    ),
    "psigmoid": Contained("sigmoid", lambda a, b: (a, b, 0, 0), "a sigmoid(b z)", "Ying et al. 2021"),
    "swish": Contained("silu", lambda a, b: (1 / a, a, 0, 0), "z sigmoid(a z)", "Ramachandran et al. 2017"),
    "eswish": Contained("silu", lambda a, b: (a, 1, 0, 0), "a z sigmoid(z)", "Alcaide 2018"),
    "ahaf": Contained("silu", lambda a, b: (a / b, b, 0, 0), "a z sigmoid(b z)", "Bodyanskiy and Kostiuk 2022"),
    "pelu": Contained("elu", lambda a, b: (a, 1 / b, 0, 0), "(a/b) z; a (exp(z/b) - 1)", "Trottier et al. 2017"),
    "celu": Contained("elu", lambda a, b: (a, 1 / a, 0, 0), "z; a (exp(z/a) - 1)", "Barron 2017"),
    "frelu": Contained("relu", lambda a, b: (1, 1, a, b), "relu(z + a) + b", "Qiu et al. 2018"),
    "shilu": Contained("relu", lambda a, b: (a, 1, 0, b), "a relu(z) + b", "Pishchik 2023"),
    "elu_vertical": Contained("elu", lambda a, b: (1, 1, 0, b), "elu(z) + b", "Grelsson and Felsberg 2018"),
    "elu_horizontal": Contained("elu", lambda a, b: (1, 1, b, 0), "elu(z + b)", "Grelsson and Felsberg 2018"),
    "max": Contained("relu", lambda a, b: (1, 1, -a, a), "max(z, a)", "identity"),
    "hard_sigmoid": Contained("hard_tanh", lambda a, b: (0.5, 0.4, 0, 0.5), "clip(0.2 z + 0.5, 0, 1)", "Theano, Keras"),
    "scaled_softsign": Contained("softsign", lambda a, b: (a, 1 / b, 0, 0), "a z / (b + |z|)", "Pishchik 2023"),
    "log_sigmoid": Contained("softplus", lambda a, b: (-1, -1, 0, 0), "log sigmoid(z)", "identity"),
    "pgelu": Contained("gelu", lambda a, b: (a, 1 / a, 0, 0), "z Phi(z / a)", "Hendrycks and Gimpel 2016, for a > 0"),
}
