"""Copies a source to a scratch file, from which its profiles can be read in any order.

Sources are text or HDF5, stored gene by gene or profile by profile, compressed or not, linear or log2. A source is read
once, from start to end, into a scratch file in which each profile is contiguous. One pass over that file determines the
missing values and the scale.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from data_prep.blocks import Work, blocks_of, in_order
from data_prep.choice import Choice, Fields
from data_prep.platforms import check_platforms
from dgex.data.gene_matching import Match, average, match_genes
from dgex.data.genes import Genes
from dgex.data.intensity_scale import Intensities, intensity_scale, to_log2, value_ranges
from dgex.data.missing import Missing
from dgex.data.units import COUNTS, MILLION, unit_of
from dgex.errors import DgexError
from dgex.files.atomic import need_room
from dgex.files.scratch import Scratch
from dgex.formats.archs4 import KIND as ARCHS4
from dgex.formats.expression import BLOCK, Expression
from dgex.formats.opening import open_expression
from dgex.formats.series_matrix import SERIES_MATRIX

MOST_MISSING_OF_A_PROFILE = 0.1
MOST_MISSING_OF_A_GENE = 0.5
BULK_SAMPLES = Choice()
TYPICAL = 64  # profiles that tell the unit
LEAST_FOUND = 0.5  # of the genes of either table; unrelated platforms share some names, so a few do not suffice


@dataclass(frozen=True)
class Staged:
    """Holds a source in its scratch file. Profiles are referred to by their position in it."""

    kind: str  # of file
    stand_ins: Counter[float]  # numbers that stand for missing values in the source: ``dgex.formats.missing_values``
    sample_id: np.ndarray  # str [samples]
    study: np.ndarray  # str [samples], "" where unknown
    project: np.ndarray  # str [samples], "" where unknown
    platform: np.ndarray  # str [samples], "" where the source does not say
    origin: tuple[str, ...]  # how the profiles were made, where the source says so; each text once
    row_id: tuple[str, ...]
    scale: Intensities  # of the source's values, which are converted to log2 when read
    # Of counts of RNA-seq, each profile's sum over all rows: float [samples]. A sequencer divides its reads among the
    # genes, so that counts are relative to this sum; whole numbers of a scanner are not.
    reads: np.ndarray | None
    shallow: np.ndarray  # bool [samples], of too few reads to be used
    remarks: tuple[str, ...]  # on how genes were matched and samples chosen
    match: Match  # of the genes, landmarks and then targets
    # Profiles of a study lack the same rows, so that there are few different patterns of missing values.
    patterns: np.ndarray  # u1 [patterns, rows / 8], packed bits, set where not measured
    pattern: np.ndarray  # int [samples], each profile's pattern
    scratch: Scratch

    @property
    def rows(self) -> int:
        """Counts the rows of the source."""
        return self.scratch.shape[1]

    def read(self, profiles: np.ndarray, dtype: DTypeLike = np.float32) -> np.ndarray:
        """Reads the profiles at ascending positions: log2 [profiles, rows], NaN where not measured."""
        values = self.scratch.read(profiles)
        if self.reads is not None:
            values *= (MILLION / np.maximum(self.reads[profiles], 1))[:, None].astype(np.float32)
        return to_log2(values, self.scale, dtype)

    def genes(self, profiles: np.ndarray, dtype: DTypeLike = np.float32) -> np.ndarray:
        """Reads profiles and averages them by gene, landmarks and then targets: log2 [profiles, genes]."""
        return average(self.read(profiles, dtype), self.match.rows, dtype)

    def missing_per_row(self, profiles: np.ndarray) -> np.ndarray:
        """Counts how many of ``profiles`` lack each row: int [rows]."""
        count = np.bincount(self.pattern[profiles], minlength=len(self.patterns))
        missing = np.zeros(self.rows, int)
        for numbers in blocks_of(np.arange(len(self.patterns))):
            missing += count[numbers] @ self._unpack(self.patterns[numbers])
        return missing

    def usual_rows(self, profiles: np.ndarray) -> np.ndarray:
        """Finds the rows that at least half of ``profiles`` have: bool [rows]."""
        return 2 * self.missing_per_row(profiles) <= len(profiles)

    def missing_per_gene(self, profiles: np.ndarray) -> np.ndarray:
        """Counts how many of ``profiles`` lack each gene: int [genes]."""
        count = np.bincount(self.pattern[profiles], minlength=len(self.patterns))
        return np.sum([count[numbers] @ absent for numbers, absent in self._absent()], axis=0)

    def missing_per_profile(self, genes: np.ndarray) -> np.ndarray:
        """Counts how many of ``genes``, bool [genes], each profile lacks: int [samples]."""
        return np.concatenate([absent[:, genes].sum(axis=1) for _, absent in self._absent()])[self.pattern]

    def missing(self, profiles: np.ndarray, genes: np.ndarray) -> Missing:
        """Collects the missing values of ``profiles`` in ``genes``, bool [genes]."""
        packed = np.concatenate([np.packbits(absent[:, genes], axis=1) for _, absent in self._absent()])
        # Several patterns of rows may be the same pattern of genes.
        rows, pattern = np.unique(self.pattern[profiles], return_inverse=True)
        patterns, number = np.unique(packed[rows], axis=0, return_inverse=True)
        return Missing(patterns, number.ravel()[pattern])

    def is_complete(self) -> np.ndarray:
        """Finds the profiles of enough reads that lack at most 10 % of what half of all have: bool [samples]."""
        usual = self.missing_per_gene(np.arange(len(self.pattern))) <= MOST_MISSING_OF_A_GENE * len(self.pattern)
        return ~self.shallow & (self.missing_per_profile(usual) <= MOST_MISSING_OF_A_PROFILE * usual.sum())

    def _absent(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Gives the numbers of some patterns at a time, and the genes that these lack: bool [numbers, genes]."""
        for numbers in blocks_of(np.arange(len(self.patterns))):
            yield numbers, self.match.rows.absent(self._unpack(self.patterns[numbers]))

    def _unpack(self, packed: np.ndarray) -> np.ndarray:
        """Unpacks patterns to bool [patterns, rows]."""
        return np.unpackbits(packed, axis=-1, count=self.rows).astype(bool)


