"""Scores a model on profiles with measured targets: its errors, and whether its intervals and flags can be trusted.

The predictions are those of ``predict``, with missing landmarks imputed. Only measured targets count.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dgex.data.dataset import SPLITS, Dataset, Reference
from dgex.data.gene_matching import GeneRows, Match, average, match_genes
from dgex.data.intensity_scale import to_log2
from dgex.data.platforms import standardize_by_platform
from dgex.errors import DgexError
from dgex.formats.expression import Expression
from dgex.formats.profiles import profiles_of
from dgex.inference import PROFILES, Inference
from dgex.metrics import GeneScores, finalize, statistics_of, summarize
from dgex.model import Model
from dgex.model.imputation import complete
from dgex.model.input_scale import TableScale
from dgex.model.prediction import Request, predict_table
from dgex.model.reliability import agreement, coverage, is_well_inferred, mean_error, profile_error
from dgex.model.self_check import SelfCheck, self_check
from dgex.networks import NetworkConfig, Params

Scores = dict[str, Any]

NEW, UNKNOWN = "new studies", "unknown studies"  # groups of profiles whose study is in no split of the model


def evaluate_model(
    model: Model, label: str, dataset: Dataset, devices: tuple[jax.Device, ...], against: Model | None = None
) -> Iterator[tuple[str, Scores]]:
    """Scores a model on every split of a prepared file; scores are optimistic on train, and slightly so on validation.

    Args:
      model: the model to score.
      label: what messages call the data set, such as the path of its file.
      dataset: the data set that the model was trained on, or a cohort mapped onto that.
      devices: the devices to work on.
      against: another model, of the same training data, to compare with.

    Yields:
      Each split that has samples, and the scores that ``judge`` gives; with another model, "against" as ``beside``
      gives it.

    Raises:
      DgexError: the file has other genes, or was normalised otherwise; or so has the other model.
    """
    if against is not None:
        check_alike(model, against)
    reference = model.reference
    if (reference.landmark_genes, reference.target_genes) != (dataset.landmark_genes, dataset.target_genes):
        raise DgexError(f"{label}: has other genes than the model; prepare it with --onto the model's training data")
    if not _equal(reference.target_scaler, dataset.target_scaler):
        raise DgexError(
            f"{label}: is standardised otherwise than the model's training data; prepare it with --onto those"
        )
    study = np.asarray(dataset.study)
    for split, rows in rows_of_splits(dataset).items():
        inferred, target, error = _inferred_rows(model, label, dataset, rows, devices)
        scores = judge(model, inferred, target, error, study[rows].tolist())
        if against is not None:
            others, measured, _ = _inferred_rows(against, label, dataset, rows, devices)
            scores["against"] = beside(against, others, measured, inferred - target, study[rows])
        yield split, scores


def _inferred_rows(
    model: Model, label: str, dataset: Dataset, rows: np.ndarray, devices: tuple[jax.Device, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Infers the targets of some samples of a prepared file; also gives the measured ones and the self-check errors."""
    platforms = model.reference.platforms
    codes = np.array([platforms.code(name) for name in dataset.platforms.name])
    platform = codes[dataset.platform[rows]]
    zscores = model.standardize(dataset.landmark[rows], platform)
    landmark, _ = complete(zscores, model.factors)
    inferred = infer(model.config, model.params, landmark, devices)
    profiles = np.asarray(dataset.sample_id)[rows].tolist()
    model.check_inferred(label, profiles, inferred, np.arange(inferred.shape[1]), log2=False)
    target = standardize_by_platform(dataset.target[rows], model.reference.target_scaler, platforms.target, platform)
    return inferred, target, self_check(zscores, model.factors)[1]


