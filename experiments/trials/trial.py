"""A trial: one model, trained on one prepared file from one seed, and its errors on the held-out samples.

The result of a trial is one file, ``outcome.npz``, which is written atomically. So a study that was stopped continues
with the unfinished trials, questions that need the same trial share it, and several processes can work on one study.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dgex.baselines.closed_form import choose_penalty, closed_form, errors_by_penalty
from dgex.batches import Samples
from dgex.errors import DgexError
from dgex.files.atomic import need_room, replacing
from dgex.files.run_directory import sole_use
from dgex.inference import Inference
from dgex.log import Epoch
from dgex.networks import NetworkConfig, Params
from dgex.protocols import Protocol
from dgex.taaf import PARAMETERS
from dgex.training import DivergedError, Fit, fit
from dgex.version import __version__
from experiments.trials.events import event_file
from experiments.trials.heldout import HeldOutErrors, score
from experiments.trials.loading import Loaded
from experiments.trials.models import BASELINES, ModelSpec
from experiments.trials.provenance import git_commit


@dataclass(frozen=True)
class Trial:
    """Specifies a trial: everything besides the data that decides its numbers.

    Attributes:
      source: name of the prepared file.
      model: the model to train.
      protocol: how a network is trained; None for a baseline.
      seed: seed of the parameters, the data order and dropout; 0 for a baseline.
      targets: number of targets, drawn at random once for all trials; None for all.
      profiles: number of training profiles, drawn in the same way (``random_subset``); None for all. With fewer
        profiles, studies or platforms a network trains for as many steps as with all of them, not for as many epochs.
      studies: number of training studies, drawn in the same way; None for all.
      platform: the platform whose training and validation samples alone are used; None for all. The test samples are
        those of all platforms.
      refit: whether the model is fitted once more, to training and validation samples together, with the epoch, the
        penalty or the number of neighbours that the same trial without this has chosen on validation.
    """

    source: str
    model: ModelSpec
    protocol: Protocol | None
    seed: int = 0
    targets: int | None = None
    profiles: int | None = None
    studies: int | None = None
    platform: str | None = None
    refit: bool = False

    @property
    def variant(self) -> ModelSpec:
        """Names the model by how it is trained here, so that a model and its refit are two models of a table."""
        name, label = self.model.name, self.model.label
        if self.platform:
            name, label = f"{name}_{self.platform}", f"{label}, {self.platform} alone"
        if self.refit:
            name, label = f"{name}_refit", f"{label}, refitted"
        return replace(self.model, name=name, label=label)

    @property
    def folder(self) -> Path:
        """Names the trial's run directory, relative to the study's folder."""
        size = f"{self.targets or 'all'}-targets-{self.profiles or 'all'}-profiles-{self.studies or 'all'}-studies"
        return Path("trials", self.source, size, self.variant.name, f"seed-{self.seed}")


@dataclass(frozen=True)
class Outcome:
    """Holds the results of a trial.

    Attributes:
      held_out_errors: errors by name of the held-out set (``HeldOut.name``).
      validation_mae: z-score MAE on the validation samples, at the best epoch; of a refit that of the choice.
      parameters: number of learnt parameters; None for a baseline.
      best_epoch: epoch with the lowest validation z-score MAE, counted from 1, of a refit that of the choice; None for
        a baseline.
      chosen: penalty or number of neighbours with the lowest validation error, of a network that of the ridge
        regression which its linear path starts from; None for models without one.
      output_reach: ``NetworkConfig.output_reach`` of the network, z-scores; None where it is not set.
      curve: training and validation z-score MAE after every epoch, ``[2, epochs]``, NaN after training has diverged or,
        of a refit, ended, and for the validation of a refit; empty for a baseline.
      taaf: learnt TAAF parameters by "LAYER/NAME".
      seconds: training time since the last resume.
      diverged: epoch in which the loss was not finite; the errors are then those of the best epoch before. None where
        training did not diverge.
      made: devices, JAX version and commit that the outcome was made with.
    """

    held_out_errors: dict[str, HeldOutErrors]
    validation_mae: float
    parameters: int | None
    best_epoch: int | None
    chosen: float | None
    output_reach: float | None
    curve: np.ndarray
    taaf: dict[str, np.ndarray]
    seconds: float
    diverged: int | None
    made: str

    @property
    def taaf_layers(self) -> dict[str, dict[str, np.ndarray]]:
        """Groups the learnt TAAF parameters by layer, as the network names it, and by name."""
        layers: dict[str, dict[str, np.ndarray]] = {}
        for path, values in self.taaf.items():
            layer, _, name = path.partition("_taaf/")
            layers.setdefault(layer, {})[name] = values
        return {
            layer: {name: learnt[name] for name in PARAMETERS if name in learnt} for layer, learnt in layers.items()
        }


SUMMARY = (
    "validation_mae", "parameters", "best_epoch", "chosen", "output_reach", "seconds", "diverged", "made"
)  # fmt: skip


def identity(trial: Trial, data: Mapping[str, Any]) -> dict[str, Any]:
    """Identifies an outcome by its trial, its data and the version of dgex, as JSON types.

    Args:
      trial: the trial.
      data: identity of its data, as ``Source.identity``.
    """
    fields = asdict(trial)
    del fields["model"]["label"]  # only shown to readers, so a change of it does not matter
    return json.loads(json.dumps({**fields, "data": dict(data), "dgex": __version__}))


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
    train, validation = samples_of(trial, data)
    penalty = choose_penalty(errors_by_penalty(config, train, validation)) if choice is None else choice.chosen
    assert penalty is not None
    return closed_form(config, train, penalty)[1], penalty


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
        chosen, validation_mae = None, float(np.nanmean(np.abs(predictor(validation.landmark) - validation.target)))
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
    """Names the devices, the JAX version and the commit, for ``Outcome.made``."""
    kind = data.devices[0].device_kind
    return f"{len(data.devices)} x {kind}, JAX {jax.__version__}, commit {git_commit() or 'unknown'}"


def _taaf_parameters(params: Params) -> dict[str, np.ndarray]:
    """Picks the learnt TAAF parameters by "LAYER/NAME"."""
    return {
        f"{layer}/{name}": np.asarray(values)
        for layer, learnt in params.items()
        if layer.endswith("_taaf")
        for name, values in learnt.items()
    }


def write(path: Path, outcome: Outcome, belongs_to: Mapping[str, Any]) -> None:
    """Writes an outcome atomically; ``belongs_to`` is its trial's ``identity``.

    Raises:
      DgexError: the disk is full.
    """
    arrays = {"curve": outcome.curve, **{f"taaf/{name}": values for name, values in outcome.taaf.items()}}
    for held_out, errors in outcome.held_out_errors.items():
        arrays |= {f"scores/{held_out}/{name}": values for name, values in vars(errors).items()}
    arrays["identity"] = np.array(json.dumps(belongs_to))
    arrays["summary"] = np.array(json.dumps({name: getattr(outcome, name) for name in SUMMARY}))
    need_room(path.parent, sum(values.nbytes for values in arrays.values()))
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def is_done(trial: Trial, folder: Path) -> bool:
    """Tells whether the trial's outcome exists."""
    return (folder / trial.folder / "outcome.npz").exists()