@contextmanager
def stage(
    source: Path,
    landmark: Genes,
    target: Genes,
    folder: Path,
    work: Work,
    layer: str | None = None,
    choice: Choice = BULK_SAMPLES,
) -> Iterator[Staged]:
    """Copies a source to a scratch file, matches its genes, and finds its missing values and scale.

    Of an ARCHS4 file only the chosen samples are read, and only the rows of the genes are kept, so that a million
    samples need 40 GB of scratch rather than 270.

    Args:
      source: an expression table.
      landmark: genes to match.
      target: genes to match.
      folder: where the scratch file goes.
      work: resources to use, and the progress display.
      layer: of an h5ad source, the matrix to read instead of X.
      choice: of an ARCHS4 source, the samples to prepare.

    Raises:
      DgexError: the source is unusable (see ``open_expression`` and ``match_genes``), has less than half of either
        table's genes, or is on no single scale; none of the chosen samples has enough reads; the memory or the room on
        the disk does not suffice.
    """
    remarks: list[str] = []

    def choose(fields: Fields) -> np.ndarray:
        chosen, remark = choice.choose(str(source), fields)
        remarks.append(remark)
        return chosen

    with open_expression(source, layer, choose) as expression:
        if expression.kind == SERIES_MATRIX:
            check_platforms(source, expression.sample_text("platform_id").tolist())
        match = _match(source, expression, landmark, target)
        if match.transposed:
            expression = expression.transposed()
        row_id, kept = expression.row_id, np.arange(len(expression.row_id))
        if expression.kind == ARCHS4:
            kept = np.unique(match.rows.members)
            row_id = tuple(row_id[row] for row in kept)
            match = replace(match, rows=replace(match.rows, members=np.searchsorted(kept, match.rows.members)))
        samples, rows = len(expression.sample_id), len(kept)
        workers = work.resources.workers_for(rows, samples)
        need_room(folder, 4 * samples * (rows + len(landmark) + len(target)))  # for the scratch file and the output
        total = np.zeros(samples)
        with Scratch(folder, (samples, rows)) as scratch:
            with work.steps("reading", samples * len(expression.row_id)) as advance:
                for where, block, values in expression.blocks(BLOCK):
                    total[where] += np.nansum(values, axis=1, dtype=np.float64)
                    first, last = np.searchsorted(kept, [block.start, block.stop])
                    part = values if last - first == values.shape[1] else values[:, kept[first:last] - block.start]
                    scratch.write(where, slice(first, last), part)
                    advance(values.size)
            with work.steps("checking values", samples) as advance:
                reach, patterns, pattern = _survey(scratch, workers, advance)
            scale = intensity_scale(str(source), expression.sample_id, reach, scratch.read)
            if match.naming != "probe set":
                remarks.extend(_unit(source.name, expression.kind, scale, reach, scratch))
            counts = scale == "linear" and match.naming != "probe set" and bool(reach[:, 2].all())
            shallow = (total < choice.min_reads) & (expression.kind == ARCHS4)
            remarks.extend(_shallow(source, shallow, choice.min_reads))
            yield Staged(
                kind=expression.kind,
                stand_ins=expression.stand_ins,
                sample_id=np.array(expression.sample_id),
                study=expression.sample_text("study_id"),
                project=expression.sample_text("project"),
                platform=expression.sample_text("platform"),
                origin=tuple(dict.fromkeys(text for text in expression.sample_text("data_origin").tolist() if text)),
                row_id=row_id,
                scale=scale,
                reads=total if counts else None,
                shallow=shallow,
                remarks=(*match.remarks(), *remarks),
                match=match,
                patterns=patterns,
                pattern=pattern,
                scratch=scratch,
            )


