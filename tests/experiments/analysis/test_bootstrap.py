"""The hierarchical bootstrap against closed forms, scipy and simulated data whose truth is known."""

import re

import numpy as np
import pytest
from scipy import stats

from experiments.analysis.bootstrap import interval, once_a_study, resampled_means


def studies_of(sizes):
    return np.repeat(np.arange(len(sizes)), sizes)


def centred(values, axis):
    return values - values.mean(axis, keepdims=True)


def test_variance_of_samples_within_one_study():
    values = np.random.default_rng(0).normal(size=(1, 30))
    means = resampled_means(values, np.zeros(30, int), 20_000)
    assert means.mean() == pytest.approx(values.mean(), abs=0.01)
    assert means.var() == pytest.approx(values.var() / 30, rel=0.05)


def test_variance_of_samples_within_studies():
    """Davison & Hinkley 1997, section 3.8, drawing twice with replacement: between / G + within / (G n)."""
    values = np.random.default_rng(0).normal(size=(6, 5)) + np.arange(6)[:, None]
    means = resampled_means(values.reshape(1, 30), studies_of([5] * 6), 20_000)
    assert means.var() == pytest.approx(values.mean(1).var() / 6 + values.var(1).mean() / 30, rel=0.05)


def test_variance_of_seeds_crossed_with_studies():
    """Both factors drawn whole: studies / G + seeds / S + interaction / (S G), in variances of the two-way table."""
    values = np.random.default_rng(0).normal(size=(4, 5)) + np.arange(4)[:, None] + 2 * np.arange(5)
    means = resampled_means(values, np.arange(5), 20_000)
    interaction = centred(centred(values, 0), 1).var()
    expected = values.mean(0).var() / 5 + values.mean(1).var() / 4 + interaction / 20
    assert interaction > 0.5
    assert means.var() == pytest.approx(expected, rel=0.05)


def test_a_study_counts_by_its_size():
    """Two studies, constant within: a draw holds the one, the other, or both, and then as in the plain mean."""
    values = np.array([[0.0, 0, 0, 1]])
    means = resampled_means(values, studies_of([3, 1]), 4_000)
    np.testing.assert_array_equal(np.unique(means), [0, 0.25, 1])
    assert [(means == value).mean() for value in (0, 0.25, 1)] == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_every_study_counts_once():
    """The same two studies, with weights: in the plain draws' place the mean of the two drawn studies' means."""
    values, study = np.array([[0.0, 0, 1, 0]]), np.array([0, 0, 1, 0])
    weight = once_a_study(study)
    assert weight == pytest.approx([1 / 3, 1 / 3, 1, 1 / 3])
    means = resampled_means(values, study, 4_000, weight=weight)
    np.testing.assert_allclose(np.unique(means.round(12)), [0, 0.5, 1])
    np.testing.assert_array_equal(means.round(12) == 0.5, resampled_means(values, study, 4_000) == 0.25)


def test_weights_without_differences_change_nothing():
    values, study = np.random.default_rng(0).normal(size=(3, 20)), studies_of([4] * 5)
    plain, once = resampled_means(values, study, 500), resampled_means(values, study, 500, weight=once_a_study(study))
    np.testing.assert_allclose(once, plain, rtol=1e-9)
    assert interval(values, study, once, once_a_study(study)) == pytest.approx(interval(values, study, plain))


def test_variance_where_every_study_counts_once():
    """Sizes do not matter to the variance between studies that are constant within: that of their values / G."""
    of_study = np.random.default_rng(0).normal(size=7)
    study = studies_of([1, 30, 2, 5, 9, 3, 14])
    means = resampled_means(of_study[study][None], study, 20_000, weight=once_a_study(study))
    assert means.mean() == pytest.approx(of_study.mean(), abs=0.02)
    assert means.var() == pytest.approx(of_study.var() / 7, rel=0.05)


