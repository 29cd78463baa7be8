"""Preparation from end to end: against the arithmetic spelt out in float64, on real arrays, and on bad input."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.stats import rankdata

from data_prep.__main__ import app
from data_prep.inspection import inspect
from data_prep.pipeline import Settings, prepare
from data_prep.steps import Steps
from dgex.data.dataset import read_dataset, sha256_of
from dgex.data.genes import Genes, write_gene_table
from dgex.formats.expression import Expression, in_memory
from dgex.formats.gctx import open_gctx, write_gctx
from dgex.formats.h5ad import to_anndata

NAN = np.nan
LANDMARK = Genes(("E0", "E1", "E2"), ("A", "B", "C"), ("p0", "p1", "p2"))
# E1 is a target too; E8's probe set is not in the source.
TARGET = Genes(("E1", "E4", "E5", "E8", "E9"), tuple("BDEFG"), ("p3", "p4,p5,p6", "p7", "p99", "p8,p98"))
PROBES = [[0], [1], [2], [3], [4, 5, 6], [7], [8]]
ROWS = tuple(f"p{i}" for i in [*range(9), 10])  # p10 belongs to no gene


def expression_values(rows: int, seed: int = 0) -> np.ndarray:
    """Forty arrays, in whose values each row has a level of its own."""
    random = np.random.default_rng(seed)
    return (random.normal(8, 2, rows) + random.normal(0, 1, (40, rows))).astype(np.float32)


def table(values: np.ndarray, row_id: tuple[str, ...] = ROWS) -> Expression:
    """Eight studies of five arrays."""
    study = np.repeat([f"GSE{i}" for i in range(8)], 5)
    return in_memory(values, row_id, tuple(f"GSM{i}" for i in range(40)), sample_metadata={"study_id": study})


@pytest.fixture
def values() -> np.ndarray:
    return expression_values(10)


@pytest.fixture
def folder(tmp_path, values) -> Path:
    write_gctx(tmp_path / "source.gctx", table(values))
    write_gene_table(tmp_path / "map_lm.txt", LANDMARK)
    write_gene_table(tmp_path / "map_tg.txt", TARGET)
    return tmp_path


def prepared(folder, expression, split="study", name="prepared.h5"):
    """The report and the data set that preparation of ``expression`` gives."""
    write_gctx(folder / "source.gctx", expression)
    report = prepare(folder / "source.gctx", folder, folder / name, Settings(split), command="prepare")
    return report, read_dataset(folder / name)


def changed(values, *changes):
    """The values with ``values[index] = value`` for each change (index, value)."""
    values = values.copy()
    for index, value in changes:
        values[index] = value
    return values


@pytest.mark.parametrize("scale", [lambda x: x, np.exp2], ids=["log2", "linear"])
def test_values_that_stand_for_missing_ones_are_gaps(folder, values, scale):
    """As if they were NaN; they are told in the report, which the file keeps."""
    somewhere = (slice(3, 5), 4), (7, 5), (11, 2)  # probe sets of a gene with others, and a gene
    gaps = changed(scale(values), *((where, NAN) for where in somewhere))
    stand_ins = changed(scale(values), *zip(somewhere, (-9999, -666, 1e20), strict=True))
    wanted, dataset = prepared(folder, table(gaps))
    report, other = prepared(folder, table(stand_ins), name="other.h5")
    assert report == replace(wanted, taken_as_missing="2 of -9999, 1 of -666, 1 of 1e+20")
    assert report.incomplete_removed == ("GSM11",) and "taken as missing    2 of -9999" in str(report)
    for side in ("landmark", "target"):
        np.testing.assert_array_equal(getattr(other, side), getattr(dataset, side))
    assert other.provenance["preparation"]["taken_as_missing"] == report.taken_as_missing
    assert inspect(folder / "other.h5", Steps()).facts["taken as missing"] == report.taken_as_missing


def test_a_layer_can_be_prepared(folder, values, capsys, refused):
    """As if it were X; the command that the file keeps names it."""
    _, wanted = prepared(folder, table(values))
    adata = to_anndata(table(values))
    adata.layers["log"], adata.X = adata.X, None
    adata.write_h5ad(folder / "source.h5ad")
    (folder / "prepared.h5").unlink()
    assert "has no X; choose one of its 'log' (--layer NAME)" in refused(run_prepare(folder, source="source.h5ad"))
    run_prepare(folder, "--layer", "log", source="source.h5ad")()
    dataset = read_dataset(folder / "prepared.h5")
    np.testing.assert_array_equal(dataset.target, wanted.target)
    assert " --layer log " in dataset.provenance["command"]
    assert dataset.provenance["preparation"]["kind"] == "h5ad, layer log"
    assert inspect(folder / "source.h5ad", Steps(), "log").facts["shape"] == "40 samples x 10 rows"


def test_genes_may_be_in_columns(folder, values):
    """As DepMap has them; then fields of the lines are fields of the samples."""
    report, wanted = prepared(folder, table(values))
    other_report, other = prepared(folder, table(values).transposed(), name="other.h5")
    assert report == other_report
    for field in ("landmark", "target", "split", "sample_id", "study"):
        np.testing.assert_array_equal(getattr(other, field), getattr(wanted, field))


def test_reports_of_older_files_are_read(folder, values):
    prepared(folder, table(values))
    with h5py.File(folder / "prepared.h5", "r+") as file:
        preparation = json.loads(file["preparation"].asstr()[()])
        del preparation["taken_as_missing"], file["preparation"]
        file.create_dataset("preparation", data=json.dumps(preparation), dtype=h5py.string_dtype())
    assert inspect(folder / "prepared.h5", Steps()).facts["samples read"] == "40"


@pytest.mark.parametrize("split", ["study", "sample"])
def test_values_are_those_of_the_arithmetic_spelt_out(folder, values, split):
    report, dataset = prepared(folder, table(values), split)
    wide = values.astype(np.float64)
    genes = np.stack([wide[:, rows].mean(axis=1) for rows in PROBES], axis=1)
    training = dataset.split == 0
    quantiles = np.sort(genes[training], axis=1).mean(axis=0)
    normal = quantiles[rankdata(genes, axis=1).astype(int) - 1]
    np.testing.assert_allclose(dataset.quantiles, quantiles, rtol=1e-6)
    np.testing.assert_allclose(np.hstack([dataset.landmark, dataset.target]), normal, rtol=1e-6)
    np.testing.assert_allclose(dataset.landmark_scaler.mean, normal[training, :3].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(dataset.target_scaler.sd, normal[training, 3:].std(axis=0), rtol=1e-5)
    assert dataset.sample_id == table(values).sample_id
    assert dataset.landmark_genes == LANDMARK and dataset.target_genes == TARGET.take(np.array([0, 1, 2, 4]))
    assert dataset.overlap.tolist() == [True, False, False, False]
    assert report.targets_missing == ("E8",) and report.landmarks_missing == ()
    assert report.split_samples == dict(zip(("train", "validation", "test"), np.bincount(dataset.split), strict=True))


def test_studies_stay_whole(folder, values):
    _, dataset = prepared(folder, table(values))
    for study in set(dataset.study):
        assert len(set(dataset.split[np.array(dataset.study) == study])) == 1


def test_test_profiles_leave_no_trace_in_what_is_fitted(folder, values):
    _, first = prepared(folder, table(values))
    held_out = first.split == 2
    _, second = prepared(folder, table(changed(values, (held_out, values[held_out] * 1.5 + 1))))
    np.testing.assert_array_equal(second.quantiles, first.quantiles)
    np.testing.assert_array_equal(second.target_scaler.sd, first.target_scaler.sd)
    np.testing.assert_array_equal(second.landmark_scaler.mean, first.landmark_scaler.mean)
    np.testing.assert_array_equal(second.target[~held_out], first.target[~held_out])


def test_a_later_copy_is_removed(folder, values):
    copy = changed(values, (13, values[2] + 0.2), (14, values[2] + 0.5))
    report, dataset = prepared(folder, table(copy))
    assert report.duplicates_removed == ("GSM13",)  # 0.2 * sqrt(9) is below 1.0, 0.5 * sqrt(9) above
    assert "GSM13" not in dataset.sample_id and "GSM14" in dataset.sample_id


def test_rows_of_no_gene_tell_duplicates_apart(folder, values):
    copy = values[2].copy()
    assert prepared(folder, table(changed(values, (13, copy))))[0].duplicates_removed == ("GSM13",)
    copy[9] += 1.5  # p10: D-GEX measured distances over all probe sets, not over those of the genes alone
    assert prepared(folder, table(changed(values, (13, copy))))[0].duplicates_removed == ()


def test_linear_values_become_log2(folder, values):
    _, dataset = prepared(folder, table(values))
    report, again = prepared(folder, table(2**values - 1))
    assert "values linear, converted to log2(max(x, 0) + 1)" in str(report)
    np.testing.assert_allclose(again.target, dataset.target, rtol=1e-5)


def test_an_unmeasured_probe_set_is_left_out_of_the_average(folder, values):
    _, dataset = prepared(folder, table(changed(values, ((slice(None), 4), NAN))))
    wide = values.astype(np.float64)
    genes = np.stack([wide[:, [row for row in rows if row != 4]].mean(axis=1) for rows in PROBES], axis=1)
    values = np.hstack([dataset.landmark, dataset.target])
    np.testing.assert_array_equal(rankdata(values, axis=1), rankdata(genes, axis=1))


def wider(folder: Path, genes: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Values and row names of more targets, so that one gap is a small share of a profile."""
    names = tuple(f"x{i}" for i in range(genes))
    target = Genes(TARGET.ensembl + names, TARGET.symbol + names, TARGET.probes + names)
    write_gene_table(folder / "map_tg.txt", target)
    return np.hstack([expression_values(10), expression_values(genes, seed=5)]), ROWS + names


