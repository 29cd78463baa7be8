"""Reads and writes h5ad files and AnnData objects: samples are their observations, rows their variables.

anndata reads ``obs`` and ``var``. h5py reads X and writes whole files, both in blocks, so that no file has to fit into
memory. The format is described at https://anndata.readthedocs.io/en/stable/fileformat-prose.html.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy  # its subpackages are imported on first use

from dgex.errors import DgexError
from dgex.files.optional import load_extra
from dgex.formats.column_names import column_names
from dgex.formats.content import reading
from dgex.formats.expression import BLOCK, Block, Expression, ending, finite, is_text, plain_ids, text_column
from dgex.formats.hdf5 import create_hdf5, dataset_at, matrix_blocks, stream_hdf5, write_texts

KIND = "h5ad"
INDEX = "_index"  # the name of the array of ids
RAW = "raw"  # holds all rows where X has only some of them, with a var of its own; is chosen like a layer
NUMBERS = {"encoding-type": "array", "encoding-version": "0.2.0"}
STRINGS = {"encoding-type": "string-array", "encoding-version": "0.2.0"}
EMPTY = ("layers", "obsm", "obsp", "varm", "varp")  # groups that every h5ad file has, and that stay empty


@contextmanager
def open_h5ad(path: Path, layer: str | None = None) -> Iterator[Expression]:
    """Opens an h5ad file, plain or gzipped, as an expression table that reads its dense, CSR or CSC matrix in blocks.

    The values are on the scale of the file.

    Args:
      path: the file.
      layer: the matrix to take: a name in ``layers``, or "raw"; X by default.

    Raises:
      DgexError: anndata is not installed; the file is missing, truncated or not h5ad; it has no such matrix, or one of
        another shape than obs and var; from ``blocks``: the matrix is damaged, gives a value twice or holds infinity.
    """
    with stream_hdf5(path) as file:
        yield h5ad_table(path, file, layer)


def h5ad_table(path: Path, file: h5py.File, layer: str | None = None) -> Expression:
    """Makes an expression table of an open h5ad file; it can be read until the file is closed.

    Args:
      path: the file, for error messages.
      file: the same file, open for reading.
      layer: as for ``open_h5ad``.

    Raises:
      DgexError: as ``open_h5ad``.
    """
    with reading(path):
        layers, raw = file.get("layers"), file.get(RAW)
        places = {RAW: (f"{RAW}/X", f"{RAW}/var")} if isinstance(raw, h5py.Group) else {}
        places |= {name: (f"layers/{name}", "var") for name in (layers if isinstance(layers, h5py.Group) else ())}
        places |= {"X": ("X", "var")} if "X" in file else {}
    name, var = places[_chosen(path, list(places), layer)]
    sample_id, sample_metadata = _read_axis(path, file, "obs")
    row_id, row_metadata = _read_axis(path, file, var)
    with reading(path):
        matrix = file.get(name)
        layout = matrix.attrs.get("encoding-type") if isinstance(matrix, h5py.Group) else None
    shape = len(sample_id), len(row_id)
    if not all(shape):
        raise DgexError(f"{path}: has {shape[0]} samples and {shape[1]} rows, is empty; check how it was made")
    if layout in ("csr_matrix", "csc_matrix"):
        blocks = _sparse_blocks(path, matrix, shape, layout == "csr_matrix")
    else:
        with reading(path):
            matrix = dataset_at(file, name, 2)
            dtype, stored = matrix.dtype, matrix.shape
        if stored != shape or dtype.kind not in "fiu":
            raise DgexError(f"{path}: /{name} is {stored} of {dtype}; store {shape} numbers, as obs and var have names")
        blocks = matrix_blocks(path, matrix)
    return Expression(row_id, sample_id, blocks, row_metadata, sample_metadata, _kind(KIND, layer))


def write_h5ad(path: Path, expression: Expression) -> None:
    """Writes an h5ad file atomically, with a dense float32 X, for ``anndata.read_h5ad`` and others to read.

    Args:
      path: the output file.
      expression: the table to write.

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
        write_elem(file, "uns", _unstructured(expression))


