"""Runs a trial: trains its model, scores it on the held-out samples and writes the outcome."""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from dgex.baselines.closed_form import choose_penalty, closed_form, errors_by_penalty
from dgex.baselines.linear import mean_absolute_error
from dgex.batches import Samples
from dgex.data.stored import Stored
from dgex.files.run_directory import sole_use
from dgex.inference import Inference
from dgex.log import Epoch
from dgex.networks import NetworkConfig, Params
from dgex.protocols import Protocol
from dgex.training import fit
from dgex.training_result import DivergedError, Fit
from experiments.trials.events import event_file
from experiments.trials.heldout import score
from experiments.trials.loading import Loaded
from experiments.trials.models import BASELINES
from experiments.trials.outcome import Outcome, identity, is_done, read, write
from experiments.trials.provenance import git_commit
from experiments.trials.trial import Trial


def run(
    trial: Trial,
    data: Loaded,
    folder: Path,
    on_epoch: Callable[[Epoch, float], None] = lambda row, seconds: None,
    *,
    events: bool = False,
) -> None:
    """Trains a model, scores it and writes the outcome; an interrupted training continues from its checkpoint.

    A refit whose choice has no outcome is preceded by that.

    The training log of a network is kept beside its outcome, as ``training/log.csv``. The held-out samples are
    predicted only when training has ended and the validation samples have chosen the best epoch.

    Args:
      trial: the trial to run.
      data: its prepared file, loaded.
      folder: the study's folder.
      on_epoch: called after every epoch, as in ``dgex.training.fit``.
      events: whether to write a TensorBoard event file too.

    Raises:
      InUseError: another process is running this trial, or the choice of this refit.
      DgexError: as ``fit``; the disk is full.
    """
    directory = folder / trial.folder
    directory.mkdir(parents=True, exist_ok=True)
    choice: Outcome | None = None
    if trial.refit:
        before = replace(trial, refit=False)
        run(before, data, folder, on_epoch, events=events)
        choice = read(before, data.source.identity, folder)
    with sole_use(directory):
        if is_done(trial, folder):  # another process has finished it
            return
        with event_file(directory / "events" if events and trial.model.seeded else None) as write_event:

            def record(row: Epoch, seconds: float) -> None:
                write_event(row)
                on_epoch(row, seconds)

            if trial.model.seeded:
                outcome = _network(trial, data, directory, record, choice)
            else:
                outcome = _baseline(trial, data, choice)
        write(directory / "outcome.npz", outcome, identity(trial, data.source.identity))
        # Checkpoints are many times larger than outcomes, and a finished trial no longer needs them.
        shutil.rmtree(directory / "training" / "checkpoints", ignore_errors=True)


def _network(
    trial: Trial, data: Loaded, directory: Path, on_epoch: Callable[[Epoch, float], None], choice: Outcome | None
) -> Outcome:
    """Trains and scores a network; one that diverges is scored at its best epoch before.

    ``choice`` is the outcome whose choices a refit takes.
    """
    train, validation = samples_of(trial, data)
    config, protocol = network_of(trial, data)
    if choice is not None:
        assert choice.best_epoch is not None
        protocol = replace(protocol, epochs=choice.best_epoch)
    start, penalty = start_of(trial, data, choice)
    seconds = 0.0

    def epoch(row: Epoch, took: float) -> None:
        nonlocal seconds
        seconds += took
        on_epoch(row, took)

    diverged = None
    try:
        fitted = fit(
            config, protocol, train, None if choice else validation, trial.seed, directory / "training",
            start=start, resume=True, on_epoch=epoch,
        )  # fmt: skip
    except DivergedError as error:
        (fitted,) = error.fits
        if not fitted.log:
            raise
        diverged = len(fitted.log) + 1
    outcome = network_outcome(trial, data, fitted, seconds, diverged, penalty)
    return replace(outcome, validation_mae=choice.validation_mae) if choice else outcome


def network_outcome(
    trial: Trial, data: Loaded, fitted: Fit, seconds: float, diverged: int | None = None, penalty: float | None = None
) -> Outcome:
    """Scores a trained network on the held-out samples; arguments are as in ``Outcome``, ``penalty`` its ``chosen``."""
    config, protocol = network_of(trial, data)
    params = jax.device_get(fitted.params)
    infer = Inference(config, params, None, data.devices)
    held_out_errors = {samples.name: score(infer, samples) for samples in data.held_out(trial.targets)}
    best = fitted.log[fitted.best_epoch - 1]
    curve = np.array([[row.train_mae, row.validation_mae] for row in fitted.log]).T
    return Outcome(
        held_out_errors=held_out_errors,
        validation_mae=best.validation_mae,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
        best_epoch=best.epoch,
        chosen=penalty,
        output_reach=config.output_reach,
        curve=np.pad(curve, ((0, 0), (0, protocol.epochs - curve.shape[1])), constant_values=np.nan),
        taaf=_taaf_parameters(params),
        seconds=seconds,
        diverged=diverged,
        made=_made(data),
    )


