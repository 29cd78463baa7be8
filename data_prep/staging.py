"""A source made ready for passes over its profiles.

Sources come as text or HDF5, gene by gene or profile by profile, compressed or not, linear or log2. Each is
read once, from end to end; the rows that genes need go into a scratch file, profile after profile, from which any
profile can be had at once. What was measured, and on which scale, is found out in one pass over that.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.blocks import Work, blocks_of, in_order
from data_prep.probes import GeneRows, average, find_rows, repeated_gene
from dgex.errors import DgexError
from dgex.formats.matrix import BLOCK, Expression
from dgex.formats.opening import open_expression
from dgex.genes import Genes
from dgex.scale import intensity_scale, log2_of_linear, reach_of
from dgex.scratch import Scratch

MOST_MISSING_OF_A_PROFILE = 0.1
MOST_MISSING_OF_A_GENE = 0.5


@dataclass(frozen=True)
class Staged:
    """A source in scratch. Profiles are called by their position in it."""

    kind: str  # of file
    sample_id: np.ndarray  # str [samples]
    study: np.ndarray  # str [samples], "" where unknown
    linear: bool  # whether the source's values are, and are turned into log2 on reading
    gene_rows: GeneRows
    # Which rows a profile lacks. Profiles of a study lack the same, so there are few different patterns.
    patterns: np.ndarray  # u1 [patterns, used / 8], packed bits, set where not measured
    pattern: np.ndarray  # int [samples]
    scratch: Scratch
    workers: int  # how many blocks of profiles may be in work at once

    def read(self, profiles: np.ndarray) -> np.ndarray:
        """The used rows of the profiles at ascending positions: float32 log2 [profiles, used], NaN where unmeasured."""
        values = self.scratch.read(profiles)
        return log2_of_linear(values) if self.linear else values

    def genes(self, profiles: np.ndarray) -> np.ndarray:
        """The same averaged by gene, landmarks and then targets: float32 log2 [profiles, genes]."""
        return average(self.read(profiles), self.gene_rows)

    def measured_rows(self, profiles: np.ndarray) -> np.ndarray:
        """Which rows every one of ``profiles`` has: bool [used]."""
        missing = np.bitwise_or.reduce(self.patterns[np.unique(self.pattern[profiles])], axis=0)
        return ~self._unpack(missing)

    def lacking(self, profiles: np.ndarray) -> np.ndarray:
        """How many of ``profiles`` lack each gene: int [genes]."""
        count = np.bincount(self.pattern[profiles], minlength=len(self.patterns))
        return np.sum([count[numbers] @ absent for numbers, absent in self._absent()], axis=0)

    def lacked(self, genes: np.ndarray) -> np.ndarray:
        """How many of ``genes``, bool [genes], each profile lacks: int [samples]."""
        return np.concatenate([absent[:, genes].sum(axis=1) for _, absent in self._absent()])[self.pattern]

    def is_complete(self) -> np.ndarray:
        """Which profiles lack at most 10 % of the genes that at least half of all profiles have: bool [samples]."""
        usual = self.lacking(np.arange(len(self.pattern))) <= MOST_MISSING_OF_A_GENE * len(self.pattern)
        return self.lacked(usual) <= MOST_MISSING_OF_A_PROFILE * usual.sum()

    def _absent(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers of patterns, and which genes these lack: bool [numbers, genes]."""
        for numbers in blocks_of(np.arange(len(self.patterns))):
            yield numbers, self.gene_rows.absent(self._unpack(self.patterns[numbers]))

    def _unpack(self, packed: np.ndarray) -> np.ndarray:
        return np.unpackbits(packed, axis=-1, count=len(self.gene_rows.rows)).astype(bool)


@contextmanager
def stage(source: Path, landmark: Genes, target: Genes, folder: Path, work: Work) -> Iterator[Staged]:
    """Reads ``source`` into a scratch file in ``folder``.

    Raises:
      DgexError: the source is unusable (see ``open_expression``), names none of the genes, or is on no single scale;
        the memory does not suffice, or the room on the disk.
    """
    with open_expression(source) as expression:
        rows = _find_rows(source, expression, landmark, target)
        samples = len(expression.sample_id)
        with Scratch(folder, (samples, len(rows.rows))) as scratch:
            with work.steps("reading", samples * len(expression.row_id)) as advance:
                _fill(scratch, expression, rows.rows, advance)
            workers = work.resources.workers_for(len(rows.rows))
            with work.steps("looking over", samples) as advance:
                reach, patterns, pattern = _survey(scratch, workers, advance)
            sample_id = np.array(expression.sample_id)
            linear = intensity_scale(source, expression.sample_id, reach, scratch.read) == "linear"
            study = expression.sample_metadata.get("study_id", np.full(samples, "")).astype(str)
            yield Staged(expression.kind, sample_id, study, linear, rows, patterns, pattern, scratch, workers)


def _find_rows(source: Path, expression: Expression, landmark: Genes, target: Genes) -> GeneRows:
    rows = find_rows(expression.row_id, landmark, target)
    landmarks, targets = np.split(rows.count > 0, [len(landmark)])
    if not (landmarks.any() or targets.any()):
        if len(find_rows(expression.sample_id, landmark, target).rows):
            raise DgexError(f"{source}: is transposed, its samples are named like genes; swap rows and columns")
        raise DgexError(
            f"{source}: has no gene of the gene tables; its rows are named like {expression.row_id[0]}, the tables' "
            f"probe sets like {landmark.probes[0].split(',')[0]} and genes like {landmark.ensembl[0]}"
        )
    if not (landmarks.any() and targets.any()):
        had, lacked = ("landmark", "target") if landmarks.any() else ("target", "landmark")
        raise DgexError(f"{source}: has {had} genes but no {lacked} gene; use a source that measured both")
    if rows.naming == "Ensembl id" and (gene := repeated_gene(expression.row_id)):
        raise DgexError(f"{source}: has {gene} twice, in two versions; keep one")
    return rows


def _fill(scratch: Scratch, expression: Expression, wanted: np.ndarray, advance: Callable[[int], None]) -> None:
    for samples, rows, values in expression.blocks(BLOCK):
        first, last = np.searchsorted(wanted, (rows.start, rows.stop))
        if first < last:
            scratch.write(samples, slice(first, last), values[:, wanted[first:last] - rows.start])
        advance(values.size)


def _survey(
    scratch: Scratch, workers: int, advance: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each profile's smallest and largest value [samples, 2], the patterns of missing rows, and each profile's."""

    def look(profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = scratch.read(profiles)
        return reach_of(values), np.packbits(np.isnan(values), axis=1)

    samples = scratch.shape[0]
    reach = np.empty((samples, 2))
    pattern = np.empty(samples, int)
    number: dict[bytes, int] = {}
    for profiles, (ends, missing) in zip(
        blocks_of(np.arange(samples)), in_order(look, blocks_of(np.arange(samples)), workers), strict=True
    ):
        reach[profiles] = ends
        pattern[profiles] = [number.setdefault(row.tobytes(), len(number)) for row in missing]
        advance(len(profiles))
    return reach, np.array([np.frombuffer(row, np.uint8) for row in number]), pattern
