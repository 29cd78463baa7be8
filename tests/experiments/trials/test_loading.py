"""Parts of a prepared file are the same for all trials, nested, and made once; unmeasured genes are known."""

import gc
import weakref

import jax
import numpy as np
import pytest

from dgex.data.dataset import read_dataset
from experiments.trials.loading import Loaded, measured_in_all, random_subset
from experiments.trials.sources import Sources


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
