"""What any network has to beat: the mean predictor, and ridge regression in closed form.

Computed in float64 with numpy; both are fitted once, in seconds, where a network takes minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dgex.networks import NetworkConfig, Params

# Half a decade apart. On z-scores the eigenvalues of x^T x range from about 1 to samples * landmarks.
PENALTIES = tuple(float(penalty) for penalty in 10.0 ** np.arange(-1, 7.5, 0.5))


@dataclass(frozen=True)
class LinearModel:
    """``landmark @ weights + intercept``; float64 ``[landmarks, targets]`` and ``[targets]``."""

    weights: np.ndarray
    intercept: np.ndarray

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        """Targets ``[samples, targets]`` from landmarks ``[samples, landmarks]``, as float32."""
        return (landmark @ self.weights + self.intercept).astype(np.float32)

    def as_network(self) -> tuple[NetworkConfig, Params]:
        """The same model as a network without hidden layers, to be evaluated as networks are; products in float32."""
        landmarks, targets = self.weights.shape
        config = NetworkConfig(landmarks, targets, hidden=(), matmul_precision="highest")
        kernel, bias = self.weights.astype(np.float32), self.intercept.astype(np.float32)
        return config, {"outputs": {"kernel": kernel, "bias": bias}}


def mean_predictor(landmark: np.ndarray, target: np.ndarray) -> LinearModel:
    """Predicts every target by its mean over the training samples, which for z-scores is 0."""
    return LinearModel(np.zeros((landmark.shape[1], target.shape[1])), target.mean(axis=0, dtype=np.float64))


def ridge_path(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    penalties: Sequence[float] = PENALTIES,
) -> tuple[LinearModel, dict[float, float]]:
    """Ridge regression with the penalty that gives the lowest validation MAE.

    Minimises ``||y - x w - b||^2 + penalty ||w||^2`` for every target at once; the intercept is not penalised. One
    eigendecomposition of ``x^T x`` serves all penalties.

    Args:
      train, validation: landmarks ``[samples, landmarks]`` and targets ``[samples, targets]``.
      penalties: the ones to choose from; the scale is that of scikit-learn's ``Ridge(alpha=...)``.

    Returns:
      The model, and the validation MAE of every penalty.
    """
    x, y = (part.astype(np.float64) for part in train)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x -= x_mean
    y -= y_mean
    eigenvalues, vectors = np.linalg.eigh(x.T @ x)
    eigenvalues = eigenvalues.clip(min=0)  # rounding leaves the null space of few samples slightly negative
    rotated = vectors.T @ (x.T @ y)

    landmark = (validation[0] - x_mean) @ vectors
    errors = {
        penalty: float(np.abs(landmark / (eigenvalues + penalty) @ rotated + y_mean - validation[1]).mean())
        for penalty in penalties
    }
    penalty = min(errors, key=lambda penalty: errors[penalty])
    weights = vectors @ (rotated / (eigenvalues + penalty)[:, None])
    return LinearModel(weights, y_mean - x_mean @ weights), errors
