"""Offsets of platforms, and z-scores after them."""

import numpy as np
import pytest

from dgex.data.normalization import Scaler
from dgex.data.platforms import Platforms, fit_offsets, standardize_by_platform
from dgex.errors import DgexError

SCALER = Scaler(np.array([5, 8], np.float32), np.array([2, 0.5], np.float32))
VALUES = np.array([[5, 8], [7, 9], [8, np.nan], [10, np.nan]], np.float32)
PLATFORM = np.array([0, 0, 1, 1], np.uint8)


def test_an_offset_is_the_platforms_mean_minus_the_scalers():
    offsets = fit_offsets(VALUES, PLATFORM, SCALER, 3)
    # (8 + 10) / 2 - 5 = 4; the second gene is not measured there, and nothing on the third platform.
    np.testing.assert_array_equal(offsets, np.array([[0, 0], [4, 0], [0, 0]], np.float32))
    assert offsets.dtype == np.float32


def test_zscores_are_taken_after_the_offset():
    offsets = np.array([[0, 0], [4, 1]], np.float32)
    zscores = standardize_by_platform(VALUES, SCALER, offsets, PLATFORM)
    np.testing.assert_allclose(zscores, [[0, 0], [1, 2], [-0.5, np.nan], [0.5, np.nan]])
    assert zscores.dtype == np.float32


def test_platforms_are_found_by_name():
    platforms = Platforms(("array", "rnaseq"), *np.zeros((2, 2, 2), np.float32))
    assert platforms.code("rnaseq") == 1
    with pytest.raises(DgexError, match="platform 'nanopore': is unknown; choose from array, rnaseq"):
        platforms.code("nanopore")
    assert Platforms.single(3, 5).target.shape == (1, 5)
