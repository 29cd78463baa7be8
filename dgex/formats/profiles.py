"""Whole profiles of an expression table, a block at a time, whichever way the file has them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dgex.files.scratch import Scratch
from dgex.formats.expression import BLOCK, Expression, ending

# Gives the profiles from the first one on, in blocks: which they are, and float32 [profiles, rows].
Profiles = Callable[[], Iterator[tuple[slice, np.ndarray]]]


@contextmanager
def profiles_of(table: Expression, rows: np.ndarray, most: int, folder: Path) -> Iterator[Profiles]:
    """The profiles of a table, at most so many a block, with the values of the positions ``rows`` and in their order.

    What comes profile by profile, as from HDF5, passes through; what comes gene by gene, as from text, waits in a
    scratch file in ``folder``, with those rows alone.

    Raises:
      DgexError: there is too little room for that; whatever ``table.blocks`` raises.
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
    order = np.argsort(rows)  # so that what a block has lies side by side in the scratch file
    ascending, back = rows[order], np.argsort(order)
    with Scratch(folder, (samples, len(rows))) as scratch:
        for where, block, values in table.blocks(BLOCK):
            left, right = np.searchsorted(ascending, [block.start, block.stop])
            scratch.write(where, slice(left, right), values[:, ascending[left:right] - block.start])

        def from_scratch() -> Iterator[tuple[slice, np.ndarray]]:
            for start in range(0, samples, most):
                where = slice(start, min(start + most, samples))
                yield where, scratch.read(np.arange(where.start, where.stop))[:, back]

        yield from_scratch
