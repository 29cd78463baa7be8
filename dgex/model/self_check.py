"""Checks on the landmarks themselves how well a profile's genes can be inferred, without any measured target.

The landmarks are split once, at random, into ``BLOCKS`` blocks. Each block's measured landmarks are hidden in turn and
inferred from the others by their conditional means under the factors (``dgex.model.imputation``). How far the inferred
values are off tells how far the inferred targets of the same profile will be off.
"""

from dataclasses import dataclass

import numpy as np

from dgex.model.imputation import Factors, patterns_of
from dgex.model.reliability import LEAST_PROFILES, WORSE, Expectation

BLOCKS = 8
PROFILES = 1024  # in a block of computation, as float64 copies of all may not fit into memory


@dataclass(frozen=True)
class SelfCheck:
    """Holds how well the hidden landmarks of a table's profiles are inferred.

    Attributes:
      profiles: how many profiles were checked.
      pearson: the median over landmarks of the correlation across profiles; NaN for fewer than ``LEAST_PROFILES``.
      error: the median of the profiles' self-check errors, z-score.
      reference_error: the median self-check error of out-of-fold profiles, studies weighted equally; NaN if unknown.
      failed: whether the check fails, so that nothing is known of which genes are inferred well.
    """

    profiles: int
    pearson: float
    error: float
    reference_error: float
    failed: bool

    @property
    def text(self) -> str:
        """Says in words what the check found."""
        across = "" if np.isnan(self.pearson) else f"r = {self.pearson:.2f} across samples and "
        usual = "" if np.isnan(self.reference_error) else f" (validation studies: {self.reference_error:.2f})"
        if self.failed:
            verdict = "the check fails, so which genes are well inferred is not told"
        elif np.isnan(self.reference_error):
            verdict = "the model does not tell how well others are"
        else:
            verdict = "the check holds"
        return (
            f"Hidden landmarks of these profiles are inferred with {across}a mean error of {self.error:.2f} SD{usual}: "
            f"{verdict}."
        )


def blocks_of(landmarks: int) -> np.ndarray:
    """Splits the landmarks at random, always in the same way: the block of each, int ``[landmarks]``."""
    block = np.arange(landmarks) % BLOCKS
    return np.random.default_rng(0).permutation(block)


def self_check(zscores: np.ndarray, factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """Infers each measured landmark of each profile from the measured landmarks of the other blocks.

    Args:
      zscores: ``[profiles, landmarks]``, NaN where missing; each profile has a measured landmark.
      factors: the distribution of the training profiles.

    Returns:
      The inferred z-scores, f4 ``[profiles, landmarks]``, NaN where the landmark is not measured; and the mean absolute
      difference of measured and inferred values of each profile, its *self-check error*, f4 ``[profiles]``.
    """
    block = blocks_of(zscores.shape[1])
    loadings = factors.loadings.astype(np.float64)
    number = loadings.shape[1]
    chosen = [block == code for code in range(BLOCKS)]
    grams = [loadings[genes].T @ loadings[genes] for genes in chosen]
    inferred = np.full(zscores.shape, np.nan, np.float32)
    for rows, missing in patterns_of(np.isnan(zscores)):
        # Few landmarks are missing, so taking theirs off costs less than adding up the measured ones.
        lacking = [loadings[genes & missing] for genes in chosen]
        present = [gram - part.T @ part for gram, part in zip(grams, lacking, strict=True)]
        precision = sum(present) + factors.noise * np.eye(number)
        hidden = [np.flatnonzero(genes & ~missing) for genes in chosen]
        for first in range(0, len(rows), PROFILES):
            some = rows[first : first + PROFILES]
            # The order of summation depends on the number of profiles; float64 keeps that out of the float32 result.
            parts = [zscores[np.ix_(some, genes)].astype(np.float64) @ loadings[genes] for genes in hidden]
            projection = np.sum(parts, axis=0)
            for genes, part, gram in zip(hidden, parts, present, strict=True):
                scores = np.linalg.solve(precision - gram, (projection - part).T).T
                inferred[np.ix_(some, genes)] = scores @ loadings[genes].T
    return inferred, error_of(zscores, inferred)


def error_of(zscores: np.ndarray, inferred: np.ndarray) -> np.ndarray:
    """Computes the mean absolute difference of each profile, f4 ``[profiles]``, over the landmarks that are not NaN."""
    return np.nanmean(np.abs(inferred.astype(np.float64) - zscores), axis=1).astype(np.float32)


def median_pearson(zscores: np.ndarray, inferred: np.ndarray) -> float:
    """Computes the median over landmarks of the correlation of measured and inferred values across profiles.

    Args:
      zscores: ``[profiles, landmarks]``, NaN where missing.
      inferred: as ``self_check`` gives them.

    Returns:
      The median; NaN if there are fewer than ``LEAST_PROFILES`` profiles, or no landmark varies.
    """
    if len(zscores) < LEAST_PROFILES:
        return float("nan")
    r = correlations(zscores, inferred, 0)
    return float(np.median(r[~np.isnan(r)])) if not np.isnan(r).all() else float("nan")


def correlations(zscores: np.ndarray, inferred: np.ndarray, axis: int) -> np.ndarray:
    """Computes correlations of measured and inferred landmarks, f8; NaN where either do not vary.

    Args:
      zscores: ``[profiles, landmarks]``, NaN where missing.
      inferred: as ``self_check`` gives them.
      axis: 0 for each landmark across profiles, 1 for each profile across landmarks.
    """
    measured = ~np.isnan(inferred)
    count = np.maximum(measured.sum(axis=axis, keepdims=True), 1)

    def centred(values: np.ndarray) -> np.ndarray:
        known = np.where(measured, values.astype(np.float64), 0)
        return np.where(measured, known - known.sum(axis=axis, keepdims=True) / count, 0)

    x, y = centred(inferred), centred(zscores)
    squares = (x**2).sum(axis=axis) * (y**2).sum(axis=axis)
    return (x * y).sum(axis=axis) / np.sqrt(np.where(squares > 0, squares, np.nan))


def summarize_check(zscores: np.ndarray, inferred: np.ndarray, expectation: Expectation) -> SelfCheck:
    """Summarises the self-check of a table, and judges it by what out-of-fold profiles have.

    The check fails where the median error is above ``expectation.farthest``; or is above ``WORSE`` times that of
    out-of-fold profiles, and the correlation across at least ``LEAST_PROFILES`` profiles is below
    ``expectation.least_pearson``. A low correlation alone is no failure: the profiles of a study may differ little.

    Args:
      zscores: ``[profiles, landmarks]``, NaN where missing.
      inferred: as ``self_check`` gives them.
      expectation: what the model expects.
    """
    error, pearson = float(np.median(error_of(zscores, inferred))), median_pearson(zscores, inferred)
    worse = error > WORSE * expectation.reference_error and pearson < expectation.least_pearson  # NaN never is
    failed = error > expectation.farthest or worse
    return SelfCheck(len(zscores), pearson, error, expectation.reference_error, failed)
