"""Quantile normalisation against qnorm, ranks from scipy and hand-computed cases; the scaler against scikit-learn."""

import numpy as np
import pytest
import qnorm
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata
from sklearn.preprocessing import StandardScaler

from dgex.data.normalization import (
    SD_FLOOR,
    Moments,
    QuantileSum,
    fit_quantiles,
    fit_scaler,
    standardize,
    to_quantiles,
    unstandardize,
)

NAN = np.nan
TIES = ["quantile", "rank", "floor", "dense"]
REFERENCE = np.array([1, 2, 4, 8, 16], np.float32)

# Without ties, and with many.
distinct = arrays(np.float32, (4, 30), elements=st.floats(-20, 20, width=32), unique=True)
tied = arrays(np.float32, (4, 30), elements=st.sampled_from(np.arange(12, dtype=np.float32).tolist()))


@pytest.fixture
def profiles() -> np.ndarray:
    return np.random.default_rng(3).normal(8, 2, (30, 50)).astype(np.float32)


@pytest.fixture
def gaps(profiles) -> np.ndarray:
    return np.where(np.random.default_rng(4).random(profiles.shape) < 0.1, NAN, profiles).astype(np.float32)


def reference_of(genes: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).normal(8, 2, genes)).astype(np.float32)


def test_reference_is_the_mean_of_sorted_profiles(profiles):
    expected = np.sort(profiles.astype(np.float64), axis=1).mean(axis=0)
    np.testing.assert_allclose(fit_quantiles(profiles), expected, rtol=1e-6)


def test_a_profile_with_gaps_is_interpolated_into_the_reference():
    values = np.array([[0, 1, 2, 3], [30, NAN, 10, 20]], np.float32)
    second = [10, 10 + 20 / 3, 10 + 40 / 3, 30]
    np.testing.assert_allclose(fit_quantiles(values), (np.arange(4) + second) / 2, rtol=1e-6)


@pytest.mark.parametrize("block", [1, 7, 30])
def test_blocks_change_no_bit(gaps, block):
    quantiles, moments = QuantileSum(50), Moments(np.full(50, 8.0))
    whole = QuantileSum(50), Moments(np.full(50, 8.0))
    whole[0].add(gaps)
    whole[1].add(gaps)
    for first in range(0, len(gaps), block):
        quantiles.add(gaps[first : first + block])
        moments.add(gaps[first : first + block])
    np.testing.assert_array_equal(quantiles.total, whole[0].total)
    np.testing.assert_array_equal(moments.total, whole[1].total)
    np.testing.assert_array_equal(moments.square, whole[1].square)
    reference = quantiles.quantiles()
    for ties in TIES:
        together = to_quantiles(gaps, reference, ties)
        parts = [to_quantiles(gaps[first : first + block], reference, ties) for first in range(0, len(gaps), block)]
        np.testing.assert_array_equal(together, np.concatenate(parts))


@pytest.mark.parametrize("ties", TIES[:3])
@given(values=distinct)
def test_without_ties_a_profile_takes_the_reference_exactly(ties, values):
    reference = reference_of(30)
    result = to_quantiles(values, reference, ties)
    np.testing.assert_array_equal(np.sort(result, axis=1), np.broadcast_to(reference, result.shape))
    np.testing.assert_array_equal(rankdata(result, axis=1), rankdata(values, axis=1))


@given(st.one_of(distinct, tied))
def test_agrees_with_qnorm_with_and_without_ties(values):
    expected = qnorm.quantile_normalize(values.T.astype(np.float64)).T
    np.testing.assert_allclose(to_quantiles(values, fit_quantiles(values)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ("quantile", [6, 1.5, 6, 1.5, 16]),  # (4 + 8) / 2, (1 + 2) / 2
        ("rank", [6, 1.5, 6, 1.5, 16]),  # ranks 2.5 and 0.5 from zero: the same for pairs
        ("floor", [4, 1, 4, 1, 16]),  # ranks 2 and 0
        ("dense", [4, 1, 4, 1, 16]),  # int(1 / 3 * 5) - 1 = 0, int(2 / 3 * 5) - 1 = 2, int(3 / 3 * 5) - 1 = 4
    ],
)
def test_pairs_of_ties(ties, expected):
    assert to_quantiles(np.array([[5.0, 2, 5, 2, 9]]), REFERENCE, ties).tolist() == [expected]


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ("quantile", [3.75, 3.75, 3.75, 3.75, 16]),  # (1 + 2 + 4 + 8) / 4
        ("rank", [3, 3, 3, 3, 16]),  # rank 1.5 from zero, half-way from 2 to 4
        ("floor", [2, 2, 2, 2, 16]),  # rank 1
        ("dense", [2, 2, 2, 2, 16]),  # int(1 / 2 * 5) - 1 = 1
    ],
)
def test_four_zeros_as_in_rnaseq(ties, expected):
    assert to_quantiles(np.array([[0.0, 0, 0, 0, 3]]), REFERENCE, ties).tolist() == [expected]


