"""Recognises the numbers that stand for missing values in an expression table of any format and scale.

Formats and programs without a NaN write a number in its place. Only exactly these numbers are replaced: background
correction gives MAS4 and MAS5 intensities below zero, such as -666.3, and these are measurements.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from dgex.formats.expression import Block, Expression, ending

_LARGEST = float(np.finfo(np.float32).max)

# -99 and -9 are in use too, but also occur as MAS4 intensities, z-scores or log-CPM; positive nines occur as counts.
STAND_INS = np.array(
    [
        -666,  # the Connectivity Map, in GCT and GCTX
        *(-999, -9999, -99999, -999999),  # spreadsheets, SPSS, SAS and many pipelines
        # The lowest integers of 16, 32 and 64 bits: R's NA among integers, and the result of casting NaN.
        *(-(2**15), -(2**31), -(2**63)),
        *(-1e20, 1e20, -1e30, 1e30, 9.96921e36),  # fill values of HDF5 and netCDF files
        *(-_LARGEST, _LARGEST),  # nan_to_num replaces infinity by these; C programs use them as fill values
    ],
    np.float32,
)
_LEAST, _MOST = STAND_INS[STAND_INS < 0].max(), STAND_INS[STAND_INS > 0].min()


def without_stand_ins(table: Expression) -> Expression:
    """Returns the table with NaN in place of numbers that stand for missing values, counted in its ``stand_ins``.

    The counts are final once all blocks have been read, and do not grow when the blocks are read again.
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
    """Formats how often each number stood for a missing value: "12 of -9999, 3 of 1e+20"; "" where none did."""
    shown = {value: f"{value:.0f}" if abs(value) < 1e10 else f"{value:.7g}" for value in sorted(stand_ins)}
    return ", ".join(f"{stand_ins[value]:,} of {text}" for value, text in shown.items())


def _replaced(values: np.ndarray, count: Counter[float]) -> np.ndarray:
    """Returns ``values`` with NaN for numbers that stand for missing values, and adds these to ``count``.

    An array without such numbers is returned itself.
    """
    # Two passes over all values instead of one for each stand-in.
    if not (np.fmin.reduce(values, axis=None) <= _LEAST or np.fmax.reduce(values, axis=None) >= _MOST):
        return values
    suspects = (values <= _LEAST) | (values >= _MOST)
    is_stand_in = np.isin(values[suspects], STAND_INS)
    if not is_stand_in.any():
        return values
    result = values.copy()  # a table in memory yields the caller's own array
    suspects[suspects] = is_stand_in
    count.update(values[suspects].tolist())
    result[suspects] = np.nan
    return result
