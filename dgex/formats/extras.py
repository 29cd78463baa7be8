"""Packages that only some formats need."""

import importlib
from pathlib import Path
from types import ModuleType

from dgex.errors import DgexError


def load_extra(path: Path | str, package: str, extra: str) -> ModuleType:
    """A package that comes with ``dgex[extra]``; a DgexError that says how to install it where it is absent."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise DgexError(
            f'{path}: needs {package.partition(".")[0]}; install it: pip install "dgex[{extra}]"'
        ) from error
