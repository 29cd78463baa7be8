"""Opens an expression table of any supported format, recognised by the content and not by the name."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import h5py

from dgex.errors import DgexError
from dgex.formats.annotation import measured
from dgex.formats.archs4 import Choose, archs4_table
from dgex.formats.content import first_bytes, reading
from dgex.formats.expression import Expression
from dgex.formats.gct import open_gct
from dgex.formats.gctx import gctx_table
from dgex.formats.geuvadis import FIELDS, open_geuvadis
from dgex.formats.h5ad import h5ad_table
from dgex.formats.hdf5 import SIGNATURE as HDF5
from dgex.formats.hdf5 import stream_hdf5
from dgex.formats.missing_values import without_stand_ins
from dgex.formats.pandas_hdf import pandas_table
from dgex.formats.parquet import SIGNATURE as PARQUET
from dgex.formats.parquet import open_parquet
from dgex.formats.series_matrix import open_series_matrix
from dgex.formats.table import open_table

READ = (
    "read are GCTX, GCT 1.2 and 1.3, CSV, TSV, GEO series matrices, GEUVADIS tables, h5ad, ARCHS4 and pandas HDF5, "
    "plain or gzipped, and Parquet"
)
NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # escape sequences may stand in names


@contextmanager
def open_expression(path: Path, layer: str | None = None, choose: Choose | None = None) -> Iterator[Expression]:
    """Opens an expression table of any format that ``dgex.formats`` reads, for the ``with`` block.

    Annotation among its rows and samples is left out, and only one of the columns that a quantifier fills for a sample
    is kept: see ``dgex.formats.annotation``. Numbers that stand for missing values become NaN: see
    ``dgex.formats.missing_values``.

    Args:
      path: the file.
      layer: the matrix of an h5ad file to read instead of X.
      choose: of an ARCHS4 file, chooses the samples to read: see ``archs4_table``. Other files are read whole.

    Raises:
      DgexError: the file cannot be read, is of no supported format, is a prepared data set, or is GCT text under the
        name of a GCTX file; a layer is requested and the file is not h5ad; whatever its reader raises.
    """
    start = first_bytes(path)
    if start.startswith(HDF5):
        with stream_hdf5(path) as file:
            yield without_stand_ins(measured(path, _hdf5_table(path, file, layer, choose)))
    else:
        with _reader(path, start) as expression:
            _refuse_layer(path, expression, layer)
            yield without_stand_ins(measured(path, expression))


def _reader(path: Path, start: bytes) -> AbstractContextManager[Expression]:
    """Opens a file that is not HDF5 with the reader of its format, recognised by its first bytes."""
    text = start.removeprefix(b"\xef\xbb\xbf")
    if start.startswith(PARQUET):
        return open_parquet(path)
    if text.startswith((b"#1.2", b"#1.3")):
        # Other programs trust the name, and whoever chose it expects the content to be GCTX.
        if path.name.lower().removesuffix(".gz").endswith(".gctx"):
            raise DgexError(f"{path}: is GCT text under the name of a GCTX file; rename it to .gct")
        return open_gct(path)
    if text.startswith((b"!Series_", b"!Sample_")):
        return open_series_matrix(path)
    if text.startswith("\t".join(FIELDS).encode()):
        return open_geuvadis(path)
    if not NO_TEXT.search(text) and any(separator in text for separator in (b"\t", b",", b";")):
        return open_table(path)
    raise DgexError(f"{path}: begins with {start[:24]!r}, which no known format does; {READ}")


def _hdf5_table(path: Path, file: h5py.File, layer: str | None, choose: Choose | None) -> Expression:
    """Makes an expression table of an open HDF5 file: h5ad, GCTX, ARCHS4 or pandas, recognised by its members."""
    with reading(path):
        if "schema_version" in file.attrs:
            raise DgexError(f"{path}: is a prepared data set already; give the expression table it was made from")
        names, frame = list(file), file.get("table")
    if {"obs", "var"} <= set(names):
        return h5ad_table(path, file, layer)
    if "0" in names or {"data", "meta"} <= set(names) or isinstance(frame, h5py.Group):
        if "0" in names:
            table = gctx_table(path, file)
        else:
            table = archs4_table(path, file, choose) if "meta" in names else pandas_table(path, file)
        _refuse_layer(path, table, layer)
        return table
    members = ", ".join(map(repr, names[:8])) or "nothing"  # repr: a damaged name may be bytes, or of two lines
    raise DgexError(f"{path}: is HDF5 of an unknown kind, with {members} in it; {READ}")


def _refuse_layer(path: Path, table: Expression, layer: str | None) -> None:
    """Refuses a requested layer for a format without layers."""
    if layer is not None:
        raise DgexError(f"{path}: is a {table.kind} and has no layers, which h5ad has; leave out --layer")
