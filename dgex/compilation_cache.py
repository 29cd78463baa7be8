"""Keeps the programs that JAX compiles, in the user's cache folder, so that a command compiles each of them once.

JAX's persistent compilation cache does the work. Its key has the program, the versions of JAX and of its compiler, and
the model and features of the processor or accelerator, so a home folder may serve machines of many kinds. The key lacks
the number of processor cores, for which loops are partitioned, so each number has a folder. What JAX cannot read, write
or decompress (it has a checksum) it compiles. JAX never removes an entry without the package ``filelock``, whose locks
would delay processes that start at once; here each command removes old entries when it starts.
"""

import os
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path

from dgex.files.user_cache import user_cache

LARGEST = 2**28  # bytes of all entries; an epoch of training takes about 0.1 MB
OLDEST = 30 * 86_400  # seconds; until then a damaged entry, which JAX does not replace, costs its compilation each time


def keep_compiled_programs() -> None:
    """Sets up the cache for this process, whether or not JAX is imported yet, and never fails.

    The cache is ``$XDG_CACHE_HOME/dgex/compiled``, by default in ``~/.cache``; without a usable folder nothing is kept.
    JAX's own settings win: ``JAX_COMPILATION_CACHE_DIR`` names another folder, which is JAX's alone, and
    ``JAX_ENABLE_COMPILATION_CACHE=false`` switches the cache off. Commands call this; ``import dgex`` does not, because
    the settings apply to everything that a process compiles.
    """
    settings: dict[str, str | float] = {"jax_persistent_cache_min_compile_time_secs": 0.0}  # by default only from 1 s
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = user_cache("compiled")
        if folder is None:
            return
        try:
            # Not for others to write, who could have this user run their programs.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_old_entries(folder)
        except OSError:
            return
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
        settings["jax_compilation_cache_dir"] = str(folder / f"{cores}-cores")
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
    jax = sys.modules.get("jax")
    for name, value in settings.items():
        if name.upper() not in os.environ:
            os.environ[name.upper()] = str(value)  # read by JAX when it is imported, here or in a process started here
            if jax:
                jax.config.update(name, value)


def _remove_old_entries(folder: Path) -> None:
    """Removes entries older than ``OLDEST``, and the oldest of all beyond ``LARGEST`` bytes."""
    entries = [(path.stat(), path) for path in folder.rglob("*") if path.is_file()]
    size = 0
    for entry, path in sorted(entries, key=lambda entry: entry[0].st_mtime, reverse=True):
        size += entry.st_size
        if size > LARGEST or entry.st_mtime < time.time() - OLDEST:
            with suppress(FileNotFoundError):  # another process, which started at the same time, was first
                path.unlink()
