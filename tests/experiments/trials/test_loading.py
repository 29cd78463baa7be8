"""Parts of a prepared file are the same for all trials, nested, and made once; unmeasured genes are known."""

import gc
import weakref
from pathlib import Path

import jax
import numpy as np
import pytest

from dgex.data.dataset import read_dataset
from dgex.errors import DgexError
from experiments.trials.loading import Loaded, measured_in_all, part_of, random_subset
from experiments.trials.sources import Sources, find_sources


@pytest.fixture(scope="module")
def loaded(sources: Sources) -> Loaded:
    return Loaded(sources.folds[0], tuple(jax.devices()[:1]))


def test_a_part_is_drawn_once_and_nested() -> None:
    assert random_subset(7, None).tolist() == list(range(7))
    few, more = random_subset(100, 10), random_subset(100, 40)
    assert len(few) == len(set(few.tolist())) == 10 and set(few) < set(more) < set(range(100))
    assert (np.diff(more) > 0).all()
    np.testing.assert_array_equal(few, random_subset(100, 10))
    assert random_subset(100, 1000).tolist() == list(range(100))
    assert sorted([*few.tolist(), *random_subset(100, -90).tolist()]) == list(range(100))


# Studies of 3, 1, 4, 2 and 2 profiles; "e" is on both platforms.
STUDY = np.array(list("aaabccccddee"))
PLATFORM = np.array(["array"] * 4 + ["rnaseq"] * 4 + ["array"] * 3 + ["rnaseq"])


def test_a_part_of_a_platform() -> None:
    everything = part_of(STUDY, PLATFORM, None, None, None)
    assert everything.tolist() == list(range(12))
    assert part_of(STUDY, PLATFORM, None, None, "array").tolist() == [0, 1, 2, 3, 8, 9, 10]
    assert part_of(STUDY, PLATFORM, None, None, "rnaseq").tolist() == [4, 5, 6, 7, 11]
    assert part_of(STUDY, PLATFORM, 3, None, "nanopore").tolist() == []


@pytest.mark.parametrize("platform", [None, "array"])
def test_a_part_of_the_studies_has_all_their_profiles_and_is_nested(platform: str | None) -> None:
    rows = np.arange(12) if platform is None else np.flatnonzero(PLATFORM == platform)
    known = sorted(set(STUDY[rows].tolist()))
    before: set[int] = set()
    for number in range(1, len(known) + 1):
        part = part_of(STUDY, PLATFORM, None, number, platform)
        chosen = set(STUDY[part].tolist())
        assert len(chosen) == number
        assert part.tolist() == [row for row in rows.tolist() if STUDY[row] in chosen]
        assert before < set(part.tolist())
        before = set(part.tolist())
    assert part_of(STUDY, PLATFORM, None, 99, platform).tolist() == rows.tolist()


def test_profiles_are_drawn_from_the_chosen_studies() -> None:
    of_two = part_of(STUDY, PLATFORM, None, 2, "array")
    np.testing.assert_array_equal(part_of(STUDY, PLATFORM, 2, 2, "array"), of_two[random_subset(len(of_two), 2)])
    assert part_of(STUDY, PLATFORM, 5, None, None).tolist() == random_subset(12, 5).tolist()


def test_samples_are_the_parts_of_the_file(loaded: Loaded) -> None:
    landmark, target = loaded.dataset.zscores("train")
    assert loaded.profiles == len(landmark) == 86
    everything, some = loaded.samples("train"), loaded.samples("train", 12, 20)
    np.testing.assert_array_equal(everything.target, target)
    np.testing.assert_array_equal(some.landmark, landmark[random_subset(86, 20)])
    np.testing.assert_array_equal(some.target, target[random_subset(86, 20)][:, random_subset(40, 12)])
    validation = loaded.samples("validation", 12)
    np.testing.assert_array_equal(validation.target, loaded.dataset.zscores("validation")[1][:, random_subset(40, 12)])


def test_all_sources_have_the_same_targets_in_a_part(sources: Sources) -> None:
    genes = [read_dataset(source.path).target_genes.ensembl for source in sources]
    assert genes == [genes[0]] * 6


def test_what_is_asked_for_twice_is_made_once(loaded: Loaded) -> None:
    assert loaded.samples("train", 12) is loaded.samples("train", 12, None) is loaded.samples("train", targets=12)
    assert loaded.samples("train", 12) is not loaded.samples("train", 12, 20)
    assert loaded.held_out(12) is loaded.held_out(targets=12)


