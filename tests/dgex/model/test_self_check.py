"""The self-check against the conditional Gaussian with its whole covariance, and what is said of it."""

import numpy as np
import pytest

from dgex.model.imputation import Factors
from dgex.model.reliability import Expectation
from dgex.model.self_check import (
    BLOCKS,
    SelfCheck,
    blocks_of,
    correlations,
    median_pearson,
    self_check,
    summarize_check,
)

NAN = float("nan")
EXPECTATION = Expectation(0.0, 1.0, 1.2, 0.5, 0.3)


@pytest.fixture(scope="module")
def factors() -> Factors:
    return Factors(np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), 0.5)


@pytest.fixture(scope="module")
def zscores(factors) -> np.ndarray:
    random = np.random.default_rng(1)
    values = random.normal(size=(30, 3)) @ factors.loadings.T + random.normal(0, 0.5**0.5, (30, 40))
    return np.where(random.random((30, 40)) < 0.1, np.nan, values).astype(np.float32)


def test_blocks_are_of_one_size_and_always_the_same():
    block = blocks_of(943)
    assert set(np.bincount(block)) == {117, 118} and len(set(block)) == BLOCKS
    np.testing.assert_array_equal(block, blocks_of(943))
    assert (np.diff(block) != 1).mean() > 0.5  # in no order


def test_hidden_landmarks_are_conditional_means(zscores, factors):
    inferred, error = self_check(zscores, factors)
    assert inferred.dtype == error.dtype == np.float32
    loadings, block = factors.loadings.astype(np.float64), blocks_of(40)
    covariance = loadings @ loadings.T + 0.5 * np.eye(40)
    wanted = np.full((30, 40), NAN)
    for profile, row in zip(zscores.astype(np.float64), wanted, strict=True):
        own = ~np.isnan(profile)
        for code in range(BLOCKS):
            hidden, shown = own & (block == code), own & (block != code)
            weights = np.linalg.solve(covariance[np.ix_(shown, shown)], profile[shown])
            row[hidden] = covariance[np.ix_(hidden, shown)] @ weights
    np.testing.assert_allclose(inferred, wanted, atol=1e-5)
    np.testing.assert_allclose(error, np.nanmean(np.abs(wanted - zscores), axis=1), atol=1e-5)


def test_a_profile_does_not_depend_on_its_company(zscores, factors):
    inferred, error = self_check(zscores, factors)
    for row in range(len(zscores)):
        alone = self_check(zscores[row : row + 1], factors)
        np.testing.assert_array_equal(alone[0][0], inferred[row])
        assert alone[1][0] == error[row]


def test_the_only_measured_landmark_is_inferred_as_the_mean(factors):
    profile = np.full((1, 40), np.nan, np.float32)
    profile[0, 7] = 2
    inferred, error = self_check(profile, factors)
    assert inferred[0, 7] == 0 and error[0] == 2


def test_the_median_correlation_is_that_of_numpy(zscores, factors):
    inferred = self_check(zscores, factors)[0]
    r = []
    for x, y in zip(inferred.T, zscores.T, strict=True):
        own = ~np.isnan(y)
        r.append(np.corrcoef(x[own], y[own])[0, 1])
    assert median_pearson(zscores, inferred) == pytest.approx(np.median(r), rel=1e-5)
    assert np.isnan(median_pearson(zscores[:9], inferred[:9]))
    own = ~np.isnan(zscores[4])
    expected = np.corrcoef(inferred[4, own], zscores[4, own])[0, 1]
    assert correlations(zscores, inferred, 1)[4] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(correlations(np.ones((1, 5)), np.arange(5.0)[None], 1)[0])


@pytest.mark.parametrize(
    ("error", "correlated", "failed"),
    [(0.5, True, False), (1.3, True, True), (0.5, False, False), (0.9, True, False), (0.9, False, True)],
)
def test_what_fails(error, correlated, failed):
    """Large errors alone; or errors that are rather large, if no correlation is seen either."""
    random = np.random.default_rng(2)
    measured = random.normal(size=(40, 50))
    sign = np.where(random.random((40, 50)) < 0.5, -1, 1)
    inferred = measured + error * sign if correlated else np.copy(measured)
    if not correlated:  # inferred values that do not vary with the measured ones, off by the error
        measured = error * sign
        inferred = random.normal(0, 1e-6, (40, 50))
    check = summarize_check(measured, inferred, EXPECTATION)
    assert check.error == pytest.approx(error, rel=1e-4) and check.failed == failed
    assert (check.pearson > 0.3) == correlated


def test_the_words():
    good = SelfCheck(40, 0.61, 0.5, 0.55, False).text
    assert good == (
        "Hidden landmarks of these profiles are inferred with r = 0.61 across samples and a mean error of 0.50 SD "
        "(validation studies: 0.55): the check holds."
    )
    assert "the check fails, so which genes are well inferred is not told" in SelfCheck(40, 0.1, 1.3, 0.6, True).text
    assert "inferred with a mean error of 0.50 SD: the model does not tell" in SelfCheck(1, NAN, 0.5, NAN, False).text
