"""HDF5 files: what hostile ones do not get; making them takes the room first, and a full disk is one line."""

import gzip
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest

from dgex.data.dataset import read_dataset
from dgex.data.dataset_writing import write_dataset
from dgex.formats import hdf5
from dgex.formats.expression import in_memory
from dgex.formats.hdf5 import create_hdf5
from dgex.formats.opening import open_expression
from dgex.formats.writing import write_expression


def open_table(path: Path) -> None:
    with open_expression(path):
        pass


def test_the_reserved_room_is_given_back(tmp_path):
    values = np.arange(1000, dtype="f4")
    with create_hdf5(tmp_path / "reserved.h5", 10 * values.nbytes) as file:
        file["values"] = values
        (partial,) = tmp_path.iterdir()
        if hasattr(os, "posix_fallocate"):
            assert partial.stat().st_size > 10 * values.nbytes
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["values"] = values
    assert (tmp_path / "reserved.h5").read_bytes() == (tmp_path / "plain.h5").read_bytes()


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from dgex.console import run
from dgex.formats.gctx import write_gctx
from dgex.formats.expression import in_memory
from dgex.files.scratch import Scratch
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
folder = Path(sys.argv[1])
if sys.argv[2] == "gctx":
    table = in_memory(np.ones((1000, 1000), "f4"), [str(i) for i in range(1000)], [str(i) for i in range(1000)])
    run(lambda: write_gctx(folder / "out.gctx", table))
else:
    run(lambda: Scratch(folder, (1000, 1000)).write(slice(0, 1000), slice(0, 1000), np.ones((1000, 1000), "f4")))
