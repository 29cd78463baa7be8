"""Tells from the values of an expression table which scale they are on, and converts them to log2(x + 1)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from dgex.errors import DgexError

LARGEST_LOG2 = 32.0  # beyond any scanner's or sequencer's count
LEAST_AGREEMENT = 0.5
MOST_NEGATIVE = 0.25
PROFILES = 256  # enough to tell a file's scale
FEW = 5  # profiles: two or three may agree, or disagree, by chance

Scale = Literal["log2", "log2(x + 0.001)", "linear", "centred"]
Intensities = Literal["log2", "log2(x + 0.001)", "linear"]

# UCSC Xena's Toil tables are log2(TPM + 0.001), so that a gene without reads is at -9.9658, with four decimals.
SMALL_OFFSET: Intensities = "log2(x + 0.001)"
OFFSET = 0.001
FLOOR, NEAR_FLOOR = float(np.log2(OFFSET)), 1e-4

# Smallest and largest value that a scale can hold. Linear: a mass spectrometer counts to 1e12, a sequencer to 1e10.
LIMITS: Mapping[str, tuple[float, float]] = {
    "log2": (-LARGEST_LOG2, LARGEST_LOG2),
    SMALL_OFFSET: (FLOOR - NEAR_FLOOR, LARGEST_LOG2),
    "linear": (-1e15, 1e15),
    "zscore": (-100, 100),
}


class NoIntensitiesError(DgexError):
    """Is raised for values that are on no scale of intensities."""


class MixedScalesError(DgexError):
    """Is raised for a table whose profiles are on different scales, or seem to be."""


def scale_of(values: np.ndarray) -> Scale:
    """Tells the scale of expression values: linear intensities, their logarithms, or differences from a baseline.

    "centred" are baseline-subtracted values, fold changes, z-scores, and whatever else was brought to one level gene by
    gene. Whatever the tissue or the platform, some genes are always high and some always low, so profiles of
    intensities agree: their mean pairwise correlation is high. Subtracting a baseline removes just this agreement.
    Correlations, unlike the spread of the genes' means, do not depend on the level of a study. Five or more profiles
    agree where their mean correlation is 0.5 or more; fewer profiles may correlate by chance, so they agree where no
    more than a quarter of their values are negative. In public data the correlation is 0.76 to 0.98 in 33 cohorts of
    arrays, RNA-seq and L1000 and 0.69 in a mixture of unnormalised studies, and at most 1 % of a profile's values are
    negative. It is -0.01 in the baseline-subtracted GSE30528, where at least 38 % are negative, and 0.05 in L1000
    z-scores.

    "linear" are the other values of which one lies above 32, a logarithm that no instrument could count to. In such
    profiles a few genes outweigh all others, so that the profiles need not agree as long as few values are negative.
    Values that are all whole numbers, none of them negative, are counts, and so linear, however small.

    "log2(x + 0.001)" are logarithms of which none lies below log2(0.001), and that reach it in at least half of the
    profiles. There a gene without reads is ten below one of a few, so that neither agreement nor the share of negative
    values tells anything.

    "log2" are all remaining values. Logarithms to another base look the same.

    Args:
      values: float32 [profiles, rows], NaN where missing; all profiles of a file, or some hundred from all over it.

    Raises:
      ValueError: every value is missing.
    """
    if np.isnan(values).all():
        raise ValueError("no value is measured")
    smallest, largest, whole = value_ranges(values).T
    if whole.all() and (smallest >= 0).all():
        return "linear"
    beyond = largest.max() > LARGEST_LOG2
    if not beyond and _at_floor(smallest[largest > -np.inf]):
        return SMALL_OFFSET
    negative = np.mean(values[~np.isnan(values)] < 0) > MOST_NEGATIVE
    agree = not negative if len(values) < FEW else _mean_correlation(values) >= LEAST_AGREEMENT
    if not agree and (negative or not beyond):
        return "centred"
    return "linear" if beyond else "log2"


def value_ranges(values: np.ndarray) -> np.ndarray:
    """Computes each profile's smallest and largest value, and whether all its measured values are whole numbers.

    Args:
      values: float32 [profiles, rows], NaN where missing.

    Returns:
      float [profiles, 3]: the smallest value, the largest, and 1 where all are whole numbers, otherwise 0. A profile
      without measured values has infinity, -infinity and 1.
    """
    measured = ~np.isnan(values)
    smallest = np.min(values, axis=1, where=measured, initial=np.inf)
    largest = np.max(values, axis=1, where=measured, initial=-np.inf)
    return np.stack([smallest, largest, ((np.rint(values) == values) | ~measured).all(axis=1)], axis=1)


def intensity_scale(
    label: str, sample_id: Sequence[str], ranges: np.ndarray, read: Callable[[np.ndarray], np.ndarray]
) -> Intensities:
    """Determines the one scale that all profiles of a table are on.

    Args:
      label: what messages call the table, such as the path of its file.
      sample_id: the names of the profiles, for messages.
      ranges: ``value_ranges`` of all profiles.
      read: reads the profiles at ascending positions, float32 [positions, rows]; is called for at most ``PROFILES``.

    Raises:
      DgexError: every value is missing or every profile is constant; profiles are on different scales
        (``MixedScalesError``) or hold changes rather than intensities (``NoIntensitiesError``); a value lies outside
        ``LIMITS``.
    """
    smallest, largest, whole = ranges.T
    measured = largest > -np.inf
    if not measured.any():
        raise DgexError(f"{label}: has no value of any gene; check how it was made")
    if (smallest[measured] == largest[measured]).all():
        raise DgexError(f"{label}: every profile has one value throughout; check how it was made")
    beyond = measured & (largest > LARGEST_LOG2)
    fractions = measured & ~whole.astype(bool)
    others = np.flatnonzero(fractions & ~beyond)  # a shallow cell's whole numbers stay small on the linear scale too
    if beyond.any() and len(others):
        raise MixedScalesError(
            f"{label}: {beyond.sum()} of {measured.sum()} profiles, such as {sample_id[beyond.argmax()]}, are linear "
            f"(beyond {LARGEST_LOG2:g}) and {len(others)}, such as {sample_id[others[0]]}, log2; bring all to one scale"
        )
    scale: Intensities = "linear" if beyond.any() or not fractions.any() else "log2"
    if scale == "log2" and smallest.min() < -LARGEST_LOG2:
        raise NoIntensitiesError(
            f"{label}: reaches {smallest.min():g}, which is no log2 value; write NaN where not measured"
        )
    positions = np.flatnonzero(measured)
    some = positions[np.linspace(0, len(positions) - 1, min(len(positions), PROFILES)).astype(int)]
    if scale == "log2" and _at_floor(smallest[measured]):
        scale = SMALL_OFFSET
    elif fractions.any() and scale_of(read(some)) == "centred":
        raise NoIntensitiesError(
            f"{label}: its values are centred gene by gene, so they say changes and not intensities; use values that "
            "keep each gene's level"
        )
    check_value_ranges(label, sample_id, ranges, scale)
    return scale


def check_value_ranges(label: str, sample_id: Sequence[str], ranges: np.ndarray, scale: str) -> None:
    """Refuses profiles with values that no measurement on their scale has.

    Args:
      label: what messages call the table.
      sample_id: the names of the profiles, for messages.
      ranges: ``value_ranges`` of the profiles.
      scale: a key of ``LIMITS``.

    Raises:
      DgexError: a value lies outside ``LIMITS``, or a linear profile of whole numbers, which are counts, has negative
        ones.
    """
    smallest, largest, whole = ranges.T
    least, most = LIMITS[scale]
    measured = largest > -np.inf
    for wrong, extreme, problem in (
        (measured & (largest > most), largest, f"and {scale} values are {most:g} at most; bring all to one scale"),
        (measured & (smallest < least), smallest, f"and {scale} values are {least:g} at least; write NaN where not "
         "measured"),
        (measured & (scale == "linear") & whole.astype(bool) & (smallest < 0), smallest, "and counts, as its whole "
         "numbers are, are never negative; write NaN where not measured, and 0 where a correction went below it"),
    ):  # fmt: skip
        if wrong.any():
            first = int(wrong.argmax())
            raise DgexError(f"{label}: the profile {sample_id[first]} reaches {extreme[first]:g}, {problem}")


def to_log2(values: np.ndarray, scale: str, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Converts values to log2(x + 1), as far as their scale needs it.

    Args:
      values: of any shape; linear ones below 0 are taken as 0.
      scale: an ``Intensities``; values of any other scale are given back as they are.
      dtype: the element type of converted values.
    """
    if scale == SMALL_OFFSET:
        return log2_of_linear(np.exp2(values, dtype=np.float64) - OFFSET, dtype)
    return log2_of_linear(values, dtype) if scale == "linear" else values


