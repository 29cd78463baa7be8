"""From an expression table with landmarks to one with whole profiles, block by block.

Each profile goes its way alone: linear values to log2, probe sets of a gene averaged, onto the landmark quantiles by
rank, to z-scores; missing landmarks are filled in from the others; the network infers the targets. What the table's
other profiles are changes nothing, except that the scale is told from up to ``PROFILES`` of them where it is not given.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import jax
import numpy as np

from dgex.data.gene_matching import Match, average, match_genes
from dgex.data.intensity_scale import (
    LARGEST_LOG2,
    MixedScalesError,
    NoIntensitiesError,
    check_reach,
    intensity_scale,
    log2_of_linear,
    reach_of,
)
from dgex.data.normalization import Scaler, to_log2
from dgex.errors import DgexError, visible
from dgex.formats.expression import Block, Expression, ending
from dgex.formats.missing_values import tally
from dgex.formats.profiles import Profiles, profiles_of
from dgex.inference import PROFILES, ROWS, Inference
from dgex.model import Model
from dgex.model.imputation import complete
from dgex.networks import take_targets
from dgex.version import __version__

Item = TypeVar("Item")

InputScale = Literal["auto", "log2", "linear", "zscore"]
OutputScale = Literal["log2", "zscore"]

LEAST_NEGATIVE = 0.1  # of z-scores; half of them are in training
INFERRED = ":inferred"  # after the id of a gene that was measured too


@dataclass(frozen=True)
class Request:
    """What is asked of a prediction.

    Attributes:
      input_scale: of the table; "zscore" is taken as it is, in units of the training data. "auto" tells log2 from
        linear and refuses the rest.
      output_scale: "log2", on the scale of the training data, or "zscore".
      all_targets: whether a target that is a landmark too is also inferred, in a row of its own.
      interval: level of the prediction intervals whose half widths are told, one of ``dgex.model.reliability.LEVELS``.
      max_missing: share of the landmarks that a profile may lack.

    Raises:
      DgexError: a field is out of its range.
    """

    input_scale: InputScale = "auto"
    output_scale: OutputScale = "log2"
    all_targets: bool = False
    interval: float | None = None
    max_missing: float = 0.2

    def __post_init__(self) -> None:
        for field, choices in (("input_scale", InputScale), ("output_scale", OutputScale)):
            if getattr(self, field) not in get_args(choices):
                raise DgexError(f"{field} is one of {', '.join(get_args(choices))}, not {getattr(self, field)!r}")
        if not 0 <= self.max_missing < 1:
            raise DgexError(f"max_missing is a share of the landmarks, 0 or more and below 1, not {self.max_missing:g}")


@dataclass(frozen=True)
class Prediction:
    """Whole profiles to be.

    Attributes:
      expression: measured landmarks and then inferred targets; the values are inferred as its blocks are read, and only
        then are the sample metadata "distance", "out_of_range" and "landmarks_imputed" filled in. Its ``stand_ins`` are
        the table's.
      match: how the landmarks were found.
      scale: what the input was taken for.
    """

    expression: Expression
    match: Match
    scale: InputScale

    def warnings(self) -> list[str]:
        """What the user should know of the profiles, a line each; once the blocks are read."""
        told, profiles = self.expression.sample_metadata, len(self.expression.sample_id)
        imputed = np.flatnonzero(told["landmarks_imputed"])
        strangers = np.flatnonzero(told["out_of_range"])
        lines = []
        if self.expression.stand_ins:
            lines.append(f"values that stand for missing ones are taken as missing: {tally(self.expression.stand_ins)}")
        if len(imputed):
            lines.append(
                f"{len(imputed):,} of {profiles:,} profiles lack landmarks (up to {told['landmarks_imputed'].max()}), "
                "which were filled in from their others; scores and intervals are those of complete profiles"
            )
        if len(strangers):
            first = self.expression.sample_id[strangers[0]]
            lines.append(
                f"{len(strangers):,} of {profiles:,} profiles, such as {first}, are out of range: farther from the "
                "training data than 99 % of the validation profiles; expect larger errors than the card says"
            )
        return [visible(line) for line in lines]


@contextmanager
def predict_table(
    model: Model, name: Path, table: Expression, request: Request, devices: tuple[jax.Device, ...], folder: Path
) -> Iterator[Prediction]:
    """The prediction for a table, to be read within the ``with`` block.

    Args:
      name: of the table, for messages.
      table: genes in rows or in columns.
      devices: to deal the profiles out over.
      folder: for a scratch file, if the table's profiles do not come whole.

    Raises:
      DgexError: landmarks are not recognised or too many are missing; the scale is none, or not the one given; there
        is no such interval. When blocks are read: a profile is all of one value, lacks too much, or is of another
        scale than the first ones; what is inferred is not finite, or beyond all that training saw.
    """
    row_id, row_metadata = rows_of(model, request)
    targets = np.arange(model.config.targets) if request.all_targets else model.inferred
    in_log2 = request.output_scale == "log2"
    match = match_genes(name, table, model.reference.landmark_genes)
    unclear = f", of which {len(match.ambiguous)} are ambiguous ({match.ambiguous[0]}, ...)" if match.ambiguous else ""
    _check_missing(name, "every profile", len(match.missing), len(match.rows.count), request.max_missing, unclear)
    oriented = table.transposed() if match.transposed else table
    if len(match.missing):
        lacking = match.rows.count == 0
        row_metadata["kind"][: len(lacking)][lacking] = "imputed"
        row_metadata["well_inferred"][: len(lacking)][lacking] = False
    samples = len(oriented.sample_id)
    told: dict[str, np.ndarray] = {
        "distance": np.full(samples, np.nan, np.float32),
        "out_of_range": np.zeros(samples, bool),
        "landmarks_imputed": np.zeros(samples, np.int32),
    }
    most = max(PROFILES, ROWS * len(devices))
    with profiles_of(oriented, match.rows.members, most, folder) as profiles:
        # Rows are by now in the order of ``members``.
        genes = replace(match.rows, members=np.arange(len(match.rows.members)))
        scale = _scale(name, oriented, profiles, request.input_scale)

        def landmarks(where: slice, values: np.ndarray) -> np.ndarray:
            """The measured landmarks as z-scores, NaN where missing."""
            _check_profiles(name, oriented.sample_id[where], values, scale, request.input_scale)
            log2 = average(log2_of_linear(values) if scale == "linear" else values, genes)
            missing = np.isnan(log2).sum(axis=1)
            worst = int(missing.argmax())
            _check_missing(name, oriented.sample_id[where][worst], missing[worst], log2.shape[1], request.max_missing)
            return log2 if scale == "zscore" else model.standardize(log2)

        def started() -> Iterator[Callable[[], Block]]:
            start = _assembly(model, request, devices)
            for where, values in profiles():
                zscores = landmarks(where, values)
                filled, distance = complete(zscores, model.factors)
                told["distance"][where] = distance
                told["out_of_range"][where] = distance > model.reliability.farthest
                told["landmarks_imputed"][where] = np.isnan(zscores).sum(axis=1)
                yield start(where, filled)

        def blocks(most: int) -> Iterator[Block]:
            with ending(started()) as items:
                for finish in _ahead(items):
                    where, rows, values = finish()
                    inferred = values[:, model.config.landmarks :]
                    model.check_inferred(name, oriented.sample_id[where], inferred, targets, log2=in_log2)
                    yield where, rows, values

        whole = Expression(
            row_id,
            oriented.sample_id,
            blocks,
            row_metadata,
            {**oriented.sample_metadata, **told},
            "prediction",
            oriented.stand_ins,
            provenance_of(model, name, request, scale),
        )
        yield Prediction(whole, match, scale)


def provenance_of(model: Model, name: Path, request: Request, scale: InputScale) -> dict[str, Any]:
    """What a prediction's output says of how it was made; nothing of the output's own name, nor of folders.

    Returns:
      "dgex", the version; "model": "name" and "sha256" of its directory (see ``Model.source``); "input": "name" and the
      "scale" it was taken for; "options", the request's fields but for those that are None.
    """
    return {
        "dgex": __version__,
        "model": dict(model.source) or {"name": "in memory"},
        "input": {"name": name.name, "scale": scale},
        "options": {option: value for option, value in asdict(request).items() if value is not None},
    }


def rows_of(model: Model, request: Request) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The rows of a prediction, landmarks and then targets: their ids, and what is said of each.

    Metadata: symbol; kind ("measured", "inferred", or "imputed" where the table lacks the landmark; where some profiles
    do, it is filled in there and stays "measured"); validation_pearson (within studies), validation_r2,
    validation_zscore_mae, validation_log2_mae; well_inferred (true where measured too, as the Connectivity Map counts
    landmarks among its best inferred genes); with an interval its half width, on the output's scale. Of landmarks these
    numbers are NaN.

    Raises:
      DgexError: the model has no such interval.
    """
    reference, reliability = model.reference, model.reliability
    landmark, target = reference.landmark_genes, reference.target_genes
    kept = np.arange(len(target)) if request.all_targets else model.inferred
    twin = reference.overlap[kept]
    inferred = target.take(kept)
    ids = [gene + INFERRED * both for gene, both in zip(inferred.ensembl, twin.tolist(), strict=True)]
    sd = reference.target_scaler.sd

    def column(measured: float | bool, of_target: np.ndarray) -> np.ndarray:
        return np.concatenate([np.full(len(landmark), measured, of_target.dtype), of_target[kept]])

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
        width = reliability.half_width_at(request.interval)
        name = f"interval_{request.interval * 100:g}_half_width"
        metadata[name] = column(np.nan, width * sd if request.output_scale == "log2" else width)
    return landmark.ensembl + tuple(ids), metadata


