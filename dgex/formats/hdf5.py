"""Opens and creates HDF5 files safely; every failure becomes an error message of one line."""

import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from dgex.errors import DgexError
from dgex.files.atomic import SLACK, need_room, replacing, reserve
from dgex.formats.content import check_unpacked, first_bytes, is_gzip, open_content, reading
from dgex.formats.expression import MOST_VALUES, Block, check_length, finite, pieces, text_column

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_LINKS, MOST_LEVELS = 2**16, 100  # members of a file, and their depth; a large AnnData has some hundreds of members
COPY_WHOLE = "make a file that holds all of its values"
LARGEST_CHUNK = 2**28  # bytes; HDF5 decompresses whole chunks, even when only a part is read


@contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Opens an HDF5 file for a ``with`` block that does nothing but read it.

    Raises:
      DgexError: there is no such file, it is not HDF5 (GCT text is recognised), or it is truncated or damaged, be it
        noticed on opening or on a read inside the ``with`` block; any of its data lie in another file, are compressed
        with a filter that this HDF5 lacks, or are announced but not stored.
    """
    with reading(Path(path)), stream_hdf5(Path(path)) as file:
        yield file


@contextmanager
def stream_hdf5(path: Path) -> Iterator[h5py.File]:
    """Opens an HDF5 file for a ``with`` block that also does other work, and guards each read with ``reading``.

    Raises:
      DgexError: as ``open_hdf5``, except for failures of reads in the ``with`` block.
    """
    start = first_bytes(path)
    if start[:4] in (b"#1.2", b"#1.3"):
        raise DgexError(f"{path}: is GCT text, whatever its name says; convert it to GCTX")
    if not start.startswith(SIGNATURE):
        raise DgexError(f"{path}: is not an HDF5 file; check that it is the right file and complete")
    with ExitStack() as stack:
        with reading(path):
            if is_gzip(path):
                content = stack.enter_context(_unpacked(path))
                # The path is given as well, so that h5py's error messages name the file.
                file = h5py.File(path, "r", driver="fileobj", fileobj=content)
            else:
                # Without a lock: a downloaded file is checked while the download still holds one.
                file = h5py.File(path, "r", locking=False)
            stack.enter_context(file)
            _check_members(path, file)
        yield file


def _check_members(path: Path, file: h5py.File) -> None:
    """Checks all members of a file, before any of them is read, and refuses those that cannot or must not be read.

    HDF5 silently follows links into other files and reads values from them. So the author of a malicious file could
    make dgex copy data from the user's private files into an output.
    """
    count, seen = 0, set()
    groups = [("", file.id)]
    while groups:
        where, group = groups.pop()
        for name, kind in _links(group):
            count += 1
            inner = f"{where}/{name.decode('utf-8', 'replace')}"
            if kind == h5py.h5l.TYPE_SOFT:
                continue  # leads to a member of this file, which is checked by its own name
            if kind != h5py.h5l.TYPE_HARD:
                raise DgexError(f"{path}: {inner} is a link into another file; {COPY_WHOLE}")
            member = h5py.h5o.open(group, name)
            if isinstance(member, h5py.h5d.DatasetID):
                _check_dataset(f"{path}: {inner}", member)
            elif isinstance(member, h5py.h5g.GroupID) and (address := h5py.h5o.get_info(member).addr) not in seen:
                seen.add(address)  # links can form a cycle
                groups.append((inner, member))
            if count > MOST_LINKS or inner.count("/") > MOST_LEVELS:
                raise DgexError(f"{path}: has too many members to be an expression table; check how it was made")


def _links(group: h5py.h5g.GroupID) -> list[tuple[bytes, int]]:
    """Lists the names in a group with the type of each link; stops soon after ``MOST_LINKS`` of them."""
    links: list[tuple[bytes, int]] = []

    def collect(name: bytes, link: h5py.h5l.LinkInfo) -> bool | None:
        """Collects one link; a result other than None ends the iteration, whereas an exception would be lost."""
        links.append((name, link.type))
        return len(links) > MOST_LINKS or None

    # ``visit`` recurses in C, which overflows the stack where groups are deeply nested.
    group.links.iterate(collect, info=True)
    return links


def _check_dataset(what: str, member: h5py.h5d.DatasetID) -> None:
    """Refuses a data set that lies in another file, lacks a filter, or announces far more values than it stores."""
    properties = member.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
        raise DgexError(f"{what} takes its values from another file; {COPY_WHOLE}")
    for code, _, _, filter_name in map(properties.get_filter, range(properties.get_nfilters())):
        if not h5py.h5z.filter_avail(code):
            name = re.split("[;:]", filter_name.decode("utf-8", "replace"))[0]
            raise DgexError(
                f"{what} is compressed with a filter that this HDF5 lacks ({name or 'number'} {code}); write the file "
                "with gzip, as `h5repack -f GZIP=4` does where the filter is installed"
            )
    values = math.prod(member.shape or (0,))
    if values > MOST_VALUES:
        raise DgexError(f"{what} announces {values:.2g} values, more than any table has; check how it was made")
    check_unpacked(what, values * member.get_type().get_size(), member.get_storage_size())


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Decompresses a gzip file into a temporary file: HDF5 needs random access, which gzip does not offer."""
    with ExitStack() as stack:
        try:
            # Unbuffered, so that a full disk is noticed here and not when the file is closed.
            target = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            for piece in _pieces(path):
                while piece:  # on a disk that runs full, a part is written before the write fails
                    piece = piece[target.write(piece) :]
        except OSError as error:
            raise DgexError(
                f"{path}: cannot be unpacked into {tempfile.tempdir or 'a temporary folder'} ({error.strerror}); "
                "make room there or set TMPDIR to another folder"
            ) from error
        yield target


