"""Platforms: how much the level of each gene differs between ways of measuring expression.

An array and RNA-seq report different levels for the same expression, gene by gene. The first platform of a data set is
the reference, whose training profiles the scaler and the quantiles are fitted to. For every other platform each gene
has an *offset*, the mean of the platform's training profiles minus the mean of the scaler; z-scores are taken after the
offset is subtracted, by the same SD for all platforms.
"""

from dataclasses import dataclass

import numpy as np

from dgex.data.normalization import Scaler, standardize
from dgex.errors import DgexError

ARRAY = "array"


@dataclass(frozen=True)
class Platforms:
    """Holds the names of the platforms, the reference first, and each one's offsets.

    Attributes:
      name: unique names.
      landmark: log2 offsets, f4 ``[platforms, landmarks]``; 0 for the reference, and where a platform lacks a gene.
      target: log2 offsets, f4 ``[platforms, targets]``.
    """

    name: tuple[str, ...]
    landmark: np.ndarray
    target: np.ndarray

    @classmethod
    def single(cls, landmarks: int, targets: int, name: str = ARRAY) -> "Platforms":
        """Makes the platforms of data that are all of one platform."""
        return cls((name,), np.zeros((1, landmarks), np.float32), np.zeros((1, targets), np.float32))

    def code(self, name: str) -> int:
        """Finds the position of a platform by its name.

        Raises:
          DgexError: there is no such platform.
        """
        if name not in self.name:
            raise DgexError(f"platform {name!r}: is unknown; choose from {', '.join(self.name)}")
        return self.name.index(name)


def fit_offsets(values: np.ndarray, platform: np.ndarray, scaler: Scaler, platforms: int) -> np.ndarray:
    """Fits the offset of each gene on each platform to training profiles.

    Args:
      values: log2 ``[profiles, genes]``, NaN where missing.
      platform: the platform of each profile, int ``[profiles]``; 0 is the reference.
      scaler: of the reference platform.
      platforms: how many platforms there are.

    Returns:
      f4 ``[platforms, genes]``; 0 for the reference, and where no profile of a platform has the gene.
    """
    offsets = np.zeros((platforms, values.shape[1]), np.float32)
    for code in range(1, platforms):
        chosen = values[platform == code].astype(np.float64) - scaler.mean
        count = np.count_nonzero(~np.isnan(chosen), axis=0)
        offsets[code] = np.nansum(chosen, axis=0) / np.maximum(count, 1)
    return offsets


def standardize_by_platform(
    values: np.ndarray, scaler: Scaler, offsets: np.ndarray, platform: np.ndarray
) -> np.ndarray:
    """Computes z-scores of log2 values after the offsets of each profile's platform are subtracted.

    Args:
      values: log2 ``[profiles, genes]``, NaN where missing.
      scaler: of the reference platform.
      offsets: log2 ``[platforms, genes]``.
      platform: the platform of each profile, int ``[profiles]``.

    Returns:
      f4 ``[profiles, genes]``; those of the reference platform are ``standardize``'s to the bit.
    """
    zscores = standardize(values, scaler)
    for code in np.unique(platform):
        if offsets[code].any():
            rows = platform == code
            zscores[rows] = standardize(values[rows], Scaler(scaler.mean + offsets[code], scaler.sd))
    return zscores
