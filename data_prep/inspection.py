"""What is in a file: the facts that ``python -m data_prep inspect`` prints, and what its pictures are drawn from.

A file passes by once, in blocks. NaN, the extremes and the median are counted over all values; the scale and the
pictures come from at most 1,000 evenly spaced profiles, so a file of any size takes some hundred megabytes of memory.
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
from data_prep.report import listed
from data_prep.steps import Steps
from dgex.data.dataset import SCHEMA_VERSION, SPLITS, is_prepared
from dgex.data.intensity_scale import Scale, intensity_scale, log2_of_linear, scale_of, value_ranges
from dgex.errors import DgexError, visible
from dgex.formats.expression import Expression
from dgex.formats.missing_values import tally
from dgex.formats.opening import open_expression

PROFILES = 1000  # to look at closely; fewer where they have more values than
PROFILE_VALUES = 2**25  # which are 128 MiB
BLOCK = 2**22  # values to count at a time; what is computed of them takes some ten times their 16 MiB

NAMINGS = {
    "probe sets": re.compile(r".+_at"),
    "Ensembl ids": re.compile(r"ENS[A-Z]*\d+"),
    "Ensembl ids with version": re.compile(r"ENS[A-Z]*\d+\.\d+"),
}


@dataclass(frozen=True)
class Inspection:
    """``str`` of it is what the command prints."""

    name: str  # of the file
    facts: dict[str, str]
    prepared: Prepared | None  # None: a raw expression table
    scale: Scale  # of the file
    naming: str  # of its rows
    row_id: tuple[str, ...]
    missing: np.ndarray  # int [rows], samples in which the row was not measured
    study: np.ndarray  # str [samples], "" where unknown
    chosen: np.ndarray  # int, positions of the profiles looked at closely
    values: np.ndarray  # float32 [chosen, rows]: log2, or as in the file where that is centred
    after: dict[str, np.ndarray]  # by study, counts of all values in HISTOGRAM_EDGES; of a prepared file

    def __str__(self) -> str:
        return "\n".join(visible(f"{name:<20}{text}") for name, text in self.facts.items())


class Counts:
    """What is known of all values of a table, added up block by block."""

    def __init__(self, samples: int, rows: int) -> None:
        self.missing_of_sample = np.zeros(samples, int)
        self.missing_of_row = np.zeros(rows, int)
        self.reach = np.tile([np.inf, -np.inf, 1], (samples, 1))  # as ``value_ranges`` gives it
        # A bin for each setting of a float32's upper 20 bits: sign, exponent, 11 bits of the mantissa. It is at most
        # 1/2048 of its values wide, be these logarithms or counts in the millions, and costs no arithmetic to find.
        self._bins = np.zeros(2**20, int)

    def add(self, samples: slice, rows: slice, values: np.ndarray) -> None:
        """Adds float32 [samples, rows]."""
        missing = np.isnan(values)
        self.missing_of_sample[samples] += missing.sum(axis=1)
        self.missing_of_row[rows] += missing.sum(axis=0)
        smallest, largest, whole = value_ranges(values).T
        for column, join, ends in ((0, np.minimum, smallest), (1, np.maximum, largest), (2, np.minimum, whole)):
            self.reach[samples, column] = join(self.reach[samples, column], ends)
        self._bins += np.bincount(values[~missing].view(np.uint32) >> 12, minlength=len(self._bins))

    def median(self) -> float:
        """The lower median of what was measured, less what its bin leaves out of the mantissa."""
        lowest = (np.arange(len(self._bins), dtype=np.uint32) << 12).view(np.float32)
        # The bits of negative floats are above those of positive ones, and grow as the floats fall.
        ascending, bins = (
            np.concatenate([half[1][::-1], half[0]]) for half in (np.split(lowest, 2), np.split(self._bins, 2))
        )
        count = np.cumsum(bins)
        return float(ascending[np.searchsorted(count, (count[-1] + 1) // 2)]) + 0.0  # no minus before a zero


def inspect(path: Path, steps: Steps, layer: str | None = None) -> Inspection:
    """Reads any file of expression profiles once, raw or prepared.

    What a prepared file promises, such as finite values and a scaler of its training split, is taken as said:
    ``dgex.data.dataset.read_dataset`` checks it whenever the file is used.

    Raises:
      DgexError: as ``open_expression`` and ``open_prepared``; none of the profiles looked at has any value.
    """
    with _open(path, layer) as (expression, prepared):
        samples, rows = expression.shape
        study = expression.sample_text("study_id")
        chosen = np.unique(np.linspace(0, samples - 1, min(samples, PROFILES, 1 + PROFILE_VALUES // rows)).astype(int))
        values = np.empty((len(chosen), rows), np.float32)
        counts = Counts(samples, rows)
        after: dict[str, np.ndarray] = {}
        with steps("reading", samples * rows) as advance:
            for some, row_slice, block in expression.blocks(BLOCK):
                counts.add(some, row_slice, block)
                first, last = np.searchsorted(chosen, (some.start, some.stop))
                values[first:last, row_slice] = block[chosen[first:last] - some.start]
                if prepared:
                    for name, count in histograms(block, study[some]).items():
                        after[name] = after.get(name, 0) + count
                advance(block.size)
    measured = ~np.isnan(values).all(axis=1)
    if not measured.any():
        raise DgexError(f"{path}: has no value in any of {len(chosen)} profiles looked at; check how it was made")
    chosen, values = chosen[measured], values[measured]
    scale = "log2" if prepared else scale_of(values)
    facts = {"file": f"{path.name}, {path.stat().st_size:,} bytes", "kind": expression.kind}
    naming = _naming(expression.row_id)
    if prepared:
        facts |= _prepared_axes(expression, prepared, naming)
    else:
        facts |= _axes(expression, naming)
        facts["scale"] = _scale(path, expression.sample_id, counts, values, scale)
    facts |= _values(counts)
    if expression.stand_ins:
        facts["taken as missing"] = f"{tally(expression.stand_ins)}, among these"
    facts |= _studies(study, expression)
    if prepared:
        facts |= _splits(prepared, study) | _preparation(prepared)
        if prepared.schema < SCHEMA_VERSION and prepared.report and prepared.report.gaps_filled:
            facts["not measured"] = f"not told by schema {prepared.schema}, but for how many: see gaps"
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
        values=log2_of_linear(values) if scale == "linear" else values,
        after=after,
    )


@contextmanager
def _open(path: Path, layer: str | None) -> Iterator[tuple[Expression, Prepared | None]]:
    if layer is None and is_prepared(path):
        with open_prepared(path) as opened:
            yield opened
    else:
        with open_expression(path, layer) as expression:
            yield expression, None


def _naming(row_id: Sequence[str]) -> str:
    """What most rows are named by."""
    for naming, pattern in NAMINGS.items():
        if sum(pattern.fullmatch(name) is not None for name in row_id) > len(row_id) / 2:
            return naming
    return "other names"


def _axes(expression: Expression, naming: str) -> dict[str, str]:
    samples, rows = expression.shape
    return {
        "shape": f"{samples} samples x {rows} rows",
        "samples": _first(expression.sample_id) + _repeated(expression.sample_id),
        "rows": f"{naming}: {_first(expression.row_id)}{_repeated(expression.row_id)}",
        "fields of samples": _first(tuple(expression.sample_metadata), 8) or "none",
        "fields of rows": _first(tuple(expression.row_metadata), 8) or "none",
    }


def _prepared_axes(expression: Expression, prepared: Prepared, naming: str) -> dict[str, str]:
    landmark, target = prepared.reference.landmark_genes.ensembl, prepared.reference.target_genes.ensembl
    return {
        "shape": f"{len(expression.sample_id)} samples x {len(landmark)} landmark + {len(target)} target genes",
        "samples": _first(expression.sample_id),
        "landmark genes": f"{naming}: {_first(landmark)}",
        "target genes": f"{naming}: {_first(target)}; {prepared.reference.overlap.sum()} of them are landmarks too",
        "scale": "log2, quantile-normalised",
    }


def _scale(path: Path, sample_id: Sequence[str], counts: Counts, values: np.ndarray, scale: Scale) -> str:
    """The scale of a raw file, and what preparation makes of it."""
    try:
        intensity_scale(str(path), sample_id, counts.reach, lambda positions: values)
    except DgexError as error:
        return f"{scale}, refused by prepare: {str(error).removeprefix(f'{path}: ')}"
    return "linear, taken by prepare as log2(max(x, 0) + 1)" if scale == "linear" else scale


def _values(counts: Counts) -> dict[str, str]:
    smallest, largest = counts.reach[:, 0].min(), counts.reach[:, 1].max()
    gaps, size = counts.missing_of_row.sum(), len(counts.missing_of_sample) * len(counts.missing_of_row)
    in_samples, in_rows = ((missing > 0).sum() for missing in (counts.missing_of_sample, counts.missing_of_row))
    where = f"{gaps} of {size} values ({gaps / size:.4%}), in {in_samples} samples and {in_rows} rows"
    return {
        "values": f"smallest {smallest:.4g}, median {counts.median():.4g}, largest {largest:.4g}",
        "not measured": where if gaps else "none, every sample has a value in every row",
    }


def _studies(study: np.ndarray, expression: Expression) -> dict[str, str]:
    facts = {"studies": "unknown, the samples have no field study_id"}
    if (study != "").any():
        facts = {"studies": f"{len(set(study.tolist()))}: {_largest(study)}"}
    if "platform_id" in expression.sample_metadata:
        facts["platforms"] = _largest(expression.sample_text("platform_id"))
    return facts


def _splits(prepared: Prepared, study: np.ndarray) -> dict[str, str]:
    facts = {}
    for code, name in enumerate(SPLITS):
        members = study[prepared.split == code]
        if len(members):
            facts[name] = f"{len(members)} samples of {len(set(members.tolist()) - {''})} studies"
    return facts


def _preparation(prepared: Prepared) -> dict[str, str]:
    """Where a prepared file comes from, as far as it says."""
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
            "gaps": f"{report.gaps_filled} values of {report.genes_with_gaps} genes in {report.samples_with_gaps} "
            f"samples, {report.gaps}",
        }
    if "onto" in prepared.preparation:
        facts["mapped onto"] = f"the data set with sha256 {prepared.preparation['onto']}"
    if prepared.preparation.get("legacy"):
        facts["legacy"] = "ranks and fits over all samples, as the originals had them"
    facts |= {"command": prepared.command, "seed": str(prepared.seed)}
    for number, (name, sha256) in enumerate(prepared.sources.items(), start=1):
        facts[f"source {number}"] = f"{name}, sha256 {sha256}"
    facts["versions"] = ", ".join(f"{package} {version}" for package, version in prepared.versions.items())
    return facts


def _first(ids: Sequence[str], most: int = 3) -> str:
    return ", ".join(ids[:most]) + ", ..." * (len(ids) > most)


def _repeated(ids: Sequence[str]) -> str:
    """Which names stand for several, if any."""
    names = [name for name, count in Counter(ids).items() if count > 1]
    return f"; more than once: {listed(tuple(map(repr, names)))}" if names else ""


def _largest(groups: np.ndarray, most: int = 5) -> str:
    """The largest groups with their sizes."""
    sizes = Counter(groups.tolist()).most_common()
    rest = sum(size for _, size in sizes[most:])
    shown = ", ".join(f"{name or 'unknown'} {size}" for name, size in sizes[:most])
    return shown + (f", {len(sizes) - most} more with {rest} samples" if rest else "")