def _pieces(path: Path) -> Iterator[bytes]:
    """Reads the decompressed content of a file, 1 MiB at a time."""
    with reading(path), open_content(path) as content:
        while piece := content.read(2**20):
            yield piece


@contextmanager
def create_hdf5(path: str | os.PathLike[str], nbytes: int) -> Iterator[h5py.File]:
    """Creates an HDF5 file atomically: it becomes ``path`` if the ``with`` block succeeds and is removed otherwise.

    Args:
      path: the output file.
      nbytes: the size of the arrays to be written. Their disk space is allocated beforehand, since HDF5 ends the
        process when the disk runs full.

    Raises:
      DgexError: the disk has too little free space, or the folder cannot be created or written to.
    """
    with replacing(path) as partial:
        need_room(partial.parent, nbytes)
        try:
            with h5py.File(partial, "w") as file:
                with partial.open("r+b") as same:
                    reserve(same.fileno(), nbytes + SLACK)
                yield file
                file.flush()
                used = file.id.get_filesize()
        except RuntimeError as error:
            raise DgexError(f"{path}: cannot be written ({str(error).splitlines()[0]}); make room") from error
        os.truncate(partial, used)


def dataset_at(group: h5py.Group, name: str, ndim: int | None = None) -> h5py.Dataset:
    """Returns an HDF5 data set of an open file or group.

    Args:
      group: the file or group.
      name: the name of the data set, relative to it.
      ndim: the number of axes it must have; any number by default.

    Raises:
      DgexError: there is no data set of this name, or it has another number of axes.
    """
    member = group.get(name)
    if not isinstance(member, h5py.Dataset):
        where = f"{group.name.rstrip('/')}/{name}"
        raise DgexError(f"{group.file.filename}: has no {where}; it is incomplete or of another kind than expected")
    if ndim not in (None, member.ndim):
        raise DgexError(f"{group.file.filename}: {member.name} has {member.ndim} axes, not {ndim}; make the file again")
    return member


