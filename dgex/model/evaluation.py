"""What a model is worth on profiles whose targets were measured: its errors, and whether its word on them holds.

Scored is what ``predict`` says, missing landmarks filled in as there, against measured values alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dgex.data.dataset import SPLITS, Dataset, Reference
from dgex.data.gene_matching import GeneRows, Match, average, match_genes
from dgex.data.intensity_scale import log2_of_linear
from dgex.data.normalization import standardize
from dgex.errors import DgexError
from dgex.formats.expression import Expression
from dgex.formats.profiles import profiles_of
from dgex.inference import PROFILES, Inference
from dgex.metrics import GeneScores, finalize, statistics_of, summarize
from dgex.model import Model
from dgex.model.imputation import complete
from dgex.model.prediction import InputScale, Request, predict_table
from dgex.model.reliability import agreement, coverage, is_well_inferred, mean_error
from dgex.networks import NetworkConfig, Params

Scores = dict[str, Any]

NEW, UNKNOWN = "new studies", "unknown studies"  # groups of profiles that belong to no split of the model's


def evaluate_model(
    model: Model, name: str, dataset: Dataset, devices: tuple[jax.Device, ...]
) -> Iterator[tuple[str, Scores]]:
    """Scores a model on every split of a prepared file; on train they are too good, on validation a bit.

    Args:
      name: of the file, for messages.
      dataset: the one that the model was trained on, or a cohort mapped onto that.
      devices: to work on.

    Yields:
      Split by split what ``judge`` says.

    Raises:
      DgexError: the file has other genes, or was normalised otherwise.
    """
    own = model.reference
    if (own.landmark_genes, own.target_genes) != (dataset.landmark_genes, dataset.target_genes):
        raise DgexError(f"{name}: has other genes than the model; prepare it with --onto the model's training data")
    if not _equal(own.target_scaler, dataset.target_scaler):
        raise DgexError(
            f"{name}: is standardised otherwise than the model's training data; prepare it with --onto those"
        )
    study = np.asarray(dataset.study)
    for split, rows in rows_of_splits(dataset).items():
        landmark, distance = complete(model.standardize(dataset.landmark[rows]), model.factors)
        inferred = infer(model.config, model.params, landmark, devices)
        profiles = np.asarray(dataset.sample_id)[rows].tolist()
        model.check_inferred(name, profiles, inferred, np.arange(inferred.shape[1]), log2=False)
        target = standardize(dataset.target[rows], own.target_scaler)
        yield split, judge(model, inferred, target, distance, study[rows].tolist())


@dataclass(frozen=True)
class Evaluation:
    """How a model does on a table of landmarks and targets.

    Attributes:
      landmarks, targets: how they were found.
      scale: what the table was taken for.
      scores: what ``judge`` says of each group of profiles: those of the studies of the model's splits ("train",
        "validation", "test"), those of "new studies", and those without a ``study_id`` ("unknown studies").
    """

    landmarks: Match
    targets: Match
    scale: InputScale
    scores: dict[str, Scores]


def evaluate_table(
    model: Model, name: Path, table: Expression, request: Request, devices: tuple[jax.Device, ...], folder: Path
) -> Evaluation:
    """Scores the predictions for a table against the targets that it holds.

    What is predicted is what ``predict_table`` says. What was measured becomes z-scores by
    ``Model.standardize_targets``, and is taken as it is where the table is of z-scores.

    Args:
      name: of the table, for messages.
      table: genes in rows or in columns, by any of their names; the samples' field ``study_id`` says their studies,
        and without it all are one.
      request: of which ``input_scale`` and ``max_missing`` count.
      devices: to work on.
      folder: for scratch files.

    Raises:
      DgexError: as ``predict_table``; or the table has no target, or those alone that are landmarks too.
    """
    asked = replace(request, output_scale="zscore", all_targets=True, interval=None)
    landmarks = model.config.landmarks
    with predict_table(model, name, table, asked, devices, folder) as prediction:
        oriented = table.transposed() if prediction.match.transposed else table
        targets = match_genes(name, oriented, model.reference.target_genes, called="targets")
        if targets.transposed or not (targets.rows.count[model.inferred] > 0).any():
            raise DgexError(f"{name}: holds no target but those that are landmarks too; there is nothing to score")
        inferred = prediction.expression.load()[:, landmarks:]
        distance = prediction.expression.sample_metadata["distance"]
    truth = _measured(model, oriented, prediction.match.rows, targets.rows, prediction.scale, folder)
    study = oriented.sample_text("study_id")
    splits = model.provenance.get("data", {}).get("splits", {})
    known = {name: split for split in reversed(SPLITS) for name in splits.get(split, {}).get("studies", ())}
    group = np.array([known.get(name, NEW) if name else UNKNOWN for name in study.tolist()])
    scores = {}
    for label in (*SPLITS, NEW, UNKNOWN):
        rows = group == label
        if rows.any():
            scores[label] = judge(model, inferred[rows], truth[rows], distance[rows], study[rows].tolist())
    return Evaluation(prediction.match, targets, prediction.scale, scores)


def _measured(
    model: Model, table: Expression, landmarks: GeneRows, targets: GeneRows, scale: InputScale, folder: Path
) -> np.ndarray:
    """The measured targets of a table whose samples are profiles, as z-scores ``[profiles, targets]``."""
    members = np.concatenate([landmarks.members, targets.members])
    count = np.concatenate([landmarks.count, targets.count])
    genes = GeneRows(targets.naming, np.arange(len(members)), count)
    truth = np.empty((len(table.sample_id), len(targets.count)), np.float32)
    with profiles_of(table, members, PROFILES, folder) as profiles:
        for where, values in profiles():
            whole = average(log2_of_linear(values) if scale == "linear" else values, genes)
            truth[where] = whole[:, len(landmarks.count) :] if scale == "zscore" else model.standardize_targets(whole)
    return truth


def judge(model: Model, inferred: np.ndarray, target: np.ndarray, distance: np.ndarray, study: Sequence[str]) -> Scores:
    """Compares inferred with measured targets, and what the model says of itself with what is seen.

    Args:
      inferred, target: z-scores ``[profiles, targets]``; of ``target`` NaN where not measured.
      distance: of each profile from the training data ``[profiles]``.
      study: of each profile.

    Returns:
      "profiles", "studies" (their names), "targets" (how many have a value), "missing" (how many values of these are
      not there); "mean predictor" and "network", as ``scores_of`` gives them; "coverage", "well_inferred" and
      "out_of_range", as ``trust_of`` does.
    """
    measured = ~np.isnan(target)
    targets = int(measured.any(axis=0).sum())
    size = size_of(study) | {"targets": targets, "missing": len(target) * targets - int(measured.sum())}
    scores = scores_of(model.reference, target, {"network": inferred})
    return size | scores | trust_of(model, inferred, target, distance, study)


def scores_of(reference: Reference, target: np.ndarray, predictions: Mapping[str, np.ndarray]) -> Scores:
    """Means over all targets, and over those without the overlap, of predictions and the mean predictor.

    Args:
      reference: the genes.
      target, and each of ``predictions``: z-scores ``[profiles, targets]``; a target is NaN where not measured.

    Returns:
      For each name, and "mean predictor", what ``dgex.metrics.summarize`` gives, with the same under "without_overlap".
    """
    mean = mean_error(target)  # the mean predictor says z = 0
    nothing = np.full(len(mean), np.nan)
    per_gene = {"mean predictor": GeneScores(mean, nothing, nothing, nothing, ~np.isnan(mean))}
    per_gene |= {name: finalize(statistics_of(inferred, target)) for name, inferred in predictions.items()}
    sd, overlap = reference.target_scaler.sd, reference.overlap
    return {
        name: {**_shown(scores, sd), "without_overlap": _shown(scores, sd, ~overlap)}
        for name, scores in per_gene.items()
    }


def _shown(scores: GeneScores, sd: np.ndarray, genes: np.ndarray | None = None) -> dict[str, float]:
    return {name: value for name, value in summarize(scores, sd, genes).items() if not np.isnan(value)}


def trust_of(
    model: Model, inferred: np.ndarray, target: np.ndarray, distance: np.ndarray, study: Sequence[str]
) -> Scores:
    """What intervals, ``well_inferred`` and the range of the training data are worth; arguments as ``judge``.

    Returns:
      "coverage", as ``dgex.model.reliability.coverage``; "well_inferred", the share of the measured targets that meet
      its criterion here, of those "flagged" and of the "others"; "out_of_range", the share of the profiles.
    """
    flagged, measured = model.reliability.well_inferred, ~np.isnan(target).all(axis=0)
    well = is_well_inferred(*agreement(inferred, target, study))
    shares = {name: well[chosen & measured] for name, chosen in (("flagged", flagged), ("others", ~flagged))}
    return {
        "coverage": coverage(inferred - target, model.reliability.half_width, study),
        "well_inferred": {name: float(own.mean()) for name, own in shares.items() if len(own)},
        "out_of_range": float((distance > model.reliability.farthest).mean()),
    }


def infer(config: NetworkConfig, params: Params, landmark: np.ndarray, devices: tuple[jax.Device, ...]) -> np.ndarray:
    """Infers targets, z-scores ``[profiles, targets]``, from complete landmarks ``[profiles, landmarks]``."""
    return Inference(config, params, None, devices)(landmark)


def rows_of_splits(dataset: Dataset) -> dict[str, np.ndarray]:
    """The samples of the splits that there are, bool ``[samples]`` each."""
    rows = {split: dataset.split == code for code, split in enumerate(SPLITS)}
    return {split: chosen for split, chosen in rows.items() if chosen.any()}


def size_of(study: Sequence[str]) -> Scores:
    """How many profiles there are, and of which studies, given each one's."""
    return {"profiles": len(study), "studies": sorted(set(study) - {""})}


def _equal(one: object, other: object) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))
