"""What every reader of expression tables gives, and every writer takes."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

# Samples, rows, and their values, float32 [samples, rows]. Text has its rows one by one, HDF5 whole profiles: a block
# is whatever piece of the matrix comes cheaply, so that no file has to fit into memory.
Block = tuple[slice, slice, np.ndarray]

BLOCK = 2**24  # values in a block, 64 MiB, unless the reader is told otherwise


@dataclass(frozen=True)
class Expression:
    """An expression table as it lies in a file: nothing matched, normalised or filled in.

    Metadata columns are one-dimensional arrays by name. A missing entry is NaN among numbers and "" among strings. The
    samples' are final once the blocks have been read, which may tell something of each: writers read the blocks first.
    """

    row_id: tuple[str, ...]  # probe sets or genes, unique
    sample_id: tuple[str, ...]  # unique
    # ``blocks(n)`` reads every value once, at most about n a block; NaN where not measured.
    blocks: Callable[[int], Iterator[Block]] = field(repr=False)
    row_metadata: dict[str, np.ndarray] = field(default_factory=dict)
    sample_metadata: dict[str, np.ndarray] = field(default_factory=dict)
    kind: str = "in memory"  # of file, as people call it: "GCTX", "GCT 1.3", "GEO series matrix", ...

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and rows."""
        return len(self.sample_id), len(self.row_id)

    def sample_text(self, name: str) -> np.ndarray:
        """A field of the samples as strings [samples]: numbers without a needless point, "" where missing."""
        column = self.sample_metadata.get(name, np.full(len(self.sample_id), ""))
        if column.dtype.kind != "f":
            return column.astype(str)
        return np.array(["" if np.isnan(value) else f"{value:.15g}" for value in column])

    def load(self) -> np.ndarray:
        """All values at once: float32 [samples, rows]."""
        values = np.empty(self.shape, np.float32)
        for samples, rows, block in self.blocks(BLOCK):
            values[samples, rows] = block
        return values

    def transposed(self) -> "Expression":
        """The table with samples and rows exchanged, of which no value is read yet."""

        def blocks(most: int) -> Iterator[Block]:
            for samples, rows, values in self.blocks(most):
                yield rows, samples, values.T

        return Expression(self.sample_id, self.row_id, blocks, self.sample_metadata, self.row_metadata, self.kind)


def in_memory(
    values: np.ndarray,
    row_id: Sequence[str],
    sample_id: Sequence[str],
    row_metadata: dict[str, np.ndarray] | None = None,
    sample_metadata: dict[str, np.ndarray] | None = None,
) -> Expression:
    """The table of an array [samples, rows]."""

    def blocks(most: int) -> Iterator[Block]:
        yield slice(0, len(values)), slice(0, values.shape[1]), values

    return Expression(tuple(row_id), tuple(sample_id), blocks, row_metadata or {}, sample_metadata or {})


def first_repeated(ids: Sequence[str]) -> str | None:
    """The first of ``ids`` that occurs again, if any."""
    return next((name for name, count in Counter(ids).items() if count > 1), None)
