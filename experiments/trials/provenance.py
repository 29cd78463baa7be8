"""Provenance of results: versions, devices and the commit of the source tree."""

import functools
import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from dgex.version import __version__


def provenance(devices: Sequence[jax.Device]) -> dict[str, Any]:
    """Records the software and hardware that the numbers depend on, besides data and configuration."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "h5py")
    return {
        "dgex": __version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "platform": platform.platform(),
        "device_kind": devices[0].device_kind,
        "devices": len(devices),
    }


@functools.cache
def git_commit() -> str | None:
    """Names the commit of the source tree, with "-dirty" if it was changed since; None outside a git clone."""
    source = Path(__file__).parents[2]
    # Without this check git would name the commit of any repository around the source tree.
    if not (source / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            cwd=source,
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return described.stdout.strip() or None
