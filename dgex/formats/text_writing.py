"""What writers of text share: the file, gzipped or not, and the values of one row after the other."""

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
    """Whether a file of this name is to be gzipped."""
    return path.name.lower().endswith(".gz")


@contextmanager
def text_output(path: Path, packed: bool) -> Iterator[TextIO]:
    """A new text file, gzipped where ``packed``.

    Equal contents give equal bytes: gzip's header has neither name nor time.
    """
    with ExitStack() as stack:
        content: IO[bytes] | gzip.GzipFile = stack.enter_context(path.open("wb"))
        if packed:
            content = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=4, fileobj=content, mtime=0))
        yield stack.enter_context(io.TextIOWrapper(content, "utf-8", newline=""))


def row_blocks(expression: Expression, folder: Path) -> Iterator[np.ndarray]:
    """The values of all rows in order, float32 [some rows, samples], about ``BLOCK`` at a time.

    Blocks of profiles have to be turned into rows, which needs them all: they wait in a nameless file in ``folder``.
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
    """Float32 values [n] in the fewest digits that give them back, NaN as ``missing``."""
    texts = list(map(str, values))
    for position in np.flatnonzero(np.isnan(values)):
        texts[position] = missing
    return texts


def metadata_texts(column: np.ndarray, missing: str) -> Iterator[str]:
    """A metadata column as texts on one line each; NaN and "" as ``missing``."""
    for where in pieces(len(column)):
        if column.dtype.kind == "f":
            yield from value_texts(column[where], missing)
        else:
            yield from (text or missing for text in one_line(map(str, column[where])))
