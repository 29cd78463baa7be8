"""Fits k-nearest-neighbour baselines in two forms: nearest landmark genes, and nearest training samples.

D-GEX's KNN-GE finds the landmark *genes* nearest to a target gene and averages their values in the sample at hand. What
is elsewhere called k nearest neighbours finds the training *samples* nearest to a sample and averages their values of
the target. D-GEX did not use the second because of duplicated samples. Where duplicates are removed, it shows how good
predictions get by looking up a similar sample; its scores on a split by sample and on one by study show how much of a
network's score comes from such similarity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from dgex.baselines.linear import LinearModel, check_error, choose
from dgex.baselines.sufficient_statistics import Products
from dgex.batches import Samples
from dgex.data.stored import Matrix
from dgex.errors import DgexError
from dgex.metrics import GeneStatistics, empty_statistics, statistics

NEIGHBOURS = (1, 2, 3, 5, 8, 12, 20, 30, 50)

BATCH = 256  # queries at a time; their distances to 100,000 samples take 100 MB
SPARE = 32  # candidates beyond k that are found in float32, so that float64 can choose the k nearest


def check_neighbours(k: int, available: int, noun: str) -> None:
    """Refuses a number of neighbours below 1 or above the number of points.

    Args:
      k: the number of neighbours.
      available: the number of points to choose neighbours from.
      noun: what these are, for the message: "landmarks".

    Raises:
      DgexError: ``k`` is not from 1 to ``available``.
    """
    if not 1 <= k <= available:
        raise DgexError(f"{k} nearest neighbours asked for, but there are {available} {noun}; choose 1 to {available}")


def available_neighbours(neighbours: Sequence[int], available: int, noun: str) -> list[int]:
    """Leaves out numbers of neighbours above the number of points; arguments as ``check_neighbours``.

    Raises:
      DgexError: none is left, or one is below 1.
    """
    check_neighbours(min(neighbours), available, noun)
    return [k for k in neighbours if k <= available]


def nearest_landmarks(train: Products) -> np.ndarray:
    """Sorts the landmarks by their distance from each target, nearest first, int ``[landmarks, targets]``.

    The distance of landmark l and target t is Euclidean, over the training samples: ``d^2 = sum_s (x_sl - y_st)^2``.
    """
    # Without the term sum y^2, which is the same for all landmarks.
    squared = np.diag(train.gram)[:, None] - 2 * np.asarray(train.cross)
    return np.argsort(squared, axis=0, kind="stable")


def mean_of_landmarks(order: np.ndarray, k: int) -> LinearModel:
    """Makes the model that predicts each target by the mean of the first k landmarks of ``nearest_landmarks``."""
    check_neighbours(k, len(order), "landmarks")
    weights = np.zeros(order.shape)
    np.put_along_axis(weights, order[:k], 1 / k, axis=0)
    return LinearModel(weights, np.zeros(order.shape[1]))


def nearest_genes(train: Products, k: int) -> LinearModel:
    """Fits D-GEX's KNN-GE, which predicts a target by the unweighted mean of its k nearest landmark genes.

    The prediction is ``y_t = 1/k sum_{l in N_k(t)} x_l``, where ``N_k(t)`` are the k landmarks with the least Euclidean
    distance from target t over the training samples. On z-scores these are the k with the highest Pearson correlation,
    and values need no rescaling. The model is linear, with weights 1/k or 0 (Chen et al. 2016, Methods, k-nearest
    neighbor regression, "gene-based KNN").

    Raises:
      DgexError: there are fewer than k landmarks.
    """
    return mean_of_landmarks(nearest_landmarks(train), k)


def nearest_genes_path(
    train: Products, validation: Samples, neighbours: Sequence[int] = NEIGHBOURS
) -> tuple[LinearModel, dict[float, float]]:
    """Fits ``nearest_genes`` with the k of the lowest validation MAE; also gives that MAE for every k.

    Values of k above the number of landmarks are left out.

    Raises:
      DgexError: there are fewer landmarks than the smallest k.
    """
    order = nearest_landmarks(train)
    possible = available_neighbours(neighbours, len(order), "landmarks")
    return choose(((k, mean_of_landmarks(order, k)) for k in possible), validation)


def _nearest(train: jax.Array, length: jax.Array, query: jax.Array, k: int) -> jax.Array:
    """Finds the training profiles nearest to each query, indices ``[queries, k]``; ``length`` is ||train||^2."""
    # Without the term ||query||^2, which is the same for all training profiles.
    squared = length[None] - 2 * jnp.matmul(query, train.T, precision="highest")
    return jax.lax.top_k(-squared, k)[1]


def nearest_profiles(train: np.ndarray, query: np.ndarray, k: int) -> np.ndarray:
    """Finds the k training profiles nearest to each query by Euclidean distance, nearest first.

    ``||x||^2 - 2 x q`` in float32 finds k + SPARE candidates, and ``||x - q||^2`` in float64 sorts them, equal ones by
    index. The error of the first is about 1e-6 ||x||^2, whatever the distance: a neighbour is missed only where more
    than SPARE others are that close to the k-th.

    Args:
      train: landmarks ``[samples, landmarks]``.
      query: landmarks ``[queries, landmarks]``.
      k: the number of neighbours.

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
    """Sorts candidates, indices into ``train``, by their float64 distance from a profile ``[landmarks]``."""
    difference = np.subtract(train[candidates], profile, dtype=np.float64)
    return candidates[np.argsort(np.einsum("sl,sl->s", difference, difference), kind="stable")]


