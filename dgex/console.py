"""What the commands share: one line for an error, one style of progress bar.

The commands use typer because a command is then a typed function whose signature and docstring are its help page;
rich, which typer brings along, draws the progress bars and tables.
"""

import errno
import io
import signal
import sys
import threading
from collections.abc import Callable

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dgex.errors import DgexError, visible

stderr = Console(stderr=True)


def command_line(help: str) -> typer.Typer:
    """A typer application that leaves errors to ``run``."""
    return typer.Typer(help=help, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


def run(app: Callable[[], object]) -> None:
    """Runs a typer application; a ``DgexError`` becomes one line on stderr and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Greek letters is no reason to fail
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):  # of batch systems: what is half written goes, as after Ctrl-C
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        app()
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EPIPE):
            raise
        sys.stdout = None  # which would fail once more on exit
        print(f"error: standard output: cannot be written ({error.strerror})", file=sys.stderr)
        sys.exit(2)
    except DgexError as error:
        # Not through rich: it would wrap the line and read [brackets] as markup.
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def say(text: object) -> None:
    """Prints lines on stdout at once, each ``visible``: reports have ids, fields and titles of files in them."""
    print(*map(visible, str(text).split("\n")), sep="\n", flush=True)


def warn(text: str) -> None:
    """One line on stderr, for what the user should know and the command can live with."""
    print(f"warning: {visible(text)}", file=sys.stderr)


def progress(*fields: str) -> Progress:
    """A progress bar on stderr; ``fields`` such as ``"{task.fields[loss]}"`` are shown after the count.

    Where stderr is no terminal nothing is shown: a log has no use for it, and an error is to be one line there.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        *(TextColumn(field) for field in fields),
        TimeRemainingColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
    )
