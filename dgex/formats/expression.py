"""What every reader of expression tables gives, and every writer takes."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dgex.errors import DgexError

Item = TypeVar("Item")

# Samples, rows, and their values, float32 [samples, rows]. Text has its rows one by one, HDF5 whole profiles: a block
# is whatever piece of the matrix comes cheaply, so that no file has to fit into memory.
Block = tuple[slice, slice, np.ndarray]

BLOCK = 2**24  # values in a block, 64 MiB, unless the reader is told otherwise
PIECE = 2**16  # entries of a metadata column that are Python objects at a time
# What a table can be at most. The largest public ones have 3 million bulk profiles, or 7 million cells.
MOST_NAMES = 2**23  # rows, or samples
MOST_VALUES = 2**39
# NumPy's other strings give every entry the room of the longest, at four bytes a character.
TEXT = np.dtypes.StringDType()


@dataclass(frozen=True)
class Expression:
    """An expression table as it lies in a file: nothing matched, normalised or filled in.

    Metadata columns are one-dimensional arrays by name: numbers, or texts as ``text_column`` makes them or as NumPy's
    ``str_``. A missing entry is NaN among numbers and "" among texts. The samples' are final once the blocks have been
    read, which may tell something of each: writers read the blocks first.

    ``provenance`` says how the table came about, in nested dictionaries of what JSON has but null and lists. Writers
    put it into the file, or beside it; readers leave it there.
    """

    # As the file has them, perhaps repeated or empty, and genes may be in either: ``dgex.data.gene_matching`` finds out
    # which, and sees to it that samples have unique names.
    row_id: tuple[str, ...]  # probe sets or genes
    sample_id: tuple[str, ...]
    # ``blocks(n)`` reads every value once, at most about n a block; NaN where not measured.
    blocks: Callable[[int], Iterator[Block]] = field(repr=False)
    row_metadata: dict[str, np.ndarray] = field(default_factory=dict)
    sample_metadata: dict[str, np.ndarray] = field(default_factory=dict)
    kind: str = "in memory"  # of file, as people call it: "GCTX", "GCT 1.3", "GEO series matrix", ...
    # Numbers that stood for missing values, and how often, once the blocks have been read: see
    # ``dgex.formats.missing_values``.
    stand_ins: Counter[float] = field(default_factory=Counter)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and rows."""
        return len(self.sample_id), len(self.row_id)

    def sample_text(self, name: str) -> np.ndarray:
        """A field of the samples as texts [samples]: numbers without a needless point, "" where missing."""
        column = self.sample_metadata.get(name, np.zeros(len(self.sample_id), TEXT))
        if column.dtype.kind != "f":
            return column.astype(TEXT)
        return text_column(["" if np.isnan(value) else f"{value:.15g}" for value in column])

    def load(self) -> np.ndarray:
        """All values at once: float32 [samples, rows]."""
        values = np.empty(self.shape, np.float32)
        with ending(self.blocks(BLOCK)) as blocks:
            for samples, rows, block in blocks:
                values[samples, rows] = block
        return values

    def transposed(self) -> "Expression":
        """The table with samples and rows exchanged, of which no value is read yet."""

        def blocks(most: int) -> Iterator[Block]:
            with ending(self.blocks(most)) as own:
                for samples, rows, values in own:
                    yield rows, samples, values.T

        return replace(
            self,
            row_id=self.sample_id,
            sample_id=self.row_id,
            blocks=blocks,
            row_metadata=self.sample_metadata,
            sample_metadata=self.row_metadata,
        )

    def selected(self, rows: Sequence[int], samples: Sequence[int]) -> "Expression":
        """The table with the rows and samples at these ascending positions alone; itself, if that is all."""
        if (len(samples), len(rows)) == self.shape:
            return self
        row, sample = np.array(rows, int), np.array(samples, int)

        def blocks(most: int) -> Iterator[Block]:
            with ending(self.blocks(most)) as own:
                for samples, rows, values in own:
                    first, last = np.searchsorted(sample, [samples.start, samples.stop])
                    top, end = np.searchsorted(row, [rows.start, rows.stop])
                    if first < last and top < end:
                        part = values[np.ix_(sample[first:last] - samples.start, row[top:end] - rows.start)]
                        yield slice(first, last), slice(top, end), part

        return Expression(
            tuple(self.row_id[i] for i in rows),
            tuple(self.sample_id[i] for i in samples),
            blocks,
            {name: column[row] for name, column in self.row_metadata.items()},
            {name: column[sample] for name, column in self.sample_metadata.items()},
            self.kind,
        )


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


@contextmanager
def ending(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """``items`` for a ``with`` block, at whose end, good or bad, the threads and scratch files behind them end too."""
    try:
        yield items
    finally:
        if isinstance(items, Generator):
            items.close()


def text_column(entries: Sequence[str]) -> np.ndarray:
    """Texts as a metadata column, of as many bytes as they have; without NUL, which few formats can hold."""
    column = np.empty(len(entries), TEXT)
    for where in pieces(len(entries)):
        column[where] = [entry.replace("\0", "") for entry in entries[where]]
    return column


def is_text(column: np.ndarray) -> bool:
    """Whether a metadata column is of texts, however NumPy keeps them."""
    return column.dtype.kind in "TU"


def pieces(count: int) -> Iterator[slice]:
    """Cuts a metadata column of so many entries."""
    return (slice(start, min(start + PIECE, count)) for start in range(0, count, PIECE))


def check_length(path: Path | str, what: str, count: int) -> None:
    """Refuses more rows, samples, lines or names than a table can have, before anything is made of them.

    Args:
      path: the file, for the message.
      what: is counted.
      count: that the file announces, or has so far.

    Raises:
      DgexError: there are too many.
    """
    if count > MOST_NAMES:
        raise DgexError(f"{path}: has more than {MOST_NAMES:,} {what}, is no expression table; check how it was made")


def finite(what: str, values: np.ndarray) -> np.ndarray:
    """``values``, or a DgexError that ``what`` (the file, and what of it) holds infinite ones."""
    if np.isinf(values).any():
        raise DgexError(f"{what} holds infinite values; use NaN for values not measured")
    return values


def first_repeated(ids: Sequence[str]) -> str | None:
    """The first of ``ids`` that occurs again, if any."""
    return next((name for name, count in Counter(ids).items() if count > 1), None)


def unique_ids(path: Path | str, what: str, ids: Sequence[str]) -> tuple[str, ...]:
    """``ids`` if they can serve as keys; a DgexError if one is empty, repeated, not UTF-8 or holds NUL."""
    if repeated := first_repeated(ids):
        raise DgexError(f"{path}: holds the {what} {repeated} twice; make the ids unique")
    if wrong := [name for name in ids if not name or "\N{REPLACEMENT CHARACTER}" in name or "\0" in name]:
        raise DgexError(f"{path}: holds the {what} {wrong[0]!r}; give every one a name in UTF-8, without NUL")
    return tuple(ids)


def plain_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """Names without the blanks around them."""
    return tuple(name.strip() for name in ids)