def _assembly(
    model: Model, request: Request, devices: tuple[jax.Device, ...]
) -> Callable[[slice, np.ndarray], Callable[[], Block]]:
    """Starts inferring the targets of complete landmark z-scores; what it gives waits, and puts the rows together."""
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
            values[:, :landmarks] = to_log2(landmark, reference.landmark_scaler) if in_log2 else landmark
            network.finish(started, values[:, landmarks:])
            return where, slice(0, values.shape[1]), values

        return finish

    return start


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same, each made in another thread while the one before is in use: one is read while another is written."""
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = thread.submit(next, items, None)
            yield item


def _scale(name: Path, table: Expression, profiles: Profiles, asked: InputScale) -> InputScale:
    """The scale of the table: the one asked for, if its first profiles do not speak against it, or what they show."""
    where, values = next(profiles())
    ids = table.sample_id[where]
    if asked == "auto":
        try:
            return intensity_scale(name, ids, reach_of(values), lambda rows: values[rows])
        except NoIntensitiesError as error:
            raise DgexError(f"{error}; for z-scores of each gene, say --input-scale zscore") from error
        except MixedScalesError as error:
            raise DgexError(f"{error}, or say --input-scale linear if that is what all of them are on") from error
    known = values[~np.isnan(values)]
    if asked == "log2" and (known > LARGEST_LOG2).any():
        raise DgexError(
            f"{name}: its values reach {known.max():g}, so they are counts or linear, not log2; say --input-scale "
            "linear"
        )
    if asked == "zscore" and len(known) and (known < 0).mean() < LEAST_NEGATIVE:
        raise DgexError(
            f"{name}: {(known < 0).mean():.0%} of its values are negative, so they are no z-scores; leave out "
            "--input-scale"
        )
    return asked


def _check_profiles(
    name: Path, sample_id: tuple[str, ...], values: np.ndarray, scale: InputScale, asked: InputScale
) -> None:
    """Refuses profiles that are none on this scale; those of NaN alone are refused for what they lack."""
    reach = reach_of(values)
    smallest, largest, whole = reach.T
    measured = largest > -np.inf
    small = measured & (largest <= LARGEST_LOG2) & (whole == 0)
    for wrong, problem in (
        (measured & (smallest == largest), "has one value throughout; leave it out"),
        (small & (scale == "linear") & (asked == "auto"), f"stays below {LARGEST_LOG2:g}, as log2 values do, and the "
         "first ones are linear; bring all profiles to one scale, or say --input-scale linear"),
    ):  # fmt: skip
        if wrong.any():
            raise DgexError(f"{name}: the profile {sample_id[int(wrong.argmax())]} {problem}")
    check_reach(name, sample_id, reach, scale)


def _check_missing(name: Path, which: str, missing: int, of: int, most: float, remark: str = "") -> None:
    if missing == of:
        raise DgexError(f"{name}: {which} has no value of any landmark; leave it out")
    if missing > most * of:
        raise DgexError(
            f"{name}: {which} lacks {missing} of the {of} landmarks{remark}, more than {most:.0%}; use a fuller table, "
            "name its genes otherwise, or allow more (--max-missing)"
        )
