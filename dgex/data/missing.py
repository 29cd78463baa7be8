"""Missing values: as NaN in memory, and as a few patterns in the prepared file."""

from dataclasses import dataclass

import numpy as np

SAMPLES = 256  # in a block of computation


@dataclass(frozen=True)
class Missing:
    """Records the missing values as few patterns, since the profiles of a study lack the same genes."""

    patterns: np.ndarray  # u1 [patterns, bytes], packed bits of landmarks and then targets, set where missing
    pattern: np.ndarray  # u4 [samples], each sample's pattern

    @classmethod
    def among(cls, values: np.ndarray) -> "Missing":
        """Finds the missing values (NaN) among values [samples, landmarks + targets]."""
        patterns, pattern = np.unique(np.packbits(np.isnan(values), axis=1), axis=0, return_inverse=True)
        return cls(patterns, pattern.ravel())

    def of(self, samples: slice | np.ndarray, genes: int) -> np.ndarray:
        """Unpacks the missing values of some samples.

        Args:
          samples: which samples, a slice or their positions.
          genes: the number of landmarks and targets together.

        Returns:
          bool [samples, genes], landmarks and then targets.
        """
        return np.unpackbits(self.patterns[self.pattern[samples]], axis=1, count=genes).astype(bool)


def mark_missing(missing: Missing, landmark: np.ndarray, target: np.ndarray) -> None:
    """Replaces the values that are missing by NaN, in place."""
    landmarks = landmark.shape[1]
    for first in range(0, len(landmark), SAMPLES):
        samples = slice(first, first + SAMPLES)
        is_missing = missing.of(samples, landmarks + target.shape[1])
        landmark[samples][is_missing[:, :landmarks]] = np.nan
        target[samples][is_missing[:, landmarks:]] = np.nan
