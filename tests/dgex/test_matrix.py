"""Expression tables: the whole from its blocks, and turned over."""

import numpy as np
import pytest

from dgex.formats.matrix import Expression, in_memory


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
