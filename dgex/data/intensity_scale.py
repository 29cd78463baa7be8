"""At which scale the values of an expression table are: said by nobody, shown by the values."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from dgex.errors import DgexError

LARGEST_LOG2 = 32.0  # beyond any scanner's or sequencer's count
LEAST_AGREEMENT = 0.5
MOST_NEGATIVE = 0.25
PROFILES = 256  # are enough to tell a file's scale
FEW = 5  # profiles: two or three may agree, or disagree, by chance

Scale = Literal["log2", "linear", "centred"]

# Smallest and largest value that a scale can hold. Linear: a mass spectrometer counts to 1e12, a sequencer to 1e10.
LIMITS: Mapping[str, tuple[float, float]] = {
    "log2": (-LARGEST_LOG2, LARGEST_LOG2),
    "linear": (-1e15, 1e15),
    "zscore": (-100, 100),
}


class NoIntensitiesError(DgexError):
    """Values are on no scale of intensities."""


class MixedScalesError(DgexError):
    """Profiles of one table are on different scales, or seem to be."""


def scale_of(values: np.ndarray) -> Scale:
    """Tells intensities from their logarithms, and both from differences to some baseline.

    "centred": baseline-subtracted values, fold changes, z-scores, anything brought to one level gene by gene. Whatever
    the tissue or the platform, some genes are always high and some always low, so profiles of intensities agree: their
    mean pairwise correlation is high. Taking away a baseline takes away just that. Unlike the spread of the genes'
    means, correlations do not notice that studies differ in level. Profiles agree where the mean correlation is 0.5 or
    more; fewer than 5, which may do so by chance, where no more than a quarter of their values are negative. In public
    data the correlation is 0.76 to 0.98 in 33 cohorts of arrays, RNA-seq and L1000, 0.69 where unnormalised studies are
    mixed, -0.01 in the baseline-subtracted GSE30528 and 0.05 in L1000 z-scores; up to 1 % of a profile's values are
    negative there, at least 38 % in GSE30528.

    "linear": otherwise, a value lies above 32, which as a logarithm no instrument could count to. A few genes outweigh
    all others in such profiles, so that these need not agree as long as few values are negative. Whole numbers
    throughout, none of them negative, are counts, and so linear, however small.

    "log2": the rest. Logarithms to another base look the same.

    Args:
      values: float32 [profiles, rows], NaN where not measured; all profiles, or some hundred from all over the file.

    Raises:
      ValueError: nothing is measured.
    """
    if np.isnan(values).all():
        raise ValueError("no value is measured")
    smallest, largest, whole = reach_of(values).T
    if whole.all() and (smallest >= 0).all():
        return "linear"
    beyond = largest.max() > LARGEST_LOG2
    negative = np.mean(values[~np.isnan(values)] < 0) > MOST_NEGATIVE
    agree = not negative if len(values) < FEW else _mean_correlation(values) >= LEAST_AGREEMENT
    if not agree and (negative or not beyond):
        return "centred"
    return "linear" if beyond else "log2"


def reach_of(values: np.ndarray) -> np.ndarray:
    """Each profile's smallest and largest value, and 1 where all it has are whole numbers, otherwise 0.

    Returns:
      float [profiles, 3]; where nothing is measured infinity, -infinity and 1.
    """
    measured = ~np.isnan(values)
    smallest = np.min(values, axis=1, where=measured, initial=np.inf)
    largest = np.max(values, axis=1, where=measured, initial=-np.inf)
    return np.stack([smallest, largest, ((np.rint(values) == values) | ~measured).all(axis=1)], axis=1)


def intensity_scale(
    path: Path, sample_id: Sequence[str], reach: np.ndarray, read: Callable[[np.ndarray], np.ndarray]
) -> Literal["log2", "linear"]:
    """The one scale on which all profiles of a file are.

    Args:
      path: of the file, for messages.
      reach: of all profiles, see ``reach_of``.
      read: gives the profiles at ascending positions, float32 [positions, rows]; asked for ``PROFILES`` at most.

    Raises:
      DgexError: nothing is measured, profiles are on different scales or on none, say changes and not intensities, or
        hold what their scale cannot.
    """
    smallest, largest, whole = reach.T
    measured = largest > -np.inf
    if not measured.any():
        raise DgexError(f"{path}: has no value of any gene; check how it was made")
    if (smallest[measured] == largest[measured]).all():
        raise DgexError(f"{path}: every profile has one value throughout; check how it was made")
    beyond = measured & (largest > LARGEST_LOG2)
    fractions = measured & ~whole.astype(bool)
    others = np.flatnonzero(fractions & ~beyond)  # a shallow cell's whole numbers stay small on the linear scale too
    if beyond.any() and len(others):
        raise MixedScalesError(
            f"{path}: {beyond.sum()} of {measured.sum()} profiles, such as {sample_id[beyond.argmax()]}, are linear "
            f"(beyond {LARGEST_LOG2:g}) and {len(others)}, such as {sample_id[others[0]]}, log2; bring all to one scale"
        )
    scale: Literal["log2", "linear"] = "linear" if beyond.any() or not fractions.any() else "log2"
    if scale == "log2" and smallest.min() < -LARGEST_LOG2:
        raise NoIntensitiesError(
            f"{path}: reaches {smallest.min():g}, which is no log2 value; write NaN where not measured"
        )
    positions = np.flatnonzero(measured)
    some = positions[np.linspace(0, len(positions) - 1, min(len(positions), PROFILES)).astype(int)]
    if fractions.any() and scale_of(read(some)) == "centred":
        raise NoIntensitiesError(
            f"{path}: its values are centred gene by gene, so they say changes and not intensities; use values that "
            "keep each gene's level"
        )
    check_reach(path, sample_id, reach, scale)
    return scale


def check_reach(path: Path, sample_id: Sequence[str], reach: np.ndarray, scale: str) -> None:
    """Refuses profiles with values that no measurement on their scale has.

    Args:
      path: of the file, for messages.
      reach: of the profiles, see ``reach_of``.
      scale: a key of ``LIMITS``.

    Raises:
      DgexError: a value is beyond ``LIMITS``, or a linear profile of whole numbers, of counts, has negative ones.
    """
    smallest, largest, whole = reach.T
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
            raise DgexError(f"{path}: the profile {sample_id[first]} reaches {extreme[first]:g}, {problem}")


def log2_of_linear(values: np.ndarray, dtype: DTypeLike = np.float32) -> np.ndarray:
    """log2(max(x, 0) + 1): linear intensities or counts to log2 of ``dtype``; background correction may go below 0."""
    # Not in float32: adding 1 would merge small counts that differ, and RNA-seq has many of them.
    return (np.log1p(np.maximum(values, 0), dtype=np.float64) / np.log(2)).astype(dtype)


def _mean_correlation(values: np.ndarray) -> float:
    """The mean Pearson correlation between two profiles, those that share more rows counting for more."""
    total, share, profiles = np.zeros(values.shape[1]), np.zeros(values.shape[1]), 0
    for profile in values:
        measured = ~np.isnan(profile)
        if measured.any():
            deviation = profile[measured] - profile[measured].mean(dtype=np.float64)
            total[measured] += deviation / max(np.linalg.norm(deviation), 1e-9)
            share[measured] += 1 / np.sqrt(measured.sum())
            profiles += 1
    # The squared length of a sum of unit vectors is the sum of all their products, those with themselves included. A
    # gap adds nothing to a product; what profiles that agree would give is known from the gaps alone.
    return float(total @ total - profiles) / max(float(share @ share - profiles), 1e-9)
