"""Fits quantile normalisation and per-gene standardisation on training profiles, applies them, and inverts the latter.

Values are log2 expression throughout, NaN where missing. Once the reference distribution and the scaler are fitted,
every profile is treated on its own, so a single new sample is treated exactly as the data set was.

The code is dgex's own because the libraries fit and apply in one call: qnorm and limma normalise the profiles they are
given, and scikit-learn's ``QuantileTransformer`` keeps a reference for each gene rather than one for all; neither maps
one new profile onto a stored reference. The tests compare with qnorm.

The sufficient statistics of a fit are sums over profiles, added one by one in their order. A compendium larger than
memory is therefore fitted block by block, and the size of the blocks changes no bit of the result.

The original publications (Chen et al., Bioinformatics 2016; Kunc and Klema, PLoS ONE 2021) treat ties, RNA-seq and SDs
differently, and fit on all samples. ``ties`` of "floor" and "dense" and ``legacy`` scalers repeat their arithmetic, for
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

    A profile with missing genes contributes its quantile function, interpolated to the full number of genes, as in
    limma's ``normalizeQuantiles`` (Bolstad et al., Bioinformatics 2003).
    """

    def __init__(self, genes: int) -> None:
        """Starts an empty sum for profiles of so many ``genes``."""
        self.total = np.zeros(genes)  # f8 [genes], ascending log2
        self.profiles = 0

    def add(self, values: np.ndarray) -> None:
        """Adds log2 profiles [profiles, genes], at least one value measured in each."""
        for profile in values:
            self.total += _resampled(np.sort(profile[~np.isnan(profile)]), len(self.total))
            self.profiles += 1

    def quantiles(self) -> np.ndarray:
        """Computes the reference distribution: ascending log2 values, float32 [genes]."""
        return (self.total / self.profiles).astype(np.float32)


def fit_quantiles(values: np.ndarray) -> np.ndarray:
    """Computes the reference distribution, float32 [genes], of log2 profiles in memory [profiles, genes].

    See ``QuantileSum``, which does the same for profiles that do not fit into memory.
    """
    profiles = QuantileSum(values.shape[1])
    profiles.add(values)
    return profiles.quantiles()


def to_quantiles(values: np.ndarray, quantiles: np.ndarray, ties: Ties = "quantile") -> np.ndarray:
    """Applies quantile normalisation: gives every profile, on its own, the reference distribution.

    The k-th smallest value becomes the k-th quantile. The m measured genes of a profile with missing values take the
    reference interpolated to m values. NaN stays NaN. Tied values all become one value, so that the order of the genes
    has no influence; ``ties`` chooses that value from the quantiles which the tied values span:

    - "quantile", for arrays: the mean of these quantiles, so that the profile's mean is the reference's.
    - "rank", for RNA-seq: the quantile at the average rank, half-way between two for a half rank, as limma's
      ``ties=TRUE`` does. The lowest third of such a profile can be equal zeros; the mean of so many quantiles would
      be drawn up by the largest of them, the quantile in their middle is not.
    - "floor", as the original publications treat arrays: the quantile at the average rank, rounded down.
    - "dense", as the original publications treat RNA-seq: runs of equal values are numbered k = 0 ... n - 1 and spread
      over the m quantiles, at int((k + 1.0) / n * m) - 1. Rounding puts some values a quantile too low even without
      ties.

    Args:
      values: log2 [profiles, genes].
      quantiles: ascending log2 [ranked], of any length; see ``QuantileSum``.
      ties: how tied values are treated, one of the above.

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
    """Computes the quantile of each of the ascending values ``ranked``, of which ``reference`` has as many."""
    starts = np.ones(len(ranked), bool)
    starts[1:] = ranked[1:] != ranked[:-1]
    if starts.all() and ties != "dense":  # "dense" rounds even without ties
        return reference  # the result of the cases below, without their cost for each of a million profiles
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
    """Interpolates the quantile function of sorted values at ``count`` evenly spaced points, both ends included."""
    if len(ascending) == count:
        return ascending
    return np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(ascending)), ascending)


@dataclass(frozen=True)
class Scaler:
    """Holds each gene's mean and standard deviation over the training profiles, for standardisation.

    Attributes:
      mean: log2, float32 [genes].
      sd: log2, float32 [genes], positive.
    """

    mean: np.ndarray
    sd: np.ndarray


class Moments:
    """Adds up the sufficient statistics of a scaler over profiles: each gene's count, sum and sum of squares.

    The sums are in float64 about ``shift``: of values far from zero the squares are so large that rounding would
    hide the differences among the values.
    """

    def __init__(self, shift: np.ndarray) -> None:
        """Starts empty sums.

        Args:
          shift: log2 [genes], anything near the genes' means, such as the mean quantile or one profile.
        """
        self.shift = shift.astype(np.float64)
        self.count = np.zeros(len(shift), int)
        self.total = np.zeros(len(shift))
        self.square = np.zeros(len(shift))
        self.profiles = 0

    def add(self, values: np.ndarray) -> None:
        """Adds log2 profiles [profiles, genes]; missing values (NaN) do not count."""
        for profile in values:
            measured = ~np.isnan(profile)
            deviation = np.where(measured, profile - self.shift, 0)
            self.count += measured
            self.total += deviation
            self.square += deviation**2
            self.profiles += 1

    def scaler(self, legacy: bool = False) -> Scaler:
        """Computes the mean and population SD of the profiles, after each missing value took its gene's mean.

        Args:
          legacy: whether 1e-3 is added to the SD, as in the original publications; otherwise the SD is at least
            ``SD_FLOOR``.

        Returns:
          The scaler; the mean of a gene that no profile has is NaN.
        """
        with np.errstate(invalid="ignore"):  # 0 / 0
            about_shift = self.total / self.count
            # A filled value does not deviate from the mean. Rounding can leave a constant gene a variance below zero.
            variance = np.maximum(self.square - self.total * about_shift, 0) / self.profiles
        sd = np.sqrt(variance) + 1e-3 if legacy else np.maximum(np.sqrt(variance), SD_FLOOR)
        return Scaler((self.shift + about_shift).astype(np.float32), sd.astype(np.float32))


def fit_scaler(values: np.ndarray, legacy: bool = False) -> Scaler:
    """Fits the scaler of log2 profiles in memory [profiles, genes], of which there is at least one.

    See ``Moments.scaler`` for ``legacy`` and the result.
    """
    moments = Moments(np.nan_to_num(values[0]))
    moments.add(values)
    return moments.scaler(legacy)


def standardize(values: np.ndarray, scaler: Scaler) -> np.ndarray:
    """Computes the z-scores (x - mean) / sd of log2 values [profiles, genes]."""
    return (values - scaler.mean) / scaler.sd


def unstandardize(zscores: np.ndarray, scaler: Scaler) -> np.ndarray:
    """Undoes ``standardize``: computes the log2 values z sd + mean of z-scores [profiles, genes].

    An *error* in z-scores becomes one in log2 units when it is multiplied by sd alone.
    """
    return zscores * scaler.sd + scaler.mean
