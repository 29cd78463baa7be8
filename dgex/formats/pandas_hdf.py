"""Reads DataFrames that pandas wrote to HDF5 in its "fixed" format, with h5py alone.

The frame ``key`` is a group: ``axis0`` and ``axis1`` are the column and the row labels; columns of one element type
form a block, whose labels are ``block{i}_items`` and whose values ``block{i}_values`` are stored rows x columns. Labels
that pandas could not store as an array are pickles. A pickle can run any code, so none is ever opened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from dgex.errors import DgexError
from dgex.formats.content import reading
from dgex.formats.expression import Expression, finite, in_memory, plain_ids
from dgex.formats.hdf5 import dataset_at, open_hdf5, read_column, stream_hdf5


def read_pandas_hdf(path: Path, key: str = "table") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads a DataFrame of floats.

    Args:
      path: the file.
      key: the name under which pandas stored the frame.

    Returns:
      The values [rows, columns] in the widest float type among the columns, the row labels and the column labels;
      pickled labels are replaced by the positions 0, 1, ...

    Raises:
      DgexError: the file is missing, damaged or not HDF5; there is no frame under ``key``; the frame is in pandas'
        "table" format, is empty, holds something other than floats, does not fit its labels, or its column order is
        only in a pickle.
    """
    with open_hdf5(path) as file:
        return _read_frame(path, _frame_at(path, file, key))


@contextmanager
def open_pandas_hdf(path: Path) -> Iterator[Expression]:
    """Opens the frame ``table`` of a file, samples x genes, as an expression table; reads all of it into memory.

    Raises:
      DgexError: as ``read_pandas_hdf``; a value is infinite.
    """
    with stream_hdf5(path) as file:
        yield pandas_table(path, file)


def pandas_table(path: Path, file: h5py.File) -> Expression:
    """Reads the frame ``table`` of an open file as an expression table in memory.

    Args:
      path: the file, for error messages.
      file: the same file, open for reading.

    Raises:
      DgexError: as ``open_pandas_hdf``.
    """
    with reading(path):
        values, samples, genes = _read_frame(path, _frame_at(path, file, "table"))
    sample_id, row_id = (plain_ids(map(str, labels.tolist())) for labels in (samples, genes))
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    return replace(in_memory(finite(f"{path}: the frame", values), row_id, sample_id), kind="pandas HDF5")


def _frame_at(path: Path, file: h5py.File, key: str) -> h5py.Group:
    """Returns the group of a DataFrame in pandas' fixed format."""
    frame = file.get(key)
    if not isinstance(frame, h5py.Group):
        raise DgexError(f"{path}: has no data frame {key!r}; give the key of one of: {', '.join(map(repr, file))}")
    kind = frame.attrs.get("pandas_type")
    kind = kind.decode("utf-8", "replace") if isinstance(kind, bytes) else kind
    if not isinstance(kind, str) or kind != "frame":
        description = repr(kind) if isinstance(kind, str) else "no pandas object"
        raise DgexError(f"{path}: {key!r} is {description}, not a fixed frame; write it with to_hdf(format='fixed')")
    return frame


def _read_frame(path: Path, frame: h5py.Group) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads the values [rows, columns], the row labels and the column labels of a frame."""
    count = frame.attrs.get("nblocks", 0)
    if not isinstance(count, int | np.integer) or count < 1:
        raise DgexError(f"{path}: the data frame {frame.name} is empty or damaged; write it again")
    blocks = [_read_block(frame, f"block{i}_values") for i in range(count)]
    rows, columns = _read_labels(frame, "axis1"), _read_labels(frame, "axis0")
    if rows is None:
        rows = np.arange(len(blocks[0]))
    if count == 1:
        if columns is None:
            columns = np.arange(blocks[0].shape[1])
        items = [columns]  # the only block holds all columns, in order
    else:
        items = [labels for i in range(count) if (labels := _read_labels(frame, f"block{i}_items")) is not None]
        if columns is None or len(items) < count or len(set(columns)) < len(columns):
            raise DgexError(f"{path}: the columns of {frame.name} have pickled or repeated labels; give them names")
    for block, labels in zip(blocks, items, strict=True):
        if block.shape != (len(rows), len(labels)):
            raise DgexError(
                f"{path}: a block of {frame.name} has shape {block.shape} and {len(rows)} x {len(labels)} labels; "
                "write the frame again"
            )
    if count == 1:
        return blocks[0], rows, columns
    position = {label: i for i, label in enumerate(np.concatenate(items).tolist())}
    if position.keys() != set(columns.tolist()) or sum(map(len, items)) > len(columns):
        raise DgexError(f"{path}: the blocks of {frame.name} are not its columns, each once; write the frame again")
    return np.hstack(blocks)[:, [position[label] for label in columns.tolist()]], rows, columns


def _read_block(frame: h5py.Group, name: str) -> np.ndarray:
    """Reads the values of a block: floats [rows, columns]."""
    block = dataset_at(frame, name)
    # pandas pickles object columns, and stores a dummy of one element for an empty array; both have one axis.
    if block.dtype.kind != "f" or "shape" in block.attrs:
        content = "nothing" if "shape" in block.attrs else "pickled objects" if block.dtype.kind == "O" else block.dtype
        raise DgexError(f"{frame.file.filename}: {block.name} holds {content}; write a frame of floats only")
    return dataset_at(frame, name, 2)[:]


def _read_labels(frame: h5py.Group, name: str) -> np.ndarray | None:
    """Reads labels as an array of strings or numbers; returns None where they are pickled."""
    return None if dataset_at(frame, name).dtype.kind == "O" else read_column(frame, name)
