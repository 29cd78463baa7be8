"""A lease on a folder: a file that names its holder, kept fresh by it, and seen by every host that shares the folder.

Locks of the operating system end with their process, however it ends, but network file systems may have none, or keep
each host's to itself. A lease needs no more than that a file is created by one process alone, and times of one clock:
ages are taken from the file system's own time stamps, so the hosts' clocks need not agree.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dgex.errors import DgexError, visible
from dgex.files.atomic import is_alive, removed_at_end
from dgex.signals import end

NAME = "lease"
SECONDS = 120.0  # without a sign from its holder, after which another host may take a lease over
BEAT = 30.0  # seconds between two signs


class LeaseError(DgexError):
    """Says that another process holds the lease."""


@contextmanager
def lease(folder: Path, on_loss: Callable[[str], object] | None = None) -> Iterator[None]:
    """Holds a folder's lease for the ``with`` block.

    What a process of this host left behind when it was killed is taken over at once.

    Args:
      folder: the folder.
      on_loss: called with what has happened if another host takes the lease over; the default ends the process.

    Raises:
      LeaseError: another process holds it, or one of another host did until ``SECONDS`` ago.
    """
    path, mine = folder / NAME, f"{socket.gethostname()} {os.getpid()}"
    on_loss = on_loss or _stop
    _take(path, mine)
    ended = threading.Event()

    def keep_fresh(forget: Callable[[], None]) -> None:
        while not ended.wait(BEAT):
            with suppress(OSError):
                if path.read_text() != mine:
                    forget()  # it is another host's now, and stays
                    on_loss(f"{folder}: another host has taken over, as this process gave no sign for {SECONDS:.0f} s")
                    return
                os.utime(path)

    with removed_at_end(path) as forget:
        thread = threading.Thread(target=keep_fresh, args=(forget,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            with suppress(OSError):
                if path.read_text() == mine:
                    path.unlink()


def _stop(problem: str) -> None:
    """Ends the process, which would write beside another one."""
    print(f"error: {visible(problem)}", file=sys.stderr, flush=True)
    end(2)


def _take(path: Path, mine: str) -> None:
    """Creates the lease, in place of one whose holder has gone."""
    while True:
        try:
            with path.open("x") as file:
                file.write(mine)
            return
        except FileExistsError:
            pass
        try:
            holder = path.read_text()
            age = _now(path) - path.stat().st_mtime
        except FileNotFoundError:
            continue  # given back in this moment
        host, _, process = holder.partition(" ")
        here = host == socket.gethostname()
        if age < SECONDS and not (here and (holder == mine or not is_alive(int(process)))):
            raise LeaseError(
                f"{path.parent}: a process on {host or 'another host'} is training there, and was {age:.0f} s ago; "
                f"wait for it, or if it has ended for {SECONDS - age:.0f} s more"
            )
        # By its name nobody else can take over the same one: of two who try, the other finds nothing to rename.
        old = path.with_name(f".{NAME}.{mine.replace(' ', '.')}.partial")
        with suppress(FileNotFoundError):
            path.rename(old)
            if old.read_text() != holder:  # somebody was faster, and this is theirs
                with suppress(FileExistsError), path.open("x") as file:
                    file.write(old.read_text())
            old.unlink()


def _now(path: Path) -> float:
    """Returns the file system's time, from the time stamp of a new file beside ``path``."""
    probe = path.with_name(f".{NAME}.{socket.gethostname()}.{os.getpid()}.probe")
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()
