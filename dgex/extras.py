"""Packages that only some of the work needs, the extras of ``pip install``."""

from importlib.util import find_spec

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
