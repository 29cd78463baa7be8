"""Signals that stop a command: what is half written goes, and the exit status is 128 + the signal's number.

The process ends where it is, without an exception that unwinds it. Python would raise one from a signal's handler
between any two bytecodes, and within a callback of C or C++ (JAX has them for garbage collection, caches and
compilation) it is dropped, so that the command goes on, or is a crash there (SIGSEGV); so are threads of JAX and Orbax
that are still at work in the interpreter's finalization. Nothing needs unwinding: unfinished files are known to
``dgex.files.atomic``, scratch files have no name, the system lets go of locks, and a run resumes from its last
checkpoint.

While the main thread is in one long call, such as a compilation or an epoch, Python runs no handler. So a thread, which
the C part of Python's handler wakes at once through a pipe, ends the process then.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from dgex.files.atomic import remove_partials

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 0.5  # seconds for the main thread to come to the handler, which can also flush the streams


def stoppable(work: Callable[[], object]) -> None:
    """Does a process's work in its main thread, so that SIGINT, SIGTERM and SIGHUP end both in order.

    A signal that the process was started to ignore (``nohup``, a shell's background jobs) stays ignored. The handlers
    stay after the work, for the interpreter's finalization.
    """
    taken = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        while (number := os.read(reader, 1)[0]) not in taken:
            pass
        time.sleep(GRACE)
        _end(number)

    def handle(number: int, frame: object) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # closed, full, or in the middle of a flush
                stream.flush()
        _end(number)

    threading.Thread(target=watch, daemon=True).start()
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in taken:
        signal.signal(number, handle)
    work()


def _end(number: int) -> NoReturn:
    remove_partials()
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")  # the cursor, which progress bars hide
    os._exit(128 + number)
