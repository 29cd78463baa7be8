"""The bytes of a file, unpacked where it is gzip; whatever goes wrong comes out as a line of text."""

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

# Expression data, zeros of single cells included, unpack to less; a bomb of zeros to a thousand times.
MOST_UNPACKED = 400  # bytes from a byte
LARGEST_SMALL = 2**24  # bytes; a gene table of the whole genome has a few million
FREELY_UNPACKED = 2**30  # bytes that any file may unpack to


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Blames ``path`` for what fails in the ``with`` block, which should therefore do nothing but read it.

    Raises:
      DgexError: the file cannot be read, or is truncated or damaged, be it text, gzip or HDF5; it needs more memory
        than there is.
    """
    try:
        yield
    except MemoryError as error:
        raise DgexError(f"{path}: needs more memory than there is ({error}); check how it was made") from error
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, zlib.error) as error:
        # Runtime, key, type and value errors are h5py's, on parts, links and types that make no sense.
        if isinstance(error, OSError) and error.strerror:
            raise DgexError(f"{path}: cannot be read ({error.strerror}); check the name and its rights") from error
        reason = str(*error.args[:1]).partition("\n")[0]  # str(error) has a KeyError's in quotes
        raise DgexError(f"{path}: is truncated or damaged ({reason}); fetch or make it again") from error


def is_gzip(path: Path) -> bool:
    """Whether the content says so; names do not count, downloads often have the wrong one."""
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def check_unpacked(what: str, nbytes: int, stored: int) -> None:
    """Refuses what is said to unpack to far more than data do.

    Args:
      what: the file, and what of it.
      nbytes: of it in memory.
      stored: bytes of it in the file.

    Raises:
      DgexError: it does.
    """
    if nbytes > max(FREELY_UNPACKED, MOST_UNPACKED * stored):
        raise DgexError(
            f"{what} makes {nbytes / 2**20:,.0f} MiB out of {stored:,} bytes, which no data do; check how it was made"
        )


class _Gzip(gzip.GzipFile):
    """Unpacks gzip, but no bombs: see ``check_unpacked``."""

    def read(self, size: int | None = -1) -> bytes:
        return self._checked(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._checked(super().read1(size))

    def _checked(self, piece: bytes) -> bytes:
        check_unpacked(f"{self.name}: gzip", self.tell(), os.path.getsize(self.name))
        return piece


def open_content(path: Path) -> io.BufferedReader | gzip.GzipFile:
    """The bytes of a file, to be read within ``reading`` and not all at once."""
    return _Gzip(path) if is_gzip(path) else path.open("rb")


def read_small(path: Path) -> bytes:
    """Reads a file that people write, or that describes others, such as a gene table, a note or JSON.

    Raises:
      OSError: it cannot be read, or is larger than any such file.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST_SMALL + 1)
    if len(content) > LARGEST_SMALL:
        raise OSError(errno.EFBIG, f"larger than {LARGEST_SMALL / 2**20:.0f} MiB", str(path))
    return content


def first_bytes(path: Path) -> bytes:
    """The first 512 bytes of the content, enough to tell formats apart.

    Raises:
      DgexError: as ``reading``; the file is empty, or a web page: what servers send instead of a file they lack.
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
