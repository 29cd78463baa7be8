"""Predicts whole profiles from an expression table with landmarks, block by block.

Each profile is treated on its own: linear values become log2, the probe sets of a gene are averaged, the landmarks are
quantile-normalised and standardised, missing landmarks are imputed, and the network infers the targets. The other
profiles of the table have no influence, except that the scale, where it is not given, is determined from up to
``PROFILES`` of them.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import jax
import numpy as np

from dgex.data.gene_matching import Match, average, match_genes
from dgex.data.intensity_scale import to_log2, value_ranges
from dgex.data.normalization import Scaler, unstandardize
from dgex.data.units import unit_of
from dgex.errors import DgexError, visible
from dgex.formats.expression import Block, Expression, ending
from dgex.formats.missing_values import tally
from dgex.formats.profiles import profiles_of
from dgex.inference import PROFILES, ROWS, Inference
from dgex.model import Model
from dgex.model.imputation import complete
from dgex.model.input_scale import InputScale, TableScale, check_missing, check_profiles, scale_of
from dgex.model.self_check import SelfCheck, self_check, summarize_check
from dgex.model.training_map import positions
from dgex.networks import take_targets
from dgex.version import __version__

Item = TypeVar("Item")

OutputScale = Literal["log2", "zscore"]

AUTO = "auto"
INFERRED = ":inferred"  # follows the id of a target that is a landmark too


@dataclass(frozen=True)
class Request:
    """Holds the options of a prediction.

    Attributes:
      input_scale: scale of the table; "zscore" means z-scores in units of the training data, which are used as they
        are. "auto" tells log2 from linear values and refuses all others.
      output_scale: "log2", on the scale of the training data, or "zscore".
      all_targets: whether a target that is a landmark too is also inferred, in a row of its own.
      interval: level of the prediction intervals whose half widths the output has, one of
        ``dgex.model.reliability.LEVELS``; None for no intervals.
      max_missing: share of the landmarks that may be missing in a profile.
      platform: the platform that measured the table, one of the model's; "auto" takes for each profile the one that
        brings its landmarks nearest to the training data. For z-scores "auto" is the first, the reference.

    Raises:
      DgexError: a field is out of its range.
    """

    input_scale: InputScale = "auto"
    output_scale: OutputScale = "log2"
    all_targets: bool = False
    interval: float | None = None
    max_missing: float = 0.2
    platform: str = AUTO

    def __post_init__(self) -> None:
        """Checks the options."""
        for field, choices in (("input_scale", InputScale), ("output_scale", OutputScale)):
            if getattr(self, field) not in get_args(choices):
                raise DgexError(f"{field} is one of {', '.join(get_args(choices))}, not {getattr(self, field)!r}")
        if not 0 <= self.max_missing < 1:
            raise DgexError(f"max_missing is a share of the landmarks, 0 or more and below 1, not {self.max_missing:g}")


@dataclass(frozen=True)
class Prediction:
    """Holds the prediction for a table, whose values are inferred as they are read.

    Attributes:
      expression: measured landmarks and then inferred targets. Reading its blocks infers the values, and fills in the
        sample metadata "expected_zscore_mae", "expected_log2_mae" (over the inferred targets), "self_check_error",
        "platform", "out_of_range" and "landmarks_imputed". Its ``stand_ins`` are those of the table.
      match: how the landmarks were found.
      scale: the scale that the table was taken to be on.
      unit: what its values are, as far as they and its name tell: see ``dgex.data.units``. "" where nothing does.
      check: the self-check of the table's first profiles, up to ``PROFILES`` of them.
      given_platform: whether the request names the platform.
      measured: landmark z-scores of the profiles that were checked, f4 ``[checked, landmarks]``, NaN where missing.
      hidden: the same landmarks as inferred from the others, f4 ``[checked, landmarks]``, NaN where missing.
      position: of each profile among the training data (``dgex.model.training_map``), f4 ``[profiles, 2]``, filled in
        as the blocks are read; None if the model has fewer than two factors.
    """

    expression: Expression
    match: Match
    scale: TableScale
    unit: str
    check: SelfCheck
    given_platform: bool
    measured: np.ndarray
    hidden: np.ndarray
    position: np.ndarray | None

    def platform_report(self) -> str:
        """Says which platforms were taken for how many profiles, and why, after the blocks have been read."""
        names, counts = np.unique(self.expression.sample_metadata["platform"].astype(str), return_counts=True)
        taken = ", ".join(f"{name} ({count:,})" for name, count in zip(names.tolist(), counts.tolist(), strict=True))
        if self.given_platform:
            return f"platform: {taken}, as given"
        if self.scale == "zscore":
            return f"platform: {taken}, since z-scores do not tell"
        return f"platform: {taken}, which brings each profile nearest to the training data"

    def warnings(self) -> list[str]:
        """Lists what the user should know about the profiles, a line each, after the blocks have been read."""
        metadata, profiles = self.expression.sample_metadata, len(self.expression.sample_id)
        imputed = np.flatnonzero(metadata["landmarks_imputed"])
        out_of_range = np.flatnonzero(metadata["out_of_range"])
        lines = []
        if self.expression.stand_ins:
            lines.append(f"values that stand for missing ones are taken as missing: {tally(self.expression.stand_ins)}")
        if len(imputed):
            lines.append(
                f"{len(imputed):,} of {profiles:,} profiles lack landmarks (up to "
                f"{metadata['landmarks_imputed'].max()}), which were imputed from the measured ones; scores and "
                "intervals are those of complete profiles"
            )
        if len(out_of_range):
            first = self.expression.sample_id[out_of_range[0]]
            lines.append(
                f"{len(out_of_range):,} of {profiles:,} profiles, such as {first}, are out of range: their "
                "self-check error is larger than that of 99 % of the profiles that the model was tried on; their "
                "expected errors are extrapolated"
            )
        if self.check.failed:
            lines.append(
                "well_inferred is left empty, since the self-check fails: the model's reliability was "
                "measured on profiles that can be inferred better"
            )
        return [visible(line) for line in lines]


@contextmanager
def predict_table(
    model: Model, label: str, table: Expression, request: Request, devices: tuple[jax.Device, ...], folder: Path
) -> Iterator[Prediction]:
    """Prepares the prediction for a table, whose blocks are to be read within the ``with`` block.

    Args:
      model: the model to predict with.
      label: what messages call the table, such as the path of its file.
      table: genes in rows or in columns.
      request: the options.
      devices: the devices to distribute the profiles over.
      folder: a folder for a scratch file, which is needed if the table is not stored profile by profile.

    Raises:
      DgexError: landmarks are not recognised or too many are missing; the values are on no known scale, or not on the
        given one; the model has no such interval or platform. When blocks are read: a profile is constant, lacks too
        many landmarks, or is on another scale than the first profiles; inferred values are not finite, or far beyond
        the training data.
    """
    row_id, row_metadata = rows_of(model, request)
    targets = np.arange(model.config.targets) if request.all_targets else model.inferred
    in_log2 = request.output_scale == "log2"
    platforms, expectation = model.reference.platforms, model.reliability.expectation
    forced = None if request.platform == AUTO else platforms.code(request.platform)
    mean_sd = float(model.reference.target_scaler.sd[model.inferred].mean()) if len(model.inferred) else float("nan")
    match = match_genes(label, table, model.reference.landmark_genes)
    unclear = f", of which {len(match.ambiguous)} are ambiguous ({match.ambiguous[0]}, ...)" if match.ambiguous else ""
    check_missing(label, "every profile", len(match.missing), len(match.rows.count), request.max_missing, unclear)
    oriented = table.transposed() if match.transposed else table
    if len(match.missing):
        absent = match.rows.count == 0
        row_metadata["kind"][: len(absent)][absent] = "imputed"
        row_metadata["well_inferred"][: len(absent)][absent] = False
    samples = len(oriented.sample_id)
    sample_metadata: dict[str, np.ndarray] = {
        "expected_zscore_mae": np.full(samples, np.nan, np.float32),
        "expected_log2_mae": np.full(samples, np.nan, np.float32),
        "self_check_error": np.full(samples, np.nan, np.float32),
        "platform": np.full(samples, platforms.name[0], f"<U{max(map(len, platforms.name))}"),
        "out_of_range": np.zeros(samples, bool),
        "landmarks_imputed": np.zeros(samples, np.int32),
    }
    position = np.full((samples, 2), np.nan, np.float32) if model.factors.loadings.shape[1] >= 2 else None
    most = max(PROFILES, ROWS * len(devices))
    with profiles_of(oriented, match.rows.members, most, folder) as profiles:
        # The profiles have their rows in the order of ``members``.
        genes = replace(match.rows, members=np.arange(len(match.rows.members)))
        scale = scale_of(label, oriented, profiles, request.input_scale)

        def landmarks(where: slice, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Computes the z-scores of the measured landmarks, NaN where missing, and the platform of each profile."""
            check_profiles(label, oriented.sample_id[where], values, scale, request.input_scale)
            log2 = average(to_log2(values, scale), genes)
            missing = np.isnan(log2).sum(axis=1)
            worst = int(missing.argmax())
            check_missing(label, oriented.sample_id[where][worst], missing[worst], log2.shape[1], request.max_missing)
            if forced is None and scale != "zscore":
                platform = model.nearest_platform(log2)
            else:
                platform = np.full(len(log2), forced or 0)
            return log2 if scale == "zscore" else model.standardize(log2, platform), platform

        def started() -> Iterator[tuple[Callable[[], Block], np.ndarray]]:
            start = _assembly(model, request, devices)
            for where, values in profiles():
                zscores, platform = landmarks(where, values)
                filled, _ = complete(zscores, model.factors)
                if position is not None:
                    position[where] = positions(filled, model.factors)
                error = self_check(zscores, model.factors)[1]
                expected = expectation.expect(error)
                told = {
                    "expected_zscore_mae": expected,
                    "expected_log2_mae": expected * mean_sd,
                    "self_check_error": error,
                    "platform": np.array(platforms.name)[platform],
                    "out_of_range": error > expectation.farthest,
                    "landmarks_imputed": np.isnan(zscores).sum(axis=1),
                }
                for name, column in told.items():
                    sample_metadata[name][where] = column
                yield start(where, filled), platform

        def blocks(most: int) -> Iterator[Block]:
            with ending(started()) as items:
                for finish, platform in _ahead(items):
                    where, rows, values = finish()
                    inferred = values[:, model.config.landmarks :]
                    model.check_inferred(label, oriented.sample_id[where], inferred, targets, log2=in_log2)
                    if in_log2:  # the devices infer on the scale of the reference platform
                        _add_offsets(values, platform, offsets)
                    yield where, rows, values

        where, values = next(profiles())
        unit = ""
        if match.naming != "probe set" and scale != "zscore":
            unit = unit_of(f"{os.path.basename(label)} {table.kind}", scale, value_ranges(values))
        first = landmarks(where, values)[0]
        hidden = self_check(first, model.factors)[0]
        check = summarize_check(first, hidden, expectation)
        if check.failed:
            row_metadata["well_inferred"] = np.full(len(row_id), np.nan, np.float32)
        offsets = np.concatenate([platforms.landmark, platforms.target[:, targets]], axis=1)
        whole = Expression(
            row_id,
            oriented.sample_id,
            blocks,
            row_metadata,
            {**oriented.sample_metadata, **sample_metadata},
            "prediction",
            oriented.stand_ins,
            provenance_of(model, label, request, scale),
        )
        yield Prediction(whole, match, scale, unit, check, forced is not None, first, hidden, position)


