"""Estimates the time and memory that training a network takes, from a few real training steps on random samples."""

import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from dgex import parallel
from dgex.batches import WINDOW, Samples, place
from dgex.data.dataset import Shape
from dgex.files.memory import machine_memory
from dgex.networks import NetworkConfig
from dgex.protocols import Protocol
from dgex.training import TrainState, epoch_function, evaluate, init_state, train_epoch
from experiments.trials.loading import held_bytes, most_memory
from experiments.trials.models import ModelSpec
from experiments.trials.outcome import is_done
from experiments.trials.trial import Trial

STEPS = 5  # in a round
ROUNDS = 4


class Cost(NamedTuple):
    """Holds the measured cost of a network's training."""

    step: float  # seconds of a training step
    evaluation: float  # seconds of evaluating one sample
    step_bytes: int  # device memory that XLA allocates for a step, besides its inputs and outputs


@dataclass(frozen=True)
class Needs:
    """Holds the estimated time and memory of training one network once.

    Attributes:
      model: the network.
      left: how many of its trials have no outcome yet.
      parameters: number of learnt parameters.
      steps: number of optimiser steps in all epochs.
      cost: measured cost of one step.
      seconds: time of all epochs, validation included.
      checkpoint_bytes: size of a checkpoint, which holds the training state and the best parameters.
      device_bytes: memory needed on every device.
    """

    model: ModelSpec
    left: int
    parameters: int
    steps: int
    cost: Cost
    seconds: float
    checkpoint_bytes: int
    device_bytes: int


def estimate(
    trials: Sequence[Trial],
    shape: Shape,
    devices: tuple[jax.Device, ...],
    output: Path | None,
    memory: float | None = None,
) -> list[Needs]:
    """Estimates the time and memory of every network of an experiment.

    Networks that differ in dropout alone are timed once.

    Args:
      trials: trials of networks and baselines, all on one prepared file.
      shape: numbers of samples and genes of this file.
      devices: the devices to train on.
      output: the experiment's folder, if it is known yet; trials with an outcome there count as done.
      memory: as in ``experiments.trials.loading.Loaded``.
    """
    timed: dict[NetworkConfig, Cost] = {}
    needed = []
    # Of data in a file two windows are on the devices.
    most = 2 * WINDOW if held_bytes(shape) > most_memory(memory) else sum(shape.samples.values())
    for model, protocol, targets in {
        trial.model.name: (trial.model, trial.protocol, trial.targets) for trial in trials
    }.values():
        if model.network is None or protocol is None:
            continue
        config = NetworkConfig(shape.landmarks, abs(targets or shape.targets), **model.network)
        without_dropout = replace(config, dropout=0.0)
        if without_dropout not in timed:
            timed[without_dropout] = measure(config, protocol, devices)
        left = sum(trial.model == model and not (output and is_done(trial, output)) for trial in trials)
        needed.append(_needs(model, left, config, protocol, shape, timed[without_dropout], most))
    return needed


