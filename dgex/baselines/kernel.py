"""Fits arc-cosine kernel ridge regression, which is a ReLU layer of infinite width before a ridge regression.

The kernel is that of ``dgex.arc_cosine``, here in float64. The model is not linear, and it has neither seed, nor
learning rate, nor epochs: it shows what one wide layer adds to a linear regression.

The matrix of all pairs of training profiles takes ``8 n^2`` bytes: 3.2 GB for 20,000 profiles, the most that are taken.
Weights and centred targets take ``8 n`` bytes a target each besides, 1.5 GB for 20,000 profiles and 9,520 targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from dgex.baselines.linear import check_error, mean_absolute_error
from dgex.batches import Samples
from dgex.errors import DgexError
from dgex.networks import COMPONENTS, KERNEL, LINEAR, NetworkConfig, Params

# On z-scores of 943 landmarks k(x, x) = |x|^2 is about 1,000.
PENALTIES = (30.0, 50.0, 100.0, 200.0, 300.0, 500.0, 1000.0, 3000.0)

LARGEST = 20_000  # training profiles; their matrix takes 3.2 GB
BATCH = 256  # profiles at a time; their kernel with 20,000 others takes 40 MB


def arc_cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Computes the arc-cosine kernel of order 1 of all pairs, float64 ``[samples, others]``.

    Args:
      x: ``[samples, landmarks]``; a profile of zeros has the kernel 0 with all others.
      y: ``[others, landmarks]``.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    lengths = np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1))
    # Rounding takes the cosine of equal profiles beyond 1.
    cosine = np.divide(x @ y.T, lengths, out=np.zeros_like(lengths), where=lengths > 0).clip(-1, 1)
    angle = np.arccos(cosine)
    return lengths / np.pi * (np.sin(angle) + (np.pi - angle) * cosine)


@dataclass(frozen=True)
class KernelModel:
    """Holds a kernel ridge regression of all targets, ``k(landmark, train) @ weights + intercept``.

    Attributes:
      train: landmarks of the training samples, float32 ``[train, landmarks]``.
      weights: float64 ``[train, targets]``.
      intercept: float64 ``[targets]``, the training mean.
    """

    train: np.ndarray
    weights: np.ndarray
    intercept: np.ndarray

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        """Predicts targets, float32 ``[samples, targets]``, from landmarks ``[samples, landmarks]``, in blocks."""
        predicted = np.empty((len(landmark), len(self.intercept)), np.float32)
        for first in range(0, len(landmark), BATCH):
            rows = slice(first, first + BATCH)
            predicted[rows] = arc_cosine(landmark[rows], self.train) @ self.weights + self.intercept
        return predicted


def arc_cosine_ridge(train: Samples, penalty: float) -> KernelModel:
    """Fits kernel ridge regression: minimises ``||y - mean y - f||^2 + penalty |f|^2`` over functions f of the kernel.

    The minimum is ``f(x) = k(x, train) (K + penalty)^-1 (y - mean y)``, solved in float64 by Cholesky's decomposition.
    A missing target (NaN) counts as 0, the training mean of z-scores, as in the linear baselines.

    Args:
      train: the training samples.
      penalty: positive, on the scale of scikit-learn's ``KernelRidge(alpha=...)``.

    Raises:
      DgexError: there are more than ``LARGEST`` training samples.
    """
    samples = len(train)
    if samples > LARGEST:
        raise DgexError(
            f"{samples} training profiles are too many for the arc-cosine kernel, whose memory grows with their "
            f"square; give at most {LARGEST}, or use ridge regression"
        )
    landmark, target = train.landmark[:], train.target[:].astype(np.float64)
    target[np.isnan(target)] = 0
    mean = target.mean(axis=0)
    target -= mean
    matrix = np.empty((samples, samples))
    for first in range(0, samples, BATCH):
        matrix[first : first + BATCH] = arc_cosine(landmark[first : first + BATCH], landmark)
    matrix[np.diag_indices(samples)] += penalty
    # LAPACK works by columns: only the transpose, which is the same matrix, is decomposed in its own memory.
    factor = scipy.linalg.cho_factor(matrix.T, lower=True, overwrite_a=True)
    return KernelModel(landmark, scipy.linalg.cho_solve(factor, target, check_finite=False), mean)


def with_kernel_path(config: NetworkConfig, train: Samples, penalty: float) -> Params:
    """Makes the parameters of a network's linear path on the kernel that are kernel ridge regression.

    With ``config.linear_rank`` its predictions of the training samples are replaced by their best approximation of that
    rank, less the mean (reduced-rank regression).

    Args:
      config: a network whose ``kernel`` is the number of training samples.
      train: the training samples.
      penalty: as in ``arc_cosine_ridge``.

    Returns:
      The layers of the path, float32; ``start`` of ``dgex.training.fit``.
    """
    model = arc_cosine_ridge(train, penalty)
    layers = {KERNEL: {"profiles": model.train.astype(np.float32)}}
    weights = model.weights * config.landmarks  # the network's kernel is divided by that number
    kernel = weights
    if config.linear_rank is not None:
        # The right singular vectors of the predictions, from the eigenvectors of the smaller side's products.
        fitted = arc_cosine(model.train, model.train) @ model.weights
        squares, left = np.linalg.eigh(fitted @ fitted.T)
        squares, left = squares[-config.linear_rank :], left[:, -config.linear_rank :]
        known = squares > squares[-1] * len(squares) * np.finfo(np.float64).eps
        right = fitted.T @ np.where(known, left / np.sqrt(np.where(known, squares, 1)), 0)
        layers[COMPONENTS] = {"kernel": (weights @ right).astype(np.float32)}
        kernel = right.T
    return layers | {LINEAR: {"kernel": kernel.astype(np.float32), "bias": model.intercept.astype(np.float32)}}


def arc_cosine_path(
    train: Samples, validation: Samples, penalties: Sequence[float] = PENALTIES
) -> tuple[KernelModel, dict[float, float]]:
    """Fits ``arc_cosine_ridge`` with the penalty of the lowest validation MAE; also gives that MAE for every penalty.

    Raises:
      DgexError: there are more than ``LARGEST`` training samples, or an MAE is not finite.
    """
    errors: dict[float, float] = {}
    for penalty in penalties:
        model = arc_cosine_ridge(train, penalty)
        error = mean_absolute_error(model.predict, validation)
        check_error(penalty, error)
        if all(error < other for other in errors.values()):
            best = model
        errors[penalty] = error
    return best, errors
