"""Duplicates: exact against brute force in float64, at the threshold, in chains, with gaps; legacy rules."""

import sys
import tracemalloc
from itertools import product

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from data_prep import duplicates
from data_prep.duplicates import Outline, keep_unique, near_pairs, outline_of
from dgex.errors import DgexError

NAN = np.nan


def usual(values: np.ndarray) -> np.ndarray:
    return 2 * np.isnan(values).sum(axis=0) <= len(values)


def kept(values: np.ndarray, **options: object) -> list[bool]:
    return keep_unique(values.__getitem__, len(values), usual(values), **options).tolist()


def outline(values: np.ndarray) -> Outline:
    return outline_of(values.__getitem__, len(values), usual(values), lambda profiles: None)


def distances(values: np.ndarray) -> np.ndarray:
    """Between all profiles, over the rows both have; infinite where there are none."""
    wide = values.astype(np.float64)
    has = ~np.isnan(wide)
    apart = np.array([np.sqrt(np.nansum((wide - one) ** 2, axis=1)) for one in wide])
    return np.where((has[:, None] & has).any(axis=2), apart, np.inf)


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
    for block in "READ_BLOCK", "LEFT_BLOCK", "RIGHT_BLOCK":
        monkeypatch.setattr(duplicates, block, request.param)


def with_gaps(random: np.random.Generator, values: np.ndarray, gappy: object) -> None:
    """Takes 5 % of the values of profiles ``gappy`` away, at random."""
    values[gappy] = np.where(random.random(values[gappy].shape) < 0.05, NAN, values[gappy])


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


def test_profiles_without_a_common_row_are_not_near():
    assert kept(np.array([[1, NAN], [NAN, 1], [NAN, NAN], [NAN, NAN]], np.float32)) == [True] * 4


def test_pairs_over_rows_that_few_have():
    # The last row is in two profiles of five, which differ in nothing else, neither from the first one.
    values = np.array([[3, NAN], [3, 0], [3, 99], [7, NAN], [9, NAN]], np.float32)
    assert usual(values).tolist() == [True, False]
    assert kept(values[1:]) == [True] * 4
    assert kept(values) == [True, False, False, True, True]


@pytest.mark.parametrize("lacking", ["a study's rows", "scattered ones"])
@pytest.mark.parametrize("gappy", [slice(40, 60), slice(0, 20), slice(0, 60, 2), slice(0, 60)])
def test_planted_pairs_with_gaps_whatever_the_blocks(blocks, lacking, gappy):
    random = np.random.default_rng(3)
    values = random.normal(8, 2, (60, 400))
    for copy in range(30, 60):
        values[copy] = near(random, values[random.integers(copy)], random.choice([0.5, 0.9, 0.999, 1.001, 1.1]))
    values = values.astype(np.float32)
    if lacking == "a study's rows":
        values[gappy, 250:290] = NAN
    else:
        with_gaps(random, values, gappy)
    expected = brute_force(values)
    assert 30 < sum(expected) < 50
    assert kept(values) == expected


@pytest.mark.parametrize(("distance", "keep"), [(0.999, False), (1.001, True)])
def test_pairs_close_to_the_threshold_in_the_rows_both_have(distance, keep):
    random = np.random.default_rng(4)
    values = random.normal(0, 100, (200, 256)).astype(np.float32)
    with_gaps(random, values, slice(0, 200))
    values[100:] = [near(random, profile, 1) for profile in values[:100]]
    with_gaps(random, values, slice(100, 200))
    step = values[100:].astype(np.float64) - values[:100]
    step *= distance / np.sqrt(np.nansum(step**2, axis=1, keepdims=True))
    values[100:] = values[:100] + step
    assert kept(values) == [True] * 100 + [keep] * 100


