"""The reader of pandas' HDF5 files, against pandas itself."""

import warnings

import h5py
import numpy as np
import pandas as pd
import pytest

from dgex.formats.pandas_hdf import open_pandas_hdf, read_pandas_hdf

VALUES = np.random.default_rng(0).normal(size=(4, 3))
NARROW = VALUES.astype(np.float32)
LETTERS = ["w", "x", "y", "z"]


def write(frame, path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)  # pandas warns that it pickles
        frame.to_hdf(path, key="table", **options)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(NARROW, index=LETTERS, columns=["a", "b", "c"]),
        pd.DataFrame(VALUES),
        pd.DataFrame(NARROW, columns=["ENSG1", "Ä", "日本"]),
        pd.DataFrame(VALUES, index=[0.5, 1.5, 2.5, 3.5], columns=[7, 5, 6]),
        pd.DataFrame(VALUES, index=pd.Index(LETTERS, dtype=object), columns=pd.Index(["a", "b", "c"], dtype=object)),
        pd.DataFrame(VALUES, index=LETTERS, columns=["c", "a", "b"])[["b", "c"]],
        pd.DataFrame({"a": NARROW[:, 0], "b": VALUES[:, 1], "c": NARROW[:, 2]}, index=LETTERS),
        pd.DataFrame({3: VALUES[:, 0], 1: NARROW[:, 1], 2: VALUES[:, 2]}),
        pd.DataFrame(VALUES[:1, :1]),
        pd.DataFrame(np.full((2, 2), np.nan)),
    ],
)
def test_frames_are_read_as_pandas_reads_them(tmp_path, frame):
    write(frame, tmp_path / "frame.h5")
    values, rows, columns = read_pandas_hdf(tmp_path / "frame.h5")
    expected = pd.read_hdf(tmp_path / "frame.h5", "table")
    np.testing.assert_array_equal(values, expected.to_numpy(), strict=True)
    assert rows.tolist() == expected.index.tolist()
    assert columns.tolist() == expected.columns.tolist()


def test_compressed_frames_and_other_keys(tmp_path):
    pd.DataFrame(VALUES).to_hdf(tmp_path / "frame.h5", key="deep/er", complib="zlib", complevel=5)
    np.testing.assert_array_equal(read_pandas_hdf(tmp_path / "frame.h5", "deep/er")[0], VALUES)


def test_pickled_labels_become_positions(tmp_path):
    write(pd.DataFrame(NARROW, index=LETTERS, columns=pd.Index(["a", 1, None], dtype=object)), tmp_path / "frame.h5")
    values, rows, columns = read_pandas_hdf(tmp_path / "frame.h5")
    np.testing.assert_array_equal(values, NARROW)
    assert rows.tolist() == LETTERS and columns.tolist() == [0, 1, 2]


def test_labels_of_an_older_encoding_do_not_stop_the_reader(tmp_path):
    write(pd.DataFrame(NARROW), tmp_path / "frame.h5")
    with h5py.File(tmp_path / "frame.h5", "r+") as file:
        del file["table/axis0"]
        file["table/axis0"] = np.array([b"M\xfcller", b"b", b"c"])
    assert read_pandas_hdf(tmp_path / "frame.h5")[2].tolist() == ["M\N{REPLACEMENT CHARACTER}ller", "b", "c"]


@pytest.mark.parametrize(
    ("frame", "options", "complaint"),
    [
        (pd.DataFrame(VALUES), {"format": "table"}, "'frame_table', not a fixed frame"),
        (pd.Series(VALUES[0]), {}, "'series', not a fixed frame"),
        (pd.DataFrame({"a": ["x", "y"], "b": [1.0, 2.0]}), {}, "pickled objects"),
        (pd.DataFrame({"a": [1, 2]}), {}, "holds int64"),
        (pd.DataFrame(VALUES[:0], columns=["a", "b", "c"]), {}, "holds nothing"),
        (pd.DataFrame(index=LETTERS), {}, "is empty"),
        (pd.DataFrame(VALUES, columns=pd.MultiIndex.from_product([["a"], [1, 2, 3]])), {}, "no /table/axis0"),
        (pd.DataFrame({"a": NARROW[:, 0], 1: VALUES[:, 1]}), {}, "pickled or repeated"),
    ],
)
def test_other_frames_are_refused(tmp_path, refused, frame, options, complaint):
    write(frame, tmp_path / "frame.h5", **options)
    line = refused(lambda: read_pandas_hdf(tmp_path / "frame.h5"))
    assert complaint in line and str(tmp_path) in line


