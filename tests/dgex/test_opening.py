"""Any format under any name."""

import gzip

import h5py
import numpy as np
import pandas as pd
import pytest

from dgex.formats.gctx import write_gctx
from dgex.formats.matrix import in_memory
from dgex.formats.opening import open_expression

VALUES = np.array([[1, 2, 3], [4, 5, 6.5]], np.float32)
GCT_2 = "#1.2\n3\t2\nName\tDescription\ts1\ts2\na\tA\t1\t4\nb\tB\t2\t5\nc\tC\t3\t6.5\n"
GCT_3 = "#1.3\n3\t2\t0\t0\nid\ts1\ts2\na\t1\t4\nb\t2\t5\nc\t3\t6.5\n"
SERIES = """!Series_geo_accession\t"GSE1"
!Sample_title\t"one"\t"two"
!Sample_geo_accession\t"s1"\t"s2"
!Sample_platform_id\t"GPL96"\t"GPL96"
!series_matrix_table_begin
"ID_REF"\t"s1"\t"s2"
"a"\t1\t4
"b"\t2\t5
"c"\t3\t6.5
!series_matrix_table_end
"""
GEUVADIS = "TargetID\tGene_Symbol\tChr\tCoord\ts1\ts2\na\tA\t1\t1\t1\t4\nb\tB\t1\t2\t2\t5\nc\tC\tX\t3\t3\t6.5\n"


def gctx(path):
    write_gctx(path, in_memory(VALUES, "abc", ["s1", "s2"]))


def frame(path):
    pd.DataFrame(VALUES, index=["s1", "s2"], columns=list("abc")).to_hdf(path, key="table")


def text(content):
    return lambda path: path.write_text(content)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (gctx, "GCTX"),
        (frame, "pandas HDF5"),
        (text(GCT_2), "GCT 1.2"),
        (text(GCT_3), "GCT 1.3"),
        (text("\ufeff" + GCT_3), "GCT 1.3"),
        (text(SERIES), "GEO series matrix"),
        (text(GEUVADIS), "GEUVADIS table"),
    ],
)
def test_the_content_decides(tmp_path, write, kind, packed):
    path = tmp_path / "some.file"
    write(path)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    with open_expression(path) as found:
        assert found.kind == kind
        assert found.row_id == ("a", "b", "c") and found.sample_id == ("s1", "s2")
        np.testing.assert_array_equal(found.load(), VALUES)


def test_gct_text_under_a_gctx_name_is_read_as_gct(shared):
    with open_expression(shared / "data" / "gct" / "test_l1000.gctx") as found:
        assert found.kind == "GCT 1.3" and found.shape == (377, 978)


def test_gene_tables_are_not_expression(shared, refused):
    def read():
        with open_expression(shared / "data" / "genes" / "map_lm.txt"):
            pass

    assert "begins with b'UBE2C\\tENSG00000175063" in refused(read)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "which no known format does"),
        (b"gene,s1,s2\na,1,2\n", "begins with b'gene,s1,s2\\na,1,2\\n', which no known format does; read are GCTX"),
        ("#1.3\n".encode("utf-16"), "begins with b'\\xff\\xfe#"),
        (b"\x1f\x8bnot gzip at all", "truncated or damaged"),
        (b"<!doctype html>", "is a web page"),
        (b"#1.4\n", "begins with b'#1.4\\n'"),
    ],
)
def test_other_files_are_refused(tmp_path, refused, content, complaint):
    path = tmp_path / "some.gctx"
    path.write_bytes(content)

    def read():
        with open_expression(path):
            pass

    line = refused(read)
    assert str(path) in line and complaint in line


def test_other_hdf5_is_refused(tmp_path, refused):
    path = tmp_path / "some.h5"

    def read():
        with open_expression(path):
            pass

    with h5py.File(path, "w") as file:
        file["X"] = VALUES
        file["obs"] = [1, 2]
    assert "is HDF5 of an unknown kind, with X, obs in it; read are GCTX" in refused(read)
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 2
    assert "is a prepared data set already" in refused(read)
