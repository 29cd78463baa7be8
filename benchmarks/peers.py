"""Builds the example networks in Keras and in PyTorch, as their users would write them, to compare dgex with.

Both take the weights of a dgex network, so that they can be checked to compute the same function. Both train by the
protocol EXAMPLE: mean absolute error and Nadam with Keras's momentum schedule, the samples in a new order every epoch.
"""

import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import numpy as np

from dgex import networks, protocols

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# PyTorch's threads wait for each other by spinning. On a machine that runs other programs as well, this makes a step
# many times slower, to the peer's disadvantage. The variable is read when PyTorch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class Network(Protocol):
    """Describes a network with its training data, in any framework."""

    def parameters(self) -> int:
        """Counts the learnable parameters."""

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        """Predicts targets [samples, targets] from landmarks [samples, landmarks], without dropout."""

    def train_epoch(self) -> None:
        """Trains for one epoch, and returns when the computation is complete."""


Make = Callable[[networks.NetworkConfig, protocols.Protocol, networks.Params, np.ndarray, np.ndarray], Network]


class Peer(NamedTuple):
    """Holds a framework to compare with, and the way in which it is run."""

    name: str
    package: str
    make: Make
    goal: float  # how many times as fast dgex should be


def weights_in_order(params: networks.Params) -> list[np.ndarray]:
    """Lists the arrays of an example network in the order in which a forward pass uses them."""
    ordered = []
    for layer in sorted(name for name in params if "kernel" in params[name]):
        ordered += [params[layer][name] for name in ("kernel", "bias") if name in params[layer]]
        if taaf := params.get(f"{layer}_taaf"):
            ordered += [taaf[name] for name in ("beta", "gamma", "alpha", "delta")]
    return [np.array(weight) for weight in ordered]


class KerasNetwork:
    """Trains a ``keras.Sequential`` by ``fit``; a TAAF is two affine layers around an activation."""

    def __init__(
        self, config: networks.NetworkConfig, protocol: protocols.Protocol, params: networks.Params,
        landmark: np.ndarray, target: np.ndarray, *, xla: bool, scanned: bool,
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
        self.model.set_weights(weights_in_order(params))
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


class TorchNetwork:
    """Trains an ``nn.Sequential`` eagerly; the samples are tensors already, so that no data loader takes time."""

    def __init__(
        self, config: networks.NetworkConfig, protocol: protocols.Protocol, params: networks.Params,
        landmark: np.ndarray, target: np.ndarray,
    ) -> None:  # fmt: skip
        import torch
        from torch import nn

        class Affine(nn.Module):
            """Computes ``scale * x + shift``, with a learnable scale and shift for each unit."""

            def __init__(self, units: int) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.ones(units))
                self.shift = nn.Parameter(torch.zeros(units))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.scale * x + self.shift

        def layer(inputs: int, units: int, activation: nn.Module, adaptive: bool) -> list[nn.Module]:
            dense = nn.Linear(inputs, units, bias=not adaptive)
            return [dense, Affine(units), activation, Affine(units)] if adaptive else [dense, activation]

        activation = nn.Sigmoid()
        layers: list[nn.Module] = []
        inputs = config.landmarks
        for units in config.hidden:
            layers += [*layer(inputs, units, activation, config.taaf != "none"), nn.Dropout(config.dropout)]
            inputs = units
        adaptive = config.taaf == "all"
        layers += layer(inputs, config.targets, activation if adaptive else nn.Identity(), adaptive)
        self.model = nn.Sequential(*layers)
        with torch.no_grad():
            for parameter, weight in zip(self.model.parameters(), weights_in_order(params), strict=True):
                parameter.copy_(torch.from_numpy(weight).T if weight.ndim == 2 else torch.from_numpy(weight))
        # The epsilon is Keras's; NAdam's momentum schedule is the same as Keras's.
        self.optimizer = torch.optim.NAdam(self.model.parameters(), protocol.learning_rate, eps=1e-7)
        self.batch = protocol.batch
        self.landmark, self.target = torch.from_numpy(landmark), torch.from_numpy(target)

    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            return self.model.eval()(torch.from_numpy(landmark)).numpy()

    def train_epoch(self) -> None:
        import torch

        self.model.train()
        for batch in torch.randperm(len(self.landmark)).split(self.batch):
            self.optimizer.zero_grad()
            loss = torch.nn.functional.l1_loss(self.model(self.landmark[batch]), self.target[batch])
            loss.backward()
            self.optimizer.step()


PEERS = (
    Peer("Keras, graph", "tensorflow", partial(KerasNetwork, xla=False, scanned=False), 3),
    Peer("Keras, XLA", "tensorflow", partial(KerasNetwork, xla=True, scanned=False), 3),
    Peer("Keras, XLA, an epoch an execution", "tensorflow", partial(KerasNetwork, xla=True, scanned=True), 3),
    Peer("PyTorch, eager", "torch", TorchNetwork, 2),
)


def installed_peers() -> list[Peer]:
    """Lists the peers whose packages are installed, and prints which are skipped."""
    for peer in PEERS:
        if not find_spec(peer.package):
            print(f"{peer.name}: skipped, {peer.package} is not installed (see benchmarks/requirements.txt)")
    return [peer for peer in PEERS if find_spec(peer.package)]