@given(tied, st.randoms())
def test_ties_agree_with_scipy_ranks_and_the_order_of_genes_is_nothing(values, random):
    reference = reference_of(30)
    total = np.concatenate([[0], np.cumsum(reference.astype(np.float64))])
    first, last = rankdata(values, "min", axis=1) - 1, rankdata(values, "max", axis=1)
    average = rankdata(values, axis=1) - 1
    expected = {
        "quantile": (total[last] - total[first]) / (last - first),
        "rank": np.interp(average, np.arange(30), reference),
        "floor": reference[np.floor(average).astype(int)],
    }
    genes, samples = random.sample(range(30), 30), random.sample(range(4), 4)
    for ties in TIES:
        result = to_quantiles(values, reference, ties)
        if ties in expected:
            np.testing.assert_allclose(result, expected[ties], atol=1e-5)
        permuted = to_quantiles(values[samples][:, genes], reference, ties)
        np.testing.assert_array_equal(permuted, result[samples][:, genes])


@given(tied)
def test_dense_ranks_are_spread_over_the_reference_as_the_originals_do(values):
    reference = reference_of(30)
    for profile, result in zip(values, to_quantiles(values, reference, "dense"), strict=True):
        unique = sorted(set(profile.tolist()))
        for value, quantile in zip(profile.tolist(), result, strict=True):
            assert quantile == reference[int((unique.index(value) + 1.0) / len(unique) * 30) - 1]


def test_dense_ranks_of_distinct_values_are_too_low_as_often_as_in_the_originals():
    genes = np.arange(10_463, dtype=np.float32)
    assert (genes - to_quantiles(genes[None], genes, "dense")[0]).tolist().count(1) == 650


@pytest.mark.parametrize("ties", TIES[:3])
def test_measured_genes_of_a_profile_with_gaps_span_the_reference(ties):
    result = to_quantiles(np.array([[NAN, 1, 3, 2], [NAN] * 4]), np.array([0, 1, 2, 3], np.float32), ties)
    np.testing.assert_array_equal(result, [[NAN, 0, 3, 1.5], [NAN] * 4])
    assert result.dtype == np.float32


def test_scaler_is_that_of_scikit_learn(profiles):
    scaler, peer = fit_scaler(profiles), StandardScaler().fit(profiles.astype(np.float64))
    np.testing.assert_allclose(scaler.mean, peer.mean_, rtol=1e-6)
    np.testing.assert_allclose(scaler.sd, peer.scale_, rtol=1e-6)
    np.testing.assert_allclose(standardize(profiles, scaler), peer.transform(profiles.astype(np.float64)), atol=1e-5)
    assert {scaler.mean.dtype, scaler.sd.dtype, standardize(profiles, scaler).dtype} == {np.dtype(np.float32)}


def test_gaps_count_as_the_mean(gaps):
    mean = np.nanmean(gaps.astype(np.float64), axis=0)
    for scaler in (fit_scaler(gaps), fit_scaler(np.where(np.isnan(gaps), mean, gaps))):
        np.testing.assert_allclose(scaler.mean, mean, rtol=1e-6)
        np.testing.assert_allclose(scaler.sd, np.where(np.isnan(gaps), mean, gaps).std(axis=0), rtol=1e-6)


def test_a_small_sd_survives_a_large_mean_and_a_shift_that_is_off():
    values = 15 + 0.01 * np.random.default_rng(5).normal(size=(1000, 3))
    moments = Moments(np.full(3, 7.0))
    moments.add(values)
    np.testing.assert_allclose(moments.scaler().sd, values.std(axis=0), rtol=1e-6)


def test_legacy_adds_to_the_sd():
    # Means 2 and 7; SDs sqrt((1 + 1 + 0 + 0) / 4) and 0; then + 0.001.
    scaler = fit_scaler(np.array([[1, 7], [3, 7], [2, 7], [2, 7]], np.float32), legacy=True)
    np.testing.assert_allclose(scaler.mean, [2, 7])
    np.testing.assert_allclose(scaler.sd, [0.7081067812, 0.001], rtol=1e-6)
    np.testing.assert_allclose(standardize(np.array([[3, 7.5]]), scaler), [[1.4122164, 500]], rtol=1e-6)


def test_unstandardize_inverts_and_an_error_scales_by_sd_alone(profiles):
    scaler = fit_scaler(profiles)
    np.testing.assert_allclose(unstandardize(standardize(profiles, scaler), scaler), profiles, rtol=1e-6)
    z = np.zeros((1, 50), np.float32)
    np.testing.assert_allclose(unstandardize(z + 2, scaler) - unstandardize(z, scaler), 2 * scaler.sd[None], atol=1e-5)


def test_rounding_about_a_shift_gives_no_constant_gene_a_variance_below_zero():
    moments = Moments(np.full(200, 8.0))
    moments.add(np.tile(np.linspace(0, 16, 200), (7, 1)))
    np.testing.assert_array_equal(moments.scaler().sd, np.float32(SD_FLOOR))


def test_a_constant_gene_has_finite_scores():
    values = np.full((4, 1), 7.1, np.float32)
    scaler = fit_scaler(values)
    assert scaler.sd == np.float32(SD_FLOOR)
    np.testing.assert_array_equal(standardize(values, scaler), 0)
