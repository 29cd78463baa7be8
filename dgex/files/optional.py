"""Packages that only some of the work needs, the extras of ``pip install``."""

import importlib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from dgex.errors import DgexError


def need(*packages: str, extra: str, what: str) -> None:
    """Finds out before the work that it lacks a package; imports none of them.

    Args:
      packages: the names by which they are imported.
      extra: the extra of pyproject.toml that has them.
      what: what needs them, the message's first words.

    Raises:
      DgexError: one of them is not installed.
    """
    for package in packages:
        if find_spec(package) is None:
            raise DgexError(f'{what}: needs {package}; install it: pip install "dgex[{extra}]"')


def load_extra(path: Path | str, module: str, extra: str) -> ModuleType:
    """A module that comes with ``dgex[extra]``, for the file ``path``; errors as ``need``."""
    need(module.partition(".")[0], extra=extra, what=str(path))
    return importlib.import_module(module)
