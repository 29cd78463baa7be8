"""Training: a pure step, an epoch of steps as one compiled scan, and one loop over epochs.

There are three layers, each made of the one before: ``train_step`` of one batch on one device, a scan of it over an
epoch's batches, and ``parallel.lift`` of that scan over the devices. Data order is a pure function of (seed, epoch),
and dropout of (seed, step, row of the global batch). Neither depends on the number of devices, which therefore changes
rounding only. All epochs are run, and the parameters of the best validation epoch are kept (early stopping in effect).

``dgex.stacked_training`` lifts the second layer once more, over networks that train at once.
"""

import functools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dgex import parallel
from dgex.batches import Batches, Samples
from dgex.dropout import random_bits
from dgex.fixed_path import fit_beside
from dgex.log import Epoch
from dgex.metrics import GeneStatistics, empty_statistics, finalize, statistics
from dgex.networks import COMPONENTS, LINEAR, NetworkConfig, Params, forward, init_params
from dgex.optimizers import optimizer as named_optimizer
from dgex.protocols import LOSSES, Protocol, learning_rate
from dgex.training_record import identity, recorded
from dgex.training_result import DivergedError, Fit, is_best, not_finite

Metrics = dict[str, jax.Array]
Advance = Callable[..., tuple["TrainState", Metrics]]  # advances the state by a step or an epoch


@struct.dataclass
class TrainState:
    """Holds all that changes from step to step, and the seed that does not."""

    seed: jax.Array  # u4 []
    step: jax.Array  # i4 []  steps done
    learning_rate: jax.Array  # f4 []  set once an epoch
    params: Params  # f4
    opt_state: Any


def init_state(config: NetworkConfig, optimizer: str, seed: int, start: Params | None = None) -> TrainState:
    """Initialises the state before the first step.

    Args:
      config: the network.
      optimizer: a name of ``dgex.optimizers.OPTIMIZERS``.
      seed: decides the initial parameters, and later the dropout.
      start: layers of the parameters to start from instead of random ones, such as those of a linear path.
    """
    params = init_params(config, jax.random.key(seed)) | jax.tree.map(jnp.asarray, start or {})
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
    """Makes the pure step ``(state, landmark, target, row, weight) -> (state, metrics)``.

    The arguments of the step are one device's part of a global batch: z-scores ``[rows, landmarks]`` and
    ``[rows, targets]``, the rows' numbers in the global batch ``i4 [rows]``, and their weights ``f4 [rows]`` (0 for
    padding). The metrics are scalars of the global batch: "loss" and "mae" (means over samples, with dropout), and
    "count" (samples a device), the step's weight in a mean over steps.

    Args:
      config: the network.
      optimizer: a name of ``dgex.optimizers.OPTIMIZERS``.
      loss: a name of ``dgex.protocols.LOSSES``.
      average: computes the mean over devices, where there are several. It is applied once, outside the differentiated
        function, to sums over the device's rows. Sums and count are averaged alike, so their quotient is exact for any
        split of the rows.
    """
    profile_loss = LOSSES[loss]
    transform = named_optimizer(optimizer)

    def train_step(
        state: TrainState, landmark: jax.Array, target: jax.Array, row: jax.Array, weight: jax.Array
    ) -> tuple[TrainState, Metrics]:
        bits = random_bits(state.seed, state.step, row, config.mask_units) if config.dropout else None

        def weighted_sum(profile_values: jax.Array) -> jax.Array:
            # Not ``weight @ profile_values``, a product that GPUs and TPUs would compute in less than float32.
            return jnp.sum(weight * profile_values)

        def summed_loss(params: Params) -> tuple[jax.Array, jax.Array]:
            prediction = forward(config, params, landmark, bits)
            return weighted_sum(profile_loss(prediction, target)), weighted_sum(LOSSES["mae"](prediction, target))

        (total, absolute), gradients = jax.value_and_grad(summed_loss, has_aux=True)(state.params)
        gradients, total, absolute, count = average((gradients, total, absolute, weight.sum()))
        scale = 1 / count  # one division, not one for every parameter
        gradients = jax.tree.map(lambda g: g * scale, gradients)
        updates, opt_state = transform.update(
            gradients, state.opt_state, state.params, learning_rate=state.learning_rate
        )
        if config.linear_rate != 1:
            for name in {LINEAR, COMPONENTS} & set(updates):
                updates = updates | {name: jax.tree.map(lambda u: config.linear_rate * u, updates[name])}
        params = jax.tree.map(jnp.add, state.params, updates)
        new_state = replace(state, step=state.step + 1, params=params, opt_state=opt_state)
        return new_state, {"loss": total / count, "mae": absolute / count, "count": count}

    return train_step


