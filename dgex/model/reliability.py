"""Measures on validation profiles how far the inferred value of each gene can be trusted.

All results are per gene. Prediction intervals are those of split conformal prediction (Lei et al., JASA 113:1094,
2018): their half width is the ceil((n + 1) level)-th smallest of n absolute errors. They contain the promised share of
values for profiles like the validation profiles, provided these chose nothing; since they chose the best epoch, the
share is slightly smaller. Profiles of a new study differ from the validation profiles, so there the share is smaller
still: it is measured, not assumed (``dgex evaluate``, and the model's card). Only measured values count: where a target
is missing (NaN), so is its error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dgex.errors import DgexError

LEVELS = (0.5, 0.8, 0.9, 0.95)
GENES = 256  # in a block of computation, as float64 copies of all may not fit into memory

# A gene counts as well inferred where its inferred values explain a quarter of the variance among the profiles of a
# study (r >= 0.5) and have a smaller error than its mean. The Connectivity Map requires of its best inferred genes
# (BING) that an inferred gene correlates with its own measured values better than 95 % of all other genes do
# (Subramanian et al., Cell 171:1437, 2017). Genes that vary together fail that criterion, even if well inferred.
LEAST_PEARSON = 0.5


@dataclass(frozen=True)
class Reliability:
    """Holds the validation results of every target; z-scores are in units of a gene's training SD.

    Attributes:
      pearson: correlation of inferred and measured values within studies, f4 ``[targets]``: each study's means are
        subtracted, since differences between studies are easy to infer and of no use to someone who has one study. NaN
        where inferred or measured values are constant, or the target was never measured.
      r2: R2 against the mean predictor, f4 ``[targets]``; NaN where the mean predictor makes no error.
      zscore_mae: mean absolute error, f4 ``[targets]``; NaN where the target was never measured.
      half_width: half widths of the prediction intervals of ``LEVELS`` around the inferred value, z-scores f4
        ``[levels, targets]``; infinite where too few validation profiles have the target for the level.
      farthest: a profile whose distance from the training data (``dgex.model.imputation.complete``) is greater than
        this is out of distribution, which outputs call "out of range"; 99 % of the validation profiles are nearer.
    """

    pearson: np.ndarray
    r2: np.ndarray
    zscore_mae: np.ndarray
    half_width: np.ndarray
    farthest: float

    @property
    def well_inferred(self) -> np.ndarray:
        """Tells which targets are well inferred: validation r of 0.5 or more, and R2 above 0; bool ``[targets]``."""
        return is_well_inferred(self.pearson, self.r2)

    def half_width_at(self, level: float) -> np.ndarray:
        """Selects the half widths of one level: z-scores f4 ``[targets]``, NaN for a target too seldom measured.

        Args:
          level: one of ``LEVELS``.

        Raises:
          DgexError: the level is not one of ``LEVELS``, or validation had too few profiles for it.
        """
        if level not in LEVELS:
            raise DgexError(f"interval {level:g}: is not available; choose from {', '.join(map(str, LEVELS))}")
        chosen = self.half_width[LEVELS.index(level)]
        unknown = np.isinf(chosen)
        if unknown.all():
            raise DgexError(
                f"interval {level:g}: the model's validation had too few profiles for it; choose a lower one"
            )
        return np.where(unknown, np.nan, chosen)


def is_well_inferred(pearson: np.ndarray, r2: np.ndarray) -> np.ndarray:
    """Applies the criterion of ``Reliability.well_inferred`` to values ``[targets]``; NaN does not meet it."""
    return (np.nan_to_num(pearson) >= LEAST_PEARSON) & (np.nan_to_num(r2) > 0)


def measure(inferred: np.ndarray, target: np.ndarray, study: Sequence[str], distance: np.ndarray) -> Reliability:
    """Computes the reliability of every target from validation profiles.

    Args:
      inferred: z-scores ``[profiles, targets]``.
      target: measured z-scores ``[profiles, targets]``, NaN where missing.
      study: the study of each profile.
      distance: the distance of each profile from the training data, ``[profiles]``.
    """
    error = inferred - target
    farthest = float(np.float32(np.quantile(distance, 0.99)))  # a model directory keeps float32
    mae = mean_error(error).astype(np.float32)
    return Reliability(*agreement(inferred, target, study), mae, half_widths(error), farthest)


def mean_error(error: np.ndarray) -> np.ndarray:
    """Computes the mean absolute error of each target from errors ``[profiles, targets]``; NaN where all are NaN."""
    with np.errstate(invalid="ignore"):  # 0 / 0
        count = np.count_nonzero(~np.isnan(error), axis=0)
        return np.nansum(np.abs(error), axis=0, dtype=np.float64) / count


def agreement(inferred: np.ndarray, target: np.ndarray, study: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Computes the within-study correlation, and R2 against the mean predictor, of each target.

    Profiles in which a target is NaN do not count for it.

    Args:
      inferred: z-scores ``[profiles, targets]``.
      target: measured z-scores ``[profiles, targets]``, NaN where missing.
      study: the study of each profile.

    Returns:
      Two arrays f4 ``[targets]``; NaN where a gene does not vary.
    """
    _, number = np.unique(np.asarray(study), return_inverse=True)
    pearson, r2 = np.empty((2, target.shape[1]), np.float32)

    def by_study(values: np.ndarray) -> np.ndarray:
        sums = np.zeros((number.max() + 1, values.shape[1]))
        np.add.at(sums, number, values)
        return sums

    def centred(values: np.ndarray, measured: np.ndarray) -> np.ndarray:
        means = by_study(values) / np.maximum(by_study(measured), 1)
        return np.where(measured, values - means[number], 0)

    for first in range(0, target.shape[1], GENES):
        genes = slice(first, first + GENES)
        measured = ~np.isnan(target[:, genes])
        x, y = (np.where(measured, values[:, genes].astype(np.float64), 0) for values in (inferred, target))
        with np.errstate(invalid="ignore", divide="ignore"):  # by 0: a gene that does not vary
            squares = (y**2).sum(axis=0)
            r2[genes] = np.where(squares > 0, 1 - ((x - y) ** 2).sum(axis=0) / squares, np.nan)
            x, y = centred(x, measured), centred(y, measured)
            pearson[genes] = (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    return pearson, r2


def half_widths(error: np.ndarray) -> np.ndarray:
    """Computes split conformal half widths, f4 ``[levels, targets]``, from errors ``[profiles, targets]``.

    For each target only the profiles that have it (whose error is not NaN) count.
    """
    targets = error.shape[1]
    result = np.empty((len(LEVELS), targets), np.float32)
    for first in range(0, targets, GENES):
        genes = slice(first, first + GENES)
        ascending = np.sort(np.abs(error[:, genes]), axis=0)  # NaN come last
        profiles = np.count_nonzero(~np.isnan(ascending), axis=0)
        rank = np.ceil(np.multiply.outer(LEVELS, profiles + 1)).astype(int)
        chosen = np.take_along_axis(ascending, np.minimum(rank, len(error)) - 1, axis=0)
        result[:, genes] = np.where(rank <= profiles, chosen, np.inf)
    return result


def coverage(error: np.ndarray, half_width: np.ndarray, study: Sequence[str]) -> dict[str, dict[str, float]]:
    """Computes the share of the values that lie within their prediction intervals.

    Targets for whose interval validation had too few profiles are left out, and so are levels that no target has.

    Args:
      error: inferred minus measured z-scores ``[profiles, targets]``, NaN where missing.
      half_width: as in ``Reliability``, ``[levels, targets]``.
      study: the study of each profile.

    Returns:
      By level the share of "all" values, and the "lowest" and the "highest" share of a study.
    """
    names, number = np.unique(np.asarray(study), return_inverse=True)
    shares = {}
    for level, width in zip(LEVELS, half_width, strict=True):
        counted = np.isfinite(width) & ~np.isnan(error)
        total = np.bincount(number, counted.sum(axis=1), len(names))
        inside = np.bincount(number, (counted & (np.abs(error) <= width)).sum(axis=1), len(names))
        if total.any():
            by_study = inside[total > 0] / total[total > 0]
            ends = {"lowest": float(by_study.min()), "highest": float(by_study.max())}
            shares[str(level)] = {"all": float(inside.sum() / total.sum()), **ends}
    return shares
