"""The bytes of a file, through gzip; files that are not what they seem."""

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest

from dgex.formats.content import check_unpacked, first_bytes, open_content, reading

TEXT = bytes(range(33, 127)) * 100


def read(path):
    with reading(path), open_content(path) as content:
        return content.read()


@pytest.mark.parametrize("name", ["some.txt", "some.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_content_is_told_by_its_bytes_not_by_its_name(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(TEXT))
    assert read(tmp_path / name) == TEXT
    assert first_bytes(tmp_path / name) == TEXT[:512]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[: len(data) // 2], flipped])
def test_damaged_gzip_is_refused(tmp_path, refused, damage):
    path = tmp_path / "some.gz"
    path.write_bytes(damage(gzip.compress(TEXT, mtime=0)))
    assert f"{path}: is truncated or damaged" in refused(lambda: read(path))


def test_gzip_with_something_else_behind_it_is_refused(tmp_path, refused):
    path = tmp_path / "some.gz"
    path.write_bytes(gzip.compress(TEXT, mtime=0) + b"<html>")
    assert f"{path}: is truncated or damaged" in refused(lambda: read(path))


def test_files_that_cannot_be_read_are_refused(tmp_path, refused):
    assert "No such file" in refused(lambda: first_bytes(tmp_path / "absent"))
    assert "Is a directory" in refused(lambda: first_bytes(tmp_path))


def test_what_hdf5_cannot_find_is_the_fault_of_its_file(tmp_path, refused):
    path = tmp_path / "some.h5"
    h5py.File(path, "w").close()

    def look():
        with reading(path), h5py.File(path) as file:
            file["absent"]

    assert f"{path}: is truncated or damaged (Unable to" in refused(look)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"\n<!DOCTYPE html><title>404</title>", "is a web page"),
        (b"<HTML><head>", "is a web page"),
        (gzip.compress(b'<?xml version="1.0"?>', mtime=0), "is a web page"),
    ],
)
def test_no_data_at_all(tmp_path, refused, content, complaint):
    (tmp_path / "some.txt").write_bytes(content)
    assert complaint in refused(lambda: first_bytes(tmp_path / "some.txt"))


@pytest.mark.parametrize(
    ("nbytes", "stored", "is_read"), [(2**30, 0, True), (2**30 + 1, 0, False), (2**32, 2**24, True)]
)
def test_what_unpacks_to_more_than_data_do_is_refused(refused, nbytes, stored, is_read):
    def check():
        check_unpacked("some.gz: gzip", nbytes, stored)

    if is_read:
        check()
    else:
        assert "some.gz: gzip unpacks from 0 bytes to 1,024 MiB, more than real data do" in refused(check)


@pytest.mark.parametrize("part", [lambda file: file.read(2**16), lambda file: file.read1(2**16)])
def test_a_gzip_bomb_is_not_unpacked_to_its_end(tmp_path, monkeypatch, refused, part):
    path = tmp_path / "some.gz"
    path.write_bytes(gzip.compress(b"\n" * 2**22, mtime=0))
    monkeypatch.setattr("dgex.formats.content.FREELY_UNPACKED", 2**20)

    def unpack():
        with open_content(path) as file:
            while part(file):
                pass

    assert f"{path}: gzip unpacks from " in refused(unpack)


def test_too_little_memory_is_the_fault_of_the_file(refused):
    def read_much():
        with reading(Path("some.h5")):
            np.empty(2**50)

    assert "some.h5: needs more memory than there is (Unable to allocate 8.00 PiB" in refused(read_much)
