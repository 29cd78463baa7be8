"""Reads whole profiles of an expression table in blocks, whether the file is stored by sample or by gene."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dgex.files.scratch import Scratch
from dgex.formats.expression import BLOCK, Expression, ending

# Yields all profiles in order, in blocks: their positions, and their values, float32 [profiles, rows].
Profiles = Callable[[], Iterator[tuple[slice, np.ndarray]]]


@contextmanager
def profiles_of(table: Expression, rows: np.ndarray, most: int, folder: Path) -> Iterator[Profiles]:
    """Prepares a table for reading whole profiles in blocks, restricted to some rows.

    A file stored by profile, as HDF5 mostly is, is read directly. A file stored by gene, as text is, is transposed by
    way of a scratch file, which holds the chosen rows alone.

    Args:
      table: the expression table.
      rows: the positions of the rows to read, in the order in which they are wanted.
      most: the number of profiles in a block, at most.
      folder: where the scratch file lies.

    Yields:
      A function that reads the profiles from the first one on, each time it is called.

    Raises:
      DgexError: there is too little disk space for the scratch file; whatever ``table.blocks`` raises.
    """
    samples, width = table.shape
    with ending(table.blocks(most * width)) as blocks:
        whole = next(blocks)[1] == slice(0, width)
    if whole:

        def pass_through() -> Iterator[tuple[slice, np.ndarray]]:
            with ending(table.blocks(most * width)) as blocks:
                for where, _, values in blocks:
                    for first in range(0, len(values), most):  # compressed chunks may be larger
                        part = values[first : first + most]
                        start = where.start + first
                        yield slice(start, start + len(part)), part[:, rows]

        yield pass_through
        return
    order = np.argsort(rows)  # so that the rows of a block are neighbours in the scratch file
    ascending, inverse = rows[order], np.argsort(order)
    with Scratch(folder, (samples, len(rows))) as scratch:
        for where, block, values in table.blocks(BLOCK):
            left, right = np.searchsorted(ascending, [block.start, block.stop])
            scratch.write(where, slice(left, right), values[:, ascending[left:right] - block.start])

        def from_scratch() -> Iterator[tuple[slice, np.ndarray]]:
            for start in range(0, samples, most):
                where = slice(start, min(start + most, samples))
                yield where, scratch.read(np.arange(where.start, where.stop))[:, inverse]

        yield from_scratch
