"""What the commands share: one line for an error, one style of progress bar.

The commands use typer because a command is then a typed function whose signature and docstring are its help page;
rich, which typer brings along, draws the progress bars and tables.
"""

import errno
import io
import re
import signal
import sys
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dgex.atomic import check_path
from dgex.errors import DgexError

Function = TypeVar("Function", bound=Callable[..., Any])

stderr = Console(stderr=True)


class CommandLine(typer.Typer):
    """A typer application whose commands are given no path that is no use, and so find that out before their work."""

    def command(self, *args: Any, **kwargs: Any) -> Callable[[Function], Function]:
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
    """An application without commands yet; it leaves errors to ``run``."""
    return CommandLine(help=help, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


def run(app: Callable[[], object]) -> None:
    """Runs a typer application; what its user can mend becomes one line on stderr and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Greek letters is no reason to fail
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):  # of batch systems: what is half written goes, as after Ctrl-C
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        app()
    except OSError as error:
        if error.filename is not None:
            _fail(f"{error.filename}: cannot be used ({error.strerror}); check the name and its rights")
        if error.errno not in (errno.ENOSPC, errno.EPIPE):
            raise
        sys.stdout = None  # which would fail once more on exit
        _fail(f"standard output: cannot be written ({error.strerror})")
    except DgexError as error:
        _fail(str(error))
    except Exception as error:
        # JAX is not imported for its exception: not every command needs it.
        if not (isinstance(error, MemoryError) or re.search("RESOURCE_EXHAUSTED|Out of memory", str(error))):
            raise
        _fail(f"there is too little memory ({error}); use less data, fewer units (--hidden) or a larger machine")


def _fail(text: str) -> NoReturn:
    # Not through rich: it would wrap the line and read [brackets] as markup.
    # Names in damaged files can have line breaks.
    print(f"error: {' '.join(text.splitlines())}", file=sys.stderr)
    sys.exit(2)


def warn(text: str) -> None:
    """One line on stderr, for what the user should know and the command can live with."""
    print(f"warning: {text}", file=sys.stderr)


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
