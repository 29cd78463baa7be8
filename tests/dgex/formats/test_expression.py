"""Expression tables: the whole from its blocks, and turned over."""

import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.formats.expression import PIECE, TEXT, Expression, ending, finite, in_memory, is_text, text_column, unique_ids


@pytest.fixture
def table():
    """Two samples of three rows, in blocks of one value."""

    def blocks(most):
        for sample in range(2):
            for row in range(3):
                values = np.array([[10 * sample + row]], np.float32)
                yield slice(sample, sample + 1), slice(row, row + 1), values

    return Expression(("a", "b", "c"), ("s", "t"), blocks, {"symbol": np.array(list("ABC"))}, {"n": np.arange(2)}, "K")


def test_load_puts_every_block_in_its_place(table):
    np.testing.assert_array_equal(table.load(), np.array([[0, 1, 2], [10, 11, 12]], np.float32), strict=True)


def test_transposed_exchanges_samples_and_rows(table):
    turned = table.transposed()
    assert turned.shape == (3, 2) and turned.kind == "K"
    assert turned.row_id == ("s", "t") and turned.sample_id == ("a", "b", "c")
    assert turned.row_metadata["n"].tolist() == [0, 1] and turned.sample_metadata["symbol"].tolist() == ["A", "B", "C"]
    np.testing.assert_array_equal(turned.load(), np.array([[0, 10], [1, 11], [2, 12]], np.float32), strict=True)
    np.testing.assert_array_equal(turned.transposed().load(), table.load())


def test_transposed_reads_nothing_before_it_is_asked():
    def blocks(most):
        raise AssertionError

    Expression(("a",), ("s",), blocks).transposed()


def test_of_an_array():
    values = np.array([[1, np.nan]], np.float32)
    table = in_memory(values, "ab", ["s"])
    assert table.shape == (1, 2) and table.kind == "in memory"
    np.testing.assert_array_equal(table.load(), values)


def test_text_columns_take_what_their_entries_take():
    entries = ["x" * 10**6, *map(str, range(2 * PIECE)), "a\0b", ""]
    column = text_column(entries)
    assert column.dtype == TEXT and column.nbytes == 16 * len(entries)
    assert column.tolist() == [*entries[:-2], "ab", ""]
    assert text_column([]).tolist() == []


def test_texts_are_texts_whoever_made_them():
    assert is_text(text_column(["a"])) and is_text(np.array(["a"]))
    assert not is_text(np.array([1.5])) and not is_text(np.array([True]))


def test_a_field_of_the_samples_as_texts():
    metadata = {"n": np.array([1, 20]), "x": np.array([0.5, np.nan]), "u": np.array(["a", ""]), "t": text_column("bc")}
    table = in_memory(np.zeros((2, 1), np.float32), "a", "st", {}, metadata)
    found = {name: table.sample_text(name) for name in [*metadata, "none"]}
    assert {name: column.tolist() for name, column in found.items()} == {
        "n": ["1", "20"], "x": ["0.5", ""], "u": ["a", ""], "t": ["b", "c"], "none": ["", ""]
    }  # fmt: skip
    assert {column.dtype for column in found.values()} == {TEXT}


def test_blocks_end_with_whoever_reads_them():
    ended = []

    def blocks(most):
        try:
            yield slice(0, 1), slice(0, 1), np.zeros((1, 1), np.float32)
        finally:
            ended.append(most)

    table = Expression(("a",), ("s",), blocks)
    for expression in (table, table.transposed()):
        with pytest.raises(OSError), ending(expression.blocks(7)) as own:
            next(own)
            raise OSError
        assert ended.pop() == 7
    with ending(iter([1])) as own:  # what cannot be closed need not
        assert list(own) == [1]


def test_what_is_infinite_is_refused():
    values = np.array([1, np.nan])
    assert finite("x", values) is values
    with pytest.raises(DgexError, match="some.csv: the table holds infinite values; use NaN"):
        finite("some.csv: the table", np.array([1, -np.inf]))


@pytest.mark.parametrize(
    ("ids", "complaint"),
    [
        (["a", "b", "a"], "the row a twice"),
        (["a", ""], "the row ''"),
        (["a", "\N{REPLACEMENT CHARACTER}"], "in UTF-8"),
        (["\0"], "without NUL"),
    ],
)
def test_ids_must_be_keys(tmp_path, refused, ids, complaint):
    assert unique_ids(tmp_path, "row", ["b", "a"]) == ("b", "a")
    assert complaint in refused(lambda: unique_ids(tmp_path, "row", ids))
