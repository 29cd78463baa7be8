"""The content of a file, decompressed where it is gzip; every failure becomes an error message of one line."""

import errno
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dgex.errors import DgexError

GZIP = b"\x1f\x8b"
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")  # .xlsx, which is zip, and .xls

# Expression data, even single cells with their many zeros, are compressed less than this; a decompression bomb of zeros
# a thousandfold.
MOST_UNPACKED = 400  # bytes of content for each byte of the file
LARGEST_SMALL = 2**24  # bytes; a gene table of the whole genome has a few million
FREELY_UNPACKED = 2**30  # bytes of content that any file may have


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Converts errors in the ``with`` block to a DgexError about ``path``; the block should do nothing but read it.

    Raises:
      DgexError: the file cannot be read, or is truncated or damaged, be it text, gzip or HDF5; it needs more memory
        than there is.
    """
    try:
        yield
    except MemoryError as error:
        raise DgexError(f"{path}: needs more memory than there is ({error}); check how it was made") from error
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, OverflowError, zlib.error) as error:
        # h5py raises runtime, key, type and value errors on damaged members, links and types, overflows on addresses.
        if isinstance(error, OSError) and error.strerror:
            raise DgexError(f"{path}: cannot be read ({error.strerror}); check the name and its rights") from error
        reason = str(*error.args[:1]).partition("\n")[0]  # str(KeyError) would have quotes around it
        raise DgexError(f"{path}: is truncated or damaged ({reason}); fetch or make it again") from error


def is_gzip(path: Path) -> bool:
    """Returns whether a file is gzipped, by its first bytes: the names of downloads are often wrong."""
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def check_unpacked(what: str, nbytes: int, stored: int) -> None:
    """Checks that compressed data are no decompression bomb, which would unpack to far more than real data do.

    Args:
      what: the file and the part of it, with which the error message begins.
      nbytes: the size of the data in memory, in bytes.
      stored: their size in the file, in bytes.

    Raises:
      DgexError: the ratio of the two is above any that expression data reach.
    """
    if nbytes > max(FREELY_UNPACKED, MOST_UNPACKED * stored):
        raise DgexError(
            f"{what} unpacks from {stored:,} bytes to {nbytes / 2**20:,.0f} MiB, more than real data do; "
            "check how it was made"
        )


class _Gzip(gzip.GzipFile):
    """Decompresses gzip, but refuses decompression bombs: see ``check_unpacked``."""

    def read(self, size: int | None = -1) -> bytes:
        return self._checked(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._checked(super().read1(size))

    def _checked(self, piece: bytes) -> bytes:
        check_unpacked(f"{self.name}: gzip", self.tell(), os.path.getsize(self.name))
        return piece


def open_content(path: Path) -> io.BufferedReader | gzip.GzipFile:
    """Opens a file for reading its bytes, decompressed where it is gzip; read it in pieces, within ``reading``."""
    return _Gzip(path) if is_gzip(path) else path.open("rb")


def read_small(path: Path) -> bytes:
    """Reads a small file at once, such as a gene table, a note or JSON.

    Raises:
      OSError: the file cannot be read, or is larger than 16 MiB.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST_SMALL + 1)
    if len(content) > LARGEST_SMALL:
        raise OSError(errno.EFBIG, f"larger than {LARGEST_SMALL / 2**20:.0f} MiB", str(path))
    return content


def first_bytes(path: Path) -> bytes:
    """Reads the first 512 bytes of the content, enough to recognise the format.

    Raises:
      DgexError: as ``reading``; the file is a pipe or a device, empty, a workbook or archive, text in UTF-16, or a web
        page, which servers send in place of a file that they do not have.
    """
    with reading(path):
        if path.is_fifo() or path.is_char_device():
            raise DgexError(f"{path}: is a pipe or a device, which can be read only once; save it to a file first")
        with open_content(path) as content:
            start = content.read(512)
    if start.startswith(WORKBOOKS):
        raise DgexError(f"{path}: is an Excel workbook or an archive; save the table as CSV or TSV")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DgexError(f"{path}: is text in UTF-16; save it as UTF-8")
    if not start.strip():
        raise DgexError(f"{path}: is empty; fetch or make it again")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DgexError(f"{path}: is a web page, not data; download it again")
    return start
