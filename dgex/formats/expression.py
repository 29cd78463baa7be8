"""The expression table that every reader returns and every writer takes, with its values in blocks."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dgex.errors import DgexError

Item = TypeVar("Item")

# Samples, rows, and their values, float32 [samples, rows]. A text file is read row by row, HDF5 by whole profiles: a
# block is whatever part of the matrix is cheap to read, so that no file has to fit into memory.
Block = tuple[slice, slice, np.ndarray]

BLOCK = 2**24  # values in a block (64 MiB) unless the caller asks for another size
PIECE = 2**16  # entries of a metadata column that are Python objects at a time
# The limits of a table's size. The largest public ones have 3 million bulk profiles, or 7 million cells.
MOST_NAMES = 2**23  # rows, or samples
MOST_VALUES = 2**39
# NumPy's fixed-width strings would give every entry the length of the longest, at four bytes a character.
TEXT = np.dtypes.StringDType()


@dataclass(frozen=True)
class Expression:
    """Holds an expression table as it is in the file: no genes matched, nothing normalised, no missing value filled in.

    Metadata columns are one-dimensional arrays by name: numbers, or texts as ``text_column`` makes them or as NumPy's
    ``str_``. A missing value is NaN among numbers and "" among texts. The metadata of the samples are final only once
    the blocks have been read, since reading them may add something about each sample; so writers read the blocks first.

    ``provenance`` records how the table was made, in nested dictionaries of strings, numbers and truth values. Writers
    store it in the file, or beside it; readers do not read it.
    """

    # The names are those of the file, perhaps repeated or empty. Genes may be on either axis:
    # ``dgex.data.gene_matching`` determines which, and makes the names of samples unique.
    row_id: tuple[str, ...]  # probe sets or genes
    sample_id: tuple[str, ...]
    # ``blocks(n)`` yields every value once, at most about n in a block, with NaN for values not measured.
    blocks: Callable[[int], Iterator[Block]] = field(repr=False)
    row_metadata: dict[str, np.ndarray] = field(default_factory=dict)
    sample_metadata: dict[str, np.ndarray] = field(default_factory=dict)
    kind: str = "in memory"  # the name of the file format: "GCTX", "GCT 1.3", "GEO series matrix", ...
    # How often each number stood for a missing value; final once the blocks have been read: see
    # ``dgex.formats.missing_values``.
    stand_ins: Counter[float] = field(default_factory=Counter)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Returns the numbers of samples and rows."""
        return len(self.sample_id), len(self.row_id)

    def sample_text(self, name: str) -> np.ndarray:
        """Returns a metadata column of the samples as texts [samples]: whole numbers without a point, "" where missing.

        A column that the table does not have is all "".
        """
        column = self.sample_metadata.get(name, np.zeros(len(self.sample_id), TEXT))
        if column.dtype.kind != "f":
            return column.astype(TEXT)
        return text_column(["" if np.isnan(value) else f"{value:.15g}" for value in column])

    def load(self) -> np.ndarray:
        """Reads all values into memory: float32 [samples, rows]."""
        values = np.empty(self.shape, np.float32)
        with ending(self.blocks(BLOCK)) as blocks:
            for samples, rows, block in blocks:
                values[samples, rows] = block
        return values

    def transposed(self) -> "Expression":
        """Returns the table with samples and rows exchanged; reads no values yet."""

        def blocks(most: int) -> Iterator[Block]:
            with ending(self.blocks(most)) as table_blocks:
                for samples, rows, values in table_blocks:
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
        """Returns the table restricted to some rows and samples, or the table itself if these are all.

        Args:
          rows: the positions of the rows to keep, ascending.
          samples: the positions of the samples to keep, ascending.
        """
        if (len(samples), len(rows)) == self.shape:
            return self
        row, sample = np.array(rows, int), np.array(samples, int)

        def blocks(most: int) -> Iterator[Block]:
            with ending(self.blocks(most)) as table_blocks:
                for samples, rows, values in table_blocks:
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
    """Makes an expression table of an array in memory.

    Args:
      values: the values, float32 [samples, rows].
      row_id: the names of the rows.
      sample_id: the names of the samples.
      row_metadata: metadata columns of the rows, by name.
      sample_metadata: metadata columns of the samples, by name.
    """

    def blocks(most: int) -> Iterator[Block]:
        yield slice(0, len(values)), slice(0, values.shape[1]), values

    return Expression(tuple(row_id), tuple(sample_id), blocks, row_metadata or {}, sample_metadata or {})


@contextmanager
def ending(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """Closes a generator at the end of the ``with`` block, even after an error, with its threads and scratch files."""
    try:
        yield items
    finally:
        if isinstance(items, Generator):
            items.close()


def text_column(entries: Sequence[str]) -> np.ndarray:
    """Makes a metadata column of texts with variable length; drops NUL, which few formats can hold."""
    column = np.empty(len(entries), TEXT)
    for where in pieces(len(entries)):
        column[where] = [entry.replace("\0", "") for entry in entries[where]]
    return column


def is_text(column: np.ndarray) -> bool:
    """Returns whether a metadata column holds texts, in either of NumPy's kinds of string."""
    return column.dtype.kind in "TU"


def pieces(count: int) -> Iterator[slice]:
    """Cuts a metadata column of ``count`` entries into slices of at most ``PIECE``."""
    return (slice(start, min(start + PIECE, count)) for start in range(0, count, PIECE))


def check_length(path: Path | str, what: str, count: int) -> None:
    """Checks the number of rows, samples, lines or names of a file against ``MOST_NAMES``, before memory is allocated.

    Args:
      path: the file, for the error message.
      what: the noun for what is counted, such as "lines".
      count: the number that the file announces, or has so far.

    Raises:
      DgexError: there are too many.
    """
    if count > MOST_NAMES:
        raise DgexError(f"{path}: has more than {MOST_NAMES:,} {what}, is no expression table; check how it was made")


def finite(what: str, values: np.ndarray) -> np.ndarray:
    """Returns ``values`` unchanged if none of them is infinite.

    Args:
      what: the file and the part of it, with which the error message begins.
      values: an array of floats.

    Raises:
      DgexError: a value is infinite.
    """
    if np.isinf(values).any():
        raise DgexError(f"{what} holds infinite values; use NaN for values not measured")
    return values


def first_repeated(ids: Sequence[str]) -> str | None:
    """Returns the first of ``ids`` that is repeated, or None."""
    return next((name for name, count in Counter(ids).items() if count > 1), None)


def unique_ids(path: Path, what: str, ids: Sequence[str]) -> tuple[str, ...]:
    """Returns ``ids`` unchanged if they can serve as keys.

    Args:
      path: the file, for the error message.
      what: the noun for what the ids name, such as "sample".
      ids: the ids.

    Raises:
      DgexError: an id is empty, repeated, not UTF-8 or holds NUL.
    """
    if repeated := first_repeated(ids):
        raise DgexError(f"{path}: holds the {what} {repeated} twice; make the ids unique")
    if wrong := [name for name in ids if not name or "\N{REPLACEMENT CHARACTER}" in name or "\0" in name]:
        raise DgexError(f"{path}: holds the {what} {wrong[0]!r}; give every one a name in UTF-8, without NUL")
    return tuple(ids)


def plain_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """Strips the blanks around names."""
    return tuple(name.strip() for name in ids)
