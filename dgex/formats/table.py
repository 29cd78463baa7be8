"""Tables as everybody has them: CSV and TSV, plain or gzipped, told apart by their content.

The first line names the columns, the first column the lines; columns of text before the first of numbers are metadata
of the lines. Whether a line is a gene or a sample is for those to find out who know gene names.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from dgex.errors import DgexError
from dgex.formats.companions import Metadata, write_with_companions
from dgex.formats.lines import is_packed, metadata_texts, row_blocks, text_output, value_texts
from dgex.formats.matrix import Expression, ending
from dgex.formats.names import column_names, one_line
from dgex.formats.text import (
    DECIMAL_COMMA,
    NOT_MEASURED,
    NUMBER,
    Lines,
    is_number,
    leading_fields,
    metadata_column,
    read_lines,
    value_blocks,
)

KIND = "table"

# Names, in any case, that columns of Entrez ids have in practice: numbers that are no measurement.
ENTREZ = {
    "entrez",
    "entrez_gene",
    "entrez_gene_id",
    "entrez_id",
    "entrezgene",
    "entrezgene_id",
    "entrezid",
    "gene_id",
    "geneid",
    "ncbi_gene_id",
    "pr_gene_id",
}
WHOLE = re.compile(r"[1-9][0-9]*\.0")  # an Entrez id that was a float once
PEEKED = 20  # lines from which the kind of a column is told; each may have a million fields
MOST_FIELDS = 100  # columns among which metadata are looked for


@contextmanager
def open_table(path: Path) -> Iterator[Expression]:
    """A table of any scale, whose lines are rows of the ``Expression`` and whose columns are samples.

    The header may lack the first column's name, as R writes it. Fields may be quoted. Leading columns of text are
    metadata, and so are leading numbers under a well-known name of Entrez ids.

    Raises:
      DgexError: the file is missing, truncated or separated by semicolons; it is empty, has lines of different
        lengths, no header or no numbers; from ``blocks``: a value is not a number, or has a decimal comma.
    """
    separator = _separator(path)
    read = partial(_tabbed_lines, separator=separator)
    with closing(read(path)) as lines:
        header, first = next(lines)[1].split("\t"), list(islice(lines, PEEKED))
        header, fields = _columns(path, separator, header, first)
        width = len(header)
        body = [(number, leading_fields(path, number, line, fields, width)) for number, line in chain(first, lines)]
    row_id, *metadata = zip(*(line for _, line in body), strict=True)
    yield Expression(
        row_id,
        tuple(header[fields:]),
        value_blocks(path, body[0][0], fields, width - fields, len(body), read),
        dict(zip(column_names(header[1:fields], ()), map(metadata_column, metadata), strict=True)),
        kind=KIND,
    )


def write_table(path: Path, expression: Expression) -> None:
    """Writes CSV, or TSV where the name says so, a gene a line; values not measured are empty.

    Metadata, where there are any, go into NAME.genes.csv and NAME.samples.csv: see ``write_with_companions``.

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

    write_with_companions(path, expression, write_values, write_metadata)


def _separator(path: Path) -> str:
    """Tab or comma, by the first two lines; a DgexError if neither separates them."""
    with closing(read_lines(path)) as lines:
        start = [re.sub('"[^"]*"', "", line) for _, line in islice(lines, 2)]
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
            yield number, line


def _unquoted(path: Path, number: int, line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error as error:
        raise DgexError(
            f"{path}: line {number} cannot be split into fields ({error}); check its quotes, and that no field goes on "
            "in the next line"
        ) from error


def _columns(path: Path, separator: str, header: list[str], first: list[tuple[int, str]]) -> tuple[list[str], int]:
    """A name for each column, and how many of them come before the values; from the header and the lines below it."""
    if not first:
        raise DgexError(f"{path}: has no line below its first, is empty; check how it was made")
    found = first[0][1].count("\t") + 1
    if separator == "," and found == 2 * len(header) - 1 > 1:  # twice as many numbers as samples
        raise DgexError(
            f"{path}: line 2 has {found} fields under {len(header)} names; write decimals with a point, and a name for "
            "the first column too"
        )
    if found == len(header) + 1:
        header = ["", *header]  # as R's write.table does
    lines = [leading_fields(path, *line, min(MOST_FIELDS, len(header)), len(header)) for line in first]
    fields = _count_metadata(header, lines)
    if fields == len(lines[0]):
        raise DgexError(f"{path}: holds text, such as {lines[0][-1][:40]!r}, and no column of numbers")
    numbers = [name for name in header[fields:] if "." in name and NUMBER.fullmatch(name)]
    if len(numbers) == len(header[fields:]) and not all(map(WHOLE.fullmatch, numbers)):
        raise DgexError(f"{path}: begins with numbers, such as {header[-1]!r}; name the columns in the first line")
    return header, fields


def _count_metadata(header: Sequence[str], lines: Sequence[Sequence[str]]) -> int:
    """How many columns come before the first of numbers, the ids among them; all, where there is none."""
    fields = 1
    for position in range(1, len(lines[0])):
        column = [line[position] for line in lines]
        known = [entry for entry in column if entry.strip().lower() not in NOT_MEASURED]
        numbers = sum(is_number(entry) or bool(DECIMAL_COMMA.fullmatch(entry)) for entry in known)
        # Most of the entries decide: one that is damaged must not make metadata of measurements.
        is_text = 2 * numbers < len(known)
        if is_text or header[position].lower() in ENTREZ:
            fields = position + 1
        elif known:
            break
    return fields
