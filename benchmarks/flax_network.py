"""Builds and trains a network in Flax with Optax, in the plain loop of their tutorials: one compiled call a step."""

from collections.abc import Callable

import numpy as np

from dgex.networks import NetworkConfig
from dgex.protocols import Protocol


class FlaxNetwork:
    """Trains a Linen module by Optax's Nadam, whose momentum has no schedule, on batches that NumPy gathers."""

    def __init__(
        self, config: NetworkConfig, protocol: Protocol, weights: list[np.ndarray], landmark: np.ndarray,
        target: np.ndarray,
    ) -> None:  # fmt: skip
        import flax.linen as nn
        import jax
        import jax.numpy as jnp
        import optax
        from flax.training.train_state import TrainState

        class Affine(nn.Module):
            """Computes ``scale * x + shift``, with a learnable scale and shift for each unit."""

            @nn.compact
            def __call__(self, x: jax.Array) -> jax.Array:
                scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
                shift = self.param("shift", nn.initializers.zeros, x.shape[-1:])
                return scale * x + shift

        activation = getattr(nn, config.activation)

        class Perceptron(nn.Module):
            @nn.compact
            def __call__(self, x: jax.Array, train: bool) -> jax.Array:
                for units in config.hidden:
                    x = self.layer(x, units, activation, config.taaf != "none")
                    x = nn.Dropout(config.dropout, deterministic=not train)(x)
                adaptive = config.taaf == "all"
                return self.layer(x, config.targets, activation if adaptive else lambda x: x, adaptive)

            def layer(self, x: jax.Array, units: int, activation: Callable, adaptive: bool) -> jax.Array:
                if not adaptive:
                    return activation(nn.Dense(units)(x))
                return Affine()(activation(Affine()(nn.Dense(units, use_bias=False)(x))))

        network, rest = Perceptron(), iter(weights)
        fresh = network.init(jax.random.key(0), jnp.zeros((1, config.landmarks)), train=False)["params"]
        params = {layer: {name: jnp.asarray(next(rest)) for name in leaves} for layer, leaves in fresh.items()}
        self.state = TrainState.create(
            apply_fn=network.apply, params=params, tx=optax.nadam(protocol.learning_rate, eps=1e-7)
        )
        self.landmark, self.target, self.batch = landmark, target, protocol.batch
        self.rng = np.random.default_rng(0)

        @jax.jit
        def train_step(state: TrainState, landmark: jax.Array, target: jax.Array) -> tuple[TrainState, jax.Array]:
            key = jax.random.fold_in(jax.random.key(1), state.step)

            def loss(params: dict) -> jax.Array:
                prediction = state.apply_fn({"params": params}, landmark, train=True, rngs={"dropout": key})
                return jnp.abs(prediction - target).mean()

            value, gradients = jax.value_and_grad(loss)(state.params)
            return state.apply_gradients(grads=gradients), value

        self.train_step = train_step

    def parameters(self) -> int:
        import jax

        return sum(leaf.size for leaf in jax.tree.leaves(self.state.params))

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        return np.asarray(self.state.apply_fn({"params": self.state.params}, landmark, train=False))

    def train_epoch(self) -> None:
        order = self.rng.permutation(len(self.landmark))
        for rows in np.split(order, range(self.batch, len(order), self.batch)):
            self.state, value = self.train_step(self.state, self.landmark[rows], self.target[rows])
        value.block_until_ready()