def log2_of_linear(values: np.ndarray, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Computes log2(max(x, 0) + 1) of linear intensities or counts, which background correction may leave negative.

    Args:
      values: linear intensities or counts, of any shape.
      dtype: the element type of the result.
    """
    # Adding 1 in float32 would merge small counts that differ, and RNA-seq has many of them.
    return (np.log1p(np.maximum(values, 0), dtype=np.float64) / np.log(2)).astype(dtype)


def _at_floor(smallest: np.ndarray) -> bool:
    """Tells from the profiles' smallest values whether they are log2(x + 0.001): see ``scale_of``."""
    return bool(smallest.min() > FLOOR - NEAR_FLOOR and np.mean(smallest < FLOOR + NEAR_FLOOR) >= 0.5)


def _mean_correlation(values: np.ndarray) -> float:
    """Computes the mean Pearson correlation of all pairs of profiles, weighted by the rows that a pair shares."""
    total, weight, profiles = np.zeros(values.shape[1]), np.zeros(values.shape[1]), 0
    for profile in values:
        measured = ~np.isnan(profile)
        if measured.any():
            deviation = profile[measured] - profile[measured].mean(dtype=np.float64)
            total[measured] += deviation / max(np.linalg.norm(deviation), 1e-9)
            weight[measured] += 1 / np.sqrt(measured.sum())
            profiles += 1
    # The squared length of a sum of unit vectors is the sum of all their products, those with themselves included. A
    # missing value adds nothing to a product, so the sum is divided by what perfectly correlated profiles would give.
    return float(total @ total - profiles) / max(float(weight @ weight - profiles), 1e-9)