def test_what_was_kept_goes_with_the_object(sources: Sources) -> None:
    """At once: the next file is read when this one is let go of, and both need not fit."""
    loaded = Loaded(sources.folds[0], tuple(jax.devices()[:1]))
    samples = weakref.ref(loaded.samples("train", 12))
    held = weakref.ref(loaded.held_out(12)[0])
    gc.disable()
    try:
        del loaded
        assert samples() is None and held() is None
    finally:
        gc.enable()


def test_held_out_samples(loaded: Loaded, sources: Sources) -> None:
    test, cohort = loaded.held_out(12)
    assert (test.name, cohort.name) == ("test", "rna")
    rows = loaded.dataset.split == 2
    assert test.study == tuple(np.asarray(loaded.dataset.study)[rows])
    columns = random_subset(40, 12)
    np.testing.assert_array_equal(test.target, loaded.dataset.zscores("test")[1][:, columns])
    np.testing.assert_array_equal(test.sd, loaded.dataset.target_scaler.sd[columns])
    np.testing.assert_array_equal(test.overlap, loaded.dataset.overlap[columns])
    assert test.measured.all()
    mapped = read_dataset(sources.folds[0].cohorts["rna"])
    np.testing.assert_array_equal(cohort.landmark, mapped.zscores("test")[0])
    assert cohort.target.shape == (42, 12) and len(set(cohort.study)) == 6


def test_missing_genes_of_a_cohort_are_not_measured(loaded: Loaded) -> None:
    genes, inputs = loaded.dataset.target_genes.ensembl, loaded.dataset.landmark_genes.ensembl
    missing = [name for name in genes if name not in inputs][:2]  # as the cohort was made
    _, cohort = loaded.held_out()
    assert [name for name, known in zip(genes, cohort.measured, strict=True) if not known] == missing


def test_a_gene_is_measured_where_every_study_has_it() -> None:
    target = np.zeros((8, 4))
    target[:, 0] = np.nan  # nowhere measured
    target[4:, 1] = np.nan  # not in the second study
    target[:2, 2] = np.nan  # half of the first study
    assert measured_in_all(target, ["a"] * 4 + ["b"] * 4).tolist() == [False, False, True, True]


@pytest.fixture(scope="module")
def mixed(two_platforms: Path) -> Loaded:
    """A fold of arrays and RNA-seq."""
    return Loaded(find_sources(two_platforms).folds[0], tuple(jax.devices()[:1]))


def test_samples_of_one_platform_and_of_two_splits(mixed: Loaded) -> None:
    dataset = mixed.dataset
    parts = [dataset.zscores(split) for split in ("train", "validation")]
    both = mixed.samples("train and validation")
    np.testing.assert_array_equal(both.landmark, np.concatenate([landmark for landmark, _ in parts]))
    np.testing.assert_array_equal(both.target, np.concatenate([target for _, target in parts]))
    for code, name in enumerate(("array", "rnaseq")):
        of = [dataset.platform[dataset.split == split] == code for split in (0, 1)]
        assert 0 < of[0].sum() < len(of[0]) and 0 < of[1].sum() < len(of[1])
        one = mixed.samples("train and validation", 12, platform=name)
        expected = np.concatenate([target[rows] for (_, target), rows in zip(parts, of, strict=True)])
        np.testing.assert_array_equal(one.target, expected[:, random_subset(40, 12)])
        np.testing.assert_array_equal(mixed.samples("validation", platform=name).landmark, parts[1][0][of[1]])
    with pytest.raises(DgexError, match=r"fold-1.h5: has no train samples of the platform 'nanopore'"):
        mixed.samples("train", platform="nanopore")


def test_test_samples_of_each_platform_are_held_out_sets(mixed: Loaded) -> None:
    test, *by_platform = mixed.held_out(12)
    assert [held.name for held in by_platform] == ["test on array", "test on rnaseq"]
    dataset = mixed.dataset
    code = dataset.platform[dataset.split == 2]
    landmark, target = dataset.zscores("test")
    for number, held in enumerate(by_platform):
        rows = code == number
        assert held.study == tuple(np.asarray(dataset.study)[dataset.split == 2][rows]) and held.study
        assert all(name.startswith(("STUDY", "RNASTUDY")[number]) for name in held.study)
        np.testing.assert_array_equal(held.landmark, landmark[rows])
        np.testing.assert_array_equal(held.target, target[rows][:, random_subset(40, 12)])
        np.testing.assert_array_equal(held.sd, test.sd)
        assert held.measured.all()
