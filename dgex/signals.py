"""Signals that stop a command: unfinished files are removed, and the exit status is 128 + the signal's number.

The process ends where it is, without an exception that unwinds it. Python could raise a handler's exception between any
two bytecodes. Within a callback of C or C++ (JAX has them for garbage collection, caches and compilation) it would be
dropped, so that the command goes on, or would crash the process (SIGSEGV). Threads of JAX and Orbax that still work
while the interpreter is finalized crash it too. Nothing needs unwinding: ``dgex.files.atomic`` has a list of unfinished
files, scratch files have no name, the system releases locks, and a run resumes from its last checkpoint.

While the main thread is in one long call, such as a compilation or an epoch, Python runs no handler. In that case a
thread, which the C part of Python's handler wakes at once through a pipe, ends the process.
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
GRACE = 0.5  # seconds that the main thread has to reach the handler, which also flushes the streams


def stoppable(work: Callable[[], object]) -> None:
    """Runs the work of a process in its main thread, so that SIGINT, SIGTERM and SIGHUP end the process in order.

    A signal that the process was started to ignore (``nohup``, a shell's background jobs) stays ignored. The handlers
    remain after the work, for the interpreter's finalization.
    """
    handled = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        while (number := os.read(reader, 1)[0]) not in handled:
            pass
        time.sleep(GRACE)
        end(128 + number)

    def handle(number: int, frame: object) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # closed, full, or in the middle of a flush
                stream.flush()
        end(128 + number)

    threading.Thread(target=watch, daemon=True).start()
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in handled:
        signal.signal(number, handle)
    work()


def end_imports_on_interrupt() -> None:
    """Lets SIGINT end a program that still imports its modules, as SIGTERM does; for ``__init__`` of a package.

    Python would raise KeyboardInterrupt, which is lost in JAX's callback for garbage collection, so that the program
    goes on. Nothing changes where the package is imported by another program: only while Python looks for the module of
    ``python -m`` is ``sys.argv[0]`` "-m".
    """
    if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def end(status: int) -> NoReturn:
    """Removes unfinished files, and ends the process where it is, from any thread."""
    remove_partials()
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")  # the cursor, which progress bars hide
    os._exit(status)
