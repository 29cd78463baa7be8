"""Profiles that are in the source more than once, found exactly.

Two profiles are one if their Euclidean distance in log2 units, over the rows both measured, is below 1.0. To measure
every pair of D-GEX's 129,158 profiles would take days. But leaving out rows, and projecting what remains onto
orthonormal axes, can only shorten a distance: a pair that is near in full is near on the leading principal axes of a
sample of the profiles, where nearly all other pairs are far apart. A k-d tree finds the near ones there in
near-linear work, and each of those is measured in full.

Both stages are in float64. Distances by float32 products, as the originals take them, err by more than the threshold
in thousands of dimensions; to use them here, with a margin for that error, would spend quadratic work on no gain.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from dgex.errors import DgexError

# In log2 units over all probe sets; the threshold of D-GEX (Chen et al., Bioinformatics 2016).
DISTANCE = 1.0

Rule = Literal["exact", "legacy-taaf", "legacy-dgex"]

# Gives the profiles at ascending positions: log2 float32 [positions, rows], NaN where not measured.
Read = Callable[[np.ndarray], np.ndarray]

SAMPLE = 1024  # profiles that fix the axes
AXES = 32  # in real arrays no two of which are nearer than 19, they leave no two nearer than 2
READ_BLOCK = 256  # profiles
TAAF_BLOCK = 4000  # profiles
DGEX_CLUSTERS = 100


def keep_unique(
    read: Read,
    count: int,
    columns: np.ndarray,
    rule: Rule = "exact",
    seed: int = 0,
    advance: Callable[[int], object] = lambda profiles: None,
) -> np.ndarray:
    """Which profiles to keep.

    - "exact": a profile is dropped if an earlier *kept* one is nearer than 1.0: of profiles at 0, 0.9, 1.8 and 2.7 the
      first and the third stay.

    The originals' rules serve comparisons with their data sets. They are applied to the pairs that truly are near, not
    to the originals' float32 distances, and over the rows given, not over all of the file's:

    - "legacy-taaf" (Kunc and Klema, PLoS ONE 2021): pairs are sought in blocks of 4,000 by 4,000 profiles and their
      positions counted from the blocks' starts; the larger count is dropped as if it were a position in the whole.
    - "legacy-dgex" (Chen et al., Bioinformatics 2016): k-means, unseeded there, makes 100 clusters; the later profile
      of a pair inside a cluster is dropped, even where the earlier is gone as well. The clusters here are those of the
      projections, which resemble clusters of full profiles about as much as those of two seeds resemble each other.

    Args:
      read: see ``Read``; positions are below ``count``.
      count: number of profiles, at least one.
      columns: bool [rows], a row may be True if every profile measured it. The more are, the fewer pairs that are not
        near have to be measured to know.
      rule: one of the above.
      seed: of k-means.
      advance: is told how many more profiles are done: each once when projected and once when compared.

    Returns:
      bool [count].

    Raises:
      DgexError: "legacy-dgex" without scikit-learn.
    """
    points, radius = _project(read, count, columns, advance)
    keep = np.ones(count, bool)
    match rule:
        case "exact":
            for _, j in near_pairs(read, points, radius, keep, advance):
                keep[j] = False
        case "legacy-taaf":
            for i, j in near_pairs(read, points, radius, np.ones(count, bool), advance):
                if i % TAAF_BLOCK != j % TAAF_BLOCK:
                    keep[max(i % TAAF_BLOCK, j % TAAF_BLOCK)] = False
        case "legacy-dgex":
            cluster = _clusters(points, seed)
            for i, j in near_pairs(read, points, radius, np.ones(count, bool), advance):
                if cluster[i] == cluster[j]:
                    keep[j] = False
    return keep


def near_pairs(
    read: Read, points: np.ndarray, radius: float, alive: np.ndarray, advance: Callable[[int], object]
) -> Iterator[tuple[int, int]]:
    """The pairs i < j nearer than 1.0, ordered by i, then by j.

    Args:
      read: see ``Read``.
      points: f8 [profiles, axes]; of profiles nearer than 1.0 they are within ``radius``.
      radius: as said.
      alive: bool [profiles]. The caller may turn a j False once its pair is out; a profile that is False is in no
        further pair, so that of a thousand copies each is compared with the first alone.
      advance: see ``keep_unique``.
    """
    tree = cKDTree(points)
    for i in range(len(points)):
        if alive[i]:
            candidates = np.array(tree.query_ball_point(points[i], radius, return_sorted=True))
            for j in candidates[alive[candidates] & (candidates > i)].tolist():
                if _distance(*read(np.array([i, j]))) < DISTANCE:
                    yield i, j
        advance(1)


def _project(read: Read, count: int, columns: np.ndarray, advance: Callable[[int], object]) -> tuple[np.ndarray, float]:
    """Each profile on the leading principal axes, float64 [count, axes], and how far near ones can be apart there."""

    def measured(positions: np.ndarray) -> np.ndarray:
        return np.where(columns, read(positions), 0)

    sample = measured(np.linspace(0, count - 1, min(count, SAMPLE)).astype(int)).astype(np.float64)
    sample -= sample.mean(axis=0)
    _, combinations = np.linalg.eigh(sample @ sample.T)
    # Whatever the axes are, orthonormal they must be; QR makes them so even where the sample spans fewer.
    axes, _ = np.linalg.qr(sample.T @ combinations[:, -AXES:])

    points = np.empty((count, axes.shape[1]))
    largest = 0.0
    for first in range(0, count, READ_BLOCK):
        values = measured(np.arange(first, min(first + READ_BLOCK, count)))
        points[first : first + len(values)] = values @ axes
        largest = max(largest, np.abs(values).max())
        advance(len(values))
    # A product of n terms in precision u errs by at most n u times the norms' product (Higham, Accuracy and Stability,
    # 2002, section 3.1), and a norm is at most sqrt(n) times the largest value. The rest covers the tree's own sums.
    rows, used = axes.shape
    rounding = 2 * np.sqrt(used) * rows**1.5 * np.finfo(np.float64).eps * largest
    return points, DISTANCE * (1 + 1e-6) + rounding


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Euclidean, in float64, over the rows that both measured."""
    return np.sqrt(np.nansum((one.astype(np.float64) - other) ** 2))


def _clusters(points: np.ndarray, seed: int) -> np.ndarray:
    """The number of each profile's cluster, by D-GEX's settings."""
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        raise DgexError(
            "--duplicates legacy-dgex: needs scikit-learn; install it with `pip install scikit-learn`"
        ) from error
    means = MiniBatchKMeans(min(DGEX_CLUSTERS, len(points)), max_iter=10, batch_size=1000, random_state=seed)
    return means.fit_predict(points)
