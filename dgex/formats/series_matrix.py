"""Reads the series matrix, the text format in which GEO offers a study, as downloaded (.txt.gz) or unpacked.

Lines ``!Series_...`` and ``!Sample_...`` describe the study and each sample. The table, with probe sets in rows, lies
between ``!series_matrix_table_begin`` and ``_end``; its scale is the one that the authors submitted.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dgex.errors import DgexError
from dgex.formats.expression import Expression, plain_ids, text_column, unique_ids
from dgex.formats.text_reading import leading_fields, read_lines, value_blocks

SERIES_MATRIX = "GEO series matrix"  # ``Expression.kind`` of these tables
BEGIN, END = "!series_matrix_table_begin", "!series_matrix_table_end"
STUDY, SAMPLE = "!Series_geo_accession", "!Sample_geo_accession"
METADATA = {"platform_id": "!Sample_platform_id", "title": "!Sample_title"}


@contextmanager
def open_series_matrix(path: Path) -> Iterator[Expression]:
    """Opens a GEO series matrix as an expression table.

    Its sample metadata are study_id (GSE), platform_id (GPL) and title.

    Raises:
      DgexError: the file is missing, truncated, a web page or not a series matrix; the table is empty, has lines of
        different lengths, a sample twice, or other samples than the lines above it; from ``blocks``: a value is not a
        number.
    """
    with closing(read_lines(path)) as lines:
        description = _description(path, lines)
        sample_id = description[SAMPLE]
        header = next(lines, (0, ""))[1]
        if [_unquoted(field) for field in header.split("\t")] != ["ID_REF", *sample_id]:
            raise DgexError(
                f"{path}: its table does not begin with ID_REF and the samples of {SAMPLE}; is empty or damaged, "
                "download it again"
            )
        body = []
        for number, line in lines:
            if line.startswith(END):
                break
            body.append((number, leading_fields(path, number, line, 1, 1 + len(sample_id))[0]))
        else:
            raise DgexError(f"{path}: has no {END}, is truncated; download it again")
        for _ in lines:
            pass  # reads to the end, where gzip has its checksum
    if not body:
        raise DgexError(f"{path}: is an empty study, its table has no rows; look in the study's supplementary files")
    metadata = {"study_id": description[STUDY][:1] * len(sample_id)}
    for name, key in METADATA.items():
        if len(description[key]) != len(sample_id):
            raise DgexError(f"{path}: {key} has {len(description[key])} entries for {len(sample_id)} samples")
        metadata[name] = description[key]
    yield Expression(
        plain_ids(_unquoted(field) for _, field in body),
        unique_ids(path, "sample", plain_ids(sample_id)),
        value_blocks(path, body[0][0], 1, len(sample_id), len(body)),
        sample_metadata={name: text_column(column) for name, column in metadata.items()},
        kind=SERIES_MATRIX,
    )


def _description(path: Path, lines: Iterator[tuple[int, str]]) -> dict[str, list[str]]:
    """Reads the lines above the table by their keys (the first of repeated ones); leaves ``lines`` at the table."""
    description: dict[str, list[str]] = {}
    for _, line in lines:
        if line.startswith(BEGIN):
            break
        key, *fields = line.split("\t")
        description.setdefault(key, [_unquoted(field) for field in fields])
    else:
        raise DgexError(f"{path}: has no {BEGIN}, is truncated or no series matrix; download it again")
    if absent := [key for key in (STUDY, SAMPLE, *METADATA.values()) if not description.get(key)]:
        raise DgexError(f"{path}: has no {absent[0]}, is not a series matrix as GEO serves it; download it again")
    return description


def _unquoted(field: str) -> str:
    """Strips the quotes around a field."""
    return field[1:-1] if len(field) > 1 and field[0] == field[-1] == '"' else field
