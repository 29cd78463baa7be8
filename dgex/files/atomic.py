"""Atomic writes: every output file or folder is either complete or absent; checks of paths and of free disk space."""

import atexit
import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dgex.errors import DgexError

LONGEST_PATH = 4000  # bytes, of the 4,096 that systems allow
LONGEST_NAME = 180  # bytes of a file's, of the 255 that systems allow; temporary names and companions are longer
SLACK = 2**24  # bytes, for what a file holds besides its arrays

_under_way: set[Path] = set()  # temporary names that ``replacing`` has handed out and not yet removed


def need_room(folder: Path, nbytes: int) -> None:
    """Checks before writing that the disk has enough free space, since HDF5 and Orbax fail badly when it runs full.

    Args:
      folder: an existing folder on the disk in question.
      nbytes: the size of the arrays that are to be written.

    Raises:
      DgexError: the disk of ``folder`` has less free space than ``nbytes`` and some slack.
    """
    free = shutil.disk_usage(folder).free
    if free < nbytes + SLACK:
        needed = (nbytes + SLACK) / 2**20
        raise DgexError(f"{folder}: needs {needed:.0f} MiB, the disk has {free / 2**20:.0f} MiB left; make room")


def reserve(descriptor: int, nbytes: int) -> None:
    """Allocates the disk space of an open file in advance, where the system can, so that no other process takes it.

    Args:
      descriptor: the file descriptor, open for writing.
      nbytes: how many bytes to allocate, from the start of the file.

    Raises:
      OSError: there is too little space.
    """
    if hasattr(os, "posix_fallocate") and nbytes:  # macOS does not have the function
        try:
            os.posix_fallocate(descriptor, 0, nbytes)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise  # any other error means that the file system cannot allocate in advance


def check_path(path: Path) -> None:
    """Checks that a file can have this path, and that an output can record it (as UTF-8) in its provenance.

    Raises:
      DgexError: the path or a name in it is too long, or it is not UTF-8.
    """
    shown = str(path) if len(str(path)) < 80 else f"{str(path)[:40]}..."
    try:
        names = [name.encode() for name in path.parts]
    except UnicodeEncodeError as error:
        raise DgexError(f"{shown}: is no path in UTF-8; rename it") from error
    if max(map(len, names), default=0) > 255 or sum(map(len, names)) + len(names) > LONGEST_PATH:
        raise DgexError(f"{shown}: is too long; paths have {LONGEST_PATH} bytes at most, and names in them 255")


def check_writable(path: Path, *inputs: Path) -> Path:
    """Checks before the computation that ``path`` can be written afterwards; creates nothing.

    Args:
      path: the output file.
      *inputs: the files that are read to make the output, and which it must not replace.

    Returns:
      The folder of the output, or its nearest parent that exists.

    Raises:
      DgexError: ``path`` is a folder or a device, lies where the user may not write, or is one of the inputs.
    """
    check_path(path)
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise DgexError(f"{path.name[:40]}...: is too long a name; give one of {LONGEST_NAME} bytes at most")
    try:
        if any(path.exists() and source.exists() and path.samefile(source) for source in inputs):
            raise DgexError(f"{path}: is read to make this output, which would replace it; give it another name")
        nearest = next((parent for parent in path.absolute().parents if parent.exists()), path)
        writable = nearest.is_dir() and os.access(nearest, os.W_OK) and (path.is_file() or not path.exists())
    except OSError:  # for example in a folder that the user may not read
        writable = False
    if not writable:
        raise DgexError(f"{path}: cannot be written; give the name of a file in a folder you may write to")
    return nearest


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Writes a file or folder atomically: yields a temporary name beside ``path``, which is renamed at the end.

    If the ``with`` block raises, the temporary file or folder is removed and ``path`` stays as it was. A killed process
    leaves at most the temporary file (``.NAME.HOST.PID.partial``), which nothing here reads, and which is removed when
    the same host writes the file again.

    Raises:
      DgexError: the folder cannot be created or written to, or the disk is full.
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
        # Errors that h5py itself raises have no errno, and their text may have several lines.
        reason = (error.strerror or str(error)).splitlines()[0]
        raise DgexError(f"{path}: cannot be written ({reason}); check the folder's rights and free space") from error
    finally:
        with suppress(OSError):  # the file was renamed after success; its folder may have become unreachable
            _remove(partial)
        _under_way.discard(partial)


def remove_partials() -> None:
    """Removes the temporary files of every ``replacing`` in progress, for a process that ends without ``finally``."""
    for partial in list(_under_way):
        with suppress(OSError):
            _remove(partial)


@contextmanager
def removed_at_end(path: Path) -> Iterator[Callable[[], None]]:
    """Has a file removed if the process ends within the ``with`` block, unless the yielded function was called."""
    _under_way.add(path)
    try:
        yield lambda: _under_way.discard(path)
    finally:
        _under_way.discard(path)


def private_folder(name: str) -> Path:
    """Makes a temporary folder of this process, which is removed when it ends.

    Those that killed processes of this host left behind are removed now.
    """
    parent, stem = Path(tempfile.gettempdir()), f".{name}.{socket.gethostname()}."
    _remove_abandoned(parent, stem)
    folder = parent / f"{stem}{os.getpid()}.partial"
    _remove(folder)  # of an earlier process with this number
    folder.mkdir(mode=0o700)
    _under_way.add(folder)
    atexit.register(_remove, folder)
    return folder


def _remove_abandoned(folder: Path, stem: str) -> None:
    """Removes the temporary files that processes of this host, now dead, left behind for the same output."""
    for entry in folder.iterdir():
        process = entry.name.removeprefix(stem).removesuffix(".partial")
        if entry.name == f"{stem}{process}.partial" and process.isdigit() and not is_alive(int(process)):
            _remove(entry)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Tells whether a process of this host, by its number, has not ended."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
