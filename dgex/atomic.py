"""Files that are either whole or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dgex.errors import DgexError

SLACK = 2**24  # bytes, for what a file holds besides its arrays


def need_room(folder: Path, nbytes: int) -> None:
    """Finds out before writing that the disk is too full: HDF5 and Orbax do not fail well in the middle of it.

    Raises:
      DgexError: the disk of ``folder`` has less room than ``nbytes`` and some slack.
    """
    free = shutil.disk_usage(folder).free
    if free < nbytes + SLACK:
        needed = (nbytes + SLACK) / 2**20
        raise DgexError(f"{folder}: needs {needed:.0f} MiB, the disk has {free / 2**20:.0f} MiB left; make room")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary name beside ``path``; on success the file there becomes ``path``, on failure it goes.

    A killed process leaves at most the temporary name (``.NAME.PID.partial``), which nothing here reads.

    Raises:
      DgexError: the folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        # h5py's own failures have no errno, and may have several lines of text.
        reason = (error.strerror or str(error)).splitlines()[0]
        raise DgexError(f"{path}: cannot be written ({reason}); check the folder's rights and free space") from error
    finally:
        with suppress(OSError):  # gone already after success; out of reach where the folder is
            partial.unlink()
