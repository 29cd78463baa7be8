"""GCTX: the Connectivity Map's own small files, files written here, and files that are wrong."""

import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgex.formats.expression import Expression, in_memory, is_text
from dgex.formats.gctx import open_gctx, write_gctx

NAN = np.nan
VALUES = np.array([[1, NAN, 3], [4, 5, 6.5]], np.float32)


@pytest.fixture
def expression() -> Expression:
    return in_memory(
        VALUES,
        row_id=("1_at", "2_at", "3_at"),
        sample_id=("GSM1", "DMSO:-666"),
        row_metadata={"symbol": np.array(["A", "", "Ä"]), "entrez": np.array([1.0, NAN, 3])},
        sample_metadata={"study_id": np.array(["GSE1", "GSE2"]), "batch": np.array([7, 8])},
    )


@pytest.fixture
def path(tmp_path, expression):
    write_gctx(tmp_path / "some.gctx", expression)
    return tmp_path / "some.gctx"


def read(path: Path) -> np.ndarray:
    with open_gctx(path) as expression:
        return expression.load()


def test_reads_back_what_was_written(path, expression):
    with open_gctx(path) as found:
        np.testing.assert_array_equal(found.load(), VALUES, strict=True)
        assert (found.row_id, found.sample_id) == (expression.row_id, expression.sample_id)
        assert found.kind == "GCTX"
        for mine, theirs in (
            (found.row_metadata, expression.row_metadata),
            (found.sample_metadata, expression.sample_metadata),
        ):
            assert mine.keys() == theirs.keys()
            for name in mine:
                np.testing.assert_array_equal(mine[name], theirs[name])
                assert mine[name].dtype.kind == theirs[name].dtype.kind.replace("U", "T")


def test_file_has_the_published_layout(path):
    with h5py.File(path) as file:
        assert file.attrs["version"] == "GCTX1.0"
        matrix = file["0/DATA/0/matrix"]
        assert matrix.shape == (2, 3) and matrix.dtype == np.float32 and matrix.chunks is None
        assert file["0/META/ROW/id"].asstr()[:].tolist() == ["1_at", "2_at", "3_at"]
        assert file["0/META/ROW/symbol"].asstr()[1] == "-666"
        assert file["0/META/ROW/entrez"][:].tolist() == [1, -666, 3]


def test_a_slash_in_the_name_of_a_field_makes_no_group(tmp_path):
    write_gctx(tmp_path / "some.gctx", in_memory(VALUES, "abc", "xy", {"dose/unit": np.array(["1", "2", "3"])}))
    with open_gctx(tmp_path / "some.gctx") as found:
        assert found.row_metadata["dose|unit"].tolist() == ["1", "2", "3"]


def tiled(samples: list[int], rows: list[int], by_rows: bool) -> Expression:
    """The table of 5 x 7 numbers, in blocks cut at these positions, row of blocks by row or column by column."""
    values = np.arange(35, dtype=np.float32).reshape(5, 7)
    tops, lefts = [0, *samples, 5], [0, *rows, 7]

    def blocks(most):
        tiles = [
            (slice(*top), slice(*left))
            for top in zip(tops, tops[1:], strict=False)
            for left in zip(lefts, lefts[1:], strict=False)
        ]
        for top, left in tiles if by_rows else sorted(tiles, key=lambda tile: tile[1].start):
            yield top, left, values[top, left]

    return Expression(tuple("abcdefg"), tuple("vwxyz"), blocks)


