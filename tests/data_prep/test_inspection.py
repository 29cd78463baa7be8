"""What is said of files must be so: files made for it, real ones, and what cannot be read."""

import gzip
import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from data_prep import inspection
from data_prep.__main__ import app
from data_prep.inspection import Counts, inspect
from data_prep.pipeline import Settings, prepare, prepare_onto
from data_prep.steps import Steps
from dgex.data.dataset import sha256_of
from dgex.data.genes import Genes, write_gene_table
from dgex.formats.expression import in_memory
from dgex.formats.gctx import write_gctx

NAN = np.nan
LANDMARK = Genes(("ENSG0", "ENSG1", "ENSG2"), ("A", "B", "C"), ("0_at", "1_at", "2_at"))
TARGET = Genes(
    ("ENSG1", "ENSG4", "ENSG5", "ENSG6", *(f"ENSG{i}" for i in range(7, 14))),
    tuple("BDEFGHIJKLM"),
    ("3_at", "4_at,5_at", "6_at", "99_at", *(f"{i}_at" for i in range(7, 14))),
)


def facts_of(path) -> dict[str, str]:
    return inspect(path, Steps()).facts


def gctx(path, values, row_id=None, sample="s", **metadata):
    samples, rows = values.shape
    row_id = row_id or [f"{i}_at" for i in range(rows)]
    write_gctx(path, in_memory(values, row_id, [f"{sample}{i}" for i in range(samples)], sample_metadata=metadata))
    return path


@pytest.fixture
def values() -> np.ndarray:
    """Twenty-four log2 profiles of fourteen rows, each row at a level of its own."""
    random = np.random.default_rng(0)
    return (random.normal(8, 4, 14) + random.normal(0, 1, (24, 14))).astype(np.float32)


@pytest.fixture
def folder(tmp_path, values):
    """A prepared data set of six studies, with a duplicate, a gap and a missing gene; and a cohort mapped onto it."""
    values[5] = values[1] + 0.01
    values[10, 6] = NAN
    gctx(tmp_path / "source.gctx", values, study_id=np.repeat([f"GSE{i}" for i in range(6)], 4))
    for name, genes in (("map_lm.txt", LANDMARK), ("map_tg.txt", TARGET)):
        write_gene_table(tmp_path / name, genes)
    settings = Settings(fractions=(0.5, 0.25, 0.25), seed=3)
    prepare(tmp_path / "source.gctx", tmp_path, tmp_path / "prepared.h5", settings, "prepare it")
    names = ["ENSG0.1", "ENSG1.12", "ENSG2.3", "ENSG4.1", "ENSG7", "ENSG8", "ENSG9"]
    cohort = gctx(tmp_path / "cohort.gctx", values[:6, :7], names, sample="r")
    prepare_onto(tmp_path / "prepared.h5", cohort, tmp_path / "cohort.h5", False, "map it")
    return tmp_path


def test_studies_may_be_numbers(tmp_path, values):
    facts = facts_of(gctx(tmp_path / "a.gctx", values, study_id=np.repeat([101.0, NAN], 12)))
    assert facts["studies"] == "2: 101 12, unknown 12"


def test_facts_of_a_raw_file(tmp_path, values):
    values[0, 0] = values[0, 1] = values[20, 0] = NAN
    study, platform = np.repeat(["GSE9", "GSE1", ""], [14, 8, 2]), np.repeat(["GPL96", "GPL570"], 12)
    path = gctx(tmp_path / "a.gctx", values, study_id=study, platform_id=platform)
    facts = facts_of(path)
    assert facts["file"] == f"a.gctx, {path.stat().st_size:,} bytes"
    assert facts["kind"] == "GCTX"
    assert facts["shape"] == "24 samples x 14 rows"
    assert facts["samples"] == "s0, s1, s2, ..."
    assert facts["rows"] == "probe sets: 0_at, 1_at, 2_at, ..."
    assert facts["fields of samples"] == "platform_id, study_id" and facts["fields of rows"] == "none"
    assert facts["scale"] == "log2"
    assert facts["missing values"] == "3 of 336 values (0.8929%), in 2 samples and 2 rows"
    assert facts["studies"] == "3: GSE9 14, GSE1 8, unknown 2"
    assert facts["platforms"] == "GPL96 12, GPL570 12"


