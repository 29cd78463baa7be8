"""GCT: the Connectivity Map's own files, its own reader, and files that are wrong."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dgex.formats.expression import in_memory, is_text
from dgex.formats.gct import open_gct, write_gct

NAN = np.nan
TEXT = """#1.3
2\t3\t2\t2
id\tsymbol\tentrez\ts1\ts2\ts3
plate\tna\tna\t7\t8\t-666
drug\tna\tna\tDMSO\t\tX
1_at\tA\t1\t1.5\tNA\t3
2_at\t-666\t\t4\t5\t-6e-1
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "some.gct").write_text(TEXT)
    return tmp_path / "some.gct"


def read(path: Path) -> np.ndarray:
    with open_gct(path) as expression:
        return expression.load()


def test_version_1_3(path):
    with open_gct(path) as found:
        assert found.kind == "GCT 1.3"
        assert found.row_id == ("1_at", "2_at") and found.sample_id == ("s1", "s2", "s3")
        expected = np.array([[1.5, 4], [NAN, 5], [3, -0.6]], np.float32)
        np.testing.assert_array_equal(found.load(), expected, strict=True)
        assert found.row_metadata["symbol"].tolist() == ["A", ""]
        np.testing.assert_array_equal(found.row_metadata["entrez"], [1, NAN])
        np.testing.assert_array_equal(found.sample_metadata["plate"], [7, 8, NAN])
        assert found.sample_metadata["drug"].tolist() == ["DMSO", "", "X"]


def test_version_1_2_with_excels_trailing_tabs(shared):
    with open_gct(shared / "data" / "gct" / "test_v1point2_n5x10.gct") as found:
        assert found.kind == "GCT 1.2" and found.shape == (5, 10)
        assert found.row_id[0] == "200814_at" and found.sample_id[4] == "LJP005_A375_24H_X1_B19:A07"
        assert found.row_metadata["Description"].tolist()[:3] == ["PSME1", "CISD1", "VDAC1"]
        assert not found.sample_metadata
        np.testing.assert_array_equal(found.load()[4, :2], np.array([11.6321, 11.0401], np.float32))


@pytest.mark.parametrize("most", [1, 5000, 2**24])
def test_the_plate_cell_by_cell(shared, most):
    path = shared / "data" / "l1000" / "LJP009_A375_24H_X1_B20_QNORM_n371x978.gct.gz"
    lines = [line.split("\t") for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    with open_gct(path) as found:
        assert found.shape == (371, 978)
        for samples, rows, values in found.blocks(most):
            expected = [line[9:] for line in lines[37 + rows.start : 37 + rows.stop]]
            np.testing.assert_array_equal(values.T, np.array(expected).astype(np.float64).astype(np.float32))
            assert samples == slice(0, 371)
        assert found.row_id == tuple(line[0] for line in lines[37:])
        assert found.row_metadata["pr_gene_id"].tolist() == [int(line[6]) for line in lines[37:]]
        fields = {line[0]: line[9:] for line in lines[3:37]}
        assert found.sample_metadata["det_well"].tolist() == fields["det_well"]
        doses = [NAN if text == "-666" else float(text) for text in fields["pert_dose"]]
        np.testing.assert_array_equal(found.sample_metadata["pert_dose"], doses)
        assert fields["id"] == list(found.sample_id) and "id" not in found.sample_metadata


@pytest.mark.parametrize("name", ["mini_gctoo_for_testing.gct", "test_v1point2_n5x10.gct"])
def test_cmappy_reads_the_same(shared, name, monkeypatch):
    parse = pytest.importorskip("cmapPy.pandasGEXpress.parse").parse
    # It asks pandas to leave columns alone that are not numbers, which pandas 3 refuses to do.
    monkeypatch.setattr(pd, "to_numeric", lambda column, errors: column)
    theirs = parse(str(shared / "data" / "gct" / name))
    with open_gct(shared / "data" / "gct" / name) as mine:
        np.testing.assert_allclose(mine.load(), theirs.data_df.to_numpy().T, rtol=1e-6)
        assert mine.row_id == tuple(theirs.data_df.index) and mine.sample_id == tuple(theirs.data_df.columns)
        assert mine.row_metadata.keys() == set(theirs.row_metadata_df.columns)
        for field, column in mine.sample_metadata.items():
            expected = theirs.col_metadata_df[field]
            if is_text(column):
                assert column.tolist() == expected.fillna("").tolist()
            else:
                np.testing.assert_allclose(column, expected.astype(float), rtol=1e-12)


WRITTEN = """#1.3
2\t2\t3\t2
id\tsymbol\tmae\tok\ts 1\ts2
dose\tna\tna\tna\t0.5\t-666
drug\tna\tna\tna\tDMSO\t-666
1_at\tA\t1.0\tTrue\t0.1\tNaN
2_at\t-666\t-666\tFalse\t4.0\t1e-30
"""


@pytest.mark.parametrize("extension", ["gct", "gct.gz"])
def test_written_is_version_1_3(tmp_path, extension):
    expression = in_memory(
        np.array([[0.1, 4], [NAN, 1e-30]], np.float32),
        ("1_at", "2_at"),
        ("s\t1", "s2"),
        {"symbol": np.array(["A", ""]), "mae": np.array([1, NAN]), "ok": np.array([True, False])},
        {"dose": np.array([0.5, NAN]), "drug": np.array(["DMSO", ""])},
    )
    path = tmp_path / f"some.{extension}"
    write_gct(path, expression)
    content = path.read_bytes()
    assert (gzip.decompress(content) if extension == "gct.gz" else content).decode() == WRITTEN
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    with open_gct(path) as found:
        np.testing.assert_array_equal(found.load(), expression.load(), strict=True)
        assert found.row_metadata["symbol"].tolist() == ["A", ""]
        np.testing.assert_array_equal(found.row_metadata["mae"], [1, NAN])
        np.testing.assert_array_equal(found.sample_metadata["dose"], [0.5, NAN])


def test_gct_text_under_a_gctx_name(shared):
    with open_gct(shared / "data" / "gct" / "test_l1000.gctx") as found:
        assert found.kind == "GCT 1.3" and found.shape == (377, 978)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("#1.3", "#1.1", "begins with '#1.1'"),
        ("2\t3\t2\t2", "2\t3", "line 2 does not hold 4 counts"),
        ("2\t3\t2\t2", "2\t3\t2\ttwo", "line 2 does not hold 4 counts"),
        ("2\t3\t2\t2", "2\t3\t2\t\N{ARABIC-INDIC DIGIT TWO}", "line 2 does not hold 4 counts"),
        ("2\t3\t2\t2", "2\t3\t2\t" + 5000 * "2", "line 2 does not hold 4 counts"),
        ("2\t3\t2\t2", "2\t3\t2\t" + 18 * "9", "announces 2 rows and holds 0"),
        ("2\t3\t2\t2", "0\t3\t2\t2", "announces 0 rows and 3 samples"),
        ("2\t3\t2\t2", "2\t3\t1\t2", "line 3 has 6 fields where 5 belong"),
        ("2\t3\t2\t2", "3\t3\t2\t2", "announces 3 rows and holds 2"),
        ("2\t3\t2\t2", "1\t3\t2\t2", "announces 1 rows and holds 2"),
        ("4\t5\t-6e-1", "4\t5", "line 7 has 5 fields where 6 belong"),
        ("DMSO\t\tX", "DMSO\tX", "line 5 has 5 fields where 6 belong"),
        ("1.5", "1,5", "line 6 holds '1,5'"),
        ("1.5", "inf", "line 6 holds an infinite value"),
    ],
)
def test_wrong_files_are_refused(path, refused, old, new, complaint):
    assert TEXT.count(old) >= 1
    path.write_text(TEXT.replace(old, new, 1))
    line = refused(lambda: read(path))
    assert str(path) in line and complaint in line


