"""Signals that stop a command: what is half written goes, and the exit status is 128 + the signal's number.

Python runs a signal's handler in the main thread between two bytecodes, and an exception is the way from there through
all cleanup. That alone is not enough. Inside a callback of C or C++ (JAX has them in garbage collection, others in
destructors) the exception is dropped and the command goes on; and while the main thread is in one long call, such as a
compilation or an epoch, no handler runs at all. So a thread, which the C part of Python's handler wakes at once through
a pipe, sends the signal again until the exception is on its way, and ends the process itself if that takes too long.

The process then ends by ``os._exit``: in the interpreter's finalization, threads of JAX and Orbax that are still at
work crash, and the status would be that of SIGSEGV.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from dgex.atomic import remove_partials

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN = 0.1  # seconds from sending a signal to sending it again
GRACE = 5.0  # seconds for cleanup; batch systems kill after ten or more


class Stopped(SystemExit):
    """Unwinds the main thread after a signal."""


def stoppable(work: Callable[[], object]) -> None:
    """Does a process's work in its main thread, so that SIGINT, SIGTERM and SIGHUP end both in order.

    A signal that the process was started to ignore (``nohup``, a shell's background jobs) stays ignored. After the work
    the handlers stay, and end the process at once: Python's finalization would drop their exception.
    """
    taken = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
    received: list[int] = []
    ending = False

    def handle(number: int, frame: object) -> None:
        received.append(number)
        if not ending and not _is_on_its_way(sys.exc_info()[1]):
            raise Stopped(128 + number)

    def watch() -> None:
        while (number := os.read(reader, 1)[0]) not in taken:
            pass
        for _ in range(round(GRACE / AGAIN)):
            time.sleep(AGAIN)
            signal.pthread_kill(main_thread, number)
        _end(number, flush=False)  # the main thread may hold the streams' locks

    main_thread = threading.get_ident()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
    show = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None if received else show(unraisable)
    for number in taken:
        signal.signal(number, handle)
    try:
        work()
    finally:
        ending = True
        for number in taken:
            signal.signal(number, lambda number, frame: _end(number))
        if received:  # whatever has become of the exception meanwhile
            _end(received[0])


def _is_on_its_way(handled: BaseException | None) -> bool:
    """Whether the main thread is at the cleanup that ``Stopped`` has set off."""
    while handled is not None and not isinstance(handled, Stopped):
        handled = handled.__context__
    return handled is not None


def _end(number: int, flush: bool = True) -> NoReturn:
    remove_partials()
    for stream in (sys.stdout, sys.stderr) if flush else ():
        with suppress(Exception):  # closed, full, or in the middle of a flush
            stream.flush()
    os._exit(128 + number)