def check(trial: Trial, data: Mapping[str, Any], folder: Path) -> None:
    """Refuses an outcome of another trial, from its identity alone; arguments and errors are as in ``read``."""
    path = folder / trial.folder / "outcome.npz"
    with _readable(path), path.open("rb") as file, np.load(file) as archive:
        stored = dict(json.loads(str(archive["identity"])))
    _need_same(path, stored, identity(trial, data))


def read(trial: Trial, data: Mapping[str, Any], folder: Path) -> Outcome:
    """Reads an outcome.

    Args:
      trial: the trial.
      data: identity of its data, as in ``identity``.
      folder: the study's folder.

    Raises:
      DgexError: the outcome is missing, damaged, or that of another trial.
    """
    path = folder / trial.folder / "outcome.npz"
    with _readable(path):
        with path.open("rb") as file, np.load(file) as archive:  # refuses pickled objects
            arrays = {name: archive[name] for name in archive.files}
        stored, summary = (dict(json.loads(str(arrays.pop(name)))) for name in ("identity", "summary"))
        errors: dict[str, dict[str, np.ndarray]] = {}
        taaf = {}
        for name, values in arrays.items():
            kind, _, rest = name.partition("/")
            if kind == "taaf":
                taaf[rest] = values
            elif kind == "scores":
                held_out, _, field = rest.rpartition("/")
                errors.setdefault(held_out, {})[field] = values
        outcome = Outcome(
            held_out_errors={held_out: HeldOutErrors(**fields) for held_out, fields in errors.items()},
            curve=arrays["curve"],
            taaf=taaf,
            **{name: summary[name] for name in SUMMARY},
        )
    _need_same(path, stored, identity(trial, data))
    return outcome


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns every error of reading an outcome into a DgexError that names the file."""
    try:
        yield
    except Exception as error:  # of any kind, since a changed bit in the archive can alter a format, a key or a length
        raise DgexError(f"{path}: cannot be read ({error}); delete it and resume the study") from error


def _need_same(path: Path, stored: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses an outcome whose identity differs from the expected one."""
    differing = [name for name, value in expected.items() if stored.get(name) != value]
    if differing:
        raise DgexError(
            f"{path}: is of another trial, which differs in: {', '.join(differing)}; "
            "choose another folder for the study"
        )
