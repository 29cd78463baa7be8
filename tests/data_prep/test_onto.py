"""Mapping a cohort onto a prepared data set, and the originals' arithmetic in both."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.stats import rankdata

from data_prep.__main__ import app
from data_prep.pipeline import Settings, prepare, prepare_onto
from dgex.data.dataset import read_dataset, sha256_of
from dgex.data.genes import Genes, write_gene_table
from dgex.formats.expression import Expression, in_memory
from dgex.formats.gctx import write_gctx

LANDMARK = Genes(("ENSG0", "ENSG1", "ENSG2"), ("A", "B", "C"), ("p0", "p1", "p2"))
TARGET = Genes(("ENSG1", "ENSG4", "ENSG5"), ("B", "D", "E"), ("p3", "p4,p5", "p6"))
MEASURED = [0, 1, 2, 1, 4]  # what the cohort below has of the six genes: ENSG5 is missing


def table(values: np.ndarray, row_id: list[str], sample: str = "GSM") -> Expression:
    study = np.repeat([f"GSE{i}" for i in range(len(values) // 4)], 4)
    return in_memory(values, row_id, [f"{sample}{i}" for i in range(len(values))], sample_metadata={"study_id": study})


@pytest.fixture
def folder(tmp_path) -> Path:
    random = np.random.default_rng(0)
    values = random.normal(8, 2, 7) + random.normal(0, 1, (24, 7))
    write_gctx(tmp_path / "arrays.gctx", table(values.astype(np.float32), [f"p{i}" for i in range(7)]))
    write_gene_table(tmp_path / "map_lm.txt", LANDMARK)
    write_gene_table(tmp_path / "map_tg.txt", TARGET)
    prepare(tmp_path / "arrays.gctx", tmp_path, tmp_path / "prepared.h5", Settings(), "prepare")
    return tmp_path


@pytest.fixture
def counts() -> np.ndarray:
    """Linear RNA-seq of ENSG0, ENSG1, ENSG2 and ENSG4, with ties at zero."""
    return np.array([[0, 900, 33, 0], [5, 0, 70, 800], [0, 0, 0, 40]] * 3, np.float32)[:8]


def mapped(folder, values, legacy=False):
    names = ["ENSG0.3", "ENSG1.1", "ENSG2.10", "ENSG4.2"]
    write_gctx(folder / "cohort.gctx", table(values, names, "RNA"))
    report = prepare_onto(folder / "prepared.h5", folder / "cohort.gctx", folder / "cohort.h5", legacy, "map")
    return report, read_dataset(folder / "cohort.h5")


def test_a_cohort_takes_the_genes_quantiles_and_scaler_of_the_data_set(folder, counts):
    reference = read_dataset(folder / "prepared.h5")
    report, cohort = mapped(folder, counts)
    assert cohort.landmark_genes == reference.landmark_genes and cohort.target_genes == reference.target_genes
    np.testing.assert_array_equal(cohort.quantiles, reference.quantiles)
    np.testing.assert_array_equal(cohort.target_scaler.sd, reference.target_scaler.sd)
    assert (cohort.split == 2).all() and cohort.study[4] == "GSE1"
    assert cohort.provenance["preparation"]["onto"] == sha256_of(folder / "prepared.h5")
    assert report.targets_missing == ("ENSG5",) and "missing and imputed: 1 (ENSG5)" in str(report)
    assert report.targets_that_are_landmarks == ("ENSG1",)
    assert "1, each equal to an input" in str(report)


def test_ranks_are_averaged_and_missing_genes_are_said_to_be(folder, counts):
    reference = read_dataset(folder / "prepared.h5")
    _, cohort = mapped(folder, counts)
    # The cohort's genes, with ENSG1 twice, are 0 900 33 900 0: of five quantiles 0 spans the first two, whose average
    # rank is half-way between them, 33 the third, and 900 the last two.
    five = np.interp(np.linspace(0, 1, 5), np.linspace(0, 1, 6), reference.quantiles.astype(np.float64))
    low, high = five[:2].mean(), five[3:].mean()
    np.testing.assert_allclose(cohort.landmark[0], [low, high, five[2]], rtol=1e-6)
    np.testing.assert_allclose(cohort.target[0], [high, low, np.nan], rtol=1e-6)
    np.testing.assert_array_equal(cohort.target[:, 0], cohort.landmark[:, 1])  # the overlap gene equals its input
    assert np.isnan(cohort.zscores("test")[1]).all(axis=0).tolist() == [False, False, True]
    with h5py.File(folder / "cohort.h5") as file:
        np.testing.assert_array_equal(file["target"][:, 2], reference.target_scaler.mean[2])
        assert np.unpackbits(file["missing/patterns"], axis=1).tolist() == [[0, 0, 0, 0, 0, 1, 0, 0]]


def test_a_profile_does_not_depend_on_the_others(folder, counts):
    _, together = mapped(folder, counts)
    order = [5, 2, 0, 1]
    _, apart = mapped(folder, counts[order])
    np.testing.assert_array_equal(apart.target, together.target[order])


def test_legacy_cohorts_have_dense_ranks_and_their_own_scaler(folder, counts):
    quantiles = read_dataset(folder / "prepared.h5").quantiles.astype(np.float64)
    _, cohort = mapped(folder, counts, legacy=True)
    # 0 900 33 900 0: three different values, whose k + 1 of 3 of 5 measured genes are int(5/3) - 1 = 0, 2 and 4.
    five = np.interp(np.linspace(0, 1, 5), np.linspace(0, 1, 6), quantiles)
    np.testing.assert_allclose(cohort.landmark[0], five[[0, 4, 2]], rtol=1e-6)
    wide = cohort.landmark.astype(np.float64)
    np.testing.assert_allclose(cohort.landmark_scaler.mean, wide.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(cohort.landmark_scaler.sd, wide.std(axis=0) + 1e-3, rtol=1e-5)
    assert np.isfinite(cohort.zscores("test")[1][:, :2]).all()


def test_legacy_fits_are_over_all_samples(folder):
    prepare(folder / "arrays.gctx", folder, folder / "legacy.h5", Settings(legacy=True), "prepare")
    legacy, honest = read_dataset(folder / "legacy.h5"), read_dataset(folder / "prepared.h5")
    wide = legacy.target.astype(np.float64)
    np.testing.assert_allclose(legacy.target_scaler.mean, wide.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(legacy.target_scaler.sd, wide.std(axis=0) + 1e-3, rtol=1e-5)
    assert abs(legacy.quantiles - honest.quantiles).max() > 1e-3


def test_legacy_ranks_are_those_of_float64_averages(folder):
    """Float32 would round the mean of 8 and the number after it to 8, and make it a tie with another gene's 8."""
    random = np.random.default_rng(1)
    values = (random.normal(8, 2, 7) + random.normal(0, 1, (24, 7))).astype(np.float32)
    values[0, 4:] = 8, np.nextafter(np.float32(8), np.float32(9)), 8
    write_gctx(folder / "close.gctx", table(values, [f"p{i}" for i in range(7)]))
    prepare(folder / "close.gctx", folder, folder / "close.h5", Settings(legacy=True), "prepare")
    dataset = read_dataset(folder / "close.h5")
    assert len(dataset.target) == 24
    wide = values.astype(np.float64)
    genes = np.hstack([wide[:, :4], wide[:, 4:6].mean(axis=1, keepdims=True), wide[:, 6:]])
    quantiles = np.sort(genes, axis=1).mean(axis=0)
    expected = quantiles[rankdata(genes, axis=1).astype(int) - 1]
    np.testing.assert_allclose(np.hstack([dataset.landmark, dataset.target]), expected, rtol=1e-6)
    assert dataset.target[0, 1] > dataset.target[0, 2]