@given(st.sets(st.integers(1, 4)), st.sets(st.integers(1, 6)), st.booleans())
def test_the_bytes_do_not_depend_on_the_blocks(samples, rows, by_rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.gctx"
        write_gctx(path, tiled([], [], True))
        whole = path.read_bytes()
        write_gctx(path, tiled(sorted(samples), sorted(rows), by_rows))
        assert path.read_bytes() == whole
        np.testing.assert_array_equal(read(path), np.arange(35).reshape(5, 7))


def write_matrix(path: Path, values: np.ndarray, **storage) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("0/DATA/0/matrix", data=values, **storage)
        file["0/META/COL/id"] = [f"s{i}" for i in range(values.shape[0])]
        file["0/META/ROW/id"] = [f"r{i}" for i in range(values.shape[1])]


@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.none() | st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.sampled_from(["f2", "f4", "f8", ">f4"]),
    st.integers(1, 1000),
)
def test_blocks_read_every_chunk_once(samples, rows, chunks, dtype, most):
    chunks = chunks and (min(chunks[0], samples), min(chunks[1], rows))
    values = np.arange(samples * rows).reshape(samples, rows).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.gctx"
        write_matrix(path, values, chunks=chunks, compression="gzip" if chunks else None)
        found, reads = np.full(values.shape, -1, np.float32), np.zeros(values.shape, int)
        deep, wide = chunks or (1, rows)
        with open_gctx(path) as expression:
            for top, left, block in expression.blocks(most):
                assert block.dtype == np.float32
                assert top.start % deep == 0 and left.start % wide == 0
                assert block.size <= max(most, deep * wide)
                # Whole profiles, wherever as many as a chunk is deep are allowed.
                assert block.shape[1] == rows or deep * rows > most
                found[top, left] = block
                reads[top, left] += 1
    np.testing.assert_array_equal(found, values.astype(np.float32))
    assert (reads == 1).all()


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 8), st.integers(1, 8), st.integers(1, 100))
def test_chunks_without_compression_are_cut_where_they_are_too_large(samples, rows, deep, wide, most):
    deep, wide = min(deep, samples), min(wide, rows)
    values = np.arange(samples * rows, dtype=np.float32).reshape(samples, rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.gctx"
        write_matrix(path, values, chunks=(deep, wide))
        found, reads = np.full(values.shape, -1, np.float32), np.zeros(values.shape, int)
        with open_gctx(path) as expression:
            for top, left, block in expression.blocks(most):
                assert block.size <= max(most, wide)
                if deep * wide <= most:
                    assert top.start % deep == 0 and left.start % wide == 0
                found[top, left] = block
                reads[top, left] += 1
    np.testing.assert_array_equal(found, values)
    assert (reads == 1).all()


PEAK = """
import re, sys
from pathlib import Path
from dgex.formats.gctx import open_gctx

def peak():  # of this program alone: ru_maxrss begins with that of the one which started it
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

before = peak()
with open_gctx(Path(sys.argv[1])) as expression:
    for samples, rows, values in expression.blocks(2**20):
        last = values
print(last[-1, -1], peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_a_chunk_larger_than_memory_is_never_in_it(tmp_path):
    path = tmp_path / "some.gctx"
    with h5py.File(path, "w") as file:
        # Above 256 MiB, of which, thanks to holes in files, only the last page is on disk.
        matrix = file.create_dataset("0/DATA/0/matrix", (8200, 8200), "f4", chunks=(8200, 8200), fill_time="never")
        matrix[-1, -1] = 5
        file["0/META/COL/id"] = file["0/META/ROW/id"] = np.arange(8200)
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], check=True, capture_output=True, text=True)
    last, mebibytes = map(float, done.stdout.split())
    assert last == 5 and mebibytes < 64  # a block has 4


@pytest.mark.parametrize(("samples", "is_read"), [(8192, True), (8193, False)])
def test_compressed_chunks_larger_than_memory_are_refused(tmp_path, refused, samples, is_read):
    path = tmp_path / "some.gctx"
    with h5py.File(path, "w") as file:
        file.create_dataset("0/DATA/0/matrix", (samples, 8192), "f4", chunks=(samples, 8192), compression="gzip")
        file["0/META/COL/id"], file["0/META/ROW/id"] = np.arange(samples), np.arange(8192)

    def open_it():
        with open_gctx(path):
            pass

    if is_read:
        open_it()
    else:
        assert "in compressed chunks of 256 MiB each, which are read whole; make smaller ones" in refused(open_it)


def test_blocks_of_the_compendium_are_the_file(shared):
    path = shared / "data" / "geo" / "rnaseq_cohorts_n661x10018.gctx"
    with h5py.File(path) as file:
        expected = file["0/DATA/0/matrix"][:]
    with open_gctx(path) as expression:
        shapes = []
        for samples, rows, values in expression.blocks(2**21):
            shapes.append(values.shape)
            np.testing.assert_array_equal(values, expected[samples, rows])
        # Chunks are 64 x 2048, so that 3 x 64 whole profiles are the most below 2**21 values.
        assert shapes == [(192, 10018)] * 3 + [(85, 10018)]


def test_gctx_of_the_connectivity_map_equals_its_gct_twin(shared):
    folder = shared / "data" / "gct"
    lines = [line.split("\t") for line in (folder / "mini_gctoo_for_testing.gct").read_text().splitlines()]
    rows, samples, row_fields, sample_fields = map(int, lines[1])
    header, body = lines[2], lines[3 + sample_fields :]
    with open_gctx(folder / "mini_gctoo_for_testing.gctx") as found:
        assert found.sample_id == tuple(header[1 + row_fields :])
        assert found.row_id == tuple(line[0] for line in body)
        expected = np.array([line[1 + row_fields :] for line in body], np.float32).T
        np.testing.assert_allclose(found.load(), expected, rtol=1e-5)
        for column, name in enumerate(header[1 : 1 + row_fields], start=1):
            texts = [line[column] for line in body]
            if is_text(found.row_metadata[name]):
                assert found.row_metadata[name].tolist() == ["" if text == "-666" else text for text in texts]
            else:
                np.testing.assert_allclose(found.row_metadata[name], np.array(texts, float), rtol=1e-5)


def test_gctx_with_gzip_fixed_strings_and_missing_numbers(shared):
    with open_gctx(shared / "data" / "gct" / "mini_gctx_with_metadata_n2x3.gctx") as found:
        assert found.sample_id == ("LJP005_A375_24H:DMSO:-666", "LJP005_A375_24H:BRD-K76908866:10")
        assert found.row_metadata["pr_analyte_id"].tolist() == ["Analyte 11", "Analyte 12", "Analyte 12"]
        np.testing.assert_array_equal(found.row_metadata["pr_model_id"], [NAN, NAN, NAN])
        np.testing.assert_allclose(found.load()[1], [0.01127037, 1.92106056, -0.14465202], rtol=1e-6)


@pytest.fixture
def cmappy(monkeypatch):
    """The reader of the format's authors. It asks pandas for what pandas 3 no longer does: ignoring errors."""
    parse = pytest.importorskip("cmapPy.pandasGEXpress.parse")
    to_numeric = pd.to_numeric

    def ignoring(values, errors):
        assert errors == "ignore"
        try:
            return to_numeric(values)
        except ValueError:
            return values

    monkeypatch.setattr(pd, "to_numeric", ignoring)
    return parse.parse


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("name", ["mini_gctoo_for_testing.gctx", "mini_gctx_with_metadata_n2x3.gctx", "written here"])
def test_cmappy_reads_the_same(shared, cmappy, tmp_path, name):
    path = shared / "data" / "gct" / name
    if name == "written here":
        path = tmp_path / "some.gctx"
        metadata = {"symbol": np.array(["A", "", "C"]), "entrez": np.array([1.0, NAN, 3])}
        write_gctx(path, in_memory(VALUES, ("1_at", "2_at", "3_at"), ("GSM1", "GSM2"), metadata))
    theirs = cmappy(str(path))
    with open_gctx(path) as mine:
        np.testing.assert_allclose(mine.load(), theirs.data_df.to_numpy().T, rtol=1e-6)
        assert mine.row_id == tuple(theirs.data_df.index) and mine.sample_id == tuple(theirs.data_df.columns)
        for ours, frame in (
            (mine.row_metadata, theirs.row_metadata_df),
            (mine.sample_metadata, theirs.col_metadata_df),
        ):
            assert ours.keys() == set(frame.columns)
            for field, column in ours.items():
                expected = frame[field].tolist()
                if is_text(column):
                    expected = ["" if entry != entry else entry for entry in expected]  # NaN
                np.testing.assert_array_equal(column, expected)


def test_integer_metadata_with_gaps_becomes_float(path):
    with h5py.File(path, "r+") as file:
        file["0/META/COL/batch"][0] = -666
    with open_gctx(path) as found:
        np.testing.assert_array_equal(found.sample_metadata["batch"], [NAN, 8])


def test_integer_ids_are_names(path):
    with h5py.File(path, "r+") as file:
        del file["0/META/ROW/id"]
        file["0/META/ROW/id"] = [5720, 55847, 7416]
    with open_gctx(path) as found:
        assert found.row_id == ("5720", "55847", "7416")


def replaced(name, values):
    def damage(file):
        del file[name]
        if values is not None:
            file[name] = values

    return damage


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (replaced("0/DATA/0/matrix", np.zeros((3, 2), "f4")), "transposed"),
        (replaced("0/DATA/0/matrix", np.zeros((2, 4), "f4")), "of shape (2, 4)"),
        (replaced("0/DATA/0/matrix", np.zeros((2, 3), "i4")), "holds int32"),
        (replaced("0/DATA/0/matrix", np.full((2, 3), -np.inf)), "holds infinite values"),
        (replaced("0/DATA/0/matrix", np.full((2, 3), 1e39)), "holds infinite values"),  # as float32
        (replaced("0/DATA/0/matrix", None), "no /0/DATA/0/matrix"),
        (replaced("0/META/ROW/id", None), "no /0/META/ROW/id"),
        (replaced("0/META/COL/batch", [1, 2, 3]), "/0/META/COL/batch has shape (3,)"),
        (replaced("0/DATA/0/matrix", 1.0), "/0/DATA/0/matrix has 0 axes, not 2"),
        (replaced("0/DATA/0/matrix", h5py.Empty("f4")), "/0/DATA/0/matrix has 0 axes, not 2"),
        (replaced("0/META/ROW/id", 3), "/0/META/ROW/id has 0 axes, not 1"),
        (replaced("0/META/ROW/id", h5py.Empty("f4")), "/0/META/ROW/id has 0 axes, not 1"),
        (replaced("0/META/ROW/id", np.zeros((3, 1))), "/0/META/ROW/id has 2 axes, not 1"),
        (replaced("0/META/COL/batch", np.zeros(2, [("a", "i4"), ("b", "f4")])), "/0/META/COL/batch holds [('a'"),
        (replaced("0/META/COL/batch", np.zeros(2, "V5")), "/0/META/COL/batch holds |V5; store numbers or strings"),
        (replaced("0/META/COL/batch", np.zeros(2, complex)), "/0/META/COL/batch holds complex128"),
        (
            replaced("0/META/COL/batch", np.array([np.arange(1), np.arange(2)], h5py.vlen_dtype(int))),
            "/0/META/COL/batch holds object",
        ),
        (replaced("0/META/COL", 1), "has no /0/META/COL/id"),
    ],
)
def test_wrong_files_are_refused(path, refused, damage, complaint):
    with h5py.File(path, "r+") as file:
        damage(file)
    line = refused(lambda: read(path))
    assert str(path) in line and complaint in line


