"""Reads and writes CSV and TSV tables, plain or gzipped, which are distinguished by their content.

The first line names the columns, and the first column names the lines. Columns of text or annotation before and after
the numbers are metadata of the lines. Whether a line is a gene or a sample is determined later, by
``dgex.data.gene_matching``.
"""

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import dropwhile, islice
from pathlib import Path
from typing import TextIO

import numpy as np

from dgex.errors import DgexError
from dgex.formats.annotation import STAR, STAR_BEGINS, annotated, is_annotation, names_index
from dgex.formats.column_names import column_names, one_line
from dgex.formats.companions import (
    Metadata,
    metadata_companions,
    provenance_companions,
    write_with_companions,
)
from dgex.formats.content import first_bytes
from dgex.formats.expression import Expression, ending, plain_ids
from dgex.formats.text_reading import (
    DECIMAL_COMMA,
    NOT_MEASURED,
    Lines,
    fields_between,
    is_number,
    leading_fields,
    metadata_column,
    read_lines,
    value_blocks,
)
from dgex.formats.text_writing import is_packed, metadata_texts, row_blocks, text_output, value_texts

RECOUNT3, RECOUNT3_BEGINS = "recount3 gene sums", b"##annotation="  # of base coverage, and no counts of reads
PEEKED = 20  # lines from which the kind of a column is determined; each may have a million fields
NUMBERED = "", "Unnamed: 0"  # what pandas calls a column of line numbers
MOST_FIELDS = 100  # columns at either end that are searched for metadata


@dataclass(frozen=True)
class Layout:
    """Holds the layout of a text table: its column names, and which columns hold values."""

    first: int  # number of the first line below the header
    names: tuple[str, ...]  # of all columns, including the column of ids
    values: slice  # the columns that hold values


@contextmanager
def open_table(path: Path) -> Iterator[Expression]:
    """Opens a CSV or TSV table as an expression table, whose rows are the lines and whose samples are the columns.

    The values are on the scale of the file. Comments that begin with ``#`` may precede the header, which may lack the
    name of the first column, as R writes it; fields may be quoted, and a separator may end every line. Files of
    htseq-count and STAR have no header and hold one sample.

    Raises:
      DgexError: the file is missing, truncated or separated by semicolons; it is empty, has lines of different
        lengths, more columns than names, no header, no ids or no numbers; from ``blocks``: a value is not a number, or
        has a decimal comma.
    """
    separator = _separator(path)
    read = partial(_tabbed_lines, separator=separator)
    with closing(read(path)) as lines:
        layout = _layout(path, separator, _first_lines(lines))
    width, start, stop = len(layout.names), layout.values.start, layout.values.stop
    numbers, body = [], []
    with closing(read(path)) as lines:
        for number, line in dropwhile(lambda line: line[0] < layout.first, lines):
            fields = leading_fields(path, number, line, start, width)
            numbers.append(number)
            body.append([*fields, *fields_between(line, stop, width)])
    skipped = {numbers[row] for row in annotated([fields[0] for fields in body])}
    rows = [fields for number, fields in zip(numbers, body, strict=True) if number not in skipped]
    if not rows:
        raise DgexError(f"{path}: holds {body[0][0][:40]!r} and no measurements; check how it was made")
    row_id, *columns = zip(*rows, strict=True)
    metadata_names = layout.names[1:start] + layout.names[stop:]
    yield Expression(
        plain_ids(_ids(layout.names[0], row_id, columns)),
        layout.names[layout.values],
        value_blocks(path, layout.first, start, stop - start, len(rows), read, skipped),
        dict(zip(column_names(metadata_names, ()), map(metadata_column, columns), strict=True)),
        _column_metadata(read(path), skipped, layout.values),
        RECOUNT3 if first_bytes(path).startswith(RECOUNT3_BEGINS) else "table",
    )


def _ids(name: str, first: Sequence[str], columns: Sequence[Sequence[str]]) -> Sequence[str]:
    """Returns the ids of the lines: the first column, unless pandas numbered the lines there and a text names them.

    So do the tables of DepMap since 2024, whose profiles are then named by ``SequencingID``.
    """
    if name in NUMBERED and all(entry == str(line) for line, entry in enumerate(first)):
        for column in columns:
            if not any(map(is_number, column)) and "" not in column and len(set(column)) == len(column):
                return column
    return first


