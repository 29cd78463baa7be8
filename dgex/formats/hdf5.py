"""Opening and making HDF5 files: whatever goes wrong comes out as a line of text."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import h5py

from dgex.atomic import need_room, replacing
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
                # Unbuffered, lest a full disk be noticed on closing. Given the name too, h5py reports errors under it.
                content = stack.enter_context(tempfile.TemporaryFile(buffering=0))
                _unpack(path, content)
                file = h5py.File(path, "r", driver="fileobj", fileobj=content)
            else:
                file = h5py.File(path, "r")
            stack.enter_context(file)
        yield file


def _unpack(path: Path, target: IO[bytes]) -> None:
    """Writes a gzip file's content to ``target``: HDF5 is read here and there, gzip only from front to back."""
    with open_content(path) as content:
        while piece := content.read(2**20):
            try:
                target.write(piece)
            except OSError as error:
                where = tempfile.gettempdir()
                raise DgexError(
                    f"{path}: cannot be unpacked into {where} ({error.strerror}); make room there or set TMPDIR"
                ) from error


@contextmanager
def create_hdf5(path: str | os.PathLike[str], nbytes: int) -> Iterator[h5py.File]:
    """A new HDF5 file, which becomes ``path`` if the ``with`` block ends well and vanishes otherwise.

    Args:
      nbytes: of the arrays to be written. HDF5 does not survive a disk that runs full, the process dies on it, so the
        room is looked for beforehand.

    Raises:
      DgexError: the disk has no room, or the folder cannot be made or written to.
    """
    with replacing(path) as partial:
        need_room(partial.parent, nbytes)
        with h5py.File(partial, "w") as file:
            yield file


def dataset_at(group: h5py.Group, name: str) -> h5py.Dataset:
    """The HDF5 data set ``name`` of an open file or group, or a DgexError if there is none."""
    member = group.get(name)
    if not isinstance(member, h5py.Dataset):
        where = f"{group.name.rstrip('/')}/{name}"
        raise DgexError(f"{group.file.filename}: has no {where}; it is incomplete or of another kind than expected")
    return member
