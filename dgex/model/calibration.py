"""Adds a laboratory's own platform to a model: offsets of the targets that a few whole profiles give.

In a laboratory's profiles a gene tends to lie above or below what is inferred by the same amount. The mean over n
profiles of that difference, shrunk by n / (n + k), becomes the offset of the targets on one more platform, whose
landmarks are those of a platform that the model was trained on. Prediction takes the last of equally near platforms,
so that the laboratory's profiles are on that platform from then on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from dgex.data.intensity_scale import NoIntensitiesError
from dgex.data.platforms import Platforms
from dgex.errors import DgexError
from dgex.formats.expression import Expression
from dgex.model import Model
from dgex.model.evaluation import Comparison, compare
from dgex.model.prediction import AUTO, Request
from dgex.version import __version__

NAME = "mine"
LONGEST_NAME = 60
SHRINKAGE = 1.0  # k of models whose training did not learn it: a study's offset is as large as what varies within it
RECORD = "calibrated"  # the field of a model's provenance that has an entry for each platform that calibration added


@dataclass(frozen=True)
class Calibration:
    """Holds a calibrated model, and what its offsets were made from.

    Attributes:
      model: the model with one more platform, the last.
      comparison: the inferred and measured targets of the profiles, on the base platform.
      base: the name of the platform that the profiles were taken to be of.
      shrinkage: k of the weight n / (n + k).
    """

    model: Model
    comparison: Comparison
    base: str
    shrinkage: float


def calibrate_table(
    model: Model,
    label: str,
    table: Expression,
    request: Request,
    name: str,
    source: Mapping[str, str],
    devices: tuple[jax.Device, ...],
    folder: Path,
) -> Calibration:
    """Calibrates a model to the whole profiles of a table.

    Args:
      model: the model to calibrate; a platform of this name that calibration added before is replaced.
      label: what messages call the table, such as the path of its file.
      table: genes in rows or in columns, by any of their names, landmarks and targets.
      request: only ``input_scale``, ``max_missing`` and ``platform`` are used. The platform is the base, one that the
        model was trained on; "auto" takes the one that most of the profiles are nearest to.
      name: of the platform to add.
      source: "file" and "sha256" of the table, for the provenance; what is not known is left out.
      devices: the devices to work on.
      folder: a folder for scratch files.

    Returns:
      The calibrated model, and what it was made from.

    Raises:
      DgexError: as ``dgex.model.evaluation.evaluate_table``; the values are z-scores; the name is one that the model
        was trained with, or cannot be a name.
    """
    check_name(model, name)
    if request.input_scale == "zscore":
        raise DgexError(f"{label}: z-scores have no level of their own to calibrate to; give log2 or linear values")
    trained = trained_platforms(model)
    try:
        comparison = compare(trained, label, table, request, devices, folder)
    except DgexError as error:
        if isinstance(error.__cause__, NoIntensitiesError):  # whose message for predictions goes on to advise z-scores
            raise error.__cause__ from error
        raise
    names = trained.reference.platforms.name
    base = int(np.bincount(comparison.platform, minlength=len(names)).argmax())
    if (comparison.platform != base).any():
        comparison = compare(trained, label, table, replace(request, platform=names[base]), devices, folder)
    residual = comparison.measured - comparison.inferred
    shrinkage = shrinkage_of(model)
    profiles = {"profiles": len(residual), "genes": int((~np.isnan(residual)).any(axis=0).sum())}
    calibrated = calibrate_model(model, residual, name, names[base], shrinkage, {**source, **profiles})
    return Calibration(calibrated, comparison, names[base], shrinkage)


def calibrate_model(
    model: Model,
    residual: npt.NDArray[np.floating],
    name: str,
    base: str,
    shrinkage: float,
    told: Mapping[str, Any],
) -> Model:
    """Adds a platform, the last, whose targets are shifted by the shrunk mean residuals.

    The landmark offsets are those of the base platform. The target offsets are base + sd x n / (n + k) x mean
    residual, with n the number of profiles that measured the gene; a gene that none measured keeps that of the base.

    Args:
      model: the model to calibrate; a platform of this name that calibration added before is replaced.
      residual: measured - inferred z-scores on the base platform [profiles, targets], NaN where not measured.
      name: of the platform to add.
      base: the name of a platform that the model was trained on.
      shrinkage: k, infinite where no offset helps.
      told: what the provenance says of the profiles, in types that JSON has.

    Returns:
      The model with the platform; its provenance has the field "calibrated", by name of platform: what is told, and
      "base", "shrinkage", "model" (the source of the model that was calibrated) and "dgex", the version.

    Raises:
      DgexError: the name is one that the model was trained with, or cannot be a name; there is no such base.
    """
    check_name(model, name)
    code = trained_platforms(model).reference.platforms.code(base)
    entries = {key: entry for key, entry in model.provenance.get(RECORD, {}).items() if key != name}
    old = model.reference.platforms
    kept = [position for position, other in enumerate(old.name) if other != name]
    shift = model.reference.target_scaler.sd * shrunk_mean(residual, shrinkage)
    platforms = Platforms(
        (*(old.name[position] for position in kept), name),
        np.vstack([old.landmark[kept], old.landmark[code]]),
        np.vstack([old.target[kept], (old.target[code] + shift).astype(np.float32)]),
    )
    source = {"model": dict(model.source)} if model.source else {}
    entries[name] = {**told, "base": base, "shrinkage": shrinkage, **source, "dgex": __version__}
    reference = replace(model.reference, platforms=platforms)
    return replace(model, reference=reference, provenance={**model.provenance, RECORD: entries})


def check_name(model: Model, name: str) -> None:
    """Refuses the name of a platform that the model was trained with, and what cannot be a name.

    Args:
      model: the model to calibrate.
      name: of the platform to add.

    Raises:
      DgexError: the name is refused.
    """
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME or name == AUTO:
        raise DgexError(
            f"platform {name[:LONGEST_NAME]!r}: cannot be the name; give 1 to {LONGEST_NAME} letters, other than {AUTO}"
        )
    if name in trained_platforms(model).reference.platforms.name:
        raise DgexError(f"platform {name!r}: is one that the model was trained with; choose another --name")


def trained_platforms(model: Model) -> Model:
    """Makes the model that has only the platforms that it was trained with, which come before the added ones."""
    added = model.provenance.get(RECORD, {})
    if not added:
        return model
    old = model.reference.platforms
    kept = [position for position, name in enumerate(old.name) if name not in added]
    platforms = Platforms(tuple(old.name[position] for position in kept), old.landmark[kept], old.target[kept])
    return replace(model, reference=replace(model.reference, platforms=platforms))


def shrinkage_of(model: Model) -> float:
    """Gives k as the model's training learnt it, ``SHRINKAGE`` where it did not."""
    return float(model.provenance.get("calibration", {}).get("shrinkage", SHRINKAGE))


