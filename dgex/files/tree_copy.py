"""Copies of a run's folder for other processes, as bytes that travel."""

import io
import tarfile
from pathlib import Path

# What only the process that keeps the folder needs: much of it, or open files.
LEFT_OUT = ("checkpoints", "events", "lock", "lease")


def pack(path: Path) -> bytes:
    """Packs a file or folder, whose checkpoints, event files and locks are left out; if absent, nothing.

    Args:
      path: the file or folder; its name stands in the archive.
    """
    archive = io.BytesIO()

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = Path(entry.name).name
        left_out = entry.name != path.name and (name in LEFT_OUT or name.endswith(".partial"))
        return None if left_out else entry

    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:  # the folder may be a link
        if path.exists():
            tar.add(path, arcname=path.name, filter=kept)
    return archive.getvalue()


def unpack(archive: bytes, folder: Path) -> None:
    """Unpacks what ``pack`` has packed into a folder; links and whatever leads out of it are refused."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
