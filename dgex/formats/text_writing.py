"""Writes text for all text formats: opens the file, gzipped or not, and formats values and metadata row by row."""

import gzip
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TextIO

import numpy as np

from dgex.files.scratch import Scratch
from dgex.formats.column_names import one_line
from dgex.formats.expression import BLOCK, Expression, ending, pieces


def is_packed(path: Path) -> bool:
    """Returns whether a file of this name is to be gzipped."""
    return path.name.lower().endswith(".gz")


@contextmanager
def text_output(path: Path, packed: bool) -> Iterator[TextIO]:
    """Creates a text file for the ``with`` block.

    Equal contents give equal bytes, since the gzip header holds neither a name nor a time.

    Args:
      path: the file.
      packed: whether to gzip it.
    """
    with ExitStack() as stack:
        content: IO[bytes] | gzip.GzipFile = stack.enter_context(path.open("wb"))
        if packed:
            content = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=4, fileobj=content, mtime=0))
        yield stack.enter_context(io.TextIOWrapper(content, "utf-8", newline=""))


def row_blocks(expression: Expression, folder: Path) -> Iterator[np.ndarray]:
    """Reads the values of all rows in order, as arrays float32 [some rows, samples] of about ``BLOCK`` values.

    To transpose blocks of profiles into rows, all values must have been read, so they pass through a scratch file.

    Args:
      expression: the table.
      folder: where the scratch file lies.

    Raises:
      DgexError: there is too little disk space for it; whatever ``expression.blocks`` raises.
    """
    samples, rows = expression.shape
    with Scratch(folder, (rows, samples)) as scratch:
        with ending(expression.blocks(BLOCK)) as blocks:
            for sample_slice, row_slice, values in blocks:
                scratch.write(row_slice, sample_slice, values.T)
        group = max(1, BLOCK // max(1, samples))
        for start in range(0, rows, group):
            yield scratch.read(np.arange(start, min(start + group, rows)))


def value_texts(values: np.ndarray, missing: str) -> list[str]:
    """Formats float32 values [n] with the fewest digits that restore them exactly, and NaN as ``missing``."""
    texts = list(map(str, values))
    for position in np.flatnonzero(np.isnan(values)):
        texts[position] = missing
    return texts


def metadata_texts(column: np.ndarray, missing: str) -> Iterator[str]:
    """Formats the entries of a metadata column as texts without line ends; NaN and "" become ``missing``."""
    for where in pieces(len(column)):
        if column.dtype.kind == "f":
            yield from value_texts(column[where], missing)
        else:
            yield from (text or missing for text in one_line(map(str, column[where])))
