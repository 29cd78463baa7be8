"""Several sources in one prepared file: the first platform's values as if it were alone, the others' with offsets."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep.__main__ import app
from data_prep.folds import prepare_folds
from data_prep.pipeline import Settings, prepare
from data_prep.split import split_by_fold
from dgex.data.dataset import Dataset, read_dataset
from dgex.data.genes import Genes, write_gene_table
from dgex.data.normalization import to_quantiles
from dgex.data.platforms import fit_offsets
from dgex.formats.expression import in_memory
from dgex.formats.gctx import write_gctx

PROBES = tuple(f"p{i}" for i in range(20))
ENSEMBL = tuple(f"ENSG{i}" for i in range(20))
SYMBOLS = tuple("ABCDEFGHIJKLMNOPQRST")
LANDMARK = Genes(ENSEMBL[:8], SYMBOLS[:8], PROBES[:8])
TARGET = Genes(ENSEMBL[8:], SYMBOLS[8:], PROBES[8:])
FOLD = Settings(fold=(1, 3))


def log2_values(samples: int, seed: int) -> np.ndarray:
    """Each gene has a level of its own, so that the profiles agree as those of intensities do."""
    random = np.random.default_rng(seed)
    return (random.normal(8, 3, 20) + random.normal(0, 1, (samples, 20))).astype(np.float32)


def write_source(
    path: Path, name: str, values: np.ndarray, rows: tuple[str, ...], studies: int = 4, **fields: list[str]
) -> None:
    """Studies of one size, one after the other; samples and studies are called after ``name``."""
    samples = [f"{name}{i}" for i in range(len(values))]
    study = np.repeat([f"{name}-{i}" for i in range(studies)], len(values) // studies)
    metadata = {"study_id": study} | {field: np.array(column) for field, column in fields.items()}
    write_gctx(path, in_memory(values, rows, samples, sample_metadata=metadata))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Arrays; RNA-seq without ENSG15 in four profiles; more RNA-seq, linear, without ENSG14."""
    monkeypatch.chdir(tmp_path)
    write_gene_table(tmp_path / "map_lm.txt", LANDMARK)
    write_gene_table(tmp_path / "map_tg.txt", TARGET)
    write_source(tmp_path / "arrays.gctx", "GSM", log2_values(24, 0), PROBES)
    counts = log2_values(16, 1)
    counts[:4, 15] = np.nan
    write_source(tmp_path / "rna.gctx", "RNA", counts, tuple(f"{gene}.1" for gene in ENSEMBL))
    present = np.delete(np.arange(20), 14)
    more = np.exp2(log2_values(12, 2)[:, present])
    write_source(tmp_path / "more.gctx", "MORE", more, tuple(f"{ENSEMBL[i]}.2" for i in present))
    return tmp_path


def prepared(folder: Path, *names: str, settings: Settings = FOLD) -> Dataset:
    """The data set of these sources."""
    prepare([folder / f"{name}.gctx" for name in names], folder, folder / "out.h5", settings, "prepare")
    return read_dataset(folder / "out.h5")


@pytest.mark.parametrize("settings", [FOLD, Settings(), Settings("sample", seed=3), Settings(legacy=True)])
def test_another_platform_changes_nothing_of_the_first(folder, settings):
    alone = prepared(folder, "arrays", settings=settings)
    both = prepared(folder, "arrays", "rna", "more", settings=settings)
    assert both.platforms.name == ("array", "rnaseq")
    np.testing.assert_array_equal(both.platform, np.repeat([0, 1], [24, 28]))
    for field in ("landmark", "target", "split"):
        np.testing.assert_array_equal(getattr(both, field)[:24], getattr(alone, field))
    np.testing.assert_array_equal(both.quantiles, alone.quantiles)
    for scaler in ("landmark_scaler", "target_scaler"):
        for field in ("mean", "sd"):
            np.testing.assert_array_equal(getattr(getattr(both, scaler), field), getattr(getattr(alone, scaler), field))


def test_offsets_are_those_of_the_platforms_training_profiles(folder):
    dataset = prepared(folder, "arrays", "rna", "more")
    train = dataset.split == 0
    for side in ("landmark", "target"):
        values, scaler = getattr(dataset, side), getattr(dataset, f"{side}_scaler")
        wanted = fit_offsets(values[train], dataset.platform[train], scaler, 2)
        np.testing.assert_allclose(getattr(dataset.platforms, side), wanted, rtol=0, atol=2e-6)
    assert not dataset.platforms.landmark[0].any() and (np.abs(dataset.platforms.landmark[1]) > 1e-3).all()


def test_other_platforms_are_mapped_onto_the_quantiles(folder):
    """Profile by profile; what a source lacks is missing, and has z-score 0 in the file."""
    dataset = prepared(folder, "arrays", "rna", "more")
    counts, linear = log2_values(16, 1), np.exp2(log2_values(12, 2))
    counts[:4, 15], linear[:, 14] = np.nan, np.nan
    values = np.concatenate([counts, np.log2(linear.astype(np.float64) + 1)])
    wanted = to_quantiles(values, dataset.quantiles, "rank")
    np.testing.assert_allclose(np.hstack([dataset.landmark, dataset.target])[24:], wanted, rtol=0, atol=1e-6)


def test_missing_values_take_the_mean_of_their_platform(folder):
    dataset = prepared(folder, "arrays", "rna")
    with h5py.File(folder / "out.h5") as file:
        filled = file["target"][24:28, 7]
    np.testing.assert_array_equal(filled, dataset.target_scaler.mean[7] + dataset.platforms.target[1, 7])


