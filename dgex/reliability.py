"""How far the inferred value of each gene can be trusted, from validation profiles that no training saw.

All of it is per gene. Intervals are those of split conformal prediction (Lei et al., JASA 113:1094, 2018): of n
absolute errors the ceil((n + 1) level)-th smallest. They hold the promised share of values for profiles like the
validation ones. Profiles of a new study are less alike than those of one study are, so there the share is
smaller, and it is measured, not assumed (``dgex evaluate``, and the model's card).
"""

import math
from dataclasses import dataclass

import numpy as np

from dgex.errors import DgexError
from dgex.metrics import GeneScores

LEVELS = (0.5, 0.8, 0.9, 0.95)

# A gene counts as well inferred where its inferred values tell a quarter of the variance between validation profiles
# (r >= 0.5) and beat its mean. The Connectivity Map asks of its best inferred genes (BING) that an inferred gene
# resemble itself more than 95 % of all others do (Subramanian et al., Cell 171:1437, 2017), which genes that go
# together fail however well they are inferred.
LEAST_PEARSON = 0.5


@dataclass(frozen=True)
class Reliability:
    """What validation showed of every target; z-scores are in units of a gene's training SD.

    Attributes:
      pearson: correlation of inferred and measured values, f4 ``[targets]``; NaN where either is constant.
      zscore_mae: mean absolute error, f4 ``[targets]``.
      r2: against the mean predictor, f4 ``[targets]``; NaN where that makes no error.
      half_width: how far from the inferred value the ends of the intervals of ``LEVELS`` lie, z-scores f4
        ``[levels, targets]``; infinite where there are too few validation profiles for the level.
      farthest: a profile at a greater distance from the training data than this (``dgex.factors.complete``) is out of
        range: 99 % of the validation profiles are nearer.
    """

    pearson: np.ndarray
    zscore_mae: np.ndarray
    r2: np.ndarray
    half_width: np.ndarray
    farthest: float

    @property
    def well_inferred(self) -> np.ndarray:
        """Which targets are inferred well: validation r of 0.5 or more, and R2 above 0; bool ``[targets]``."""
        return (np.nan_to_num(self.pearson) >= LEAST_PEARSON) & (np.nan_to_num(self.r2) > 0)

    def half_width_at(self, level: float) -> np.ndarray:
        """The half widths of one of ``LEVELS``: z-scores f4 ``[targets]``.

        Raises:
          DgexError: it is none of them, or validation had too few profiles for it.
        """
        if level not in LEVELS:
            raise DgexError(f"interval {level:g}: is not kept; choose from {', '.join(map(str, LEVELS))}")
        chosen = self.half_width[LEVELS.index(level)]
        if np.isinf(chosen).any():
            raise DgexError(
                f"interval {level:g}: the model's validation had too few profiles for it; choose a lower one"
            )
        return chosen


def measure(error: np.ndarray, scores: GeneScores, distance: np.ndarray) -> Reliability:
    """The reliability that validation shows.

    Args:
      error: inferred minus measured z-scores ``[profiles, targets]``.
      scores: of the same predictions.
      distance: of the same profiles from the training data ``[profiles]``.
    """
    numbers = (scores.pearson, scores.mae, scores.r2)
    pearson, mae, r2 = (values.astype(np.float32) for values in numbers)
    farthest = float(np.float32(np.quantile(distance, 0.99)))  # a model directory keeps float32
    return Reliability(pearson, mae, r2, half_widths(error), farthest)


def half_widths(error: np.ndarray) -> np.ndarray:
    """Split conformal half widths of ``LEVELS``: from errors ``[profiles, targets]`` to f4 ``[levels, targets]``."""
    profiles, targets = error.shape
    ranks = [math.ceil((profiles + 1) * level) for level in LEVELS]
    result = np.full((len(LEVELS), targets), np.inf, np.float32)
    for first in range(0, targets, 256):  # a sorted copy of all errors may not fit
        genes = slice(first, first + 256)
        ascending = np.sort(np.abs(error[:, genes]), axis=0)
        for level, rank in enumerate(ranks):
            if rank <= profiles:
                result[level, genes] = ascending[rank - 1]
    return result


def covered(error: np.ndarray, reliability: Reliability) -> np.ndarray:
    """How many of each target's values lie within its interval of each level: int ``[levels, targets]``.

    Args:
      error: inferred minus measured z-scores ``[profiles, targets]``.
    """
    absolute = np.abs(error)
    return np.stack([np.count_nonzero(absolute <= width, axis=0) for width in reliability.half_width])
