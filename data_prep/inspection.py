"""Inspects a file: collects the facts that ``python -m data_prep inspect`` prints, and the values for its pictures.

A file is read once, in blocks. Missing values, the extremes and the median are counted over all values; the scale and
the pictures come from at most 1,000 evenly spaced profiles, so a file of any size takes some hundred megabytes of
memory.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.densities import histograms
from data_prep.prepared import Prepared, open_prepared
from data_prep.report import CONVERTED, listed
from data_prep.steps import Steps
from dgex.data.dataset import SPLITS, is_prepared
from dgex.data.dataset_members import SCHEMA_VERSION
from dgex.data.intensity_scale import Scale, intensity_scale, scale_of, to_log2, value_ranges
from dgex.errors import DgexError, visible
from dgex.formats.expression import Expression
from dgex.formats.missing_values import tally
from dgex.formats.opening import open_expression

PROFILES = 1000  # kept in memory for the scale and the pictures; fewer if they would have more values than
PROFILE_VALUES = 2**25  # which take 128 MiB
BLOCK = 2**22  # values to count at a time; the arrays computed from them take some ten times their 16 MiB

NAMINGS = {
    "probe sets": re.compile(r".+_at"),
    "Ensembl ids": re.compile(r"ENS[A-Z]*\d+"),
    "Ensembl ids with version": re.compile(r"ENS[A-Z]*\d+\.\d+"),
}


@dataclass(frozen=True)
class Inspection:
    """Holds what was found in a file; ``str`` of it is the report that the command prints."""

    name: str  # of the file
    facts: dict[str, str]
    prepared: Prepared | None  # None for a raw expression table
    scale: Scale  # of the file
    naming: str  # of its rows
    row_id: tuple[str, ...]
    missing: np.ndarray  # int [rows], samples in which the row was not measured
    study: np.ndarray  # str [samples], "" where unknown
    chosen: np.ndarray  # int [chosen], positions of the evenly spaced profiles that are kept
    values: np.ndarray  # float32 [chosen, rows]: log2, or as in the file if its values are centred
    after: dict[str, np.ndarray]  # of a prepared file, counts of all values in HISTOGRAM_EDGES, by study

    def __str__(self) -> str:
        return "\n".join(visible(f"{name:<20}{text}") for name, text in self.facts.items())


class Counts:
    """Adds up sufficient statistics of all values of a table: missing values, extremes and a histogram."""

    def __init__(self, samples: int, rows: int) -> None:
        self.missing_of_sample = np.zeros(samples, int)
        self.missing_of_row = np.zeros(rows, int)
        self.reach = np.tile([np.inf, -np.inf, 1], (samples, 1))  # in the form of ``value_ranges``
        # There is a bin for each pattern of a float32's upper 20 bits: sign, exponent, 11 bits of the mantissa. Its
        # width is at most 1/2048 of its values, for logarithms and for counts in the millions, and finding a value's
        # bin takes no arithmetic.
        self._bins = np.zeros(2**20, int)

    def add(self, samples: slice, rows: slice, values: np.ndarray) -> None:
        """Adds a block of values, float32 [samples, rows]."""
        missing = np.isnan(values)
        self.missing_of_sample[samples] += missing.sum(axis=1)
        self.missing_of_row[rows] += missing.sum(axis=0)
        smallest, largest, whole = value_ranges(values).T
        for column, join, ends in ((0, np.minimum, smallest), (1, np.maximum, largest), (2, np.minimum, whole)):
            self.reach[samples, column] = join(self.reach[samples, column], ends)
        self._bins += np.bincount(values[~missing].view(np.uint32) >> 12, minlength=len(self._bins))

    def median(self) -> float:
        """Computes the lower median of the measured values, rounded down in magnitude to the edge of its bin."""
        lowest = (np.arange(len(self._bins), dtype=np.uint32) << 12).view(np.float32)
        # As integers, the bits of negative floats are above those of positive ones, and grow as the floats fall.
        ascending, bins = (
            np.concatenate([half[1][::-1], half[0]]) for half in (np.split(lowest, 2), np.split(self._bins, 2))
        )
        count = np.cumsum(bins)
        return float(ascending[np.searchsorted(count, (count[-1] + 1) // 2)]) + 0.0  # no minus before a zero


def inspect(path: Path, steps: Steps, layer: str | None = None) -> Inspection:
    """Inspects a file of expression profiles, raw or prepared, in one pass.

    A prepared file is not checked for finite values, or for a scaler that fits its training split:
    ``dgex.data.dataset.read_dataset`` checks these whenever the file is used.

    Args:
      path: an expression table in any format that ``open_expression`` reads, or a prepared file.
      steps: shows the progress.
      layer: of an h5ad file, the layer to read instead of X.

    Raises:
      DgexError: as ``open_expression`` and ``open_prepared``; none of the chosen profiles has any value.
    """
    with _open(path, layer) as (expression, prepared):
        samples, rows = expression.shape
        study = expression.sample_text("study_id")
        chosen = np.unique(np.linspace(0, samples - 1, min(samples, PROFILES, 1 + PROFILE_VALUES // rows)).astype(int))
        values = np.empty((len(chosen), rows), np.float32)
        counts = Counts(samples, rows)
        after: dict[str, np.ndarray] = {}
        with steps("reading", samples * rows) as advance:
            for sample_slice, row_slice, block in expression.blocks(BLOCK):
                counts.add(sample_slice, row_slice, block)
                first, last = np.searchsorted(chosen, (sample_slice.start, sample_slice.stop))
                values[first:last, row_slice] = block[chosen[first:last] - sample_slice.start]
                if prepared:
                    for name, count in histograms(block, study[sample_slice]).items():
                        after[name] = after.get(name, 0) + count
                advance(block.size)
    measured = ~np.isnan(values).all(axis=1)
    if not measured.any():
        raise DgexError(f"{path}: has no value in any of the {len(chosen)} profiles examined; check how it was made")
    chosen, values = chosen[measured], values[measured]
    scale = "log2" if prepared else scale_of(values)
    facts = {"file": f"{path.name}, {path.stat().st_size:,} bytes", "kind": expression.kind}
    naming = _naming(expression.row_id)
    if prepared:
        facts |= _prepared_axes(expression, prepared, naming)
    else:
        facts |= _axes(expression, naming)
        facts["scale"] = _scale(path, expression.sample_id, counts, values, scale, naming)
    facts |= _values(counts)
    if expression.stand_ins:
        facts["taken as missing"] = f"{tally(expression.stand_ins)}, among these"
    facts |= _studies(study, expression)
    if prepared:
        facts |= _splits(prepared, study) | _preparation(prepared)
        if prepared.schema < SCHEMA_VERSION and prepared.report and prepared.report.gaps_filled:
            facts["missing values"] = f"not marked by schema {prepared.schema}; see imputed values for their number"
    return Inspection(
        name=path.name,
        facts=facts,
        prepared=prepared,
        scale=scale,
        naming=naming,
        row_id=expression.row_id,
        missing=counts.missing_of_row,
        study=study,
        chosen=chosen,
        values=to_log2(values, scale),
        after=after,
    )


@contextmanager
def _open(path: Path, layer: str | None) -> Iterator[tuple[Expression, Prepared | None]]:
    """Opens an expression table, or a prepared file as one."""
    if layer is None and is_prepared(path):
        with open_prepared(path) as opened:
            yield opened
    else:
        with open_expression(path, layer) as expression:
            yield expression, None


def _naming(row_id: Sequence[str]) -> str:
    """Names the kind of gene identifier that most rows have."""
    for naming, pattern in NAMINGS.items():
        if sum(pattern.fullmatch(name) is not None for name in row_id) > len(row_id) / 2:
            return naming
    return "other names"


def _axes(expression: Expression, naming: str) -> dict[str, str]:
    """Describes the samples and rows of a raw file."""
    samples, rows = expression.shape
    return {
        "shape": f"{samples} samples x {rows} rows",
        "samples": _first(expression.sample_id) + _repeated(expression.sample_id),
        "rows": f"{naming}: {_first(expression.row_id)}{_repeated(expression.row_id)}",
        "fields of samples": _first(tuple(expression.sample_metadata), 8) or "none",
        "fields of rows": _first(tuple(expression.row_metadata), 8) or "none",
    }


def _prepared_axes(expression: Expression, prepared: Prepared, naming: str) -> dict[str, str]:
    """Describes the samples and genes of a prepared file."""
    landmark, target = prepared.reference.landmark_genes.ensembl, prepared.reference.target_genes.ensembl
    return {
        "shape": f"{len(expression.sample_id)} samples x {len(landmark)} landmark + {len(target)} target genes",
        "samples": _first(expression.sample_id),
        "landmark genes": f"{naming}: {_first(landmark)}",
        "target genes": f"{naming}: {_first(target)}; {prepared.reference.overlap.sum()} of them are landmarks too",
        "scale": "log2, quantile-normalised",
    }


def _scale(path: Path, sample_id: Sequence[str], counts: Counts, values: np.ndarray, scale: Scale, naming: str) -> str:
    """Describes the scale of a raw file, and how ``prepare`` treats it."""
    try:
        intensity_scale(str(path), sample_id, counts.reach, lambda positions: values)
    except DgexError as error:
        return f"{scale}, refused by prepare: {str(error).removeprefix(f'{path}: ')}"
    are_counts = scale == "linear" and naming != "probe sets" and counts.reach[:, 2].all()
    return CONVERTED.get("counts" if are_counts else scale, scale).replace("converted", "converted by prepare")


def _values(counts: Counts) -> dict[str, str]:
    """Describes the range of the values, and the missing values."""
    smallest, largest = counts.reach[:, 0].min(), counts.reach[:, 1].max()
    gaps, size = counts.missing_of_row.sum(), len(counts.missing_of_sample) * len(counts.missing_of_row)
    in_samples, in_rows = ((missing > 0).sum() for missing in (counts.missing_of_sample, counts.missing_of_row))
    where = f"{gaps} of {size} values ({gaps / size:.4%}), in {in_samples} samples and {in_rows} rows"
    return {
        "values": f"smallest {smallest:.4g}, median {counts.median():.4g}, largest {largest:.4g}",
        "missing values": where if gaps else "none, every sample has a value in every row",
    }


def _studies(study: np.ndarray, expression: Expression) -> dict[str, str]:
    """Describes the studies and platforms of the samples."""
    facts = {"studies": "unknown, the samples have no field study_id"}
    if (study != "").any():
        facts = {"studies": f"{len(set(study.tolist()))}: {_largest(study)}"}
    if "platform_id" in expression.sample_metadata:
        facts["platforms"] = _largest(expression.sample_text("platform_id"))
    return facts


def _splits(prepared: Prepared, study: np.ndarray) -> dict[str, str]:
    """Counts the samples and studies of each split."""
    facts = {}
    for code, name in enumerate(SPLITS):
        members = study[prepared.split == code]
        if len(members):
            facts[name] = f"{len(members)} samples of {len(set(members.tolist()) - {''})} studies"
    return facts


def _preparation(prepared: Prepared) -> dict[str, str]:
    """Describes how a prepared file was made, as far as it records that."""
    facts, report = {}, prepared.report
    if report:
        facts = {
            "prepared from": f"{report.kind}, rows are {report.naming}s, values {report.scale}",
            "taken as missing": report.taken_as_missing or "no values",
            "samples read": str(report.samples_read),
            "duplicates removed": listed(report.duplicates_removed),
            "incomplete removed": listed(report.incomplete_removed),
            "landmarks missing": listed(report.landmarks_missing),
            "targets missing": listed(report.targets_missing),
            "imputed values": f"{report.gaps_filled} values of {report.genes_with_gaps} genes in "
            f"{report.samples_with_gaps} samples, {report.gaps}",
        } | {f"platform {number}": line for number, line in enumerate(report.by_platform, start=1)}
    if "onto" in prepared.preparation:
        facts["mapped onto"] = f"the data set with sha256 {prepared.preparation['onto']}"
    if prepared.preparation.get("legacy"):
        facts["legacy"] = "ranks and fits over all samples, as in the papers' own code"
    facts |= {"command": prepared.command, "seed": str(prepared.seed)}
    for number, (name, sha256) in enumerate(prepared.sources.items(), start=1):
        facts[f"source {number}"] = f"{name}, sha256 {sha256}"
    facts["versions"] = ", ".join(f"{package} {version}" for package, version in prepared.versions.items())
    return facts


def _first(ids: Sequence[str], most: int = 3) -> str:
    """Lists the first ids."""
    return ", ".join(ids[:most]) + ", ..." * (len(ids) > most)


def _repeated(ids: Sequence[str]) -> str:
    """Lists the names that occur more than once, if any."""
    names = [name for name, count in Counter(ids).items() if count > 1]
    return f"; more than once: {listed(tuple(map(repr, names)))}" if names else ""


def _largest(groups: np.ndarray, most: int = 5) -> str:
    """Lists the largest groups with their sizes."""
    sizes = Counter(groups.tolist()).most_common()
    rest = sum(size for _, size in sizes[most:])
    shown = ", ".join(f"{name or 'unknown'} {size}" for name, size in sizes[:most])
    return shown + (f", {len(sizes) - most} more with {rest} samples" if rest else "")
