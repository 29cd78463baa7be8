"""Files that are either whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dgex.errors import DgexError


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
        with suppress(OSError):
            partial.unlink()
