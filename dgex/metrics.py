"""How good a prediction is, gene by gene, from sums that add up over batches, devices and files.

``statistics`` reduces a batch to per-gene sums; sums of different samples are added; ``finalize`` turns them into
scores. Errors are measured on z-scores. The log2 scale needs no second pass: a z-score is a log2 value divided by the
gene's training SD, so a gene's log2 error is its z-score error times that SD.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Array = jax.Array | np.ndarray


@struct.dataclass
class GeneStatistics:
    """Additive per-gene sums over samples, each ``f4 [genes]`` but for the scalar count."""

    count: jax.Array  # []  weighted number of samples
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
    """Sums over the samples of a batch.

    Args:
      prediction, target: z-scores ``[samples, genes]``.
      weight: ``[samples]``, 1 for a sample and 0 for padding.
    """
    w = weight[:, None]
    error = prediction - target
    return GeneStatistics(
        count=jnp.sum(weight),
        absolute_error=jnp.sum(w * jnp.abs(error), axis=0),
        squared_error=jnp.sum(w * error**2, axis=0),
        target=jnp.sum(w * target, axis=0),
        target_squared=jnp.sum(w * target**2, axis=0),
        prediction=jnp.sum(w * prediction, axis=0),
        prediction_squared=jnp.sum(w * prediction**2, axis=0),
        product=jnp.sum(w * prediction * target, axis=0),
    )


def empty_statistics(genes: int) -> GeneStatistics:
    """The sums over no sample at all."""
    zeros = jnp.zeros(genes, jnp.float32)
    return GeneStatistics(jnp.zeros((), jnp.float32), *(zeros,) * 7)


@dataclass(frozen=True)
class GeneScores:
    """Scores of every gene, float64 ``[genes]``, on the z-score scale.

    Attributes:
      mae: mean absolute error.
      rmse: root mean squared error.
      pearson: Pearson correlation of prediction and target over samples; NaN where either is constant.
      r2: 1 - SSE / SSE of the mean predictor. The mean predictor says z = 0, the training mean, for every sample; NaN
        where it makes no error.
    """

    mae: np.ndarray
    rmse: np.ndarray
    pearson: np.ndarray
    r2: np.ndarray


def finalize(sums: GeneStatistics) -> GeneScores:
    """Scores from sums, in float64 on the host."""
    s = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), sums)
    n = s.count
    covariance = s.product - s.target * s.prediction / n
    # float32 sums leave a constant gene a spread of rounding errors, not of zero: below this share it counts as
    # constant.
    tiny = 1e-5
    target_spread = s.target_squared - s.target**2 / n
    prediction_spread = s.prediction_squared - s.prediction**2 / n
    varies = (target_spread > tiny * s.target_squared) & (prediction_spread > tiny * s.prediction_squared)
    with np.errstate(invalid="ignore", divide="ignore"):
        pearson = np.where(varies, covariance / np.sqrt(target_spread * prediction_spread), np.nan)
        r2 = np.where(s.target_squared > 0, 1 - s.squared_error / s.target_squared, np.nan)
    return GeneScores(s.absolute_error / n, np.sqrt(s.squared_error / n), pearson, r2)


def summarize(scores: GeneScores, sd: np.ndarray, genes: np.ndarray | None = None) -> dict[str, float]:
    """Means over genes: zscore_mae, zscore_rmse, log2_mae, pearson, r2.

    Args:
      scores: per-gene scores.
      sd: the genes' training SD in log2 units ``[genes]``.
      genes: which genes to average over, bool ``[genes]``; all by default.

    Genes without a defined correlation or R2 (constant ones) are left out of those two means; a mean of none is NaN.
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
        # Not in errors, where NaN would be a fault to show, not a gene to leave out.
        chosen = kept & ~np.isnan(values) if name in ("pearson", "r2") else kept
        means[name] = float(values[chosen].mean()) if chosen.any() else float("nan")
    return means
