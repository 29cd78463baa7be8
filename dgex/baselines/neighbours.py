"""k nearest neighbours, in the two senses that gene expression has: of genes, and of samples.

D-GEX's KNN-GE takes a target gene's nearest landmark *genes* and averages their values in the sample at hand. What is
elsewhere called k nearest neighbours takes a sample's nearest training *samples* and averages their values of the
target. D-GEX set the second aside because of duplicated samples; where these are removed it says how far one comes by
looking up a similar sample, and, between a split by sample and one by study, how much of a score is just that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from dgex.baselines.linear import LinearModel, check_error, choose
from dgex.baselines.sufficient_statistics import Products
from dgex.batches import Samples
from dgex.errors import DgexError
from dgex.metrics import GeneStatistics, empty_statistics, statistics

NEIGHBOURS = (1, 2, 3, 5, 8, 12, 20, 30, 50)

BATCH = 256  # queries at a time; their distances to 100,000 samples take 100 MB
SPARE = 32  # candidates beyond k that float32 finds, for float64 to choose from


def check_neighbours(k: int, there_are: int, of: str) -> None:
    """Refuses a number of neighbours that cannot be.

    Raises:
      DgexError: there are fewer.
    """
    if not 1 <= k <= there_are:
        raise DgexError(f"{k} nearest neighbours asked for, but there are {there_are} {of}; choose 1 to {there_are}")


def existing(neighbours: Sequence[int], there_are: int, of: str) -> list[int]:
    """Those numbers of neighbours that there are.

    Raises:
      DgexError: none is left, or one is below 1.
    """
    check_neighbours(min(neighbours), there_are, of)
    return [k for k in neighbours if k <= there_are]


def nearest_landmarks(train: Products) -> np.ndarray:
    """The landmarks in order of their distance from each target, nearest first, ``[landmarks, targets]``.

    The distance of landmark l and target t is Euclidean, over the training samples: ``d^2 = sum_s (x_sl - y_st)^2``.
    """
    squared = np.diag(train.gram)[:, None] - 2 * np.asarray(train.cross)  # and sum y^2, the same for all landmarks
    return np.argsort(squared, axis=0, kind="stable")


def mean_of_landmarks(order: np.ndarray, k: int) -> LinearModel:
    """Predicts each target by the mean of the first k landmarks of ``order`` ``[landmarks, targets]``."""
    check_neighbours(k, len(order), "landmarks")
    weights = np.zeros(order.shape)
    np.put_along_axis(weights, order[:k], 1 / k, axis=0)
    return LinearModel(weights, np.zeros(order.shape[1]))


def nearest_genes(train: Products, k: int) -> LinearModel:
    """D-GEX's KNN-GE: a target is predicted by the unweighted mean of its k nearest landmark genes.

    ``y_t = 1/k sum_{l in N_k(t)} x_l``, where ``N_k(t)`` are the k landmarks with the least Euclidean distance from
    target t over the training samples. On z-scores these are the k with the highest Pearson correlation, and values
    need no rescaling. A linear model, whose weights are 1/k or 0 (Chen et al. 2016, Methods, k-nearest neighbor
    regression, "gene-based KNN").

    Raises:
      DgexError: there are fewer than k landmarks.
    """
    return mean_of_landmarks(nearest_landmarks(train), k)


def nearest_genes_path(
    train: Products, validation: Samples, neighbours: Sequence[int] = NEIGHBOURS
) -> tuple[LinearModel, dict[float, float]]:
    """``nearest_genes`` with the k that gives the lowest validation MAE, and that MAE for every k.

    Numbers beyond the landmarks are left out.

    Raises:
      DgexError: there are fewer landmarks than the smallest k.
    """
    order = nearest_landmarks(train)
    possible = existing(neighbours, len(order), "landmarks")
    return choose(((k, mean_of_landmarks(order, k)) for k in possible), validation)


def _nearest(train: jax.Array, length: jax.Array, query: jax.Array, k: int) -> jax.Array:
    """Indices ``[queries, k]`` of the training profiles nearest to each query; ``length`` is ||train||^2."""
    squared = length[None] - 2 * jnp.matmul(query, train.T, precision="highest")  # and ||query||^2, the same for all
    return jax.lax.top_k(-squared, k)[1]


def nearest_profiles(train: np.ndarray, query: np.ndarray, k: int) -> np.ndarray:
    """The k training profiles nearest to each query, by Euclidean distance, nearest first.

    ``||x||^2 - 2 x q`` in float32 finds k + SPARE candidates, and ``||x - q||^2`` in float64 orders them, equals by
    index. The first errs by about 1e-6 ||x||^2, whatever the distance: a neighbour is missed only where more than SPARE
    others are that close to the k-th.

    Args:
      train, query: landmarks ``[samples, landmarks]`` and ``[queries, landmarks]``.
      k: how many.

    Returns:
      Indices into ``train``, ``[queries, k]``.

    Raises:
      DgexError: there are fewer than k training profiles.
    """
    check_neighbours(k, len(train), "training samples")
    length = jnp.asarray(np.einsum("sl,sl->s", train, train))
    profiles = jnp.asarray(train)
    find = jax.jit(_nearest, static_argnums=3)
    count = min(k + SPARE, len(train))
    parts = [find(profiles, length, query[first : first + BATCH], count) for first in range(0, len(query), BATCH)]
    candidates = np.sort(np.concatenate(parts), axis=1)
    return np.stack([_ordered(train, row, profile)[:k] for row, profile in zip(candidates, query, strict=True)])


def _ordered(train: np.ndarray, candidates: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """The candidates, indices into ``train``, by their distance from a profile ``[landmarks]``, in float64."""
    difference = np.subtract(train[candidates], profile, dtype=np.float64)
    return candidates[np.argsort(np.einsum("sl,sl->s", difference, difference), kind="stable")]


@dataclass(frozen=True)
class NearestSamples:
    """Predicts a profile by the unweighted mean of the targets of the k training samples with the nearest landmarks.

    ``scikit-learn``'s ``KNeighborsRegressor(k)``. Not a linear model, and not D-GEX's.

    Attributes:
      train: the training samples; they are the model.
      k: how many.
    """

    train: Samples
    k: int

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        """Targets ``[samples, targets]`` from landmarks ``[samples, landmarks]``, as float32."""
        return mean_of_samples(self.train.target, nearest_profiles(self.train.landmark, landmark, self.k))

    def evaluate(self, samples: Samples) -> GeneStatistics:
        """The per-gene sums of all samples, as ``dgex.training.evaluate`` gives them for networks."""
        indices = nearest_profiles(self.train.landmark, samples.landmark, self.k)
        sums = empty_statistics(samples.target.shape[1])
        for first in range(0, len(samples), BATCH):
            target = samples.target[first : first + BATCH]
            predicted = mean_of_samples(self.train.target, indices[first : first + BATCH])
            sums = sums + statistics(predicted, target, np.ones(len(target), np.float32))
        return sums


def mean_of_samples(target: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The mean of the targets ``[samples, targets]`` that each row of indices names, ``[rows, targets]``, float32.

    A missing target (NaN) counts as 0, the training mean of z-scores.
    """
    # One neighbour at a time: all at once would be k times the predictions.
    total = np.zeros((len(indices), target.shape[1]), np.float64)
    for column in indices.T:
        values = target[column]
        total += np.where(np.isnan(values), 0, values)
    return (total / indices.shape[1]).astype(np.float32)


def nearest_samples_path(
    train: Samples, validation: Samples, neighbours: Sequence[int] = NEIGHBOURS
) -> tuple[NearestSamples, dict[float, float]]:
    """``NearestSamples`` with the k that gives the lowest validation MAE, and that MAE for every k.

    Numbers beyond the training samples are left out.

    Raises:
      DgexError: there are fewer training samples than the smallest k, or an MAE is not finite.
    """
    possible = existing(neighbours, len(train), "training samples")
    indices = nearest_profiles(train.landmark, validation.landmark, max(possible))
    errors = {}
    for k in possible:
        absolute = 0.0
        for first in range(0, len(validation), BATCH):
            rows = slice(first, first + BATCH)
            predicted = mean_of_samples(train.target, indices[rows, :k])
            absolute += float(np.nansum(np.abs(predicted - validation.target[rows]), dtype=np.float64))
        errors[float(k)] = absolute / int(np.count_nonzero(~np.isnan(validation.target)))
        check_error(k, errors[float(k)])
    return NearestSamples(train, int(min(errors, key=lambda k: errors[k]))), errors
