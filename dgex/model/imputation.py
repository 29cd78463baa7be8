"""Imputes missing landmarks and measures how far out of distribution a profile is, by probabilistic PCA.

In probabilistic principal component analysis (Tipping and Bishop, J. R. Stat. Soc. B 61:611, 1999) the z-scores x
``[landmarks]`` of a profile are ``W f + noise``, with standard normal factors f and noise of the same variance in every
landmark. W is the maximum-likelihood estimate, from the eigenvectors of the training profiles' covariance. The measured
landmarks of a profile determine the conditional mean of its missing ones, by which these are imputed, and the
Mahalanobis distance of the profile from the training data.
"""

from dataclasses import dataclass

import numpy as np

CANDIDATES = (5, 10, 20, 50, 100, 200)  # numbers of factors
HIDDEN = 0.2  # share of the validation landmarks that are hidden to choose the number of factors


@dataclass(frozen=True)
class Factors:
    """Holds the parameters of the distribution of landmark z-scores.

    Attributes:
      loadings: W, f4 ``[landmarks, factors]``.
      noise: the variance of the noise, which is that of each landmark given the factors.
    """

    loadings: np.ndarray
    noise: float


def fit_factors(train: np.ndarray, validation: np.ndarray) -> Factors:
    """Fits the factors to training profiles; their number is the one that imputes hidden validation values best.

    Args:
      train: z-scores ``[profiles, landmarks]`` without missing values.
      validation: z-scores ``[profiles, landmarks]`` without missing values.
    """
    profiles, landmarks = train.shape
    values, vectors = _axes(train)
    hidden = np.random.default_rng(0).random(validation.shape) < HIDDEN
    hidden[hidden.all(axis=1)] = False  # few landmarks may all be hidden, which leaves nothing to impute from
    shown = np.where(hidden, np.nan, validation)

    def error(factors: Factors) -> float:
        return float(np.abs(complete(shown, factors)[0] - validation)[hidden].sum())

    # As many factors as profiles or as landmarks would leave no variance for the noise.
    most = min(profiles, landmarks) - 1
    numbers = [number for number in CANDIDATES if number < most] or [max(most - 1, 0)]
    return min((_factors(values, vectors, number) for number in numbers), key=error)


def factors_of(train: np.ndarray, number: int) -> Factors:
    """Fits so many factors to training profiles, z-scores ``[profiles, landmarks]`` without missing values."""
    return _factors(*_axes(train), number)


def _axes(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the descending eigenvalues of the second moments, and their eigenvectors in columns."""
    values, vectors = np.linalg.eigh(train.astype(np.float64).T @ train / len(train))
    return values[::-1], vectors[:, ::-1]


def complete(zscores: np.ndarray, factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """Imputes missing landmarks by their conditional means, and measures each profile's distance.

    Args:
      zscores: ``[profiles, landmarks]``, NaN where missing; each profile has a measured landmark.
      factors: the distribution of the training profiles.

    Returns:
      The z-scores without missing values, f4 ``[profiles, landmarks]``; and the distance of each profile from the
      training data, f8 ``[profiles]``: the Mahalanobis distance of the measured values divided by the square root of
      their number, about 1 for training profiles.
    """
    filled = zscores.astype(np.float32)
    distance = np.empty(len(zscores))
    for rows, missing in patterns_of(np.isnan(zscores)):
        # The order of summation depends on the number of profiles; in float64 that does not change the float32 result.
        measured = zscores[rows].astype(np.float64)[:, ~missing]
        loadings = factors.loadings[~missing].astype(np.float64)
        projection = measured @ loadings
        precision = loadings.T @ loadings + factors.noise * np.eye(loadings.shape[1])
        scores = np.linalg.solve(precision, projection.T).T
        filled[np.ix_(rows, missing)] = scores @ factors.loadings[missing].T
        # By Woodbury's identity the inverse of W W' + noise needs only the matrix above.
        square = np.einsum("ij,ij->i", measured, measured) - (projection * scores).sum(axis=1)
        distance[rows] = np.sqrt(np.maximum(square, 0) / factors.noise / measured.shape[1])
    return filled, distance


def _factors(values: np.ndarray, vectors: np.ndarray, number: int) -> Factors:
    """Computes so many factors from the covariance's descending eigenvalues and their eigenvectors (in columns)."""
    noise = float(np.float32(max(values[number:].mean(), 1e-6)))  # a model directory keeps float32
    scale = np.sqrt(np.maximum(values[:number] - noise, 0))
    return Factors((vectors[:, :number] * scale).astype(np.float32), noise)


def patterns_of(missing: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Groups the rows that lack the same columns.

    Args:
      missing: which values are missing, bool ``[rows, columns]``.

    Returns:
      For each group the positions of its rows, and which columns they lack, bool ``[columns]``.
    """
    if not missing.any():
        return [(np.arange(len(missing)), missing[0])] if len(missing) else []
    packed, pattern = np.unique(np.packbits(missing, axis=1), axis=0, return_inverse=True)
    unpacked = np.unpackbits(packed, axis=1, count=missing.shape[1]).astype(bool)
    return [(np.flatnonzero(pattern.ravel() == number), columns) for number, columns in enumerate(unpacked)]
