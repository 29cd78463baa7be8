"""A run's folder arrives at another process but for what that one does not need."""

import io
import tarfile

import pytest

from dgex.files.tree_copy import pack, unpack


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_logs_and_outcomes_travel_and_checkpoints_do_not(tmp_path):
    run = tmp_path / "run"
    for name in ("fit.json", "log.csv", "trials/one/log.csv", "checkpoints/3/d/0", "trials/one/checkpoints/1/a"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    for name in ("lock", "lease", ".log.csv.host.7.partial"):
        (run / name).touch()
    (tmp_path / "copy").mkdir()
    unpack(pack(run), tmp_path / "copy")
    wanted = ("fit.json", "log.csv", "trials/one/log.csv")
    assert contents(tmp_path / "copy/run") == {name: name for name in wanted}


@pytest.mark.parametrize("name", ["events", "lock", "a.partial"])
def test_a_folder_of_any_name_also_behind_a_link(tmp_path, name):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/log.csv").write_text("1")
    (tmp_path / name).symlink_to(tmp_path / "there")
    (tmp_path / "copy").mkdir()
    unpack(pack(tmp_path / name), tmp_path / "copy")
    assert contents(tmp_path / "copy") == {f"{name}/log.csv": "1"}


def test_a_folder_that_is_not_there_yet(tmp_path):
    unpack(pack(tmp_path / "run"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_lands_outside(tmp_path):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    (tmp_path / "in").mkdir()
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(archive.getvalue(), tmp_path / "in")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
