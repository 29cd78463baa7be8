"""Fits the linear baselines that any network has to beat: the mean predictor and linear regression in closed form.

All are fitted from sufficient statistics (``dgex.baselines.sufficient_statistics``), float64 on the host, in seconds
where a network takes minutes. Their penalties are chosen on the validation samples by the same evaluation that scores
networks.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from dgex.baselines.sufficient_statistics import BATCH, Products
from dgex.batches import Samples
from dgex.errors import DgexError
from dgex.metrics import finalize
from dgex.networks import COMPONENTS, LINEAR, NetworkConfig, Params
from dgex.training import evaluate

# Half a decade apart. On z-scores the eigenvalues of x^T x range from about 1 to samples * landmarks.
PENALTIES = tuple(float(penalty) for penalty in 10.0 ** np.arange(-1, 7.5, 0.5))


@dataclass(frozen=True)
class LinearModel:
    """Holds a linear regression of all targets, ``landmark @ weights + intercept``.

    Attributes:
      weights: float64 ``[landmarks, targets]``.
      intercept: float64 ``[targets]``.
    """

    weights: np.ndarray
    intercept: np.ndarray

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        """Predicts targets, float32 ``[samples, targets]``, from landmarks ``[samples, landmarks]``."""
        return (landmark @ self.weights + self.intercept).astype(np.float32)

    def as_network(self) -> tuple[NetworkConfig, Params]:
        """Converts the model to a float32 network without hidden layers, to be evaluated as networks are."""
        landmarks, targets = self.weights.shape
        config = NetworkConfig(landmarks, targets, hidden=(), matmul_precision="highest")
        kernel, bias = self.weights.astype(np.float32), self.intercept.astype(np.float32)
        return config, {"outputs": {"kernel": kernel, "bias": bias}}


def check_error(value: float, error: float) -> None:
    """Refuses a validation MAE that cannot be compared with others, as NaN cannot.

    Args:
      value: the candidate, for the message: a penalty, or a number of neighbours.
      error: its validation MAE.

    Raises:
      DgexError: the MAE is not finite.
    """
    if not math.isfinite(error):
        raise DgexError(f"validation MAE is {error} for candidate {value:g}; look for values that are not finite")


def mean_absolute_error(predict: Callable[[np.ndarray], np.ndarray], samples: Samples) -> float:
    """Computes the MAE of a model that is no network, block by block, over all values that were measured.

    Args:
      predict: maps landmarks ``[samples, landmarks]`` to targets ``[samples, targets]``.
      samples: the samples to predict and to compare with.

    Returns:
      The error in the targets' unit.
    """
    absolute, count = 0.0, 0
    for first in range(0, len(samples), BATCH):
        rows = slice(first, first + BATCH)
        target = samples.target[rows]
        absolute += float(np.nansum(np.abs(predict(samples.landmark[rows]) - target), dtype=np.float64))
        count += int(np.count_nonzero(~np.isnan(target)))
    return absolute / count


def choose(
    candidates: Iterable[tuple[float, LinearModel]], validation: Samples
) -> tuple[LinearModel, dict[float, float]]:
    """Chooses the model with the lowest validation MAE, the first of equals.

    Args:
      candidates: one or more pairs of the number that identifies a model (a penalty, a number of neighbours) and the
        model; they may be made one at a time, as only the best is kept.
      validation: the samples that decide.

    Returns:
      The model, and the validation MAE of every candidate.

    Raises:
      DgexError: an MAE is not finite.
    """
    errors: dict[float, float] = {}
    for value, model in candidates:
        config, params = model.as_network()
        error = finalize(evaluate(params, validation, config)).zscore_mae
        check_error(value, error)
        if all(error < other for other in errors.values()):
            best = model
        errors[value] = error
    return best, errors


def mean_predictor(train: Products) -> LinearModel:
    """Makes the model that predicts every target by its mean over the training samples, which for z-scores is 0."""
    return LinearModel(np.zeros(train.cross.shape), train.target_mean)


def with_intercept(train: Products, weights: np.ndarray) -> LinearModel:
    """Makes the model of these weights ``[landmarks, targets]`` whose training residuals have mean 0."""
    return LinearModel(weights, train.target_mean - train.landmark_mean @ weights)


def least_squares(train: Products) -> LinearModel:
    """Fits least squares: minimises ``||y - x w - b||^2`` for every target, with the smallest ``||w||`` of all minima.

    The minimum is not unique where there are fewer samples than landmarks, as in most single studies. An eigenvalue of
    the centred ``x^T x`` within rounding of zero counts as zero; so does a singular value of x below 5e-7 of the
    largest.
    """
    eigenvalues, vectors = np.linalg.eigh(train.centred_gram)
    kept = eigenvalues > eigenvalues[-1] * len(eigenvalues) * np.finfo(np.float64).eps
    vectors = vectors[:, kept]
    return with_intercept(train, vectors @ (vectors.T @ train.centred_cross / eigenvalues[kept, None]))


def ridge(train: Products, penalty: float) -> LinearModel:
    """Fits ridge regression: minimises ``||y - x w - b||^2 + penalty ||w||^2`` for every target; b is not penalised.

    Args:
      train: sufficient statistics of the training samples.
      penalty: positive, on the scale of scikit-learn's ``Ridge(alpha=...)``.
    """
    shifted = train.centred_gram + penalty * np.eye(len(train.gram))
    return with_intercept(train, scipy.linalg.solve(shifted, train.centred_cross, assume_a="pos"))


def with_linear_path(config: NetworkConfig, train: Products, penalty: float) -> Params:
    """Makes the parameters of a network's linear path that are ridge regression, to start training from.

    With ``config.linear_rank`` the landmarks are replaced by so many leading principal components of the training
    samples, to whose scores ridge regression is fitted.

    Args:
      config: a network with a linear path.
      train: sufficient statistics of the training samples.
      penalty: as in ``ridge``.

    Returns:
      The layers of the linear path, float32; ``start`` of ``dgex.training.fit``.
    """
    if config.linear_rank is None:
        model = ridge(train, penalty)
        kernel, layers = model.weights, {}
    else:
        eigenvalues, vectors = np.linalg.eigh(train.centred_gram)
        eigenvalues, vectors = eigenvalues[-config.linear_rank :], vectors[:, -config.linear_rank :]
        kernel = vectors.T @ train.centred_cross / (eigenvalues.clip(min=0)[:, None] + penalty)
        model = with_intercept(train, vectors @ kernel)
        layers = {COMPONENTS: {"kernel": vectors.astype(np.float32)}}
    return layers | {LINEAR: {"kernel": kernel.astype(np.float32), "bias": model.intercept.astype(np.float32)}}


def ridge_path(
    train: Products, validation: Samples, penalties: Sequence[float] = PENALTIES
) -> tuple[LinearModel, dict[float, float]]:
    """Fits ridge regression with the penalty of the lowest validation MAE; also gives that MAE for every penalty."""
    eigenvalues, vectors = np.linalg.eigh(train.centred_gram)
    eigenvalues = eigenvalues.clip(min=0)[:, None]  # rounding leaves the null space of few samples slightly negative
    # Along the eigenvectors a penalty only rescales the weights: one rotation of the data serves all penalties.
    rotated = vectors.T @ train.centred_cross
    landmark = np.empty(validation.landmark.shape, np.float32)
    for first in range(0, len(landmark), BATCH):
        rows = slice(first, first + BATCH)
        landmark[rows] = (validation.landmark[rows] - train.landmark_mean) @ vectors
    rotated_validation = replace(validation, landmark=landmark)
    candidates = ((p, LinearModel(rotated / (eigenvalues + p), train.target_mean)) for p in penalties)
    _, errors = choose(candidates, rotated_validation)
    return ridge(train, min(errors, key=lambda penalty: errors[penalty])), errors
