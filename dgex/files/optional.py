"""Optional dependencies: packages that only some commands need, installed as extras (``pip install "dgex[EXTRA]"``)."""

import importlib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from dgex.errors import DgexError


def need(*packages: str, extra: str, what: str) -> None:
    """Checks before the work that optional packages are installed; imports none of them.

    Args:
      *packages: the names by which the packages are imported.
      extra: the extra of pyproject.toml that installs them.
      what: the file or feature that needs them, with which the error message begins.

    Raises:
      DgexError: one of the packages is not installed.
    """
    for package in packages:
        if find_spec(package) is None:
            raise DgexError(f'{what}: needs {package}; install it: pip install "dgex[{extra}]"')


def load_extra(path: Path | str, module: str, extra: str) -> ModuleType:
    """Imports a module of an optional dependency.

    Args:
      path: the file that needs the module, for the error message.
      module: the full name of the module, such as "pyarrow.parquet".
      extra: the extra of pyproject.toml that installs its package.

    Raises:
      DgexError: the package is not installed.
    """
    need(module.partition(".")[0], extra=extra, what=str(path))
    return importlib.import_module(module)