def _needs(
    model: ModelSpec, left: int, config: NetworkConfig, protocol: Protocol, shape: Shape, cost: Cost, most: int
) -> Needs:
    """Adds up the time and memory of a training.

    Every device holds the parameters, the optimiser state, the best parameters, all samples (where they fit, see
    ``place``), but at most ``most`` of a set, and what XLA allocates for a step. A resumed run holds a second training
    state until it has read the saved one.
    """
    state = jax.eval_shape(lambda: init_state(config, protocol.optimizer, 0))
    checkpoint = _nbytes(state) + _nbytes(state.params)
    train = shape.samples["train"]
    monitored = min(protocol.plateau.monitor_samples, train) if protocol.plateau else 0
    validated = shape.samples["validation"]
    held = sum(min(number, most) for number in (train, validated, monitored))
    steps = -(-train // protocol.batch)
    return Needs(
        model=model,
        left=left,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        steps=protocol.epochs * steps,
        cost=cost,
        seconds=protocol.epochs * (steps * cost.step + (validated + monitored) * cost.evaluation),
        checkpoint_bytes=checkpoint,
        device_bytes=4 * (shape.landmarks + shape.targets) * held + checkpoint + max(cost.step_bytes, checkpoint),
    )


def measure(config: NetworkConfig, protocol: Protocol, devices: tuple[jax.Device, ...]) -> Cost:
    """Measures training for ``ROUNDS`` times ``STEPS`` steps, and evaluation after each round, on random samples."""
    number = STEPS * protocol.batch
    rng = np.random.default_rng(0)
    landmark, target = (
        rng.standard_normal((number, genes), np.float32) for genes in (config.landmarks, config.targets)
    )
    samples = place(landmark, target, devices)
    state = parallel.replicate(init_state(config, protocol.optimizer, 0), devices)
    step_bytes = _allocated(state, samples, config, protocol)
    training, evaluating = [], []
    for number_of_round in range(ROUNDS + 1):  # the first compiles
        started = time.perf_counter()
        state, _, _ = train_epoch(state, samples, config, protocol, samples.order(0, number_of_round))
        trained = time.perf_counter()
        jax.block_until_ready(evaluate(state.params, samples, config))
        training.append(trained - started)
        evaluating.append(time.perf_counter() - trained)
    return Cost(statistics.median(training[1:]) / STEPS, statistics.median(evaluating[1:]) / number, step_bytes)


def _allocated(state: TrainState, samples: Samples, config: NetworkConfig, protocol: Protocol) -> int:
    """Asks XLA how many bytes of temporary device memory the compiled training steps allocate."""
    train_steps: Any = epoch_function(config, protocol.optimizer, protocol.loss, samples.devices)
    landmark, target, batches = next(iter(samples.blocks(np.arange(len(samples)), protocol.batch)))
    return train_steps.lower(state, landmark, target, batches).compile().memory_analysis().temp_size_in_bytes


def announce(
    needed: Sequence[Needs],
    shape: Shape,
    devices: tuple[jax.Device, ...],
    output: Path | None,
    memory: float | None = None,
) -> None:
    """Prints the time and memory of each network and the total of those not yet trained, and warns of what is short."""
    screen = Console(width=max(120, shutil.get_terminal_size().columns), highlight=False)
    table = Table(show_edge=False)
    for heading in ("network", "parameters", "steps", "ms a step", "hours", "GiB on the device"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for each in needed:
        table.add_row(
            each.model.label, f"{each.parameters:,}", f"{each.steps:,}", _number(1e3 * each.cost.step),
            _number(each.seconds / 3600), f"{each.device_bytes / 2**30:.2f}",
        )  # fmt: skip
    screen.print(
        f"{shape.samples['train']:,} training and {shape.samples['validation']:,} validation samples, "
        f"{shape.landmarks:,} -> {shape.targets:,} genes; {len(devices)} x {devices[0].device_kind}"
    )
    screen.print(table)
    hours = sum(each.left * each.seconds for each in needed) / 3600
    screen.print(f"left to train: {sum(each.left for each in needed)} networks, {_number(hours)} hours in one process")
    for line in _too_little(needed, shape, devices, output, memory):
        screen.print(f"warning: {line}")


def _too_little(
    needed: Sequence[Needs], shape: Shape, devices: tuple[jax.Device, ...], output: Path | None, memory: float | None
) -> Iterator[str]:
    """Yields a warning for each resource that is too small: device memory, this machine's memory, disk space."""
    device = max(each.device_bytes for each in needed)
    checkpoint = max(each.checkpoint_bytes for each in needed)
    memory = (parallel.local(devices)[0].memory_stats() or {}).get("bytes_limit")  # CPUs do not report it
    if memory is not None and device > memory:
        larger = ", ".join(each.model.name for each in needed if each.device_bytes > memory)
        yield f"the device has {_gib(memory)} of memory, too little for {larger}"
    # The memory holds the file's values and their z-scores, or else some blocks of them, and a checkpoint that is being
    # written.
    data = held_bytes(shape)
    host = checkpoint + (data if data <= most_memory(memory) else 0)
    host += len(devices) * device if devices[0].platform == "cpu" else 0
    if host > machine_memory():
        yield f"this machine has {_gib(machine_memory())} of memory, and {_gib(host)} are needed"
    # Two checkpoints are kept, and a third is written before the oldest goes.
    if output is not None and 3 * checkpoint > _disk_free(output):
        yield f"the disk has {_gib(_disk_free(output))} left, and {_gib(3 * checkpoint)} are needed"


def _gib(nbytes: int) -> str:
    """Formats a number of bytes in GiB."""
    return f"{nbytes / 2**30:.2f} GiB"


def _number(value: float) -> str:
    """Formats a number with two significant digits, or whole from 10 on."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _nbytes(tree: object) -> int:
    """Counts the bytes of all arrays of a pytree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _disk_free(folder: Path) -> int:
    """Returns the free bytes of the disk that holds a folder, or will hold it once it is made."""
    return shutil.disk_usage(next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())).free