def test_ids_and_copies_of_an_earlier_source_are_removed(folder):
    """A copy in the rows that both have; an id whatever its values."""
    copies = log2_values(16, 1)
    copies[1:] += np.random.default_rng(9).normal(0, 1.5, (15, 20)).astype(np.float32)
    write_source(folder / "copies.gctx", "COPY", copies, ENSEMBL)
    other = log2_values(16, 5)
    write_source(folder / "ids.gctx", "RNA", other, ENSEMBL)
    sources = [folder / f"{name}.gctx" for name in ("arrays", "rna", "copies", "ids")]
    report = prepare(sources, folder, folder / "out.h5", Settings("sample"), "prepare")
    assert report.duplicates_removed == ("COPY0", *(f"RNA{i}" for i in range(16)))
    assert sum(report.split_samples.values()) == 24 + 16 + 15


def test_platforms_named_by_the_user_the_samples_or_the_rows(folder):
    write_source(folder / "own.gctx", "OWN", log2_values(24, 7), ENSEMBL, platform=["nanopore", ""] * 12)
    assert prepared(folder, "arrays", "own").platforms.name == ("array", "nanopore", "rnaseq")
    names = Settings(fold=(1, 3), platforms=("u133", "long reads"))
    dataset = prepared(folder, "arrays", "own", settings=names)
    assert dataset.platforms.name == ("u133", "long reads") and (dataset.platform[24:] == 1).all()
    dataset = prepared(folder, "rna", "arrays")
    assert dataset.platforms.name == ("rnaseq", "array") and (dataset.platform[:16] == 0).all()


def test_projects_are_not_split(folder):
    """Neither in a platform nor over two; the first platform decides."""
    project = ["P", "P", "Q", "R"]
    write_source(folder / "arrays.gctx", "GSM", log2_values(24, 0), PROBES, project=np.repeat(project, 6).tolist())
    shared = ["R", "S", "T", "U"]
    write_source(folder / "rna.gctx", "RNA", log2_values(16, 1), ENSEMBL, project=np.repeat(shared, 4).tolist())
    for number in range(1, 4):
        dataset = prepared(folder, "arrays", "rna", settings=Settings(fold=(number, 3)))
        placed = set(zip(dataset.project, dataset.split.tolist(), strict=True))
        assert sorted(project for project, _ in placed) == list("PQRSTU")
        wanted = split_by_fold(np.repeat(project, 6).tolist(), (number, 3))
        np.testing.assert_array_equal(dataset.split[:24], wanted)


def test_projects_that_leave_too_few_folds_are_named(folder, refused):
    write_source(folder / "arrays.gctx", "GSM", log2_values(24, 0), PROBES, project=list("PPPPPPPPPPPPQQQQQQQQQQQQ"))
    said = refused(lambda: app(["folds", "arrays.gctx", "--genes", ".", "--folds", "3", "-o", "study"]))
    assert "arrays.gctx: 2 studies are too few for 3 folds; add studies (24 of 24 profiles" in said
    assert "; the sample field project joins 4 studies into 2)" in said
    assert not list(folder.glob("study/*"))


def test_folds_with_a_platform_for_training_only(folder):
    sources = [folder / "arrays.gctx", folder / "rna.gctx"]
    written = list(prepare_folds(sources, folder, folder / "study", 3, train_only=("rnaseq",)))
    assert [each.path.name for each in written] == ["fold-1.h5", "fold-2.h5", "fold-3.h5", "sample.h5"]
    for each in written:
        dataset = read_dataset(each.path)
        assert not dataset.split[24:].any() and set(dataset.split[:24].tolist()) == {0, 1, 2}
    assert all(each.kept for each in prepare_folds(sources, folder, folder / "study", 3, train_only=("rnaseq",)))


def test_a_cohort_is_mapped_onto_the_platform_of_its_rows(folder):
    sources = [folder / "arrays.gctx", folder / "rna.gctx"]
    list(prepare_folds(sources, folder, folder / "study", 3, (folder / "more.gctx",)))
    base, cohort = (read_dataset(folder / "study" / f"fold-1{name}.h5") for name in ("", ".more"))
    assert cohort.platforms.name == base.platforms.name and (cohort.platform == 1).all()
    np.testing.assert_array_equal(cohort.platforms.target, base.platforms.target)


def few_profiles(folder: Path) -> None:
    write_source(folder / "rna.gctx", "RNA", log2_values(8, 1), ENSEMBL)


def one_study(folder: Path) -> None:
    write_source(folder / "rna.gctx", "RNA", log2_values(16, 1), ENSEMBL, studies=1)


def no_shared_target(folder: Path) -> None:
    write_source(folder / "arrays.gctx", "GSM", log2_values(24, 0)[:, :14], PROBES[:14])
    present = np.delete(np.arange(20), range(8, 14))
    write_source(folder / "rna.gctx", "RNA", log2_values(16, 1)[:, present], tuple(ENSEMBL[i] for i in present))


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (few_profiles, [], "platform rnaseq has 8 profiles of 4 studies, and needs 10 of 2"),
        (one_study, [], "platform rnaseq has 16 profiles of 1 studies"),
        (no_shared_target, [], "the platforms array and rnaseq share no target gene"),
        (None, ["--platform", "array"], "--platform: names 1 platforms of 2 sources"),
        (None, ["--train-only", "nanopore"], "has no platform 'nanopore'; choose from array, rnaseq"),
        (None, ["--fold", "1", "5"], "4 studies are too few for 5 folds"),
    ],
)
def test_bad_input(folder, refused, spoil: Callable[[Path], None] | None, options, message):
    if spoil:
        spoil(folder)
    arguments = ["prepare", "arrays.gctx", "rna.gctx", "--genes", ".", "-o", "out.h5", *options]
    assert message in refused(lambda: app(arguments))
    assert not (folder / "out.h5").exists()
