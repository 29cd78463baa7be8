"""Keeps where the training profiles lie, and how their self-checks went, so that others can be shown among them.

A profile's *position* is its pair of scores on the first two factors of ``dgex.model.imputation``, which are the first
two principal directions of the training landmarks: the conditional means of the factors given the profile, about
standard normal over the training profiles.
"""

from dataclasses import dataclass

import numpy as np

from dgex.model.imputation import Factors, complete

MOST = 2000  # profiles of a map; more would not be told apart in a picture


@dataclass(frozen=True)
class TrainingMap:
    """Holds positions of training profiles, and self-checks of profiles that the model was tried on.

    Attributes:
      position: scores on the first two factors, f4 ``[mapped, 2]``.
      platform: the platform of each of these profiles, a position among the model's, int ``[mapped]``.
      self_check_error: of out-of-fold or validation profiles, z-score, f4 ``[checked]``.
      self_check_pearson: the correlation of measured and inferred landmarks of each of these, f4 ``[checked]``; NaN
        where either do not vary.
    """

    position: np.ndarray
    platform: np.ndarray
    self_check_error: np.ndarray
    self_check_pearson: np.ndarray


def positions(zscores: np.ndarray, factors: Factors) -> np.ndarray:
    """Computes the positions of profiles, f4 ``[profiles, 2]``.

    The columns of the loadings W are orthogonal, so that each score depends on its own column w alone: it is
    ``x w / (w w + noise)``.

    Args:
      zscores: ``[profiles, landmarks]`` without missing values.
      factors: the distribution of the training profiles; two or more.
    """
    first = factors.loadings[:, :2].astype(np.float64)
    return (zscores.astype(np.float64) @ first / (np.square(first).sum(axis=0) + factors.noise)).astype(np.float32)


def training_map(
    zscores: np.ndarray,
    platform: np.ndarray,
    factors: Factors,
    self_check_error: np.ndarray,
    self_check_pearson: np.ndarray,
) -> TrainingMap | None:
    """Makes the map of at most ``MOST`` evenly spaced profiles of either kind; None without two factors.

    Args:
      zscores: of training profiles ``[profiles, landmarks]``, NaN where missing.
      platform: the platform of each of these, int ``[profiles]``.
      factors: the distribution of the training profiles.
      self_check_error: as in ``TrainingMap``, of any number of profiles.
      self_check_pearson: of the same profiles.
    """
    if factors.loadings.shape[1] < 2:
        return None
    mapped, checked = (evenly(len(values), MOST) for values in (zscores, self_check_error))
    measured = mapped[~np.isnan(zscores[mapped]).all(axis=1)]
    position = positions(complete(zscores[measured], factors)[0], factors)
    pearson = self_check_pearson[checked].astype(np.float32)
    return TrainingMap(position, platform[measured].astype(int), self_check_error[checked], pearson)


def evenly(count: int, most: int) -> np.ndarray:
    """Chooses at most so many evenly spaced positions of ``count``, int, ascending."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(int)
