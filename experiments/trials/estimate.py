"""What training a network takes before it starts: steps, floating-point operations, memory, disk, and time at the rate
that the machine has for such products.
"""

import inspect
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dgex.batches import SHARE_OF_MEMORY
from dgex.dataset import Shape
from dgex.networks import NetworkConfig
from dgex.protocols import Protocol
from dgex.training import evaluate, init_state
from experiments.trials.models import Model
from experiments.trials.trial import Trial, is_done

# Samples of a batch where training evaluates, which leaves it at the default.
EVALUATION_BATCH: int = inspect.signature(evaluate).parameters["batch"].default

# A whole step does its products at this share of the rate of products alone: with three layers of 3,000 units 0.78 by
# D-GEX's SGD and 0.72 by Nadam (README, 2 CPU cores). On a GPU it is not measured.
SHARE_OF_RATE = 0.75


@dataclass(frozen=True)
class Estimate:
    """What the training of one network takes.

    Attributes:
      parameters: number of learnt parameters.
      steps: of the optimiser, in all epochs.
      flop: floating-point operations of all matrix products, on all devices together.
      checkpoint_bytes: of the state and the best parameters; on every device, and in a checkpoint.
      data_bytes: of the samples that stay on every device.
      work_bytes: of a step besides these, on every device.
    """

    parameters: int
    steps: int
    flop: int
    checkpoint_bytes: int
    data_bytes: int
    work_bytes: int

    @property
    def device_bytes(self) -> int:
        """Of every device's memory. A resumed run holds the fresh state until it has read the saved one."""
        return self.data_bytes + self.checkpoint_bytes + max(self.work_bytes, self.checkpoint_bytes)

    def seconds(self, flop_per_second: float) -> float:
        """Of training, where the devices together do products at this rate."""
        return self.flop / (SHARE_OF_RATE * flop_per_second)


