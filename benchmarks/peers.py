"""Lists what dgex's training is compared with, and runs each in a process of its own.

A network in a process of its own has its framework's usual settings, whatever backend and threads the others use.
"""

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

import numpy as np

from benchmarks.flax_network import FlaxNetwork
from benchmarks.keras_network import KerasNetwork
from benchmarks.torch_network import TorchNetwork
from dgex.errors import DgexError
from dgex.networks import Params

CHECKED = 100  # samples whose predictions are compared
TOLERANCE = 1e-4  # of sums over 9,000 units in another order; two weights swapped make a hundred times as much


class Network(Protocol):
    """Describes a network with its training data, in any framework."""

    def parameters(self) -> int:
        """Counts the learnable parameters."""

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        """Predicts targets [samples, targets] from landmarks [samples, landmarks], without dropout."""

    def train_epoch(self) -> None:
        """Trains for one epoch, and returns when the computation is complete."""


class Peer(NamedTuple):
    """Holds a framework to compare with, and the way in which it is run."""

    name: str
    package: str
    make: Callable[..., Network]  # (config, protocol, weights, landmark, target)
    goal: float | None = None  # how many times as fast dgex should be; None where the optimiser is another
    environment: Mapping[str, str] = {}


TENSORFLOW = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
# PyTorch's threads wait for each other by spinning. On a machine that runs other programs as well, this makes a step
# many times slower; threads that sleep cost a step some time on any machine.
SLEEPING = {"OMP_WAIT_POLICY": "passive"}
forward_compiled = partial(TorchNetwork, compiled="forward")
all_compiled = partial(TorchNetwork, compiled="all")

FUSED = Peer("PyTorch, forward compiled, fused Adam", "torch", partial(forward_compiled, fused=True))

PEERS = (
    Peer("Keras, graph", "tensorflow", KerasNetwork, 3, TENSORFLOW),
    Peer("Keras, XLA", "tensorflow", partial(KerasNetwork, xla=True), 2, TENSORFLOW),
    Peer("Keras, XLA, epoch at once", "tensorflow", partial(KerasNetwork, xla=True, scanned=True), 2, TENSORFLOW),
    Peer("Keras on JAX", "keras", partial(KerasNetwork, xla=True), 2, {"KERAS_BACKEND": "jax"}),
    Peer("PyTorch, eager", "torch", TorchNetwork, 2),
    Peer("PyTorch, eager, threads sleep", "torch", TorchNetwork, 2, SLEEPING),
    Peer("PyTorch, forward compiled", "torch", forward_compiled, 2),
    Peer("PyTorch, all compiled", "torch", all_compiled, 2),
    Peer("PyTorch, all compiled, threads sleep", "torch", all_compiled, 2, SLEEPING),
    FUSED,
    Peer("Flax and Optax, a loop", "flax", FlaxNetwork),
)


def installed(peers: Sequence[Peer]) -> list[Peer]:
    """Selects the peers whose packages are installed, and prints which are skipped."""
    for peer in peers:
        if not find_spec(peer.package):
            print(f"{peer.name}: skipped, {peer.package} is not installed (see benchmarks/requirements.txt)")
    return [peer for peer in peers if find_spec(peer.package)]


def start(peer: Peer, *arguments: Any) -> Connection:
    """Starts a peer in a process of its own, which ends when the connection is closed.

    It answers first with its number of parameters and its predictions for the first ``CHECKED`` samples, and then to
    every message with None, after an epoch of training.

    Args:
      peer: the peer.
      arguments: those of ``peer.make``, with ``weights_in_order``.
    """
    context = multiprocessing.get_context("spawn")
    connection, far = context.Pipe()
    context.Process(target=_serve, args=(far, peer, *arguments), daemon=True).start()
    far.close()
    return connection


def _serve(connection: Connection, peer: Peer, *arguments: Any) -> None:
    os.environ.update(peer.environment)  # before the framework is imported
    network = peer.make(*arguments)
    landmark = arguments[3]
    connection.send((network.parameters(), network.predict(landmark[:CHECKED])))
    with suppress(EOFError):  # the connection was closed
        while True:
            connection.recv()
            network.train_epoch()
            connection.send(None)


def check(peer: Peer, connection: Connection, parameters: int, prediction: np.ndarray) -> None:
    """Checks that a peer computes the same function.

    Args:
      peer: the peer.
      connection: what ``start`` returned for it.
      parameters: dgex's number of parameters.
      prediction: dgex's predictions for the first ``CHECKED`` samples.

    Raises:
      DgexError: it has another number of parameters, or predicts other values.
    """
    its_parameters, its_prediction = _answer(peer, connection)
    difference = np.abs(its_prediction - prediction).max()
    if its_parameters != parameters or difference > TOLERANCE:
        raise DgexError(
            f"{peer.name}: computes another function than dgex, with {its_parameters:,} parameters and a difference "
            f"of {difference:.1e}; its network must be corrected before it is timed"
        )


def train_peer(peer: Peer, connection: Connection) -> None:
    """Lets a peer train for one epoch."""
    connection.send(None)
    _answer(peer, connection)


def _answer(peer: Peer, connection: Connection) -> tuple[int, np.ndarray]:
    try:
        return connection.recv()
    except EOFError as error:
        raise DgexError(f"{peer.name}: its process ended before it answered; what it wrote stands above") from error


def weights_in_order(params: Params) -> list[np.ndarray]:
    """Lists the arrays of a network in the order in which a forward pass uses them."""
    ordered = []
    for layer in sorted(name for name in params if "kernel" in params[name]):
        ordered += [params[layer][name] for name in ("kernel", "bias") if name in params[layer]]
        if taaf := params.get(f"{layer}_taaf"):
            ordered += [taaf[name] for name in ("beta", "gamma", "alpha", "delta")]
    return [np.array(weight) for weight in ordered]
