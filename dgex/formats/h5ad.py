"""h5ad, the HDF5 form of an AnnData, and AnnData itself: samples are its observations, rows its variables.

``obs`` and ``var`` are read by anndata. X is read, and all of a file written, by h5py and in pieces, so that no file
has to fit into memory; https://anndata.readthedocs.io/en/stable/fileformat-prose.html says how.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from dgex.errors import DgexError
from dgex.extras import load_extra
from dgex.formats.content import reading
from dgex.formats.hdf5 import create_hdf5, dataset_at, matrix_blocks, stream_hdf5, write_texts
from dgex.formats.matrix import BLOCK, Block, Expression, ending, finite, is_text, plain_ids, text_column
from dgex.formats.names import column_names

KIND = "h5ad"
INDEX = "_index"  # the name of the ids
NUMBERS = {"encoding-type": "array", "encoding-version": "0.2.0"}
STRINGS = {"encoding-type": "string-array", "encoding-version": "0.2.0"}
EMPTY = ("layers", "obsm", "obsp", "uns", "varm", "varp")  # what an AnnData has besides


@contextmanager
def open_h5ad(path: Path) -> Iterator[Expression]:
    """An h5ad file, plain or gzipped, at whatever scale its X has: dense, CSR or CSC; X stays in it.

    Raises:
      DgexError: anndata is not installed; the file is missing, truncated or not h5ad; it has no X, or one of another
        shape than obs and var; from ``blocks``: X is damaged or holds infinity.
    """
    with stream_hdf5(path) as file:
        yield h5ad_table(path, file)


def h5ad_table(path: Path, file: h5py.File) -> Expression:
    """As ``open_h5ad``, of a file open already; the table is good for as long as it stays so."""
    sample_id, sample_metadata = _read_axis(path, file, "obs")
    row_id, row_metadata = _read_axis(path, file, "var")
    with reading(path):
        matrix = file.get("X")
        layout = matrix.attrs.get("encoding-type") if isinstance(matrix, h5py.Group) else None
    shape = len(sample_id), len(row_id)
    if not all(shape):
        raise DgexError(f"{path}: has {shape[0]} samples and {shape[1]} rows, is empty; check how it was made")
    if layout in ("csr_matrix", "csc_matrix"):
        blocks = _sparse_blocks(path, matrix, shape, layout == "csr_matrix")
    else:
        with reading(path):
            matrix = dataset_at(file, "X", 2)
            dtype, found = matrix.dtype, matrix.shape
        if found != shape or dtype.kind not in "fiub":
            raise DgexError(f"{path}: /X is {found} of {dtype}; store {shape} numbers, as obs and var have names")
        blocks = matrix_blocks(path, matrix)
    return Expression(row_id, sample_id, blocks, row_metadata, sample_metadata, KIND)


def write_h5ad(path: Path, expression: Expression) -> None:
    """Writes an h5ad file that ``anndata.read_h5ad`` reads, X dense float32; whole or not at all.

    Raises:
      DgexError: anndata is not installed; the folder cannot be written to, or the disk is full; whatever
        ``expression.blocks`` raises.
    """
    write_elem = load_extra(path, "anndata.io", "anndata").write_elem
    samples, rows = expression.shape
    with create_hdf5(path, 4 * samples * rows) as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        matrix = file.create_dataset("X", expression.shape, "f4")
        matrix.attrs.update(NUMBERS)
        with ending(expression.blocks(BLOCK)) as blocks:
            for sample_slice, row_slice, values in blocks:
                matrix[sample_slice, row_slice] = values
        _write_axis(file.create_group("obs"), expression.sample_id, expression.sample_metadata)
        _write_axis(file.create_group("var"), expression.row_id, expression.row_metadata)
        for name in EMPTY:
            write_elem(file, name, {})


def from_anndata(adata: Any) -> Expression:
    """The table of an AnnData, in memory or backed by a file; X is not copied.

    Raises:
      DgexError: it has no X; from ``blocks``: X holds infinity.
    """
    source = Path("AnnData")
    if adata.X is None:
        raise DgexError(f"{source}: has no X; put the expression values there")
    sample_id, sample_metadata = _columns(adata.obs)
    row_id, row_metadata = _columns(adata.var)

    def blocks(most: int) -> Iterator[Block]:
        group = max(1, most // len(row_id))
        for start in range(0, len(sample_id), group):
            part = slice(start, min(start + group, len(sample_id)))
            values = adata.X[part]
            values = np.asarray(values.toarray() if sparse.issparse(values) else values, np.float32)
            yield part, slice(0, len(row_id)), finite(f"{source}: X", values)

    return Expression(row_id, sample_id, blocks, row_metadata, sample_metadata, "AnnData")


def to_anndata(expression: Expression) -> Any:
    """The whole table as an ``anndata.AnnData``, in memory.

    Raises:
      DgexError: anndata is not installed; whatever ``expression.blocks`` raises.
    """
    anndata = load_extra("AnnData", "anndata", "anndata")
    obs = _frame("AnnData", expression.sample_id, expression.sample_metadata)
    var = _frame("AnnData", expression.row_id, expression.row_metadata)
    return anndata.AnnData(expression.load(), obs, var)


def _read_axis(path: Path, file: h5py.File, name: str) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    read_elem = load_extra(path, "anndata.io", "anndata").read_elem
    pandas = load_extra(path, "pandas", "anndata")
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that an older anndata wrote
        try:
            frame = read_elem(file[name])
        except Exception as error:  # of any kind: anndata takes what it finds on trust
            reason = str(error).partition("\n")[0]
            raise DgexError(f"{path}: /{name} cannot be read ({reason}); write the file again") from error
    if not isinstance(frame, pandas.DataFrame):
        raise DgexError(f"{path}: /{name} is not a data frame; read the file with anndata and write it again")
    return _columns(frame)


def _columns(frame: Any) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The ids of one axis and its metadata, from a pandas frame."""
    ids = plain_ids(frame.index.astype(str))
    names = column_names(map(str, frame.columns), ())
    return ids, {name: _plain(column) for name, (_, column) in zip(names, frame.items(), strict=True)}


