"""What the text formats share, on lines written here."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgex.formats.text_reading import metadata_column, read_lines, value_blocks

NAN = np.nan


@pytest.fixture
def values_of(tmp_path):
    """The values of the lines in a text, each with an id, as ``value_blocks`` reads them."""

    def read(text, most=100):
        path = tmp_path / "some.txt"
        path.write_text(text)
        lines = text.splitlines()
        blocks = value_blocks(path, 1, 1, lines[0].count("\t"), len(lines))(most)
        return np.hstack([values for *_, values in blocks])

    return read


CELLS = ["", "NA", "n/a", "#N/A", "NULL", "NaN", " 1 "]
cells = st.floats(width=32, allow_infinity=False).map(str) | st.sampled_from(CELLS)


@given(
    st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=1, max_size=6)),
    st.integers(1, 40),
    st.booleans(),
)
def test_blocks_are_the_cells_one_by_one(rows, most, packed):
    text = "id\nheader\n" + "".join("\t".join(["name", *row]) + "\n" for row in rows)
    samples = len(rows[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.txt"
        path.write_bytes(gzip.compress(text.encode(), mtime=0) if packed else text.encode())
        found = np.full((samples, len(rows)), -1, np.float32)
        for top, left, values in value_blocks(path, 3, 1, samples, len(rows))(most):
            assert top == slice(0, samples) and values.dtype == np.float32
            assert values.size <= max(most, samples)
            found[top, left] = values
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            is_number = cell.strip().lower() not in ("", "na", "n/a", "#n/a", "null", "nan")
            np.testing.assert_equal(found[j, i], np.float32(cell) if is_number else np.float32(NAN))


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ("3,5", "line 2 holds '3,5' among its values; write decimals with a point"),
        ("12a", "line 2 holds '12a' among its values"),
        ("inf", "line 2 holds an infinite value"),
        ("-Infinity", "line 2 holds an infinite value"),
        ("1e39", "line 2 holds an infinite value"),
        ("1_000", "line 2 holds '1_000' among its values; mend it"),
        ("\N{ARABIC-INDIC DIGIT ONE}", "line 2 holds '\N{ARABIC-INDIC DIGIT ONE}' among its values; mend it"),
        ("\N{FULLWIDTH DIGIT TWO}.5", "line 2 holds '\N{FULLWIDTH DIGIT TWO}.5' among its values; mend it"),
    ],
)
@pytest.mark.parametrize("most", [1, 100])
def test_what_is_not_a_number_is_refused_with_its_line(values_of, refused, cell, complaint, most):
    assert complaint in refused(lambda: values_of(f"a\t1\tNA\nb\tNA\t{cell}\nc\t2\t3\n", most))


def test_names_beside_the_values_may_have_any_letter(values_of):
    assert values_of("200814_at\t1\t2\n\N{ARABIC-INDIC DIGIT ONE}\t3\t4\n").tolist() == [[1, 3], [2, 4]]


def test_lines_end_as_on_unix_or_windows_and_empty_ones_do_not_count(tmp_path):
    path = tmp_path / "some.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\r\n\ntwo\rtoo\n\t \t\nM\xfcller\t")
    assert list(read_lines(path)) == [(1, "one"), (4, "two\rtoo"), (6, "M\N{REPLACEMENT CHARACTER}ller\t")]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("end", [b"", b"\r", b"\n", b"\r\r\n"])
def test_or_as_on_old_macintoshes(tmp_path, pack, end):
    path = tmp_path / "some.txt"
    path.write_bytes(pack(b"one\rtwo\r\r" + b"x" * 100_000 + b"\rfour" + end))
    assert list(read_lines(path)) == [(1, "one"), (2, "two"), (4, "x" * 100_000), (5, "four")]


def test_a_stray_carriage_return_ends_no_line(tmp_path):
    path = tmp_path / "some.txt"
    path.write_bytes(b'!Series_title\t"one\rtwo"\n' + b"x" * 100_000 + b"\n")
    assert list(read_lines(path)) == [(1, '!Series_title\t"one\rtwo"'), (2, "x" * 100_000)]


def test_a_file_with_zeros_in_it_is_refused(tmp_path, refused):
    path = tmp_path / "some.txt"
    path.write_bytes("one\ntwo".encode("utf-16-le"))
    assert "line 1 holds a NUL byte" in refused(lambda: list(read_lines(path)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch, refused, pack):
    monkeypatch.setattr("dgex.formats.text_reading.LONGEST", 100)
    path = tmp_path / "some.txt"
    path.write_bytes(pack(b"#1.2\n" + b"x" * 98 + b"\n" + b"y" * 99))
    assert [len(line) for _, line in read_lines(path)] == [4, 98, 99]
    path.write_bytes(pack(b"#1.2\n" + b"x" * 100 + b"\n"))
    assert f"{path}: line 2 has no end within 100 characters" in refused(lambda: list(read_lines(path)))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["3", "-20", "0"], np.array([3, -20, 0])),
        (["3", "-666"], np.array([3, NAN])),
        (["3.5", "", "1e-3", "-666.0", "NaN"], np.array([3.5, NAN, 0.001, NAN, NAN])),
        (["007", "12"], np.array(["007", "12"])),
        (["12345678901234567890", "1_000"], np.array(["12345678901234567890", "1_000"])),
        (["a", "-666", ""], np.array(["a", "", ""])),
        (["-666", ""], np.array(["", ""])),
        (["a ", " -666 ", " "], np.array(["a", "", ""])),
        ([" 3", "4 "], np.array([3, 4])),
        (["NA", "3"], np.array(["NA", "3"])),
        (["inf", "3"], np.array(["inf", "3"])),
        (["1\N{ARABIC-INDIC DIGIT ONE}", "3"], np.array(["1\N{ARABIC-INDIC DIGIT ONE}", "3"])),
    ],
)
def test_metadata_columns_get_the_narrowest_type(entries, expected):
    found = metadata_column(entries)
    assert found.dtype.kind == expected.dtype.kind.replace("U", "T")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("line", ["\n", "a\t1\n"])
def test_lines_without_end(tmp_path, refused, monkeypatch, line):
    path = tmp_path / "some.tsv.gz"
    path.write_bytes(gzip.compress(("id\ts\n" + line * 2**12).encode(), mtime=0))
    monkeypatch.setattr("dgex.formats.text_reading.MOST_LINES", 2**12)
    assert f"{path}: has more than 4,096 lines" in refused(lambda: list(read_lines(path)))
