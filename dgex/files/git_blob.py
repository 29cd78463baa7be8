"""Git's name of a file's content, by which files of a public repository can be recognised without the repository."""

import hashlib
from pathlib import Path


def git_blob(path: Path) -> str:
    """Computes git's name of a file's content: the SHA-1, hexadecimal, of "blob SIZE", a zero byte and the content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