def provenance_of(model: Model, label: str, request: Request, scale: TableScale) -> dict[str, Any]:
    """Describes how a prediction was made, for its output; neither the output's own name nor folders are included.

    Args:
      model: the model that predicted.
      label: what messages call the table; of a path only the last part is used.
      request: the options.
      scale: the scale that the table was taken to be on.

    Returns:
      "dgex", the version; "model": "name" and "sha256" of its directory (see ``Model.source``); "input": the table's
      "name" and "scale"; "options", the fields of the request that are not None.
    """
    return {
        "dgex": __version__,
        "model": dict(model.source) or {"name": "in memory"},
        "input": {"name": os.path.basename(label), "scale": scale},
        "options": {option: value for option, value in asdict(request).items() if value is not None},
    }


def rows_of(model: Model, request: Request) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Lists the ids and the metadata of a prediction's rows, landmarks and then targets.

    The metadata are symbol; kind ("measured", "inferred", or "imputed" for a landmark that the table lacks; a landmark
    that only some profiles lack is imputed there and stays "measured"); validation_pearson (within studies),
    validation_r2, validation_zscore_mae, validation_log2_mae; well_inferred (also true of measured landmarks, as the
    Connectivity Map counts landmarks among its best inferred genes); and, where the request has an interval, its half
    width on the output's scale for each unit of a profile's expected z-score MAE: the half width of a value is this
    times the profile's expected_zscore_mae. The numbers of landmarks are NaN.

    Args:
      model: the model to predict with.
      request: the options.

    Returns:
      Ids, and metadata columns by name. All landmarks are "measured"; ``predict_table`` marks those that a table lacks.

    Raises:
      DgexError: the model has no such interval.
    """
    reference, reliability = model.reference, model.reliability
    landmark, target = reference.landmark_genes, reference.target_genes
    kept = np.arange(len(target)) if request.all_targets else model.inferred
    is_landmark = reference.overlap[kept]
    inferred = target.take(kept)
    ids = [gene + INFERRED * both for gene, both in zip(inferred.ensembl, is_landmark.tolist(), strict=True)]
    sd = reference.target_scaler.sd

    def column(landmark_entry: float | bool, targets: np.ndarray) -> np.ndarray:
        return np.concatenate([np.full(len(landmark), landmark_entry, targets.dtype), targets[kept]])

    metadata = {
        "symbol": np.array(landmark.symbol + inferred.symbol),
        "kind": np.array(["measured"] * len(landmark) + ["inferred"] * len(inferred)),
        "validation_pearson": column(np.nan, reliability.pearson),
        "validation_r2": column(np.nan, reliability.r2),
        "validation_zscore_mae": column(np.nan, reliability.zscore_mae),
        "validation_log2_mae": column(np.nan, reliability.zscore_mae * sd),
        "well_inferred": column(True, reliability.well_inferred),
    }
    if request.interval is not None:
        width = reliability.quantile_at(request.interval)
        name = f"interval_{request.interval * 100:g}_per_expected_error"
        metadata[name] = column(np.nan, width * sd if request.output_scale == "log2" else width)
    return landmark.ensembl + tuple(ids), metadata


def _assembly(
    model: Model, request: Request, devices: tuple[jax.Device, ...]
) -> Callable[[slice, np.ndarray], Callable[[], Block]]:
    """Makes the function that starts to infer the targets of a block of profiles.

    That function takes complete landmark z-scores and returns at once; the function that it returns waits for the
    inferred targets and makes the block of landmarks and targets on the output's scale.
    """
    reference = model.reference
    landmarks = model.config.landmarks
    config, params, scaler = model.config, model.params, reference.target_scaler
    if not request.all_targets:
        config, params = take_targets(config, params, model.inferred)
        scaler = Scaler(scaler.mean[model.inferred], scaler.sd[model.inferred])
    in_log2 = request.output_scale == "log2"
    network = Inference(config, params, scaler if in_log2 else None, devices)

    def start(where: slice, landmark: np.ndarray) -> Callable[[], Block]:
        started = network.start(landmark)

        def finish() -> Block:
            values = np.empty((len(landmark), landmarks + config.targets), np.float32)
            values[:, :landmarks] = unstandardize(landmark, reference.landmark_scaler) if in_log2 else landmark
            network.finish(started, values[:, landmarks:])
            return where, slice(0, values.shape[1]), values

        return finish

    return start


def _add_offsets(values: np.ndarray, platform: np.ndarray, offsets: np.ndarray) -> None:
    """Brings log2 values ``[profiles, genes]`` to the scale of each profile's platform, in place.

    Args:
      values: on the scale of the reference platform.
      platform: the platform of each profile, int ``[profiles]``.
      offsets: of each platform, log2 ``[platforms, genes]``.
    """
    for code in np.unique(platform):
        if offsets[code].any():
            values[platform == code] += offsets[code]


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Prefetches one item: makes it in another thread while the caller works on the item before."""
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = thread.submit(next, items, None)
            yield item
