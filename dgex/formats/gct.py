"""Reads and writes GCT, the Connectivity Map's text format for expression: versions 1.2 and 1.3, plain or gzipped.

Line 1 is the version; line 2 announces the numbers of rows and samples and, in 1.3, of metadata fields of each; line 3
names the columns: id, row metadata (Description in 1.2), samples. Version 1.3 continues with a line for each metadata
field of the samples, and both versions with a line for each row. -666 is a missing value in metadata. The GCT 1.2 files
of GTEx number the rows in a column ``id`` before the two others, and spreadsheets pad lines with tabs.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path

import numpy as np

from dgex.errors import DgexError
from dgex.formats.column_names import column_names, one_line
from dgex.formats.companions import provenance_companions, write_with_companions
from dgex.formats.expression import Expression, ending, plain_ids
from dgex.formats.text_reading import leading_fields, metadata_column, read_lines, value_blocks
from dgex.formats.text_writing import is_packed, metadata_texts, row_blocks, text_output, value_texts

GTEX = "id\tname\tdescription\t"
COUNTS = {"#1.2": 2, "#1.3": 4}  # how many numbers line 2 holds
MISSING = "-666"
COUNT = re.compile(r"[0-9]{1,18}")


@contextmanager
def open_gct(path: Path) -> Iterator[Expression]:
    """Opens a GCT file as an expression table, with values on the scale of the file.

    A metadata field becomes an array of integers or floats if all of its entries are, otherwise of strings. A field
    named id is left out: it repeats the ids, which GCTX stores under that name.

    Raises:
      DgexError: the file is missing, truncated or not GCT; its lines are fewer or more than announced, or of another
        length than the header; from ``blocks``: a value is not a number.
    """
    with closing(read_lines(path)) as lines:
        version = next(lines, (1, ""))[1].rstrip()
        if version not in COUNTS:
            raise DgexError(f"{path}: begins with {version[:20]!r}; of GCT, versions #1.2 and #1.3 are read")
        counts = next(lines, (2, ""))[1].split()
        if len(counts) != COUNTS[version] or not all(map(COUNT.fullmatch, counts)):
            raise DgexError(f"{path}: line 2 does not hold {COUNTS[version]} counts; fetch or make it again")
        rows, samples, row_fields, extra_lines = map(int, counts + ["1", "0"] * (version == "#1.2"))
        if not rows * samples:
            raise DgexError(f"{path}: announces {rows} rows and {samples} samples, is empty; check how it was made")
        header = next(lines, (3, ""))
        ids = int(version == "#1.2" and header[1].lower().startswith(GTEX))  # the column of the ids
        fields = 1 + ids + row_fields
        width = fields + samples
        names = leading_fields(path, *header, width, width)
        # Field by field: with millions of samples, the strings of all lines take far more memory than the columns.
        sample_columns = []
        for number, line in islice(lines, extra_lines):
            name, *entries = leading_fields(path, number, line, width, width)
            sample_columns.append((name, metadata_column(entries[row_fields:])))
        first = next(lines, (0, ""))
        below = chain([first] if first[0] else [], lines)
        body = [leading_fields(path, number, line, fields, width) for number, line in below]
    if len(body) != rows:
        raise DgexError(f"{path}: announces {rows} rows and holds {len(body)}; is truncated or damaged, fetch it again")
    row_id, *row_columns = list(zip(*body, strict=True))[ids:]
    yield Expression(
        plain_ids(row_id),
        plain_ids(names[fields:]),
        value_blocks(path, first[0], fields, samples, rows),
        _metadata(zip(names[1 + ids : fields], map(metadata_column, row_columns), strict=True)),
        _metadata(sample_columns),
        f"GCT {version[1:]}",
    )


def write_gct(path: Path, expression: Expression) -> None:
    """Writes a GCT 1.3 file atomically, gzipped where the name ends in .gz.

    A tab or line feed in a name becomes a space, since GCT has no quotes. It has no comments either, so the provenance,
    if there is any, is written to NAME.gct.provenance.json: see ``write_with_companions``.

    Args:
      path: the output file.
      expression: the table to write.

    Raises:
      DgexError: the folder cannot be written to, or the disk is full; whatever ``expression.blocks`` raises.
    """
    samples, rows = expression.shape
    row_columns = [metadata_texts(column, MISSING) for column in expression.row_metadata.values()]

    def write(partial: Path) -> None:
        with (
            text_output(partial, is_packed(path)) as file,
            ending(row_blocks(expression, path.parent)) as blocks,
        ):
            first = next(blocks)  # reads all values, so that the metadata written next are final: see ``Expression``
            file.write(f"#1.3\n{rows}\t{samples}\t{len(row_columns)}\t{len(expression.sample_metadata)}\n")
            file.write("\t".join(one_line(["id", *expression.row_metadata, *expression.sample_id])) + "\n")
            for name, column in expression.sample_metadata.items():
                fields = [*one_line([name]), *["na"] * len(row_columns), *metadata_texts(column, MISSING)]
                file.write("\t".join(fields) + "\n")
            names = zip(one_line(expression.row_id), *row_columns, strict=True)
            for block in chain([first], blocks):
                for values in block:
                    file.write("\t".join([*next(names), *value_texts(values, "NaN")]) + "\n")

    write_with_companions(path, write, provenance_companions(path, expression))


def _metadata(columns: Iterable[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Collects metadata columns by unique names, without the one named id."""
    fields = [(name, column) for name, column in columns if name != "id"]
    return dict(zip(column_names((name for name, _ in fields), ()), (column for _, column in fields), strict=True))
