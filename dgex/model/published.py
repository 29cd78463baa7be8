"""Finds a model by the name that a user gives, and downloads one that lies on the web or on the Hugging Face Hub.

    model/                                     a directory
    hf://owner/name, hf://owner/name@revision  a model repository on the Hub
    https://host/model.tar.gz#sha256=HEX       an archive of a directory, with the SHA-256 of the archive

A model is downloaded when it is first needed; after that its name asks no server. An archive is kept unpacked in
``$XDG_CACHE_HOME/dgex/models/HEX``, a repository in the Hub's own cache (``$HF_HOME``). What loads a model checks its
SHA256SUMS, wherever it came from.
"""

import fcntl
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import resources
from pathlib import Path, PurePosixPath

from dgex.errors import DgexError
from dgex.files.atomic import check_path, need_room, replacing
from dgex.files.optional import load_extra
from dgex.files.user_cache import user_cache
from dgex.version import __version__

LARGEST = 16.0  # GiB, of an archive and of what it holds
OTHERWISE = "download it by other means, and give its folder"
HUB = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@(\S+))?")
ARCHIVE = re.compile(r"(https?://[^#\s]+)#sha256=([0-9a-f]{64})", re.IGNORECASE)


def find_model(name: str | os.PathLike[str] | None, files: Sequence[str]) -> tuple[Path, str]:
    """Finds the directory of a model, and downloads the model if it is not on this machine yet.

    Args:
      name: a directory, or a name as at the top of this file; None for the model that comes with the package.
      files: the names of a model directory's files, which alone are downloaded or unpacked; all directories have the
        first.

    Returns:
      The directory, and what the model is called in reports and provenance.

    Raises:
      DgexError: the name is not of one of the forms; the model cannot be downloaded, or is another than the digest
        says; the archive does not hold one model directory; there is no room for it.
    """
    if name is None:
        folder = Path(str(resources.files("dgex") / "pretrained"))
    elif not isinstance(name, str) or "://" not in name:
        folder = Path(name)
        check_path(folder)
    elif match := HUB.fullmatch(name):
        return _from_hub(name, match[1], match[2], files), name.removeprefix("hf://")
    elif match := ARCHIVE.fullmatch(name):
        folder = _from_archive(match[1], match[2].lower(), files)
    elif name.startswith(("http://", "https://")):
        raise DgexError(f"{name}: lacks its digest; end it with #sha256=HEX, which `sha256sum` prints for the archive")
    else:
        raise DgexError(
            f"{name}: names no model; give a folder, hf://owner/name or https://host/model.tar.gz#sha256=HEX"
        )
    return folder, folder.resolve().name


def _from_hub(name: str, repository: str, revision: str | None, files: Sequence[str]) -> Path:
    """Finds a repository of the Hub in the Hub's cache, or downloads it there."""
    hub, errors = (load_extra(name, module, "hub") for module in ("huggingface_hub", "huggingface_hub.errors"))
    snapshot = partial(
        hub.snapshot_download, repository, revision=revision, allow_patterns=list(files), library_name="dgex",
        library_version=__version__,
    )  # fmt: skip
    try:
        return Path(snapshot(local_files_only=True))
    except errors.LocalEntryNotFoundError:  # also where a download was broken off
        pass
    except ValueError as error:
        raise DgexError(f"{name}: names no model ({error}); give hf://owner/name") from error
    try:
        return Path(snapshot())
    except errors.RevisionNotFoundError as error:
        raise DgexError(f"{name}: the model has no such revision; check what stands behind the @") from error
    except errors.RepositoryNotFoundError as error:
        raise DgexError(
            f"{name}: the Hub has no such model, or it is private; check the name, or log in with `hf auth login`"
        ) from error
    except Exception as error:  # huggingface_hub's own, and those of the libraries that it transfers with
        reason = " ".join(str(error.__cause__ or error).split())
        raise DgexError(f"{name}: cannot be downloaded ({reason}); try again, or download it by other means") from error


def _from_archive(url: str, sha256: str, files: Sequence[str]) -> Path:
    """Finds the model of an archive in the user's cache, or downloads and unpacks it there."""
    cache = user_cache("models")
    if cache is None:
        raise DgexError(f"{url}: there is no folder to keep it in; set XDG_CACHE_HOME to one")
    named = re.sub(r"\.tar\.gz$|\.tgz$|[^\w.-]", "", PurePosixPath(url.partition("?")[0]).name).strip(".")[:100]
    folder = cache / sha256 / (named or "model")
    if folder.is_dir():
        return folder

    from dgex.console import progress
    from dgex.files.download import Limits, download_with_bar

    archive = folder.with_name(f"{folder.name}.tar.gz")
    limits = Limits(rate=0, size=LARGEST, remedy=OTHERWISE)
    with _alone(folder.parent):
        if not folder.is_dir():
            unpack = partial(_unpack, folder=folder, files=files)
            with progress() as bars:
                download_with_bar(bars, url, archive, sha256, limits, check=unpack)
            archive.unlink()
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Makes a folder of the user's own, and waits until no other process is at work in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise DgexError(
            f"{folder}: cannot be written ({error.strerror}); set XDG_CACHE_HOME to a folder you may write to"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unpack(archive: Path, folder: Path, files: Sequence[str]) -> None:
    """Unpacks the one model directory of an archive; paths in the archive decide about no path on this machine."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            found = {PurePosixPath(member.name): member for member in tar if member.isfile()}
            parents = [path.parent for path in found if path.name == files[0]]
            if len(parents) != 1:
                raise DgexError(f"{archive}: holds {len(parents)} model directories, not one; make it with `tar czf`")
            members = {name: found[parents[0] / name] for name in files if parents[0] / name in found}
            nbytes = sum(member.size for member in members.values())
            if nbytes > LARGEST * 2**30:
                raise DgexError(f"{archive}: holds more than {LARGEST:g} GiB; {OTHERWISE}")
            with replacing(folder) as unfinished:
                unfinished.mkdir()
                need_room(unfinished, nbytes)
                for name, member in members.items():
                    content = tar.extractfile(member)
                    assert content is not None  # it is a file
                    with content, (unfinished / name).open("wb") as file:
                        shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError) as error:
        raise DgexError(f"{archive}: is no tar archive ({error}); make it with `tar czf`") from error
