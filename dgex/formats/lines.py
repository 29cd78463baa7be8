"""What writers of text share: the file, gzipped or not, its companions, and the values of one row after the other."""

import gzip
import io
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TextIO

import numpy as np

from dgex.atomic import replacing
from dgex.formats.matrix import BLOCK, Expression
from dgex.scratch import Scratch

BREAKS = str.maketrans("\t\n\r", "   ")  # what would break a line into two, or a field


@contextmanager
def text_output(path: Path) -> Iterator[TextIO]:
    """A text file that becomes ``path`` when it is whole, gzipped where the name ends in .gz.

    Equal contents give equal bytes: gzip's header has neither name nor time.

    Raises:
      DgexError: as ``dgex.atomic.replacing``.
    """
    with replacing(path) as partial, ExitStack() as stack:
        content: IO[bytes] | gzip.GzipFile = stack.enter_context(partial.open("wb"))
        if path.name.lower().endswith(".gz"):
            content = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=4, fileobj=content, mtime=0))
        yield stack.enter_context(io.TextIOWrapper(content, "utf-8", newline=""))


def companion(path: Path, axis: str) -> Path:
    """Where the metadata of an axis lie: NAME.genes.csv.gz beside NAME.csv.gz."""
    stem, *extensions = path.name.rsplit(".", 2 if path.suffix.lower() == ".gz" else 1)
    return path.with_name(".".join([stem, axis, *extensions]))


def row_blocks(expression: Expression, folder: Path) -> Iterator[np.ndarray]:
    """The values of all rows in order, float32 [some rows, samples], about ``BLOCK`` at a time.

    Blocks of profiles have to be turned into rows, which needs them all: they wait in a nameless file in ``folder``.
    """
    samples, rows = expression.shape
    with Scratch(folder, (rows, samples)) as scratch:
        for sample_slice, row_slice, values in expression.blocks(BLOCK):
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


def one_line(texts: Iterable[str]) -> list[str]:
    """Names without tabs and line ends, in place of which they have spaces."""
    return [text.translate(BREAKS) for text in texts]


def metadata_texts(column: np.ndarray, missing: str) -> list[str]:
    """A metadata column as texts on one line each; NaN and "" as ``missing``."""
    if column.dtype.kind == "f":
        return value_texts(column, missing)
    return [text or missing for text in one_line(map(str, column))]
