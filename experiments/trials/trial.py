"""A study's unit of work: one model, trained on one prepared file from one seed, and its errors on what was held out.

A finished trial is one file, ``outcome.npz``, written whole or not at all. So a study that was stopped goes on with the
trial it was at, questions that need the same trial share it, and several processes can work on one study.
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
from experiments.trials.heldout import Scores, score
from experiments.trials.loading import Loaded
from experiments.trials.models import BASELINES, Model
from experiments.trials.provenance import git_commit


@dataclass(frozen=True)
class Trial:
    """What decides a trial's numbers, but for the data.

    Attributes:
      source: name of the prepared file.
      model: what is trained.
      protocol: how, where it is a network.
      seed: of parameters, data order and dropout; 0 for a baseline.
      targets: how many of the targets, drawn at random once for all trials; None for all.
      profiles: how many of the training profiles, drawn likewise, so that a smaller number is part of a larger one;
        None for all. A network then trains for as many steps as with all of them, not as many epochs.
    """

    source: str
    model: Model
    protocol: Protocol | None
    seed: int = 0
    targets: int | None = None
    profiles: int | None = None

    @property
    def folder(self) -> Path:
        """Where it lies in the study's folder."""
        part = f"{self.targets or 'all'}-targets-{self.profiles or 'all'}-profiles"
        return Path("trials", self.source, part, self.model.name, f"seed-{self.seed}")


@dataclass(frozen=True)
class Outcome:
    """What a trial found.

    Attributes:
      scores: by held-out set, "test" or the name of a cohort.
      validation_mae: z-score MAE on the validation samples, at the best epoch.
      parameters: number of learnt parameters; None for a baseline.
      best_epoch: None for a baseline.
      chosen: the penalty or number of neighbours that validation chose; None for others.
      output_reach: what the output TAAF was started with, z-scores; None for others.
      curve: training and validation z-score MAE after every epoch, ``[2, epochs]``, NaN where training had diverged;
        empty for a baseline.
      taaf: learnt TAAF parameters by "LAYER/NAME".
      seconds: of training, since it was last resumed.
      diverged: the epoch in which the loss was no longer finite; the scores are then those of the best epoch before.
      made: on what, with which JAX and from which commit.
    """

    scores: dict[str, Scores]
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
        """The learnt TAAF parameters by layer, as the network names it, and name."""
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
    """What an outcome belongs to, as JSON keeps it.

    Args:
      trial: the trial.
      data: what tells its data from others.
    """
    fields = asdict(trial)
    del fields["model"]["label"]  # a name for readers
    return json.loads(json.dumps({**fields, "data": dict(data), "dgex": __version__}))


def run(
    trial: Trial,
    data: Loaded,
    folder: Path,
    on_epoch: Callable[[Epoch, float], None] = lambda row, seconds: None,
    *,
    events: bool = False,
) -> None:
    """Trains, scores and writes the outcome; an interrupted training goes on from its checkpoint.

    Beside a network's outcome stays its log, ``training/log.csv``.

    The held-out samples are predicted only after training has ended and validation has chosen.

    Args:
      trial: what to do.
      data: its prepared file, loaded.
      folder: the study's.
      on_epoch: as in ``dgex.training.fit``.
      events: whether to write a TensorBoard event file too.

    Raises:
      InUseError: another process is at it.
      DgexError: as ``fit``; the disk is full.
    """
    directory = folder / trial.folder
    directory.mkdir(parents=True, exist_ok=True)
    with sole_use(directory):
        if is_done(trial, folder):  # another process was faster
            return
        with event_file(directory / "events" if events and trial.model.seeded else None) as write_event:

            def both(row: Epoch, seconds: float) -> None:
                write_event(row)
                on_epoch(row, seconds)

            outcome = _network(trial, data, directory, both) if trial.model.seeded else _baseline(trial, data)
        write(directory / "outcome.npz", outcome, identity(trial, data.source.identity))
        # Checkpoints are many times the size of outcomes.
        shutil.rmtree(directory / "training" / "checkpoints", ignore_errors=True)


def _network(trial: Trial, data: Loaded, directory: Path, on_epoch: Callable[[Epoch, float], None]) -> Outcome:
    train, validation = samples_of(trial, data)
    config, protocol = network_of(trial, data)
    seconds = 0.0

    def epoch(row: Epoch, took: float) -> None:
        nonlocal seconds
        seconds += took
        on_epoch(row, took)

    diverged = None
    try:
        fitted = fit(
            config, protocol, train, validation, trial.seed, directory / "training", resume=True, on_epoch=epoch
        )
    except DivergedError as error:
        (fitted,) = error.fits
        if not fitted.log:
            raise
        diverged = len(fitted.log) + 1
    return network_outcome(trial, data, fitted, seconds, diverged)


def network_outcome(trial: Trial, data: Loaded, fitted: Fit, seconds: float, diverged: int | None = None) -> Outcome:
    """Scores a trained network on what was held out; the last two arguments are as in ``Outcome``."""
    config, protocol = network_of(trial, data)
    params = jax.device_get(fitted.params)
    infer = Inference(config, params, None, data.devices)
    scores = {held.name: score(infer, held) for held in data.held_out(trial.targets)}
    best = fitted.log[fitted.best_epoch - 1]
    curve = np.array([[row.train_mae, row.validation_mae] for row in fitted.log]).T
    return Outcome(
        scores=scores,
        validation_mae=best.validation_mae,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
        best_epoch=best.epoch,
        chosen=None,
        output_reach=config.output_reach,
        curve=np.pad(curve, ((0, 0), (0, protocol.epochs - curve.shape[1])), constant_values=np.nan),
        taaf=_taaf_parameters(params),
        seconds=seconds,
        diverged=diverged,
        made=_made(data),
    )


