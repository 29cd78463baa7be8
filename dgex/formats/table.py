"""Tables as everybody has them: CSV and TSV, plain or gzipped, told apart by their content.

The first line names the columns, the first column the lines; columns of text or annotation before and behind the
numbers are metadata of the lines. Whether a line is a gene or a sample is for those to find out who know gene names.
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
from dgex.formats.expression import Expression, ending, plain_ids
from dgex.formats.text_reading import (
    DECIMAL_COMMA,
    NOT_MEASURED,
    Lines,
    is_number,
    leading_fields,
    metadata_column,
    read_lines,
    value_blocks,
)
from dgex.formats.text_writing import is_packed, metadata_texts, row_blocks, text_output, value_texts

PEEKED = 20  # lines from which the kind of a column is told; each may have a million fields
MOST_FIELDS = 100  # columns among which metadata are looked for


@dataclass(frozen=True)
class Layout:
    """Where a table has what."""

    first: int  # number of the first line below the header
    names: tuple[str, ...]  # of the columns, the ids' included
    values: slice  # the columns that hold values
    padding: int  # empty fields behind the columns


@contextmanager
def open_table(path: Path) -> Iterator[Expression]:
    """Opens a table of any scale, whose lines are rows of the ``Expression`` and whose columns are samples.

    Lines may begin with ``#`` before the header, which may lack the first column's name, as R writes it; fields may be
    quoted, and a separator may end every line. What htseq-count and STAR write has no header and is one sample.

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
            fields = leading_fields(path, number, line, start, width, layout.padding)
            numbers.append(number)
            body.append(fields + line.split("\t")[stop:width] if stop < width else fields)
    aside = {numbers[row] for row in annotated([fields[0] for fields in body])}
    rows = [fields for number, fields in zip(numbers, body, strict=True) if number not in aside]
    if not rows:
        raise DgexError(f"{path}: holds {body[0][0][:40]!r} and no measurements; check how it was made")
    row_id, *columns = zip(*rows, strict=True)
    beside = layout.names[1:start] + layout.names[stop:]
    yield Expression(
        plain_ids(row_id),
        layout.names[layout.values],
        value_blocks(path, layout.first, start, stop - start, len(rows), read, aside),
        dict(zip(column_names(beside, ()), map(metadata_column, columns), strict=True)),
        _lines_aside(read(path), aside, layout.values),
        "table",
    )


def _lines_aside(lines: Lines, numbers: Collection[int], values: slice) -> dict[str, np.ndarray]:
    """The metadata of the samples that stand in lines of these numbers, by the lines' ids."""
    if not numbers:
        return {}
    with closing(lines):
        some = [line.split("\t") for number, line in lines if number in numbers]
    return {fields[0].strip(): metadata_column(fields[values]) for fields in some}


