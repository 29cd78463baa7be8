"""Quantile normalisation against ranks from scipy and hand-computed cases; the scaler against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata
from sklearn.preprocessing import StandardScaler

from dgex.normalization import SD_FLOOR, fit_quantiles, fit_scaler, standardize, to_log2, to_quantiles

NAN = np.nan


@pytest.fixture
def profiles() -> np.ndarray:
    return np.random.default_rng(3).normal(8, 2, (30, 50)).astype(np.float32)


def test_reference_is_the_mean_of_sorted_profiles(profiles):
    expected = np.sort(profiles.astype(np.float64), axis=1).mean(axis=0)
    np.testing.assert_allclose(fit_quantiles(profiles), expected, rtol=1e-6)


def test_a_profile_with_gaps_is_interpolated_into_the_reference():
    values = np.array([[0, 1, 2, 3], [30, NAN, 10, 20]], np.float32)
    second = [10, 10 + 20 / 3, 10 + 40 / 3, 30]
    np.testing.assert_allclose(fit_quantiles(values), (np.arange(4) + second) / 2, rtol=1e-6)


def test_without_ties_a_profile_takes_the_reference_exactly(profiles):
    reference = fit_quantiles(profiles)
    result = to_quantiles(profiles, reference)
    np.testing.assert_array_equal(np.sort(result, axis=1), np.broadcast_to(reference, result.shape))
    np.testing.assert_array_equal(rankdata(result, axis=1), rankdata(profiles, axis=1))


def test_ties_take_the_mean_of_the_quantiles_they_span():
    reference = np.array([1, 2, 4, 8, 16], np.float32)
    assert to_quantiles(np.array([[5.0, 2, 5, 2, 9]]), reference).tolist() == [[6, 1.5, 6, 1.5, 16]]


def test_measured_genes_of_a_profile_with_gaps_span_the_reference():
    result = to_quantiles(np.array([[NAN, 1, 3, 2]]), np.array([0, 1, 2, 3], np.float32))
    np.testing.assert_array_equal(result, [[NAN, 0, 3, 1.5]])
    assert result.dtype == np.float32


@given(arrays(np.float32, (3, 40), elements=st.sampled_from(np.arange(12, dtype=np.float32).tolist())), st.randoms())
def test_ties_agree_with_scipy_ranks_and_the_order_of_genes_is_nothing(values, random):
    reference = np.sort(np.random.default_rng(0).normal(size=40)).astype(np.float32)
    total = np.concatenate([[0], np.cumsum(reference.astype(np.float64))])
    first, last = rankdata(values, "min", axis=1) - 1, rankdata(values, "max", axis=1)
    result = to_quantiles(values, reference)
    np.testing.assert_allclose(result, (total[last] - total[first]) / (last - first), atol=1e-6)
    genes = random.sample(range(40), 40)
    np.testing.assert_array_equal(to_quantiles(values[:, genes], reference), result[:, genes])


def test_one_profile_alone_is_treated_as_among_others(profiles):
    reference = fit_quantiles(profiles)
    np.testing.assert_array_equal(to_quantiles(profiles[4:5], reference), to_quantiles(profiles, reference)[4:5])


def test_scaler_is_that_of_scikit_learn(profiles):
    scaler, peer = fit_scaler(profiles), StandardScaler().fit(profiles.astype(np.float64))
    np.testing.assert_allclose(scaler.mean, peer.mean_, rtol=1e-6)
    np.testing.assert_allclose(scaler.sd, peer.scale_, rtol=1e-6)
    np.testing.assert_allclose(standardize(profiles, scaler), peer.transform(profiles.astype(np.float64)), atol=1e-5)
    assert {scaler.mean.dtype, scaler.sd.dtype, standardize(profiles, scaler).dtype} == {np.dtype(np.float32)}


def test_to_log2_inverts_and_an_error_scales_by_sd_alone(profiles):
    scaler = fit_scaler(profiles)
    np.testing.assert_allclose(to_log2(standardize(profiles, scaler), scaler), profiles, rtol=1e-6)
    z = np.zeros((1, 50), np.float32)
    np.testing.assert_allclose(to_log2(z + 2, scaler) - to_log2(z, scaler), 2 * scaler.sd[None], atol=1e-5)


def test_a_constant_gene_has_finite_scores():
    values = np.full((4, 1), 7.1, np.float32)
    scaler = fit_scaler(values)
    assert scaler.sd == np.float32(SD_FLOOR)
    np.testing.assert_array_equal(standardize(values, scaler), 0)