def estimate(
    config: NetworkConfig, protocol: Protocol, train: int, validation: int, devices: int = 1, memory: int | None = None
) -> Estimate:
    """Estimates what ``dgex.training.fit`` takes.

    With W weights in all kernels, W0 of them in the first, B samples a step, and an epoch of ceil(train / B) steps:

        flop = epochs * (ceil(train / B) * 2 B (3 W - W0) + 2 W * (validation and monitor samples))

    A multiplication and an addition a weight and sample, thrice in a step: for the output and for the gradients of
    weights and input; the first layer needs no gradient of its input. Samples that fill up a batch are computed too.
    Left out, as none of it reaches a hundredth: activations, the loss, and scoring once at the end. The optimiser's
    update, which moves memory and does few operations, is in ``SHARE_OF_RATE``.

    Memory on every device: parameters, optimiser state and best parameters (their shapes by ``jax.eval_shape``);
    training, validation and monitor samples, of each no more than ``dgex.batches.place`` lets stay there; and for a
    step the gradients, as many bytes of new parameters, and for each of a device's samples of the batch its landmarks,
    four numbers a target and six a hidden unit. So many XLA allocates on CPUs for TAAFs everywhere and dropout; others
    need fewer. A GPU's libraries take some hundred MiB besides.

    Checked with one layer of 3,000 units, 943 -> 9,520, batch 200, on 2 busy CPU cores: state, best parameters and
    samples are the bytes that JAX holds between epochs; the process grew by 7 % (D-GEX's SGD) and 3 % (Nadam) less
    than ``data_bytes + checkpoint_bytes + work_bytes``; and the time by a ``matmul_rate`` measured before and after was
    0.8 to 1.2 times a step's.

    Args:
      config: the network.
      protocol: how it is trained.
      train, validation: numbers of samples.
      devices: how many train together.
      memory: bytes that JAX may use on a device, where it says so; None if it does not, as on CPUs, where all samples
        stay.
    """
    state = jax.eval_shape(lambda: init_state(config, protocol.optimizer, 0))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    of_params = _nbytes(state.params)
    sizes = (config.landmarks, *config.hidden, config.targets)
    weights = [inputs * units for inputs, units in zip(sizes, sizes[1:], strict=False)]
    steps = -(-train // protocol.batch)
    monitor = min(protocol.plateau.monitor_samples, train) if protocol.plateau else 0
    of_step = 2 * protocol.batch * (3 * sum(weights) - weights[0])
    evaluated = sum(EVALUATION_BATCH * -(-samples // EVALUATION_BATCH) for samples in (validation, monitor))

    of_sample = 4 * (config.landmarks + config.targets)
    most = max(train, validation) if memory is None else int(SHARE_OF_MEMORY * memory) // of_sample
    per_device = -(-protocol.batch // devices)
    activations = 4 * per_device * (config.landmarks + 4 * config.targets + 6 * sum(config.hidden))
    return Estimate(
        parameters=parameters,
        steps=protocol.epochs * steps,
        flop=protocol.epochs * (steps * of_step + 2 * sum(weights) * evaluated),
        checkpoint_bytes=_nbytes(state) + of_params,
        data_bytes=of_sample * sum(min(samples, most) for samples in (train, validation, monitor)),
        work_bytes=2 * of_params + activations,
    )


def _nbytes(tree: object) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def matmul_rate(config: NetworkConfig, batch: int, devices: Sequence[jax.Device], seconds: float = 1.0) -> float:
    """Floating-point operations a second of the products that a step has in its largest layer, on all devices at once.

    These are the output ``[rows, inputs] x [inputs, units]`` and the gradients of weights and input, in the network's
    dtype and precision; products of 200 rows are slower than large square ones. Devices work at the same time, so
    those that share processors show it.

    Args:
      config: the network.
      batch: samples of a step on all devices together.
      devices: what to measure.
      seconds: how long to measure for, at least; compiling comes on top.
    """
    sizes = (config.landmarks, *config.hidden, config.targets)
    inputs, units = max(zip(sizes, sizes[1:], strict=False), key=lambda pair: pair[0] * pair[1])
    rows = -(-batch // len(devices))
    dot = partial(jnp.dot, precision=config.matmul_precision)

    # The results before are given back to be written over: fresh memory would cost as much time as the products.
    @partial(jax.jit, donate_argnums=0, keep_unused=True)
    def products(before: object, x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> object:
        return dot(x, kernel), dot(x.T, gradient), dot(gradient, kernel.T)

    rng = np.random.default_rng(0)
    shapes = (rows, inputs), (inputs, units), (rows, units)
    values = [jnp.asarray(rng.standard_normal(shape, np.float32), config.compute_dtype) for shape in shapes]
    placed = [jax.device_put(values, device) for device in devices]
    like = jax.eval_shape(products, None, *values)
    results = [
        jax.device_put(jax.tree.map(lambda of: np.zeros(of.shape, of.dtype), like), device) for device in devices
    ]

    def once() -> None:
        nonlocal results
        results = [products(before, *of) for before, of in zip(results, placed, strict=True)]
        jax.block_until_ready(results)

    once()  # compiles
    done = 0
    started = time.perf_counter()
    while done == 0 or time.perf_counter() - started < seconds:
        once()
        done += 1
    return 6 * rows * len(devices) * inputs * units * done / (time.perf_counter() - started)


@dataclass(frozen=True)
class Network:
    """A network of an experiment.

    Attributes:
      model: the network.
      estimate: what training it once takes.
      rate: floating-point operations a second of its products, on all devices together.
      left: how many of its trials have no outcome yet.
    """

    model: Model
    estimate: Estimate
    rate: float
    left: int

    @property
    def seconds(self) -> float:
        """Of training it once."""
        return self.estimate.seconds(self.rate)


@dataclass(frozen=True)
class Needs:
    """What an experiment on one prepared file takes, and what there is; memory and disk in bytes.

    Attributes:
      networks: each of them once, whatever its seeds.
      host: of this machine's memory, what one process takes.
      disk: of the disk, what outcomes still to come and checkpoints take.
      device_memory: what JAX may use on a device; None if it does not say.
      host_memory: what this machine has.
      disk_free: what the results' disk has left; None if it is not known where they go.
    """

    networks: tuple[Network, ...]
    host: int
    disk: int
    device_memory: int | None
    host_memory: int
    disk_free: int | None

    @property
    def device(self) -> int:
        """Of every device's memory, what the largest network takes."""
        return max(network.estimate.device_bytes for network in self.networks)

    @property
    def flop(self) -> int:
        """Of all networks that are left to train."""
        return sum(network.left * network.estimate.flop for network in self.networks)

    @property
    def seconds(self) -> float:
        """Of all networks that are left to train, in one process."""
        return sum(network.left * network.seconds for network in self.networks)


def measure(trials: Sequence[Trial], shape: Shape, devices: tuple[jax.Device, ...], output: Path | None) -> Needs:
    """Finds out what an experiment takes: the networks by ``estimate``, their rates by trying.

    Args:
      trials: of networks, at least one, and baselines; all on one prepared file.
      shape: of this file.
      devices: to train on.
      output: the experiment's folder, if it is known yet; trials with an outcome there are done.
    """
    left = [trial for trial in trials if output is None or not is_done(trial, output)]
    memory = _memory_of(devices[0])
    rates: dict[tuple[tuple[int, ...], int], float] = {}
    networks = []
    for model, protocol in {trial.model.name: (trial.model, trial.protocol) for trial in trials}.values():
        if model.network is None or protocol is None:
            continue
        config = NetworkConfig(shape.landmarks, shape.targets, **model.network)
        products = config.hidden, protocol.batch
        if products not in rates:
            rates[products] = matmul_rate(config, protocol.batch, devices)
        found = estimate(config, protocol, shape.samples["train"], shape.samples["validation"], len(devices), memory)
        times = sum(trial.model.name == model.name for trial in left)
        networks.append(Network(model, found, rates[products], times))

    checkpoint = max(network.estimate.checkpoint_bytes for network in networks)
    # The file's values and their z-scores; a checkpoint on its way to the disk.
    host = 2 * 4 * sum(shape.samples.values()) * (shape.landmarks + shape.targets) + checkpoint
    if devices[0].platform == "cpu":
        host += len(devices) * max(network.estimate.device_bytes for network in networks)
    of_outcome = 4 * shape.studies["test"] * shape.targets + 8 * (4 * shape.samples["test"] + 8 * shape.targets)
    return Needs(
        networks=tuple(networks),
        host=host,
        # The newest checkpoint is written before the one before it goes; outcomes stay.
        disk=2 * checkpoint + len(left) * of_outcome,
        device_memory=memory,
        host_memory=_host_memory(),
        disk_free=None if output is None else _disk_free(output),
    )


def _memory_of(device: jax.Device) -> int | None:
    """Bytes that JAX may use on a device; None where it does not say, as on CPUs."""
    return (device.memory_stats() or {}).get("bytes_limit")


def _host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _disk_free(folder: Path) -> int:
    """Of the disk on which a folder lies, or will lie."""
    return shutil.disk_usage(next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())).free
