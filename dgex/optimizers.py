"""The optimisers of the named protocols, as optax transforms.

Their ``update`` takes the learning rate as an array ``learning_rate=``. The protocols set it once an epoch, by a
schedule or by a rule that looks at the error, and so the compiled step does not change with it.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dgex.errors import DgexError


class KerasNadamState(NamedTuple):
    """Holds the state of ``scale_by_keras_nadam``."""

    step: jax.Array  # i4 []  steps done
    momentum_product: jax.Array  # f4 []  product of the momentum schedule over the steps done
    mu: optax.Updates  # first moments, as the parameters
    nu: optax.Updates  # second moments, as the parameters


def scale_by_keras_nadam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-7) -> optax.GradientTransformation:
    """Scales updates by Nadam as Keras 2 computes it, with its momentum schedule.

    ``optax.scale_by_adam(nesterov=True)`` has no such schedule.

    At step t = 1, 2, ... with gradient g:
        mu_t = b1 (1 - 0.5 * 0.96^(0.004 t)),  M_t = mu_1 ... mu_t
        m = b1 m + (1 - b1) g,    v = b2 v + (1 - b2) g^2
        update = ((1 - mu_t) g / (1 - M_t) + mu_{t+1} m / (1 - M_t mu_{t+1})) / (sqrt(v / (1 - b2^t)) + eps)

    The scalar factors are multiplied first, so that no array of corrected moments is made. As in Keras, b1 and b2 are
    rounded to float32 before anything is computed from them: with float32(0.999)^t beside an exact 0.001 in v, the
    bias correction and so every step would have a relative error of (float32(0.999) - 0.999) / 0.001 / 2 = 6.4e-6.

    Args:
      b1: decay of the first moments.
      b2: decay of the second moments.
      eps: the number added to the denominator.

    Source: Dozat, "Incorporating Nesterov momentum into Adam" (2016), as in keras 2 ``optimizers.Nadam``, where eps is
    1e-7 and the schedule's decay 0.004.
    """
    b1, b2 = float(np.float32(b1)), float(np.float32(b2))

    def schedule(t: jax.Array) -> jax.Array:
        return b1 * (1 - 0.5 * 0.96 ** (0.004 * t.astype(jnp.float32)))

    def init(params: optax.Params) -> KerasNadamState:
        # Two sets of zeros, because donating one buffer under two names is an error.
        mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return KerasNadamState(jnp.zeros((), jnp.int32), jnp.ones((), jnp.float32), mu, nu)

    def update(
        updates: optax.Updates, state: KerasNadamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, KerasNadamState]:
        del params
        t = state.step + 1
        now, following = schedule(t), schedule(t + 1)
        product = state.momentum_product * now
        from_gradient = (1 - now) / (1 - product)
        from_momentum = following / (1 - product * following)
        # Not 1 - b2^t, which in the first steps has a relative error of 3e-6 by cancellation.
        variance_correction = -1 / jnp.expm1(math.log(b2) * t.astype(jnp.float32))

        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state.nu, updates)
        direction = jax.tree.map(
            lambda g, m, v: (from_gradient * g + from_momentum * m) / (jnp.sqrt(variance_correction * v) + eps),
            updates, mu, nu,
        )  # fmt: skip
        return direction, KerasNadamState(t, product, mu, nu)

    return optax.GradientTransformation(init, update)


def descend() -> optax.GradientTransformationExtraArgs:
    """Multiplies the updates by minus the ``learning_rate`` given to ``update``."""

    def init(params: optax.Params) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    def update(
        updates: optax.Updates, state: optax.EmptyState, params: optax.Params | None = None,
        *, learning_rate: jax.Array, **_: object,
    ) -> tuple[optax.Updates, optax.EmptyState]:  # fmt: skip
        del params
        return jax.tree.map(lambda u: -learning_rate * u, updates), state

    return optax.GradientTransformationExtraArgs(init, update)


def keras_nadam() -> optax.GradientTransformationExtraArgs:
    """Makes the Nadam of Keras 2; ``update`` takes ``learning_rate=``."""
    return optax.chain(scale_by_keras_nadam(), descend())


def dgex_sgd(momentum: float = 0.5, factor: float = 3.0) -> optax.GradientTransformationExtraArgs:
    """Makes D-GEX's SGD with momentum; ``update`` takes ``learning_rate=``.

    A step is v = momentum v - learning_rate s g, p = p + v, with s = ``factor`` for every kernel but that of H0 and
    s = 1 for other parameters. The learning rate is inside the velocity, as in pylearn2, so a change of it takes effect
    gradually.

    Args:
      momentum: decay of the velocity.
      factor: the scale s of the kernels' gradients.

    Source: Chen et al., Bioinformatics 32(12): 1832-1839 (2016).
    """

    def scales(params: optax.Params) -> optax.Params:
        def scale(path: tuple, _: jax.Array) -> str:
            layer, name = path[0].key, path[-1].key
            return "faster" if name == "kernel" and layer != "H0" else "plain"

        return jax.tree_util.tree_map_with_path(scale, params)

    per_layer = optax.partition({"faster": optax.scale(factor), "plain": optax.identity()}, scales)
    return optax.chain(per_layer, descend(), optax.trace(momentum))


def sgd() -> optax.GradientTransformationExtraArgs:
    """Makes plain gradient descent; ``update`` takes ``learning_rate=``."""
    return optax.chain(descend())


OPTIMIZERS = {"keras_nadam": keras_nadam, "dgex_sgd": dgex_sgd, "sgd": sgd}


def optimizer(name: str) -> optax.GradientTransformationExtraArgs:
    """Makes the optimiser of that name.

    Args:
      name: a name of ``OPTIMIZERS``.

    Raises:
      DgexError: no optimiser has that name.
    """
    if name not in OPTIMIZERS:
        raise DgexError(f"unknown optimiser {name!r}; known: {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]()
