"""What training a network takes before it starts: some real steps are timed, on random samples."""

import os
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
from dgex.batches import Samples, epoch_order, place
from dgex.data.dataset import Shape
from dgex.networks import NetworkConfig
from dgex.protocols import Protocol
from dgex.training import TrainState, epoch_function, evaluate, init_state, train_epoch
from experiments.trials.models import Model
from experiments.trials.trial import Trial, is_done

STEPS = 5  # in a round
ROUNDS = 4


class Cost(NamedTuple):
    """What was measured of a network's training."""

    step: float  # seconds of a step
    evaluation: float  # seconds a sample evaluated
    step_bytes: int  # of a device's memory that XLA allocates for a step, besides what goes in and comes out


@dataclass(frozen=True)
class Needs:
    """What training one network once takes.

    Attributes:
      model: the network.
      left: how many of its trials have no outcome yet.
      parameters: number of learnt parameters.
      steps: of the optimiser, in all epochs.
      cost: of one of them.
      seconds: of all epochs, validation included.
      checkpoint_bytes: of a checkpoint: the state and the best parameters.
      device_bytes: of every device's memory.
    """

    model: Model
    left: int
    parameters: int
    steps: int
    cost: Cost
    seconds: float
    checkpoint_bytes: int
    device_bytes: int


def estimate(
    trials: Sequence[Trial], shape: Shape, devices: tuple[jax.Device, ...], output: Path | None
) -> list[Needs]:
    """Measures what every network of an experiment takes; those that differ in dropout alone are timed once.

    Args:
      trials: of networks and baselines, all on one prepared file.
      shape: of this file.
      devices: to train on.
      output: the experiment's folder, if it is known yet; trials with an outcome there are done.
    """
    timed: dict[NetworkConfig, Cost] = {}
    found = []
    for model, protocol in {trial.model.name: (trial.model, trial.protocol) for trial in trials}.values():
        if model.network is None or protocol is None:
            continue
        config = NetworkConfig(shape.landmarks, shape.targets, **model.network)
        alike = replace(config, dropout=0.0)
        if alike not in timed:
            timed[alike] = measure(config, protocol, devices)
        left = sum(trial.model == model and not (output and is_done(trial, output)) for trial in trials)
        found.append(_needs(model, left, config, protocol, shape, timed[alike]))
    return found


def _needs(model: Model, left: int, config: NetworkConfig, protocol: Protocol, shape: Shape, cost: Cost) -> Needs:
    """Adds up what a training takes.

    Every device holds parameters, optimiser state and best parameters, all samples (where they fit, ``place``), and
    what XLA allocates for a step; a resumed run holds a second state until it has read the saved one.
    """
    state = jax.eval_shape(lambda: init_state(config, protocol.optimizer, 0))
    checkpoint = _nbytes(state) + _nbytes(state.params)
    train = shape.samples["train"]
    monitored = min(protocol.plateau.monitor_samples, train) if protocol.plateau else 0
    evaluated = shape.samples["validation"] + monitored
    steps = -(-train // protocol.batch)
    return Needs(
        model=model,
        left=left,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        steps=protocol.epochs * steps,
        cost=cost,
        seconds=protocol.epochs * (steps * cost.step + evaluated * cost.evaluation),
        checkpoint_bytes=checkpoint,
        device_bytes=4 * (shape.landmarks + shape.targets) * (train + evaluated)
        + checkpoint
        + max(cost.step_bytes, checkpoint),
    )


def measure(config: NetworkConfig, protocol: Protocol, devices: tuple[jax.Device, ...]) -> Cost:
    """Trains for ``ROUNDS`` times ``STEPS`` steps on random samples, and evaluates as often."""
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
        state, _, _ = train_epoch(state, samples, config, protocol, epoch_order(0, number_of_round, number))
        trained = time.perf_counter()
        jax.block_until_ready(evaluate(state.params, samples, config))
        training.append(trained - started)
        evaluating.append(time.perf_counter() - trained)
    return Cost(statistics.median(training[1:]) / STEPS, statistics.median(evaluating[1:]) / number, step_bytes)


def _allocated(state: TrainState, samples: Samples, config: NetworkConfig, protocol: Protocol) -> int:
    run: Any = epoch_function(config, protocol.optimizer, protocol.loss, samples.devices)
    landmark, target, batches = next(iter(samples.blocks(np.arange(len(samples)), protocol.batch)))
    return run.lower(state, landmark, target, batches).compile().memory_analysis().temp_size_in_bytes


def announce(needed: Sequence[Needs], shape: Shape, devices: tuple[jax.Device, ...], output: Path | None) -> None:
    """Prints what each network takes, what those without an outcome take together, and what there is too little of."""
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
    for line in _too_little(needed, shape, devices, output):
        screen.print(f"warning: {line}")


def _too_little(
    needed: Sequence[Needs], shape: Shape, devices: tuple[jax.Device, ...], output: Path | None
) -> Iterator[str]:
    """Says of what there is too little: memory of the device, memory of this machine, disk."""
    device = max(each.device_bytes for each in needed)
    checkpoint = max(each.checkpoint_bytes for each in needed)
    memory = (devices[0].memory_stats() or {}).get("bytes_limit")  # on CPUs not said
    if memory is not None and device > memory:
        larger = ", ".join(each.model.name for each in needed if each.device_bytes > memory)
        yield f"the device has {_gib(memory)}, too little for {larger}"
    # The file's values and their z-scores; a checkpoint on its way to the disk.
    host = 8 * sum(shape.samples.values()) * (shape.landmarks + shape.targets) + checkpoint
    host += len(devices) * device if devices[0].platform == "cpu" else 0
    if host > _host_memory():
        yield f"this machine has {_gib(_host_memory())} of memory, and {_gib(host)} are needed"
    # Two checkpoints are kept, and a third is written before the oldest goes.
    if output is not None and 3 * checkpoint > _disk_free(output):
        yield f"the disk has {_gib(_disk_free(output))} left, and {_gib(3 * checkpoint)} are needed"


def _gib(nbytes: int) -> str:
    return f"{nbytes / 2**30:.2f} GiB"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _nbytes(tree: object) -> int:
    """Bytes of a tree's arrays."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _host_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _disk_free(folder: Path) -> int:
    """Bytes that are free on the disk on which a folder lies, or will lie."""
    return shutil.disk_usage(next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())).free
