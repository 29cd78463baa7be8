"""DataFrames that pandas wrote to HDF5 in its "fixed" format, read with h5py alone.

The frame ``key`` is a group: ``axis0`` and ``axis1`` are the column and the row labels; columns of one element type
form a block, whose labels are ``block{i}_items`` and whose values ``block{i}_values`` are stored rows x columns. Labels
that pandas could not store as an array are pickles. A pickle can run any code, so none is ever opened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dgex.errors import DgexError
from dgex.formats.hdf5 import dataset_at, open_hdf5
from dgex.formats.matrix import Expression, first_repeated, in_memory


def read_pandas_hdf(path: Path, key: str = "table") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads a DataFrame of floats.

    Returns:
      The values [rows, columns] in the widest float type among the columns, the row labels and the column labels; the
      positions 0, 1, ... stand in for labels that are pickled.

    Raises:
      DgexError: the file is missing, damaged or not HDF5; there is no frame under ``key``; the frame is in pandas'
        "table" format, is empty, holds something other than floats, or its column order is only in a pickle.
    """
    with open_hdf5(path) as file:
        frame = file.get(key)
        if not isinstance(frame, h5py.Group):
            raise DgexError(f"{path}: has no data frame {key!r}; give the key of one of: {', '.join(file)}")
        kind = frame.attrs.get("pandas_type", b"no pandas object")
        kind = kind.decode() if isinstance(kind, bytes) else kind
        if kind != "frame":
            raise DgexError(f"{path}: {key!r} is {kind}, not a fixed frame; write it with to_hdf(format='fixed')")
        blocks = [_read_block(frame, f"block{i}_values") for i in range(frame.attrs.get("nblocks", 0))]
        if not blocks:
            raise DgexError(f"{path}: the data frame {key!r} is empty")
        rows, columns = _read_labels(frame, "axis1"), _read_labels(frame, "axis0")
        if len(blocks) == 1:
            values = blocks[0]  # all columns, in order
        elif columns is None or len(set(columns)) < len(columns):
            raise DgexError(f"{path}: the columns of {key!r} have pickled or repeated labels; give them names")
        else:
            values = np.empty((len(blocks[0]), len(columns)), np.result_type(*blocks))
            position = {label: i for i, label in enumerate(columns)}
            for i, block in enumerate(blocks):
                items = _read_labels(frame, f"block{i}_items")
                if items is None:
                    raise DgexError(f"{path}: the columns of {key!r} have pickled labels; give them names")
                values[:, [position[label] for label in items]] = block
    return (
        values,
        np.arange(values.shape[0]) if rows is None else rows,
        np.arange(values.shape[1]) if columns is None else columns,
    )


@contextmanager
def open_pandas_hdf(path: Path) -> Iterator[Expression]:
    """The frame ``table`` of a file, samples x genes, as an expression table; it is read whole.

    Raises:
      DgexError: as ``read_pandas_hdf``; a label is repeated, or a value is infinite.
    """
    values, samples, genes = read_pandas_hdf(path)
    sample_id, row_id = samples.astype(str).tolist(), genes.astype(str).tolist()
    for ids in (sample_id, row_id):
        if repeated := first_repeated(ids):
            raise DgexError(f"{path}: holds the label {repeated} twice; make the labels unique")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if np.isinf(values).any():
        raise DgexError(f"{path}: holds infinite values; use NaN for values not measured")
    table = in_memory(values, row_id, sample_id)
    yield replace(table, kind="pandas HDF5")


def _read_block(frame: h5py.Group, name: str) -> np.ndarray:
    block = dataset_at(frame, name)
    # pandas pickles object columns, and puts a dummy of one element where an array of none belongs.
    if block.dtype.kind != "f" or "shape" in block.attrs:
        held = "nothing" if "shape" in block.attrs else "pickled objects" if block.dtype.kind == "O" else block.dtype
        raise DgexError(f"{frame.file.filename}: {block.name} holds {held}; write a frame of floats only")
    return block[:]


def _read_labels(frame: h5py.Group, name: str) -> Any:
    """Labels as an array of strings or numbers; None where they are pickled."""
    labels = dataset_at(frame, name)
    if labels.dtype.kind == "O":
        return None
    return labels.asstr("utf-8", "replace")[:].astype(str) if labels.dtype.kind == "S" else labels[:]