def write_table(path: Path, expression: Expression) -> None:
    """Writes CSV, or TSV where the name says so, a gene a line; values not measured are empty.

    Ids stay as they are, those that a spreadsheet takes for formulas (``=cmd|...``) too: they are keys by which a table
    is joined with others, and stood in the input. Whoever opens the table of a stranger in a spreadsheet should import
    its columns as text.

    Metadata, where there are any, go into NAME.genes.csv and NAME.samples.csv, provenance into
    NAME.csv.provenance.json: see ``write_with_companions``.

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
    """Tab or comma, by the first two lines that are no comments; a DgexError if neither separates them."""
    with closing(read_lines(path)) as lines:
        some = islice((line for _, line in lines if not line.startswith("#")), 2)
        start = [re.sub('"[^"]*"', "", line) for line in some]
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
    """As ``read_lines``, with tabs between the fields and no quotes around them."""
    with closing(read_lines(path)) as lines:
        for number, line in lines:
            if '"' in line:
                line = "\t".join([field.replace("\t", " ") for field in _unquoted(path, number, line, separator)])
            elif separator == ",":
                line = line.replace("\t", " ").replace(",", "\t")
            if not line.isspace():
                yield number, line


def _unquoted(path: Path, number: int, line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error as error:
        raise DgexError(
            f"{path}: line {number} cannot be split into fields ({error}); check its quotes, and that no field goes on "
            "in the next line"
        ) from error


def _first_lines(lines: Lines) -> list[tuple[int, str]]:
    """Takes the header and some lines below it, without the comments above, which begin with #.

    The last of these is the header where it has as many fields as the line below, and that has numbers.
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
    """Tells the layout from the header and the lines below it."""
    if len(lines) < 2:
        raise DgexError(f"{path}: has no line below its first, is empty; check how it was made")
    (top, header), *below = lines
    names, padding = _names(path, separator, top, header, below)
    width = len(names)
    left = [leading_fields(path, *line, min(MOST_FIELDS, width), width, padding) for line in below]
    ids, *columns = zip(*left, strict=True)
    start = 1 + _count_metadata(names[1:], columns)
    if start == len(left[0]):
        raise DgexError(f"{path}: holds text, such as {left[0][-1][:40]!r}, and no column of numbers")
    last = min(MOST_FIELDS, width - start - 1)
    right = [line.split("\t")[width - last : width] for _, line in below]
    stop = width - _count_metadata(names[::-1], [*zip(*right, strict=True)][::-1])
    first = below[0][0]
    if not names_index(names[0]):
        named = [name for name in names[start:stop] if name.lower() not in NOT_MEASURED]
        if named and all(map(is_number, named)):
            names, first = _names_without_header(path, names, start, stop), top
        elif all(map(is_number, ids)):
            raise DgexError(
                f"{path}: its first column, {names[0][:40]!r}, holds numbers, such as {ids[0]}; put a column of ids "
                "before it, or call it id if it is one"
            )
    return Layout(first, plain_ids(names), slice(start, stop), padding)


def _names(path: Path, separator: str, top: int, header: str, below: list[tuple[int, str]]) -> tuple[list[str], int]:
    """A name for each column, and how many empty fields the lines have behind the last."""
    names = [name.strip() for name in header.rstrip("\t ").split("\t")]
    number, line = below[0]
    fields = line.count("\t") + 1
    filled = max(line.rstrip("\t ").count("\t") + 1 for _, line in below if line.count("\t") + 1 == fields)
    counts = f"{path}: line {top} names {len(names)} columns and line {number} has"
    if filled > len(names):
        # Twice as many numbers as samples, and no point in any.
        if separator == "," and filled == 2 * header.count("\t") + 1 > 1 and "." not in line.partition("\t")[2]:
            raise DgexError(f"{counts} {filled} fields; write decimals with a point, and name the first column too")
        if filled > len(names) + 1 or header.endswith("\t") or names_index(names[0]):
            raise DgexError(f"{counts} {filled} fields; give every column a name")
        names = ["", *names]  # as R's write.table does
    elif fields == header.count("\t") + 2 and not names_index(names[0]):
        # Either R's header above a sample of which nothing is measured, or a separator at the end of the lines.
        raise DgexError(f"{counts} {fields} fields, the last of them empty; name the first column too, such as id")
    return names, max(0, fields - len(names))


def _names_without_header(path: Path, line: list[str], start: int, stop: int) -> list[str]:
    """What the columns are in files of one sample without a header, of which this is the first line."""
    if line[0] == STAR_BEGINS and len(line) == len(STAR):
        return list(STAR)
    if stop - start == 1:  # htseq-count, with columns of text before the counts if it was asked for them
        return [f"column {number}" if number != start else "count" for number in range(len(line))]
    raise DgexError(
        f"{path}: begins with numbers, such as {line[stop - 1]!r}; name the columns in the first line, or call its "
        "first column id if these are names"
    )


def _count_metadata(names: Sequence[str], columns: Sequence[Sequence[str]]) -> int:
    """How many columns, up to the last of text or annotation, come before the first of measurements."""
    fields = 0
    for position, column in enumerate(columns):
        known = [entry for entry in column if entry.strip().lower() not in NOT_MEASURED]
        numbers = sum(is_number(entry) or bool(DECIMAL_COMMA.fullmatch(entry)) for entry in known)
        # Most of the entries decide: one that is damaged must not make metadata of measurements.
        if 2 * numbers < len(known) or is_annotation(names[position]):
            fields = position + 1
        elif known:
            break
    return fields
