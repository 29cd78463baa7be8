"""Names the unit of an RNA-seq table's values, for messages, from the numbers and from what its file is called."""

import re

import numpy as np

from dgex.data.intensity_scale import FLOOR, SMALL_OFFSET

MILLION = 1e6
NEAR_MILLION = 0.02  # relative; values are rounded, and some tables lack a few genes
# What a name holds, and the unit that it so claims.
CLAIMS = (
    (re.compile("gene_sums|recount3", re.I), "coverage"),
    (re.compile("tpm", re.I), "TPM"),
    (re.compile("[fr]pkm", re.I), "RPKM"),
    (re.compile("cpm", re.I), "CPM"),
    (re.compile("count|reads", re.I), "counts"),
)
COUNTS = "counts, as they are whole numbers"
COVERAGE = (
    "sums of base coverage (recount3), which are read counts times the length of reads; within a profile this is the "
    "same factor for all genes"
)


def unit_of(name: str, scale: str, ranges: np.ndarray, total: float | None = None) -> str:
    """Names the unit of values, and what tells it.

    Whole numbers are counts, or sums of coverage if the name says so. A profile of TPM or of CPM sums to a million, and
    which of the two it is only a name can tell. A table that lacks genes sums to less, so a name counts more.

    Args:
      name: what the file is called, and its kind.
      scale: of its values, a ``dgex.data.intensity_scale.Scale``.
      ranges: ``dgex.data.intensity_scale.value_ranges`` of the profiles.
      total: the sum of a typical profile on the linear scale, over all genes of the table; None if unknown.

    Returns:
      A phrase such as "log2(TPM + 1), by the name of the file"; "" where nothing tells the unit.
    """
    smallest, _, whole = ranges.T
    unit, by = next((unit for pattern, unit in CLAIMS if pattern.search(name)), ""), "by the name of the file"
    if scale == "linear" and whole.all():
        return COVERAGE if unit == "coverage" else COUNTS
    if not unit and total is not None and abs(total / MILLION - 1) < NEAR_MILLION:
        unit, by = "TPM or CPM", "as a profile sums to a million"
    if scale == "linear":
        return f"{unit}, {by}" if unit else ""
    if scale == SMALL_OFFSET:
        return f"log2({unit or 'x'} + 0.001), {by if unit else f'as none is below {FLOOR:.4f}'}"
    if smallest.min() == 0:
        return f"log2({unit or 'x'} + 1), {by if unit else 'as none is below 0'}"
    return f"log2 of {unit}, {by}" if unit else ""