def read_column(group: h5py.Group, name: str) -> np.ndarray:
    """Reads a data set of numbers or strings with one axis.

    Args:
      group: the open file or group.
      name: the name of the data set, relative to it.

    Raises:
      DgexError: there is no data set of this name, or it has several axes, too many entries or another type.
    """
    member = dataset_at(group, name, 1)
    check_length(group.file.filename, f"entries in {member.name}", len(member))
    if h5py.check_string_dtype(member.dtype):
        # Public files mix encodings; a title with an invalid character must not make the values unreadable.
        return text_column(member.asstr("utf-8", "replace"))
    if member.dtype.kind not in "fiub":
        raise DgexError(f"{group.file.filename}: {member.name} holds {member.dtype}; store numbers or strings")
    return member[:]


def write_texts(group: h5py.Group, name: str, texts: Sequence[str] | np.ndarray, missing: str = "") -> h5py.Dataset:
    """Writes a data set of texts, without NUL and with a placeholder for missing ones.

    Args:
      group: the open file or group.
      name: the name of the new data set, relative to it.
      texts: the texts.
      missing: what to write in place of an empty text.

    Returns:
      The new data set.
    """
    member = group.create_dataset(name, len(texts), h5py.string_dtype())
    for where in pieces(len(texts)):
        member[where] = np.array([text.replace("\0", "") or missing for text in texts[where]], object)
    return member


def matrix_blocks(path: Path, matrix: h5py.Dataset) -> Callable[[int], Iterator[Block]]:
    """Makes the ``blocks`` of an ``Expression`` from an HDF5 data set of numbers [samples, rows] that is not empty.

    A block consists of whole HDF5 chunks, so that each is read once, and of whole profiles if they fit into the size
    asked for. Chunks are cut only if they are larger than that and not compressed.

    Args:
      path: the file, for error messages.
      matrix: the data set.

    Raises:
      DgexError: the data set is in compressed chunks above 256 MiB; from ``blocks``: it is damaged or holds infinity.
    """
    with reading(path):
        deep, wide = matrix.chunks or (1, matrix.shape[1])
    filtered = is_filtered(path, matrix)

    def blocks(most: int) -> Iterator[Block]:
        # HDF5 can read a part of an uncompressed chunk without the rest, unless the chunk fits its cache of a few MiB.
        chunk = (deep, wide) if filtered or deep * wide <= most else (1, wide)
        for samples, rows in _tiles(matrix.shape, chunk, most):
            with reading(path):
                values = matrix.astype(np.float32)[samples, rows]
            yield samples, rows, finite(f"{path}: {matrix.name}", values)

    return blocks


def is_filtered(path: Path, matrix: h5py.Dataset) -> bool:
    """Tells whether a data set is compressed, so that its chunks are read whole.

    Args:
      path: the file, for error messages.
      matrix: the data set.

    Raises:
      DgexError: it is in compressed chunks above 256 MiB.
    """
    with reading(path):
        filtered = bool(matrix.id.get_create_plist().get_nfilters())
        nbytes = math.prod(matrix.chunks or ()) * matrix.dtype.itemsize
    if filtered and nbytes > LARGEST_CHUNK:
        raise DgexError(
            f"{path}: {matrix.name} is in compressed chunks of {nbytes / 2**20:.0f} MiB each, which are read whole; "
            f"make smaller ones: h5repack -l {matrix.name}:CHUNK=64x1024"
        )
    return filtered


def _tiles(shape: tuple[int, int], chunk: tuple[int, int], most: int) -> Iterator[tuple[slice, slice]]:
    """Cuts a matrix [samples, rows] along its chunks into tiles of about ``most`` values, but at least one chunk."""
    samples, rows = shape
    deep, wide = chunk
    if deep * rows <= most:
        deep, wide = deep * (most // (deep * rows)), rows
    else:
        wide *= max(1, most // (deep * wide))
    for top in range(0, samples, deep):
        for left in range(0, rows, wide):
            yield slice(top, min(top + deep, samples)), slice(left, min(left + wide, rows))
