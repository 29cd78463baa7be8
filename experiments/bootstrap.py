"""The hierarchical bootstrap: how far a mean over test samples and training seeds could have come out otherwise.

Studies are drawn with replacement, within each drawn study its samples, and, crossed with both, the seeds. So studies
and seeds are random effects, genes are fixed, and the training data are as they are: the interval speaks of other
studies and other seeds, not of other genes or another training set.

Davison & Hinkley (Bootstrap Methods and their Application, 1997, section 3.8) compare drawing whole studies with
drawing samples within them as well, as Saravanan et al. (Neurons, Behavior, Data Analysis, and Theory 3(5), 2020) do;
the second counts the variance within studies twice. That is on the safe side, and matters only where studies differ
less than their samples do. Crossing with seeds errs to the same side (Owen, The pigeonhole bootstrap, Annals of
Applied Statistics 1(2), 2007).
"""

import numpy as np
from scipy import stats

DRAWS = 10_000  # another set of draws moves an end by 0.5 % of the interval's width with 21 studies, 1.5 % with 5 (SD)
_BLOCK = 500  # draws at a time: bounds the memory at 500 counts a sample


def resampled_means(values: np.ndarray, study: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Means over seeds and samples of resampled studies, samples and seeds.

    A draw gives seed s the count w_s and sample i the count v_i; its mean is

        sum_s sum_i w_s v_i values_si / (sum_s w_s * sum_i v_i)

    so that a large study counts as much as in the plain mean over samples.

    Args:
      values: ``[..., seeds, samples]``; all that stands in front shares the draws.
      study: each sample's study, as numbers from 0 without gaps ``[samples]``.
      draws: how many.
      seed: of the drawing, not of the training.

    Returns:
      float64 ``[..., draws]``.
    """
    rng = np.random.default_rng(seed)
    sizes = np.bincount(study)
    by_study = np.asarray(values, np.float64)[..., np.argsort(study, kind="stable")]
    *front, seeds, samples = by_study.shape
    rows = by_study.reshape(-1, samples)
    means = np.empty((*front, draws))
    for first in range(0, draws, _BLOCK):
        block = min(_BLOCK, draws - first)
        times = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), block)
        # A study drawn twice gives twice its number of samples, drawn afresh both times.
        sample_count = np.concatenate(
            [rng.multinomial(times[:, g] * n, np.full(n, 1 / n)) for g, n in enumerate(sizes)], axis=1
        ).astype(np.float64)
        seed_count = rng.multinomial(seeds, np.full(seeds, 1 / seeds), block)
        sums = (rows @ sample_count.T).reshape(*front, seeds, block)
        total = np.einsum("...sd,ds->...d", sums, seed_count)
        means[..., first : first + block] = total / (seeds * sample_count.sum(1))
    return means


def interval(values: np.ndarray, study: np.ndarray, means: np.ndarray) -> tuple[float, float]:
    """The 95 % expanded percentile interval of the mean of ``values``.

    With n units bootstrap means scatter too little by sqrt((n - 1) / n), and their quantiles are normal where few
    units ask for Student's t. The percentiles are therefore taken further out (Hesterberg, The American Statistician
    69(4), 2015), at

        level = Phi(-sqrt((df + 1) / df) * t_df(0.975))    and 1 - level

    where df are Satterthwaite's degrees of freedom of the sum of two variances, that of the mean over studies
    (studies - 1) and that over seeds (seeds - 1): the fewer units count only as far as the error comes from them.

    How often it holds the truth, in %, in 2,000 simulated comparisons each (Monte Carlo SE 0.5); in parentheses the
    plain percentile interval. The standard deviations between studies, samples, seeds and seeds x studies are in the
    ratio 38 : 29 : 1 : 17, measured on 704 arrays of 21 studies between tanh and relu networks whose hidden layer is
    random; in the last column 2 : 29 : 1 : 1. "Real sizes" are these studies', 6 to 105 samples, otherwise a study has
    20; "skewed" draws the studies' effects from an exponential distribution.

        studies   10 seeds    3 seeds    real sizes   and skewed   studies alike
        2         80 (66)     84 (70)    80 (67)      78 (66)       99 (96)
        3         92 (80)     93 (80)    91 (79)      86 (74)      100 (97)
        4         93 (82)     94 (84)    94 (85)      89 (79)      100 (98)
        5         95 (86)     95 (88)    93 (86)      91 (83)      100 (98)
        10        96 (92)     95 (91)    95 (89)      92 (87)       99 (98)
        21        96 (94)     96 (94)    95 (92)      92 (90)       99 (99)

    With few studies it falls short, since no draw passes the most extreme of them. BCa and basic intervals, tried in
    like simulations, were no better than the plain percentiles, and worse where studies differ in size. Two or three
    seeds are too few where seeds differ more than studies do: there it held the truth in 74 % and 87 %.

    Args:
      values: ``[seeds, samples]``, of at least two studies.
      study: as in ``resampled_means``.
      means: of ``resampled_means(values, study)``, ``[draws]``.

    Returns:
      Low and high end, in the unit of ``values``.
    """
    seeds, samples = values.shape
    estimate = values.mean()
    # What each study, and each seed, moves the mean by: the linear part of a mean whose denominator varies too.
    shifts = [np.bincount(study, (values - estimate).mean(0)) / samples]
    if seeds > 1:
        shifts.append((values.mean(1) - estimate) / seeds)
    units = np.array([len(shift) for shift in shifts])
    variances = np.array([np.sum(shift**2) for shift in shifts]) * units / (units - 1)
    if not variances.any():
        return float(means.min()), float(means.max())
    df = variances.sum() ** 2 / np.sum(variances**2 / (units - 1))
    level = stats.norm.cdf(-np.sqrt((df + 1) / df) * stats.t.ppf(0.975, df))
    low, high = np.quantile(means, [level, 1 - level])
    return float(low), float(high)