def test_other_files_are_refused(tmp_path, refused):
    path = tmp_path / "frame.h5"
    write(pd.DataFrame(VALUES), path)
    assert "has no data frame 'other'; give the key of one of: 'table'" in refused(
        lambda: read_pandas_hdf(path, "other")
    )
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "truncated or damaged" in refused(lambda: read_pandas_hdf(path))
    with h5py.File(path, "w") as file:
        file.create_group("table")
    assert "no pandas object" in refused(lambda: read_pandas_hdf(path))
    path.unlink()
    assert "No such file" in refused(lambda: read_pandas_hdf(path))


def replaced(name, values):
    def damage(frame):
        del frame[name]
        frame[name] = values

    return damage


def both(*members):
    return lambda frame: [replaced(name, np.array(values))(frame) for name, values in members]


def attribute(name, value):
    return lambda frame: frame.attrs.create(name, value)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (attribute("pandas_type", [1, 2]), "no pandas object"),
        (attribute("pandas_type", np.bytes_(b"fr\xfcme")), "'fr\N{REPLACEMENT CHARACTER}me', not a fixed frame"),
        (attribute("pandas_type", "fram\n"), r"'fram\n', not a fixed frame"),
        (attribute("nblocks", "x"), "is empty or damaged"),
        (attribute("nblocks", 2.5), "is empty or damaged"),
        (attribute("nblocks", [1, 2]), "is empty or damaged"),
        (attribute("nblocks", -1), "is empty or damaged"),
        (attribute("nblocks", 2**60), "has no /table/block2_values"),
        (attribute("nblocks", 1), "shape (4, 2) and 4 x 3 labels"),
        (replaced("block0_values", np.zeros(5)), "block0_values has 1 axes, not 2"),
        (replaced("block0_values", 0.5), "block0_values has 0 axes, not 2"),
        (replaced("block0_values", np.zeros((4, 1))), "shape (4, 1) and 4 x 2 labels"),
        (replaced("block1_values", np.zeros((3, 1))), "shape (3, 1) and 4 x 1 labels"),
        (replaced("block1_items", np.array([b"d"])), "are not its columns, each once"),
        (replaced("block1_items", np.array([b"a"])), "are not its columns, each once"),
        (replaced("axis0", np.array([b"a", b"b"])), "are not its columns, each once"),
        (replaced("axis0", np.array([b"a", b"b", b"c", b"d"])), "are not its columns, each once"),
        (both(("axis0", [b"a", b"c"]), ("block1_items", [b"c"])), "are not its columns, each once"),
        (replaced("axis0", 3), "axis0 has 0 axes, not 1"),
        (replaced("axis0", np.zeros((3, 2))), "axis0 has 2 axes, not 1"),
        (replaced("axis1", np.zeros(4, "V5")), "axis1 holds |V5"),
        (replaced("axis1", np.arange(5)), "shape (4, 2) and 5 x 2 labels"),
    ],
)
def test_damaged_frames_are_refused(tmp_path, refused, damage, complaint):
    path = tmp_path / "frame.h5"
    write(pd.DataFrame({"a": NARROW[:, 0], "b": VALUES[:, 1], "c": NARROW[:, 2]}), path)
    with h5py.File(path, "r+") as file:
        damage(file["table"])
    line = refused(lambda: read_pandas_hdf(path))
    assert str(path) in line and complaint in line


def test_frames_are_expression_tables(tmp_path):
    pd.DataFrame(VALUES, columns=[7, 5, 6]).to_hdf(tmp_path / "frame.h5", key="table")
    with open_pandas_hdf(tmp_path / "frame.h5") as found:
        assert found.kind == "pandas HDF5"
        assert found.sample_id == ("0", "1", "2", "3") and found.row_id == ("7", "5", "6")
        np.testing.assert_array_equal(found.load(), VALUES.astype(np.float32), strict=True)


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (pd.DataFrame(np.full((2, 2), np.inf)), "infinite values"),
        (pd.DataFrame(np.full((2, 2), 1e39)), "infinite values"),  # as float32
    ],
)
def test_frames_that_are_no_expression_tables_are_refused(tmp_path, refused, frame, complaint):
    write(frame, tmp_path / "frame.h5")

    def read():
        with open_pandas_hdf(tmp_path / "frame.h5"):
            pass

    line = refused(read)
    assert complaint in line and str(tmp_path) in line


def test_labels_may_repeat(tmp_path):
    write(pd.DataFrame(VALUES, ["x", "y", "x", "z"], ["a", "b", "c"]), tmp_path / "frame.h5")
    with h5py.File(tmp_path / "frame.h5", "r+") as file:  # pandas would not write it
        del file["table/axis0"]
        file["table/axis0"] = np.array([b"a", b"b", b"a"])
    with open_pandas_hdf(tmp_path / "frame.h5") as found:
        assert found.sample_id == ("x", "y", "x", "z") and found.row_id == ("a", "b", "a")
        np.testing.assert_array_equal(found.load(), VALUES.astype(np.float32))
