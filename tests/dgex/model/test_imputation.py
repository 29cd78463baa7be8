"""Filling in and distances, against the conditional Gaussian with its whole covariance in float64."""

import itertools

import numpy as np
import pytest

from dgex.model.imputation import Factors, complete, fit_factors

NAN = np.nan


def conditional(zscores, covariance):
    """The gaps' expected values and the scaled Mahalanobis distances, profile by profile, as textbooks have them."""
    filled, distance = zscores.astype(np.float64), []
    for profile in filled:
        own = ~np.isnan(profile)
        weights = np.linalg.solve(covariance[np.ix_(own, own)], profile[own])
        distance.append(np.sqrt(profile[own] @ weights / own.sum()))
        profile[~own] = covariance[np.ix_(~own, own)] @ weights
    return filled, np.array(distance)


def model(random, landmarks, factors, noise):
    loadings = random.normal(size=(landmarks, factors)) * np.sqrt((1 - noise) / factors)
    return Factors(loadings.astype(np.float32), noise)


def covariance_of(factors):
    loadings = factors.loadings.astype(np.float64)
    return loadings @ loadings.T + factors.noise * np.eye(len(loadings))


def drawn(random, factors, profiles):
    landmarks, number = factors.loadings.shape
    noise = np.sqrt(factors.noise) * random.normal(size=(profiles, landmarks))
    return (random.normal(size=(profiles, number)) @ factors.loadings.T + noise).astype(np.float32)


@pytest.mark.parametrize("factors", [0, 1, 3])
def test_every_pattern_of_gaps(factors):
    random = np.random.default_rng(factors)
    known = model(random, 5, max(factors, 1), 0.3)
    known = Factors(known.loadings[:, :factors], known.noise)
    patterns = np.array([gaps for gaps in itertools.product([False, True], repeat=5) if not all(gaps)])
    zscores = np.where(np.tile(patterns, (3, 1)), NAN, random.normal(size=(93, 5))).astype(np.float32)
    filled, distance = complete(zscores, known)
    expected = conditional(zscores, covariance_of(known))
    np.testing.assert_allclose(filled, expected[0], atol=2e-6)
    np.testing.assert_allclose(distance, expected[1], rtol=1e-5)
    np.testing.assert_array_equal(filled[~np.isnan(zscores)], zscores[~np.isnan(zscores)])
    assert filled.dtype == np.float32


def test_many_landmarks_and_gaps_by_the_dozen():
    """Patterns longer than a byte, a profile with one landmark, and one without gaps."""
    random = np.random.default_rng(1)
    known = model(random, 83, 7, 0.2)
    zscores = drawn(random, known, 20)
    zscores[random.random(zscores.shape) < 0.4] = NAN
    zscores[3], zscores[7, 1:] = 1, NAN
    zscores[7, 0] = 2
    filled, distance = complete(zscores, known)
    expected = conditional(zscores, covariance_of(known))
    np.testing.assert_allclose(filled, expected[0], atol=1e-5)
    np.testing.assert_allclose(distance, expected[1], rtol=1e-5)


def test_whole_profiles_stay_as_they_are():
    zscores = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    known = model(np.random.default_rng(1), 6, 2, 0.3)
    before = zscores.copy()
    filled, distance = complete(zscores, known)
    np.testing.assert_array_equal(filled, before, strict=True)
    np.testing.assert_array_equal(zscores, before)
    np.testing.assert_allclose(distance, conditional(zscores, covariance_of(known))[1], rtol=1e-5)


