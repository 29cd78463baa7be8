"""Reads and writes GCTX, the Connectivity Map's HDF5 format for expression tables, with h5py alone.

``/0/DATA/0/matrix`` is stored samples x rows; ``/0/META/ROW`` and ``/0/META/COL`` hold one array per metadata field of
the rows (genes or probe sets) and the columns (samples), the ids under ``id``. A missing value is -666 in metadata and
NaN in the matrix. See Enache et al., Bioinformatics 2019, doi 10.1093/bioinformatics/bty784.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from dgex.errors import DgexError
from dgex.formats.column_names import column_names
from dgex.formats.content import reading
from dgex.formats.expression import BLOCK, Expression, ending, is_text, plain_ids
from dgex.formats.hdf5 import create_hdf5, dataset_at, matrix_blocks, read_column, stream_hdf5, write_texts

MATRIX, ROWS, SAMPLES = "0/DATA/0/matrix", "0/META/ROW", "0/META/COL"
MISSING = -666


@contextmanager
def open_gctx(path: Path) -> Iterator[Expression]:
    """Opens a GCTX file, plain or gzipped, as an expression table whose float32 values are read in blocks.

    The values are on the scale of the file. An integer metadata field with missing values becomes float64.

    Raises:
      DgexError: the file is missing, truncated, not HDF5 (such as GCT text under a .gctx name) or not GCTX; the matrix
        is empty, not of floats, in compressed chunks above 256 MiB, or does not fit the ids (is transposed);
        from ``blocks``: it holds infinity.
    """
    with stream_hdf5(path) as file:
        yield gctx_table(path, file)


def gctx_table(path: Path, file: h5py.File) -> Expression:
    """Makes an expression table of an open GCTX file; it can be read until the file is closed.

    Args:
      path: the file, for error messages.
      file: the same file, open for reading.

    Raises:
      DgexError: as ``open_gctx``.
    """
    with reading(path):
        matrix = dataset_at(file, MATRIX, 2)
        row_id, row_metadata = _read_metadata(file, ROWS)
        sample_id, sample_metadata = _read_metadata(file, SAMPLES)
        dtype = matrix.dtype
    if dtype.kind != "f":
        raise DgexError(f"{path}: /{MATRIX} holds {dtype}; write it as float32 or float64")
    if matrix.shape != (len(sample_id), len(row_id)):
        problem = "transposed" if matrix.shape == (len(row_id), len(sample_id)) else f"of shape {matrix.shape}"
        raise DgexError(
            f"{path}: /{MATRIX} is {problem}, its ids are those of {len(sample_id)} samples x {len(row_id)} rows; "
            "store it as samples x rows"
        )
    if not matrix.size:
        raise DgexError(f"{path}: /{MATRIX} is empty; check how the file was made")
    return Expression(row_id, sample_id, matrix_blocks(path, matrix), row_metadata, sample_metadata, "GCTX")


def write_gctx(path: Path, expression: Expression) -> None:
    """Writes a GCTX file atomically; its bytes depend neither on its name nor on how the values are cut into blocks.

    The provenance, if there is any, becomes JSON in the root attribute ``provenance``.

    Args:
      path: the output file.
      expression: the table to write.

    Raises:
      DgexError: the folder cannot be written to, or the disk is full; whatever ``expression.blocks`` raises.
    """
    samples, rows = expression.shape
    with create_hdf5(path, 4 * samples * rows) as file:
        file.attrs["version"] = "GCTX1.0"
        if expression.provenance:
            file.attrs["provenance"] = json.dumps(expression.provenance)
        matrix = file.create_dataset(MATRIX, expression.shape, "f4")
        with ending(expression.blocks(BLOCK)) as blocks:
            for sample_slice, row_slice, values in blocks:
                matrix[sample_slice, row_slice] = values
        for name, ids, metadata in (
            (ROWS, expression.row_id, expression.row_metadata),
            (SAMPLES, expression.sample_id, expression.sample_metadata),
        ):
            group = file.create_group(name)
            write_texts(group, "id", ids)
            for field, column in zip(column_names(metadata, {"id"}, slash="|"), metadata.values(), strict=True):
                if is_text(column):
                    write_texts(group, field, column, str(MISSING))
                else:
                    group.create_dataset(field, data=np.where(np.isnan(column), MISSING, column))


def _read_metadata(file: h5py.File, group: str) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Reads the ids and the other metadata fields of one axis."""
    ids = plain_ids(map(str, read_column(file, f"{group}/id").tolist()))
    metadata = {}
    for name in file[group]:
        if name != "id":
            column = read_column(file, f"{group}/{name}")
            if column.shape != (len(ids),):
                raise DgexError(f"{file.filename}: /{group}/{name} has shape {column.shape} for {len(ids)} ids")
            missing = column == (str(MISSING) if is_text(column) else MISSING)
            if missing.any():
                column = np.where(missing, "" if is_text(column) else np.nan, column)
            metadata[name] = column
    return ids, metadata