def _column_metadata(lines: Lines, numbers: Collection[int], values: slice) -> dict[str, np.ndarray]:
    """Reads metadata of the samples from the lines of these numbers, by the ids of the lines."""
    if not numbers:
        return {}
    with closing(lines):
        annotation = [line.split("\t") for number, line in lines if number in numbers]
    return {fields[0].strip(): metadata_column(fields[values]) for fields in annotation}


def write_table(path: Path, expression: Expression) -> None:
    """Writes a CSV file, or TSV where the name ends in .tsv, with one gene per line; missing values are empty.

    Ids are written unchanged, even those that a spreadsheet takes for formulas (``=cmd|...``): they come from the input
    and are keys by which the table is joined with others. Whoever opens a table from an untrusted source in a
    spreadsheet should import its columns as text.

    Metadata, if there are any, are written to NAME.genes.csv and NAME.samples.csv, and the provenance to
    NAME.csv.provenance.json: see ``write_with_companions``.

    Args:
      path: the output file.
      expression: the table to write.

    Raises:
      DgexError: the folder cannot be written to, or the disk is full; whatever ``expression.blocks`` raises.
    """
    separator = "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ","

    def write(file: TextIO, header: Iterable[str], lines: Iterable[Iterable[str]]) -> None:
        writer = csv.writer(file, delimiter=separator, lineterminator="\n")
        writer.writerow(["id", *one_line(header)])
        writer.writerows(lines)

    def write_values(partial: Path) -> None:
        genes = iter(one_line(expression.row_id))
        with ending(row_blocks(expression, path.parent)) as blocks, text_output(partial, is_packed(path)) as file:
            lines = ([next(genes), *value_texts(row, "")] for block in blocks for row in block)
            write(file, expression.sample_id, lines)

    def write_metadata(partial: Path, ids: Sequence[str], metadata: Metadata) -> None:
        columns = [one_line(ids), *(metadata_texts(column, "") for column in metadata.values())]
        with text_output(partial, is_packed(path)) as file:
            write(file, metadata, zip(*columns, strict=True))

    companions = metadata_companions(path, expression, write_metadata) | provenance_companions(path, expression)
    write_with_companions(path, write_values, companions)


def _separator(path: Path) -> str:
    """Determines the separator, tab or comma, from the first two lines that are no comments.

    Raises:
      DgexError: the lines have neither.
    """
    with closing(read_lines(path)) as lines:
        first_two = islice((line for _, line in lines if not line.startswith("#")), 2)
        start = [re.sub('"[^"]*"', "", line) for line in first_two]
    tabs, commas, semicolons = (sum(line.count(mark) for line in start) for mark in "\t,;")
    if tabs:
        return "\t"
    if semicolons and semicolons >= commas:
        raise DgexError(
            f"{path}: is separated by semicolons; save it with commas or tabs between columns and points in decimals"
        )
    if commas:
        return ","
    raise DgexError(f"{path}: has one column only; separate columns by commas or tabs")


def _tabbed_lines(path: Path, separator: str) -> Lines:
    """Reads lines like ``read_lines``, but with tabs between the fields and no quotes around them."""
    with closing(read_lines(path)) as lines:
        for number, line in lines:
            if '"' in line:
                line = "\t".join([field.replace("\t", " ") for field in _unquoted(path, number, line, separator)])
            elif separator == ",":
                line = line.replace("\t", " ").replace(",", "\t")
            if not line.isspace():
                yield number, line


def _unquoted(path: Path, number: int, line: str, separator: str) -> list[str]:
    """Splits a line with quotes into its fields."""
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error as error:
        raise DgexError(
            f"{path}: line {number} cannot be split into fields ({error}); check its quotes, and that no field goes on "
            "in the next line"
        ) from error


def _first_lines(lines: Lines) -> list[tuple[int, str]]:
    """Reads the header and some lines below it, without the comments above, which begin with #.

    The last comment is the header if it has as many fields as the line below, and that line holds numbers.
    """
    above: list[tuple[int, str]] = []
    for number, line in lines:
        if not line.startswith("#"):
            holds_values = any(map(is_number, line.split("\t", MOST_FIELDS)[1:MOST_FIELDS]))
            header = [last for last in above if holds_values and last[1].count("\t") == line.count("\t")]
            return [*header, (number, line), *islice(lines, PEEKED)]
        above = [(number, line)]
    return above


