"""Duplicates: exact against brute force in float64, at the threshold, in chains and across blocks."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from data_prep.duplicates import keep_unique
from dgex.formats.gctx import read_gctx

NAN = np.nan


def brute_force(values: np.ndarray) -> list[bool]:
    distance = cdist(values.astype(np.float64), values.astype(np.float64))
    keep: list[bool] = []
    for j in range(len(values)):
        keep.append(not any(keep[i] and distance[i, j] < 1 for i in range(j)))
    return keep


def near(random: np.random.Generator, profile: np.ndarray, distance: float) -> np.ndarray:
    step = random.normal(size=profile.shape)
    return profile + step * distance / np.linalg.norm(step)


def test_chain_keeps_what_is_far_from_every_kept_one():
    assert keep_unique(np.array([[0], [0.9], [1.8], [2.7]])).tolist() == [True, False, True, False]


def test_exactly_one_apart_is_two_profiles():
    assert keep_unique(np.array([[0.0, 5], [1, 5], [1, 5.5]])).tolist() == [True, True, False]


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_equals_brute_force_whatever_the_blocks(block):
    random = np.random.default_rng(1)
    # Far from the origin and in thousands of dimensions, where float32 products alone invent and lose pairs.
    values = random.normal(9, 2, (60, 5000))
    for copy in range(20, 60):
        values[copy] = near(random, values[random.integers(copy)], random.choice([0, 0.5, 0.999, 1.001, 1.5]))
    values = random.permutation(values).astype(np.float32)
    expected = brute_force(values)
    assert 20 < sum(expected) < 55
    assert keep_unique(values, block=block).tolist() == expected


@pytest.mark.parametrize(("distance", "kept"), [(0.999, False), (1.001, True)])
def test_pairs_close_to_the_threshold_where_float32_products_err_by_more_than_it(distance, kept):
    random = np.random.default_rng(2)
    values = random.normal(0, 100, (300, 4000)).astype(np.float32)
    values[150:] = [near(random, profile, distance) for profile in values[:150].astype(np.float64)]
    square = (values**2).sum(axis=1)
    by_products = square[:150] + square[150:] - 2 * (values[:150] @ values[150:].T).diagonal()
    assert np.abs(by_products - distance**2).max() > 1
    assert keep_unique(values, block=128).tolist() == [True] * 150 + [kept] * 150


def test_unmeasured_in_both_is_no_difference_in_one_is():
    values = np.array([[1, NAN, 3], [1, NAN, 3.5], [1, 0, 3], [NAN, NAN, 3]], np.float32)
    assert keep_unique(values).tolist() == [True, False, True, True]


def test_real_arrays_have_no_duplicates_but_those_put_in(shared):
    values = read_gctx(shared / "data" / "geo" / "geo_compendium_n704x16687.gctx").values[::4]
    random = np.random.default_rng(0)
    copies = near(random, values[3].astype(np.float64), 0.99), near(random, values[4].astype(np.float64), 1.01)
    keep = keep_unique(np.concatenate([values, np.float32(copies)]))
    assert keep.tolist() == [True] * len(values) + [False, True]