def test_samples_stay_in_their_studies():
    """Studies that lie interleaved: a drawn study's mean is never that of other samples."""
    study = np.array([2, 0, 1, 0, 2, 1])
    means = resampled_means(np.array([[100.0, 1, 10, 1, 100, 10]]), study, 2_000)
    thirds = sorted({(a + b + c) / 3 for a in (1, 10, 100) for b in (1, 10, 100) for c in (1, 10, 100)})
    np.testing.assert_allclose(np.unique(np.round(means, 9)), thirds)


def test_quantiles_are_those_of_scipy():
    values = np.random.default_rng(0).exponential(size=40)
    means = resampled_means(values[None], np.arange(40), 20_000)
    peer = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=0).confidence_interval
    # Single samples as studies are drawn once more within themselves, which changes nothing.
    np.testing.assert_allclose(np.quantile(means, [0.025, 0.975]), peer, rtol=0.01)


def test_statistics_share_the_draws():
    values = np.random.default_rng(0).normal(size=(3, 2, 12))
    study = studies_of([5, 4, 3])
    together = resampled_means(values, study, 700)
    assert together.shape == (3, 700)
    for one, means in zip(values, together, strict=True):
        np.testing.assert_allclose(resampled_means(one, study, 700), means, rtol=1e-12)
    assert not np.allclose(resampled_means(values, study, 700, seed=1), together)


def test_percentiles_by_the_number_of_studies():
    """Where seeds agree, df = studies - 1, whatever their number."""
    level = stats.norm.cdf(-np.sqrt(12 / 11) * stats.t.ppf(0.975, 11))
    for seeds in (1, 3):
        ends = interval(np.tile(np.arange(12.0), (seeds, 1)), np.arange(12), np.linspace(-1, 1, 10_001))
        assert ends == pytest.approx((2 * level - 1, 1 - 2 * level))


def test_percentiles_by_the_number_of_seeds():
    """Where studies agree, df = seeds - 1."""
    values = np.tile(np.arange(4.0)[:, None], (1, 12))
    level = stats.norm.cdf(-np.sqrt(4 / 3) * stats.t.ppf(0.975, 3))
    assert interval(values, np.arange(12), np.linspace(-1, 1, 10_001)) == pytest.approx((2 * level - 1, 1 - 2 * level))


def test_percentiles_by_welch_degrees_of_freedom():
    """A balanced table's two variances are those of two samples' means, whose df scipy's Welch test knows."""
    by_study, by_seed = np.random.default_rng(0).normal(size=8), np.random.default_rng(1).normal(size=3)
    values = by_seed[:, None] + np.repeat(by_study, 4)
    df = stats.ttest_ind(by_study, by_seed, equal_var=False).df
    level = stats.norm.cdf(-np.sqrt((df + 1) / df) * stats.t.ppf(0.975, df))
    ends = interval(values, studies_of([4] * 8), np.linspace(-1, 1, 100_001))
    assert ends == pytest.approx((2 * level - 1, 1 - 2 * level))


def test_degrees_of_freedom_where_every_study_counts_once():
    """The same as of the studies' means, one sample a study."""
    study = studies_of([1, 12, 2, 5, 3])
    values = np.random.default_rng(0).normal(size=(3, len(study))) + np.arange(5)[study] + np.arange(3)[:, None]
    of_study = np.stack([values[:, study == g].mean(1) for g in range(5)], 1)
    means = np.linspace(-1, 1, 100_001)
    once = interval(values, study, means, once_a_study(study))
    assert once == pytest.approx(interval(of_study, np.arange(5), means))
    assert once != pytest.approx(interval(values, study, means), rel=1e-4)


def test_no_spread_at_all():
    values = np.full((2, 6), 0.25)
    assert interval(values, np.arange(6), resampled_means(values, np.arange(6), 100)) == (0.25, 0.25)


