"""A source made ready for passes over its profiles.

Sources come as text or HDF5, gene by gene or profile by profile, compressed or not, linear or log2. Each is read once,
from end to end, into a scratch file, profile after profile, from which any profile can be had at once. What was
measured, and on which scale, is found out in one pass over that.
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
from dgex.data.dataset import Missing
from dgex.data.gene_matching import Match, average, match_genes
from dgex.data.genes import Genes
from dgex.data.intensity_scale import intensity_scale, log2_of_linear, value_ranges
from dgex.errors import DgexError
from dgex.files.atomic import need_room
from dgex.files.scratch import Scratch
from dgex.formats.expression import BLOCK, Expression
from dgex.formats.opening import open_expression
from dgex.formats.series_matrix import SERIES_MATRIX

MOST_MISSING_OF_A_PROFILE = 0.1
MOST_MISSING_OF_A_GENE = 0.5
LEAST_FOUND = 0.5  # of the genes of either table; platforms share some names, so a few prove nothing


@dataclass(frozen=True)
class Staged:
    """A source in scratch. Profiles are called by their position in it."""

    kind: str  # of file
    stand_ins: Counter[float]  # of the source, which are missing: see ``dgex.formats.missing_values``
    sample_id: np.ndarray  # str [samples]
    study: np.ndarray  # str [samples], "" where unknown
    linear: bool  # whether the source's values are, and are turned into log2 on reading
    match: Match  # of the genes, landmarks and then targets
    # Which rows a profile lacks. Profiles of a study lack the same, so there are few different patterns.
    patterns: np.ndarray  # u1 [patterns, rows / 8], packed bits, set where not measured
    pattern: np.ndarray  # int [samples]
    scratch: Scratch

    @property
    def rows(self) -> int:
        """How many rows the source has."""
        return self.scratch.shape[1]

    def read(self, profiles: np.ndarray, dtype: DTypeLike = np.float32) -> np.ndarray:
        """The profiles at ascending positions: log2 [profiles, rows], NaN where not measured."""
        values = self.scratch.read(profiles)
        return log2_of_linear(values, dtype) if self.linear else values

    def genes(self, profiles: np.ndarray, dtype: DTypeLike = np.float32) -> np.ndarray:
        """The same averaged by gene, landmarks and then targets: log2 [profiles, genes]."""
        return average(self.read(profiles, dtype), self.match.rows, dtype)

    def usual_rows(self, profiles: np.ndarray) -> np.ndarray:
        """Which rows at least half of ``profiles`` have: bool [rows]."""
        count = np.bincount(self.pattern[profiles], minlength=len(self.patterns))
        missing = np.zeros(self.rows, int)
        for numbers in blocks_of(np.arange(len(self.patterns))):
            missing += count[numbers] @ self._unpack(self.patterns[numbers])
        return 2 * missing <= len(profiles)

    def lacking(self, profiles: np.ndarray) -> np.ndarray:
        """How many of ``profiles`` lack each gene: int [genes]."""
        count = np.bincount(self.pattern[profiles], minlength=len(self.patterns))
        return np.sum([count[numbers] @ absent for numbers, absent in self._absent()], axis=0)

    def lacked(self, genes: np.ndarray) -> np.ndarray:
        """How many of ``genes``, bool [genes], each profile lacks: int [samples]."""
        return np.concatenate([absent[:, genes].sum(axis=1) for _, absent in self._absent()])[self.pattern]

    def missing(self, profiles: np.ndarray, genes: np.ndarray) -> Missing:
        """Which of ``genes``, bool [genes], each of ``profiles`` lacks."""
        packed = np.concatenate([np.packbits(absent[:, genes], axis=1) for _, absent in self._absent()])
        rows, pattern = np.unique(self.pattern[profiles], return_inverse=True)  # patterns of rows: of genes are fewer
        patterns, number = np.unique(packed[rows], axis=0, return_inverse=True)
        return Missing(patterns, number.ravel()[pattern])

    def is_complete(self) -> np.ndarray:
        """Which profiles lack at most 10 % of the genes that at least half of all profiles have: bool [samples]."""
        usual = self.lacking(np.arange(len(self.pattern))) <= MOST_MISSING_OF_A_GENE * len(self.pattern)
        return self.lacked(usual) <= MOST_MISSING_OF_A_PROFILE * usual.sum()

    def _absent(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers of patterns, and which genes these lack: bool [numbers, genes]."""
        for numbers in blocks_of(np.arange(len(self.patterns))):
            yield numbers, self.match.rows.absent(self._unpack(self.patterns[numbers]))

    def _unpack(self, packed: np.ndarray) -> np.ndarray:
        return np.unpackbits(packed, axis=-1, count=self.rows).astype(bool)


@contextmanager
def stage(
    source: Path, landmark: Genes, target: Genes, folder: Path, work: Work, layer: str | None = None
) -> Iterator[Staged]:
    """Reads ``source``, or the ``layer`` of it, into a scratch file in ``folder``.

    Raises:
      DgexError: the source is unusable (see ``open_expression`` and ``match_genes``), is transposed, has less than
        half of either table's genes, or is on no single scale; the memory does not suffice, or the room on the disk.
    """
    with open_expression(source, layer) as expression:
        if expression.kind == SERIES_MATRIX:
            check_platforms(source, expression.sample_text("platform_id").tolist())
        match = _match(source, expression, landmark, target)
        samples, rows = expression.shape
        workers = work.resources.workers_for(rows)
        need_room(folder, 4 * samples * (rows + len(landmark) + len(target)))  # with what is made of it
        with Scratch(folder, (samples, rows)) as scratch:
            with work.steps("reading", samples * rows) as advance:
                for where_samples, where_rows, values in expression.blocks(BLOCK):
                    scratch.write(where_samples, where_rows, values)
                    advance(values.size)
            with work.steps("looking over", samples) as advance:
                reach, patterns, pattern = _survey(scratch, workers, advance)
            yield Staged(
                kind=expression.kind,
                stand_ins=expression.stand_ins,
                sample_id=np.array(expression.sample_id),
                study=expression.sample_text("study_id"),
                linear=intensity_scale(str(source), expression.sample_id, reach, scratch.read) == "linear",
                match=match,
                patterns=patterns,
                pattern=pattern,
                scratch=scratch,
            )


def _match(source: Path, expression: Expression, landmark: Genes, target: Genes) -> Match:
    match = match_genes(str(source), expression, landmark, target, called="genes")
    if match.transposed:
        raise DgexError(f"{source}: is transposed, its samples are named like genes; swap rows and columns")
    for side, count in zip(("landmark", "target"), np.split(match.rows.count, [len(landmark)]), strict=True):
        present = count > 0
        if present.mean() < LEAST_FOUND:
            platforms = sorted(set(expression.sample_text("platform_id").tolist()) - {""})
            of = f" (it is of platform {', '.join(platforms)})" if platforms else ""
            raise DgexError(
                f"{source}: has {present.sum()} of the {len(present)} {side} genes{of}; use a source of a platform "
                "that measures them, or gene tables that name its probe sets"
            )
    return match


def _survey(
    scratch: Scratch, workers: int, advance: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What ``value_ranges`` says of each profile, the patterns of missing rows, and each profile's."""

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
