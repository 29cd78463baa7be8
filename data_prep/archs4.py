"""Downloads the human gene counts of ARCHS4, https://archs4.org/download, which ``prepare`` reads as they are."""

import re
from pathlib import Path

import numpy as np

from dgex.console import progress
from dgex.errors import DgexError
from dgex.files.atomic import check_writable
from dgex.files.download import Limits, download_with_bar, find_flaw
from dgex.formats.archs4 import KIND
from dgex.formats.opening import open_expression

FILES = "https://s3.dev.maayanlab.cloud/archs4/files"
RELEASE = "2.5"
# SHA-1 of the file on the server, as its maintainers confirm at https://github.com/MaayanLab/archs4/issues/43.
CHECKSUMS = {"2.5": "ae96de0519b9f008b0dc3a9f944ee9007daf2f6a"}
LARGEST = 100.0  # GiB


def archs4(output: Path, release: str = RELEASE, mirror: str = FILES, limits: Limits | None = None) -> str:
    """Downloads the human gene counts of a release to ``output``, or goes on with a download that was stopped.

    A file that is there already is checked and kept.

    Args:
      output: the HDF5 file.
      release: the version of ARCHS4, such as "2.5".
      mirror: web address of the folder with ``human_gene_v2.5.h5``.
      limits: of the download; by default files up to 100 GiB.

    Returns:
      A line that says what the file holds.

    Raises:
      DgexError: ``release`` is no version; the file cannot be downloaded (see ``download``; the room on the disk is
        looked for before), is damaged, or is not of human gene counts.
    """
    if not re.fullmatch(r"\d+(\.\d+)+", release):
        raise DgexError(f"--release: is a version such as {RELEASE}, not {release!r}")
    check_writable(output)
    checksum = CHECKSUMS.get(release)
    if output.exists():
        if flaw := find_flaw(output, checksum):
            raise DgexError(f"{output}: {flaw}; delete it to have it downloaded again")
        _check(output)
    else:
        url = f"{mirror.rstrip('/')}/human_gene_v{release}.h5"
        with progress() as bars:
            download_with_bar(bars, url, output, checksum, limits or Limits(size=LARGEST), _check)
    return f"{output}: human gene counts of ARCHS4 {release}, whole"


def _check(path: Path) -> None:
    """Refuses a file that is not whole, or not of ARCHS4's human gene counts."""
    with open_expression(path, choose=lambda fields: np.arange(1)) as table:
        if table.kind != KIND:
            raise DgexError(f"{path}: is {table.kind}, not {KIND}; check the mirror")