@pytest.mark.parametrize("lines", range(len(TEXT.splitlines())))
def test_truncated_files_are_refused(path, refused, lines):
    path.write_text("".join(TEXT.splitlines(keepends=True)[:lines]))
    assert str(path) in refused(lambda: read(path))


def test_version_1_2_of_gtex_numbers_its_rows(path):
    path.write_text("#1.2\n2\t2\nid\tName\tDescription\ts1\ts2\n0\tENSG1.1\tA\t1\t2\n1\tENSG2.1\tB\t3\t4\n")
    with open_gct(path) as found:
        assert found.row_id == ("ENSG1.1", "ENSG2.1") and found.sample_id == ("s1", "s2")
        assert found.row_metadata["Description"].tolist() == ["A", "B"] and len(found.row_metadata) == 1
        np.testing.assert_array_equal(found.load(), [[1, 3], [2, 4]])


@pytest.mark.parametrize("behind", ["\t", "\t\t", " \t"])
@pytest.mark.parametrize("first", [0, 3, 5])  # spreadsheets fill up every line, others those of the values
def test_empty_fields_behind_lines_and_empty_lines_are_nothing(path, behind, first):
    lines = TEXT.splitlines()
    filled = lines[:first] + [line + behind for line in lines[first:]] + ["\t" * 5, " \t"]
    path.write_text("\n".join(filled))
    with open_gct(path) as found:
        assert found.row_id == ("1_at", "2_at") and found.sample_id == ("s1", "s2", "s3")
        assert found.sample_metadata["drug"].tolist() == ["DMSO", "", "X"]
        np.testing.assert_array_equal(found.load(), np.array([[1.5, 4], [NAN, 5], [3, -0.6]], np.float32))


def test_empty_fields_behind_some_lines_are_nothing(path):
    path.write_text(TEXT)
    values = read(path)
    path.write_text(TEXT.replace("-6e-1\n", "-6e-1\t\n"))
    np.testing.assert_array_equal(read(path), values)


def test_but_what_is_not_empty_is_damage(path, refused):
    path.write_text(TEXT.replace("3\n2_at", "3\t7\n2_at"))
    assert "has 7 fields where 6 belong" in refused(lambda: read(path))
