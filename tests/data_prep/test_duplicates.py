"""Duplicates: exact against brute force in float64, at the threshold, in chains and across blocks; legacy rules."""

import sys
from itertools import product

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from data_prep import duplicates
from data_prep.duplicates import keep_unique, near_pairs
from dgex.errors import DgexError

NAN = np.nan


def kept(values: np.ndarray, **options: object) -> list[bool]:
    return keep_unique(values.__getitem__, len(values), ~np.isnan(values).any(axis=0), **options).tolist()


def distances(values: np.ndarray) -> np.ndarray:
    """Between all profiles, over the rows both measured; NaN counts as no difference."""
    wide = values.astype(np.float64)
    return np.array([np.sqrt(np.nansum((wide - one) ** 2, axis=1)) for one in wide])


def brute_force(values: np.ndarray) -> list[bool]:
    near = distances(values) < 1
    keep: list[bool] = []
    for j in range(len(values)):
        keep.append(not any(keep[i] and near[i, j] for i in range(j)))
    return keep


def near(random: np.random.Generator, profile: np.ndarray, distance: float) -> np.ndarray:
    step = random.normal(size=profile.shape)
    return profile + step * distance / np.linalg.norm(step)


class Source:
    """Profiles that count how often they are read: how many in all, and how many times two at once."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.profiles = self.compared = 0

    def read(self, positions: np.ndarray) -> np.ndarray:
        self.profiles += len(positions)
        self.compared += len(positions) == 2
        return self.values[positions]


@pytest.fixture(params=[1, 7, 256])
def blocks(request, monkeypatch) -> None:
    monkeypatch.setattr(duplicates, "READ_BLOCK", request.param)


def test_chain_keeps_what_is_far_from_every_kept_one(blocks):
    assert kept(np.array([[0], [0.9], [1.8], [2.7]])) == [True, False, True, False]


def test_exactly_one_apart_is_two_profiles():
    assert kept(np.array([[0.0, 5], [1, 5], [1, 5.5]])) == [True, True, False]


def test_a_distance_below_one_by_less_than_float32_can_tell():
    # The squares of 0.6 rounded down and 0.8 sum to 1 - 2.4e-8, in float32 to 1.
    assert kept(np.array([[0, 0], [0.59999996, 0.8]], np.float32)) == [True, False]


def test_planted_pairs_in_thousands_of_rows_whatever_the_blocks(blocks):
    random = np.random.default_rng(1)
    # Far from the origin and in thousands of dimensions, where float32 products alone invent and lose pairs.
    values = random.normal(9, 2, (60, 5000))
    for copy in range(20, 60):
        values[copy] = near(random, values[random.integers(copy)], random.choice([0, 0.5, 0.999, 1.001, 1.5]))
    values = random.permutation(values).astype(np.float32)
    expected = brute_force(values)
    assert 20 < sum(expected) < 55
    assert kept(values) == expected


def test_a_cloud_with_thousands_of_pairs_about_one_apart(blocks):
    values = np.random.default_rng(2).uniform(0, 3, (400, 3)).astype(np.float32)
    apart = distances(values)[np.triu_indices(400, 1)]
    assert (np.abs(apart - 1) < 0.1).sum() > 4000
    assert kept(values) == brute_force(values)


@pytest.mark.parametrize(("distance", "keep"), [(0.999, False), (1.001, True)])
def test_pairs_close_to_the_threshold_where_float32_products_err_by_more_than_it(distance, keep):
    random = np.random.default_rng(2)
    values = random.normal(0, 100, (300, 4000)).astype(np.float32)
    values[150:] = [near(random, profile, distance) for profile in values[:150].astype(np.float64)]
    square = (values**2).sum(axis=1)
    by_products = square[:150] + square[150:] - 2 * (values[:150] @ values[150:].T).diagonal()
    assert np.abs(by_products - distance**2).max() > 1
    assert kept(values) == [True] * 150 + [keep] * 150


@settings(deadline=None)
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.one_of(st.sampled_from([0, 0.25, 0.5, 0.75, 1, 1.25]), st.floats(0, 2, width=32), st.just(NAN)),
    ),
    st.randoms(),
)
def test_equals_brute_force_and_the_order_of_rows_is_nothing(values, random):
    assert kept(values) == brute_force(values)
    rows = random.sample(range(values.shape[1]), values.shape[1])
    assert kept(values[:, rows]) == brute_force(values)


def test_rows_that_only_one_of_two_measured_are_no_difference():
    values = np.array([[1, NAN, 3], [1, 9, 3.5], [1, 7, NAN], [2, NAN, 3], [1, 0, 3]], np.float32)
    # Row 0 is common to all. Profiles 1, 2 and 4 differ from 0 by 0.5, 0 and 0; profile 3 by 1.
    assert kept(values) == [True, False, False, True, False]


def test_a_copy_without_some_rows_is_found_among_others(blocks):
    random = np.random.default_rng(3)
    values = random.normal(8, 2, (50, 300)).astype(np.float32)
    values[40] = near(random, values[11], 0.9)
    values[40, 200:] = NAN
    values[41] = near(random, values[12], 1.1)
    values[41, 250:] = NAN
    expected = brute_force(values)
    assert not expected[40]
    assert kept(values) == expected


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_a_mass_of_copies_costs_one_comparison_each(spread):
    source = Source(np.random.default_rng(4).uniform(5, 5 + spread, (5000, 20)).astype(np.float32))
    assert keep_unique(source.read, 5000, np.ones(20, bool)).tolist() == [True] + [False] * 4999
    assert source.compared == 4999


def test_distinct_profiles_are_read_once_and_for_the_axes():
    source = Source(np.random.default_rng(5).normal(8, 2, (3000, 200)).astype(np.float32))
    assert keep_unique(source.read, 3000, np.ones(200, bool)).all()
    assert (source.profiles, source.compared) == (3000 + duplicates.SAMPLE, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 1), (5, 50), (50, 5)])
def test_fewer_profiles_or_rows_than_axes(shape):
    values = np.random.default_rng(6).normal(0, 0.5, shape).astype(np.float32)
    assert kept(values) == brute_force(values)


def test_no_row_that_all_measured():
    values = np.array([[NAN, 1], [1, NAN], [2.5, 1.5], [NAN, 3]], np.float32)
    # Profiles 0 and 1 share no row, 1.5 separate 1 and 2, but 0 and 2 are 0.5 apart.
    assert kept(values) == [True, False, False, True]


def test_pairs_come_in_order_and_each_is_near():
    values = np.random.default_rng(7).uniform(0, 4, (60, 2))
    pairs = list(near_pairs(values.__getitem__, values, 1.01, np.ones(60, bool), lambda profiles: None))
    assert pairs == list(zip(*np.nonzero(np.triu(distances(values) < 1, 1)), strict=True))


def test_a_profile_turned_off_is_in_no_further_pair():
    values, alive, pairs = np.array([[0], [1.5], [0.75], [1.6]]), np.ones(4, bool), []
    for i, j in near_pairs(values.__getitem__, values, 1.01, alive, lambda profiles: None):
        pairs.append((i, j))
        alive[j] = False
    assert pairs == [(0, 2), (1, 3)]


def test_progress_counts_every_profile_twice(blocks):
    done: list[int] = []
    values = np.random.default_rng(8).normal(size=(100, 4))
    keep_unique(values.__getitem__, 100, np.ones(4, bool), advance=done.append)
    assert sum(done) == 200


def test_legacy_taaf_forgets_the_blocks_offsets(monkeypatch, blocks):
    monkeypatch.setattr(duplicates, "TAAF_BLOCK", 7)
    values = np.random.default_rng(9).uniform(0, 5, (60, 2)).astype(np.float32)
    near = distances(values) < 1
    removed = set()
    for first in range(0, 60, 7):
        for second in range(0, first + 7, 7):
            local = near[first : first + 7, second : second + 7]
            removed |= {max(a, b) for a, b in np.argwhere(local).tolist() if a != b}
    assert 0 < len(removed) < 7  # always among the first block's profiles
    assert kept(values, rule="legacy-taaf") == [sample not in removed for sample in range(60)]


def test_legacy_taaf_removes_an_innocent_profile_and_keeps_the_duplicates():
    values = np.arange(4010, dtype=np.float32)[:, None] * 10
    values[4003] = values[4005]  # local positions 3 and 5
    values[4009] = values[9]  # local positions 9 and 9: overlooked
    expected = np.ones(4010, bool)
    expected[5] = False
    assert kept(values, rule="legacy-taaf") == expected.tolist()


def test_legacy_dgex_removes_the_later_of_each_pair_inside_a_cluster(monkeypatch, blocks):
    values = np.random.default_rng(10).uniform(0, 5, (60, 2)).astype(np.float32)
    cluster = np.arange(60) % 3
    monkeypatch.setattr(duplicates, "_clusters", lambda points, seed: cluster)
    near = distances(values) < 1
    expected = [not any(near[i, j] and cluster[i] == cluster[j] for i in range(j)) for j in range(60)]
    assert expected != brute_force(values)
    assert kept(values, rule="legacy-dgex") == expected


def test_legacy_dgex_clusters_by_k_means_and_keeps_one_of_a_chain(monkeypatch):
    monkeypatch.setattr(duplicates, "DGEX_CLUSTERS", 3)
    chain = np.array([0, 0.9, 1.8, 2.7])
    values = np.array([[shift + step] for shift, step in product([0, 1000, 2000], chain)], np.float32)
    assert kept(values, rule="legacy-dgex", seed=1) == [True, False, False, False] * 3


def test_legacy_dgex_is_settled_by_the_seed(monkeypatch):
    monkeypatch.setattr(duplicates, "DGEX_CLUSTERS", 20)
    values = np.random.default_rng(11).uniform(0, 8, (400, 2)).astype(np.float32)
    first, again, other = (kept(values, rule="legacy-dgex", seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_legacy_dgex_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(DgexError, match="legacy-dgex: needs scikit-learn; .*pip install scikit-learn"):
        kept(np.zeros((2, 2)), rule="legacy-dgex")


def test_real_arrays_have_no_duplicates_but_those_put_in_and_no_other_pair_is_compared(shared):
    with h5py.File(shared / "data" / "geo" / "geo_compendium_n704x16687.gctx") as file:
        values = file["0/DATA/0/matrix"][:]
    random = np.random.default_rng(0)
    copies = near(random, values[3].astype(np.float64), 0.99), near(random, values[4].astype(np.float64), 1.01)
    source = Source(np.concatenate([values, np.float32(copies)]))
    keep = keep_unique(source.read, 706, ~np.isnan(values).any(axis=0))
    assert keep.tolist() == [True] * 704 + [False, True]
    assert source.compared == 2  # a random step is shorter on few axes than in full
