"""How good a prediction is, gene by gene, from sums that add up over batches, devices and files.

``statistics`` reduces a batch to per-gene sums; sums of different samples are added; ``finalize`` turns them into
scores. Only measured targets count: where one is NaN, the prediction is not scored. Errors are measured on z-scores.
The log2 scale needs no second pass: a z-score is a log2 value divided by the
gene's training SD, so a gene's log2 error is its z-score error times that SD.
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
    """Additive per-gene sums over the samples whose target is measured, each ``f4 [genes]``."""

    count: jax.Array  # weighted number of these samples
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
      prediction, target: z-scores ``[samples, genes]``; a target is NaN where it was not measured.
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
    """The sums over no sample at all."""
    zeros = jnp.zeros(genes, jnp.float32)
    return GeneStatistics(*(zeros,) * 8)


def statistics_of(prediction: np.ndarray, target: np.ndarray) -> GeneStatistics:
    """Adds up ``statistics`` over all samples of arrays ``[samples, genes]`` on the host."""
    sums = empty_statistics(target.shape[1])
    for first in range(0, len(target), BATCH):
        rows = slice(first, first + BATCH)
        sums = sums + statistics(prediction[rows], target[rows], np.ones(len(target[rows]), np.float32))
    return sums


@dataclass(frozen=True)
class GeneScores:
    """Scores of every gene, float64 ``[genes]``, on the z-score scale, over the samples in which it was measured.

    Attributes:
      mae: mean absolute error; NaN for a gene that no sample has.
      rmse: root mean squared error; likewise.
      pearson: Pearson correlation of prediction and target over samples; NaN where either is constant.
      r2: 1 - SSE / SSE of the mean predictor. The mean predictor says z = 0, the training mean, for every sample; NaN
        where it makes no error.
    """

    mae: np.ndarray
    rmse: np.ndarray
    pearson: np.ndarray
    r2: np.ndarray
    count: np.ndarray  # of these samples

    @property
    def zscore_mae(self) -> float:
        """The mean of ``mae`` over the genes that were measured."""
        return float(self.mae[self.count > 0].mean())


def finalize(sums: GeneStatistics) -> GeneScores:
    """Scores from sums, in float64 on the host."""
    s = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), sums)
    n = np.where(s.count > 0, s.count, np.nan)
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
    return GeneScores(s.absolute_error / n, np.sqrt(s.squared_error / n), pearson, r2, s.count)


def summarize(scores: GeneScores, sd: np.ndarray, genes: np.ndarray | None = None) -> dict[str, float]:
    """Means over genes: zscore_mae, zscore_rmse, log2_mae, pearson, r2.

    Args:
      scores: per-gene scores.
      sd: the genes' training SD in log2 units ``[genes]``.
      genes: which genes to average over, bool ``[genes]``; all by default.

    Genes that were never measured are left out, and of the last two means those for which they are not defined
    (constant ones); a mean of none is NaN.
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
        # Not by NaN in errors, where it would be a fault to show, not a gene to leave out.
        chosen = kept & (~np.isnan(values) if name in ("pearson", "r2") else scores.count > 0)
        means[name] = float(values[chosen].mean()) if chosen.any() else float("nan")
    return means