def test_a_gap_is_filled_with_the_training_mean(folder):
    values, rows = wider(folder, 20)
    _, whole = prepared(folder, table(values, rows))
    training = np.flatnonzero(whole.split == 0)
    gaps = (training[0], np.flatnonzero(whole.split == 2)[0])
    report, dataset = prepared(folder, table(changed(values, *(((sample, 7), NAN) for sample in gaps)), rows))
    assert (report.gaps_filled, report.genes_with_gaps, report.samples_with_gaps) == (2, 1, 2)
    assert "2 values (0.1852%) of 1 genes in 2 samples" in str(report)  # of 40 x 27
    gene = dataset.target_genes.ensembl.index("E5")
    mean = dataset.target[training[1:], gene].astype(np.float64).mean()
    missing = np.isnan(np.hstack([dataset.landmark, dataset.target]))
    column = len(dataset.landmark_genes) + gene
    assert np.argwhere(missing).tolist() == sorted([sample, column] for sample in gaps)
    with h5py.File(folder / "prepared.h5") as file:
        np.testing.assert_allclose(file["target"][:][np.array(gaps), gene], mean, rtol=1e-6)


def test_a_gene_unmeasured_in_most_of_training_is_missing(folder):
    values, rows = wider(folder, 20)
    _, whole = prepared(folder, table(values, rows))
    training = np.flatnonzero(whole.split == 0)
    half = len(training) // 2
    enough, too_many = ((training[:half], 7), NAN), ((training[: half + 1], 7), NAN)
    assert prepared(folder, table(changed(values, enough), rows))[1].target_genes.ensembl[:3] == ("E1", "E4", "E5")
    report, dataset = prepared(folder, table(changed(values, too_many), rows))
    assert dataset.target_genes.ensembl[:3] == ("E1", "E4", "E9")
    assert report.targets_missing == ("E5", "E8")


