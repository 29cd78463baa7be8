"""The outcome of a trial: its errors on the held-out samples, and the file that they are kept in.

It is one file, ``outcome.npz``, which is written atomically. So a study that was stopped continues with the unfinished
trials, questions that need the same trial share it, and several processes can work on one study.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dgex.errors import DgexError
from dgex.files.atomic import need_room, replacing
from dgex.taaf import PARAMETERS
from dgex.version import __version__
from experiments.trials.heldout import HeldOutErrors
from experiments.trials.trial import Trial


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
      made: devices, JAX version and commit that the outcome was made with, and whether data were read from the file.
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
