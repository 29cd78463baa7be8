"""Files that are either whole or not there."""

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dgex.errors import DgexError

LONGEST_PATH = 4000  # bytes, of the 4,096 that systems allow
LONGEST_NAME = 180  # bytes of a file's, of the 255 that systems allow; temporary names and companions are longer
SLACK = 2**24  # bytes, for what a file holds besides its arrays

_under_way: set[Path] = set()  # temporary names that ``replacing`` has given and not yet removed


def need_room(folder: Path, nbytes: int) -> None:
    """Finds out before writing that the disk is too full: HDF5 and Orbax do not fail well in the middle of it.

    Raises:
      DgexError: the disk of ``folder`` has less room than ``nbytes`` and some slack.
    """
    free = shutil.disk_usage(folder).free
    if free < nbytes + SLACK:
        needed = (nbytes + SLACK) / 2**20
        raise DgexError(f"{folder}: needs {needed:.0f} MiB, the disk has {free / 2**20:.0f} MiB left; make room")


def reserve(descriptor: int, nbytes: int) -> None:
    """Takes the room of an open file now, where the system can, so that nobody else fills the disk meanwhile.

    Raises:
      OSError: there is too little.
    """
    if hasattr(os, "posix_fallocate") and nbytes:  # macOS has none
        try:
            os.posix_fallocate(descriptor, 0, nbytes)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise  # anything else: the file system does not do it


def check_path(path: Path) -> None:
    """Refuses a path that no file can have, or that cannot stand in an output, which tells what it was made from.

    Raises:
      DgexError: it or a name in it is too long, or it is not UTF-8.
    """
    shown = str(path) if len(str(path)) < 80 else f"{str(path)[:40]}..."
    try:
        names = [name.encode() for name in path.parts]
    except UnicodeEncodeError as error:
        raise DgexError(f"{shown}: is no path in UTF-8; rename it") from error
    if max(map(len, names), default=0) > 255 or sum(map(len, names)) + len(names) > LONGEST_PATH:
        raise DgexError(f"{shown}: is too long; paths have {LONGEST_PATH} bytes at most, and names in them 255")


def check_writable(path: Path, *inputs: Path) -> Path:
    """Finds out before the work, not after it, that ``path`` cannot be written; makes nothing.

    Args:
      inputs: files that are read to make it, and must not be lost to it.

    Returns:
      The folder it will lie in, or the nearest above that there is already.

    Raises:
      DgexError: it is a folder or a device, or lies where nothing may be written, or is one of the inputs.
    """
    check_path(path)
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise DgexError(f"{path.name[:40]}...: is too long a name; give one of {LONGEST_NAME} bytes at most")
    try:
        if any(path.exists() and source.exists() and path.samefile(source) for source in inputs):
            raise DgexError(f"{path}: is read to make this output, which would replace it; give it another name")
        nearest = next((parent for parent in path.absolute().parents if parent.exists()), path)
        writable = nearest.is_dir() and os.access(nearest, os.W_OK) and (path.is_file() or not path.exists())
    except OSError:  # such as a folder that one may not look into
        writable = False
    if not writable:
        raise DgexError(f"{path}: cannot be written; give the name of a file in a folder you may write to")
    return nearest


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary name beside ``path``; on success the file or folder there becomes ``path``, on failure it goes.

    A killed process leaves at most the temporary name (``.NAME.HOST.PID.partial``), which nothing here reads, and which
    goes when the same host writes the file again.

    Raises:
      DgexError: the folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    stem = f".{path.name}.{socket.gethostname()}."
    partial = path.with_name(f"{stem}{os.getpid()}.partial")
    _under_way.add(partial)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent, stem)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        # h5py's own failures have no errno, and may have several lines of text.
        reason = (error.strerror or str(error)).splitlines()[0]
        raise DgexError(f"{path}: cannot be written ({reason}); check the folder's rights and free space") from error
    finally:
        with suppress(OSError):  # gone already after success; out of reach where the folder is
            _remove(partial)
        _under_way.discard(partial)


def remove_partials() -> None:
    """Removes what ``replacing`` has under way: for a process that ends without coming to its ``finally``."""
    for partial in list(_under_way):
        with suppress(OSError):
            _remove(partial)


def _remove_abandoned(folder: Path, stem: str) -> None:
    for entry in folder.iterdir():
        process = entry.name.removeprefix(stem).removesuffix(".partial")
        if entry.name == f"{stem}{process}.partial" and process.isdigit() and not _is_alive(int(process)):
            _remove(entry)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
