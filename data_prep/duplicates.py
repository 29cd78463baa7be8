"""Finds near-duplicate profiles exactly, by comparing lower bounds of their distances first.

Two profiles are near-duplicates if their Euclidean distance in log2 units, over all rows of the source that both have,
is below 1.0. Computing the distances of all pairs of D-GEX's 129,158 profiles would take days. But leaving out rows,
and projecting the rest onto orthonormal axes, can only shorten a distance. So a few numbers of each profile rule out
nearly all pairs, and only the distances of the remaining pairs are computed in full:

- Profiles without missing values in the usual rows are compared on the leading principal axes of a sample of profiles,
  where a k-d tree finds the near ones in near-linear time.
- Profiles with missing values ("gappy") cannot be projected, since the axes combine all rows. A pair with a gappy
  profile is compared on 256 rows, or those of them that both profiles have, by matrix products in quadratic time: about
  five minutes on two cores for 129,158 profiles if all are gappy; if few are, twice their share of that.

Distances are computed in float64, as D-GEX does. Those from float32 products, as in the TAAF repository, have errors
above the threshold in thousands of dimensions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from dgex.files.optional import need

# In log2 units over all probe sets: the threshold of D-GEX (Chen et al., Bioinformatics 2016).
DISTANCE = 1.0

Rule = Literal["exact", "legacy-taaf", "legacy-dgex"]

# Reads the profiles at ascending positions: log2 float32 [positions, rows], NaN where not measured.
Read = Callable[[np.ndarray], np.ndarray]

SAMPLE = 1024  # profiles from which the axes and the rows are chosen
AXES = 32  # of real arrays with distances of 19 and more, the projections have distances of 2 and more
ROWS = 256  # of the same arrays, the distances over these rows are 2.5 and more
READ_BLOCK = 256  # profiles
LEFT_BLOCK, RIGHT_BLOCK = 512, 2048  # profiles in a matrix product
PAIRS = 2**25  # compared at a time, with a byte each
TAAF_BLOCK = 4000  # profiles
DGEX_CLUSTERS = 100


@dataclass(frozen=True)
class Outline:
    """Holds a few numbers of each profile, whose distances are, but for rounding, at most those of the profiles."""

    gappy: np.ndarray  # bool [profiles], whether a value of a usual row is missing
    points: np.ndarray  # f8 [profiles, axes], projections, with missing values replaced by the row's mean
    radius: float  # the largest distance between the points of near profiles that are not gappy
    deviation: np.ndarray  # f4 [profiles, ROWS or fewer], from the row's mean; NaN where a value is missing
    bound: float  # the largest squared distance between the deviations of near profiles


def keep_unique(
    read: Read,
    count: int,
    usual: np.ndarray,
    rule: Rule = "exact",
    seed: int = 0,
    advance: Callable[[int], object] = lambda profiles: None,
) -> np.ndarray:
    """Decides which profiles to keep, so that near-duplicates are removed by one of three rules.

    Profiles that have no row in common are not near.

    - "exact": a profile is dropped if an earlier *kept* one is nearer than 1.0. Of profiles at 0, 0.9, 1.8 and 2.7 the
      first and the third stay.

    The papers' rules serve comparisons with their data sets. They are applied to the pairs that are near by exact
    distances, not by the float32 distances of the TAAF repository:

    - "legacy-taaf" (Kunc and Klema, PLoS ONE 2021): pairs are sought in blocks of 4,000 by 4,000 profiles, and their
      positions counted from the blocks' starts; the larger of the two is dropped as if it were a position among all
      profiles.
    - "legacy-dgex" (Chen et al., Bioinformatics 2016): k-means, unseeded there, makes 100 clusters; the later profile
      of a pair inside a cluster is dropped, even where the earlier one is dropped as well. The clusters here are those
      of the projections, with missing values replaced by means, which resemble clusters of full profiles about as much
      as those of two seeds resemble each other. They depend on scikit-learn's version, and on the last bits of the
      matrix products, which differ between linear algebra libraries.

    Args:
      read: see ``Read``; positions are below ``count``.
      count: number of profiles, at least one.
      usual: bool [rows], the rows that at least half of the profiles have. They do not change which pairs are near, but
        they change the time: the fewer they are, the more distances have to be computed in full.
      rule: one of the above.
      seed: of k-means.
      advance: called with the number of profiles just done; each counts once when projected and once when compared.

    Returns:
      bool [count], True for the profiles to keep.

    Raises:
      DgexError: "legacy-dgex" without scikit-learn.
    """
    outline = outline_of(read, count, usual, advance)
    keep = np.ones(count, bool)
    match rule:
        case "exact":
            for _, j in near_pairs(read, outline, keep, advance):
                keep[j] = False
        case "legacy-taaf":
            for i, j in near_pairs(read, outline, np.ones(count, bool), advance):
                if i % TAAF_BLOCK != j % TAAF_BLOCK:
                    keep[max(i % TAAF_BLOCK, j % TAAF_BLOCK)] = False
        case "legacy-dgex":
            cluster = _clusters(outline.points, seed)
            for i, j in near_pairs(read, outline, np.ones(count, bool), advance):
                if cluster[i] == cluster[j]:
                    keep[j] = False
    return keep


def near_pairs(
    read: Read, outline: Outline, alive: np.ndarray, advance: Callable[[int], object]
) -> Iterator[tuple[int, int]]:
    """Finds the pairs i < j of profiles nearer than 1.0, ordered by i, then by j.

    Args:
      read: see ``Read``.
      outline: of the same profiles.
      alive: bool [profiles]. The caller may set a j to False once its pair has been given; a profile that is False is
        in no further pair, so that each of a thousand copies is compared with the first one only.
      advance: see ``keep_unique``.
    """
    gappy, count = outline.gappy, len(alive)
    complete = np.flatnonzero(~gappy)
    tree = cKDTree(outline.points[complete])
    size = max(1, min(LEFT_BLOCK, PAIRS // count))
    for first in range(0, count, size):
        later = first + np.flatnonzero(alive[first:])
        block = later[later < first + size]
        near_of: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for left, right in (block[gappy[block]], later), (block[~gappy[block]], later[gappy[later]]):
            may_be_near = _may_be_near(outline, left, right)
            near_of |= {i: (right, row) for i, row in zip(left.tolist(), may_be_near, strict=True)}
        for i in range(first, min(first + size, count)):
            if alive[i]:
                right, row = near_of[i]
                candidates = right[row]
                if not gappy[i]:
                    around = tree.query_ball_point(outline.points[i], outline.radius)
                    candidates = np.union1d(candidates, complete[around])
                for j in candidates[alive[candidates] & (candidates > i)].tolist():
                    if _distance(*read(np.array([i, j]))) < DISTANCE:
                        yield i, j
            advance(1)


def outline_of(read: Read, count: int, usual: np.ndarray, advance: Callable[[int], object]) -> Outline:
    """Computes the outline in one pass over the profiles, after reading a sample; arguments as in ``keep_unique``."""
    sample = read(np.linspace(0, count - 1, min(count, SAMPLE)).astype(int))
    with np.errstate(invalid="ignore"):  # rows that no profile of the sample has get NaN, which leaves them out
        mean = np.nansum(sample, axis=0, dtype=np.float64) / (~np.isnan(sample)).sum(axis=0)
    mean[~usual] = np.nan
    sample = np.nan_to_num(sample - mean, copy=False)
    _, combinations = np.linalg.eigh(sample @ sample.T)
    # The bound on distances needs orthonormal axes; QR gives them even where the sample spans fewer dimensions.
    axes, _ = np.linalg.qr(sample.T @ combinations[:, -AXES:])
    rows = _varied_rows(np.einsum("ij,ij->j", sample, sample), usual)

    gappy = np.empty(count, bool)
    points = np.empty((count, axes.shape[1]))
    deviation = np.empty((count, len(rows)), np.float32)
    largest = 0.0
    for first in range(0, count, READ_BLOCK):
        block = slice(first, min(first + READ_BLOCK, count))
        values = read(np.arange(block.start, block.stop))
        gappy[block] = (np.isnan(values) & usual).any(axis=1)
        deviations = values - mean
        deviation[block] = deviations[:, rows]
        np.nan_to_num(deviations, copy=False)
        points[block] = deviations @ axes
        largest = max(largest, np.abs(deviations).max())
        advance(len(values))

    # A product of n terms in precision u errs by at most n u times the norms' product (Higham, Accuracy and Stability,
    # 2002, section 3.1), and a norm is at most sqrt(n) times the largest value. The 1e-6 covers the tree's own sums.
    n, used = axes.shape
    eps = np.finfo(np.float64).eps
    radius = DISTANCE * (1 + 1e-6) + 2 * np.sqrt(used) * n**1.5 * eps * largest
    # Rounding to single precision moves each deviation by at most u times its size. The squares are exact in double
    # precision, so that a squared distance is one product of 3 n terms whose sizes sum to at most n (2 largest)^2.
    n = len(rows)
    moved = np.sqrt(n) * np.finfo(np.float32).eps * largest
    bound = (DISTANCE * (1 + 1e-6) + moved) ** 2 + 6 * n**2 * eps * largest**2
    return Outline(gappy, points, radius, deviation, bound)


def _varied_rows(variation: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Chooses rows from the upper quarter by variation, evenly, so that the rows one study lacks are only some of them.

    Args:
      variation: sum of squared deviations [rows].
      usual: bool [rows], the rows to choose from.

    Returns:
      int [ROWS or fewer], positions of rows.
    """
    order = np.flatnonzero(usual)
    order = order[np.argsort(-variation[order], kind="stable")]
    upper = order[: max(ROWS, len(order) // 4)]
    return upper[np.linspace(0, len(upper) - 1, min(ROWS, len(upper))).astype(int)]


def _may_be_near(outline: Outline, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Finds the pairs that are near on the rows of the outline that both have: bool [left, right]."""

    def factors(profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        deviation = outline.deviation[profiles].astype(np.float64)
        measured = ~np.isnan(deviation)
        np.nan_to_num(deviation, copy=False)
        return measured, deviation, deviation**2

    # Over the rows that both have, the sum of (a - b)^2 = a^2 m + m b^2 - 2 a b, where m is 1 in measured rows. In the
    # others m, a and b are 0.
    measured, deviation, square = factors(left)
    left_factor = np.hstack([square, measured, -2 * deviation])
    result = np.empty((len(left), len(right)), bool)
    for first in range(0, len(right), RIGHT_BLOCK):
        block = slice(first, first + RIGHT_BLOCK)
        measured, deviation, square = factors(right[block])
        result[:, block] = left_factor @ np.hstack([measured, square, deviation]).T <= outline.bound
    return result


def _distance(left: np.ndarray, right: np.ndarray) -> float:
    """Computes the Euclidean distance in float64, over the rows that both have; infinite if there is none."""
    difference = left.astype(np.float64) - right
    return np.inf if np.isnan(difference).all() else np.sqrt(np.nansum(difference**2))


def check_rule(rule: Rule) -> None:
    """Checks that a rule can be followed: raises DgexError for "legacy-dgex" if scikit-learn is not installed."""
    if rule == "legacy-dgex":
        need("sklearn", extra="sklearn", what="--duplicates legacy-dgex")


def _clusters(points: np.ndarray, seed: int) -> np.ndarray:
    """Clusters profiles by k-means with D-GEX's settings: int [profiles], the number of each profile's cluster."""
    check_rule("legacy-dgex")
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(min(DGEX_CLUSTERS, len(points)), max_iter=10, batch_size=1000, random_state=seed)
    return means.fit_predict(points)
