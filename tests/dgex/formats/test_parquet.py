"""Parquet: files of pandas and pyarrow, files written here, and files that are wrong."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dgex.formats.expression import Expression, in_memory
from dgex.formats.opening import open_expression
from dgex.formats.parquet import open_parquet, write_parquet

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
NAN = np.nan
FRAME = pd.DataFrame({"g1": [1, 2.5], "g.2": [NAN, -3e-2], "g": [3, 4]}, ["s1", "s2"])


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "some.parquet"


def read(path: Path) -> tuple[Expression, np.ndarray]:
    with open_parquet(path) as found:
        return found, found.load()


@pytest.mark.parametrize("name", [None, "sample"])
@pytest.mark.parametrize("as_column", [False, True])
@pytest.mark.parametrize("settings", [{}, {"row_group_size": 1}, {"compression": "gzip"}])
def test_files_of_pandas(path, name, as_column, settings):
    frame = FRAME.rename_axis(name)
    (frame.reset_index() if as_column else frame).to_parquet(path, **settings)
    found, values = read(path)
    assert found.kind == "Parquet" and not found.row_metadata and not found.sample_metadata
    assert found.row_id == ("s1", "s2") and found.sample_id == ("g1", "g.2", "g")
    np.testing.assert_array_equal(values, FRAME.to_numpy(np.float32).T, strict=True)


def test_any_column_of_strings_is_metadata_and_so_are_entrez_ids(path):
    columns = {
        "g1": arrow.array([1.0, None], arrow.float16()),
        "gene": ["a", "b"],
        "title": arrow.array(["x", None]),
        "Entrez_ID": arrow.array([780, None]),
        "kind": arrow.array(["p", "q"]).dictionary_encode(),
        "ok": [True, None],
        "g2": arrow.array([2, 3], arrow.int64()),
        "g3": arrow.array([None, None], arrow.null()),
    }
    parquet.write_table(arrow.table(columns), path)
    found, values = read(path)
    assert found.row_id == ("a", "b") and found.sample_id == ("g1", "g2", "g3")
    np.testing.assert_array_equal(values, np.array([[1, NAN], [2, 3], [NAN, NAN]], np.float32), strict=True)
    assert found.row_metadata["title"].tolist() == ["x", ""] and found.row_metadata["kind"].tolist() == ["p", "q"]
    assert found.row_metadata["ok"].tolist() == ["true", ""]
    np.testing.assert_array_equal(found.row_metadata["Entrez_ID"], [780, NAN])


def test_annotation_is_metadata_and_a_quantifiers_best_column_the_sample(path):
    columns = {"gene": ["a", "b"], "Length": [1000, 500], "NumReads": [3.0, 4.0], "TPM": [5.0, 7.0], "start": [1, None]}
    parquet.write_table(arrow.table(columns), path)
    with open_expression(path) as found:
        assert found.sample_id == ("some",) and found.load().tolist() == [[5, 7]]
        assert found.row_metadata["Length"].tolist() == [1000, 500]
        np.testing.assert_array_equal(found.row_metadata["start"], [1, NAN])
    parquet.write_table(arrow.table({"id": ["s1", "N_unmapped"], "g1": [1, 9], "length": [3, 4]}), path)
    with open_expression(path) as found:
        assert found.row_id == ("s1",) and found.sample_id == ("g1",) and found.load().tolist() == [[1]]


def test_an_index_of_numbers_is_names(path):
    FRAME.set_axis([5720, 780]).to_parquet(path)
    assert read(path)[0].row_id == ("5720", "780")


@pytest.mark.parametrize("most", [1, 20, 10**6])
def test_blocks_are_lines(path, most):
    values = np.arange(70, dtype=np.float32).reshape(10, 7)
    frame = pd.DataFrame(values, [f"s{i}" for i in range(10)], [f"g{i}" for i in range(7)])
    frame.to_parquet(path, row_group_size=4)
    with open_parquet(path) as found:
        done = 0
        for genes, lines, block in found.blocks(most):
            assert genes == slice(0, 7) and lines.start == done and block.size <= max(most, 7)
            np.testing.assert_array_equal(block, values[lines].T, strict=True)
            done = lines.stop
    assert done == 10


@pytest.fixture
def expression() -> Expression:
    return in_memory(
        np.array([[1, NAN, 3.5], [0, -2, 6]], np.float32),
        ("g1", "g2", "g3"),
        ("s1", "s2"),
        {"symbol": np.array(["A", "", "C"]), "mae": np.array([0.25, NAN, 1]), "ok": np.array([True, False, True])},
        {"dose": np.array([1, 10])},
    )


def test_pandas_reads_what_is_written_here(path, expression):
    write_parquet(path, expression)
    found = pd.read_parquet(path)
    assert found.index.tolist() == ["s1", "s2"] and found.columns.tolist() == ["g1", "g2", "g3"]
    np.testing.assert_array_equal(found.to_numpy(), expression.load(), strict=True)
    genes = pd.read_parquet(path.with_name("some.genes.parquet"))
    assert genes.index.tolist() == ["g1", "g2", "g3"] and genes["symbol"].isna().tolist() == [False, True, False]
    assert genes["symbol"].tolist()[::2] == ["A", "C"] and genes["ok"].tolist() == [True, False, True]
    np.testing.assert_array_equal(genes["mae"], [0.25, NAN, 1])
    samples = pd.read_parquet(path.with_name("some.samples.parquet"))
    assert samples.index.tolist() == ["s1", "s2"] and samples["dose"].tolist() == [1, 10]
    assert len(list(path.parent.iterdir())) == 3


def test_written_in_row_groups_from_blocks_of_any_form(path, monkeypatch):
    values = np.arange(70, dtype=np.float32).reshape(10, 7)

    def blocks(most):
        for rows in (slice(0, 3), slice(3, 7)):
            yield slice(0, 10), rows, values[:, rows]

    monkeypatch.setattr("dgex.formats.parquet.BLOCK", 21)
    write_parquet(path, Expression(tuple("abcdefg"), tuple("0123456789"), blocks))
    assert [parquet.ParquetFile(path).metadata.row_group(i).num_rows for i in range(4)] == [3, 3, 3, 1]
    np.testing.assert_array_equal(read(path)[1].T, values)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]  # no metadata, no companions


def pandas_note(note: bytes):
    table = arrow.table({"g1": [1.0], "id": ["a"]}).replace_schema_metadata({b"pandas": note})
    return lambda path: parquet.write_table(table, path)


def frame(columns):
    return lambda path: parquet.write_table(arrow.table(columns), path)


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (frame({"g1": [1.0]}), "has no column of strings; give the lines names"),
        (frame({"id": ["a"]}), "has 1 lines and 0 columns of numbers, is empty"),
        (frame({"id": arrow.array([], arrow.string()), "g1": arrow.array([], arrow.float32())}), "has 0 lines"),
        (frame({"id": ["a"], "g1": [float("inf")]}), "holds infinite values"),
        (frame({"id": ["a"], "g1": [1e39]}), "holds infinite values"),  # as float32
        (frame({"id": ["a"], "g1": [[1.0]]}), "g1 holds list<"),
        (frame({"id": ["a"], "g1": arrow.array([0], arrow.timestamp("ms"))}), "g1 holds timestamp[ms]; store numbers"),
        (pandas_note(b"{"), "is truncated or damaged"),
        (pandas_note(b'{"index_columns": 3}'), "is truncated or damaged"),
        (lambda path: path.write_bytes(b"PAR1 and then nothing"), "is truncated or damaged"),
        (
            lambda path: path.write_bytes(gzip.compress(b"PAR1", mtime=0)),
            "is gzipped, which Parquet need not be; unpack it",
        ),
    ],
)
def test_wrong_files_are_refused(path, refused, write, complaint):
    write(path)
    line = refused(lambda: read(path))
    assert str(path) in line and complaint in line


@pytest.mark.parametrize("note", [b"[]", b'{"index_columns": [{"kind": "range"}]}', b'{"index_columns": ["gone"]}'])
def test_an_index_that_is_no_column_does_not_count(path, note):
    pandas_note(note)(path)
    assert read(path)[0].row_id == ("a",)


def test_names_may_repeat_or_lack(path):
    columns = [["a", None, "a"], [1.0, 2, 3], [4.0, 5, 6], [7.0, 8, 9]]
    parquet.write_table(arrow.Table.from_arrays(list(map(arrow.array, columns)), ["id", "g", "", "g"]), path)
    found, values = read(path)
    assert found.row_id == ("a", "", "a") and found.sample_id == ("g", "", "g")
    assert values.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_two_columns_of_ids_are_refused(path, refused):
    columns = [arrow.array(["a"]), arrow.array(["b"]), arrow.array([2.0])]
    parquet.write_table(arrow.Table.from_arrays(columns, ["id", "id", "g"]), path)
    assert "the column id twice" in refused(lambda: read(path))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_truncated_files_are_refused(path, expression, refused, share):
    write_parquet(path, expression)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert f"{path}: is truncated or damaged" in refused(lambda: read(path))


def test_a_flipped_bit_in_the_values_is_noticed(path, expression, refused):
    write_parquet(path, expression)
    content = path.read_bytes()
    at = content.index(np.float32(3.5).tobytes())
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    assert f"{path}: is truncated or damaged" in refused(lambda: read(path))


def test_a_dictionary_of_more_lines_than_memory(tmp_path, refused):
    count = 2**23 + 1
    ids = arrow.DictionaryArray.from_arrays(arrow.array(np.zeros(count, "i4")), ["a"])
    path = tmp_path / "some.parquet"
    parquet.write_table(arrow.table({"id": ids, "s": np.zeros(count, "f4")}), path)

    def read():
        with open_parquet(path):
            pass

    assert path.stat().st_size < 2**20
    assert f"{path}: has more than 8,388,608 lines, is no expression table" in refused(read)
