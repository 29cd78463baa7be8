"""Reads tab-separated text for all text formats: one gene per line, with the samples in columns.

A first pass over a file collects ids and metadata and counts fields. Only ``value_blocks`` parses the numbers, in a
pass of its own, so that memory holds the names but never all values.
"""

import io
import re
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from dgex.errors import DgexError
from dgex.formats.content import first_bytes, open_content, reading
from dgex.formats.expression import Block, text_column

# Missing values in the matrix, compared in lower case.
NOT_MEASURED = {"", "na", "n/a", "#na", "#n/a", "<na>", "nan", "-nan", "null", "none"}
NOT_KNOWN = {"", "-666", "-666.0", "nan", "NaN"}  # missing values in metadata, where NA may be the name of something
INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")  # no leading zeros: 007 is a name
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]+)?")
DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
Lines = Generator[tuple[int, str], None, None]  # numbers and texts; close it if it is not read to its end
LONGEST = 2**26  # characters in a line: a million samples need a third; a file without line ends could fill memory
MOST_LINES = 2**22


def read_lines(path: Path) -> Lines:
    """Reads the lines of a text file, plain or gzipped, that are not blank, with their numbers from 1 on.

    Bytes that are not UTF-8 become U+FFFD, so that an old title in another encoding does not make the values
    unreadable.

    Raises:
      DgexError: the file cannot be read, is truncated, empty, a web page or not text; a line has 2**26 characters, or
        there are more than 2**22 lines.
    """
    first_bytes(path)
    with reading(path):
        end = _line_end(path)
    with reading(path), io.TextIOWrapper(open_content(path), "utf-8-sig", "replace", newline=end) as file:
        for number, line in enumerate(iter(partial(file.readline, LONGEST), ""), start=1):
            if number > MOST_LINES:
                raise DgexError(f"{path}: has more than {MOST_LINES:,} lines, is no expression table; check its origin")
            if len(line) == LONGEST:
                raise DgexError(
                    f"{path}: line {number} has no end within {LONGEST} characters; end each row with a line feed"
                )
            if "\0" in line:
                raise DgexError(f"{path}: line {number} holds a NUL byte; fetch the file again, or save it as UTF-8")
            if not line.isspace():
                yield number, line.rstrip("\r\n")


def leading_fields(path: Path, number: int, line: str, fields: int, width: int) -> list[str]:
    """Splits off the first fields of a line, and checks how many it has.

    Args:
      path: the file, for error messages.
      number: the number of the line.
      line: the line, with tabs between its fields.
      fields: how many fields to return.
      width: how many fields the line must have. Empty ones may follow them: Excel pads lines, though not all alike.

    Raises:
      DgexError: the line has another number of fields.
    """
    count = line.count("\t") + 1
    if count > width and not any(field.strip() for field in fields_between(line, width, count)):
        count = width
    if count != width:
        if line.lstrip().startswith("<"):
            raise DgexError(f"{path}: goes on as a web page from line {number} on; download it again")
        raise DgexError(
            f"{path}: line {number} has {count} fields where {width} belong; is damaged, fetch or make it again"
        )
    return line.split("\t", fields)[:fields]


def fields_between(line: str, start: int, stop: int) -> list[str]:
    """Returns the fields of a line from position ``start`` to before ``stop``."""
    return line.split("\t", stop)[start:stop]


def value_blocks(
    path: Path,
    first: int,
    fields: int,
    samples: int,
    rows: int,
    read: Callable[[Path], Lines] = read_lines,
    skipped: Collection[int] = (),
) -> Callable[[int], Iterator[Block]]:
    """Makes the ``blocks`` of an ``Expression`` from the lines of a text file.

    A block is a group of lines: all samples x some rows.

    Args:
      path: the file.
      first: the number of the line of the first row.
      fields: how many other fields precede the values.
      samples: how many values a line has; other fields may follow these.
      rows: how many rows there are.
      read: reads the lines of the file, with tabs between their fields.
      skipped: the numbers of lines that are no rows.

    Raises:
      DgexError: from ``blocks``: a value is infinite or not a number.
    """

    def blocks(most: int) -> Iterator[Block]:
        group = max(1, most // samples)
        with closing(read(path)) as lines:
            body = (line for line in lines if line[0] >= first and line[0] not in skipped)
            for start in range(0, rows, group):
                stop = min(start + group, rows)
                part = islice(body, stop - start)
                # The block is given no name, so that its memory can be freed while the next one is parsed.
                yield slice(0, samples), slice(start, stop), _parse(path, part, fields, samples).T

    return blocks


def metadata_column(entries: Sequence[str]) -> np.ndarray:
    """Converts texts to a metadata column: integers if all are, else floats if all are numbers, else stripped strings.

    An empty text, -666 and NaN are missing values: NaN among numbers, "" among strings.
    """
    entries = [entry.strip() for entry in entries]
    known = [entry for entry in entries if entry not in NOT_KNOWN]
    if known and all(map(NUMBER.fullmatch, known)):
        if len(known) == len(entries) and all(map(INTEGER.fullmatch, known)):
            return np.array(entries, np.int64)
        return np.array([np.nan if entry in NOT_KNOWN else float(entry) for entry in entries])
    return text_column(["" if entry in NOT_KNOWN else entry for entry in entries])


def _line_end(path: Path) -> str:
    r"""Determines the line end: \n, or \r in a file without \n except at its very end, as from a Macintosh before 2001.

    In a file with \n, a single \r is an accident inside a title.
    """
    has_return = False
    with open_content(path) as content:
        for start in iter(partial(content.read, 2**16), b""):
            has_return = has_return or b"\r" in start
            if b"\n" in start.rstrip(b"\r\n") or content.tell() > LONGEST:
                return "\n"
    return "\r" if has_return else "\n"


def _parse(path: Path, lines: Iterator[tuple[int, str]], fields: int, samples: int) -> np.ndarray:
    """Parses the values of some lines, without the fields before and after them: float32 [lines, samples]."""
    numbers, rows = [], []
    with np.errstate(over="ignore"):  # a number too large becomes infinite, which is refused below
        for number, line in lines:
            trailing = line.count("\t") + 1 - fields - samples  # not the same in every line
            rows.append(_row(path, number, line.split("\t", fields)[-1].rsplit("\t", trailing)[0]))
            numbers.append(number)
    values = np.array(rows)
    if np.isinf(values).any():
        number = numbers[int(np.isinf(values).any(axis=1).argmax())]
        raise DgexError(f"{path}: line {number} holds an infinite value; use NA for values not measured")
    return values


def _row(path: Path, number: int, line: str) -> np.ndarray:
    """Parses the values of a line, with NaN for missing values."""
    fields = line.split("\t")
    if not _only_python(line):
        try:
            return np.array(fields, np.float32)
        except ValueError:
            pass  # most likely missing values, which are handled below
    fields = ["nan" if field.strip().lower() in NOT_MEASURED else field for field in fields]
    for field in fields:
        if not is_number(field):
            hint = "write decimals with a point" if DECIMAL_COMMA.fullmatch(field) else "mend it or leave it empty"
            raise DgexError(f"{path}: line {number} holds {field[:40]!r} among its values; {hint}")
    return np.array(fields, np.float32)


def _only_python(text: str) -> bool:
    """Returns whether Python's ``float`` may accept a text that is no number elsewhere: 1_000, or non-ASCII digits."""
    return "_" in text or not text.isascii()


def is_number(field: str) -> bool:
    """Returns whether a field is a number, NaN and infinity included."""
    try:
        float(field)
    except ValueError:
        return False
    return not _only_python(field)