@dataclass(frozen=True)
class Comparison:
    """Holds inferred and measured targets of the profiles of a table.

    Attributes:
      landmarks: how the landmarks were found.
      targets: how the targets were found.
      scale: the scale that the table was taken to be on.
      check: the self-check of the table's first profiles.
      platforms: which platforms the profiles were taken to be of, and why.
      inferred: z-scores ``[profiles, targets]``.
      measured: z-scores on the platform of each profile ``[profiles, targets]``, NaN where missing.
      self_check_error: of each profile, ``[profiles]``.
      platform: position of each profile's platform among the model's, int ``[profiles]``.
      study: the study of each profile, "" where unknown, ``[profiles]``.
    """

    landmarks: Match
    targets: Match
    scale: TableScale
    check: SelfCheck
    platforms: str
    inferred: np.ndarray
    measured: np.ndarray
    self_check_error: np.ndarray
    platform: np.ndarray
    study: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """Holds the scores of a model on a table of landmarks and targets.

    Attributes:
      comparison: the inferred and measured targets.
      scores: the scores that ``judge`` gives for each group of profiles: those of the studies of the model's splits
        ("train", "validation", "test"), those of "new studies", and those without a ``study_id`` ("unknown studies");
        with another model, each also has "against", as ``beside`` gives it.
    """

    comparison: Comparison
    scores: dict[str, Scores]


def evaluate_table(
    model: Model,
    label: str,
    table: Expression,
    request: Request,
    devices: tuple[jax.Device, ...],
    folder: Path,
    against: Model | None = None,
) -> Evaluation:
    """Scores the predictions for a table against the targets that it holds.

    The predictions are those of ``predict_table``. The measured targets become z-scores by
    ``Model.standardize_targets``, unless the table is of z-scores already.

    Args:
      model: the model to score.
      label: what messages call the table, such as the path of its file.
      table: genes in rows or in columns, by any of their names; the samples' field ``study_id`` has their studies, and
        without it all samples are of one unknown study.
      request: only ``input_scale``, ``max_missing`` and ``platform`` are used.
      devices: the devices to work on.
      folder: a folder for scratch files.
      against: another model, of the same training data, to compare with on the same profiles and measured values.

    Raises:
      DgexError: as ``predict_table``; or the table has no targets, or only such as are landmarks too; or the other
        model has other genes, or other training data.
    """
    if against is not None:
        check_alike(model, against)
    found = compare(model, label, table, request, devices, folder)
    inferred, truth, error, study = found.inferred, found.measured, found.self_check_error, found.study
    splits = model.provenance.get("data", {}).get("splits", {})
    known = {name: split for split in reversed(SPLITS) for name in splits.get(split, {}).get("studies", ())}
    group = np.array([known.get(name, NEW) if name else UNKNOWN for name in study.tolist()])
    scores = {}
    others = None if against is None else compare(against, label, table, request, devices, folder)
    for name in (*SPLITS, NEW, UNKNOWN):
        rows = group == name
        if rows.any():
            scores[name] = judge(model, inferred[rows], truth[rows], error[rows], study[rows].tolist())
            if against is not None and others is not None:
                scores[name]["against"] = beside(
                    against, others.inferred[rows], others.measured[rows], inferred[rows] - truth[rows], study[rows]
                )
    return Evaluation(found, scores)


def check_alike(model: Model, other: Model) -> None:
    """Refuses to compare models whose errors are not of the same genes and in the same units.

    Platforms that calibration added do not matter.

    Raises:
      DgexError: the other model has other genes, or was trained on other data.
    """
    one, two = model.reference, other.reference
    name = other.source.get("name", "the other model")
    if (one.landmark_genes, one.target_genes) != (two.landmark_genes, two.target_genes):
        raise DgexError(f"{name}: has other genes than the model to compare it with; train both on the same data")
    arrays = [
        (
            each.reference.quantiles,
            np.asarray(each.gene_quantiles, np.float32),
            *vars(each.reference.target_scaler).values(),
        )
        for each in (model, other)
    ]
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(*arrays, strict=True)):
        raise DgexError(
            f"{name}: was trained on other data than the model to compare it with, so that their errors have different "
            "units; train both on the same data"
        )


