"""The user's cache folder, for what can be had again: compiled programs and downloaded models."""

import os
from pathlib import Path


def user_cache(name: str) -> Path | None:
    """Gives the path of a folder in the user's cache, which need not exist: ``$XDG_CACHE_HOME/dgex/NAME``.

    The default of ``$XDG_CACHE_HOME`` is ``~/.cache``. None where there is no home folder, or the variable holds a
    relative path, which XDG's rules are to ignore.
    """
    home = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    folder = Path(home, "dgex", name)
    return folder if folder.is_absolute() else None
