"""The named protocols' optimisers as optax transforms.

Their learning rate is not baked in: ``update`` takes it as ``learning_rate=``, an array, because the protocols set it
once an epoch (a schedule, or a rule that looks at the error) and the compiled step should not change when it does.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dgex.errors import DgexError


class KerasNadamState(NamedTuple):
    """State of ``scale_by_keras_nadam``."""

    step: jax.Array  # i4 []  steps done
    momentum_product: jax.Array  # f4 []  product of the momentum schedule over the steps done
    mu: optax.Updates  # first moments, as the parameters
    nu: optax.Updates  # second moments, as the parameters


def scale_by_keras_nadam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-7) -> optax.GradientTransformation:
    """Nadam as Keras 2 computes it: with a momentum schedule, which ``optax.scale_by_adam(nesterov=True)`` has not.

    At step t = 1, 2, ... with gradient g:
        mu_t = b1 (1 - 0.5 * 0.96^(0.004 t)),  M_t = mu_1 ... mu_t
        m = b1 m + (1 - b1) g,    v = b2 v + (1 - b2) g^2
        update = ((1 - mu_t) g / (1 - M_t) + mu_{t+1} m / (1 - M_t mu_{t+1})) / (sqrt(v / (1 - b2^t)) + eps)

    The scalar factors are joined first, so that no array of corrected moments is made. b1 and b2 are rounded to float32
    before anything is computed of them, as Keras does: float32(0.999)^t beside an exact 0.001 in v would leave
    its correction, and every step, wrong by (float32(0.999) - 0.999) / 0.001 / 2 = 6.4e-6 of itself.

    Source: Dozat, "Incorporating Nesterov momentum into Adam" (2016), as in keras 2 ``optimizers.Nadam``, where eps is
    1e-7 and the schedule's decay 0.004.
    """
    b1, b2 = float(np.float32(b1)), float(np.float32(b2))

    def schedule(t: jax.Array) -> jax.Array:
        return b1 * (1 - 0.5 * 0.96 ** (0.004 * t.astype(jnp.float32)))

    def init(params: optax.Params) -> KerasNadamState:
        # Two sets of zeros: donating one buffer under two names is an error.
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
        # Not 1 - b2^t, which in the first steps cancels to 3e-6 of itself.
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
    """Keras 2's Nadam; ``update`` takes ``learning_rate=``."""
    return optax.chain(scale_by_keras_nadam(), descend())


def dgex_sgd(momentum: float = 0.5, factor: float = 3.0) -> optax.GradientTransformationExtraArgs:
    """D-GEX's SGD: v = momentum v - learning_rate s g, p = p + v, with s = ``factor`` on every kernel but H0's.

    The learning rate stands inside the velocity, as in pylearn2, so a change of rate takes effect gradually.

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
    """Plain gradient descent; ``update`` takes ``learning_rate=``."""
    return optax.chain(descend())


OPTIMIZERS = {"keras_nadam": keras_nadam, "dgex_sgd": dgex_sgd, "sgd": sgd}


def optimizer(name: str) -> optax.GradientTransformationExtraArgs:
    """The optimiser behind a name.

    Raises:
      DgexError: no optimiser has that name.
    """
    if name not in OPTIMIZERS:
        raise DgexError(f"unknown optimiser {name!r}; known: {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]()