def test_an_incomplete_profile_is_removed(folder):
    values, rows = wider(folder, 23)  # 30 measured genes
    gaps = ((4, slice(10, 13)), NAN), ((6, slice(10, 14)), NAN)
    report, dataset = prepared(folder, table(changed(values, *gaps), rows))
    assert report.incomplete_removed == ("GSM6",)
    assert "GSM4" in dataset.sample_id and "GSM6" not in dataset.sample_id


def test_provenance_names_the_sources_without_their_folders(folder, values):
    report, dataset = prepared(folder, table(values))
    provenance = dataset.provenance
    assert provenance["sources"] == {
        name: sha256_of(folder / name) for name in ("source.gctx", "map_lm.txt", "map_tg.txt")
    }
    assert (provenance["seed"], provenance["command"]) == (0, "prepare")
    assert provenance["versions"]["numpy"] == np.__version__
    assert provenance["preparation"]["targets_missing"] == list(report.targets_missing)
    assert str(folder) not in json.dumps(provenance)


def run_prepare(folder, *more, source="source.gctx"):
    arguments = ["prepare", f"{folder / source}", "--genes", f"{folder}", "-o", f"{folder / 'prepared.h5'}", *more]
    return lambda: app(arguments)


def test_the_command_gives_the_same_bytes_from_anywhere_under_any_name(folder, capsys, monkeypatch):
    run_prepare(folder)()
    printed = capsys.readouterr().out
    assert "samples kept        40: train 30 (6 studies), validation 5 (1 studies), test 5 (1 studies)" in printed
    assert "target genes        4, missing: 1 (E8)" in printed
    first = (folder / "prepared.h5").read_bytes()
    (folder / "prepared.h5").unlink()
    monkeypatch.chdir(folder)
    app(["prepare", "source.gctx", "--genes", ".", "-o", "another-name.h5"])
    assert (folder / "another-name.h5").read_bytes() == first