@pytest.mark.parametrize("gappy", [slice(0), slice(0, 200, 2)])
def test_pairs_a_rounding_away_from_the_threshold(gappy):
    random = np.random.default_rng(12)
    values = random.uniform(0, 3000, (400, 3))
    angle = random.uniform(0, 2 * np.pi, 200)
    values[200:] = values[:200] + np.column_stack([np.cos(angle), np.sin(angle), np.zeros(200)])
    values = values.astype(np.float32)
    values[gappy, 2] = NAN
    expected = brute_force(values)
    assert 250 < sum(expected) < 350
    assert kept(values) == expected


def test_a_profile_is_gappy_where_it_lacks_a_usual_row_and_placed_at_the_rows_mean():
    known = outline(np.array([[0, 2, NAN], [4, 2, 9], [NAN, 2, NAN]], np.float32))
    assert known.gappy.tolist() == [False, False, True]
    np.testing.assert_allclose(np.linalg.norm(known.points, axis=1), [2, 2, 0], atol=1e-12)


@pytest.mark.parametrize("gappy", [250, 704])
def test_scattered_gaps_cost_no_comparison_of_pairs_that_are_far(gappy):
    random = np.random.default_rng(5)
    values = random.normal(8, 2, (704, 2000))
    for copy in range(600, 704):
        values[copy] = near(random, values[copy - 600], 0.9 + 0.2 * (copy % 2))
    values = values.astype(np.float32)
    with_gaps(random, values, random.choice(704, gappy, replace=False))
    expected = [True] * 600 + [copy % 2 == 1 for copy in range(600, 704)]
    source = Source(values)
    assert keep_unique(source.read, 704, usual(values)).tolist() == expected
    assert 52 <= source.compared <= 104  # the pairs planted


def test_a_study_without_the_rows_that_vary_most_is_compared_on_others():
    random = np.random.default_rng(6)
    values = random.normal(8, np.where(np.arange(3000) < duplicates.ROWS, 4, 1), (300, 3000)).astype(np.float32)
    values[270:, : duplicates.ROWS] = NAN
    source = Source(values)
    assert keep_unique(source.read, 300, usual(values)).all()
    assert source.compared == 0


def test_no_row_is_in_half_of_the_profiles(blocks):
    values = np.full((9, 6), NAN, np.float32)
    for study in range(3):
        values[3 * study : 3 * study + 3, 2 * study : 2 * study + 2] = [[4, 4], [4, 4.5], [6, 4]]
    assert not usual(values).any()
    assert kept(values) == [True, False, True] * 3


@pytest.mark.parametrize("gappy", [0, 2500, 5000])
@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_a_mass_of_copies_costs_one_comparison_each(spread, gappy):
    values = np.random.default_rng(7).uniform(5, 5 + spread, (5000, 20)).astype(np.float32)
    with_gaps(np.random.default_rng(8), values, slice(1, gappy))
    source = Source(values)
    assert keep_unique(source.read, 5000, usual(values)).tolist() == [True] + [False] * 4999
    assert source.compared == 4999


def test_distinct_profiles_are_read_once_and_for_the_axes():
    source = Source(np.random.default_rng(5).normal(8, 2, (3000, 200)).astype(np.float32))
    assert keep_unique(source.read, 3000, np.ones(200, bool)).all()
    assert (source.profiles, source.compared) == (3000 + duplicates.SAMPLE, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 1), (5, 50), (50, 5)])
def test_fewer_profiles_or_rows_than_axes(shape):
    values = np.random.default_rng(6).normal(0, 0.5, shape).astype(np.float32)
    assert kept(values) == brute_force(values)


def test_memory_is_bounded_where_all_profiles_are_copies_with_gaps(monkeypatch):
    monkeypatch.setattr(duplicates, "PAIRS", 2**18)
    values = np.zeros((8000, 8), np.float32)
    values[::2, 0] = values[1::2, 1] = NAN
    known, alive = outline(values), np.ones(8000, bool)
    assert known.gappy.all()
    tracemalloc.start()
    for _, j in near_pairs(values.__getitem__, known, alive, lambda profiles: None):
        alive[j] = False
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert alive.tolist() == [True] + [False] * 7999
    assert peak < 8000**2 / 8  # of a bit a pair


