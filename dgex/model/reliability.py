"""Measures on profiles that the network did not see how far the inferred value of each gene can be trusted.

The *expected error* of a profile, the z-score MAE over its targets, is a power of its self-check error
(``dgex.model.self_check``) times a factor: a line in logarithms, so that it is never negative. The half width of a
prediction interval is a quantile of the gene times the expected error of the profile. The quantiles are those of
weighted split conformal prediction (Lei et al., JASA 113:1094, 2018; Tibshirani et al., NeurIPS 2019) of the absolute
error divided by the expected error, every study with the same total weight, so that a large study does not speak for
all. Profiles of a new study differ from all of these, so coverage there is measured, not assumed (``dgex evaluate``,
and the model's card). Only measured values count: where a target is missing (NaN), so is its error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dgex.errors import DgexError

LEVELS = (0.5, 0.8, 0.9, 0.95)
GENES = 256  # in a block of computation, as float64 copies of all may not fit into memory

# A gene counts as well inferred where its inferred values explain a quarter of the variance among the profiles of a
# study (r >= 0.5) and have a smaller error than its mean. The Connectivity Map requires of its best inferred genes
# (BING) that an inferred gene correlates with its own measured values better than 95 % of all other genes do
# (Subramanian et al., Cell 171:1437, 2017). Genes that vary together fail that criterion, even if well inferred.
LEAST_PEARSON = 0.5
LEAST_PROFILES = 10  # of a table or a study, for a correlation across its profiles
WORSE = 1.5
LEAST_ERROR = 1e-3  # z-score; smaller errors are taken for this one in logarithms
OUTSIDE = 0.99  # share of the out-of-fold profiles, studies weighted equally, that are not out of range
TIES = 1e-9  # relative; far above the rounding of cumulated weights


@dataclass(frozen=True)
class Expectation:
    """Holds what the self-check of a profile says of the errors of its targets; all from out-of-fold profiles.

    Attributes:
      intercept: natural logarithm of the expected z-score MAE at a self-check error of 1.
      slope: increase of that logarithm with the logarithm of the self-check error, 0 or more.
      farthest: a profile whose self-check error is greater is out of range; infinite if unknown.
      reference_error: the median self-check error, studies weighted equally; NaN if unknown.
      least_pearson: the self-check of a table of at least ``LEAST_PROFILES`` profiles fails below this median r,
        if its median error is also above ``WORSE`` times ``reference_error``.
    """

    intercept: float
    slope: float
    farthest: float
    reference_error: float
    least_pearson: float

    def expect(self, self_check_error: np.ndarray) -> np.ndarray:
        """Computes the expected z-score MAE, f4 ``[profiles]``, from self-check errors ``[profiles]``."""
        logarithm = np.log(np.maximum(self_check_error.astype(np.float64), LEAST_ERROR))
        return np.exp(self.intercept + self.slope * logarithm).astype(np.float32)


@dataclass(frozen=True)
class Reliability:
    """Holds the validation results of every target; z-scores are in units of a gene's training SD.

    Attributes:
      pearson: correlation of inferred and measured values within studies, f4 ``[targets]``: each study's means are
        subtracted, since differences between studies are easy to infer and of no use to someone who has one study. NaN
        where inferred or measured values are constant, or the target was never measured.
      r2: R2 against the mean predictor, f4 ``[targets]``; NaN where the mean predictor makes no error.
      zscore_mae: mean absolute error, f4 ``[targets]``; NaN where the target was never measured.
      quantile: half widths of the prediction intervals of ``LEVELS`` in units of the expected error, f4
        ``[levels, targets]``; infinite where too few profiles have the target for the level.
      expectation: the expected error of a profile.
    """

    pearson: np.ndarray
    r2: np.ndarray
    zscore_mae: np.ndarray
    quantile: np.ndarray
    expectation: Expectation

    @property
    def well_inferred(self) -> np.ndarray:
        """Tells which targets are well inferred: validation r of 0.5 or more, and R2 above 0; bool ``[targets]``."""
        return is_well_inferred(self.pearson, self.r2)

    def quantile_at(self, level: float) -> np.ndarray:
        """Selects the quantiles of one level: f4 ``[targets]``, NaN for a target too seldom measured.

        Args:
          level: one of ``LEVELS``.

        Raises:
          DgexError: the level is not one of ``LEVELS``, or validation had too few profiles for it.
        """
        if level not in LEVELS:
            raise DgexError(f"interval {level:g}: is not available; choose from {', '.join(map(str, LEVELS))}")
        chosen = self.quantile[LEVELS.index(level)]
        unknown = np.isinf(chosen)
        if unknown.all():
            raise DgexError(
                f"interval {level:g}: the model's validation had too few profiles for it; choose a lower one"
            )
        return np.where(unknown, np.nan, chosen)


def is_well_inferred(pearson: np.ndarray, r2: np.ndarray) -> np.ndarray:
    """Applies the criterion of ``Reliability.well_inferred`` to values ``[targets]``; NaN does not meet it."""
    return (np.nan_to_num(pearson) >= LEAST_PEARSON) & (np.nan_to_num(r2) > 0)


def measure(
    inferred: np.ndarray,
    target: np.ndarray,
    study: Sequence[str],
    self_check_error: np.ndarray,
    self_check_pearson: Sequence[float] = (),
) -> Reliability:
    """Computes the reliability of every target from profiles that the network did not see.

    Args:
      inferred: z-scores ``[profiles, targets]``.
      target: measured z-scores ``[profiles, targets]``, NaN where missing.
      study: the study of each profile.
      self_check_error: of each profile, ``[profiles]``, as ``dgex.model.self_check.self_check`` gives it.
      self_check_pearson: ``dgex.model.self_check.median_pearson`` of each study; NaN are left out.
    """
    error = inferred - target
    mae = mean_error(error).astype(np.float32)
    expectation = fit_expectation(error, study, self_check_error, self_check_pearson)
    relative = error / expectation.expect(self_check_error)[:, None]
    return Reliability(*agreement(inferred, target, study), mae, quantiles(relative, study), expectation)


def fit_expectation(
    error: np.ndarray, study: Sequence[str], self_check_error: np.ndarray, self_check_pearson: Sequence[float] = ()
) -> Expectation:
    """Fits the expected error by weighted least squares in logarithms, every study with the same total weight.

    Args:
      error: inferred minus measured z-scores ``[profiles, targets]``, NaN where missing.
      study: the study of each profile.
      self_check_error: of each profile, ``[profiles]``.
      self_check_pearson: the median r across the profiles of each study; NaN are left out.
    """
    true = profile_error(error)
    known = ~np.isnan(true)
    check = self_check_error[known].astype(np.float64)
    x, y = (np.log(np.maximum(values, LEAST_ERROR)) for values in (check, true[known]))
    weight = equal_weights(np.asarray(study)[known])
    x_mean, y_mean = weight @ x, weight @ y
    variance = weight @ (x - x_mean) ** 2
    # Errors do not fall where the self-check gets worse; a slope below 0 comes from few profiles.
    slope = max(float(weight @ ((x - x_mean) * (y - y_mean)) / variance), 0.0) if variance > 0 else 0.0
    pearson = [r for r in self_check_pearson if not np.isnan(r)]
    values = (
        y_mean - slope * x_mean,
        slope,
        weighted_quantile(check, weight, OUTSIDE),
        weighted_quantile(check, weight, 0.5),
        np.median(pearson) / 2 if pearson else 0.0,
    )
    return Expectation(*(float(np.float32(value)) for value in values))  # a model directory keeps float32


def profile_error(error: np.ndarray) -> np.ndarray:
    """Computes the mean absolute error of each profile, f8 ``[profiles]``; NaN where it has no measured target."""
    return mean_error(error.T)


def equal_weights(study: np.ndarray) -> np.ndarray:
    """Computes weights of profiles ``[profiles]`` whose sum is 1, and the same for each study."""
    _, number, count = np.unique(study, return_inverse=True, return_counts=True)
    return 1 / (count[number] * len(count))


def weighted_quantile(values: np.ndarray, weight: np.ndarray, share: float) -> float:
    """Selects the smallest of the values up to which at least this share of the weight lies."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order]) >= share * weight.sum() * (1 - TIES)
    return float(values[order][int(reached.argmax())])


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