def beside(other: Model, inferred: np.ndarray, target: np.ndarray, error: np.ndarray, study: np.ndarray) -> Scores:
    """Scores another model on the same profiles and measured values, and pairs its errors with the model's by study.

    The two may take a profile to be of different platforms: errors are differences, on which offsets have no effect.

    Args:
      other: the other model.
      inferred: z-scores of the other model ``[profiles, targets]``.
      target: measured z-scores on the platforms that the other model took ``[profiles, targets]``, NaN where missing.
      error: inferred minus measured z-scores of the model ``[profiles, targets]``.
      study: the study of each profile, "" where unknown.

    Returns:
      "name" of the other model; its scores as ``scores_of`` gives them; and "by_study", by name "profiles", and the
      mean z-score MAE of the profiles by "model" and by "other"; studies without a measured target are left out.
    """
    mine, others = profile_error(error), profile_error(inferred - target)
    by_study = {}
    for name in np.unique(study[~np.isnan(mine)]).tolist():
        rows = (study == name) & ~np.isnan(mine)
        by_study[name] = {
            "profiles": int(rows.sum()),
            "model": float(mine[rows].mean()),
            "other": float(others[rows].mean()),
        }
    scores = scores_of(other.reference, target, {"network": inferred})["network"]
    return {"name": other.source.get("name", "other model"), **scores, "by_study": by_study}


def compare(
    model: Model, label: str, table: Expression, request: Request, devices: tuple[jax.Device, ...], folder: Path
) -> Comparison:
    """Infers the targets of a table and reads the measured ones; arguments and errors as ``evaluate_table``."""
    request = replace(request, output_scale="zscore", all_targets=True, interval=None)
    with predict_table(model, label, table, request, devices, folder) as prediction:
        oriented = table.transposed() if prediction.match.transposed else table
        targets = match_genes(label, oriented, model.reference.target_genes, called="targets")
        if targets.transposed or not (targets.rows.count[model.inferred] > 0).any():
            raise DgexError(
                f"{label}: holds no target but those that are landmarks too; give a table of whole profiles"
            )
        inferred = prediction.expression.load()[:, model.config.landmarks :]
        metadata = prediction.expression.sample_metadata
        report = prediction.platform_report()
    platform = np.array([model.reference.platforms.code(name) for name in metadata["platform"].tolist()])
    measured = _measured(model, oriented, prediction.match.rows, targets.rows, prediction.scale, platform, folder)
    return Comparison(
        prediction.match,
        targets,
        prediction.scale,
        prediction.check,
        report,
        inferred,
        measured,
        metadata["self_check_error"],
        platform,
        oriented.sample_text("study_id"),
    )


def _measured(
    model: Model,
    table: Expression,
    landmarks: GeneRows,
    targets: GeneRows,
    scale: TableScale,
    platform: np.ndarray,
    folder: Path,
) -> np.ndarray:
    """Reads the measured targets of a table whose samples are profiles, as z-scores ``[profiles, targets]``.

    The platform of each profile is a position among the model's platforms, int ``[profiles]``.
    """
    members = np.concatenate([landmarks.members, targets.members])
    count = np.concatenate([landmarks.count, targets.count])
    genes = GeneRows(targets.naming, np.arange(len(members)), count)
    truth = np.empty((len(table.sample_id), len(targets.count)), np.float32)
    with profiles_of(table, members, PROFILES, folder) as profiles:
        for where, values in profiles():
            whole = average(to_log2(values, scale), genes)
            if scale == "zscore":
                truth[where] = whole[:, len(landmarks.count) :]
            else:
                truth[where] = model.standardize_targets(whole, platform[where])
    return truth


def judge(
    model: Model, inferred: np.ndarray, target: np.ndarray, self_check_error: np.ndarray, study: Sequence[str]
) -> Scores:
    """Compares inferred with measured targets, and the model's reliability with that on these profiles.

    Args:
      model: the model that inferred the targets.
      inferred: z-scores ``[profiles, targets]``.
      target: measured z-scores ``[profiles, targets]``, NaN where missing.
      self_check_error: of each profile, ``[profiles]``.
      study: the study of each profile.

    Returns:
      "profiles", "studies" (their names), "targets" (the number that have a value), "missing" (the number of missing
      values of these targets); "mean predictor" and "network", as ``scores_of`` gives them; and the rest as
      ``trust_of`` gives it.
    """
    measured = ~np.isnan(target)
    targets = int(measured.any(axis=0).sum())
    size = size_of(study) | {"targets": targets, "missing": len(target) * targets - int(measured.sum())}
    scores = scores_of(model.reference, target, {"network": inferred})
    return size | scores | trust_of(model, inferred, target, self_check_error, study)


