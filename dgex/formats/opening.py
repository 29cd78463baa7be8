"""Opens an expression table whatever its format: the content decides, names do not count."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import h5py

from dgex.errors import DgexError
from dgex.formats.content import first_bytes
from dgex.formats.gct import open_gct
from dgex.formats.gctx import open_gctx
from dgex.formats.geuvadis import FIELDS, open_geuvadis
from dgex.formats.hdf5 import SIGNATURE, open_hdf5
from dgex.formats.matrix import Expression
from dgex.formats.pandas_hdf import open_pandas_hdf
from dgex.formats.series_matrix import open_series_matrix

READ = "read are GCTX, GCT 1.2 and 1.3, GEO series matrices, GEUVADIS tables and pandas HDF5, plain or gzipped"


@contextmanager
def open_expression(path: Path) -> Iterator[Expression]:
    """An expression table of any format that ``dgex.formats`` reads, open for the ``with`` block.

    Raises:
      DgexError: the file cannot be read, is of no such format, or is a prepared data set; whatever its reader raises.
    """
    with _reader(path) as expression:
        yield expression


def _reader(path: Path) -> AbstractContextManager[Expression]:
    start = first_bytes(path)
    if start.startswith(SIGNATURE):
        return _hdf5_reader(path)
    text = start.removeprefix(b"\xef\xbb\xbf")
    if text.startswith((b"#1.2", b"#1.3")):
        return open_gct(path)
    if text.startswith((b"!Series_", b"!Sample_")):
        return open_series_matrix(path)
    if text.startswith("\t".join(FIELDS).encode()):
        return open_geuvadis(path)
    raise DgexError(f"{path}: begins with {start[:24]!r}, which no known format does; {READ}")


def _hdf5_reader(path: Path) -> AbstractContextManager[Expression]:
    with open_hdf5(path) as file:
        if "schema_version" in file.attrs:
            raise DgexError(f"{path}: is a prepared data set already; give the expression table it was made from")
        if "0" in file:
            return open_gctx(path)
        if isinstance(file.get("table"), h5py.Group):
            return open_pandas_hdf(path)
        raise DgexError(
            f"{path}: is HDF5 of an unknown kind, with {', '.join(list(file)[:8]) or 'nothing'} in it; {READ}"
        )