def samples_of(trial: Trial, data: Loaded) -> tuple[Samples, Samples]:
    """Returns the samples that the trial is fitted to, and its validation samples; a refit is fitted to both."""
    part = trial.targets, trial.profiles, trial.studies, trial.platform
    validation = data.samples("validation", trial.targets, platform=trial.platform)
    return data.samples("train and validation" if trial.refit else "train", *part), validation


def network_of(trial: Trial, data: Loaded) -> tuple[NetworkConfig, Protocol]:
    """Returns the trial's network configuration, and the protocol by which it is trained.

    The protocol of a refit has the epochs of the choice, of which the refit is trained for those up to the best one.
    """
    assert trial.protocol is not None
    train, _ = samples_of(trial, data)
    chosen_on, _ = samples_of(replace(trial, refit=False), data)
    return trial.model.config(train), same_steps(trial.protocol, data.profiles, len(chosen_on))


def start_of(trial: Trial, data: Loaded, choice: Outcome | None = None) -> tuple[Params | None, float | None]:
    """Fits the layers that a network starts from: its linear path in closed form; None without such a path.

    Args:
      trial: the trial.
      data: its prepared file, loaded.
      choice: the outcome whose penalty a refit takes.

    Returns:
      The layers, and the penalty: that of ``choice``, or the one with the lowest validation z-score MAE.
    """
    config, _ = network_of(trial, data)
    if not config.linear:
        return None, None

    def fit_path() -> tuple[Params, float]:
        train, validation = samples_of(trial, data)
        penalty = choose_penalty(errors_by_penalty(config, train, validation)) if choice is None else choice.chosen
        assert penalty is not None
        return closed_form(config, train, penalty)[1], penalty

    # The path is the same beside any hidden layers, and for every seed.
    samples = trial.targets, trial.profiles, trial.studies, trial.platform, trial.refit
    return data.once((*samples, config.kernel, config.linear_rank, choice and choice.chosen), fit_path)


def same_steps(protocol: Protocol, profiles: int, subset: int) -> Protocol:
    """Sets the epochs on a subset of the training profiles so that there are nearly as many steps as on all of them.

    Args:
      protocol: the protocol for all training profiles.
      profiles: number of all training profiles.
      subset: number of training profiles in the subset.
    """
    steps, subset_steps = (-(-number // protocol.batch) for number in (profiles, subset))
    return replace(protocol, epochs=round(protocol.epochs * steps / subset_steps))


def _baseline(trial: Trial, data: Loaded, choice: Outcome | None) -> Outcome:
    """Fits and scores a baseline; ``choice`` is the outcome whose hyperparameter a refit takes."""
    train, validation = samples_of(trial, data)
    started = time.monotonic()
    predictor, errors = BASELINES[trial.model.name](train, validation, choice.chosen if choice else None)
    seconds = time.monotonic() - started
    if choice is not None:
        chosen, validation_mae = choice.chosen, choice.validation_mae
    elif errors:
        chosen, validation_mae = min(errors.items(), key=lambda candidate: candidate[1])
    else:
        chosen, validation_mae = None, mean_absolute_error(predictor, validation)
    return Outcome(
        held_out_errors={samples.name: score(predictor, samples) for samples in data.held_out(trial.targets)},
        validation_mae=validation_mae,
        parameters=None,
        best_epoch=None,
        chosen=chosen,
        output_reach=None,
        curve=np.empty((2, 0)),
        taaf={},
        seconds=seconds,
        diverged=None,
        made=_made(data),
    )


def _made(data: Loaded) -> str:
    """Names the devices, the JAX version and the commit, and says if data were not in memory, for ``Outcome.made``."""
    kind = data.devices[0].device_kind
    streamed = ", data read from the file" if isinstance(data.dataset.target, Stored) else ""
    return f"{len(data.devices)} x {kind}, JAX {jax.__version__}, commit {git_commit() or 'unknown'}{streamed}"


def _taaf_parameters(params: Params) -> dict[str, np.ndarray]:
    """Picks the learnt TAAF parameters by "LAYER/NAME"."""
    return {
        f"{layer}/{name}": np.asarray(values)
        for layer, learnt in params.items()
        if layer.endswith("_taaf")
        for name, values in learnt.items()
    }
