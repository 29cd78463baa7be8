"""Where profiles lie: the posterior means of the factors, with the whole matrix in float64."""

import numpy as np
import pytest

from dgex.model.imputation import Factors, factors_of
from dgex.model.training_map import MOST, evenly, positions, training_map


@pytest.fixture(scope="module")
def zscores() -> np.ndarray:
    random = np.random.default_rng(0)
    values = random.normal(size=(300, 4)) @ np.diag([3.0, 2, 1, 0.5]) @ random.normal(size=(4, 30))
    return (values / 6 + 0.5 * random.normal(size=(300, 30))).astype(np.float32)


def test_positions_are_posterior_means_of_the_first_two_factors(zscores):
    factors = factors_of(zscores, 4)
    loadings = factors.loadings.astype(np.float64)
    wanted = np.linalg.solve(loadings.T @ loadings + factors.noise * np.eye(4), loadings.T @ zscores.T).T[:, :2]
    found = positions(zscores, factors)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    # Shrunk by signal / (signal + noise), so a little below 1.
    signal = np.square(loadings[:, :2]).sum(axis=0)
    np.testing.assert_allclose(np.square(found).mean(axis=0), signal / (signal + factors.noise), rtol=1e-3)


def test_a_map_has_evenly_spaced_profiles_without_empty_ones(zscores):
    factors = factors_of(zscores, 4)
    many = np.tile(zscores, (10, 1))
    many[0] = np.nan
    error = np.arange(5000, dtype=np.float32)
    found = training_map(many, np.arange(3000) % 2, factors, error, error / 5000)
    assert found is not None
    chosen = np.linspace(0, 2999, MOST).astype(int)[1:]
    np.testing.assert_array_equal(found.platform, chosen % 2)
    np.testing.assert_allclose(found.position, positions(many[chosen], factors), atol=1e-6)
    np.testing.assert_array_equal(found.self_check_error, np.linspace(0, 4999, MOST).astype(int))
    assert found.self_check_pearson.dtype == np.float32


def test_one_factor_spans_no_map(zscores):
    factors = factors_of(zscores, 1)
    assert training_map(zscores, np.zeros(300, int), factors, np.ones(2), np.ones(2)) is None
    assert isinstance(factors, Factors)


def test_few_are_all_chosen():
    np.testing.assert_array_equal(evenly(3, 5), [0, 1, 2])
    np.testing.assert_array_equal(evenly(9, 3), [0, 4, 8])
