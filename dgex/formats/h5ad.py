"""h5ad, the HDF5 form of an AnnData, and AnnData itself: samples are its observations, rows its variables.

``obs`` and ``var`` are read and written by anndata, X by h5py in blocks, so that no file has to fit into memory.
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
from dgex.formats.hdf5 import create_hdf5, dataset_at, matrix_blocks, stream_hdf5
from dgex.formats.matrix import BLOCK, Block, Expression
from dgex.formats.text import unique_ids

KIND = "h5ad"
EMPTY = ("layers", "obsm", "obsp", "uns", "varm", "varp")  # what an AnnData has besides


@contextmanager
def open_h5ad(path: Path) -> Iterator[Expression]:
    """An h5ad file, plain or gzipped, at whatever scale its X has: dense, CSR or CSC; X stays in it.

    Raises:
      DgexError: anndata is not installed; the file is missing, truncated or not h5ad; it has no X, or one of another
        shape than obs and var; an id is repeated; from ``blocks``: X is damaged or holds infinity.
    """
    with stream_hdf5(path) as file:
        yield h5ad_table(path, file)


def h5ad_table(path: Path, file: h5py.File) -> Expression:
    """As ``open_h5ad``, of a file open already; the table is good for as long as it stays so."""
    sample_id, sample_metadata = _read_axis(path, file, "obs", "sample")
    row_id, row_metadata = _read_axis(path, file, "var", "row")
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
        matrix.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for sample_slice, row_slice, values in expression.blocks(BLOCK):
            matrix[sample_slice, row_slice] = values
        write_elem(file, "obs", _frame(path, expression.sample_id, expression.sample_metadata))
        write_elem(file, "var", _frame(path, expression.row_id, expression.row_metadata))
        for name in EMPTY:
            write_elem(file, name, {})


def from_anndata(adata: Any) -> Expression:
    """The table of an AnnData, in memory or backed by a file; X is not copied.

    Raises:
      DgexError: it has no X; a name of obs or var is repeated; from ``blocks``: X holds infinity.
    """
    source = Path("AnnData")
    if adata.X is None:
        raise DgexError(f"{source}: has no X; put the expression values there")
    sample_id, sample_metadata = _columns(source, adata.obs, "sample")
    row_id, row_metadata = _columns(source, adata.var, "row")

    def blocks(most: int) -> Iterator[Block]:
        group = max(1, most // len(row_id))
        for start in range(0, len(sample_id), group):
            part = slice(start, min(start + group, len(sample_id)))
            values = adata.X[part]
            values = np.asarray(values.toarray() if sparse.issparse(values) else values, np.float32)
            yield part, slice(0, len(row_id)), _finite(source, values)

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


def _read_axis(path: Path, file: h5py.File, name: str, what: str) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
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
    return _columns(path, frame, what)


def _columns(source: Path, frame: Any, what: str) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The ids of one axis and its metadata, from a pandas frame."""
    ids = unique_ids(source, what, frame.index.astype(str).tolist())
    return ids, {str(name): _plain(column) for name, column in frame.items()}


def _plain(column: Any) -> np.ndarray:
    """A pandas series as integers, floats with NaN, booleans or strings with "" where missing."""
    gaps = column.isna().to_numpy()
    values = column.to_numpy()
    if values.dtype.kind in "iub" or (values.dtype.kind == "f" and not column.dtype == object):
        return values
    if getattr(column.dtype, "kind", "O") in "iufb":  # pandas' own integers, which may be missing
        return column.to_numpy(np.float64, na_value=np.nan) if gaps.any() else column.to_numpy(column.dtype.kind)
    return np.where(gaps, "", column.astype(str).to_numpy(object)).astype(np.str_)


def _frame(source: Path | str, ids: tuple[str, ...], metadata: dict[str, np.ndarray]) -> Any:
    """A pandas frame of ids and metadata, strings as objects: anndata refuses some of pandas' own kinds of string."""
    pandas = load_extra(source, "pandas", "anndata")
    frame = pandas.DataFrame(index=pandas.Index(ids, dtype=object))
    for name, column in metadata.items():
        values = column.astype(object) if column.dtype.kind == "U" else column
        frame[name.replace("/", "|")] = pandas.Series(values, frame.index, values.dtype)  # / would open a group
    return frame.rename(columns={"_index": "index"})  # a name that anndata keeps for itself


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
            dense = _finite(path, block.toarray())
            whole = slice(0, width)
            yield (part, whole, dense) if by_samples else (whole, part, dense.T)

    return blocks


def _finite(source: Path, values: np.ndarray) -> np.ndarray:
    if np.isinf(values).any():
        raise DgexError(f"{source}: X holds infinite values; use NaN for values not measured")
    return values
