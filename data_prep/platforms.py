"""Lists the microarray platforms that D-GEX's gene tables describe."""

from collections.abc import Iterable
from pathlib import Path

from dgex.errors import DgexError

# Affymetrix arrays with (nearly) all probe sets of HG-U133A, which are those that D-GEX's gene tables name.
PLATFORMS = {"GPL96": "HG-U133A", "GPL570": "HG-U133_Plus_2", "GPL571": "HG-U133A_2", "GPL3921": "HT_HG-U133A"}


def check_platforms(path: Path, platforms: Iterable[str]) -> None:
    """Checks the platforms of a file: raises DgexError if one of these GEO accessions is not in ``PLATFORMS``."""
    if unknown := sorted(set(platforms) - set(PLATFORMS)):
        known = ", ".join(f"{platform} ({name})" for platform, name in PLATFORMS.items())
        raise DgexError(f"{path}: is of unknown platform {unknown[0]}, known are {known}; leave it out")
