"""Profiles that are in the source more than once, found exactly.

Two profiles are one if their Euclidean distance in log2 units, over all rows of the source that both have, is below
1.0. To measure every pair of D-GEX's 129,158 profiles would take days. But leaving out rows, and projecting what
remains onto orthonormal axes, can only shorten a distance. So a look at a few numbers of each profile rules out nearly
all pairs, and those that remain are measured in full:

- Profiles that have all the usual rows are compared on the leading principal axes of a sample, where a k-d tree finds
  the near ones in near-linear work.
- Gaps bar the way to the axes, which mix all rows. A pair with a gappy profile is compared on 256 rows as they are, or
  those of them that both have, by matrix products in quadratic work: about five minutes on two cores for 129,158
  profiles if all are gappy, and for few gappy ones twice their share of that.

All is computed in float64, as D-GEX does. Distances by float32 products, as the TAAF repository takes them, err by more
than the threshold in thousands of dimensions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from dgex.files.optional import need

# In log2 units over all probe sets; the threshold of D-GEX (Chen et al., Bioinformatics 2016).
DISTANCE = 1.0

Rule = Literal["exact", "legacy-taaf", "legacy-dgex"]

# Gives the profiles at ascending positions: log2 float32 [positions, rows], NaN where not measured.
Read = Callable[[np.ndarray], np.ndarray]

SAMPLE = 1024  # profiles that fix the axes and choose the rows
AXES = 32  # in real arrays no two of which are nearer than 19, they leave no two nearer than 2
ROWS = 256  # in the same arrays they leave no two nearer than 2.5
READ_BLOCK = 256  # profiles
LEFT_BLOCK, RIGHT_BLOCK = 512, 2048  # profiles in a matrix product
PAIRS = 2**25  # under consideration at a time, of a byte each
TAAF_BLOCK = 4000  # profiles
DGEX_CLUSTERS = 100


@dataclass(frozen=True)
class Outline:
    """Few numbers of each profile, in which no two are farther apart than in full but for rounding."""

    gappy: np.ndarray  # bool [profiles], whether a usual row is missing
    points: np.ndarray  # f8 [profiles, axes], a gap counting as the row's mean
    radius: float  # within which the points of near complete profiles are
    deviation: np.ndarray  # f4 [profiles, ROWS or fewer], from the row's mean; NaN in a gap
    bound: float  # of the squared distance between the deviations of near profiles


def keep_unique(
    read: Read,
    count: int,
    usual: np.ndarray,
    rule: Rule = "exact",
    seed: int = 0,
    advance: Callable[[int], object] = lambda profiles: None,
) -> np.ndarray:
    """Which profiles to keep.

    Profiles without a common row are not near.

    - "exact": a profile is dropped if an earlier *kept* one is nearer than 1.0: of profiles at 0, 0.9, 1.8 and 2.7 the
      first and the third stay.

    The originals' rules serve comparisons with their data sets. They are applied to the pairs that truly are near, not
    to those that the TAAF repository's float32 distances show:

    - "legacy-taaf" (Kunc and Klema, PLoS ONE 2021): pairs are sought in blocks of 4,000 by 4,000 profiles and their
      positions counted from the blocks' starts; the larger count is dropped as if it were a position in the whole.
    - "legacy-dgex" (Chen et al., Bioinformatics 2016): k-means, unseeded there, makes 100 clusters; the later profile
      of a pair inside a cluster is dropped, even where the earlier is gone as well. The clusters here are those of the
      projections, gaps filled with means, which resemble clusters of full profiles about as much as those of two seeds
      resemble each other. They depend on scikit-learn's version, and on the last bits of the matrix products, which
      differ from one linear algebra library to another.

    Args:
      read: see ``Read``; positions are below ``count``.
      count: number of profiles, at least one.
      usual: bool [rows], the rows that at least half of the profiles have. Which pairs are near does not depend
        on them, but the time does: the fewer they are, the more pairs have to be measured in full to know.
      rule: one of the above.
      seed: of k-means.
      advance: is told how many more profiles are done: each once when projected and once when compared.

    Returns:
      bool [count].

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
    """The pairs i < j nearer than 1.0, ordered by i, then by j.

    Args:
      read: see ``Read``.
      outline: of the same profiles.
      alive: bool [profiles]. The caller may turn a j False once its pair is out; a profile that is False is in no
        further pair, so that of a thousand copies each is compared with the first alone.
      advance: see ``keep_unique``.
    """
    gappy, count = outline.gappy, len(alive)
    complete = np.flatnonzero(~gappy)
    tree = cKDTree(outline.points[complete])
    size = max(1, min(LEFT_BLOCK, PAIRS // count))
    for first in range(0, count, size):
        later = first + np.flatnonzero(alive[first:])
        block = later[later < first + size]
        maybe: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for ones, others in (block[gappy[block]], later), (block[~gappy[block]], later[gappy[later]]):
            may_be_near = _may_be_near(outline, ones, others)
            maybe |= {i: (others, row) for i, row in zip(ones.tolist(), may_be_near, strict=True)}
        for i in range(first, min(first + size, count)):
            if alive[i]:
                others, row = maybe[i]
                candidates = others[row]
                if not gappy[i]:
                    around = tree.query_ball_point(outline.points[i], outline.radius)
                    candidates = np.union1d(candidates, complete[around])
                for j in candidates[alive[candidates] & (candidates > i)].tolist():
                    if _distance(*read(np.array([i, j]))) < DISTANCE:
                        yield i, j
            advance(1)


def outline_of(read: Read, count: int, usual: np.ndarray, advance: Callable[[int], object]) -> Outline:
    """Reads every profile once, and a sample before; arguments as in ``keep_unique``."""
    sample = read(np.linspace(0, count - 1, min(count, SAMPLE)).astype(int))
    with np.errstate(invalid="ignore"):  # a row that none of the sample has is left out, as are the unusual ones
        mean = np.nansum(sample, axis=0, dtype=np.float64) / (~np.isnan(sample)).sum(axis=0)
    mean[~usual] = np.nan
    sample = np.nan_to_num(sample - mean, copy=False)
    _, combinations = np.linalg.eigh(sample @ sample.T)
    # Whatever the axes are, orthonormal they must be; QR makes them so even where the sample spans fewer.
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
    # 2002, section 3.1), and a norm is at most sqrt(n) times the largest value. The 1e-6 cover the tree's own sums.
    n, used = axes.shape
    eps = np.finfo(np.float64).eps
    radius = DISTANCE * (1 + 1e-6) + 2 * np.sqrt(used) * n**1.5 * eps * largest
    # Single precision moves each deviation by u times its size at most. Their squares are exact in double precision, so
    # that a squared distance is one product of 3 n terms whose sizes sum to at most n (2 largest)^2.
    n = len(rows)
    moved = np.sqrt(n) * np.finfo(np.float32).eps * largest
    bound = (DISTANCE * (1 + 1e-6) + moved) ** 2 + 6 * n**2 * eps * largest**2
    return Outline(gappy, points, radius, deviation, bound)


def _varied_rows(variation: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Usual rows of much variation, spread over their upper quarter: what one study lacks is a part of them only."""
    order = np.flatnonzero(usual)
    order = order[np.argsort(-variation[order], kind="stable")]
    upper = order[: max(ROWS, len(order) // 4)]
    return upper[np.linspace(0, len(upper) - 1, min(ROWS, len(upper))).astype(int)]


def _may_be_near(outline: Outline, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which pairs are near on the rows of the outline that both have: bool [ones, others]."""

    def factors(profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        deviation = outline.deviation[profiles].astype(np.float64)
        has = ~np.isnan(deviation)
        np.nan_to_num(deviation, copy=False)
        return has, deviation, deviation**2

    # Over the rows both have, the sum of (a - b)^2 = a^2 1 + 1 b^2 - 2 a b, where a row not had is 0 for 1, too.
    has, deviation, square = factors(ones)
    left = np.hstack([square, has, -2 * deviation])
    result = np.empty((len(ones), len(others)), bool)
    for first in range(0, len(others), RIGHT_BLOCK):
        block = slice(first, first + RIGHT_BLOCK)
        has, deviation, square = factors(others[block])
        result[:, block] = left @ np.hstack([has, square, deviation]).T <= outline.bound
    return result


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Euclidean, in float64, over the rows that both have; infinite if there is none."""
    difference = one.astype(np.float64) - other
    return np.inf if np.isnan(difference).all() else np.sqrt(np.nansum(difference**2))


def check_rule(rule: Rule) -> None:
    """Finds out before the work that a rule cannot be followed: DgexError for "legacy-dgex" without scikit-learn."""
    if rule == "legacy-dgex":
        need("sklearn", extra="sklearn", what="--duplicates legacy-dgex")


def _clusters(points: np.ndarray, seed: int) -> np.ndarray:
    """The number of each profile's cluster, by D-GEX's settings."""
    check_rule("legacy-dgex")
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(min(DGEX_CLUSTERS, len(points)), max_iter=10, batch_size=1000, random_state=seed)
    return means.fit_predict(points)
