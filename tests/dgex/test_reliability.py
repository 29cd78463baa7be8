"""Split conformal intervals against their textbook, and the other marks of a gene."""

import math
from fractions import Fraction

import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.metrics import GeneScores
from dgex.reliability import LEVELS, Reliability, covered, half_widths, measure

NAN = np.nan


def reliability(**fields):
    zeros = np.zeros(3, np.float32)
    default = {name: zeros for name in ("pearson", "zscore_mae", "r2")}
    return Reliability(**default | {"half_width": np.ones((len(LEVELS), 3), np.float32), "farthest": 2.0} | fields)


def textbook(errors, level):
    """Of n absolute errors the ceil((n + 1) level)-th smallest, in whole numbers throughout."""
    rank = math.ceil((len(errors) + 1) * Fraction(str(level)))
    return sorted(map(abs, errors.tolist()))[rank - 1] if rank <= len(errors) else math.inf


@pytest.mark.parametrize("profiles", [1, 2, 3, 9, 10, 18, 19, 20, 39, 99, 100, 199])
def test_half_widths_are_the_order_statistics(profiles):
    error = np.random.default_rng(profiles).standard_cauchy((profiles, 300)).astype(np.float32)
    result = half_widths(error)
    assert result.dtype == np.float32
    expected = [[textbook(gene, level) for gene in error.T] for level in LEVELS]
    np.testing.assert_array_equal(result, np.float32(expected))


def test_too_few_profiles_for_a_level():
    """0.95 needs 19 profiles: of these all but one in twenty-first place are nearer than the farthest."""
    error = np.ones((19, 2), np.float32)
    assert np.isfinite(half_widths(error)).all()
    assert np.isfinite(half_widths(error[1:])).all(axis=1).tolist() == [True, True, True, False]


@pytest.mark.parametrize("profiles", [30, 99])
def test_intervals_hold_their_share_of_values_like_these(profiles):
    """Skewed errors of another size in every gene; the share is k / (n + 1), not less than the level."""
    random = np.random.default_rng(profiles)
    genes, new = 4000, 10
    error = (random.gamma(1.0, 1.0, (profiles + new, genes)) - 0.4) * random.gamma(2.0, 1.0, genes)
    calibrated = reliability(half_width=half_widths(error[:profiles]))
    shares = covered(error[profiles:], calibrated).sum(axis=1) / (new * genes)
    for level, share in zip(LEVELS, shares, strict=True):
        exact = math.ceil((profiles + 1) * Fraction(str(level))) / (profiles + 1)
        assert exact >= level
        assert share == pytest.approx(exact, abs=0.008)  # five standard errors


def test_covered_counts_each_gene_and_level():
    half_width = np.array([[0, 1, 2], [1, 2, 3], [2, 3, math.inf], [2, 3, math.inf]], np.float32)
    error = np.array([[1, -1, 9], [-1.5, 2.5, -3]], np.float32)
    counts = covered(error, reliability(half_width=half_width))
    assert counts.tolist() == [[0, 1, 0], [1, 1, 1], [2, 2, 2], [2, 2, 2]]


def test_well_inferred():
    found = reliability(
        pearson=np.array([0.5, 0.49, 0.9, 0.9, NAN, 0.9], np.float32),
        r2=np.array([0.01, 0.2, 0.0, -1, 0.5, NAN], np.float32),
    )
    assert found.well_inferred.tolist() == [True, False, False, False, False, False]


def test_half_width_of_a_level():
    half_width = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = reliability(half_width=half_width)
    for level, expected in zip((0.5, 0.8, 0.9, 0.95), half_width, strict=True):
        np.testing.assert_array_equal(found.half_width_at(level), expected)


@pytest.mark.parametrize("level", [0.7, 0.0, 1.0, 90, -0.5, NAN])
def test_other_levels_are_refused(level):
    with pytest.raises(DgexError, match=r"is not kept; choose from 0.5, 0.8, 0.9, 0.95$"):
        reliability().half_width_at(level)


def test_levels_with_too_few_profiles_are_refused():
    found = reliability(half_width=half_widths(np.ones((18, 3), np.float32)))
    assert found.half_width_at(0.9).tolist() == [1, 1, 1]
    with pytest.raises(DgexError, match=r"interval 0.95: the model's validation had too few profiles"):
        found.half_width_at(0.95)


def test_measure():
    scores = GeneScores(np.array([1.0, 2]), np.array([7.0, 8]), np.array([0.3, NAN]), np.array([0.1, NAN]))
    error = np.array([[1, -2], [3, 4], [-2, 0]], np.float32)
    found = measure(error, scores, np.arange(101.0))
    assert found.zscore_mae.tolist() == [1, 2]
    np.testing.assert_array_equal(found.pearson, np.float32([0.3, NAN]), strict=True)
    np.testing.assert_array_equal(found.r2, np.float32([0.1, NAN]), strict=True)
    assert found.half_width[0].tolist() == [2, 2]  # the second smallest of three
    assert found.farthest == 99