def test_legacy_cohorts_are_ranked_as_they_were_measured(folder):
    """Logarithms in float32 would make a tie of neighbouring float32 numbers."""
    counts = np.tile(np.array([0, 1000, 33, np.nextafter(np.float32(1000), np.float32(2000))], np.float32), (8, 1))
    counts[:, 2] += np.arange(8)  # or they would be one profile
    _, cohort = mapped(folder, counts, legacy=True)
    assert (cohort.target[:, 1] > cohort.landmark[:, 1]).all()


def test_no_profile_of_a_cohort_is_trained_on(folder, counts, refused):
    mapped(folder, counts)
    from experiments import compare

    arguments = ["--data", str(folder / "cohort.h5"), "-o", str(folder / "results")]
    assert "cohort.h5: has no train samples" in refused(lambda: compare.app(arguments))
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ([], "give either --genes"),
        (["--genes", ".", "--onto", "prepared.h5"], "give either --genes"),
        (["--onto", "map_lm.txt"], "is not an HDF5 file"),
        (["--onto", "nowhere.h5"], "nowhere.h5: cannot be read"),
        (["--onto", "prepared.h5", "--seed", "0"], "--seed: cannot be used with --onto"),
        (["--onto", "prepared.h5", "--fractions", "1", "1", "1"], "--fractions: cannot be used with --onto"),
        (["--onto", "prepared.h5", "-o", "prepared.h5"], "prepared.h5: is read to make this output"),
        (["--onto", "prepared.h5"], "such as GSM0, are training samples of prepared.h5; leave them out"),
    ],
)
def test_what_cannot_be_mapped_is_refused(folder, refused, monkeypatch, more, complaint):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert complaint in refused(lambda: app(["prepare", "arrays.gctx", "-o", "out.h5", *more]))
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("member", "index", "value", "complaint"),
    [
        ("quantiles", 1, np.nan, "/quantiles holds NaN"),
        ("quantiles", 0, 99, "/quantiles are not ascending"),
        ("scaler/target/sd", 0, 0, "/scaler/target/sd is not positive"),
        ("scaler/landmark/mean", 0, np.inf, "/scaler/landmark/mean holds NaN or infinite"),
        ("gene/target/ensembl", 1, "ENSG1", "/gene/target/ensembl holds ENSG1 twice"),
    ],
)
def test_a_damaged_reference_is_refused(folder, counts, refused, member, index, value, complaint):
    mapped(folder, counts)  # writes the cohort
    with h5py.File(folder / "prepared.h5", "r+") as file:
        file[member][index] = value
    arguments = [str(folder / "cohort.gctx"), "--onto", str(folder / "prepared.h5"), "-o", str(folder / "out.h5")]
    assert complaint in refused(lambda: app(["prepare", *arguments]))
    assert not (folder / "out.h5").exists()


