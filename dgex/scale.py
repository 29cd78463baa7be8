"""At which scale the values of an expression table are: said by nobody, shown by the values."""

from typing import Literal

import numpy as np

LARGEST_LOG2 = 32.0  # beyond any scanner's or sequencer's count
LEAST_AGREEMENT = 0.5
MOST_NEGATIVE = 0.25
FEW = 5  # profiles: two or three may agree, or disagree, by chance

Scale = Literal["log2", "linear", "centred"]


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
    all others in such profiles, so that these need not agree as long as few values are negative.

    "log2": the rest. Logarithms to another base look the same.

    Args:
      values: float32 [profiles, rows], NaN where not measured; all profiles, or some hundred from all over the file.

    Raises:
      ValueError: nothing is measured.
    """
    if np.isnan(values).all():
        raise ValueError("no value is measured")
    beyond = np.nanmax(values) > LARGEST_LOG2
    negative = np.mean(values[~np.isnan(values)] < 0) > MOST_NEGATIVE
    agree = not negative if len(values) < FEW else _mean_correlation(values) >= LEAST_AGREEMENT
    if not agree and (negative or not beyond):
        return "centred"
    return "linear" if beyond else "log2"


def log2_of_linear(values: np.ndarray) -> np.ndarray:
    """log2(max(x, 0) + 1): linear intensities or counts to log2, float32; background correction may go below 0."""
    return np.log2(np.maximum(values, 0) + 1, dtype=np.float32)


def _mean_correlation(values: np.ndarray) -> float:
    """The mean Pearson correlation between two profiles; a gap counts as its profile's mean."""
    total, profiles = np.zeros(values.shape[1]), 0
    for profile in values:
        measured = ~np.isnan(profile)
        if measured.any():
            deviation = profile[measured] - profile[measured].mean(dtype=np.float64)
            total[measured] += deviation / max(np.linalg.norm(deviation), 1e-9)
            profiles += 1
    # The squared length of a sum of unit vectors is the sum of all their products, those with themselves included.
    return float(total @ total - profiles) / max(1, profiles * (profiles - 1))
