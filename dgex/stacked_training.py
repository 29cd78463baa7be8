"""Networks of one shape that train at once: the pure functions of ``dgex.training``, lifted over an axis of networks.

Every array of a *stack*'s state has a leading axis ``[networks]``, and ``vmap`` lifts epoch and evaluation over it,
inside ``parallel.lift``. The data lie on the devices once for all networks; each has its own order, dropout, rate, log
and best epoch, and the numbers of training it alone up to rounding, which a long training in less than float32 may
magnify.

An epoch of a small network on a GPU is bound by the launches of its kernels, of which a stack has no more than one
network; that is not measured. On CPUs a stack is not faster (``python -m benchmarks.stack``). One network alone has no
such axis: with an axis of length one XLA on CPUs would write every kernel's gradient transposed and copy it back.
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
from dgex.batches import Batches, Samples, epoch_order
from dgex.errors import DgexError
from dgex.log import Epoch
from dgex.metrics import GeneStatistics
from dgex.networks import NetworkConfig, Params
from dgex.protocols import Protocol, learning_rate
from dgex.training import (
    Advance,
    DivergedError,
    Fit,
    Metrics,
    TrainState,
    advance_blocks,
    fit,
    identity,
    init_state,
    is_best,
    make_epoch,
    make_evaluation,
    mean_error,
    monitor_samples,
    not_finite,
    sum_blocks,
    with_rate,
)
from dgex.training_record import recorded

Tree = TypeVar("Tree")


@functools.cache
def stacked_epoch_function(
    config: NetworkConfig, optimizer: str, loss: str, devices: tuple[jax.Device, ...]
) -> Advance:
    """The compiled epoch of a stack: state, ``batches.sample`` and metrics have an axis for networks."""
    epoch = make_epoch(config, optimizer, loss)

    def epochs(
        states: TrainState, landmark: jax.Array, target: jax.Array, batches: Batches
    ) -> tuple[TrainState, Metrics]:
        def of_one(state: TrainState, sample: jax.Array | np.ndarray) -> tuple[TrainState, Metrics]:
            return epoch(state, landmark, target, replace(batches, sample=sample))

        return jax.vmap(of_one)(states, batches.sample)

    return parallel.lift(epochs, devices, shared=3, donate=True)


@functools.cache
def stacked_evaluation_function(
    config: NetworkConfig, devices: tuple[jax.Device, ...]
) -> Callable[..., GeneStatistics]:
    """The compiled evaluation of a stack: params and statistics have an axis for networks; batches need no order."""
    evaluate = jax.vmap(make_evaluation(config), in_axes=(0, None, None, None))
    return parallel.lift(evaluate, devices, shared=3)


def train_stack_epoch(
    state: TrainState, samples: Samples, config: NetworkConfig, protocol: Protocol, order: np.ndarray
) -> tuple[TrainState, np.ndarray, np.ndarray]:
    """One pass in every network's order ``[networks, samples]``, and its mean loss and MAE ``[networks]``."""
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
    resume: bool = False,
    on_epoch: Callable[[list[Epoch], float], None] = lambda rows, seconds: None,
    checkpoint_seconds: int = 30,
) -> list[Fit]:
    """Trains a network from every seed, all at once, each as ``dgex.training.fit`` would; one seed it leaves to that.

    Args:
      config, protocol, train, validation, checkpoint_seconds: as in ``fit``.
      seeds: one network each; all together they decide every bit of the result.
      directories: one a seed, or none. The first has the checkpoints of all, since they go on together or not at all.
      resume: whether to go on with what ``directories`` hold.
      on_epoch: called after every epoch with the new row of each log and the seconds that the epoch took.

    Raises:
      DivergedError: a network's loss is not finite, which stops all.
      DgexError: as ``fit``; seeds are not all different.
    """
    if not seeds or len(set(seeds)) < len(seeds) or len(directories) not in (0, len(seeds)):
        raise DgexError(f"seeds {list(seeds)}: give every network a seed, and if any then a folder, of its own")
    if len(seeds) == 1:
        alone = fit(
            config, protocol, train, validation, seeds[0], *directories, resume=resume,
            on_epoch=lambda row, seconds: on_epoch([row], seconds), checkpoint_seconds=checkpoint_seconds,
        )  # fmt: skip
        return [alone]
    evaluate = stacked_evaluation_function(config, train.devices)

    def errors(params: Params, samples: Samples) -> list[float]:
        sums = jax.device_get(sum_blocks(evaluate, params, samples, config.targets))
        return [mean_error(part) for part in unstack(sums, len(seeds))]

    state = parallel.share(stack([init_state(config, protocol.optimizer, seed) for seed in seeds]), train.devices)
    best = jax.tree.map(jnp.copy, state.params)
    logs: list[list[Epoch]] = [[] for _ in seeds]
    monitor = monitor_samples(protocol, train)
    of_all = identity(config, protocol, list(seeds), train, validation)
    with recorded(directories, of_all, resume, checkpoint_seconds) as record:
        if record:
            logs, (state, best) = record.latest((state, best))
        for epoch in range(len(logs[0]) + 1, protocol.epochs + 1):
            started = time.monotonic()
            rates = [learning_rate(protocol, [row.monitor_mae for row in log]) for log in logs]
            state = with_rate(state, np.array(rates, np.float32), train.devices)
            order = np.stack([epoch_order(seed, epoch - 1, len(train)) for seed in seeds])
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
    """Several networks' trees as one whose arrays are ``[networks, ...]``, on the host."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def unstack(tree: Tree, networks: int) -> list[Tree]:
    """Every network's tree; the inverse of ``stack``."""
    return [jax.tree.map(lambda leaf, n=n: leaf[n], tree) for n in range(networks)]


def _fits(best: Params, logs: Sequence[list[Epoch]]) -> list[Fit]:
    return [Fit(params, log) for params, log in zip(unstack(best, len(logs)), logs, strict=True)]


@functools.partial(jax.jit, donate_argnums=1)
def _overwrite_where(chosen: np.ndarray, old: Params, new: Params) -> Params:
    """The new parameters of the chosen networks ``[networks]``, and the old ones of the others."""
    return jax.tree.map(
        lambda a, b: jnp.where(chosen.reshape(chosen.shape + (1,) * (a.ndim - chosen.ndim)), b, a), old, new
    )