def quantiles(relative: np.ndarray, study: Sequence[str]) -> np.ndarray:
    """Computes weighted split conformal quantiles, f4 ``[levels, targets]``, every study with the same total weight.

    A new profile is given the mean weight of the n profiles that have a target. The quantile is the smallest value at
    which the cumulated weight reaches the level; with equal weights it is the ceil((n + 1) level)-th smallest.

    Args:
      relative: errors divided by the expected error ``[profiles, targets]``, NaN where missing.
      study: the study of each profile.
    """
    names, number = np.unique(np.asarray(study), return_inverse=True)
    targets = relative.shape[1]
    result = np.empty((len(LEVELS), targets), np.float32)
    for first in range(0, targets, GENES):
        genes = slice(first, first + GENES)
        values = np.abs(relative[:, genes])
        measured = ~np.isnan(values)
        count = np.zeros((len(names), values.shape[1]))
        np.add.at(count, number, measured)
        weight = measured / np.maximum(count, 1)[number]
        order = np.argsort(values, axis=0, kind="stable")  # NaN come last
        cumulated = np.cumsum(np.take_along_axis(weight, order, axis=0), axis=0)
        profiles = measured.sum(axis=0)
        total = cumulated[-1] * (1 + 1 / np.maximum(profiles, 1)) * (1 - TIES)
        for level, row in zip(LEVELS, result, strict=True):
            rank = (cumulated < level * total).sum(axis=0)
            chosen = np.take_along_axis(
                values, np.take_along_axis(order, np.minimum(rank, len(values) - 1)[None], 0), 0
            )
            row[genes] = np.where(rank < profiles, chosen[0], np.inf)
    return result


def coverage(
    error: np.ndarray, quantile: np.ndarray, expected: np.ndarray, study: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Computes the share of the values that lie within their prediction intervals.

    Targets for whose interval there were too few profiles are left out, and so are levels that no target has.

    Args:
      error: inferred minus measured z-scores ``[profiles, targets]``, NaN where missing.
      quantile: as in ``Reliability``, ``[levels, targets]``.
      expected: the expected z-score MAE of each profile, ``[profiles]``.
      study: the study of each profile.

    Returns:
      By level the share of "all" values, the "lowest" and the "highest" share of a study, and "by_study" the share of
      each.
    """
    names, number = np.unique(np.asarray(study), return_inverse=True)
    relative = np.abs(error) / expected[:, None]
    shares = {}
    for level, width in zip(LEVELS, quantile, strict=True):
        counted = np.isfinite(width) & ~np.isnan(error)
        total = np.bincount(number, counted.sum(axis=1), len(names))
        inside = np.bincount(number, (counted & (relative <= width)).sum(axis=1), len(names))
        if total.any():
            by_study = {
                str(name): float(part / all_) for name, part, all_ in zip(names, inside, total, strict=True) if all_ > 0
            }
            ends = {"lowest": min(by_study.values()), "highest": max(by_study.values())}
            shares[str(level)] = {"all": float(inside.sum() / total.sum()), **ends, "by_study": by_study}
    return shares
