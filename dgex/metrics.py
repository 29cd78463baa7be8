"""Scores of predictions for each gene, from sufficient statistics that add up over batches, devices and files.

``statistics`` reduces a batch to per-gene sums, the sums of different samples are added, and ``finalize`` turns them
into scores. Missing targets (NaN) are not scored. Errors are measured on z-scores. The log2 scale needs no second pass:
as a z-score is a difference of log2 values divided by the gene's training SD, a gene's log2 error is its z-score error
times that SD.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Array = jax.Array | np.ndarray

BATCH = 256  # samples that are reduced at once


@struct.dataclass
class GeneStatistics:
    """Holds sufficient statistics: per-gene sums over the samples whose target is measured, each ``f4 [genes]``."""

    count: jax.Array  # sum of the samples' weights
    absolute_error: jax.Array
    squared_error: jax.Array
    target: jax.Array
    target_squared: jax.Array
    prediction: jax.Array
    prediction_squared: jax.Array
    product: jax.Array  # target * prediction

    def __add__(self, other: "GeneStatistics") -> "GeneStatistics":
        return jax.tree.map(jnp.add, self, other)


def statistics(prediction: Array, target: Array, weight: Array) -> GeneStatistics:
    """Computes the sufficient statistics of a batch.

    Args:
      prediction: z-scores ``[samples, genes]``.
      target: z-scores ``[samples, genes]``, NaN for missing values.
      weight: ``[samples]``, 1 for a sample and 0 for padding.
    """
    measured = ~jnp.isnan(target)
    w = jnp.where(measured, weight[:, None], 0)
    target = jnp.where(measured, target, 0)
    error = prediction - target
    return GeneStatistics(
        count=jnp.sum(w, axis=0),
        absolute_error=jnp.sum(w * jnp.abs(error), axis=0),
        squared_error=jnp.sum(w * error**2, axis=0),
        target=jnp.sum(w * target, axis=0),
        target_squared=jnp.sum(w * target**2, axis=0),
        prediction=jnp.sum(w * prediction, axis=0),
        prediction_squared=jnp.sum(w * prediction**2, axis=0),
        product=jnp.sum(w * prediction * target, axis=0),
    )


def empty_statistics(genes: int) -> GeneStatistics:
    """Returns the sufficient statistics of no samples, all zero."""
    zeros = jnp.zeros(genes, jnp.float32)
    return GeneStatistics(*(zeros,) * 8)


def statistics_of(prediction: np.ndarray, target: np.ndarray) -> GeneStatistics:
    """Adds up ``statistics`` over all samples of arrays ``[samples, genes]`` on the host.

    Args:
      prediction: z-scores.
      target: z-scores, NaN for missing values.
    """
    sums = empty_statistics(target.shape[1])
    for first in range(0, len(target), BATCH):
        rows = slice(first, first + BATCH)
        sums = sums + statistics(prediction[rows], target[rows], np.ones(len(target[rows]), np.float32))
    return sums


@dataclass(frozen=True)
class GeneScores:
    """Holds scores of every gene, float64 ``[genes]``, on the z-score scale, over the samples in which it was measured.

    Attributes:
      mae: mean absolute error; NaN for a gene that was measured in no sample.
      rmse: root mean squared error; NaN likewise.
      pearson: Pearson correlation of prediction and target over samples; NaN where either is constant.
      r2: 1 - SSE / SSE of the mean predictor, which predicts z = 0, the training mean, for every sample; NaN where the
        mean predictor makes no error.
      count: the number of samples in which the gene was measured.
    """

    mae: np.ndarray
    rmse: np.ndarray
    pearson: np.ndarray
    r2: np.ndarray
    count: np.ndarray

    @property
    def zscore_mae(self) -> float:
        """Averages ``mae`` over the genes that were measured."""
        return float(self.mae[self.count > 0].mean())


def finalize(sums: GeneStatistics) -> GeneScores:
    """Computes scores from sufficient statistics, in float64 on the host."""
    s = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), sums)
    n = np.where(s.count > 0, s.count, np.nan)
    covariance = s.product - s.target * s.prediction / n
    # By rounding errors of float32 sums a constant gene has a spread slightly above zero; up to this share of the sum
    # of squares it counts as constant.
    tiny = 1e-5
    target_spread = s.target_squared - s.target**2 / n
    prediction_spread = s.prediction_squared - s.prediction**2 / n
    varies = (target_spread > tiny * s.target_squared) & (prediction_spread > tiny * s.prediction_squared)
    with np.errstate(invalid="ignore", divide="ignore"):
        pearson = np.where(varies, covariance / np.sqrt(target_spread * prediction_spread), np.nan)
        r2 = np.where(s.target_squared > 0, 1 - s.squared_error / s.target_squared, np.nan)
    return GeneScores(s.absolute_error / n, np.sqrt(s.squared_error / n), pearson, r2, s.count)


def summarize(scores: GeneScores, sd: np.ndarray, genes: np.ndarray | None = None) -> dict[str, float]:
    """Averages scores over genes.

    Genes that were never measured are left out, and of the means of pearson and r2 also the genes for which these are
    not defined (constant ones). The mean of no genes is NaN.

    Args:
      scores: per-gene scores.
      sd: the genes' training SD in log2 units ``[genes]``.
      genes: which genes to average over, bool ``[genes]``; all by default.

    Returns:
      The means zscore_mae, zscore_rmse, log2_mae, pearson and r2 by name.
    """
    kept = np.ones(len(sd), bool) if genes is None else genes
    per_gene = {
        "zscore_mae": scores.mae,
        "zscore_rmse": scores.rmse,
        "log2_mae": scores.mae * sd,
        "pearson": scores.pearson,
        "r2": scores.r2,
    }
    means = {}
    for name, values in per_gene.items():
        # A gene is not left out because its error is NaN: that would hide a fault.
        chosen = kept & (~np.isnan(values) if name in ("pearson", "r2") else scores.count > 0)
        means[name] = float(values[chosen].mean()) if chosen.any() else float("nan")
    return means
