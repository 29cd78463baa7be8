"""Opens an expression table whatever its format: the content decides, not the name."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import h5py

from dgex.errors import DgexError
from dgex.formats.annotation import measured
from dgex.formats.content import first_bytes, reading
from dgex.formats.gct import open_gct
from dgex.formats.gctx import gctx_table
from dgex.formats.geuvadis import FIELDS, open_geuvadis
from dgex.formats.h5ad import h5ad_table
from dgex.formats.hdf5 import SIGNATURE as HDF5
from dgex.formats.hdf5 import stream_hdf5
from dgex.formats.matrix import Expression
from dgex.formats.pandas_hdf import pandas_table
from dgex.formats.parquet import SIGNATURE as PARQUET
from dgex.formats.parquet import open_parquet
from dgex.formats.series_matrix import open_series_matrix
from dgex.formats.table import open_table

READ = (
    "read are GCTX, GCT 1.2 and 1.3, CSV, TSV, GEO series matrices, GEUVADIS tables, h5ad and pandas HDF5, plain or "
    "gzipped, and Parquet"
)
NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1f\x7f]")


@contextmanager
def open_expression(path: Path) -> Iterator[Expression]:
    """Opens an expression table of any format that ``dgex.formats`` reads, for the ``with`` block.

    Annotation among its rows or samples is left out, and of a quantifier's columns one is the sample: see ``measured``.

    Raises:
      DgexError: the file cannot be read, is of no such format, is a prepared data set, or GCT text under the name of a
        GCTX file; whatever its reader raises.
    """
    start = first_bytes(path)
    if start.startswith(HDF5):
        with stream_hdf5(path) as file:
            yield measured(path, _hdf5_table(path, file))
    else:
        with _reader(path, start) as expression:
            yield measured(path, expression)


def _reader(path: Path, start: bytes) -> AbstractContextManager[Expression]:
    text = start.removeprefix(b"\xef\xbb\xbf")
    if start.startswith(PARQUET):
        return open_parquet(path)
    if text.startswith((b"#1.2", b"#1.3")):
        # Other programs go by the name, and whoever chose it expects the other format's content.
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


def _hdf5_table(path: Path, file: h5py.File) -> Expression:
    with reading(path):
        if "schema_version" in file.attrs:
            raise DgexError(f"{path}: is a prepared data set already; give the expression table it was made from")
        names, frame = list(file), file.get("table")
    if "0" in names:
        return gctx_table(path, file)
    if {"X", "obs", "var"} <= set(names):
        return h5ad_table(path, file)
    if isinstance(frame, h5py.Group):
        return pandas_table(path, file)
    held = ", ".join(map(repr, names[:8])) or "nothing"  # a damaged name may be bytes, or of two lines
    raise DgexError(f"{path}: is HDF5 of an unknown kind, with {held} in it; {READ}")