def scores_of(reference: Reference, target: np.ndarray, predictions: Mapping[str, np.ndarray]) -> Scores:
    """Scores predictions and the mean predictor, over all targets and over those that are not landmarks too.

    Args:
      reference: the genes and scalers.
      target: measured z-scores ``[profiles, targets]``, NaN where missing.
      predictions: inferred z-scores ``[profiles, targets]``, by name.

    Returns:
      For each name, and for "mean predictor", the scores that ``dgex.metrics.summarize`` gives, and under
      "without_overlap" those of the targets that are not landmarks too.
    """
    mean = mean_error(target)  # the mean predictor predicts z = 0
    undefined = np.full(len(mean), np.nan)
    per_gene = {"mean predictor": GeneScores(mean, undefined, undefined, undefined, ~np.isnan(mean))}
    per_gene |= {name: finalize(statistics_of(inferred, target)) for name, inferred in predictions.items()}
    sd, overlap = reference.target_scaler.sd, reference.overlap
    return {
        name: {**_defined(scores, sd), "without_overlap": _defined(scores, sd, ~overlap)}
        for name, scores in per_gene.items()
    }


def _defined(scores: GeneScores, sd: np.ndarray, genes: np.ndarray | None = None) -> dict[str, float]:
    """Summarises the scores of some genes, without those that are not defined (NaN)."""
    return {name: value for name, value in summarize(scores, sd, genes).items() if not np.isnan(value)}


def trust_of(
    model: Model, inferred: np.ndarray, target: np.ndarray, self_check_error: np.ndarray, study: Sequence[str]
) -> Scores:
    """Measures how intervals, ``well_inferred`` and ``out_of_range`` do on other profiles; arguments as ``judge``.

    Returns:
      "coverage", as ``dgex.model.reliability.coverage`` gives it; "well_inferred", the share of the measured targets
      that meet its criterion on these profiles, among those "flagged" by the model and among the "others";
      "out_of_range", the share of the profiles that are out of range; "self_check_error", the mean; "expected_error"
      and "true_error", the means of the profiles' expected and true z-score MAE; and, for three or more profiles,
      "expected_r", the correlation of these over profiles.
    """
    flagged, measured = model.reliability.well_inferred, ~np.isnan(target).all(axis=0)
    well = is_well_inferred(*agreement(inferred, target, study))
    met = {name: well[chosen & measured] for name, chosen in (("flagged", flagged), ("others", ~flagged))}
    expected = model.reliability.expectation.expect(self_check_error)
    true = profile_error(inferred - target)
    known = ~np.isnan(true)
    trust = {
        "coverage": coverage(inferred - target, model.reliability.quantile, expected, study),
        "well_inferred": {name: float(genes.mean()) for name, genes in met.items() if len(genes)},
        "out_of_range": float((self_check_error > model.reliability.expectation.farthest).mean()),
        "self_check_error": float(self_check_error.mean()),
        "expected_error": float(expected.mean()),
        "true_error": float(true[known].mean()),
    }
    if known.sum() >= 3 and np.ptp(expected[known]) > 0 and np.ptp(true[known]) > 0:
        trust["expected_r"] = float(np.corrcoef(expected[known], true[known])[0, 1])
    return trust


def infer(config: NetworkConfig, params: Params, landmark: np.ndarray, devices: tuple[jax.Device, ...]) -> np.ndarray:
    """Infers targets, z-scores ``[profiles, targets]``, from complete landmarks ``[profiles, landmarks]``."""
    return Inference(config, params, None, devices)(landmark)


def rows_of_splits(dataset: Dataset) -> dict[str, np.ndarray]:
    """Selects the samples of each split that has any, bool ``[samples]``."""
    rows = {split: dataset.split == code for code, split in enumerate(SPLITS)}
    return {split: chosen for split, chosen in rows.items() if chosen.any()}


def size_of(study: Sequence[str]) -> Scores:
    """Counts the profiles and lists their studies, given the study of each profile."""
    return {"profiles": len(study), "studies": sorted(set(study) - {""})}


def _equal(one: object, other: object) -> bool:
    """Tells whether all arrays of two instances of a class are equal."""
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))
