"""The common part of the commands: exit status, one line for an error, and progress bars.

The commands use typer because a command is then a typed function whose signature and docstring are its help page;
rich, which typer brings along, draws the progress bars and tables.
"""

import errno
import io
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dgex import processes
from dgex.compilation_cache import keep_compiled_programs
from dgex.errors import DgexError, visible
from dgex.files.atomic import check_path
from dgex.signals import stoppable

Function = TypeVar("Function", bound=Callable[..., Any])

stderr = Console(stderr=True)

# click's UsageError; later versions of typer contain click, earlier ones have it as a package of its own.
UsageError: Any = typer.BadParameter.__base__
LINE_SECONDS = 25.0  # between two lines of progress
_last_line = time.monotonic()  # when the last line of progress was written, or the command began


class CommandLine(typer.Typer):
    """Is a typer application that leaves all errors, and the end of the process, to its caller.

    Every path among a command's arguments is checked before the command starts to work.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the command that the process's arguments name, and raises its errors."""
        return super().__call__(*args, **{"standalone_mode": False, **kwargs})

    def command(self, *args: Any, **kwargs: Any) -> Callable[[Function], Function]:
        """Registers a function as a command whose paths are checked before it is called."""
        register = super().command(*args, **kwargs)

        def decorate(function: Function) -> Function:
            @wraps(function)
            def checked(**arguments: Any) -> Any:
                for value in arguments.values():
                    for path in value if isinstance(value, list) else [value]:
                        if isinstance(path, Path):
                            check_path(path)
                return function(**arguments)

            register(checked)
            return function

        return decorate


def command_line(help: str) -> CommandLine:
    """Makes an application without commands, for ``main`` or ``run``."""
    return CommandLine(help=help, add_completion=False, pretty_exceptions_enable=False)


def main(app: Callable[[], object]) -> None:
    """Runs an application as the work of the process: signals end it in order, and what it compiles is kept."""
    keep_compiled_programs()
    stoppable(lambda: run(app))


def run(app: Callable[[], object]) -> NoReturn:
    """Runs a typer application; an error that the user can correct becomes one line on stderr and exit status 2."""
    global _last_line
    _last_line = time.monotonic()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # so that a terminal without Greek letters is no error
    try:
        status = app()
        processes.leave()
    except OSError as error:
        if error.filename is not None:
            _fail(f"{error.filename}: cannot be used ({error.strerror}); check the name and its rights")
        if error.errno not in (errno.ENOSPC, errno.EPIPE):
            _stop_with_others()
            raise
        sys.stdout = None  # or flushing it at exit would fail again
        _fail(f"standard output: cannot be written ({error.strerror})")
    except DgexError as error:
        _fail(str(error))
    except UsageError as error:
        command = f"{error.ctx.command_path} " if error.ctx else ""
        _fail(f"{error.format_message().rstrip('.')} (see `{command}--help`)")
    except Exception as error:
        # The type of JAX's exception is not tested, because not every command imports JAX.
        if not (isinstance(error, MemoryError) or re.search("RESOURCE_EXHAUSTED|Out of memory", str(error))):
            _stop_with_others()
            raise
        _fail(f"there is too little memory ({error}); use less data, fewer units (--hidden) or a larger machine")
    sys.exit(status if isinstance(status, int) else 0)


def _stop_with_others() -> None:
    """Ends a process that trains with others for an error that is no user's, or lets the one that stopped say why."""
    if not processes.is_alone():
        processes.await_verdict()
        traceback.print_exc()
        processes.stop(1)


def _fail(text: str) -> NoReturn:
    """Prints the one line of an error, and ends the process with exit status 2."""
    # Not through rich: it would wrap the line and read [brackets] as markup.
    print(f"error: {visible(' '.join(text.splitlines()))}", file=sys.stderr)
    if processes.is_alone():
        sys.exit(2)
    processes.stop(2)


def say(text: object) -> None:
    """Prints lines on stdout at once, each made ``visible``, as reports contain text from files."""
    print(*map(visible, str(text).split("\n")), sep="\n", flush=True)


def warn(text: str) -> None:
    """Prints a warning, one line on stderr; of several processes the first one does."""
    if processes.is_first():
        print(f"warning: {visible(text)}", file=sys.stderr)


@contextmanager
def progress(*fields: str) -> Iterator[Progress]:
    """Shows a progress bar on stderr while the ``with`` block lasts.

    Where stderr is not a terminal, a line is printed every ``LINE_SECONDS`` instead, and none for work done sooner. Of
    several processes only the first one shows anything.

    Args:
      *fields: what to show after the count, such as ``"{task.fields[loss]}"``.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        *(TextColumn(field) for field in fields),
        TimeRemainingColumn(),
        console=stderr,
        disable=not (stderr.is_terminal and processes.is_first()),
    )
    with bar:
        if stderr.is_terminal or not processes.is_first():
            yield bar
        else:
            with _lines(bar):
                yield bar


@contextmanager
def _lines(bar: Progress) -> Iterator[None]:
    """Prints what a bar would show as lines, also while the main thread is in one long call."""
    finished = threading.Event()

    def write() -> None:
        global _last_line  # shared by all bars, so that short steps one after another are reported too
        while not finished.wait(max(0.0, _last_line + LINE_SECONDS - time.monotonic())):
            _last_line = time.monotonic()
            for task in [task for task in bar.tasks if not task.finished] or bar.tasks[-1:]:
                cells = [str(column(task)) for column in bar.columns if not isinstance(column, (str, BarColumn))]
                print(*" ".join(cells).split(), file=sys.stderr, flush=True)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
