"""Copies a source to a scratch file, from which its profiles can be read in any order.

Sources are text or HDF5, stored gene by gene or profile by profile, compressed or not, linear or log2. A source is read
once, from start to end, into a scratch file in which each profile is contiguous. One pass over that file determines the
missing values and the scale.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from data_prep.blocks import Work, blocks_of, in_order
from data_prep.platforms import check_platforms
from dgex.data.gene_matching import Match, average, match_genes
from dgex.data.genes import Genes
from dgex.data.intensity_scale import intensity_scale, log2_of_linear, value_ranges
from dgex.data.missing import Missing
from dgex.errors import DgexError
from dgex.files.atomic import need_room
from dgex.files.scratch import Scratch
from dgex.formats.expression import BLOCK, Expression
from dgex.formats.opening import open_expression
from dgex.formats.series_matrix import SERIES_MATRIX

MOST_MISSING_OF_A_PROFILE = 0.1
MOST_MISSING_OF_A_GENE = 0.5
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
    linear: bool  # whether the source's values are linear; they are converted to log2 when read
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
        return log2_of_linear(values, dtype) if self.linear else values

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
        """Finds the profiles that lack at most 10 % of the genes that at least half of all have: bool [samples]."""
        usual = self.missing_per_gene(np.arange(len(self.pattern))) <= MOST_MISSING_OF_A_GENE * len(self.pattern)
        return self.missing_per_profile(usual) <= MOST_MISSING_OF_A_PROFILE * usual.sum()

    def _absent(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Gives the numbers of some patterns at a time, and the genes that these lack: bool [numbers, genes]."""
        for numbers in blocks_of(np.arange(len(self.patterns))):
            yield numbers, self.match.rows.absent(self._unpack(self.patterns[numbers]))

    def _unpack(self, packed: np.ndarray) -> np.ndarray:
        """Unpacks patterns to bool [patterns, rows]."""
        return np.unpackbits(packed, axis=-1, count=self.rows).astype(bool)


@contextmanager
def stage(
    source: Path, landmark: Genes, target: Genes, folder: Path, work: Work, layer: str | None = None
) -> Iterator[Staged]:
    """Copies a source to a scratch file, matches its genes, and finds its missing values and scale.

    Args:
      source: an expression table.
      landmark: genes to match.
      target: genes to match.
      folder: where the scratch file goes.
      work: resources to use, and the progress display.
      layer: of an h5ad source, the matrix to read instead of X.

    Raises:
      DgexError: the source is unusable (see ``open_expression`` and ``match_genes``), is transposed, has less than
        half of either table's genes, or is on no single scale; the memory or the room on the disk does not suffice.
    """
    with open_expression(source, layer) as expression:
        if expression.kind == SERIES_MATRIX:
            check_platforms(source, expression.sample_text("platform_id").tolist())
        match = _match(source, expression, landmark, target)
        samples, rows = expression.shape
        workers = work.resources.workers_for(rows, samples)
        need_room(folder, 4 * samples * (rows + len(landmark) + len(target)))  # for the scratch file and the output
        with Scratch(folder, (samples, rows)) as scratch:
            with work.steps("reading", samples * rows) as advance:
                for where_samples, where_rows, values in expression.blocks(BLOCK):
                    scratch.write(where_samples, where_rows, values)
                    advance(values.size)
            with work.steps("checking values", samples) as advance:
                reach, patterns, pattern = _survey(scratch, workers, advance)
            yield Staged(
                kind=expression.kind,
                stand_ins=expression.stand_ins,
                sample_id=np.array(expression.sample_id),
                study=expression.sample_text("study_id"),
                project=expression.sample_text("project"),
                platform=expression.sample_text("platform"),
                origin=tuple(dict.fromkeys(text for text in expression.sample_text("data_origin").tolist() if text)),
                row_id=expression.row_id,
                linear=intensity_scale(str(source), expression.sample_id, reach, scratch.read) == "linear",
                match=match,
                patterns=patterns,
                pattern=pattern,
                scratch=scratch,
            )


def _match(source: Path, expression: Expression, landmark: Genes, target: Genes) -> Match:
    """Matches the genes of both tables to rows; refuses a transposed source, and one with too few of the genes."""
    match = match_genes(str(source), expression, landmark, target, called="genes")
    if match.transposed:
        raise DgexError(f"{source}: is transposed, its samples are named like genes; swap rows and columns")
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
