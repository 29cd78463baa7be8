"""Claims and locks a run directory.

A JSON file inside the directory records which run it holds, so that another run cannot continue in it by mistake. A
lock keeps a second process out while one is training there.
"""

import errno
import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dgex.errors import DgexError
from dgex.files.atomic import replacing
from dgex.files.lease import LeaseError, lease


def check_claim(path: Path, identity: Mapping[str, Any], resume: bool) -> None:
    """Checks whether ``claim`` with the same arguments would succeed; writes nothing.

    Args:
      path: as for ``claim``.
      identity: as for ``claim``.
      resume: as for ``claim``.

    Raises:
      DgexError: the run directory holds a run already (without ``resume``) or another run (with it), or its
        JSON file cannot be read.
    """
    if not path.exists():
        return
    if not resume:
        raise DgexError(f"{path.parent}: holds a run already; continue it with --resume, or choose another folder")
    try:
        recorded = dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DgexError(f"{path}: does not say what the folder holds ({error}); choose another folder") from error
    # Through JSON, so that a tuple equals the list that was read back.
    differs = [key for key, value in json.loads(json.dumps(identity)).items() if recorded.get(key) != value]
    if differs:
        raise DgexError(
            f"{path.parent}: holds another run, which differs in: {', '.join(differs)}; choose another folder, or ask "
            "for the run it holds"
        )


def claim(path: Path, identity: Mapping[str, Any], resume: bool) -> None:
    """Claims a run directory for one run: writes the run's identity into it, or checks the identity recorded there.

    Args:
      path: the JSON file inside the run directory that records the identity.
      identity: what defines the run, such as its configuration and its data; must be JSON.
      resume: whether to continue the run that the directory holds, if it holds one.

    Raises:
      DgexError: the run directory holds a run already (without ``resume``) or another run (with it), or cannot be
        written to.
    """
    check_claim(path, identity, resume)
    if not path.exists():
        with replacing(path) as partial:
            partial.write_text(json.dumps(identity, indent=1))


class InUseError(DgexError):
    """Signals that another process holds the lock of a run directory."""


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Locks a run directory for the ``with`` block, so that no second process, of this host or another, writes to it.

    The operating system releases the lock when the process ends, however it ends. As such a lock may say nothing to
    other hosts, there is a lease beside it.

    Raises:
      InUseError: another process holds the lock or the lease.
    """
    with _locked(folder, fcntl.LOCK_EX, "another process is training there; wait for it, or stop it first"):
        try:
            with lease(folder):
                yield
        except LeaseError as error:
            raise InUseError(str(error)) from error


@contextmanager
def shared_use(folder: Path, *, alone: bool) -> Iterator[None]:
    """Locks a folder in which several processes may work for the ``with`` block; ``alone`` lets none work beside it.

    Raises:
      InUseError: others are at work there and this one must be alone, or another one must be alone there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    problem = "others are at work there; processes that train together need it for themselves, so wait or stop them"
    with _locked(folder, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, problem):
        yield


@contextmanager
def _locked(folder: Path, kind: int, problem: str) -> Iterator[None]:
    """Holds a lock of the operating system on a folder, where its file system has such locks."""
    # For reading and writing: network file systems want one for a shared lock, the other for an exclusive one.
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUseError(f"{folder}: {problem}") from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
        yield