def shrunk_mean(residual: npt.NDArray[np.floating], shrinkage: float) -> npt.NDArray[np.float64]:
    """Computes n / (n + k) x mean of each target's n residuals.

    Args:
      residual: z-scores [profiles, targets], NaN where not measured.
      shrinkage: k, 0 or more.

    Returns:
      z-scores [targets]; 0 where there is no residual.
    """
    count = (~np.isnan(residual)).sum(axis=0)
    total = np.nansum(residual, axis=0, dtype=np.float64)
    return np.divide(total, count + shrinkage, out=np.zeros(residual.shape[1]), where=count > 0)


def learn_shrinkage(residual: npt.NDArray[np.floating], study: npt.NDArray[np.generic]) -> float:
    """Learns k of the weight n / (n + k) from out-of-fold residuals, studies weighted equally.

    With q the mean square of a residual and p the mean product of two profiles of a study (same gene), the squared
    error of a further profile after n profiles is least at weight n p / (q + (n - 1) p): k = (q - p) / p for every n.

    Args:
        residual: Measured - inferred z-scores [profiles, targets], NaN where not measured.
        study: Study of each profile [profiles]; genes that one profile of it measured are left out.

    Returns:
        k; infinite where the profiles of a study share nothing, so that no offset helps.

    Raises:
        ValueError: No study has two profiles that measured the same gene.
    """
    squares, products = [], []
    for name in np.unique(study):
        rows = residual[study == name].astype(np.float64)
        count = (~np.isnan(rows)).sum(axis=0)
        rows, count = rows[:, count > 1], count[count > 1]
        if not len(count):
            continue
        square = np.nansum(np.square(rows), axis=0)
        squares.append(float((square / count).mean()))
        products.append(float(((np.square(np.nansum(rows, axis=0)) - square) / (count * (count - 1))).mean()))
    if not squares:
        raise ValueError("no study has two profiles")
    q, p = float(np.mean(squares)), float(np.mean(products))
    return max(0.0, (q - p) / p) if p > 0 else float("inf")


def errors_by_number(
    residual: npt.NDArray[np.floating],
    study: npt.NDArray[np.generic],
    platform: npt.NDArray[np.generic],
    shrinkage: float,
    numbers: tuple[int, ...] = (0, 1, 2, 5),
    seed: int = 0,
) -> dict[int, dict[int, float]]:
    """Measures the error that remains after 0, 1, 2, 5 profiles of a study and platform have given offsets.

    The same profiles are scored for every number: those that not even the largest number takes, in one random order.

    Args:
        residual: Measured - inferred z-scores [profiles, targets], NaN where not measured.
        study: Study of each profile [profiles].
        platform: Code of the platform of each profile [profiles].
        shrinkage: k of the weight n / (n + k).
        numbers: Numbers of profiles to calibrate with.
        seed: Seed of the order of a study's profiles.

    Returns:
        z-score MAE of the measured values by platform code and number, mean over studies; a platform without a study of
        more than `max(numbers)` profiles is left out.
    """
    generator = np.random.default_rng(seed)
    result: dict[int, dict[int, float]] = {}
    for code in np.unique(platform):
        errors = []
        for name in np.unique(study[platform == code]):
            rows = generator.permutation(np.flatnonzero((study == name) & (platform == code)))
            rest = residual[rows[max(numbers) :]]
            if np.isnan(rest).all():
                continue
            offsets = [shrunk_mean(residual[rows[:n]], shrinkage) for n in numbers]
            errors.append([float(np.nanmean(np.abs(rest - offset))) for offset in offsets])
        if errors:
            result[int(code)] = dict(zip(numbers, np.mean(errors, axis=0).tolist(), strict=True))
    return result