@pytest.mark.parametrize("split", ["study", "sample"])
def test_real_compendium(shared, tmp_path, split):
    data = shared / "data"
    source = data / "geo" / "geo_compendium_n704x16687.gctx"
    report = prepare(source, data / "genes", tmp_path / "prepared.h5", Settings(split), command="prepare")
    dataset = read_dataset(tmp_path / "prepared.h5")
    assert (report.samples_read, report.duplicates_removed, report.incomplete_removed) == (704, (), ())
    assert (report.landmarks, report.targets, dataset.overlap.sum()) == (943, 9520, 445)
    assert (report.gaps_filled, report.genes_with_gaps, report.samples_with_gaps) == (49 * 25, 49, 25)
    assert abs(report.split_samples["test"] - 70) < 6
    filled = np.array(dataset.study) == "GSE7621"
    assert filled.sum() == 25
    # A profile without gaps has the reference distribution, up to its ties.
    values = np.hstack([dataset.landmark, dataset.target])
    assert np.isnan(values[filled]).sum() == np.isnan(values).sum() == 49 * 25
    values = values[~filled]
    np.testing.assert_allclose(values.mean(axis=1), dataset.quantiles.mean(), atol=1e-4)


def change(values=None, **fields):
    """A bad input: the source with these values or fields."""

    def spoil(folder):
        with open_gctx(folder / "source.gctx") as source:
            expression = in_memory(source.load(), source.row_id, source.sample_id, {}, source.sample_metadata)
        if values is not None:
            expression = replace(expression, blocks=table(values).blocks)
        write_gctx(folder / "source.gctx", replace(expression, **fields))

    return spoil