"""


def test_a_disk_that_fills_up_is_one_line(tmp_path):
    # A limit on the size of files stands in for the disk: it too is noticed only when a write fails.
    for what, complaint in (("gctx", "out.gctx: cannot be written ("), ("scratch", "has no scratch space (")):
        done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path, what], capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert complaint in done.stderr
        assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def valid(small_data, tmp_path_factory) -> Path:
    """A file of every kind that is HDF5."""
    folder = tmp_path_factory.mktemp("hdf5")
    table = in_memory(np.arange(6, dtype="f4").reshape(2, 3), list("abc"), list("st"))
    for name in ("a.gctx", "a.h5ad"):
        write_expression(folder / name, table)
    pandas.DataFrame(np.eye(2), list("st"), list("ab")).to_hdf(folder / "frame.h5", key="table")
    write_dataset(folder / "prepared.h5", small_data)
    return folder


KINDS = {
    "a.gctx": ("0/META/COL/id", "0/DATA/0/matrix", open_table),
    "a.h5ad": ("obs/_index", "X", open_table),
    "frame.h5": ("table/axis1", "table/block0_values", open_table),
    "prepared.h5": ("sample/id", "landmark", read_dataset),
}


def external_storage(file, name):
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "S8", external=[("/etc/passwd", 0, 8 * math.prod(shape))])


def external_link(file, name):
    del file[name]
    file[name] = h5py.ExternalLink("other.h5", "/x")


def link_to_a_link(file, name):
    del file[name]
    file["in/a/group"] = h5py.ExternalLink("other.h5", "/x")
    file[name] = h5py.SoftLink("/in/a/group")


def link_through_a_link(file, name):
    folder, _, last = name.rpartition("/")
    file["elsewhere"] = h5py.ExternalLink("other.h5", "/")
    del file[name]
    file[name] = h5py.SoftLink(f"/elsewhere/{last}")


def virtual(file, name):
    layout = h5py.VirtualLayout(file[name].shape, "S8")
    layout[:] = h5py.VirtualSource("other.h5", "x", layout.shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def beside(file, name):
    """Not even where nobody would look."""
    file["somewhere/else"] = h5py.ExternalLink("other.h5", "/x")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("trick", "said"),
    [
        (external_storage, "{} takes its values from another file; make a file that holds all of its values"),
        (external_link, "{} is a link into another file; make a file that holds"),
        (link_to_a_link, "/in/a/group is a link into another file"),
        (link_through_a_link, "/elsewhere is a link into another file"),
        (virtual, "{} takes its values from another file"),
        (beside, "/somewhere/else is a link into another file"),
    ],
)
def test_other_files_are_not_read(valid, tmp_path, refused, kind, trick, said):
    ids, values, read = KINDS[kind]
    path = tmp_path / kind
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.array([b"secret", b"secrets"])
    for name in (ids, values):
        shutil.copy(valid / kind, path)
        with h5py.File(path, "r+") as file:
            trick(file, name)
        assert f"{path}: {said.format('/' + name)}" in refused(lambda: read(path))
        (tmp_path / "packed").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        assert said.format("/" + name) in refused(lambda: read(tmp_path / "packed"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_address_of_64_bits_is_damage(tmp_path, refused, pack):
    """One flipped bit in an address that is all ones where there is nothing: h5py overflows on it in a gzipped file."""
    path = tmp_path / "some.gctx"
    write_expression(path, in_memory(np.ones((1, 2), "f4"), ["a", "b"], ["s"]))
    content = bytearray(path.read_bytes())
    assert content[8] == 0 and content[48:56] == b"\xff" * 8  # of the driver's information, in a superblock 0
    content[52] ^= 1
    path.write_bytes(pack(content))
    assert "is truncated or damaged" in refused(lambda: open_table(path))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [
        ((10**12,), h5py.string_dtype(), "announces 1e+12 values, more than any table has"),
        ((10**6, 10**6), "f4", "announces 1e+12 values, more than any table has"),
        ((10**9,), "f8", "unpacks from 0 bytes to 7,629 MiB, more than real data do"),
        ((10**5,), "S100000", "unpacks from 0 bytes to 9,537 MiB, more than real data do"),
    ],
)
def test_what_is_announced_but_not_there_takes_no_memory(valid, tmp_path, refused, kind, shape, dtype, said):
    ids, values, read = KINDS[kind]
    path = tmp_path / kind
    for name in (ids, values):
        shutil.copy(valid / kind, path)
        with h5py.File(path, "r+") as file:
            del file[name]
            file.create_dataset(name, shape, dtype, chunks=(1000,) * len(shape))
        assert f"{path}: /{name} {said}" in refused(lambda: read(path))


def test_more_names_than_a_table_has(tmp_path, refused):
    path = tmp_path / "some.gctx"
    with h5py.File(path, "w") as file:
        file["0/DATA/0/matrix"] = np.zeros((1, 1), "f4")
        for axis in ("ROW", "COL"):
            file.create_dataset(f"0/META/{axis}/id", (2**23 + 1,), "i4")
    assert "has more than 8,388,608 entries in /0/META/ROW/id, is no expression table" in refused(
        lambda: open_table(path)
    )


def test_a_file_of_links_without_end(tmp_path, refused, monkeypatch):
    monkeypatch.setattr(hdf5, "MOST_LINKS", 10)
    path = tmp_path / "some.h5"
    for groups in (10, 11):
        with h5py.File(path, "w") as file:
            for number in range(groups):
                file.create_group(str(number))
        said = refused(lambda: open_table(path))
        assert ("has too many members to be an expression table" in said) == (groups == 11), said


def test_groups_nested_too_deep(tmp_path, refused):
    path = tmp_path / "some.h5"
    with h5py.File(path, "w", libver="latest") as file:
        group = file
        for _ in range(10_000):  # of which HDF5's own way to visit all overflows the stack
            group = group.create_group("g")
    assert "has too many members" in refused(lambda: open_table(path))


def test_groups_in_a_circle_are_read(valid, tmp_path):
    path = tmp_path / "a.gctx"
    shutil.copy(valid / "a.gctx", path)
    with h5py.File(path, "r+") as file:
        file["0/again"] = file["/"]
    open_table(path)


def test_a_filter_that_is_not_installed_is_named(tmp_path, refused):
    path = tmp_path / "some.gctx"
    with h5py.File(path, "w") as file:
        file["0/META/COL/id"] = file["0/META/ROW/id"] = np.arange(8)
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((8, 8))
        made.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
        group = file.create_group("0/DATA/0").id
        h5py.h5d.create(group, b"matrix", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((8, 8)), made)
    said = refused(lambda: open_table(path))
    assert "/0/DATA/0/matrix is compressed with a filter that this HDF5 lacks (" in said
    assert "32015); write the file with gzip, as `h5repack -f GZIP=4` does where the filter is installed" in said


def test_zstd_is_named(shared, refused):
    said = refused(lambda: open_table(shared / "data" / "cases" / "zstd.gctx"))
    assert "compressed with a filter that this HDF5 lacks (HDF5 zstd filter 32015)" in said
