"""GCT, the Connectivity Map's text form of an expression table: versions 1.2 and 1.3, plain or gzipped.

Line 1 is the version; line 2 announces rows and samples and, in 1.3, the metadata fields of either; line 3 names the
columns: id, row metadata (Description in 1.2), samples. Then come, in 1.3, a line for each metadata field of the
samples and, in both, a line for each row. -666 means missing in metadata. GTEx numbers the rows of its 1.2, in a column
``id`` before the two others; spreadsheets fill lines up with tabs.
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
from dgex.formats.text_reading import leading_fields, metadata_column, padding_of, read_lines, value_blocks
from dgex.formats.text_writing import is_packed, metadata_texts, row_blocks, text_output, value_texts

GTEX = "id\tname\tdescription\t"
COUNTS = {"#1.2": 2, "#1.3": 4}  # on line 2
MISSING = "-666"
COUNT = re.compile(r"[0-9]{1,18}")


@contextmanager
def open_gct(path: Path) -> Iterator[Expression]:
    """Opens a GCT file of any scale.

    A metadata field is of integers or floats where every entry is, otherwise of strings. A field named id is left out:
    it repeats the ids, and GCTX keeps those under that name.

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
        ids = int(version == "#1.2" and header[1].lower().startswith(GTEX))  # the column that has them
        fields = 1 + ids + row_fields
        width = fields + samples
        names = leading_fields(path, *header, width, width, padding_of(header[1], width))
        # One by one, since of millions of samples the fields take far more memory than columns.
        sample_columns = []
        for number, line in islice(lines, extra_lines):
            name, *entries = leading_fields(path, number, line, width, width, padding_of(line, width))
            sample_columns.append((name, metadata_column(entries[row_fields:])))
        first = next(lines, (0, ""))
        padding = padding_of(first[1], width)
        below = chain([first] if first[0] else [], lines)
        body = [leading_fields(path, number, line, fields, width, padding) for number, line in below]
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
    """Writes GCT 1.3, gzipped where the name ends in .gz, whole or not at all.

    A tab or line feed in a name becomes a space: GCT has no quotes. Nor has it comments, so provenance, where there
    is any, goes into NAME.gct.provenance.json: see ``write_with_companions``.

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
            first = next(blocks)  # for which all values have been read: see ``Expression``
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
    fields = [(name, column) for name, column in columns if name != "id"]
    return dict(zip(column_names((name for name, _ in fields), ()), (column for _, column in fields), strict=True))
