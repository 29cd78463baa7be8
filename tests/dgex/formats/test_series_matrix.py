"""GEO series matrices: as GEO serves them, and as they should not be."""

import gzip

import numpy as np
import pytest

from dgex.formats.series_matrix import open_series_matrix

TEXT = """!Series_title\t"A "study" of quotes"
!Series_geo_accession\t"GSE1"
!Series_summary\t"First."
!Series_summary\t"Second."

!Sample_title\t"a, 1"\t"5' 3"
!Sample_title\t"repeated"\t"key"
!Sample_geo_accession\t"GSM1"\t"GSM2"
!Sample_platform_id\t"GPL96"\t"GPL570"
!series_matrix_table_begin
"ID_REF"\t"GSM1"\t"GSM2"
"1007_s_at"\t1.5\tnull
"1053_at"\t\t-2
"117_at"\t3\t4e2
!series_matrix_table_end
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "GSE1_series_matrix.txt").write_text(TEXT)
    return tmp_path / "GSE1_series_matrix.txt"


def read(path):
    with open_series_matrix(path) as expression:
        return expression.load()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_ids_metadata_and_values(path, pack):
    path.write_bytes(pack(TEXT.encode()))
    with open_series_matrix(path) as found:
        assert found.kind == "GEO series matrix"
        assert found.row_id == ("1007_s_at", "1053_at", "117_at") and found.sample_id == ("GSM1", "GSM2")
        assert {name: column.tolist() for name, column in found.sample_metadata.items()} == {
            "study_id": ["GSE1", "GSE1"],
            "platform_id": ["GPL96", "GPL570"],
            "title": ["a, 1", "5' 3"],
        }
        expected = np.array([[1.5, np.nan, 3], [np.nan, -2, 400]], np.float32)
        np.testing.assert_array_equal(found.load(), expected, strict=True)


@pytest.mark.parametrize(
    ("name", "platform", "samples", "rows"),
    [
        ("GSE14520-GPL571", "GPL571", 43, 22268),
        ("GSE30528", "GPL571", 22, 22277),
        ("GSE3268", "GPL96", 10, 22283),
        ("GSE994", "GPL96", 75, 22215),
    ],
)
def test_series_of_geo_cell_by_cell(shared, name, platform, samples, rows):
    path = shared / "data" / "geo" / f"{name}_series_matrix.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    begin = lines.index("!series_matrix_table_begin")
    table = [line.replace('"', "").split("\t") for line in lines[begin + 1 : begin + 2 + rows]]
    with open_series_matrix(path) as found:
        assert found.shape == (samples, rows)
        assert found.sample_id == tuple(table[0][1:]) and found.row_id == tuple(line[0] for line in table[1:])
        assert set(found.sample_metadata["platform_id"]) == {platform}
        assert set(found.sample_metadata["study_id"]) == {name.split("-")[0]}
        for top, left, values in found.blocks(100_000):
            assert top == slice(0, samples)
            expected = [line[1:] for line in table[1 + left.start : 1 + left.stop]]
            np.testing.assert_array_equal(values.T, np.array(expected).astype(np.float64).astype(np.float32))


def test_a_title_of_an_older_encoding_does_not_stop_the_reader(path):
    path.write_bytes(TEXT.replace("a, 1", "M\xfcller").encode("latin-1"))
    with open_series_matrix(path) as found:
        assert found.sample_metadata["title"][0] == "M\N{REPLACEMENT CHARACTER}ller"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("!series_matrix_table_end\n", "", "has no !series_matrix_table_end"),
        (TEXT[TEXT.index("!series_matrix_table_begin") :], "", "has no !series_matrix_table_begin"),
        (TEXT[TEXT.index('"ID_REF"') :], "", "its table does not begin with ID_REF"),
        (TEXT[TEXT.index('"1007') : TEXT.index("!series_matrix_table_end")], "", "is an empty study"),
        ('"ID_REF"\t"GSM1"\t"GSM2"', '"ID_REF"\t"GSM1"\t"GSM3"', "table does not begin with ID_REF and the samples"),
        ('!Sample_geo_accession\t"GSM1"\t"GSM2"', "", "has no !Sample_geo_accession"),
        ('!Series_geo_accession\t"GSE1"', "", "has no !Series_geo_accession"),
        ('"GPL96"\t"GPL570"', '"GPL96"', "!Sample_platform_id has 1 entries for 2 samples"),
        ("3\t4e2", "3", "line 14 has 2 fields where 3 belong"),
        ("4e2", "4,2", "line 14 holds '4,2'"),
        ('"117_at"', "<html><body>Bad gateway</body></html>\n117_at", "goes on as a web page from line 14"),
        (TEXT, "<!DOCTYPE html><html>404</html>", "is a web page"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_wrong_files_are_refused(path, refused, old, new, complaint, pack):
    assert TEXT.count(old) == 1
    path.write_bytes(pack(TEXT.replace(old, new).encode()))
    line = refused(lambda: read(path))
    assert str(path) in line and complaint in line


def test_samples_may_not_repeat(path, refused):
    path.write_text(TEXT.replace("GSM2", "GSM1"))
    assert "the sample GSM1 twice" in refused(lambda: read(path))


def test_a_truncated_download_is_refused(path, refused, shared):
    content = (shared / "data" / "geo" / "GSE3268_series_matrix.txt.gz").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert f"{path}: is truncated or damaged" in refused(lambda: read(path))


def test_a_wrong_checksum_is_noticed_though_it_comes_after_the_table(tmp_path, refused):
    content = bytearray(gzip.compress(TEXT.encode(), mtime=0))
    content[-8] ^= 1  # of the CRC-32
    path = tmp_path / "GSE1_series_matrix.txt.gz"
    path.write_bytes(content)

    def read():
        with open_series_matrix(path):
            pass

    assert "is truncated or damaged (CRC check failed" in refused(read)
