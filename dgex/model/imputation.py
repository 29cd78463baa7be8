"""What landmark profiles look like: a Gaussian of few factors, which fills in missing landmarks and knows strangers.

Probabilistic principal components (Tipping and Bishop, J. R. Stat. Soc. B 61:611, 1999): z-scores x [landmarks] are
``W f + noise`` with standard normal factors f and noise of one variance. W is the maximum-likelihood one, from the
eigenvectors of the training profiles' covariance. For a profile that lacks landmarks everything follows from those it
has: the missing ones' conditional mean, and how unlikely the profile is.
"""

from dataclasses import dataclass

import numpy as np

CANDIDATES = (5, 10, 20, 50, 100, 200)  # numbers of factors
HIDDEN = 0.2  # share of the validation landmarks that are hidden to choose among them


@dataclass(frozen=True)
class Factors:
    """The distribution of landmark z-scores.

    Attributes:
      loadings: W, f4 ``[landmarks, factors]``.
      noise: the variance that the factors leave to each landmark.
    """

    loadings: np.ndarray
    noise: float


def fit_factors(train: np.ndarray, validation: np.ndarray) -> Factors:
    """The factors of complete training profiles, as many as fill in hidden values of the validation profiles best.

    Args:
      train, validation: z-scores ``[profiles, landmarks]``.
    """
    profiles, landmarks = train.shape
    sums = train.astype(np.float64).T @ train
    values, vectors = np.linalg.eigh(sums / profiles)
    values, vectors = values[::-1], vectors[:, ::-1]
    hidden = np.random.default_rng(0).random(validation.shape) < HIDDEN
    hidden[hidden.all(axis=1)] = False  # few landmarks may all be hidden, which leaves nothing to fill in from
    shown = np.where(hidden, np.nan, validation)

    def error(factors: Factors) -> float:
        return float(np.abs(complete(shown, factors)[0] - validation)[hidden].sum())

    # More factors than profiles leave no noise, and all landmarks' worth of them is no model.
    most = min(profiles, landmarks) - 1
    numbers = [number for number in CANDIDATES if number < most] or [max(most - 1, 0)]
    return min((_factors(values, vectors, number) for number in numbers), key=error)


def complete(zscores: np.ndarray, factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """Fills each gap with its expected value given the profile's other landmarks, and says how far the profile lies.

    Args:
      zscores: ``[profiles, landmarks]``, NaN where not measured, each profile measured somewhere.

    Returns:
      f4 ``[profiles, landmarks]`` without gaps, and the Mahalanobis distances of the measured values, divided by the
      square root of their number: f8 ``[profiles]``, about 1 for training profiles.
    """
    filled = zscores.astype(np.float32)
    distance = np.empty(len(zscores))
    for rows, lacking in patterns_of(np.isnan(zscores)):
        # float64, so that what a product of another number of profiles adds up in another order is lost in rounding.
        measured = zscores[rows].astype(np.float64)[:, ~lacking]
        own = factors.loadings[~lacking].astype(np.float64)
        projection = measured @ own
        precision = own.T @ own + factors.noise * np.eye(own.shape[1])
        scores = np.linalg.solve(precision, projection.T).T
        filled[np.ix_(rows, lacking)] = scores @ factors.loadings[lacking].T
        # By Woodbury's identity the inverse of W W' + noise needs only the matrix above.
        square = np.einsum("ij,ij->i", measured, measured) - (projection * scores).sum(axis=1)
        distance[rows] = np.sqrt(np.maximum(square, 0) / factors.noise / measured.shape[1])
    return filled, distance


def _factors(values: np.ndarray, vectors: np.ndarray, number: int) -> Factors:
    """Of the covariance's eigenvalues, descending, and their vectors ``[landmarks, landmarks]``."""
    noise = float(np.float32(max(values[number:].mean(), 1e-6)))  # a model directory keeps float32
    scale = np.sqrt(np.maximum(values[:number] - noise, 0))
    return Factors((vectors[:, :number] * scale).astype(np.float32), noise)


def patterns_of(lacking: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Which rows lack the same: their positions, and what they lack, bool ``[columns]``."""
    if not lacking.any():
        return [(np.arange(len(lacking)), lacking[0])] if len(lacking) else []
    packed, pattern = np.unique(np.packbits(lacking, axis=1), axis=0, return_inverse=True)
    unpacked = np.unpackbits(packed, axis=1, count=lacking.shape[1]).astype(bool)
    return [(np.flatnonzero(pattern.ravel() == number), own) for number, own in enumerate(unpacked)]
