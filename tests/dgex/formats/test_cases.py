"""Tables as they come from portals, programs and spreadsheets, in every form that text can take: what must come out.

Each case has the profiles of a plain table, made here, or is refused with the reason.
"""

import csv
import gzip
import io
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest

from dgex import load_model, parallel
from dgex.cli import app
from dgex.formats.opening import open_expression
from dgex.model.prediction import Request, predict_table

Rows = list[list[str]]


def rows_of(path: Path) -> Rows:
    """The cells of a text file, whatever ends its lines."""
    lines = path.read_text().replace("\r\n", "\n").replace("\r", "\n").splitlines()
    return list(csv.reader(lines, delimiter="\t" if "\t" in "".join(lines[:3]) else ","))


def packed(rows: Rows, delimiter: str, end: str = "\n", quoting: int = csv.QUOTE_MINIMAL) -> bytes:
    """The cells as a text file."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)
    return text.getvalue().encode()


def turned(rows: Rows) -> Rows:
    """Lines and columns exchanged; a header one name short stays so."""
    short = len(rows[0]) < len(rows[-1]) and rows[-1][-1]
    lines = [list(line) for line in zip_longest(*([["", *rows[0]], *rows[1:]] if short else rows), fillvalue="")]
    return [lines[0][1:], *lines[1:]] if short else lines


FORMS = {
    "as it is": None,
    "CSV, packed": lambda rows: gzip.compress(packed(rows, ","), mtime=0),
    "TSV of Windows": lambda rows: packed(rows, "\t", "\r\n"),
    "quoted": lambda rows: packed(rows, ",", quoting=csv.QUOTE_ALL),
    "old Macintosh": lambda rows: packed(rows, "\t", "\r"),
    "turned": lambda rows: packed(turned(rows), ","),
    "turned, quoted, of Windows, packed": lambda rows: gzip.compress(
        packed(turned(rows), "\t", "\r\n", csv.QUOTE_ALL), mtime=0
    ),
}
# What is in each case, as a plain table: here those that do not equal clean_symbol.csv, from their own cells.
OTHERS = {
    "quant.genes.sf": lambda rows: [["gene", "quant.genes"], *([row[0], row[3]] for row in rows[1:])],
    "htseq.txt": lambda rows: [["gene", "htseq"], *(row for row in rows if not row[0].startswith("__"))],
    "gtex_v8_tissue.gct": lambda rows: [["gene", *rows[2][3:]], *(row[2:] for row in rows[3:])],
}
CLEAN = (
    "trailing_samples.tsv",
    "trailing_genes.csv",
    "r_shift.tsv",
    "biomart_linear.csv",
    "entrez_float_samples.csv",
    "some_space.csv",
    "cr_only.csv",
    "g_blanktabs.gct",
)
SHORT = "line 1 names 6 columns and line 2 has 7 fields; give every column a name"
NO_IDS = "its first column, 'ENSG00000000003', holds numbers, such as 113; put a column of ids before it"
REFUSED = {
    **{("short_header.csv", form): SHORT for form in FORMS if "turned" not in form},  # which sample lacks a name?
    **{("htseq.txt", form): NO_IDS for form in FORMS if "turned" in form},
}


@pytest.fixture(scope="module")
def cases(shared) -> Path:
    return shared / "data" / "cases"


@pytest.fixture(scope="module")
def profiles(tmp_path_factory):
    """Gives the names and whole profiles of the samples in a file."""
    model, folder = load_model(), tmp_path_factory.mktemp("scratch")

    def read(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
        with (
            open_expression(path) as table,
            predict_table(model, path, table, Request(), parallel.devices(1), folder) as prediction,
        ):
            return prediction.expression.sample_id, prediction.expression.load()

    return read


@pytest.fixture(scope="module")
def expected(cases, profiles, tmp_path_factory):
    """The same of the plain table of each case."""
    results = dict.fromkeys(CLEAN, profiles(cases / "clean_symbol.csv"))
    for name, plain in OTHERS.items():
        path = tmp_path_factory.mktemp("plain") / "plain.csv"
        path.write_bytes(packed(plain(rows_of(cases / name)), ","))
        results[name] = profiles(path)
    return results


@pytest.fixture
def written(cases, tmp_path):
    """Gives the path of a case in a form."""

    def write(name: str, form: str) -> Path:
        if not (change := FORMS[form]):
            return cases / name
        (tmp_path / name).write_bytes(change(rows_of(cases / name)))
        return tmp_path / name

    return write


READ = [(name, form) for name in (*CLEAN, *OTHERS) for form in FORMS if form == "as it is" or ".gct" not in name]


@pytest.mark.parametrize(("name", "form"), [case for case in READ if case not in REFUSED])
def test_every_case_is_read_in_every_form(written, expected, profiles, name, form):
    sample_id, values = profiles(written(name, form))
    assert sample_id == expected[name][0]
    np.testing.assert_array_equal(values, expected[name][1])


@pytest.mark.parametrize(("name", "form"), REFUSED)
def test_or_refused_with_the_reason(written, profiles, refused, name, form):
    path = written(name, form)
    assert f"{path}: {REFUSED[name, form]}" in refused(lambda: profiles(path))


# Changes to the plain table that must not change what it says.
GAPS = {(3, 1), (8, 2), (21, 4), (501, 6)}
MISSING = ["", " ", "NA", "n/a", "#N/A", "<NA>", "None", "NULL", "-nan", "-666", "-666.0", "-9999.0", "-999",
           "-2147483648", "1e30", "-1E+20", "-3.4028235e38"]  # fmt: skip
NUMBERS = ["Length", "EffectiveLength", "median_length", "Gene length (bp)", "start", "Gene end (bp)", "strand",
           "NCBI gene ID", "entrezgene_id", "Gene % GC content", "HGNC ID", "n_exons", "score", "baseMean",
           "log2FoldChange", "lfcSE", "adj.P.Val", "padj"]  # fmt: skip


def filled_up(rows: Rows, fields: Callable[[int], int]) -> Rows:
    return [row + [""] * fields(number) for number, row in enumerate(rows)]


def with_gaps(rows: Rows, text: str) -> Rows:
    return [
        [text if (line, column) in GAPS else cell for column, cell in enumerate(row)] for line, row in enumerate(rows)
    ]


def with_numbers(rows: Rows, name: str, position: int) -> Rows:
    return [[*row[:position], str(300 + 7 * line) if line else name, *row[position:]] for line, row in enumerate(rows)]


UNEVEN = {
    "the first sixteen lines": lambda line: 2 * (line < 16),
    "all but these": lambda line: 2 * (line >= 16),
    "one line": lambda line: 3 * (line == 500),
    "more and less": lambda line: line % 4,
}


@pytest.mark.slow
@pytest.mark.parametrize("delimiter", [",", "\t"])
@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("uneven", UNEVEN)
def test_lines_filled_up_unevenly(cases, expected, profiles, tmp_path, uneven, turn, delimiter):
    rows = rows_of(cases / "clean_symbol.csv")
    filled = filled_up(turned(rows) if turn else rows, UNEVEN[uneven])
    (tmp_path / "table.txt").write_bytes(packed(filled, delimiter))
    np.testing.assert_array_equal(profiles(tmp_path / "table.txt")[1], expected["r_shift.tsv"][1])


@pytest.mark.slow
@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("linear", [False, True])
def test_whatever_says_missing_says_the_same(cases, profiles, tmp_path, turn, linear):
    rows = rows_of(cases / "clean_symbol.csv")
    if linear:
        rows = [rows[0], *([row[0], *(repr(2 ** float(cell)) for cell in row[1:])] for row in rows[1:])]
    values = {}
    for text in MISSING:
        table = with_gaps(rows, text)
        (tmp_path / "gaps.csv").write_bytes(packed(turned(table) if turn else table, ","))
        values[text] = profiles(tmp_path / "gaps.csv")[1]
    for text in MISSING:
        np.testing.assert_array_equal(values[text], values["NA"], err_msg=text)


@pytest.mark.slow
@pytest.mark.parametrize("position", [1, 7])
def test_columns_of_numbers_that_are_no_samples(cases, expected, profiles, tmp_path, position):
    for name in NUMBERS:
        rows = with_numbers(rows_of(cases / "clean_symbol.csv"), name, position)
        (tmp_path / "annotated.csv").write_bytes(packed(rows, ","))
        sample_id, values = profiles(tmp_path / "annotated.csv")
        assert sample_id == expected["r_shift.tsv"][0], name
        np.testing.assert_array_equal(values, expected["r_shift.tsv"][1], err_msg=name)


def test_on_the_command_line(cases, tmp_path):
    outputs = []
    for name in ("clean_symbol.csv", "trailing_samples.tsv"):
        app(["predict", str(cases / name), "-o", str(tmp_path / "x.csv")], standalone_mode=False)
        outputs.append((tmp_path / "x.csv").read_bytes())
    assert outputs[0] == outputs[1]
