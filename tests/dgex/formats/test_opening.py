"""Any format under any name."""

import gzip
import io
import tempfile

import h5py
import numpy as np
import pandas as pd
import pytest

from dgex.formats.expression import in_memory
from dgex.formats.gctx import write_gctx
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


def h5ad(path):
    axes = pd.DataFrame(index=["s1", "s2"]), pd.DataFrame(index=list("abc"))
    pytest.importorskip("anndata").AnnData(VALUES, *axes).write_h5ad(path)


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
        (text("gene,s1,s2\na,1,4\nb,2,5\nc,3,6.5\n"), "table"),
        (text("gene\ts1\ts2\na\t1\t4\nb\t2\t5\nc\t3\t6.5\n"), "table"),
        (h5ad, "h5ad"),
    ],
)
def test_the_content_decides(tmp_path, write, kind, packed):
    path = tmp_path / "some.file"
    write(path)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    with open_expression(path) as found:
        assert found.kind == kind
        assert found.row_id == ("a", "b", "c") and found.sample_id == ("s1", "s2")
        np.testing.assert_array_equal(found.load(), VALUES)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, for once one's own."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def packed(path, write=gctx):
    write(path)
    path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    return path


def load(path):
    with open_expression(path) as found:
        return found.load()


@pytest.mark.parametrize("write", [gctx, frame])
def test_gzip_is_unpacked_once_and_leaves_nothing(tmp_path, temporary, monkeypatch, write):
    unpacked, temporary_file = [], tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **kind: unpacked.append(kind) or temporary_file(**kind))
    with open_expression(packed(tmp_path / "some.h5.gz", write)) as found:
        np.testing.assert_array_equal(found.load(), VALUES)
        assert not list(temporary.iterdir())
    assert len(unpacked) == 1


def test_a_disk_that_runs_full_while_unpacking_is_said(tmp_path, temporary, refused):
    resource = pytest.importorskip("resource")
    path = packed(tmp_path / "some.gctx.gz")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As on a full disk, the system first writes a part and fails on the rest.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        line = refused(lambda: load(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"{path}: cannot be unpacked into {temporary} (File too large); make room there or set TMPDIR" in line


def test_a_system_that_writes_bit_by_bit_unpacks_all(tmp_path, temporary, monkeypatch):
    class Reluctant(io.FileIO):
        def write(self, data):
            return super().write(data[:1000])

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: Reluctant(temporary / "some", "w+"))
    np.testing.assert_array_equal(load(packed(tmp_path / "some.gctx.gz")), VALUES)


def test_no_temporary_folder_is_not_the_files_fault(tmp_path, monkeypatch, refused):
    def nowhere(buffering):
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "TemporaryFile", nowhere)
    line = refused(lambda: load(packed(tmp_path / "some.gctx.gz")))
    assert "cannot be unpacked into a temporary folder (No usable temporary directory" in line


@pytest.fixture
def parquet(tmp_path):
    """A file of Parquet, a sample a line."""
    pytest.importorskip("pyarrow")
    pd.DataFrame(VALUES, index=["s1", "s2"], columns=list("abc")).to_parquet(tmp_path / "some.file")
    return tmp_path / "some.file"


def test_parquet_is_known_by_its_content(parquet):
    with open_expression(parquet) as found:
        assert found.kind == "Parquet" and found.row_id == ("s1", "s2") and found.sample_id == ("a", "b", "c")
        np.testing.assert_array_equal(found.load(), VALUES.T)


def test_gct_text_under_a_gctx_name_is_refused(shared, tmp_path, refused):
    path = shared / "data" / "gct" / "test_l1000.gctx"
    assert f"{path}: is GCT text under the name of a GCTX file; rename it to .gct" in refused(lambda: load(path))
    (tmp_path / "some.GCTX.gz").write_bytes(gzip.compress(GCT_3.encode(), mtime=0))
    assert "rename it to .gct" in refused(lambda: load(tmp_path / "some.GCTX.gz"))


def test_gene_tables_are_not_expression(shared, refused):
    def read():
        with open_expression(shared / "data" / "genes" / "map_lm.txt"):
            pass

    assert "map_lm.txt: holds text, such as '219222_at', and no column of numbers" in refused(read)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "which no known format does"),
        (b"one word\n", "begins with b'one word\\n', which no known format does; read are GCTX"),
        (b"gene,s1\x01,s2\na,1,2\n", "which no known format does"),
        ("#1.3\n".encode("utf-16"), "is text in UTF-16; save it as UTF-8"),
        (b"PK\x03\x04" + b"x" * 600, "is an Excel workbook or an archive"),
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
    assert "is HDF5 of an unknown kind, with 'X', 'obs' in it; read are GCTX" in refused(read)
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 2
    assert "is a prepared data set already" in refused(read)
