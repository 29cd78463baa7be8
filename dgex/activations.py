"""Base functions by name, and the published activations that are special cases of TAAF.

Nothing here has parameters of its own: a base is an elementwise function of ``z``, and a contained activation says
which ``alpha, beta, gamma, delta`` turn a base into it.
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
    """The identity."""
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
    """The elementwise function behind a name; a callable is returned as it is.

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
    """A published activation written as ``alpha * base(beta * z + gamma) + delta``.

    ``parameters(a, b)`` gives ``(alpha, beta, gamma, delta)`` from the activation's own parameters, of which it may use
    none, one or both; ``formula`` is the published form. Where one parameter sets two of the four, the activation is a
    curve inside TAAF's four dimensions: a TAAF can become it, but is free to leave it.
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
