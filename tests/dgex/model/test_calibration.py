"""Tests of the shrinkage of a laboratory's own offsets."""

import numpy as np
import pytest

from dgex.model.calibration import errors_by_number, learn_shrinkage


def test_shrinkage_is_the_ratio_of_the_variances() -> None:
    # Study 0: q = (1 + 9) / 2 = 5, p = 1 x 3 = 3, so that k = 2 / 3; the lone profile of study 1 does not count.
    residual = np.array([[1.0], [3.0], [7.0]])
    assert learn_shrinkage(residual, np.array([0, 0, 1])) == pytest.approx(2 / 3)


def test_opposite_profiles_share_nothing() -> None:
    assert learn_shrinkage(np.array([[1.0], [-1.0]]), np.array([0, 0])) == float("inf")


def test_lone_profiles_are_refused() -> None:
    with pytest.raises(ValueError, match="two profiles"):
        learn_shrinkage(np.ones((2, 1)), np.array([0, 1]))


def test_errors_fall_as_the_shared_offset_is_taken_off() -> None:
    # Six equal residuals of 3: after n profiles 3 - 3 n / (n + 1) remain. The platform of two profiles has no number.
    residual = np.full((8, 2), 3.0)
    platform = np.array([4] * 6 + [5] * 2)
    errors = errors_by_number(residual, np.zeros(8, int), platform, 1.0)
    assert list(errors) == [4]
    assert errors[4] == pytest.approx({0: 3.0, 1: 1.5, 2: 1.0, 5: 0.5})
