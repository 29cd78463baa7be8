"""Downloads the files of a list: says the room that they need first, resumes, and checks what arrived.

A list is TOML, such as ``dgex.toml`` and ``authors_example.toml`` beside this module:

    later_gb = 17.0                 # room for what is made of the files; optional

    [[file]]
    name = "map_lm.txt"             # of the file here
    from = ["https://host/a.txt"]   # addresses, tried in this order
    gb = 0.1                        # size, about
    sha256 = "..."                  # or git_blob = "...", git's name of the content; optional
    samples = 129158                # of an expression table, with rows = ...; optional
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress

from dgex.console import progress, say
from dgex.errors import DgexError
from dgex.files.atomic import check_writable, need_room, replacing
from dgex.files.download import Limits, NotThere, download_with_bar, find_flaw
from dgex.files.git_blob import git_blob
from dgex.formats.content import read_small
from dgex.formats.opening import open_expression

LARGEST = 100.0  # GiB


@dataclass(frozen=True)
class Listed:
    """Holds an entry of a list: a file, where it is, and what is known of it."""

    name: str
    addresses: tuple[str, ...]
    gb: float
    sha256: str | None = None
    git_blob: str | None = None
    shape: tuple[int, int] | None = None  # samples and rows


def read_list(path: Path) -> tuple[list[Listed], float]:
    """Reads a list; gives its files, and the room in GB for what is made of them.

    Raises:
      DgexError: the list is missing, no TOML, or lacks what an entry needs.
    """
    try:
        content = tomllib.loads(read_small(path).decode())
        return [_listed(fields) for fields in content["file"]], float(content.get("later_gb", 0))
    except OSError as error:
        raise DgexError(f"{path}: cannot be read as a list of files ({error.strerror})") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DgexError(f"{path}: is no TOML ({error}); see data_prep/dgex.toml") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DgexError(f"{path}: is no list of files ({error!r}); see data_prep/dgex.toml") from error


def _listed(fields: dict[str, Any]) -> Listed:
    """Makes an entry of its fields; raises KeyError, TypeError or ValueError if they are wrong."""
    name = fields["name"]
    if Path(name).name != name:
        raise ValueError(f"{name!r} is no name of a file")
    if not all(len(fields.get(key, "0" * size)) == size for key, size in {"sha256": 64, "git_blob": 40}.items()):
        raise ValueError(f"{name}: the checksum has another length")
    if not isinstance(fields["from"], list) or not fields["from"]:
        raise ValueError(f"{name}: from is a list of addresses")
    shape = (int(fields["samples"]), int(fields["rows"])) if "samples" in fields else None
    checksums = {key: fields.get(key) for key in ("sha256", "git_blob")}
    return Listed(name, tuple(map(str, fields["from"])), float(fields["gb"]), shape=shape, **checksums)


def write_list(path: Path, files: Sequence[Listed]) -> None:
    """Writes a list of expression tables and other files, of which no checksums are known."""
    entries = []
    for each in files:
        shape = "samples = {}\nrows = {}\n".format(*each.shape) if each.shape else ""
        addresses = ", ".join(f'"{address}"' for address in each.addresses)
        entries.append(f'[[file]]\nname = "{each.name}"\nfrom = [{addresses}]\ngb = {each.gb:.6f}\n{shape}')
    with replacing(path) as partial:
        partial.write_text("\n".join(entries), encoding="utf-8")


def fetch(files: Path, folder: Path, mirror: str | None = None, limits: Limits | None = None) -> str:
    """Downloads the files of a list that are not in ``folder`` yet; those that are there are checked and kept.

    Args:
      files: the list.
      folder: where the files go.
      mirror: web address of a folder that has them all, to use instead of the listed ones.
      limits: of each download; by default up to 100 GiB.

    Returns:
      A line that says what the folder holds.

    Raises:
      DgexError: the list is unusable; the disk has too little room, which is noticed before any download; a file cannot
        be downloaded (see ``download``), or is not the one listed. What was downloaded before stays.
    """
    listed, later = read_list(files)
    missing = []
    for each in listed:
        path = folder / each.name
        parent = check_writable(path, files)
        if not path.exists():
            missing.append(each)
        elif flaw := find_flaw(path, each.sha256):
            raise DgexError(f"{path}: {flaw}; delete it to have it downloaded again")
        else:
            _check(each, path)
    if missing:
        parts = [folder / f".{each.name}.part" for each in missing]
        here = sum(part.stat().st_size for part in parts if part.exists())
        left = max(0, round(1e9 * sum(each.gb for each in missing)) - here)
        say(
            f"{folder}: {len(missing)} of {len(listed)} files to download, about {left / 1e9:.2f} GB"
            + (f"; what is made of them needs {later:g} GB" if later else "")
        )
        need_room(parent, left + round(1e9 * later))
        with progress() as bars:
            for each in missing:
                _download(bars, each, folder / each.name, mirror, limits or Limits(size=LARGEST))
    return f"{folder}: {', '.join(each.name for each in listed)}"


def _download(bars: Progress, listed: Listed, path: Path, mirror: str | None, limits: Limits) -> None:
    """Downloads a file from the first of its addresses that has it."""
    addresses = listed.addresses
    if mirror:
        addresses = tuple(f"{mirror.rstrip('/')}/{address.rsplit('/', 1)[-1]}" for address in addresses)
    for address in addresses:
        try:
            return download_with_bar(bars, address, path, listed.sha256, limits, partial(_check, listed))
        except NotThere as error:
            absent = error
    raise absent


def _check(listed: Listed, path: Path) -> None:
    """Refuses a file that is not the one listed, by git's name of its content or the shape of its table."""
    if listed.git_blob is not None and (found := git_blob(path)) != listed.git_blob:
        raise DgexError(f"{path}: is another file than the listed one (git calls it {found}); take another mirror")
    if listed.shape is not None:
        with open_expression(path) as table:
            shape = table.shape
        if shape != listed.shape:
            found, wanted = ("{:,} samples of {:,} rows".format(*each) for each in (shape, listed.shape))
            raise DgexError(f"{path}: has {found}, the listed file has {wanted}; take another mirror")
