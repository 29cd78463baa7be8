"""Opening and making HDF5 files: whatever goes wrong comes out as a line of text."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from dgex.atomic import SLACK, need_room, replacing, reserve
from dgex.errors import DgexError
from dgex.formats.content import first_bytes, is_gzip, open_content, reading

SIGNATURE = b"\x89HDF\r\n\x1a\n"


@contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """The HDF5 file at ``path``, for reading; for a ``with`` block that does nothing else.

    Raises:
      DgexError: there is no such file, it is not HDF5 (GCT text is recognised), or it is truncated or damaged, be it
        noticed on opening or on a read inside the ``with`` block.
    """
    with reading(Path(path)), stream_hdf5(Path(path)) as file:
        yield file


@contextmanager
def stream_hdf5(path: Path) -> Iterator[h5py.File]:
    """As ``open_hdf5``, for a ``with`` block that also does other things and guards its reads by ``reading``."""
    start = first_bytes(path)
    if start[:4] in (b"#1.2", b"#1.3"):
        raise DgexError(f"{path}: is GCT text, whatever its name says; convert it to GCTX")
    if not start.startswith(SIGNATURE):
        raise DgexError(f"{path}: is not an HDF5 file; check that it is the right file and complete")
    with ExitStack() as stack:
        with reading(path):
            if is_gzip(path):
                content = stack.enter_context(_unpacked(path))
                # Given the name too, h5py reports errors under it.
                file = h5py.File(path, "r", driver="fileobj", fileobj=content)
            else:
                file = h5py.File(path, "r")
            stack.enter_context(file)
        yield file


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """A gzip file's content in a temporary file: HDF5 is read here and there, gzip only from front to back."""
    with ExitStack() as stack:
        try:
            # Unbuffered, lest a full disk be noticed on closing.
            target = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            for piece in _pieces(path):
                while piece:  # on a disk that runs full, a part is written before the error comes
                    piece = piece[target.write(piece) :]
        except OSError as error:
            raise DgexError(
                f"{path}: cannot be unpacked into {tempfile.tempdir or 'a temporary folder'} ({error.strerror}); "
                "make room there or set TMPDIR to another folder"
            ) from error
        yield target


def _pieces(path: Path) -> Iterator[bytes]:
    with reading(path), open_content(path) as content:
        while piece := content.read(2**20):
            yield piece


@contextmanager
def create_hdf5(path: str | os.PathLike[str], nbytes: int) -> Iterator[h5py.File]:
    """A new HDF5 file, which becomes ``path`` if the ``with`` block ends well and vanishes otherwise.

    Args:
      nbytes: of the arrays to be written. HDF5 does not survive a disk that runs full, the process dies on it, so their
        room is taken beforehand.

    Raises:
      DgexError: the disk has no room, or the folder cannot be made or written to.
    """
    with replacing(path) as partial:
        need_room(partial.parent, nbytes)
        try:
            with h5py.File(partial, "w") as file:
                with partial.open("r+b") as same:
                    reserve(same.fileno(), nbytes + SLACK)
                yield file
                file.flush()
                used = file.id.get_filesize()
        except RuntimeError as error:
            raise DgexError(f"{path}: cannot be written ({str(error).splitlines()[0]}); make room") from error
        os.truncate(partial, used)


def dataset_at(group: h5py.Group, name: str, ndim: int | None = None) -> h5py.Dataset:
    """The HDF5 data set ``name`` of an open file or group, or a DgexError if there is none with ``ndim`` axes."""
    member = group.get(name)
    if not isinstance(member, h5py.Dataset):
        where = f"{group.name.rstrip('/')}/{name}"
        raise DgexError(f"{group.file.filename}: has no {where}; it is incomplete or of another kind than expected")
    if ndim not in (None, member.ndim):
        raise DgexError(f"{group.file.filename}: {member.name} has {member.ndim} axes, not {ndim}; make the file again")
    return member


def read_column(group: h5py.Group, name: str) -> np.ndarray:
    """The data set ``name`` of one axis, numbers or strings; a DgexError if there is none such."""
    member = dataset_at(group, name, 1)
    if h5py.check_string_dtype(member.dtype):
        # Files of the field mix encodings; a title with an odd letter must not make the values unreadable.
        return member.asstr("utf-8", "replace")[:].astype(str)
    if member.dtype.kind not in "fiub":
        raise DgexError(f"{group.file.filename}: {member.name} holds {member.dtype}; store numbers or strings")
    return member[:]
