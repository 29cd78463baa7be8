"""Opens an expression table whatever its format: the content decides, names do not count."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import h5py

from dgex.errors import DgexError
from dgex.formats.content import first_bytes, reading
from dgex.formats.gct import open_gct
from dgex.formats.gctx import gctx_table
from dgex.formats.geuvadis import FIELDS, open_geuvadis
from dgex.formats.hdf5 import SIGNATURE, stream_hdf5
from dgex.formats.matrix import Expression
from dgex.formats.pandas_hdf import pandas_table
from dgex.formats.series_matrix import open_series_matrix

READ = "read are GCTX, GCT 1.2 and 1.3, GEO series matrices, GEUVADIS tables and pandas HDF5, plain or gzipped"


@contextmanager
def open_expression(path: Path) -> Iterator[Expression]:
    """An expression table of any format that ``dgex.formats`` reads, open for the ``with`` block.

    Raises:
      DgexError: the file cannot be read, is of no such format, or is a prepared data set; whatever its reader raises.
    """
    start = first_bytes(path)
    if start.startswith(SIGNATURE):
        with stream_hdf5(path) as file:
            yield _hdf5_table(path, file)
    else:
        with _text_reader(path, start) as expression:
            yield expression


def _text_reader(path: Path, start: bytes) -> AbstractContextManager[Expression]:
    text = start.removeprefix(b"\xef\xbb\xbf")
    if text.startswith((b"#1.2", b"#1.3")):
        return open_gct(path)
    if text.startswith((b"!Series_", b"!Sample_")):
        return open_series_matrix(path)
    if text.startswith("\t".join(FIELDS).encode()):
        return open_geuvadis(path)
    raise DgexError(f"{path}: begins with {start[:24]!r}, which no known format does; {READ}")


def _hdf5_table(path: Path, file: h5py.File) -> Expression:
    with reading(path):
        if "schema_version" in file.attrs:
            raise DgexError(f"{path}: is a prepared data set already; give the expression table it was made from")
        names, frame = list(file), file.get("table")
    if "0" in names:
        return gctx_table(path, file)
    if isinstance(frame, h5py.Group):
        return pandas_table(path, file)
    held = ", ".join(map(repr, names[:8])) or "nothing"  # a damaged name may be bytes, or of two lines
    raise DgexError(f"{path}: is HDF5 of an unknown kind, with {held} in it; {READ}")
