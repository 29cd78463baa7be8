"""Training: a pure step, an epoch of steps as one compiled scan, and one readable loop over epochs.

``train_step`` of one batch on one device, a scan of it over an epoch's batches, and ``parallel.lift`` of that scan over
the devices are three layers, each made of the one before. Data order is a pure function of (seed, epoch), dropout of
(seed, step, row of the global batch); neither knows how many devices there are, so their number changes only rounding.

``dgex.stacked_training`` lifts the second layer once more, over networks that train at once.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dgex import parallel
from dgex.batches import Batches, Samples, epoch_order
from dgex.errors import DgexError
from dgex.log import Epoch
from dgex.metrics import GeneStatistics, empty_statistics, finalize, statistics
from dgex.networks import NetworkConfig, Params, init_params, predict
from dgex.optimizers import optimizer as named_optimizer
from dgex.protocols import LOSSES, Protocol, learning_rate
from dgex.training_record import recorded

Metrics = dict[str, jax.Array]
Advance = Callable[..., tuple["TrainState", Metrics]]  # by a step or an epoch


@struct.dataclass
class TrainState:
    """All that changes from step to step, and the seed that does not."""

    seed: jax.Array  # u4 []
    step: jax.Array  # i4 []  steps done
    learning_rate: jax.Array  # f4 []  set once an epoch
    params: Params  # f4
    opt_state: Any


def init_state(config: NetworkConfig, optimizer: str, seed: int) -> TrainState:
    """The state before the first step."""
    params = init_params(config, jax.random.key(seed))
    return TrainState(
        seed=jnp.uint32(seed),
        step=jnp.int32(0),
        learning_rate=jnp.float32(0),
        params=params,
        opt_state=named_optimizer(optimizer).init(params),
    )


def make_train_step(
    config: NetworkConfig, optimizer: str, loss: str, average: Callable[[Any], Any] = lambda tree: tree
) -> Advance:
    """The pure step ``(state, landmark, target, row, weight) -> (state, metrics)``.

    Its arguments are one device's part of a global batch: z-scores ``[rows, landmarks]`` and ``[rows, targets]``, the
    rows' numbers in the global batch ``i4 [rows]`` and their weights ``f4 [rows]`` (0 for padding). Its metrics are
    scalars of the global batch: "loss" and "mae" (means over samples, with dropout), and "count" (samples a device),
    the step's weight in a mean over steps.

    Args:
      config: the network.
      optimizer: a name of ``dgex.optimizers.OPTIMIZERS``.
      loss: a name of ``dgex.protocols.LOSSES``.
      average: the mean over devices, where there are several. It is applied once, outside the differentiated function,
        to sums over the device's rows; sums and count are averaged alike, so their quotient is exact for any split of
        the rows.
    """
    profile_loss = LOSSES[loss]
    transform = named_optimizer(optimizer)

    def train_step(
        state: TrainState, landmark: jax.Array, target: jax.Array, row: jax.Array, weight: jax.Array
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(state.seed), state.step)

        # One key a row, so that a sample's mask does not depend on which device its row came to.
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, row)

        def weighted_sum(profile_values: jax.Array) -> jax.Array:
            # Not ``weight @ profile_values``, a product that GPUs and TPUs would do in less than float32.
            return jnp.sum(weight * profile_values)

        def summed_loss(params: Params) -> tuple[jax.Array, jax.Array]:
            prediction = jax.vmap(lambda profile, key: predict(config, params, profile, key))(landmark, keys)
            return weighted_sum(profile_loss(prediction, target)), weighted_sum(LOSSES["mae"](prediction, target))

        (total, absolute), gradients = jax.value_and_grad(summed_loss, has_aux=True)(state.params)
        gradients, total, absolute, count = average((gradients, total, absolute, weight.sum()))
        scale = 1 / count  # one division, not one for every weight
        gradients = jax.tree.map(lambda g: g * scale, gradients)
        updates, opt_state = transform.update(
            gradients, state.opt_state, state.params, learning_rate=state.learning_rate
        )
        params = jax.tree.map(jnp.add, state.params, updates)
        new_state = replace(state, step=state.step + 1, params=params, opt_state=opt_state)
        return new_state, {"loss": total / count, "mae": absolute / count, "count": count}

    return train_step


def make_epoch(config: NetworkConfig, optimizer: str, loss: str) -> Advance:
    """The pure epoch ``(state, landmark, target, batches) -> (state, metrics [steps])``, to be lifted over devices.

    The block, ``[samples, landmarks]`` and ``[samples, targets]``, lies whole on every device (``parallel.share``).
    """
    train_step = make_train_step(config, optimizer, loss, parallel.mean_over_devices)

    def epoch(
        state: TrainState, landmark: jax.Array, target: jax.Array, batches: Batches
    ) -> tuple[TrainState, Metrics]:
        def step(state: TrainState, batch: Batches) -> tuple[TrainState, Metrics]:
            return train_step(state, landmark[batch.sample], target[batch.sample], batch.row, batch.weight)

        return jax.lax.scan(step, state, batches)

    return epoch


def make_evaluation(config: NetworkConfig) -> Callable[..., GeneStatistics]:
    """The pure ``(params, landmark, target, batches) -> GeneStatistics`` of a block, to be lifted over devices."""

    def evaluate(params: Params, landmark: jax.Array, target: jax.Array, batches: Batches) -> GeneStatistics:
        def step(sums: GeneStatistics, batch: Batches) -> tuple[GeneStatistics, None]:
            prediction = predict(config, params, landmark[batch.sample])
            return sums + statistics(prediction, target[batch.sample], batch.weight), None

        sums, _ = jax.lax.scan(step, empty_statistics(config.targets), batches)
        return parallel.sum_over_devices(sums)

    return evaluate


@functools.cache
def epoch_function(config: NetworkConfig, optimizer: str, loss: str, devices: tuple[jax.Device, ...]) -> Advance:
    """The compiled epoch on all devices; the state's memory is reused."""
    return parallel.lift(make_epoch(config, optimizer, loss), devices, shared=3, donate=True)