def make_epoch(config: NetworkConfig, optimizer: str, loss: str) -> Advance:
    """Makes the pure epoch ``(state, landmark, target, batches) -> (state, metrics [steps])``.

    It is to be lifted over devices. The block, ``[samples, landmarks]`` and ``[samples, targets]``, holds the samples
    that the device's batches refer to.

    Args:
      config: the network.
      optimizer: a name of ``dgex.optimizers.OPTIMIZERS``.
      loss: a name of ``dgex.protocols.LOSSES``.
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
    """Makes the pure ``(params, landmark, target, batches) -> GeneStatistics``, to be lifted over devices."""

    def evaluate(params: Params, landmark: jax.Array, target: jax.Array, batches: Batches) -> GeneStatistics:
        def step(sums: GeneStatistics, batch: Batches) -> tuple[GeneStatistics, None]:
            prediction = forward(config, params, landmark[batch.sample])
            return sums + statistics(prediction, target[batch.sample], batch.weight), None

        sums, _ = jax.lax.scan(step, empty_statistics(config.targets), batches)
        return parallel.sum_over_devices(sums)

    return evaluate


@functools.cache
def epoch_function(config: NetworkConfig, optimizer: str, loss: str, devices: tuple[jax.Device, ...]) -> Advance:
    """Compiles the epoch for all devices; the memory of the state is reused."""
    return parallel.lift(make_epoch(config, optimizer, loss), devices, sharded=3, donate=True)


@functools.cache
def evaluation_function(config: NetworkConfig, devices: tuple[jax.Device, ...]) -> Callable[..., GeneStatistics]:
    """Compiles the evaluation for all devices."""
    return parallel.lift(make_evaluation(config), devices, sharded=3)


def train_epoch(
    state: TrainState, samples: Samples, config: NetworkConfig, protocol: Protocol, order: np.ndarray
) -> tuple[TrainState, np.ndarray, np.ndarray]:
    """Trains for one epoch, and consumes the state.

    Args:
      state: the state before the epoch, replicated on the samples' devices.
      samples: the training samples.
      config: the network.
      protocol: the training protocol.
      order: the order in which the epoch visits the samples, ``[samples]``.

    Returns:
      The state after the epoch, and the mean loss and MAE of its steps.
    """
    run = epoch_function(config, protocol.optimizer, protocol.loss, samples.devices)
    return advance_blocks(run, state, samples, order, protocol.batch)


def advance_blocks(
    run: Advance, state: TrainState, samples: Samples, order: np.ndarray, batch: int
) -> tuple[TrainState, np.ndarray, np.ndarray]:
    """Runs a compiled epoch over one block after another.

    Args:
      run: the compiled epoch, of one network or of a stack.
      state: its state, which is consumed.
      samples: the training samples.
      order: the order in which the epoch visits the samples, ``[samples]`` or ``[networks, samples]``.
      batch: samples a step, over all devices together.

    Returns:
      The state, and the loss and MAE: means over steps weighted by their samples, ``[]`` or ``[networks]``.
    """
    parts: list[Metrics] = []
    for landmark, target, batches in samples.blocks(order, batch):
        state, metrics = run(state, landmark, target, batches)
        jax.block_until_ready(parts[-1:])  # so that the memory of the previous block is free before the next is placed
        parts.append(metrics)
    steps = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=-1).astype(np.float64), *parts)
    loss, mae = (np.average(steps[name], axis=-1, weights=steps["count"]) for name in ("loss", "mae"))
    return state, loss, mae


def evaluate(params: Params, samples: Samples, config: NetworkConfig, batch: int = 256) -> GeneStatistics:
    """Computes the sufficient statistics of the predictions for all samples, without dropout.

    Args:
      params: the parameters, replicated on the samples' devices.
      samples: the samples to predict and to compare with.
      config: the network.
      batch: samples to predict at once, over all devices together.
    """
    return sum_blocks(evaluation_function(config, samples.devices), params, samples, batch)


def sum_blocks(
    run: Callable[..., GeneStatistics], params: Params, samples: Samples, batch: int = 256
) -> GeneStatistics:
    """Adds up the results of a compiled evaluation over one block after another."""
    sums: GeneStatistics | None = None
    for landmark, target, batches in samples.blocks(np.arange(len(samples)), max(batch, len(samples.devices))):
        part = run(params, landmark, target, batches)
        jax.block_until_ready(sums)  # as in ``advance_blocks``
        sums = part if sums is None else sums + part
    assert sums is not None  # there is always a block
    return sums


def fit(
    config: NetworkConfig,
    protocol: Protocol,
    train: Samples,
    validation: Samples | None,
    seed: int,
    directory: Path | None = None,
    *,
    start: Params | None = None,
    resume: bool = False,
    on_epoch: Callable[[Epoch, float], None] = lambda row, seconds: None,
    checkpoint_seconds: int = 30,
) -> Fit:
    """Trains a network, and keeps the parameters of its best epoch, the one with the lowest validation MAE.

    Args:
      config: the network.
      protocol: how to train it.
      train: z-scores to train on.
      validation: z-scores to choose the best epoch by, placed on the same devices; None takes the last epoch, as when a
        network is refitted for a number of epochs that was chosen before.
      seed: decides initial parameters, data order and dropout; on equally many CPU devices, every bit of the result.
      directory: the run directory, for fit.json (what is trained), log.csv and checkpoints/; without it nothing is
        written.
      start: layers to start from, as in ``init_state``.
      resume: whether to go on with the run in ``directory``. A run killed at any moment and resumed ends with the
        parameters and the log that it would have had.
      on_epoch: called after every epoch with the new row of the log and the seconds that the epoch took.
      checkpoint_seconds: the least time between checkpoints; the last epoch always has one.

    Returns:
      The parameters after the best epoch, and the training log.

    Raises:
      DivergedError: the loss is not finite.
      DgexError: the directory holds a run already (without ``resume``) or another run (with it).

    Examples:
      >>> import numpy as np
      >>> from dgex import parallel
      >>> from dgex.batches import place
      >>> from dgex.protocols import Protocol
      >>> landmark = np.random.default_rng(0).normal(size=(96, 4)).astype(np.float32)
      >>> target = np.tanh(landmark[:, :2] - landmark[:, 2:])
      >>> devices = parallel.devices(1)
      >>> train, validation = place(landmark[:64], target[:64], devices), place(landmark[64:], target[64:], devices)
      >>> config = NetworkConfig(4, 2, hidden=(8,), taaf="hidden")
      >>> result = fit(config, Protocol("keras_nadam", "mae", 1e-2, batch=16, epochs=5), train, validation, seed=0)
      >>> len(result.log), result.best_epoch
      (5, 5)
      >>> result.log[-1].validation_mae < result.log[0].validation_mae
      True
    """
    if start:  # hosts of other kinds compute other last bits
        start = parallel.from_first_process(start, train.devices)
    if config.fixed_path:

        def fit_rest(rest: NetworkConfig, train: Samples, validation: Samples | None, start: Params) -> list[Fit]:
            result = fit(
                rest, protocol, train, validation, seed, directory, start=start, resume=resume,
                on_epoch=on_epoch, checkpoint_seconds=checkpoint_seconds,
            )  # fmt: skip
            return [result]

        return fit_beside(config, train, validation, start, fit_rest)[0]
    state = parallel.replicate(init_state(config, protocol.optimizer, seed, start), train.devices)
    best = jax.tree.map(jnp.copy, state.params)
    log: list[Epoch] = []
    monitor = monitor_samples(protocol, train)
    directories = [directory] if directory else []
    with recorded(
        directories, identity(config, protocol, seed, train, validation, start), resume, checkpoint_seconds
    ) as record:
        if record:
            (log,), (state, best) = record.latest((state, best))
        state, best = parallel.from_first_process((state, best), train.devices)
        for epoch in range(len(log) + 1, protocol.epochs + 1):
            started = time.monotonic()
            rate = learning_rate(protocol, [row.monitor_mae for row in log])
            state = with_rate(state, np.float32(rate), train.devices)
            order = train.order(seed, epoch - 1)
            state, loss, mae = train_epoch(state, train, config, protocol, order)
            monitor_mae = mean_error(evaluate(state.params, monitor, config)) if monitor else math.nan
            validation_mae = mean_error(evaluate(state.params, validation, config)) if validation else math.nan
            row = Epoch(epoch, rate, float(loss), float(mae), monitor_mae, validation_mae)
            if problem := not_finite(seed, row, validation is not None):
                raise DivergedError([Fit(best, log)], problem)
            if validation is None or is_best(row, log):
                best = _overwrite(best, state.params)
            log.append(row)
            if record:
                record.add([row], (state, best), last=epoch == protocol.epochs)
            on_epoch(row, time.monotonic() - started)
    return Fit(best, log)


def with_rate(state: TrainState, rate: np.ndarray | np.float32, devices: tuple[jax.Device, ...]) -> TrainState:
    """Sets the learning rate, replicated like the rest of the state: otherwise every epoch would be compiled anew."""
    return replace(state, learning_rate=parallel.replicate(rate, devices))


def mean_error(sums: GeneStatistics) -> float:
    """Computes the MAE, averaged over the genes that were measured, from sufficient statistics."""
    return finalize(jax.device_get(sums)).zscore_mae


def monitor_samples(protocol: Protocol, train: Samples) -> Samples | None:
    """Selects the training samples that the plateau rule monitors, the same for every seed; None without that rule."""
    if protocol.plateau is None:
        return None
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[: protocol.plateau.monitor_samples])
    return train.take(chosen)


@functools.partial(jax.jit, donate_argnums=0, keep_unused=True)
def _overwrite(old: Params, new: Params) -> Params:
    """Copies the new parameters into the memory of the old ones, as the next epoch consumes the state's."""
    return jax.tree.map(jnp.copy, new)