@dataclass(frozen=True)
class NearestSamples:
    """Predicts a profile by the unweighted mean of the targets of the k training samples with the nearest landmarks.

    It equals scikit-learn's ``KNeighborsRegressor(k)``. It is not a linear model, and not D-GEX's KNN-GE.

    Attributes:
      train: the training samples, which are the model.
      k: the number of neighbours.
    """

    train: Samples
    k: int

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        """Predicts targets, float32 ``[samples, targets]``, from landmarks ``[samples, landmarks]``."""
        return mean_of_samples(self.train.target, nearest_profiles(self.train.landmark[:], landmark, self.k))

    def evaluate(self, samples: Samples) -> GeneStatistics:
        """Computes the per-gene sums of all samples, as ``dgex.training.evaluate`` does for networks."""
        indices = nearest_profiles(self.train.landmark[:], samples.landmark[:], self.k)
        sums = empty_statistics(samples.target.shape[1])
        for first in range(0, len(samples), BATCH):
            target = samples.target[first : first + BATCH]
            predicted = mean_of_samples(self.train.target, indices[first : first + BATCH])
            sums = sums + statistics(predicted, target, np.ones(len(target), np.float32))
        return sums


def mean_of_samples(target: Matrix, indices: np.ndarray) -> np.ndarray:
    """Averages the targets of the samples that each row of indices names, float32 ``[rows, targets]``.

    A missing target (NaN) counts as 0, the training mean of z-scores.

    Args:
      target: ``[samples, targets]``.
      indices: positions of samples, ``[rows, k]``.
    """
    # One neighbour at a time, because all at once would take k times the memory of the predictions.
    total = np.zeros((len(indices), target.shape[1]), np.float64)
    for column in indices.T:
        values = target[column]
        total += np.where(np.isnan(values), 0, values)
    return (total / indices.shape[1]).astype(np.float32)


def nearest_samples_path(
    train: Samples, validation: Samples, neighbours: Sequence[int] = NEIGHBOURS
) -> tuple[NearestSamples, dict[float, float]]:
    """Fits ``NearestSamples`` with the k of the lowest validation MAE; also gives that MAE for every k.

    Values of k above the number of training samples are left out.

    Raises:
      DgexError: there are fewer training samples than the smallest k, or an MAE is not finite.
    """
    possible = available_neighbours(neighbours, len(train), "training samples")
    indices = nearest_profiles(train.landmark[:], validation.landmark[:], max(possible))
    measured = int(np.count_nonzero(~np.isnan(validation.target[:])))
    errors = {}
    for k in possible:
        absolute = 0.0
        for first in range(0, len(validation), BATCH):
            rows = slice(first, first + BATCH)
            predicted = mean_of_samples(train.target, indices[rows, :k])
            absolute += float(np.nansum(np.abs(predicted - validation.target[rows]), dtype=np.float64))
        errors[float(k)] = absolute / measured
        check_error(k, errors[float(k)])
    return NearestSamples(train, int(min(errors, key=lambda k: errors[k]))), errors
