"""Quantile normalisation and per-gene standardisation: fit on training profiles, apply to one profile, invert.

Values are log2 expression throughout, NaN where a gene was not measured. Nothing here looks at more than one profile
once the reference and the scaler are fitted, so a single new sample is treated exactly as the data set was.

Own code, because the libraries fit and apply in one go: qnorm and limma normalise the profiles they are given, and
scikit-learn's ``QuantileTransformer`` keeps a reference for each gene rather than one for all; neither maps one new
profile onto a stored reference. The tests compare with qnorm.

What is fitted is a sum over profiles, added one by one in their order: a compendium larger than memory passes through
in blocks, and the blocks' sizes never show in the result, not even in its last bit.

The originals (Chen et al., Bioinformatics 2016; Kunc and Klema, PLoS ONE 2021) treat ties, RNA-seq and SDs in ways of
their own, and fit on all samples. ``ties`` of "floor" and "dense" and ``legacy`` scalers are their arithmetic, for
comparison with their numbers.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

# In log2 units, far below what an array resolves. Without it a gene that is constant in training has z-scores of
# infinity; as a floor rather than as a summand, it leaves every other gene's SD, and its errors in log2, exact.
SD_FLOOR = 1e-3

Ties = Literal["quantile", "rank", "floor", "dense"]


class QuantileSum:
    """Adds up sorted profiles; their mean is the reference distribution of quantile normalisation.

    A profile with unmeasured genes contributes its quantile function, interpolated to the full number of genes, as in
    limma's ``normalizeQuantiles`` (Bolstad et al., Bioinformatics 2003).
    """

    def __init__(self, genes: int) -> None:
        self.total = np.zeros(genes)  # f8 [genes], ascending log2
        self.profiles = 0

    def add(self, values: np.ndarray) -> None:
        """Adds log2 profiles [profiles, genes], at least one value measured in each."""
        for profile in values:
            self.total += _resampled(np.sort(profile[~np.isnan(profile)]), len(self.total))
            self.profiles += 1

    def quantiles(self) -> np.ndarray:
        """Ascending log2 values, float32 [genes]."""
        return (self.total / self.profiles).astype(np.float32)


def fit_quantiles(values: np.ndarray) -> np.ndarray:
    """The reference distribution of log2 profiles in memory [profiles, genes], float32 [genes]; see ``QuantileSum``."""
    profiles = QuantileSum(values.shape[1])
    profiles.add(values)
    return profiles.quantiles()


def to_quantiles(values: np.ndarray, quantiles: np.ndarray, ties: Ties = "quantile") -> np.ndarray:
    """Gives every profile, on its own, the reference distribution.

    The k-th smallest value becomes the k-th quantile. The m measured genes of a profile with gaps take the reference
    interpolated to m values. NaN stays NaN. Tied values all become one value, so that the order of the genes is
    nothing; ``ties`` says which, of the quantiles they span:

    - "quantile", for arrays: their mean, so that the profile's mean is the reference's.
    - "rank", for RNA-seq: the quantile at the average rank, half-way between two for a half rank, as limma's
      ``ties=TRUE`` does. The lowest third of such a profile can be equal zeros; the mean of so many quantiles would
      be drawn up by the largest of them, the quantile in their middle is not.
    - "floor", the originals' arrays: the quantile at the average rank, rounded down.
    - "dense", the originals' RNA-seq: runs of equal values are numbered k = 0 ... n - 1 and spread over the m
      quantiles, at int((k + 1.0) / n * m) - 1. Rounding puts some values a quantile too low even without ties.

    Args:
      values: log2 [profiles, genes].
      quantiles: ascending log2 [ranked], of any length; see ``QuantileSum``.
      ties: one of the above.

    Returns:
      float32 [profiles, genes].
    """
    reference = quantiles.astype(np.float64)
    result = np.full(values.shape, np.nan, np.float32)
    for profile, row in zip(values, result, strict=True):
        order = np.argsort(profile)[: np.count_nonzero(~np.isnan(profile))]  # NaN come last
        row[order] = _to_reference(profile[order], _resampled(reference, len(order)), ties)
    return result


def _to_reference(ranked: np.ndarray, reference: np.ndarray, ties: Ties) -> np.ndarray:
    """The quantile for each of the ascending values ``ranked``, as many as ``reference`` has."""
    starts = np.ones(len(ranked), bool)
    starts[1:] = ranked[1:] != ranked[:-1]
    if starts.all() and ties != "dense":  # which rounds even then
        return reference  # no need to find that out once more for each of a million profiles
    first = np.flatnonzero(starts)
    length = np.diff(first, append=len(ranked))
    match ties:
        case "quantile":
            level = np.add.reduceat(reference, first) / length
        case "rank":
            level = (reference[first + (length - 1) // 2] + reference[first + length // 2]) / 2
        case "floor":
            level = reference[first + (length - 1) // 2]
        case "dense":
            level = reference[((np.arange(len(first)) + 1.0) / len(first) * len(reference)).astype(int) - 1]
    return np.repeat(level, length)


def _resampled(ascending: np.ndarray, count: int) -> np.ndarray:
    """The quantile function of sorted values at ``count`` evenly spaced points from its first value to its last."""
    if len(ascending) == count:
        return ascending
    return np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(ascending)), ascending)


@dataclass(frozen=True)
class Scaler:
    """Per-gene mean and standard deviation over the training profiles, log2, float32 [genes] each; sd > 0."""

    mean: np.ndarray
    sd: np.ndarray


class Moments:
    """Adds up each gene's values over profiles; their mean fills gaps, and mean and SD make the scaler.

    The sums are in float64 about ``shift``, because squares of values far from zero drown the differences among them.
    """

    def __init__(self, shift: np.ndarray) -> None:
        """``shift``: log2 [genes], anything near the genes' means, such as the mean quantile or one profile."""
        self.shift = shift.astype(np.float64)
        self.count = np.zeros(len(shift), int)
        self.total = np.zeros(len(shift))
        self.square = np.zeros(len(shift))
        self.profiles = 0

    def add(self, values: np.ndarray) -> None:
        """Adds log2 profiles [profiles, genes]; NaN counts for nothing."""
        for profile in values:
            measured = ~np.isnan(profile)
            deviation = np.where(measured, profile - self.shift, 0)
            self.count += measured
            self.total += deviation
            self.square += deviation**2
            self.profiles += 1

    def scaler(self, legacy: bool = False) -> Scaler:
        """Mean and population SD of the profiles with each gap filled by its gene's mean; NaN for a gene of all gaps.

        The SD is no smaller than ``SD_FLOOR``; ``legacy`` adds 1e-3 to it instead, as the originals do.
        """
        with np.errstate(invalid="ignore"):  # 0 / 0
            about_shift = self.total / self.count
            # A filled gap deviates from the mean by nothing. Rounding can leave a constant gene a variance below zero.
            variance = np.maximum(self.square - self.total * about_shift, 0) / self.profiles
        sd = np.sqrt(variance) + 1e-3 if legacy else np.maximum(np.sqrt(variance), SD_FLOOR)
        return Scaler((self.shift + about_shift).astype(np.float32), sd.astype(np.float32))


def fit_scaler(values: np.ndarray, legacy: bool = False) -> Scaler:
    """The scaler of log2 profiles in memory [profiles, genes], at least one; see ``Moments.scaler``."""
    moments = Moments(np.nan_to_num(values[0]))
    moments.add(values)
    return moments.scaler(legacy)


def standardize(values: np.ndarray, scaler: Scaler) -> np.ndarray:
    """(x - mean) / sd: log2 [profiles, genes] to z-scores."""
    return (values - scaler.mean) / scaler.sd


def to_log2(zscores: np.ndarray, scaler: Scaler) -> np.ndarray:
    """z sd + mean, the inverse of ``standardize``. An *error* in z-scores becomes one in log2 units by sd alone."""
    return zscores * scaler.sd + scaler.mean
