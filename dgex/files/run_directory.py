"""Whose folder it is: one JSON file that says which run it holds, and a lock while a process works in it."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dgex.errors import DgexError
from dgex.files.atomic import replacing


def check_claim(path: Path, identity: Mapping[str, Any], resume: bool) -> None:
    """Finds out whether ``claim`` would be granted, and writes nothing; errors as there."""
    if not path.exists():
        return
    if not resume:
        raise DgexError(f"{path.parent}: holds a run already; continue it with --resume, or choose another folder")
    try:
        found = dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DgexError(f"{path}: does not say what the folder holds ({error}); choose another folder") from error
    differs = [key for key, value in json.loads(json.dumps(identity)).items() if found.get(key) != value]
    if differs:
        raise DgexError(
            f"{path.parent}: holds another run, which differs in: {', '.join(differs)}; choose another folder, or ask "
            "for the run it holds"
        )


def claim(path: Path, identity: Mapping[str, Any], resume: bool) -> None:
    """Makes a folder a run's own by writing ``identity`` to ``path`` inside it, or sees that it is that run's already.

    Raises:
      DgexError: the folder holds a run already (without ``resume``) or another run (with it), or cannot be written to.
    """
    check_claim(path, identity, resume)
    if not path.exists():
        with replacing(path) as partial:
            partial.write_text(json.dumps(identity, indent=1))


class InUseError(DgexError):
    """Another process is at work in a folder."""


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keeps a second process out of a folder while the ``with`` block lasts; the system lets go of it with the process.

    Raises:
      InUseError: another process is at work there.
    """
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUseError(f"{folder}: another process is training there; wait for it, or stop it first") from error
        yield