def test_no_row_that_all_measured():
    values = np.array([[NAN, 1], [1, NAN], [2.5, 1.5], [NAN, 3]], np.float32)
    # Profile 1 shares a row with 2 alone, 1.5 apart; 0 and 2 are 0.5 apart.
    assert kept(values) == [True, True, False, True]


def test_pairs_come_in_order_and_each_is_near(blocks):
    values = np.random.default_rng(7).uniform(0, 4, (60, 3)).astype(np.float32)
    values[::3, 2] = NAN
    pairs = list(near_pairs(values.__getitem__, outline(values), np.ones(60, bool), lambda profiles: None))
    assert pairs == list(zip(*np.nonzero(np.triu(distances(values) < 1, 1)), strict=True))


@pytest.mark.parametrize("gappy", [[], [0, 2], [1], [0, 1, 2, 3]])
def test_a_profile_turned_off_is_in_no_further_pair(blocks, gappy):
    values, alive, pairs = np.array([[0.0, 4], [1.5, 4], [0.75, 4], [1.75, 4]]), np.ones(4, bool), []
    values[gappy, 1] = NAN
    for i, j in near_pairs(values.__getitem__, outline(values), alive, lambda profiles: None):
        pairs.append((i, j))
        alive[j] = False
    assert pairs == [(0, 2), (1, 3)]


def test_progress_counts_every_profile_twice(blocks):
    done: list[int] = []
    values = np.random.default_rng(8).normal(size=(100, 4))
    with_gaps(np.random.default_rng(9), values, slice(50))
    keep_unique(values.__getitem__, 100, usual(values), advance=done.append)
    assert sum(done) == 200


def test_legacy_taaf_forgets_the_blocks_offsets(monkeypatch, blocks):
    monkeypatch.setattr(duplicates, "TAAF_BLOCK", 7)
    values = np.random.default_rng(9).uniform(0, 5, (60, 2)).astype(np.float32)
    values[::9, 1] = NAN
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
    values[::9, 1] = NAN
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


def test_legacy_dgex_finds_the_cluster_of_a_profile_with_gaps(monkeypatch):
    monkeypatch.setattr(duplicates, "DGEX_CLUSTERS", 2)
    values = np.repeat(np.array([[0, 0, 0], [1000, 1000, 1000]], np.float32), 5, axis=0)
    values[[1, 6], [0, 2]] = NAN  # a third of the way to the other cluster
    assert kept(values, rule="legacy-dgex", seed=1) == [True, False, False, False, False] * 2


def test_legacy_dgex_is_settled_by_the_seed(monkeypatch):
    monkeypatch.setattr(duplicates, "DGEX_CLUSTERS", 20)
    values = np.random.default_rng(11).uniform(0, 8, (400, 2)).astype(np.float32)
    first, again, other = (kept(values, rule="legacy-dgex", seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_legacy_dgex_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DgexError, match='legacy-dgex: needs sklearn; .*pip install "dgex\\[sklearn\\]"'):
        kept(np.zeros((2, 2)), rule="legacy-dgex")


@pytest.mark.parametrize("scattered", [False, True])
def test_real_arrays_have_no_duplicates_but_those_put_in_and_no_other_pair_is_compared(shared, scattered):
    with h5py.File(shared / "data" / "geo" / "geo_compendium_n704x16687.gctx") as file:
        values = file["0/DATA/0/matrix"][:]
    random = np.random.default_rng(0)
    copies = near(random, values[3].astype(np.float64), 0.99), near(random, values[4].astype(np.float64), 1.01)
    values = np.concatenate([values, np.float32(copies)])
    if scattered:
        with_gaps(random, values, random.choice(704, 250, replace=False))
    source = Source(values)
    keep = keep_unique(source.read, 706, usual(values))
    assert keep.tolist() == [True] * 704 + [False, bool(distances(values[[4, 705]])[0, 1] >= 1)]
    assert source.compared == 2  # a random step is shorter on few axes or rows than in full