def test_numbers_of_a_profile_do_not_depend_on_the_others():
    random = np.random.default_rng(2)
    known = model(random, 30, 4, 0.3)
    zscores = drawn(random, known, 12)
    zscores[random.random(zscores.shape) < 0.1] = NAN
    filled, distance = complete(zscores, known)
    for row in range(12):
        alone, own = complete(zscores[row : row + 1], known)
        np.testing.assert_allclose(alone[0], filled[row], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(own[0], distance[row], rtol=1e-9)


def test_no_profiles():
    filled, distance = complete(np.empty((0, 3), np.float32), Factors(np.ones((3, 1), np.float32), 0.5))
    assert filled.shape == (0, 3) and distance.shape == (0,)


@pytest.fixture(scope="module")
def fitted():
    """The truth, what is learnt of it, and profiles that were not learnt from."""
    random = np.random.default_rng(3)
    truth = model(random, 30, 5, 0.2)
    return truth, fit_factors(drawn(random, truth, 2000), drawn(random, truth, 300)), drawn(random, truth, 2000)


def test_finds_the_model_that_data_were_drawn_from(fitted):
    truth, found, _ = fitted
    assert found.loadings.shape == (30, 5)
    assert found.noise == pytest.approx(0.2, rel=0.03)
    # A variance v of 2,000 profiles is known to about v sqrt(2 / 2000), and the largest is 2.8: three times that.
    np.testing.assert_allclose(covariance_of(found), covariance_of(truth), atol=0.27)


def test_fills_in_what_the_true_model_would(fitted):
    truth, found, profiles = fitted
    hidden = np.random.default_rng(4).random(profiles.shape) < 0.2
    shown = np.where(hidden, NAN, profiles)
    best = conditional(shown, covariance_of(truth))[0][hidden]
    filled = complete(shown, found)[0][hidden]
    assert np.abs(filled - best).mean() < 0.05
    # No rule has a lower error than the true conditional mean; filling in the mean, 0, has far more.
    error, least = (np.square(values - profiles[hidden]).mean() for values in (filled, best))
    assert least <= error < 1.02 * least < 0.4 * np.square(profiles[hidden]).mean()


def test_distance_is_one_for_profiles_like_these_and_more_for_others(fitted):
    truth, found, profiles = fitted
    distance = complete(profiles, found)[1]
    # Squared times the landmarks it is chi-square distributed: mean 30, SD sqrt(60).
    squares = 30 * distance**2
    assert squares.mean() == pytest.approx(30, rel=0.04)
    assert squares.std() == pytest.approx(np.sqrt(60), rel=0.1)
    assert (complete(profiles + 3, found)[1] > np.quantile(distance, 0.99)).all()
    shuffled = np.random.default_rng(0).permuted(profiles, axis=1)  # each value is usual, their company is not
    assert (complete(shuffled, found)[1] > np.quantile(distance, 0.99)).mean() > 0.9
    with_gaps = np.where(np.random.default_rng(1).random(profiles.shape) < 0.3, NAN, profiles)
    assert np.square(complete(with_gaps, found)[1]).mean() == pytest.approx(1, rel=0.04)


def test_more_factors_where_validation_asks_for_them():
    random = np.random.default_rng(6)
    truth = model(random, 60, 18, 0.02)
    found = fit_factors(drawn(random, truth, 1000), drawn(random, truth, 100))
    assert found.loadings.shape == (60, 20)


@pytest.mark.parametrize(("profiles", "factors"), [(1, 0), (2, 0), (3, 1), (6, 4), (7, 5)])
def test_few_profiles(profiles, factors):
    random = np.random.default_rng(7)
    zscores = random.normal(size=(profiles, 30)).astype(np.float32)
    found = fit_factors(zscores, zscores[:1])
    assert found.loadings.shape == (30, factors) and found.noise > 0
    shown = np.where(np.arange(30) < 3, NAN, zscores)
    for values in complete(shown, found):
        assert np.isfinite(values).all()


def test_few_landmarks():
    zscores = np.random.default_rng(8).normal(size=(50, 2)).astype(np.float32)
    found = fit_factors(zscores[:40], zscores[40:])
    filled, _ = complete(np.array([[NAN, 1.0]], np.float32), found)
    assert found.loadings.shape == (2, 0) and filled.tolist() == [[0, 1]]


def test_constant_landmarks():
    """All z-scores 0: nothing varies, and still no division by zero."""
    found = fit_factors(np.zeros((20, 30), np.float32), np.zeros((5, 30), np.float32))
    filled, distance = complete(np.where(np.arange(30) < 2, NAN, np.zeros((1, 30))), found)
    assert not filled.any() and not distance.any()
