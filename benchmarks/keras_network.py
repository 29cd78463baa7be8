"""Builds and trains a network in Keras, as its users would write it."""

from functools import partial
from typing import Any

import numpy as np

from dgex.networks import NetworkConfig
from dgex.protocols import Protocol


class KerasNetwork:
    """Trains a ``keras.Sequential`` by ``fit``; a TAAF is two affine layers around an activation.

    With ``xla`` a step is compiled by XLA; with ``scanned`` (TensorFlow) all steps of an epoch are one execution.
    """

    def __init__(
        self, config: NetworkConfig, protocol: Protocol, weights: list[np.ndarray],
        landmark: np.ndarray, target: np.ndarray, *, xla: bool = False, scanned: bool = False,
    ) -> None:  # fmt: skip
        import keras

        class Affine(keras.layers.Layer):
            """Computes ``scale * x + shift``, with a learnable scale and shift for each unit."""

            def build(self, shape: tuple) -> None:
                self.scale = self.add_weight(shape=shape[-1:], initializer="ones")
                self.shift = self.add_weight(shape=shape[-1:], initializer="zeros")

            def call(self, x: Any) -> Any:
                return self.scale * x + self.shift

        def layer(units: int, activation: str, adaptive: bool) -> list[keras.layers.Layer]:
            if not adaptive:
                return [keras.layers.Dense(units, activation)]
            return [
                keras.layers.Dense(units, use_bias=False),
                Affine(),
                keras.layers.Activation(activation),
                Affine(),
            ]

        layers: list[keras.layers.Layer] = [keras.Input((config.landmarks,))]
        for units in config.hidden:
            layers += [*layer(units, config.activation, config.taaf != "none"), keras.layers.Dropout(config.dropout)]
        adaptive = config.taaf == "all"
        layers += layer(config.targets, config.activation if adaptive else "linear", adaptive)
        self.model = keras.Sequential(layers)
        self.model.set_weights(weights)
        self.model.compile(
            keras.optimizers.Nadam(protocol.learning_rate),
            "mae",
            jit_compile=xla,
            steps_per_execution=len(landmark) // protocol.batch if scanned else 1,
        )
        self.fit = partial(self.model.fit, landmark, target, batch_size=protocol.batch, epochs=1, verbose=0)

    def parameters(self) -> int:
        return self.model.count_params()

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        return np.asarray(self.model(landmark))

    def train_epoch(self) -> None:
        self.fit()