GCT = "#1.2\n2\t3\nName\tDescription\ts0\ts1\ts2\n1_at\tx\t4\t5\t6\n2_at\ty\t9\t\t9.5\n"
SERIES = (
    '!Series_geo_accession\t"GSE7"\n!Sample_geo_accession\t"s0"\t"s1"\t"s2"\n!Sample_platform_id\t"GPL96"\t"GPL96"\t"GPL96"\n'
    '!Sample_title\t"a"\t"b"\t"c"\n!series_matrix_table_begin\n"ID_REF"\t"s0"\t"s1"\t"s2"\n"1_at"\t4\t5\t6\n'
    '"2_at"\t9\tnull\t9.5\n!series_matrix_table_end\n'
)
GEUVADIS = "TargetID\tGene_Symbol\tChr\tCoord\ts0\ts1\ts2\nENSG1.1\tA\t1\t7\t4\t5\t6\nENSG2.1\tB\t2\t8\t9\tNA\t9.5\n"


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("text", "kind", "rows"),
    [
        (GCT, "GCT 1.2", "probe sets: 1_at, 2_at"),
        (SERIES, "GEO series matrix", "probe sets: 1_at, 2_at"),
        (GEUVADIS, "GEUVADIS table", "Ensembl ids with version: ENSG1.1, ENSG2.1"),
    ],
)
def test_facts_of_text(tmp_path, text, kind, rows, zipped):
    path = tmp_path / "a.txt"
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if zipped else text.encode())
    facts = facts_of(path)
    assert facts["kind"] == kind and facts["shape"] == "3 samples x 2 rows" and facts["rows"] == rows
    assert facts["values"] == "smallest 4, median 6, largest 9.5"
    assert facts["missing values"] == "1 of 6 values (16.6667%), in 1 samples and 1 rows"


def test_facts_of_a_data_frame(tmp_path, values):
    genes = [f"gene{i}" for i in range(14)]
    pd.DataFrame(values, [f"s{i}" for i in range(24)], genes).to_hdf(tmp_path / "a.h5", key="table")
    facts = facts_of(tmp_path / "a.h5")
    assert facts["kind"] == "pandas HDF5" and facts["rows"] == "other names: gene0, gene1, gene2, ..."
    assert facts["shape"] == "24 samples x 14 rows" and facts["samples"] == "s0, s1, s2, ..."
    assert facts["missing values"].startswith("none") and facts["studies"].startswith("unknown")


def test_many_studies_are_summed_up(tmp_path, values):
    study = np.repeat([f"GSE{i}" for i in range(8)], [10, 5, 3, 2, 1, 1, 1, 1])
    text = facts_of(gctx(tmp_path / "a.gctx", values, study_id=study))["studies"]
    assert text == "8: GSE0 10, GSE1 5, GSE2 3, GSE3 2, GSE4 1, 3 more with 3 samples"


@pytest.mark.parametrize(
    ("names", "naming"),
    [
        (["1007_s_at", "1053_at", "BRCA1"], "probe sets"),
        (["ENSG00000175063", "ENSG00000171174", "x"], "Ensembl ids"),
        (["ENSG00000175063.12", "ENSG00000171174.3", "x"], "Ensembl ids with version"),
        (["BRCA1", "TP53", "1_at"], "other names"),
    ],
)
def test_says_what_rows_are_named_by(tmp_path, values, names, naming):
    assert facts_of(gctx(tmp_path / "a.gctx", values[:, :3], names))["rows"].startswith(f"{naming}: {names[0]}")


def test_says_what_names_repeat(tmp_path, values):
    facts = facts_of(gctx(tmp_path / "a.gctx", values[:, :5], ["TP53", "", "", "TP53", "MYC"]))
    assert facts["rows"] == "other names: TP53, , , ...; more than once: 2 ('TP53', '')"


@pytest.mark.parametrize(
    ("change", "scale"),
    [
        (lambda log2: log2, "log2"),
        (lambda log2: 2**log2, "linear, converted by prepare to log2(max(x, 0) + 1)"),
        (lambda log2: log2 - log2.mean(axis=0), "centred, refused by prepare: its values are centred gene by gene"),
        (
            lambda log2: np.vstack([log2[:4], 2 ** log2[4:]]),
            "refused by prepare: 20 of 24 profiles, such as s4, are linear",
        ),
    ],
)
def test_says_the_scale_and_what_prepare_makes_of_it(tmp_path, values, change, scale):
    assert scale in facts_of(gctx(tmp_path / "a.gctx", change(values)))["scale"]


