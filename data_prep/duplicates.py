"""Profiles that are in the source more than once, found exactly."""

import numpy as np

# In log2 units over all probe sets; the threshold of D-GEX (Chen et al., Bioinformatics 2016).
DISTANCE = 1.0


def keep_unique(values: np.ndarray, block: int = 1024) -> np.ndarray:
    """Which profiles to keep so that no two kept ones are within a Euclidean distance of 1.0.

    A profile is dropped if an earlier *kept* one is nearer than 1.0: of profiles at 0, 0.9, 1.8 and 2.7 the first and
    the third stay. Profiles that measured different probe sets are different.

    Distances by products in float32 are off by more than 1.0 in thousands of dimensions, so they only point out
    candidates, with room for their largest possible error; each candidate pair is then measured in float64.

    Args:
      values: log2 [samples, rows], NaN where not measured.
      block: samples per block of the product; the result does not depend on it.

    Returns:
      bool [samples].
    """
    # Differences do not feel a shift of the origin, but the error of the products grows with the distance from it.
    measured = ~np.isnan(values)
    center = np.sum(values, axis=0, where=measured, dtype=np.float64) / np.maximum(measured.sum(axis=0), 1)
    centered = np.where(measured, values - center, 0).astype(np.float32)
    square = np.einsum("ij,ij->i", centered, centered, dtype=np.float64)
    # A product of n terms in precision u errs by at most n u / (1 - n u) times the norms' product, which is at most
    # half the sum of their squares (Higham, Accuracy and Stability, 2002, section 3.1). Doubled, this also holds the
    # rounding of ``centered`` and of the sums below.
    error = 2 * (values.shape[1] + 8) * np.finfo(np.float32).epsneg

    keep = np.ones(len(values), bool)
    for first in range(0, len(values), block):
        last = min(first + block, len(values))
        norms = square[first:last, None] + square[None, :last]
        squared = norms - 2 * (centered[first:last] @ centered[:last].T)
        # np.nonzero is ordered by the later profile, then by the earlier: whether i is kept is settled before j asks.
        for row, i in zip(*np.nonzero(squared < DISTANCE**2 + error * (1 + norms)), strict=True):
            j = first + row
            if i < j and keep[i] and keep[j] and _is_same(values[i], values[j]):
                keep[j] = False
    return keep


def _is_same(one: np.ndarray, other: np.ndarray) -> bool:
    difference = one.astype(np.float64) - other
    unmeasured = np.isnan(difference)
    if not (np.array_equal(np.isnan(one), unmeasured) and np.array_equal(np.isnan(other), unmeasured)):
        return False
    return bool(np.sum(difference**2, where=~unmeasured) < DISTANCE**2)
