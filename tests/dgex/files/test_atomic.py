"""Files that are either whole or not there."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dgex.errors import DgexError
from dgex.files.atomic import check_writable, need_room, remove_partials, replacing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_replaces_and_makes_folders(tmp_path):
    path = tmp_path / "new" / "file"
    for text in ("first", "second"):
        with replacing(path) as partial:
            partial.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert names(path.parent) == ["file"]


def test_a_reader_of_the_old_file_is_not_disturbed(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        with replacing(path) as partial:
            partial.write_text("new")
        assert reader.read() == "old"


def test_failure_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_unwritable_target(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(DgexError, match=r"folder: cannot be written \(.+\); check"), replacing(folder) as partial:
        partial.write_text("text")
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("below", ["file/out", "file/more/out"])
def test_a_file_where_a_folder_should_be(tmp_path, below):
    (tmp_path / "file").write_text("text")
    with pytest.raises(DgexError, match=rf"{below}: cannot be written"), replacing(tmp_path / below):
        pass


def test_room_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=2**24 + 1000))
    need_room(tmp_path, 1000)
    with pytest.raises(DgexError, match="needs 16 MiB, the disk has 16 MiB left; make room"):
        need_room(tmp_path, 1001)


def test_what_a_killed_process_left_goes_and_nothing_else(tmp_path):
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    host = socket.gethostname()
    dead, alive = f".file.{host}.{done.stdout.strip()}.partial", f".file.{host}.{os.getppid()}.partial"
    other_host, other_file = f".file.elsewhere.{done.stdout.strip()}.partial", f".other{dead}"
    for name in (dead, alive, other_host, other_file):
        (tmp_path / name).write_text("half")
    with replacing(tmp_path / "file") as partial:
        partial.write_text("whole")
    assert names(tmp_path) == sorted([alive, other_host, other_file, "file"])


def test_the_nearest_folder_is_named_and_nothing_made(tmp_path):
    assert check_writable(tmp_path / "new" / "more" / "file") == tmp_path
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("text")
    for path in (tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(DgexError, match="cannot be written; give the name of a file"):
            check_writable(path)


def test_devices_are_not_written_over(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DgexError, match="pipe: cannot be written"):
        check_writable(pipe)


def test_an_input_is_not_written_over_by_any_of_its_names(tmp_path):
    (tmp_path / "source").write_text("text")
    (tmp_path / "other name").symlink_to(tmp_path / "source")
    with pytest.raises(DgexError, match="is read to make this output"):
        check_writable(tmp_path / "other name", tmp_path / "elsewhere", tmp_path / "source")


def test_a_folder_is_whole_or_not_there(tmp_path):
    path = tmp_path / "new" / "folder"
    for end in (ZeroDivisionError, OSError(28, "No space left on device")):
        with pytest.raises((ZeroDivisionError, DgexError)), replacing(path) as partial:
            (partial / "below").mkdir(parents=True)
            (partial / "below" / "file").write_text("half")
            raise end
        assert names(path.parent) == []
    with replacing(path) as partial:
        partial.mkdir()
        (partial / "file").write_text("whole")
        assert not path.exists()
    assert names(path.parent) == ["folder"] and names(path) == ["file"]


def test_folders_that_a_killed_process_left_go(tmp_path):
    """A link under such a name goes as well, but not what it leads to."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = f".{{}}.{socket.gethostname()}.{done.stdout.strip()}.partial"
    (tmp_path / left.format("folder") / "below").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("kept")
    (tmp_path / left.format("link")).symlink_to(tmp_path / "elsewhere")
    for name in ("folder", "link"):
        with replacing(tmp_path / name) as partial:
            partial.mkdir()
    assert names(tmp_path) == ["elsewhere", "folder", "link"]
    assert names(tmp_path / "elsewhere") == ["file"]


def test_what_is_under_way_can_be_removed_from_outside(tmp_path):
    """As a process does that ends without coming to its ``finally``; other files stay."""
    (tmp_path / "b").write_text("old")
    with replacing(tmp_path / "a") as folder, replacing(tmp_path / "b") as file:
        folder.mkdir()
        (folder / "c").write_text("half")
        file.write_text("half")
        remove_partials()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]
        folder.mkdir()
        file.write_text("new")
    remove_partials()
    assert (tmp_path / "a").is_dir() and (tmp_path / "b").read_text() == "new"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", "cannot be written; give the name of a file"),
        ("a/" + "x" * 256 + "/b", "is too long; paths have 4000 bytes at most, and names in them 255"),
        ("x/" * 2001, "is too long"),
        ("caf\udce9.gctx", "is no path in UTF-8"),
        ("\ud800.gctx", "is no path in UTF-8"),
    ],
)
def test_outputs_that_no_folder_can_hold(path, said):
    with pytest.raises(DgexError, match=said):
        check_writable(Path(path))


def test_a_folder_that_one_may_not_look_into(tmp_path, monkeypatch):
    def denied(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(DgexError, match="out.gctx: cannot be written; give the name of a file in a folder you may"):
        check_writable(tmp_path / "out.gctx")