@pytest.mark.parametrize("factor", [1e-3, 1, -1, 1e6])
def test_counts_add_up_whatever_the_blocks(factor):
    values = (factor * np.random.default_rng(0).normal(3, 5, (51, 41))).astype(np.float32)
    values[7], values[:, 3], values[9, 11] = NAN, NAN, NAN
    counts = Counts(51, 41)
    for samples in (slice(0, 9), slice(9, 51)):
        for rows in (slice(0, 30), slice(30, 41)):
            counts.add(samples, rows, values[samples, rows])
    missing = np.isnan(values)
    np.testing.assert_array_equal(counts.missing_of_sample, missing.sum(axis=1))
    np.testing.assert_array_equal(counts.missing_of_row, missing.sum(axis=0))
    known = np.delete(values, 7, axis=0)
    np.testing.assert_array_equal(np.delete(counts.reach, 7, axis=0)[:, 0], np.nanmin(known, axis=1))
    np.testing.assert_array_equal(np.delete(counts.reach, 7, axis=0)[:, 1], np.nanmax(known, axis=1))
    lower = np.sort(values[~missing])[((~missing).sum() - 1) // 2]
    assert lower * (1 - 2**-11) <= counts.median() <= lower or lower <= counts.median() <= lower * (1 - 2**-11)


@pytest.mark.parametrize(
    ("ascending", "median"), [([-3, -2, 0, 1, 5], 0), ([-8, -4, -2], -4), ([-0.0, 0, 7], 0), ([1, 2, 3, 4], 2)]
)
def test_median_of_either_sign(ascending, median):
    counts = Counts(1, len(ascending))
    counts.add(slice(0, 1), slice(0, len(ascending)), np.array([ascending], np.float32))
    assert counts.median() == median and f"{counts.median():g}" == f"{median:g}"


def test_looks_at_evenly_spaced_profiles_of_a_large_file(tmp_path, values, monkeypatch):
    path = gctx(tmp_path / "a.gctx", values)
    monkeypatch.setattr(inspection, "PROFILES", 4)
    monkeypatch.setattr(inspection, "BLOCK", 70)  # five profiles at a time
    found = inspect(path, Steps())
    np.testing.assert_array_equal(found.values, values[[0, 7, 15, 23]])
    assert found.facts["shape"] == "24 samples x 14 rows"
    monkeypatch.setattr(inspection, "PROFILE_VALUES", 28)
    assert len(inspect(path, Steps()).values) == 3


def test_facts_of_a_prepared_file(folder):
    facts = facts_of(folder / "prepared.h5")
    with h5py.File(folder / "prepared.h5") as file:
        both = np.sort(np.concatenate([file["landmark"][:].ravel(), file["target"][:].ravel()]))
        split, study = file["split"][:], file["sample/study"].asstr()[:]
    assert facts["kind"] == "prepared data set, schema 4"
    assert facts["shape"] == "23 samples x 3 landmark + 10 target genes"
    assert facts["target genes"] == "Ensembl ids: ENSG1, ENSG4, ENSG5, ...; 1 of them are landmarks too"
    # Within a bin of the median, and four digits of all.
    said = [float(part.split()[1]) for part in facts["values"].split(", ")]
    np.testing.assert_allclose(said, [both[0], both[(len(both) - 1) // 2], both[-1]], rtol=1e-3)
    for code, name in enumerate(("train", "validation", "test")):
        members = study[split == code]
        assert facts[name] == f"{len(members)} samples of {len(set(members))} studies"
    assert facts["samples read"] == "24"
    assert facts["duplicates removed"] == "1 (s5)" and facts["incomplete removed"] == "0"
    assert facts["landmarks missing"] == "0" and facts["targets missing"] == "1 (ENSG6)"
    assert facts["imputed values"].startswith("1 values of 1 genes in 1 samples, filled with")
    assert facts["command"] == "prepare it" and facts["seed"] == "3"
    assert f"source.gctx, sha256 {sha256_of(folder / 'source.gctx')}" in facts.values()
    assert f"numpy {np.__version__}" in facts["versions"]


def test_all_values_of_a_prepared_file_are_counted_by_study(folder, monkeypatch):
    monkeypatch.setattr(inspection, "BLOCK", 50)  # three profiles at a time
    found = inspect(folder / "prepared.h5", Steps())
    with h5py.File(folder / "prepared.h5") as file:
        measured = ~np.isnan(found.values)
        np.testing.assert_array_equal(found.values[measured], np.hstack([file["landmark"], file["target"]])[measured])
    studies = np.unique(found.study)
    for counts in (found.prepared.before, found.after):
        assert sorted(counts) == studies.tolist()
    assert measured.sum() == 23 * 13 - 1 and found.missing.sum() == 1
    for counts in (found.prepared.before, found.after):
        assert sum(count.sum() for count in counts.values()) == 23 * 13 - 1


def test_facts_of_a_mapped_cohort(folder):
    facts = facts_of(folder / "cohort.h5")
    assert facts["test"] == "6 samples of 0 studies" and "train" not in facts
    assert facts["mapped onto"] == f"the data set with sha256 {sha256_of(folder / 'prepared.h5')}"
    assert facts["prepared from"] == "GCTX, rows are Ensembl ids, values log2"
    assert facts["targets missing"] == f"5 (ENSG5, {', '.join(TARGET.ensembl[7:])})"


def test_a_zipped_prepared_file_is_read_too(folder):
    path = folder / "prepared.h5.gz"
    path.write_bytes(gzip.compress((folder / "prepared.h5").read_bytes(), mtime=0))
    assert {**facts_of(path), "file": ""} == {**facts_of(folder / "prepared.h5"), "file": ""}


def test_a_prepared_file_of_unknown_making_says_what_it_knows(folder):
    with h5py.File(folder / "prepared.h5", "a") as file:
        file["preparation"][()] = json.dumps({"legacy": True})
        del file["before"]
    facts = facts_of(folder / "prepared.h5")
    assert facts["command"] == "prepare it" and "papers" in facts["legacy"]
    assert "imputed values" not in facts


def test_facts_of_the_real_files(shared):
    data = shared / "data"
    compendium = facts_of(data / "geo/geo_compendium_n704x16687.gctx")
    assert compendium["shape"] == "704 samples x 16687 rows" and compendium["scale"] == "log2"
    assert compendium["studies"].startswith(
        "21: GSE6481 105, GSE3726 104, GSE994 75, GSE38666 45, GSE14520 43, 16 more"
    )
    assert compendium["platforms"] == "GPL96 423, GPL570 232, GPL571 43, GPL3921 6"
    cohorts = facts_of(data / "geo/rnaseq_cohorts_n661x10018.gctx")
    assert cohorts["rows"].startswith("Ensembl ids: ENSG") and cohorts["studies"].startswith("11: GSE107993 138, ")
    series = facts_of(data / "geo/GSE994_series_matrix.txt.gz")
    assert series["kind"] == "GEO series matrix" and series["scale"].startswith("linear")
    assert series["studies"] == "1: GSE994 75" and series["platforms"] == "GPL96 75"
    assert facts_of(data / "geo/GSE30528_series_matrix.txt.gz")["scale"].startswith("centred, refused by prepare")
    plate = facts_of(data / "l1000/LJP009_A375_24H_X1_B20_QNORM_n371x978.gct.gz")
    assert plate["kind"] == "GCT 1.3" and plate["shape"] == "371 samples x 978 rows"
    assert plate["rows"].startswith("probe sets: 200814_at") and plate["studies"].startswith("unknown")


def test_command_prints_aligned_lines(folder, capsys):
    app(["inspect", str(folder / "source.gctx")], standalone_mode=False)
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert len(lines) > 8 and all(line[19] == " " != line[20] for line in lines)


def damaged(change):
    def make(folder):
        shutil.copy(folder / "prepared.h5", folder / "bad.h5")
        with h5py.File(folder / "bad.h5", "a") as file:
            change(file)
        return folder / "bad.h5"

    return make


def without_a_sample(file):
    study = file["sample/study"].asstr()[:-1].tolist()
    del file["sample/study"]
    file["sample/study"] = study


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "absent.gctx", "No such file"),
        (lambda folder: folder, "Is a directory"),
        (lambda folder: folder / "map_lm.txt", "no column of numbers"),
        (
            lambda folder: gctx(folder / "empty.gctx", np.full((3, 4), NAN, np.float32)),
            "has no value in any of the 3 profiles",
        ),
        (damaged(lambda file: file["preparation"].write_direct(np.array("{", object))), "damaged description"),
        (damaged(lambda file: file.attrs.pop("sources")), "damaged description"),
        (damaged(lambda file: file.attrs.update(seed="many")), "damaged description"),
        (damaged(lambda file: file.pop("sample/id")), "has no /sample/id"),
        (damaged(without_a_sample), "do not fit its values"),
        (damaged(lambda file: file.attrs.modify("schema_version", 1)), "has schema version 1"),
    ],
)
def test_what_cannot_be_read_is_one_line(folder, refused, make, said):
    path = make(folder)
    line = refused(lambda: app(["inspect", str(path), "--html", str(folder / "page.html")]))
    assert str(path) in line and said in line
    assert not (folder / "page.html").exists()