def _unit(name: str, kind: str, scale: Intensities, reach: np.ndarray, scratch: Scratch) -> list[str]:
    """Words the remark on the unit of the values, if something tells it and it is not that of the scale."""
    samples = scratch.shape[0]
    some = np.unique(np.linspace(0, samples - 1, min(samples, TYPICAL)).astype(int))
    linear = np.exp2(to_log2(scratch.read(some), scale), dtype=np.float64) - 1
    unit = unit_of(f"{name} {kind}", scale, reach, float(np.median(np.nansum(linear, axis=1))))
    return [f"values are {unit}"] if unit and unit != COUNTS else []


def _shallow(source: Path, shallow: np.ndarray, least: int) -> list[str]:
    """Words the remark on samples of too few reads, if there are any; refuses a source that has no others."""
    if shallow.all():
        raise DgexError(f"{source}: none of the chosen samples has {least:,} reads; lower --min-reads")
    return [f"{shallow.sum():,} samples have fewer than {least:,} reads (--min-reads)"] if shallow.any() else []


def _match(source: Path, expression: Expression, landmark: Genes, target: Genes) -> Match:
    """Matches the genes of both tables to rows or columns; refuses a source with too few of them."""
    match = match_genes(str(source), expression, landmark, target, called="genes")
    for side, count in zip(("landmark", "target"), np.split(match.rows.count, [len(landmark)]), strict=True):
        present = count > 0
        if present.mean() < LEAST_FOUND:
            platforms = sorted(set(expression.sample_text("platform_id").tolist()) - {""})
            platform = f" (its platform is {', '.join(platforms)})" if platforms else ""
            raise DgexError(
                f"{source}: has {present.sum()} of the {len(present)} {side} genes{platform}; use a source of a "
                "platform that measures them, or gene tables that name its probe sets"
            )
    return match


def _survey(
    scratch: Scratch, workers: int, advance: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes each profile's range, the patterns of missing rows, and each profile's pattern."""

    def look(profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = scratch.read(profiles)
        return value_ranges(values), np.packbits(np.isnan(values), axis=1)

    samples = scratch.shape[0]
    reach = np.empty((samples, 3))
    pattern = np.empty(samples, int)
    number: dict[bytes, int] = {}
    for profiles, (ends, missing) in zip(
        blocks_of(np.arange(samples)), in_order(look, blocks_of(np.arange(samples)), workers), strict=True
    ):
        reach[profiles] = ends
        pattern[profiles] = [number.setdefault(row.tobytes(), len(number)) for row in missing]
        advance(len(profiles))
    return reach, np.frombuffer(b"".join(number), np.uint8).reshape(len(number), -1), pattern
