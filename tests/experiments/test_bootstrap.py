"""The hierarchical bootstrap against closed forms, scipy and simulated data whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from experiments.bootstrap import interval, resampled_means


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


def test_percentiles_by_welch_s_degrees_of_freedom():
    """A balanced table's two variances are those of two samples' means, whose df scipy's Welch test knows."""
    by_study, by_seed = np.random.default_rng(0).normal(size=8), np.random.default_rng(1).normal(size=3)
    values = by_seed[:, None] + np.repeat(by_study, 4)
    df = stats.ttest_ind(by_study, by_seed, equal_var=False).df
    level = stats.norm.cdf(-np.sqrt((df + 1) / df) * stats.t.ppf(0.975, df))
    ends = interval(values, studies_of([4] * 8), np.linspace(-1, 1, 100_001))
    assert ends == pytest.approx((2 * level - 1, 1 - 2 * level))


def test_no_spread_at_all():
    values = np.full((2, 6), 0.25)
    assert interval(values, np.arange(6), resampled_means(values, np.arange(6), 100)) == (0.25, 0.25)


@pytest.fixture(scope="module")
def simulated():
    """400 comparisons with mean 0 [comparisons, seeds, samples]: 20 studies of 4 to 42 samples, 10 seeds, their
    deviations in the ratio measured on real arrays."""
    rng = np.random.default_rng(0)
    study = studies_of(range(4, 44, 2))
    by_study = 38 * rng.normal(size=(400, 1, 20)) + 17 * rng.normal(size=(400, 10, 20))
    by_sample = 29 * rng.normal(size=(400, 1, len(study)))
    return by_study[..., study] + by_sample + rng.normal(size=(400, 10, 1)), study


def coverage(values, study):
    """Share of intervals that hold the mean, 0."""
    means = resampled_means(values, study, 1_000)
    ends = [interval(one, study, of_one) for one, of_one in zip(values, means, strict=True)]
    return np.mean([low <= 0 <= high for low, high in ends])


def test_interval_holds_the_truth_as_often_as_it_says(simulated):
    values, study = simulated
    assert 0.92 <= coverage(values, study) <= 0.98


def test_samples_are_not_the_unit_of_replication(simulated):
    """What the intervals would be worth if every sample counted as a study of its own."""
    values, study = simulated
    assert coverage(values, np.arange(len(study))) < 0.5
