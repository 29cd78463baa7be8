"""The splits: sizes, determinism, and studies kept whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.split import split_by_fold, split_by_sample, split_by_study
from dgex.errors import DgexError

# The real compendium's studies.
SIZES = (105, 104, 75, 45, 43, 41, 33, 31, 30, 26, 25, 24, 24, 22, 19, 16, 11, 10, 8, 6, 6)
STUDIES = np.repeat([f"GSE{i}" for i in range(len(SIZES))], SIZES)


def test_split_by_sample_has_the_asked_sizes():
    assert np.bincount(split_by_sample(704)).tolist() == [563, 71, 70]
    assert np.bincount(split_by_sample(10, (0.5, 0.3, 0.2))).tolist() == [5, 3, 2]
    assert split_by_sample(10).dtype == np.uint8


@pytest.mark.parametrize(("split", "samples"), [(split_by_sample, 704), (split_by_study, STUDIES)])
def test_the_seed_decides(split, samples):
    np.testing.assert_array_equal(split(samples, seed=5), split(samples, seed=5))
    assert (split(samples, seed=5) != split(samples, seed=6)).any()


@pytest.mark.parametrize("seed", range(10))
def test_split_by_study_is_near_the_fractions(seed):
    sizes = np.bincount(split_by_study(STUDIES, seed=seed), minlength=3)
    assert np.abs(sizes - [563.2, 70.4, 70.4]).max() < 6  # the smallest study's size


@given(st.lists(st.integers(1, 30), min_size=3, max_size=12), st.integers(0, 3), st.randoms())
def test_no_study_is_divided_no_split_empty_and_the_order_of_samples_is_nothing(sizes, seed, random):
    studies = np.repeat(np.arange(len(sizes)).astype(str), sizes)
    split = split_by_study(studies, seed=seed)
    assert all(len(set(split[studies == study])) == 1 for study in set(studies))
    assert set(split) == {0, 1, 2}
    order = random.sample(range(len(studies)), len(studies))
    np.testing.assert_array_equal(split_by_study(studies[order], seed=seed), split[order])


@given(st.lists(st.integers(1, 30), min_size=3, max_size=15), st.integers(3, 6), st.integers(0, 3))
def test_every_study_is_once_test_and_once_validation(sizes, folds, seed):
    studies = np.repeat(np.arange(len(sizes)).astype(str), sizes)
    if len(sizes) < folds:
        with pytest.raises(DgexError, match=f"{len(sizes)} studies are too few for {folds} folds; use fewer folds"):
            split_by_fold(studies, (1, folds), seed)
        return
    splits = np.stack([split_by_fold(studies, (number, folds), seed) for number in range(1, folds + 1)])
    for code in (1, 2):
        assert ((splits == code).sum(axis=0) == 1).all()
    for split in splits:
        assert set(split) == {0, 1, 2}
        assert all(len(set(split[studies == study])) == 1 for study in set(studies))
    np.testing.assert_array_equal(splits[0] == 1, splits[1] == 2)  # the fold after is the next one's test split


def test_folds_are_of_about_one_size():
    sizes = [(split_by_fold(STUDIES, (number, 5)) == 2).sum() for number in range(1, 6)]
    assert sum(sizes) == 704 and max(sizes) - min(sizes) < 12


@pytest.mark.parametrize(
    ("fold", "complaint"), [((1, 2), "2 folds are too few"), ((0, 5), "no fold 0 of 5"), ((6, 5), "6 of 5")]
)
def test_no_such_fold(fold, complaint):
    with pytest.raises(DgexError, match=complaint):
        split_by_fold(STUDIES, fold)


@pytest.mark.parametrize(
    ("split", "complaint"),
    [
        (lambda: split_by_sample(3), "3 samples are too few: none is left for test"),
        (lambda: split_by_study(["A"] * 9 + ["B"]), "2 studies are too few"),
    ],
)
def test_too_few_are_refused(refused, split, complaint):
    assert complaint in refused(split)


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.0, 0.0, 0.0), (0.8, 0.3, -0.1), (float("nan"),) * 3])
def test_fractions_that_are_no_shares(fractions):
    for split in (lambda: split_by_sample(100, fractions), lambda: split_by_study(list("abcdefg"), fractions)):
        with pytest.raises(DgexError, match="must be positive and sum to 1"):
            split()


def test_fractions_are_followed():
    split = split_by_sample(200, (0.5, 0.3, 0.2), seed=1)
    assert np.bincount(split).tolist() == [100, 60, 40]