def from_anndata(adata: Any, layer: str | None = None) -> Expression:
    """Makes an expression table of an AnnData, in memory or backed by a file; does not copy its matrix.

    Args:
      adata: the AnnData.
      layer: as for ``open_h5ad``.

    Raises:
      DgexError: it has no such matrix, or one not of numbers, or a sparse one that contradicts itself; from
        ``blocks``: it gives a value twice, or holds infinity.
    """
    source = "AnnData"
    name = _chosen(source, [RAW] * (adata.raw is not None) + [*adata.layers] + ["X"] * (adata.X is not None), layer)
    matrix, var = adata.X if name == "X" else adata.layers.get(name), adata.var
    if name == RAW and matrix is None:
        matrix, var = adata.raw.X, adata.raw.var
    sample_id, sample_metadata = _columns(adata.obs)
    row_id, row_metadata = _columns(var)
    shape = len(sample_id), len(row_id)
    if matrix.dtype.kind not in "fiu":
        raise DgexError(f"{source}: {name} holds {matrix.dtype}; store numbers")

    def blocks(most: int) -> Iterator[Block]:
        group = max(1, most // len(row_id))
        for start in range(0, len(sample_id), group):
            part = slice(start, min(start + group, len(sample_id)))
            values = matrix[part]
            values = _dense(source, name, values) if scipy.sparse.issparse(values) else values
            yield part, slice(0, len(row_id)), finite(f"{source}: {name}", np.asarray(values, np.float32))

    pieces: Callable[[int], Iterator[Block]] = blocks
    if isinstance(group := getattr(matrix, "group", None), h5py.Group):  # a sparse matrix in a backing file
        pieces = _sparse_blocks(Path(adata.filename), group, shape, matrix.format == "csr")
    elif scipy.sparse.issparse(matrix):
        try:
            matrix.check_format(full_check=True)
        except ValueError as error:
            raise DgexError(f"{source}: {name} is no sound sparse matrix ({error}); make it again") from error
    return Expression(row_id, sample_id, pieces, row_metadata, sample_metadata, _kind("AnnData", layer))


def to_anndata(expression: Expression) -> Any:
    """Converts an expression table to an ``anndata.AnnData`` in memory.

    Raises:
      DgexError: anndata is not installed; whatever ``expression.blocks`` raises.
    """
    anndata = load_extra("AnnData", "anndata", "anndata")
    obs = _frame("AnnData", expression.sample_id, expression.sample_metadata)
    var = _frame("AnnData", expression.row_id, expression.row_metadata)
    return anndata.AnnData(expression.load(), obs, var, _unstructured(expression))


def _unstructured(expression: Expression) -> dict[str, Any]:
    """Returns the ``uns`` of an AnnData: the provenance, if there is any."""
    return {"provenance": expression.provenance} if expression.provenance else {}


def _read_axis(path: Path, file: h5py.File, name: str) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Reads the ids and the metadata of one axis: the data frame obs, var or raw/var."""
    read_elem = load_extra(path, "anndata.io", "anndata").read_elem
    pandas = load_extra(path, "pandas", "anndata")
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata warns about files that an older version wrote
        try:
            _check_axes(path, file[name])
            frame = read_elem(file[name])
            if not isinstance(frame, pandas.DataFrame):
                raise DgexError(f"{path}: /{name} is not a data frame; read the file with anndata and write it again")
            return _columns(frame)
        except DgexError:
            raise
        except Exception as error:  # any kind: anndata and pandas do not validate what they read
            reason = str(error).partition("\n")[0]
            raise DgexError(f"{path}: /{name} cannot be read ({reason}); write the file again") from error


def _check_axes(path: Path, frame: h5py.Group | h5py.Dataset) -> None:
    """Checks that the ids, values, codes and categories of a data frame have one axis each."""

    def check(_: str, member: h5py.Group | h5py.Dataset) -> None:
        if isinstance(member, h5py.Dataset) and member.ndim != 1:
            raise DgexError(f"{path}: {member.name} has {member.ndim} axes, not one; write the file again")

    if isinstance(frame, h5py.Group):
        frame.visititems(check)


def _chosen(source: Path | str, names: list[str], layer: str | None) -> str:
    """Returns the name of the matrix to read: ``layer``, or X by default.

    Args:
      source: the file or object, for the error message.
      names: the matrices that there are.
      layer: the name asked for, if any.

    Raises:
      DgexError: there is no such matrix; the message lists those there are.
    """
    if (layer or "X") in names:
        return layer or "X"
    absent = "has no X" if layer is None else f"has no layer {layer!r}"
    if not names:
        raise DgexError(f"{source}: {absent}; it has no layer either, check how it was made")
    choice = f"choose one of its {', '.join(map(repr, names))} (--layer NAME)"
    raise DgexError(f"{source}: {absent}; {choice}")


def _kind(kind: str, layer: str | None) -> str:
    """Names the format and, unless it is X, the layer."""
    return f"{kind}, layer {layer}" if layer else kind


def _columns(frame: Any) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Converts a pandas frame to the ids of one axis and its metadata."""
    ids = plain_ids(frame.index.astype(str))
    names = column_names(map(str, frame.columns), ())
    return ids, {name: _plain(column) for name, (_, column) in zip(names, frame.items(), strict=True)}


def _plain(column: Any) -> np.ndarray:
    """Converts a pandas series to integers, floats with NaN, booleans, or texts with "" where a value is missing."""
    missing = column.isna().to_numpy()
    values = column.to_numpy()
    if values.dtype.kind in "iub" or (values.dtype.kind == "f" and not column.dtype == object):
        return values
    if getattr(column.dtype, "kind", "O") in "iufb":  # pandas' nullable integers, floats and booleans
        return column.to_numpy(np.float64, na_value=np.nan) if missing.any() else column.to_numpy(column.dtype.kind)
    return text_column(np.where(missing, "", column.astype(str).to_numpy(object)).tolist())


def _frame(source: Path | str, ids: tuple[str, ...], metadata: dict[str, np.ndarray]) -> Any:
    """Makes a pandas frame of ids and metadata, with strings as objects: anndata refuses some pandas string types."""
    pandas = load_extra(source, "pandas", "anndata")
    frame = pandas.DataFrame(index=pandas.Index(ids, dtype=object))
    for name, column in _named(metadata).items():
        values = column.astype(object) if is_text(column) else column
        frame[name] = pandas.Series(values, frame.index, values.dtype)
    return frame


def _named(metadata: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames metadata columns to names that anndata can write."""
    return dict(zip(column_names(metadata, {INDEX}, slash="|"), metadata.values(), strict=True))


def _write_axis(group: h5py.Group, ids: tuple[str, ...], metadata: dict[str, np.ndarray]) -> None:
    """Writes obs or var in anndata's layout of a data frame, column by column.

    A pandas frame of all columns would hold a Python object for every text.
    """
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
    """Makes the ``blocks`` of an ``Expression`` from a sparse matrix [samples, rows] in an HDF5 group.

    Args:
      path: the file, for error messages.
      group: the matrix, as arrays ``data``, ``indices`` and ``indptr``.
      shape: the numbers of samples and rows.
      by_samples: whether it is stored as CSR, sample by sample, rather than as CSC, row by row.

    Raises:
      DgexError: the matrix is damaged or of another shape; from ``blocks``: it gives a value twice or holds infinity.
    """
    lines, width = shape if by_samples else shape[::-1]
    with reading(path):
        data, indices, starts = (dataset_at(group, name, 1) for name in ("data", "indices", "indptr"))
        types = data.dtype, indices.dtype, starts.dtype
        declared = tuple(np.ravel(group.attrs["shape"]).tolist())
        name = group.name
        if types[0].kind not in "fiu" or not {types[1].kind, types[2].kind} <= set("iu"):
            stored = "data of {}, indices of {} and an indptr of {}".format(*types)
            raise DgexError(f"{path}: {name} has {stored}; store numbers, and whole numbers for their places")
        if declared != shape or starts.shape != (lines + 1,):
            raise DgexError(
                f"{path}: {name} is {declared} with {len(starts) - 1} lines; obs and var have {shape} names"
            )
        start = starts[:].astype(np.int64)
        sizes = len(data), len(indices), int(start[-1])
    if start[0] != 0 or (np.diff(start) < 0).any() or (np.diff(start) > width).any():
        raise DgexError(f"{path}: {name}/indptr is damaged; write the file again")
    if len(set(sizes)) > 1:
        lengths = "{} data, {} indices and an indptr for {}".format(*sizes)
        raise DgexError(f"{path}: {name} has {lengths}; is damaged, write the file again")

    def blocks(most: int) -> Iterator[Block]:
        step = max(1, most // width)
        for top in range(0, lines, step):
            part = slice(top, min(top + step, lines))
            first, last = start[top], start[part.stop]
            with reading(path):
                values, columns = data[first:last].astype(np.float32), indices[first:last]
            if (columns >= width).any() or (columns < 0).any():
                raise DgexError(f"{path}: {name}/indices points beyond its {width} entries; write the file again")
            block = scipy.sparse.csr_array(
                (values, columns, start[top : part.stop + 1] - first), (part.stop - top, width)
            )
            dense = finite(f"{path}: {name}", _dense(path, name, block))
            whole = slice(0, width)
            yield (part, whole, dense) if by_samples else (whole, part, dense.T)

    return blocks


def _dense(source: Path | str, name: str, matrix: Any) -> np.ndarray:
    """Converts a CSR or CSC matrix to an array.

    Raises:
      DgexError: the matrix gives a value twice; scipy would add the two up.
    """
    if not matrix.has_canonical_format:  # its indices are not sorted, or are repeated
        ordered = matrix.copy()
        ordered.sum_duplicates()
        if twice := matrix.nnz - ordered.nnz:
            raise DgexError(
                f"{source}: {name} gives {twice} values twice, with repeated indices; write each value once"
            )
    return matrix.toarray()