BIASED = h5py.h5t.IEEE_F32LE.copy()
BIASED.set_ebias(2**15)  # beyond the exponents of any float of numpy


@pytest.mark.parametrize("name", ["0/DATA/0/matrix", "0/META/ROW/id", "0/META/COL/batch"])
@pytest.mark.parametrize("kind", [h5py.h5t.UNIX_D32LE, BIASED])
def test_types_that_numpy_does_not_have_are_refused(path, refused, name, kind):
    with h5py.File(path, "r+") as file:
        space = file[name].id.get_space()
        del file[name]
        h5py.h5d.create(file.id, name.encode(), kind, space)
    assert f"{path}: is truncated or damaged" in refused(lambda: read(path))


def test_a_file_without_samples_is_refused(tmp_path, refused):
    write_gctx(tmp_path / "empty.gctx", in_memory(np.zeros((0, 1), np.float32), ("1_at",), ()))
    assert "is empty" in refused(lambda: read(tmp_path / "empty.gctx"))


def test_gct_text_under_a_gctx_name_is_recognised(shared, refused):
    assert "is GCT text" in refused(lambda: read(shared / "data" / "gct" / "test_l1000.gctx"))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
@pytest.mark.parametrize(("before", "after"), [(bytes, bytes), (bytes, gzip.compress), (gzip.compress, bytes)])
def test_truncated_files_are_refused(path, refused, share, before, after):
    content = before(path.read_bytes())
    path.write_bytes(after(content[: int(share * len(content))]))
    line = refused(lambda: read(path))
    assert "truncated or damaged" in line and str(path) in line


def test_a_damaged_chunk_is_the_fault_of_its_file(tmp_path, refused):
    source, output = tmp_path / "source.gctx", tmp_path / "output.gctx"
    write_matrix(source, np.random.default_rng(0).normal(size=(64, 64)).astype("f4"), chunks=(64, 64), fletcher32=True)
    with h5py.File(source) as file:
        chunk = file["0/DATA/0/matrix"].id.get_chunk_info(0)
    content = bytearray(source.read_bytes())
    content[chunk.byte_offset + 100] ^= 255
    source.write_bytes(content)

    def copy():
        with open_gctx(source) as expression:
            write_gctx(output, expression)

    assert f"{source}: is truncated or damaged" in refused(copy)
    assert [entry.name for entry in tmp_path.iterdir()] == ["source.gctx"]


def test_errors_of_the_with_block_are_not_the_files(path):
    with pytest.raises(OSError, match="of something else"), open_gctx(path):
        raise OSError("of something else")