def simulate(comparisons, studies, seeds=10, sizes=(20,), deviations=(38, 29, 1, 17), skewed=False, shared=0, folds=7):
    """Comparisons with mean 0 [comparisons, seeds, samples], and the samples' studies.

    sizes: of the studies, in turn. deviations: SD between studies, samples, seeds, seeds x studies. shared: SD of what
    the studies of one of the folds, dealt out in turn, have in common.
    """
    rng = np.random.default_rng(0)
    study = studies_of([sizes[g % len(sizes)] for g in range(studies)])
    of_studies, of_samples, of_seeds, of_both = deviations
    shape = comparisons, 1, studies
    effects = rng.exponential(size=shape) - 1 if skewed else rng.normal(size=shape)
    by_study = of_studies * effects + of_both * rng.normal(size=(comparisons, seeds, studies))
    by_study += shared * rng.normal(size=(comparisons, 1, folds))[..., np.arange(studies) % folds]
    by_sample = of_samples * rng.normal(size=(comparisons, 1, len(study)))
    return by_study[..., study] + by_sample + of_seeds * rng.normal(size=(comparisons, seeds, 1)), study


def coverage(values, study, weight=None):
    """Shares of intervals, and of plain percentile intervals, that hold the mean, 0."""
    means = resampled_means(values, study, 1_000, weight=weight)
    ends = [interval(one, study, of_one, weight) for one, of_one in zip(values, means, strict=True)]
    return [np.mean([low <= 0 <= high for low, high in of]) for of in (ends, np.quantile(means, [0.025, 0.975], 1).T)]


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("sizes", [(20,), (16, 18, 20, 22, 24)])
def test_interval_holds_the_truth_as_often_as_it_says(sizes, once):
    """With five studies, where the plain percentiles do not."""
    values, study = simulate(1_000, 5, sizes=sizes)
    ours, plain = coverage(values, study, once_a_study(study) if once else None)
    assert 0.92 <= ours <= 0.98
    assert plain < 0.9


def test_samples_are_not_the_unit_of_replication():
    """What the intervals would be worth if every sample counted as a study of its own."""
    values, study = simulate(400, 20, sizes=range(4, 44, 2))
    assert coverage(values, np.arange(len(study)))[0] < 0.5


SIZES = 6, 105, 12, 9, 40, 20, 15, 60, 8, 30, 24, 10, 18, 36, 7, 50, 14, 28, 90, 11, 45
COLUMNS = {
    "10 seeds": {},
    "3 seeds": {"seeds": 3},
    "sizes": {"sizes": SIZES},
    "skewed": {"sizes": SIZES, "skewed": True},
    "studies alike": {"deviations": (2, 29, 1, 1)},
    "seeds differ": {"deviations": (5, 29, 20, 5)},
    "and are 3": {"deviations": (5, 29, 20, 5), "seeds": 3},
    "and are 2": {"deviations": (5, 29, 20, 5), "seeds": 2},
}
ROWS = [line.split(maxsplit=1) for line in interval.__doc__.splitlines() if re.match(r" *[0-9]+ .*[(]", line)]


@pytest.mark.slow
@pytest.mark.parametrize(("studies", "row"), ROWS)
def test_table_of_how_often_the_interval_holds_the_truth(studies, row):
    printed = [(int(ours), int(plain)) for ours, plain in re.findall(r"([0-9]+) [(]([0-9]+)[)]", row)]
    found = [[100 * share for share in coverage(*simulate(2_000, int(studies), **case))] for case in COLUMNS.values()]
    np.testing.assert_allclose(found, printed, atol=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("folds", [5, 7, 10])
def test_folds_that_share_their_networks(folds):
    """The numbers in the docstring of experiments.analysis.statistics: folds must be drawn, not studies."""
    found = []
    for shared in (0, 10, 20, 30):
        values, study = simulate(1_000, 21, seeds=3, sizes=SIZES, shared=shared, folds=folds)
        found.append(coverage(values, study % folds)[0])
    assert all(0.91 <= share <= 0.98 for share in found)
    assert coverage(values, study)[0] < 0.92


@pytest.mark.slow
@pytest.mark.parametrize("studies", [5, 10, 21])
def test_other_draws_move_the_ends_little(studies):
    """What is said beside DRAWS."""
    comparisons, study = simulate(5, studies)
    means = [resampled_means(comparisons, study, seed=seed) for seed in range(30)]
    ends = np.array([[interval(of, study, m) for of, m in zip(comparisons, one, strict=True)] for one in means])
    assert (ends.std(0) < 0.03 * np.diff(ends).mean(0)).all()
