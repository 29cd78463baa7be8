"""The arithmetic behind the pictures."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from data_prep.pictures import principal_components


def test_components_are_scikit_learns():
    values = np.random.default_rng(0).normal(0, 1, (30, 4)) @ np.diag([5, 3, 1, 0.5]) + 8
    points, shares = principal_components(values.astype(np.float32))
    peer = PCA(2).fit(values)
    np.testing.assert_allclose(np.abs(points), np.abs(peer.transform(values)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(shares, peer.explained_variance_ratio_, rtol=1e-4)


def test_the_sign_does_not_depend_on_the_sign_of_an_eigenvector():
    values = np.random.default_rng(0).normal(0, 1, (30, 50)).astype(np.float32)
    points, _ = principal_components(values)
    assert (points[np.abs(points).argmax(axis=0), [0, 1]] > 0).all()


def test_a_gap_is_its_rows_mean_and_rarely_measured_rows_do_not_count():
    values = np.random.default_rng(0).normal(8, 2, (9, 5)).astype(np.float32)
    gaps = values.copy()
    gaps[4, 2] = np.nan
    filled = values.copy()
    filled[4, 2] = np.delete(values[:, 2], 4).mean()
    rare = np.full((9, 1), np.nan, np.float32)
    rare[:4] = 100 * np.arange(4)[:, None]
    expected, _ = principal_components(filled)
    found, _ = principal_components(np.hstack([gaps, rare]))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    "values", [np.eye(2), np.ones((5, 3)), np.full((5, 3), np.nan), np.tile(np.float32(0.1) * np.arange(7), (11, 1))]
)
def test_nothing_to_show(values):
    assert principal_components(values.astype(np.float32)) is None