def _layout(path: Path, separator: str, lines: list[tuple[int, str]]) -> Layout:
    """Determines the layout from the header and the lines below it.

    Raises:
      DgexError: there is no line below the header, no column of numbers, no column of ids or no header.
    """
    if len(lines) < 2:
        raise DgexError(f"{path}: has no line below its first, is empty; check how it was made")
    (top, header), *below = lines
    names = _names(path, separator, top, header, below)
    width = len(names)
    left = [leading_fields(path, *line, min(MOST_FIELDS, width), width) for line in below]
    ids, *columns = zip(*left, strict=True)
    start = 1 + _count_metadata(names[1:], columns)
    if start == len(left[0]):
        raise DgexError(f"{path}: holds text, such as {left[0][-1][:40]!r}, and no column of numbers")
    last = min(MOST_FIELDS, width - start - 1)
    right = [fields_between(line, width - last, width) for _, line in below]
    stop = width - _count_metadata(names[::-1], [*zip(*right, strict=True)][::-1])
    first = below[0][0]
    if not names_index(names[0]):
        value_names = [name for name in names[start:stop] if name.lower() not in NOT_MEASURED]
        if value_names and all(map(is_number, value_names)):
            names, first = _names_without_header(path, names, start, stop), top
        elif all(map(is_number, ids)):
            raise DgexError(
                f"{path}: its first column, {names[0][:40]!r}, holds numbers, such as {ids[0]}; put a column of ids "
                "before it, or call it id if it is one"
            )
    return Layout(first, plain_ids(names), slice(start, stop))


def _names(path: Path, separator: str, top: int, header: str, below: list[tuple[int, str]]) -> list[str]:
    """Returns a name for each column; empty fields after the last are no columns.

    Args:
      path: the file, for error messages.
      separator: tab or comma.
      top: the number of the header line.
      header: the header, with tabs between its fields.
      below: the numbers and texts of some lines below it, with tabs between their fields.

    Raises:
      DgexError: the lines have more fields than the header has names.
    """
    names = [name.strip() for name in header.rstrip("\t ").split("\t")]
    number, line = below[0]
    fields = line.count("\t") + 1
    filled = max(line.rstrip("\t ").count("\t") + 1 for _, line in below if line.count("\t") + 1 == fields)
    counts = f"{path}: line {top} names {len(names)} columns and line {number} has"
    if filled > len(names):
        # There are twice as many numbers as samples, and none has a decimal point: the commas are in the decimals.
        if separator == "," and filled == 2 * header.count("\t") + 1 > 1 and "." not in line.partition("\t")[2]:
            raise DgexError(f"{counts} {filled} fields; write decimals with a point, and name the first column too")
        if names_index(names[0]) and fields == header.count("\t") + 1:
            return header.split("\t")  # the last columns have empty names, which may not matter
        if filled > len(names) + 1 or header.endswith("\t") or names_index(names[0]):
            raise DgexError(f"{counts} {filled} fields; give every column a name")
        names = ["", *names]  # as R's write.table does
    elif fields == header.count("\t") + 2 and not names_index(names[0]):
        # This is either R's header above a last sample without any measured value, or a separator that ends each line.
        raise DgexError(f"{counts} {fields} fields, the last of them empty; name the first column too, such as id")
    return names


def _names_without_header(path: Path, line: list[str], start: int, stop: int) -> list[str]:
    """Names the columns of a file without a header, which must be of one sample, from its first line.

    Args:
      path: the file, for error messages.
      line: the fields of the first line.
      start: the position of the first column of values.
      stop: the position after the last one.

    Raises:
      DgexError: the file has several columns of values and is not STAR's.
    """
    if line[0] == STAR_BEGINS and len(line) == len(STAR):
        return list(STAR)
    if stop - start == 1:  # htseq-count, which can write columns of text before the counts
        return [f"column {number}" if number != start else "count" for number in range(len(line))]
    raise DgexError(
        f"{path}: begins with numbers, such as {line[stop - 1]!r}; name the columns in the first line, or call its "
        "first column id if these are names"
    )


def _count_metadata(names: Sequence[str], columns: Sequence[Sequence[str]]) -> int:
    """Counts the columns, up to the last of text or annotation, that come before the first of measurements."""
    fields = 0
    for position, column in enumerate(columns):
        known = [entry for entry in column if entry.strip().lower() not in NOT_MEASURED]
        numbers = sum(is_number(entry) or bool(DECIMAL_COMMA.fullmatch(entry)) for entry in known)
        # The majority decides: a single damaged entry must not turn measurements into metadata.
        if 2 * numbers < len(known) or is_annotation(names[position]):
            fields = position + 1
        elif known:
            break
    return fields
