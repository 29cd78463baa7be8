"""Networks of one shape that train at once: the pure functions of ``dgex.training``, lifted over an axis of networks.

Every array of a *stack*'s state has a leading axis ``[networks]``, and ``vmap`` lifts epoch and evaluation over it,
inside ``parallel.lift``. The data are replicated once for all networks. Each network has an order of samples, dropout,
learning rate, log and best epoch to itself. Its result is that of training it alone up to rounding, which a long
training in less than float32 may magnify.

An epoch of a small network on a GPU is bound by the launches of its kernels, and a stack has no more launches than one
network; the gain is not measured. On CPUs a stack is not faster (``python -m benchmarks.stack``). One network alone is
trained without that axis: with an axis of length one XLA on CPUs would write the gradient of every kernel transposed
and copy it back.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dgex import parallel
from dgex.batches import Batches, Samples
from dgex.errors import DgexError
from dgex.fixed_path import fit_beside
from dgex.log import Epoch
from dgex.metrics import GeneStatistics
from dgex.networks import NetworkConfig, Params
from dgex.protocols import Protocol, learning_rate
from dgex.training import (
    Advance,
    Metrics,
    TrainState,
    advance_blocks,
    fit,
    init_state,
    make_epoch,
    make_evaluation,
    mean_error,
    monitor_samples,
    sum_blocks,
    with_rate,
)
from dgex.training_record import identity, recorded
from dgex.training_result import DivergedError, Fit, is_best, not_finite

Tree = TypeVar("Tree")


@functools.cache
def stacked_epoch_function(
    config: NetworkConfig, optimizer: str, loss: str, devices: tuple[jax.Device, ...]
) -> Advance:
    """Compiles the epoch of a stack: state, ``batches.sample`` and metrics have an axis for networks."""
    epoch = make_epoch(config, optimizer, loss)

    def epochs(
        states: TrainState, landmark: jax.Array, target: jax.Array, batches: Batches
    ) -> tuple[TrainState, Metrics]:
        def epoch_of_one(state: TrainState, sample: jax.Array | np.ndarray) -> tuple[TrainState, Metrics]:
            return epoch(state, landmark, target, replace(batches, sample=sample))

        return jax.vmap(epoch_of_one)(states, batches.sample)

    return parallel.lift(epochs, devices, sharded=3, donate=True)


@functools.cache
def stacked_evaluation_function(
    config: NetworkConfig, devices: tuple[jax.Device, ...]
) -> Callable[..., GeneStatistics]:
    """Compiles the evaluation of a stack: params and statistics have an axis for networks, and batches have none."""
    evaluate = jax.vmap(make_evaluation(config), in_axes=(0, None, None, None))
    return parallel.lift(evaluate, devices, sharded=3)


def train_stack_epoch(
    state: TrainState, samples: Samples, config: NetworkConfig, protocol: Protocol, order: np.ndarray
) -> tuple[TrainState, np.ndarray, np.ndarray]:
    """Trains a stack for one epoch, and consumes the state.

    Args:
      state: the stacked state before the epoch.
      samples: the training samples.
      config: the network.
      protocol: the training protocol.
      order: the order in which each network visits the samples, ``[networks, samples]``.

    Returns:
      The state after the epoch, and the mean loss and MAE of its steps, ``[networks]``.
    """
    run = stacked_epoch_function(config, protocol.optimizer, protocol.loss, samples.devices)
    return advance_blocks(run, state, samples, order, protocol.batch)


def fit_many(
    config: NetworkConfig,
    protocol: Protocol,
    train: Samples,
    validation: Samples,
    seeds: Sequence[int],
    directories: Sequence[Path] = (),
    *,
    start: Params | None = None,
    resume: bool = False,
    on_epoch: Callable[[list[Epoch], float], None] = lambda rows, seconds: None,
    checkpoint_seconds: int = 30,
) -> list[Fit]:
    """Trains a network from every seed, all at once, each as ``dgex.training.fit`` does; a single seed by ``fit``.

    Args:
      config: the network.
      protocol: how to train it.
      train: z-scores to train on.
      validation: z-scores to choose the best epoch by, placed on the same devices.
      seeds: one network each; all together they decide every bit of the result.
      directories: one run directory a seed, or none. The first has the checkpoints of all networks, since these go on
        together or not at all.
      start: layers that every network starts from, as in ``dgex.training.fit``.
      resume: whether to go on with the runs in ``directories``.
      on_epoch: called after every epoch with the new row of each log and the seconds that the epoch took.
      checkpoint_seconds: the least time between checkpoints; the last epoch always has one.

    Returns:
      The results in the order of the seeds.

    Raises:
      DivergedError: a network's loss is not finite, which stops all.
      DgexError: a directory holds a run already (without ``resume``) or another run (with it), or the seeds are not all
        different.
    """
    if not seeds or len(set(seeds)) < len(seeds) or len(directories) not in (0, len(seeds)):
        raise DgexError(f"seeds {list(seeds)}: give every network a seed of its own, and a folder of its own or none")
    if len(seeds) == 1:
        result = fit(
            config, protocol, train, validation, seeds[0], *directories, start=start, resume=resume,
            on_epoch=lambda row, seconds: on_epoch([row], seconds), checkpoint_seconds=checkpoint_seconds,
        )  # fmt: skip
        return [result]
    if start:  # hosts of other kinds compute other last bits
        start = parallel.from_first_process(start, train.devices)
    if config.fixed_path:

        def fit_rest(rest: NetworkConfig, train: Samples, validation: Samples | None, start: Params) -> list[Fit]:
            assert validation is not None
            return fit_many(
                rest, protocol, train, validation, seeds, directories, start=start, resume=resume,
                on_epoch=on_epoch, checkpoint_seconds=checkpoint_seconds,
            )  # fmt: skip

        return fit_beside(config, train, validation, start, fit_rest)
    evaluate = stacked_evaluation_function(config, train.devices)

    def errors(params: Params, samples: Samples) -> list[float]:
        sums = jax.device_get(sum_blocks(evaluate, params, samples))
        return [mean_error(part) for part in unstack(sums, len(seeds))]

    states = [init_state(config, protocol.optimizer, seed, start) for seed in seeds]
    state = parallel.replicate(stack(states), train.devices)
    best = jax.tree.map(jnp.copy, state.params)
    logs: list[list[Epoch]] = [[] for _ in seeds]
    monitor = monitor_samples(protocol, train)
    stack_identity = identity(config, protocol, list(seeds), train, validation, start)
    with recorded(directories, stack_identity, resume, checkpoint_seconds) as record:
        if record:
            logs, (state, best) = record.latest((state, best))
        state, best = parallel.from_first_process((state, best), train.devices)
        for epoch in range(len(logs[0]) + 1, protocol.epochs + 1):
            started = time.monotonic()
            rates = [learning_rate(protocol, [row.monitor_mae for row in log]) for log in logs]
            state = with_rate(state, np.array(rates, np.float32), train.devices)
            order = np.stack([train.order(seed, epoch - 1) for seed in seeds])
            state, loss, mae = train_stack_epoch(state, train, config, protocol, order)
            monitor_maes = errors(state.params, monitor) if monitor else [math.nan] * len(seeds)
            validation_maes = errors(state.params, validation)
            columns = zip(rates, loss.tolist(), mae.tolist(), monitor_maes, validation_maes, strict=True)
            rows = [Epoch(epoch, *values) for values in columns]
            for seed, row in zip(seeds, rows, strict=True):
                if problem := not_finite(seed, row):
                    raise DivergedError(_fits(best, logs), problem)
            better = np.array([is_best(row, log) for row, log in zip(rows, logs, strict=True)])
            if better.any():
                best = _overwrite_where(better, best, state.params)
            for log, row in zip(logs, rows, strict=True):
                log.append(row)
            if record:
                record.add(rows, (state, best), last=epoch == protocol.epochs)
            on_epoch(rows, time.monotonic() - started)
    return _fits(best, logs)


def stack(trees: Sequence[Tree]) -> Tree:
    """Stacks the trees of several networks into one whose arrays are ``[networks, ...]``, on the host."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def unstack(tree: Tree, networks: int) -> list[Tree]:
    """Splits a stacked tree into the trees of the networks; the inverse of ``stack``."""
    return [jax.tree.map(lambda leaf, n=n: leaf[n], tree) for n in range(networks)]


def _fits(best: Params, logs: Sequence[list[Epoch]]) -> list[Fit]:
    """Pairs the best parameters of each network with its log."""
    return [Fit(params, log) for params, log in zip(unstack(best, len(logs)), logs, strict=True)]


@functools.partial(jax.jit, donate_argnums=1)
def _overwrite_where(chosen: np.ndarray, old: Params, new: Params) -> Params:
    """Takes the new parameters of the networks that are chosen, bool ``[networks]``, and the old ones of the others."""
    return jax.tree.map(
        lambda a, b: jnp.where(chosen.reshape(chosen.shape + (1,) * (a.ndim - chosen.ndim)), b, a), old, new
    )