@functools.cache
def evaluation_function(config: NetworkConfig, devices: tuple[jax.Device, ...]) -> Callable[..., GeneStatistics]:
    """The compiled evaluation on all devices."""
    return parallel.lift(make_evaluation(config), devices, shared=3)


def train_epoch(
    state: TrainState, samples: Samples, config: NetworkConfig, protocol: Protocol, order: np.ndarray
) -> tuple[TrainState, np.ndarray, np.ndarray]:
    """One pass over the samples in the given order, and the mean loss and MAE of its steps. Consumes the state."""
    run = epoch_function(config, protocol.optimizer, protocol.loss, samples.devices)
    return advance_blocks(run, state, samples, order, protocol.batch)


def advance_blocks(
    run: Advance, state: TrainState, samples: Samples, order: np.ndarray, batch: int
) -> tuple[TrainState, np.ndarray, np.ndarray]:
    """Runs a compiled epoch over block after block; means over steps, of the last axis, weighted by their samples."""
    parts: list[Metrics] = []
    for landmark, target, batches in samples.blocks(order, batch):
        state, metrics = run(state, landmark, target, batches)
        jax.block_until_ready(parts[-1:])  # the block before is done and its memory free before the next is placed
        parts.append(metrics)
    steps = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=-1).astype(np.float64), *parts)
    loss, mae = (np.average(steps[name], axis=-1, weights=steps["count"]) for name in ("loss", "mae"))
    return state, loss, mae


def evaluate(params: Params, samples: Samples, config: NetworkConfig, batch: int = 256) -> GeneStatistics:
    """The per-gene sums of all samples, predicted without dropout."""
    return sum_blocks(evaluation_function(config, samples.devices), params, samples, config.targets, batch)


def sum_blocks(
    run: Callable[..., GeneStatistics], params: Params, samples: Samples, targets: int, batch: int = 256
) -> GeneStatistics:
    """Adds up a compiled evaluation over block after block."""
    sums = empty_statistics(targets)
    for landmark, target, batches in samples.blocks(np.arange(len(samples)), max(batch, len(samples.devices))):
        part = run(params, landmark, target, batches)
        jax.block_until_ready(sums)  # as in ``advance_blocks``
        sums = sums + part
    return sums


