"""Which values of an expression table stand for missing ones, whatever its format or its scale.

Formats and programs without a NaN write a number in its place. Only exact values count: background correction gives
MAS4 and MAS5 intensities below zero, such as -666.3, and these are measurements.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from dgex.formats.expression import Block, Expression, ending

_LARGEST = float(np.finfo(np.float32).max)

# -99 and -9 are in use too, but are intensities of MAS4, z-scores and log-CPM as well; positive nines are counts.
STAND_INS = np.array(
    [
        -666,  # the Connectivity Map's, in GCT and GCTX
        *(-999, -9999, -99999, -999999),  # of spreadsheets, SPSS, SAS and many pipelines
        # What R has for NA among integers, and a cast from NaN gives: the lowest of 16, 32 and 64 bits.
        *(-(2**15), -(2**31), -(2**63)),
        *(-1e20, 1e20, -1e30, 1e30, 9.96921e36),  # fill values of HDF5 and netCDF files
        *(-_LARGEST, _LARGEST),  # what nan_to_num makes of infinity; C programs fill with it too
    ],
    np.float32,
)
_LEAST, _MOST = STAND_INS[STAND_INS < 0].max(), STAND_INS[STAND_INS > 0].min()


def without_stand_ins(table: Expression) -> Expression:
    """The same table with NaN where a value stands for a missing one; how many do, its ``stand_ins`` say.

    Those are final once all blocks have been read, and do not grow when they are read again.
    """

    stand_ins: Counter[float] = Counter()

    def blocks(most: int) -> Iterator[Block]:
        count: Counter[float] = Counter()
        with ending(table.blocks(most)) as items:
            for samples, rows, values in items:
                yield samples, rows, _replaced(values, count)
        stand_ins.clear()
        stand_ins.update(count + table.stand_ins)

    return replace(table, blocks=blocks, stand_ins=stand_ins)


def tally(stand_ins: Mapping[float, int]) -> str:
    """How many values were each of the stand-ins: "12 of -9999, 3 of 1e+20"; "" where there are none."""
    shown = {value: f"{value:.0f}" if abs(value) < 1e10 else f"{value:.7g}" for value in sorted(stand_ins)}
    return ", ".join(f"{stand_ins[value]:,} of {text}" for value, text in shown.items())


def _replaced(values: np.ndarray, count: Counter[float]) -> np.ndarray:
    """``values`` with NaN for stand-ins, which ``count`` counts; the array itself where there are none."""
    # Two passes over all values instead of one for each stand-in.
    if not (np.fmin.reduce(values, axis=None) <= _LEAST or np.fmax.reduce(values, axis=None) >= _MOST):
        return values
    suspects = (values <= _LEAST) | (values >= _MOST)
    found = np.isin(values[suspects], STAND_INS)
    if not found.any():
        return values
    result = values.copy()  # of arrays in memory, it is the caller's
    suspects[suspects] = found
    count.update(values[suspects].tolist())
    result[suspects] = np.nan
    return result
