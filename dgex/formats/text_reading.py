"""What the text formats share: tab-separated lines, a gene each, with the samples in columns.

The first pass over a file collects ids and metadata and counts fields; only ``value_blocks`` parses the numbers, in a
pass of its own, so that nothing but names is ever held in memory.
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

NOT_MEASURED = {"", "na", "n/a", "null", "nan"}  # in any case
NOT_KNOWN = {"", "-666", "-666.0", "nan", "NaN"}  # in metadata; NA may be the name of something
INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")  # no leading zeros: 007 is a name
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]+)?")
DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
Lines = Generator[tuple[int, str], None, None]  # to be closed where it is left before its end
LONGEST = 2**26  # characters in a line: a million samples take a third of it, a file without line ends more than memory
MOST_LINES = 2**22


def read_lines(path: Path) -> Lines:
    """Yields the lines of a text file, plain or gzipped, that are not blank, and their numbers from 1 on.

    What is not UTF-8 becomes U+FFFD: titles of the nineties must not make the values unreadable.

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


def leading_fields(path: Path, number: int, line: str, fields: int, width: int, padding: int = 0) -> list[str]:
    """Splits off the first ``fields`` of a line.

    Raises:
      DgexError: the line has not ``width`` fields, and then ``padding`` empty ones.
    """
    if padding and not any(field.strip() for field in line.rsplit("\t", padding)[1:]):
        width += padding
    found = line.count("\t") + 1
    if found != width:
        if line.lstrip().startswith("<"):
            raise DgexError(f"{path}: goes on as a web page from line {number} on; download it again")
        raise DgexError(
            f"{path}: line {number} has {found} fields where {width} belong; is damaged, fetch or make it again"
        )
    return line.split("\t", fields)[:fields]


def padding_of(line: str, width: int) -> int:
    """Counts the empty fields that a line of ``width`` or more has behind these: Excel fills lines up with tabs."""
    extra = max(0, line.count("\t") + 1 - width)
    return 0 if any(field.strip() for field in line.rsplit("\t", extra)[1:]) else extra


def value_blocks(
    path: Path,
    first: int,
    fields: int,
    samples: int,
    rows: int,
    read: Callable[[Path], Lines] = read_lines,
    aside: Collection[int] = (),
) -> Callable[[int], Iterator[Block]]:
    """The ``blocks`` of an ``Expression`` whose ``rows`` begin at line ``first``, after ``fields`` other fields.

    A block is a group of lines: all samples x some rows.

    Args:
      read: gives the file's lines, with their fields separated by tabs.
      aside: numbers of lines that are none of the rows.

    Raises:
      DgexError: a value is infinite or not a number.
    """

    def blocks(most: int) -> Iterator[Block]:
        group = max(1, most // samples)
        with closing(read(path)) as lines:
            body = (line for line in lines if line[0] >= first and line[0] not in aside)
            for start in range(0, rows, group):
                stop = min(start + group, rows)
                columns = slice(fields, fields + samples)
                yield slice(0, samples), slice(start, stop), _parse(path, islice(body, stop - start), columns).T

    return blocks


def metadata_column(entries: Sequence[str]) -> np.ndarray:
    """Texts as integers where all are, as floats where all are numbers, as strings without blanks around otherwise.

    Nothing, -666 and NaN mean missing: NaN among numbers, "" among strings.
    """
    entries = [entry.strip() for entry in entries]
    known = [entry for entry in entries if entry not in NOT_KNOWN]
    if known and all(map(NUMBER.fullmatch, known)):
        if len(known) == len(entries) and all(map(INTEGER.fullmatch, known)):
            return np.array(entries, np.int64)
        return np.array([np.nan if entry in NOT_KNOWN else float(entry) for entry in entries])
    return text_column(["" if entry in NOT_KNOWN else entry for entry in entries])


def _line_end(path: Path) -> str:
    r"""Tells what ends a line: \r where no \n does, but for the last, as on Macintoshes before 2001.

    Elsewhere \r alone is a stray in a title.
    """
    bare = False
    with open_content(path) as content:
        for start in iter(partial(content.read, 2**16), b""):
            bare = bare or b"\r" in start
            if b"\n" in start.rstrip(b"\r\n") or content.tell() > LONGEST:
                return "\n"
    return "\r" if bare else "\n"


def _parse(path: Path, lines: Iterator[tuple[int, str]], columns: slice) -> np.ndarray:
    """The values in these columns of some lines, float32 [lines, samples]."""
    numbers, rows = [], []
    with np.errstate(over="ignore"):  # becomes infinite, which is refused below
        for number, line in lines:
            rows.append(_row(path, number, line.split("\t", columns.stop)[columns]))
            numbers.append(number)
    values = np.array(rows)
    if np.isinf(values).any():
        number = numbers[int(np.isinf(values).any(axis=1).argmax())]
        raise DgexError(f"{path}: line {number} holds an infinite value; use NA for values not measured")
    return values


def _row(path: Path, number: int, fields: list[str]) -> np.ndarray:
    """The values of a line, NaN where not measured."""
    if not _only_python("".join(fields)):
        try:
            return np.array(fields, np.float32)
        except ValueError:
            pass  # gaps, most likely
    fields = ["nan" if field.strip().lower() in NOT_MEASURED else field for field in fields]
    for field in fields:
        if not is_number(field):
            hint = "write decimals with a point" if DECIMAL_COMMA.fullmatch(field) else "mend it or leave it empty"
            raise DgexError(f"{path}: line {number} holds {field[:40]!r} among its values; {hint}")
    return np.array(fields, np.float32)


def _only_python(text: str) -> bool:
    """Whether Python may take it for a number where nobody else would: 1_000, or digits of another script."""
    return "_" in text or not text.isascii()


def is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return not _only_python(field)