def _plain(column: Any) -> np.ndarray:
    """A pandas series as integers, floats with NaN, booleans or texts with "" where missing."""
    gaps = column.isna().to_numpy()
    values = column.to_numpy()
    if values.dtype.kind in "iub" or (values.dtype.kind == "f" and not column.dtype == object):
        return values
    if getattr(column.dtype, "kind", "O") in "iufb":  # pandas' own integers, which may be missing
        return column.to_numpy(np.float64, na_value=np.nan) if gaps.any() else column.to_numpy(column.dtype.kind)
    return text_column(np.where(gaps, "", column.astype(str).to_numpy(object)).tolist())


def _frame(source: Path | str, ids: tuple[str, ...], metadata: dict[str, np.ndarray]) -> Any:
    """A pandas frame of ids and metadata, strings as objects: anndata refuses some of pandas' own kinds of string."""
    pandas = load_extra(source, "pandas", "anndata")
    frame = pandas.DataFrame(index=pandas.Index(ids, dtype=object))
    for name, column in _named(metadata).items():
        values = column.astype(object) if is_text(column) else column
        frame[name] = pandas.Series(values, frame.index, values.dtype)
    return frame


def _named(metadata: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same columns under names that anndata writes."""
    return dict(zip(column_names(metadata, {INDEX}, slash="|"), metadata.values(), strict=True))


def _write_axis(group: h5py.Group, ids: tuple[str, ...], metadata: dict[str, np.ndarray]) -> None:
    """Writes obs or var as anndata does a data frame, column by column: a frame has a Python object for every text."""
    columns = _named(metadata)
    group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0"})
    group.attrs.update({"_index": INDEX, "column-order": list(columns)})
    write_texts(group, INDEX, ids).attrs.update(STRINGS)
    for name, column in columns.items():
        if is_text(column):
            write_texts(group, name, column).attrs.update(STRINGS)
        else:
            group.create_dataset(name, data=column).attrs.update(NUMBERS)


def _sparse_blocks(
    path: Path, group: h5py.Group, shape: tuple[int, int], by_samples: bool
) -> Callable[[int], Iterator[Block]]:
    """The ``blocks`` of a matrix [samples, rows] that is stored as CSR, sample by sample, or as CSC."""
    lines, width = shape if by_samples else shape[::-1]
    with reading(path):
        data, indices, starts = (dataset_at(group, name, 1) for name in ("data", "indices", "indptr"))
        kinds = data.dtype.kind in "fiub" and indices.dtype.kind in "iu" and starts.dtype.kind in "iu"
        declared = tuple(np.ravel(group.attrs["shape"]).tolist())
        if declared != shape or starts.shape != (lines + 1,) or not kinds:
            raise DgexError(f"{path}: /X is {declared} with {len(starts) - 1} lines; obs and var have {shape} names")
        start = starts[:].astype(np.int64)
    if start[0] != 0 or (np.diff(start) < 0).any() or (np.diff(start) > width).any() or start[-1] > len(indices):
        raise DgexError(f"{path}: /X/indptr is damaged; write the file again")

    def blocks(most: int) -> Iterator[Block]:
        step = max(1, most // width)
        for top in range(0, lines, step):
            part = slice(top, min(top + step, lines))
            first, last = start[top], start[part.stop]
            with reading(path):
                values, places = data[first:last].astype(np.float32), indices[first:last]
            if len(values) != len(places) or (places >= width).any() or (places < 0).any():
                raise DgexError(f"{path}: /X/indices points beyond its {width} entries; write the file again")
            block = sparse.csr_array((values, places, start[top : part.stop + 1] - first), (part.stop - top, width))
            dense = finite(f"{path}: X", block.toarray())
            whole = slice(0, width)
            yield (part, whole, dense) if by_samples else (whole, part, dense.T)

    return blocks