@dataclass(frozen=True)
class Fit:
    """A finished training run.

    Attributes:
      params: the parameters after the best epoch.
      log: one row an epoch.
    """

    params: Params
    log: list[Epoch]

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 1, with the lowest validation MAE; the first of equals."""
        return min(self.log, key=lambda row: row.validation_mae).epoch


class DivergedError(DgexError):
    """A network's loss is not finite.

    Attributes:
      fits: what training had until the epoch before; with an empty log where that was nothing.
    """

    def __init__(self, fits: list[Fit], message: str) -> None:
        super().__init__(message)
        self.fits = fits


def fit(
    config: NetworkConfig,
    protocol: Protocol,
    train: Samples,
    validation: Samples,
    seed: int,
    directory: Path | None = None,
    *,
    resume: bool = False,
    on_epoch: Callable[[Epoch, float], None] = lambda row, seconds: None,
    checkpoint_seconds: int = 30,
) -> Fit:
    """Trains a network, and keeps the parameters of its best epoch, the one with the lowest validation MAE.

    Args:
      config: the network.
      protocol: how to train it.
      train, validation: z-scores, placed on the same devices.
      seed: decides initial parameters, data order and dropout; on as many CPU devices, every bit of the result.
      directory: where fit.json (what is trained), log.csv and checkpoints/ go; without it nothing is written.
      resume: whether to go on with what ``directory`` holds. A run killed at any moment and resumed ends with the
        parameters and the log that it would have had.
      on_epoch: called after every epoch with the new row of the log and the seconds that the epoch took.
      checkpoint_seconds: least time between checkpoints; the last epoch always has one.

    Raises:
      DivergedError: the loss is not finite.
      DgexError: the directory holds a run already (without ``resume``) or another run (with it).
    """
    state = parallel.share(init_state(config, protocol.optimizer, seed), train.devices)
    best = jax.tree.map(jnp.copy, state.params)
    log: list[Epoch] = []
    monitor = monitor_samples(protocol, train)
    directories = [directory] if directory else []
    with recorded(
        directories, identity(config, protocol, seed, train, validation), resume, checkpoint_seconds
    ) as record:
        if record:
            (log,), (state, best) = record.latest((state, best))
        for epoch in range(len(log) + 1, protocol.epochs + 1):
            started = time.monotonic()
            rate = learning_rate(protocol, [row.monitor_mae for row in log])
            state = with_rate(state, np.float32(rate), train.devices)
            order = epoch_order(seed, epoch - 1, len(train))
            state, loss, mae = train_epoch(state, train, config, protocol, order)
            monitor_mae = mean_error(evaluate(state.params, monitor, config)) if monitor else math.nan
            validation_mae = mean_error(evaluate(state.params, validation, config))
            row = Epoch(epoch, rate, float(loss), float(mae), monitor_mae, validation_mae)
            if problem := not_finite(seed, row):
                raise DivergedError([Fit(best, log)], problem)
            if is_best(row, log):
                best = _overwrite(best, state.params)
            log.append(row)
            if record:
                record.add([row], (state, best), last=epoch == protocol.epochs)
            on_epoch(row, time.monotonic() - started)
    return Fit(best, log)


def identity(
    config: NetworkConfig, protocol: Protocol, seed: int | list[int], train: Samples, validation: Samples
) -> dict[str, Any]:
    """Says what decides a training's result, as fit.json keeps it; a list of seeds for networks that train at once."""
    return {
        "network": asdict(config), "protocol": asdict(protocol), "seed": seed,
        "samples": {"train": train.sha256, "validation": validation.sha256},
    }  # fmt: skip


def with_rate(state: TrainState, rate: np.ndarray | np.float32, devices: tuple[jax.Device, ...]) -> TrainState:
    """Sets the learning rate, placed like the rest of the state: else every epoch would be compiled anew."""
    return replace(state, learning_rate=parallel.share(rate, devices))


def mean_error(sums: GeneStatistics) -> float:
    """Averages the MAE over the genes that were measured."""
    return finalize(jax.device_get(sums)).zscore_mae


def is_best(row: Epoch, log: Sequence[Epoch]) -> bool:
    """Whether an epoch has a lower validation MAE than all before it."""
    return all(row.validation_mae < earlier.validation_mae for earlier in log)


def not_finite(seed: int, row: Epoch) -> str | None:
    """What to say where the loss of an epoch is not finite."""
    if math.isfinite(row.train_loss) and math.isfinite(row.validation_mae):
        return None
    return (
        f"training stopped: the loss is not finite in epoch {row.epoch} (seed {seed}, learning rate "
        f"{row.learning_rate:g}); use a lower learning rate or look for extreme values in the data"
    )


def monitor_samples(protocol: Protocol, train: Samples) -> Samples | None:
    """The training samples that the plateau rule looks at; the same for every seed."""
    if protocol.plateau is None:
        return None
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[: protocol.plateau.monitor_samples])
    return train.take(chosen)


@functools.partial(jax.jit, donate_argnums=0, keep_unused=True)
def _overwrite(old: Params, new: Params) -> Params:
    """The new parameters in the memory of the old ones; those of the state go with its next epoch."""
    return jax.tree.map(jnp.copy, new)