def test_two_versions_of_a_gene_are_none_of_it(folder, counts):
    values = np.hstack([counts, counts[:, :1]])
    write_gctx(folder / "cohort.gctx", table(values, ["ENSG0.3", "ENSG0.4", "ENSG1.2", "ENSG4.2", "ENSG2"], "RNA"))
    report = prepare_onto(folder / "prepared.h5", folder / "cohort.gctx", folder / "out.h5", False, "map")
    assert (report.landmarks_missing, report.targets_missing) == (("ENSG0",), ("ENSG5",))
    assert report.remarks == ("1 ambiguous, so missing: A (ENSG0): ENSG0 (2 times)",)
    assert f"note                {report.remarks[0]}\n" in str(report)
    dataset = read_dataset(folder / "out.h5")
    assert dataset.provenance["preparation"]["remarks"] == list(report.remarks)


@pytest.mark.parametrize("field", [None, "gene"])
@pytest.mark.parametrize("naming", ["symbol", "Ensembl id"])
def test_cohorts_may_name_genes_as_for_prediction(folder, counts, naming, field):
    """By symbols of the gene tables, in ids or metadata; of a symbol that stands twice the rows are averaged."""
    _, expected = mapped(folder, counts)
    names = {"symbol": ["A", "B", "C", "D"], "Ensembl id": ["ENSG0", "ENSG1", "ENSG2", "ENSG4"]}[naming]
    rows = names + [""] if field is None else ["x", "x", "", "", "x"]
    given = table(np.hstack([counts, counts[:, :1]]), rows, "RNA")
    if field:
        given = replace(given, row_metadata={field: np.array([*names, "none"])})
    write_gctx(folder / "named.gctx", given)
    report = prepare_onto(folder / "prepared.h5", folder / "named.gctx", folder / "named.h5", False, "map")
    found = read_dataset(folder / "named.h5")
    assert report.naming == naming and report.targets_missing == ("ENSG5",)
    assert "1, each equal to an input" in str(report)
    for side in ("landmark", "target"):
        np.testing.assert_array_equal(getattr(found, side), getattr(expected, side))
    if naming == "symbol" and field is None:
        write_gctx(folder / "twice.gctx", table(np.hstack([counts, counts[:, 3:]]), [*names, "D"], "RNA"))
        report = prepare_onto(folder / "prepared.h5", folder / "twice.gctx", folder / "twice.h5", False, "map")
        assert report.remarks == ("1 averaged over rows of one symbol: D (ENSG4): 2 rows",)
        np.testing.assert_array_equal(read_dataset(folder / "twice.h5").target, expected.target)


def test_real_rna_seq(shared, prepared_compendium, tmp_path):
    cohort = shared / "data" / "geo" / "rnaseq_cohorts_n661x10018.gctx"
    report = prepare_onto(prepared_compendium, cohort, tmp_path / "rnaseq.h5", False, "map")
    dataset = read_dataset(tmp_path / "rnaseq.h5")
    assert report.naming == "Ensembl id" and len(set(dataset.study)) == 11
    assert len(report.targets_that_are_landmarks) == dataset.overlap.sum() == 445
    landmark_of = {gene: column for column, gene in enumerate(dataset.landmark_genes.ensembl)}
    for column in np.flatnonzero(dataset.overlap):
        own = landmark_of[dataset.target_genes.ensembl[column]]
        measured = dataset.landmark[:, own] != dataset.landmark_scaler.mean[own]
        assert measured.any()
        np.testing.assert_array_equal(dataset.target[measured, column], dataset.landmark[measured, own])
