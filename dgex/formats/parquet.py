"""Reads and writes Parquet with pyarrow alone: a column of ids, then columns of metadata and of values.

A line of a file may be a gene or a sample. Files written here have one *sample* per line, so that each column, which
Parquet stores contiguously, is a gene.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dgex.errors import DgexError
from dgex.files.optional import load_extra
from dgex.formats.annotation import is_annotation
from dgex.formats.column_names import column_names
from dgex.formats.companions import Metadata, metadata_companions, write_with_companions
from dgex.formats.content import check_unpacked, is_gzip, reading
from dgex.formats.expression import (
    BLOCK,
    Block,
    Expression,
    check_length,
    ending,
    finite,
    first_repeated,
    is_text,
    pieces,
    plain_ids,
    text_column,
)
from dgex.formats.profiles import profiles_of

SIGNATURE = b"PAR1"
INDEX = "id"


@contextmanager
def open_parquet(path: Path) -> Iterator[Expression]:
    """Opens a Parquet file as an expression table, whose rows are the lines of the file.

    The values are on the scale of the file. The ids of the lines are the index that pandas wrote, or else the first
    column of strings. Other columns of strings and those named like annotation are metadata; all other numbers are
    values.

    Raises:
      DgexError: pyarrow is not installed; the file is truncated or damaged, has no column of strings or none of
        numbers, or holds something else; it is empty, or has a column of ids or metadata twice; from ``blocks``: a
        value is infinite.
    """
    parquet = load_extra(path, "pyarrow.parquet", "parquet")
    if is_gzip(path):
        raise DgexError(f"{path}: is gzipped, which Parquet need not be; unpack it")
    with reading(path):
        file = parquet.ParquetFile(path, page_checksum_verification=True)
    with file:
        yield _table(path, file)


def write_parquet(path: Path, expression: Expression) -> None:
    """Writes a Parquet file with samples as lines and genes as columns; the ids are the index of pandas.read_parquet.

    Metadata, if there are any, are written to NAME.genes.parquet and NAME.samples.parquet: see
    ``write_with_companions``. The provenance becomes ``attrs`` of the frame that pandas reads, which are stored as JSON
    in the metadata of the schema.

    Args:
      path: the output file.
      expression: the table to write.

    Raises:
      DgexError: pyarrow is not installed; the folder cannot be written to, or the disk is full; whatever
        ``expression.blocks`` raises.
    """
    arrow = load_extra(path, "pyarrow", "parquet")

    def write_values(partial: Path) -> None:
        schema = _schema(arrow, dict.fromkeys(expression.row_id, arrow.float32()))
        if expression.provenance:
            attrs = json.dumps({"provenance": expression.provenance}).encode()
            schema = schema.with_metadata({**schema.metadata, b"PANDAS_ATTRS": attrs})
        group = max(1, BLOCK // len(expression.row_id))
        rows = np.arange(len(expression.row_id))
        with (
            profiles_of(expression, rows, group, path.parent) as profiles,
            ending(profiles()) as blocks,
            _output(partial, schema) as file,
        ):
            for where, block in blocks:
                ids = arrow.array(expression.sample_id[where], arrow.string())
                values = map(arrow.array, np.ascontiguousarray(block.T))
                file.write_table(arrow.Table.from_arrays([ids, *values], schema=schema))

    def write_metadata(partial: Path, names: Sequence[str], metadata: Metadata) -> None:
        types = {
            name: arrow.string() if is_text(column) else arrow.from_numpy_dtype(column.dtype)
            for name, column in metadata.items()
        }
        schema = _schema(arrow, types)
        with _output(partial, schema) as file:
            for where in pieces(len(names)):
                ids = arrow.array(names[where], arrow.string())
                columns = [_arrow_column(arrow, column[where]) for column in metadata.values()]
                file.write_table(arrow.Table.from_arrays([ids, *columns], schema=schema))

    write_with_companions(path, write_values, metadata_companions(path, expression, write_metadata))


def _table(path: Path, file: Any) -> Expression:
    """Makes an expression table of an open Parquet file; it can be read until the file is closed."""
    arrow = load_extra(path, "pyarrow", "parquet")
    with reading(path):
        schema, lines = file.schema_arrow, file.metadata.num_rows
        check_length(path, "lines", lines)
        check_unpacked(f"{path}: the table", 4 * lines * len(schema), path.stat().st_size)
        index = _index_column(schema.metadata or {})
    names = schema.names
    texts = [field.name for field in schema if _is_text(arrow.types, field.type)]
    if index not in names:
        if not texts:
            raise DgexError(f"{path}: has no column of strings; give the lines names")
        index = texts[0]
    metadata = [name for name in names if name != index and (name in texts or is_annotation(name))]
    if repeated := first_repeated([name for name in names if name == index or name in metadata]):
        raise DgexError(f"{path}: holds the column {repeated} twice; make the names of strings and ids unique")
    values = [i for i, name in enumerate(names) if name != index and name not in metadata]
    if wrong := [schema.field(i) for i in values if not _is_number(arrow.types, schema.field(i).type)]:
        raise DgexError(f"{path}: {wrong[0].name} holds {wrong[0].type}; store numbers or strings")
    if not values or not lines:
        raise DgexError(
            f"{path}: has {lines} lines and {len(values)} columns of numbers, is empty; check how it was made"
        )
    with reading(path):
        labels = file.read([index, *metadata])
        ids = labels[index].cast(arrow.string()).to_pylist()
        columns = {name: _numpy_column(arrow, labels[name]) for name in metadata}
    if len(ids) != lines:
        raise DgexError(f"{path}: announces {lines} lines and holds {len(ids)}; is damaged, make it again")

    def blocks(most: int) -> Iterator[Block]:
        start = 0
        batches = file.iter_batches(max(1, most // len(names)))  # all columns: to choose "a" also takes "a.b"
        while start < lines:
            with reading(path):
                batch = next(batches, None)
                if batch is None or start + len(batch) > lines:
                    raise DgexError(f"{path}: does not hold the {lines} lines it announces; make it again")
                parts = [batch.column(i).cast(arrow.float32(), safe=False) for i in values]
                block = np.stack([part.to_numpy(zero_copy_only=False) for part in parts])
            yield slice(0, len(values)), slice(start, start + len(batch)), finite(f"{path}: the table", block)
            start += len(batch)

    return Expression(
        plain_ids("" if name is None else name for name in ids),
        plain_ids(names[i] for i in values),
        blocks,
        columns,
        kind="Parquet",
    )


def _index_column(metadata: dict[bytes, bytes]) -> str | None:
    """Returns the column that pandas recorded as the index, or None where the index is a range of numbers."""
    note = json.loads(metadata.get(b"pandas", b"{}"))
    columns = note.get("index_columns") if isinstance(note, dict) else None
    return next((name for name in columns or () if isinstance(name, str)), None)


def _is_text(types: Any, kind: Any) -> bool:
    """Returns whether a type is of metadata rather than measurements: strings, categories or truth values."""
    return types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind) or types.is_boolean(kind)


def _is_number(types: Any, kind: Any) -> bool:
    """Returns whether a type can hold measurements; the type of a column that is all nulls can too."""
    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind)


def _numpy_column(arrow: Any, column: Any) -> np.ndarray:
    """Converts a metadata column to NumPy: a null becomes NaN among numbers and "" among strings."""
    if arrow.types.is_integer(column.type) or arrow.types.is_floating(column.type):
        return column.to_numpy()
    return text_column(["" if entry is None else entry for entry in column.cast(arrow.string()).to_pylist()])


def _arrow_column(arrow: Any, column: np.ndarray) -> Any:
    """Converts a metadata column to Arrow, with a null for each missing value."""
    if is_text(column):
        return arrow.array(column.astype(object), arrow.string(), mask=column == "")
    return arrow.array(column, from_pandas=True)


def _schema(arrow: Any, types: dict[str, Any]) -> Any:
    """Makes the schema of the ids and these columns, with the metadata by which pandas recognises its index."""
    (index,) = column_names([INDEX], types)  # a gene may be called id too
    described = {"name": index, "field_name": index, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    note = {"index_columns": [index], "column_indexes": [], "columns": [described], "pandas_version": "2.0.0"}
    return arrow.schema([(index, arrow.string()), *types.items()], {b"pandas": json.dumps(note).encode()})


@contextmanager
def _output(path: Path, schema: Any) -> Iterator[Any]:
    """Creates a Parquet file for the ``with`` block."""
    writer = load_extra(path, "pyarrow.parquet", "parquet").ParquetWriter
    settings = {"use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
    with writer(path, schema, **settings) as file:
        yield file
