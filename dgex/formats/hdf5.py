"""Opening and making HDF5 files: whatever goes wrong comes out as a line of text."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from dgex.atomic import need_room, replacing
from dgex.errors import DgexError


@contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """The HDF5 file at ``path``, for reading.

    Raises:
      DgexError: there is no such file, it is not HDF5 (GCT text is recognised), or it is truncated or damaged, be it
        noticed on opening or on a read inside the ``with`` block.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise DgexError(f"{path}: cannot be read ({error.strerror}); check the name and its rights") from error
    if start in (b"#1.2", b"#1.3"):
        raise DgexError(f"{path}: is GCT text, whatever its name says; convert it to GCTX")
    if not h5py.is_hdf5(path):
        raise DgexError(f"{path}: is not an HDF5 file; check that it is the right file and complete")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DgexError(f"{path}: is truncated or damaged ({reason}); fetch or make it again") from error


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