def samples_of(trial: Trial, data: Loaded) -> tuple[Samples, Samples]:
    """The trial's training and validation samples."""
    return data.samples("train", trial.targets, trial.profiles), data.samples("validation", trial.targets)


def network_of(trial: Trial, data: Loaded) -> tuple[NetworkConfig, Protocol]:
    """The trial's network, and how it is trained."""
    assert trial.protocol is not None
    train, _ = samples_of(trial, data)
    return trial.model.config(train), same_steps(trial.protocol, data.profiles, len(train))


def same_steps(protocol: Protocol, profiles: int, of_them: int) -> Protocol:
    """The protocol with as many steps on a part of the training profiles as on all ``profiles`` of them, nearly."""
    steps, fewer = (-(-number // protocol.batch) for number in (profiles, of_them))
    return replace(protocol, epochs=round(protocol.epochs * steps / fewer))


def _baseline(trial: Trial, data: Loaded) -> Outcome:
    train, validation = samples_of(trial, data)
    started = time.monotonic()
    predict, errors = BASELINES[trial.model.name](train, validation)
    seconds = time.monotonic() - started
    if errors:
        chosen, validation_mae = min(errors.items(), key=lambda candidate: candidate[1])
    else:
        chosen, validation_mae = None, float(np.nanmean(np.abs(predict(validation.landmark) - validation.target)))
    scores = {held.name: score(predict, held) for held in data.held_out(trial.targets)}
    return Outcome(
        scores, validation_mae, None, None, chosen, None, np.empty((2, 0)), {}, seconds, diverged=None, made=_made(data)
    )


def _made(data: Loaded) -> str:
    kind = data.devices[0].device_kind
    return f"{len(data.devices)} x {kind}, JAX {jax.__version__}, commit {git_commit() or 'unknown'}"


def _taaf_parameters(params: Params) -> dict[str, np.ndarray]:
    return {
        f"{layer}/{name}": np.asarray(values)
        for layer, learnt in params.items()
        if layer.endswith("_taaf")
        for name, values in learnt.items()
    }


def write(path: Path, outcome: Outcome, belongs_to: Mapping[str, Any]) -> None:
    """Writes an outcome, whole or not at all; ``belongs_to`` is its trial's ``identity``.

    Raises:
      DgexError: the disk is full.
    """
    arrays = {"curve": outcome.curve, **{f"taaf/{name}": values for name, values in outcome.taaf.items()}}
    for held, scores in outcome.scores.items():
        arrays |= {f"scores/{held}/{name}": values for name, values in vars(scores).items()}
    arrays["identity"] = np.array(json.dumps(belongs_to))
    arrays["summary"] = np.array(json.dumps({name: getattr(outcome, name) for name in SUMMARY}))
    need_room(path.parent, sum(values.nbytes for values in arrays.values()))
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def is_done(trial: Trial, folder: Path) -> bool:
    """Whether the trial's outcome is there."""
    return (folder / trial.folder / "outcome.npz").exists()


def check(trial: Trial, data: Mapping[str, Any], folder: Path) -> None:
    """Finds out without reading all of it that an outcome is another trial's; arguments and errors as ``read``."""
    path = folder / trial.folder / "outcome.npz"
    with _readable(path), path.open("rb") as file, np.load(file) as archive:
        found = dict(json.loads(str(archive["identity"])))
    _need_same(path, found, identity(trial, data))


def read(trial: Trial, data: Mapping[str, Any], folder: Path) -> Outcome:
    """Reads an outcome.

    Args:
      trial, data: as in ``identity``.
      folder: the study's.

    Raises:
      DgexError: it is missing, damaged, or of another trial than this.
    """
    path = folder / trial.folder / "outcome.npz"
    with _readable(path):
        with path.open("rb") as file, np.load(file) as archive:  # refuses pickled objects
            arrays = {name: archive[name] for name in archive.files}
        found, summary = (dict(json.loads(str(arrays.pop(name)))) for name in ("identity", "summary"))
        scores: dict[str, dict[str, np.ndarray]] = {}
        taaf = {}
        for name, values in arrays.items():
            kind, _, rest = name.partition("/")
            if kind == "taaf":
                taaf[rest] = values
            elif kind == "scores":
                held, _, field = rest.rpartition("/")
                scores.setdefault(held, {})[field] = values
        outcome = Outcome(
            scores={held: Scores(**fields) for held, fields in scores.items()},
            curve=arrays["curve"],
            taaf=taaf,
            **{name: summary[name] for name in SUMMARY},
        )
    _need_same(path, found, identity(trial, data))
    return outcome


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # any: a turned bit in the archive can name another format, a key, a length
        raise DgexError(f"{path}: cannot be read ({error}); delete it and resume the study") from error


def _need_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differs = [name for name, value in wanted.items() if found.get(name) != value]
    if differs:
        raise DgexError(
            f"{path}: is of another trial, which differs in: {', '.join(differs)}; choose another folder for the study"
        )
