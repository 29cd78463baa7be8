"""What training a network takes before it starts: steps, floating-point operations, memory, disk, and time at the rate
that the machine has for such products.
"""

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
from rich.console import Console
from rich.table import Table

from dgex.batches import SHARE_OF_MEMORY
from dgex.dataset import SPLITS, read_dataset
from dgex.networks import NetworkConfig
from dgex.protocols import Protocol
from dgex.training import init_state
from experiments.sources import Source
from experiments.trials import Trial, is_done

# Samples of a batch in ``dgex.training.evaluate``.
EVALUATION_BATCH = 256

# A whole step does its products at this share of the rate of products alone: with three layers of 3,000 units 0.78 by
# D-GEX's SGD and 0.72 by Nadam (README, 2 CPU cores). On a GPU it is not measured.
SHARE_OF_RATE = 0.75

GIB = 2**30


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


def announce(trials: Sequence[Trial], source: Source, devices: tuple[jax.Device, ...], output: Path | None) -> None:
    """Prints what each network takes, what those without an outcome take together, and what there is too little of.

    Args:
      trials: of networks and baselines, all with this source.
      source: the prepared file; it is read for its size.
      devices: to train on.
      output: the experiment's folder, if it is known yet.
    """
    screen = Console(width=max(120, shutil.get_terminal_size().columns), highlight=False)
    dataset = read_dataset(source.path)
    train, validation, test = np.bincount(dataset.split, minlength=len(SPLITS)).tolist()
    landmarks, targets = dataset.landmark.shape[1], dataset.target.shape[1]
    studies = len({study for study, of in zip(dataset.study, dataset.split, strict=True) if of == SPLITS.index("test")})
    # The file's values, and their z-scores.
    host_bytes = 2 * (dataset.landmark.nbytes + dataset.target.nbytes)
    del dataset
    memory = _memory_of(devices[0])

    table = Table(show_edge=False)
    for heading in ("network", "parameters", "steps", "PFLOP", "hours", "GiB on the device"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    left = [trial for trial in trials if output is None or not is_done(trial, output)]
    rates: dict[tuple[int, ...], float] = {}
    seconds = flop = 0.0
    estimates: dict[str, Estimate] = {}
    for model, protocol in {trial.model.name: (trial.model, trial.protocol) for trial in trials}.values():
        if model.network is None or protocol is None:
            continue
        config = NetworkConfig(landmarks, targets, **model.network)
        found = estimate(config, protocol, train, validation, len(devices), memory)
        if config.hidden not in rates:
            rates[config.hidden] = matmul_rate(config, protocol.batch, devices)
        of_one = found.seconds(rates[config.hidden])
        times = sum(trial.model.name == model.name for trial in left)
        seconds, flop = seconds + times * of_one, flop + times * found.flop
        estimates[model.name] = found
        cells = _number(found.flop / 1e15), _number(of_one / 3600), f"{found.device_bytes / GIB:.2f}"
        table.add_row(model.label, f"{found.parameters:,}", f"{found.steps:,}", *cells)
    most = max(found.device_bytes for found in estimates.values())
    checkpoint = max(found.checkpoint_bytes for found in estimates.values())
    # The newest checkpoint is written before the one before it goes; outcomes stay.
    of_outcome = 4 * studies * targets + 8 * (4 * test + 8 * targets)
    disk = 2 * checkpoint + len(left) * of_outcome
    host_bytes += checkpoint  # on its way to the disk
    if devices[0].platform == "cpu":
        host_bytes += len(devices) * most

    slowest, fastest = (_number(rate / 1e12) for rate in (min(rates.values()), max(rates.values())))
    screen.print(
        f"{train:,} training and {validation:,} validation samples, {landmarks:,} -> {targets:,} genes; "
        f"{len(devices)} x {devices[0].device_kind}, {slowest} to {fastest} TFLOP/s in products"
    )
    screen.print(table)
    screen.print(
        f"left to train: {sum(trial.model.seeded for trial in left)} networks, {_number(flop / 1e15)} PFLOP, "
        f"{_number(seconds / 3600)} hours in one process"
    )
    screen.print(
        f"room needed: {most / GIB:.2f} GiB on the device, {host_bytes / GIB:.2f} GiB of this machine's memory, "
        f"{disk / GIB:.2f} GiB of disk"
    )
    if memory is not None and most > memory:
        larger = [name for name, found in estimates.items() if found.device_bytes > memory]
        screen.print(f"warning: the device has {memory / GIB:.2f} GiB, too little for {', '.join(larger)}")
    if host_bytes > _host_memory():
        screen.print(f"warning: this machine has {_host_memory() / GIB:.2f} GiB of memory, less than is needed")
    if output is not None:
        nearest = next(parent for parent in (output, *output.absolute().parents) if parent.exists())
        if (free := shutil.disk_usage(nearest).free) < disk:
            screen.print(f"warning: the disk has {free / GIB:.2f} GiB left, less than is needed")


def _memory_of(device: jax.Device) -> int | None:
    """Bytes that JAX may use on a device; None where it does not say, as on CPUs."""
    return (device.memory_stats() or {}).get("bytes_limit")


def _host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
