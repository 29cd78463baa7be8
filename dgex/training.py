"""Training: a pure step, an epoch of steps as one compiled scan, and one readable loop over epochs.

``train_step`` of one batch on one device, a scan of it over an epoch's batches, and ``parallel.lift`` of that scan over
the devices are three layers, each made of the one before. Data order is a pure function of (seed, epoch), dropout of
(seed, step, row of the global batch); neither knows how many devices there are, so their number changes only rounding.

Networks of one shape can train at once: they are *stacked*, their states' arrays get a leading axis ``[networks]``, and
``vmap`` lifts the second layer over it. The data lie on the devices once for all of them. One network alone has no such
axis: with an axis of length one XLA on CPUs would write every kernel's gradient transposed and copy it back. So what
one network costs does not depend on any of this.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dgex import parallel
from dgex.batches import Batches, Samples, epoch_order
from dgex.checkpoints import Saving, open_checkpoints, restore_latest, save
from dgex.errors import DgexError
from dgex.identity import check_claim, claim, sole_use
from dgex.log import Epoch, append_log, read_log, write_log
from dgex.metrics import GeneStatistics, empty_statistics, finalize, statistics
from dgex.networks import NetworkConfig, Params, init_params, predict
from dgex.optimizers import optimizer as named_optimizer
from dgex.protocols import LOSSES, Protocol, learning_rate

Tree = TypeVar("Tree")
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


@functools.cache
def epoch_function(
    config: NetworkConfig, optimizer: str, loss: str, devices: tuple[jax.Device, ...], stacked: bool
) -> Advance:
    """The compiled ``(state, landmark, target, batches) -> (state, metrics [steps])`` over a block on all devices.

    The block, ``[samples, landmarks]`` and ``[samples, targets]``, lies whole on every device (``parallel.share``); the
    state's memory is reused. ``stacked``: state, ``batches.sample`` and metrics have an axis for networks.
    """
    train_step = make_train_step(config, optimizer, loss, parallel.mean_over_devices)

    def epoch(
        state: TrainState, landmark: jax.Array, target: jax.Array, batches: Batches
    ) -> tuple[TrainState, Metrics]:
        def step(state: TrainState, batch: Batches) -> tuple[TrainState, Metrics]:
            return train_step(state, landmark[batch.sample], target[batch.sample], batch.row, batch.weight)

        return jax.lax.scan(step, state, batches)

    def epoch_of_stack(
        states: TrainState, landmark: jax.Array, target: jax.Array, batches: Batches
    ) -> tuple[TrainState, Metrics]:
        def of_one(state: TrainState, sample: jax.Array | np.ndarray) -> tuple[TrainState, Metrics]:
            return epoch(state, landmark, target, replace(batches, sample=sample))

        return jax.vmap(of_one)(states, batches.sample)

    return parallel.lift(epoch_of_stack if stacked else epoch, devices, shared=3, donate=True)


@functools.cache
def evaluation_function(
    config: NetworkConfig, devices: tuple[jax.Device, ...], stacked: bool
) -> Callable[..., GeneStatistics]:
    """The compiled ``(params, landmark, target, batches) -> GeneStatistics`` of a block on all devices.

    ``stacked``: params and statistics have an axis for networks; the batches, which need no order, have none.
    """

    def evaluate(params: Params, landmark: jax.Array, target: jax.Array, batches: Batches) -> GeneStatistics:
        def step(sums: GeneStatistics, batch: Batches) -> tuple[GeneStatistics, None]:
            prediction = predict(config, params, landmark[batch.sample])
            return sums + statistics(prediction, target[batch.sample], batch.weight), None

        sums, _ = jax.lax.scan(step, empty_statistics(config.targets), batches)
        return parallel.sum_over_devices(sums)

    evaluate_stack = jax.vmap(evaluate, in_axes=(0, None, None, None))
    return parallel.lift(evaluate_stack if stacked else evaluate, devices, shared=3)


def train_epoch(
    state: TrainState, samples: Samples, config: NetworkConfig, protocol: Protocol, order: np.ndarray
) -> tuple[TrainState, np.ndarray, np.ndarray]:
    """One pass over the samples in the given order, and the mean loss and MAE of its steps. Consumes the state.

    With an order ``[networks, samples]`` the state is a stack's, and loss and MAE are ``[networks]``.
    """
    run = epoch_function(config, protocol.optimizer, protocol.loss, samples.devices, order.ndim > 1)
    parts: list[Metrics] = []
    for landmark, target, batches in samples.blocks(order, protocol.batch):
        state, metrics = run(state, landmark, target, batches)
        jax.block_until_ready(parts[-1:])  # the block before is done and its memory free before the next is placed
        parts.append(metrics)
    steps = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=-1).astype(np.float64), *parts)
    loss, mae = (np.average(steps[name], axis=-1, weights=steps["count"]) for name in ("loss", "mae"))
    return state, loss, mae


def evaluate(
    params: Params, samples: Samples, config: NetworkConfig, batch: int = 256, *, stacked: bool = False
) -> GeneStatistics:
    """The per-gene sums of all samples, predicted without dropout; each ``[networks, ...]`` if params are a stack's."""
    run = evaluation_function(config, samples.devices, stacked)
    batch = max(batch, len(samples.devices))
    sums = empty_statistics(config.targets)
    for landmark, target, batches in samples.blocks(np.arange(len(samples)), batch):
        part = run(params, landmark, target, batches)
        jax.block_until_ready(sums)  # as in ``train_epoch``
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
    """Trains one network, as ``fit_many`` does several; ``on_epoch`` is called with its row alone."""
    (result,) = fit_many(
        config, protocol, train, validation, (seed,), (directory,) if directory else (), resume=resume,
        on_epoch=lambda rows, seconds: on_epoch(rows[0], seconds), checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip
    return result


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
    """Trains a network from every seed, all at once, and keeps of each the parameters of its best epoch.

    The best epoch is the one with the lowest validation MAE. A network's numbers are those of training it alone up to
    rounding, which a long training in less than float32 may magnify. The devices hold the data once, and for every
    network its parameters, moments and best parameters.

    Args:
      config: the network.
      protocol: how to train it.
      train, validation: z-scores, placed on the same devices.
      seeds: one network each. A seed decides initial parameters, data order and dropout; on as many CPU devices, all
        seeds together decide every bit of the result.
      directories: one a seed, where fit.json (what is trained), log.csv and, in the first, the checkpoints/ of all
        networks go; without them nothing is written.
      resume: whether to go on with what ``directories`` hold. A run killed at any moment and resumed ends with the
        parameters and logs that it would have had.
      on_epoch: called after every epoch with the new row of each log and the seconds that the epoch took.
      checkpoint_seconds: least time between checkpoints; the last epoch always has one.

    Raises:
      DivergedError: a network's loss is not finite, which stops all.
      DgexError: seeds are not all different; or a directory holds a run already (without ``resume``) or another run,
        such as that of other seeds together (with it).
    """
    if not seeds or len(set(seeds)) < len(seeds) or len(directories) not in (0, len(seeds)):
        raise DgexError(f"seeds {list(seeds)}: give every network a seed, and if any then a folder, of its own")
    devices, stacked = train.devices, len(seeds) > 1
    state = parallel.share(_stack([init_state(config, protocol.optimizer, seed) for seed in seeds]), devices)
    best = jax.tree.map(jnp.copy, state.params)
    logs: list[list[Epoch]] = [[] for _ in seeds]
    monitor = _monitor(protocol, train)
    saving: Saving | None = None

    with ExitStack() as stack:
        if directories:
            identity = {
                "network": asdict(config), "protocol": asdict(protocol), "seed": list(seeds) if stacked else seeds[0],
                "samples": {"train": train.sha256, "validation": validation.sha256},
            }  # fmt: skip
            for directory in directories:  # all of them or none
                check_claim(directory / "fit.json", identity, resume)
                if (directory / "checkpoints").exists() and not (directory / "fit.json").exists():
                    raise DgexError(f"{directory}: has checkpoints of an unknown run; delete it or move it away")
            for directory in directories:
                claim(directory / "fit.json", identity, resume)
                stack.enter_context(sole_use(directory))
            checkpoints = stack.enter_context(open_checkpoints(directories[0] / "checkpoints", checkpoint_seconds))
            stack.callback(lambda: saving and saving.result())
            done, (state, best) = restore_latest(checkpoints, (state, best))
            logs = [read_log(directory / "log.csv", done) if done else [] for directory in directories]
            for directory, log in zip(directories, logs, strict=True):
                write_log(directory / "log.csv", log)
        for epoch in range(len(logs[0]), protocol.epochs):
            started = time.monotonic()
            rates = [learning_rate(protocol, [row.monitor_mae for row in log]) for log in logs]
            # Placed like the rest of the state, or every epoch would be compiled for a new kind of input.
            state = replace(state, learning_rate=parallel.share(_stack([np.float32(rate) for rate in rates]), devices))
            order = _stack([epoch_order(seed, epoch, len(train)) for seed in seeds])
            state, loss, mae = train_epoch(state, train, config, protocol, order)
            monitor_maes = _maes(state.params, monitor, config, len(seeds)) if monitor else [math.nan] * len(seeds)
            validation_maes = _maes(state.params, validation, config, len(seeds))
            losses, errors = np.atleast_1d(loss).tolist(), np.atleast_1d(mae).tolist()
            columns = zip(rates, losses, errors, monitor_maes, validation_maes, strict=True)
            rows = [Epoch(epoch + 1, *values) for values in columns]
            if problem := _not_finite(seeds, rows):
                raise DivergedError(_fits(best, logs), problem)
            better = [
                np.bool_(all(row.validation_mae < earlier.validation_mae for earlier in log))
                for row, log in zip(rows, logs, strict=True)
            ]
            if any(better):
                best = _replace_where(_stack(better), best, state.params)
            for log, row in zip(logs, rows, strict=True):
                log.append(row)
            if directories:
                for directory, row in zip(directories, rows, strict=True):
                    append_log(directory / "log.csv", row)
                saving = save(checkpoints, epoch + 1, (state, best), saving, force=epoch + 1 == protocol.epochs)
            on_epoch(rows, time.monotonic() - started)
    return _fits(best, logs)


def _fits(best: Params, logs: Sequence[list[Epoch]]) -> list[Fit]:
    return [Fit(params, log) for params, log in zip(_unstack(best, len(logs)), logs, strict=True)]


def _stack(trees: Sequence[Tree]) -> Tree:
    """Several networks' trees as one whose arrays are ``[networks, ...]``, on the host; one network's as it is."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees) if len(trees) > 1 else trees[0]


def _unstack(tree: Tree, networks: int) -> list[Tree]:
    """Every network's tree; the inverse of ``_stack``."""
    if networks == 1:
        return [tree]
    return [jax.tree.map(lambda leaf, n=n: leaf[n], tree) for n in range(networks)]


@functools.partial(jax.jit, donate_argnums=1)
def _replace_where(chosen: np.ndarray, old: Params, new: Params) -> Params:
    """The new parameters of the chosen networks, ``[networks]`` or ``[]``, and the old ones of the others."""
    return jax.tree.map(
        lambda a, b: jnp.where(chosen.reshape(chosen.shape + (1,) * (a.ndim - chosen.ndim)), b, a), old, new
    )


def _maes(params: Params, samples: Samples, config: NetworkConfig, networks: int) -> list[float]:
    sums = jax.device_get(evaluate(params, samples, config, stacked=networks > 1))
    return [finalize(part).zscore_mae for part in _unstack(sums, networks)]


def _not_finite(seeds: Sequence[int], rows: Sequence[Epoch]) -> str | None:
    """What to say of the first network whose loss is not finite."""
    for seed, row in zip(seeds, rows, strict=True):
        if not (math.isfinite(row.train_loss) and math.isfinite(row.validation_mae)):
            return (
                f"training stopped: the loss is not finite in epoch {row.epoch} (seed {seed}, learning rate "
                f"{row.learning_rate:g}); use a lower learning rate or look for extreme values in the data"
            )
    return None


def _monitor(protocol: Protocol, train: Samples) -> Samples | None:
    """The training samples that the plateau rule looks at; the same for every seed."""
    if protocol.plateau is None:
        return None
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[: protocol.plateau.monitor_samples])
    return train.take(chosen)
