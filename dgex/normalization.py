"""Quantile normalisation and per-gene standardisation: fit on training profiles, apply to one profile, invert.

Values are log2 expression throughout, NaN where a gene was not measured. Nothing here looks at more than one profile
once the reference and the scaler are fitted, so a single new sample is treated exactly as the data set was.
"""

from dataclasses import dataclass

import numpy as np

# In log2 units, far below what an array resolves. Without it a gene that is constant in training has z-scores of
# infinity; as a floor rather than as a summand, it leaves every other gene's SD, and its errors in log2, exact.
SD_FLOOR = 1e-3


def fit_quantiles(values: np.ndarray) -> np.ndarray:
    """The mean of the profiles' sorted values, the reference distribution of quantile normalisation.

    A profile with unmeasured genes contributes its quantile function, interpolated to the full number of genes, as in
    limma's ``normalizeQuantiles`` (Bolstad et al., Bioinformatics 2003).

    Args:
      values: log2 [profiles, genes]; at least one value measured in each profile.

    Returns:
      Ascending log2 values, float32 [genes].
    """
    genes = values.shape[1]
    total = np.zeros(genes)
    for profile in values:
        measured = np.sort(profile[~np.isnan(profile)].astype(np.float64))
        total += np.interp(_positions(genes), _positions(measured.size), measured)
    return (total / len(values)).astype(np.float32)


def to_quantiles(values: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Gives every profile, on its own, the reference distribution.

    The k-th smallest value becomes the k-th quantile; tied values all become the mean of the quantiles they span, so
    that neither the order of the genes nor a floor of equal values shifts the profile's mean. The m measured genes of a
    profile with gaps take the reference interpolated to m values. NaN stays NaN.

    Args:
      values: log2 [profiles, genes].
      quantiles: ascending log2 [ranked], of any length; see ``fit_quantiles``.

    Returns:
      float32 [profiles, genes].
    """
    result = np.full(values.shape, np.nan, np.float32)
    for profile, row in zip(values, result, strict=True):
        measured = ~np.isnan(profile)
        reference = np.interp(_positions(measured.sum()), _positions(len(quantiles)), quantiles)
        _, run, length = np.unique(profile[measured], return_inverse=True, return_counts=True)
        row[measured] = (np.add.reduceat(reference, np.cumsum(length) - length) / length)[run]
    return result


def _positions(count: int) -> np.ndarray:
    """Where ``count`` sorted values lie on the unit interval."""
    return np.linspace(0, 1, count)


@dataclass(frozen=True)
class Scaler:
    """Per-gene mean and standard deviation over the training profiles, log2, float32 [genes] each; sd > 0."""

    mean: np.ndarray
    sd: np.ndarray


def fit_scaler(values: np.ndarray) -> Scaler:
    """Mean and population SD of each gene, the SD no smaller than ``SD_FLOOR``.

    Args:
      values: log2 [profiles, genes], without NaN.
    """
    mean = values.mean(axis=0, dtype=np.float64)
    sd = np.maximum(values.std(axis=0, dtype=np.float64), SD_FLOOR)
    return Scaler(mean.astype(np.float32), sd.astype(np.float32))


def standardize(values: np.ndarray, scaler: Scaler) -> np.ndarray:
    """(x - mean) / sd: log2 [profiles, genes] to z-scores."""
    return (values - scaler.mean) / scaler.sd


def to_log2(zscores: np.ndarray, scaler: Scaler) -> np.ndarray:
    """z sd + mean, the inverse of ``standardize``. An *error* in z-scores becomes one in log2 units by sd alone."""
    return zscores * scaler.sd + scaler.mean