def rewrite(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def spoilt(*changes):
    return changed(expression_values(10), *changes)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda folder: (folder / "source.gctx").unlink(), "No such file"),
        (rewrite("source.gctx", b"id\tGSM1\n"), "source.gctx"),
        (rewrite("source.gctx", b"#1.3\n1\t1\t0\t0\n"), "source.gctx"),
        (change(row_id=("p0",) * 10), "has 1 of the 3 landmark genes"),
        (change(sample_id=("GSM1",) * 40), "GSM1 twice"),
        (
            change(row_id=tuple(f"q{i}" for i in range(10))),
            "are not recognised; its rows are named like 'q0', 'q1', 'q2'",
        ),
        (change(np.full((40, 10), np.inf)), "infinite"),
        (change(np.full((40, 10), np.nan)), "has no value of any gene"),
        (change(spoilt((0, 1000))), "1 of 40 profiles, such as GSM0, are linear (beyond 32)"),
        (change(spoilt(((0, 1), -600.0))), "write NaN where not measured"),
        (change(expression_values(10) - expression_values(10).mean(axis=0)), "centred gene by gene"),
        (change(row_id=("p0", "p1", *"abcdefgh")), "has 0 of the 5 target genes; use a source of a platform"),
        (
            change(row_id=("p0", *"abcdefghi"), sample_metadata={"platform_id": np.array(["GPL8300"] * 40)}),
            "has 1 of the 3 landmark genes (its platform is GPL8300)",
        ),
        (change(sample_metadata={"study_id": np.array([NAN, *range(39)])}), "1 of 40 samples have no study_id"),
        (change(sample_metadata={}), "40 of 40 samples have no study_id"),
        (change(sample_metadata={"study_id": np.array([""] * 3 + ["GSE1"] * 37)}), "3 of 40 samples have no study_id"),
        (change(sample_metadata={"study_id": np.array(["GSE1"] * 40)}), "source.gctx: 1 studies are too few"),
        (lambda folder: (folder / "map_lm.txt").unlink(), "map_lm.txt"),
        (rewrite("map_tg.txt", b"A\tE1\n"), "map_tg.txt, line 1"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(folder, refused, spoil, complaint):
    spoil(folder)
    before = sorted(folder.iterdir())
    assert complaint in refused(run_prepare(folder))
    assert sorted(folder.iterdir()) == before


def test_numbers_can_name_studies(folder, values):
    study = np.repeat([10.0, 20.0, 30.0, 40.0], 10)
    _, dataset = prepared(folder, replace(table(values), sample_metadata={"study_id": study}))
    assert set(dataset.study) == {"10", "20", "30", "40"}


@pytest.mark.parametrize("name", ["source.gctx", "map_lm.txt", "map_tg.txt"])
def test_no_input_is_replaced(folder, refused, name):
    content = (folder / name).read_bytes()
    line = refused(run_prepare(folder, "-o", f"{folder / name}"))
    assert f"{name}: is read to make this output" in line
    assert (folder / name).read_bytes() == content


def test_folds_of_studies(folder, refused):
    test = []
    for number in "1234":
        run_prepare(folder, "--fold", number, "4")()
        dataset = read_dataset(folder / "prepared.h5")
        test += np.array(dataset.sample_id)[dataset.split == 2].tolist()
    assert sorted(test) == sorted(f"GSM{i}" for i in range(40))
    assert dataset.provenance["preparation"]["fold"] == [4, 4]
    assert "leave out --split and --fractions" in refused(run_prepare(folder, "--fold", "1", "4", "--split", "study"))
    assert "source.gctx: 8 studies are too few for 9 folds" in refused(run_prepare(folder, "--fold", "1", "9"))


def test_without_studies_samples_can_still_be_split(folder, values):
    report, dataset = prepared(folder, replace(table(values), sample_metadata={}), split="sample")
    assert report.split_samples == {"train": 32, "validation": 4, "test": 4}
    assert set(dataset.study) == {""}


@pytest.mark.parametrize("output", ["source.gctx/prepared.h5", "."])
def test_an_unwritable_output_is_refused_before_the_work(folder, refused, output):
    before = sorted(folder.iterdir())
    (folder / "source.gctx").write_bytes(b"not even read")
    assert "cannot be written" in refused(run_prepare(folder, "-o", f"{folder / output}"))
    assert sorted(folder.iterdir()) == before


def test_a_source_of_incomplete_profiles_is_refused(folder, refused):
    values, rows = wider(folder, 23)
    for sample, profile in enumerate(values):
        profile[np.arange(sample, sample + 8) % 33] = NAN  # every gene is in most profiles, every profile lacks some
    write_gctx(folder / "source.gctx", table(values, rows))
    assert "every profile lacks more than 10 %" in refused(run_prepare(folder))


def test_platforms_without_a_common_row_are_refused(folder, refused):
    values = np.full((40, 30), NAN, np.float32)
    for platform in range(3):  # each with all genes, on rows of its own
        values[platform::3, 10 * platform : 10 * platform + 10] = expression_values(10)[platform::3]
    rows = tuple(f"{letter}{row}" for letter in "abc" for row in range(10))
    for name, genes in (("map_lm.txt", LANDMARK), ("map_tg.txt", TARGET)):
        probes = tuple(
            ",".join(f"{letter}{own[1:]}" for letter in "abc" for own in of.split(",")) for of in genes.probes
        )
        write_gene_table(folder / name, replace(genes, probes=probes))
    write_gctx(folder / "source.gctx", table(values, rows))
    assert "no row is measured in half of the profiles" in refused(run_prepare(folder))
