"""Files of a list, from a server on this machine that has D-GEX's names: fetched, checked, refused."""

import hashlib
import os
import shutil
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import h5py
import pytest

from data_prep.__main__ import app
from data_prep.fetching import LARGEST, fetch, read_list
from data_prep.pipeline import Settings, prepare
from data_prep.simulate_dgex import ARRAYS, GTEX, THOUSAND_GENOMES
from dgex.data.dataset import read_dataset
from dgex.errors import DgexError
from dgex.formats.opening import open_expression

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    app(["simulate-dgex", "-o", str(folder), "--profiles", "120", "--seed", "3"])
    return folder


@pytest.fixture
def published(simulated, tmp_path) -> Path:
    return shutil.copytree(simulated, tmp_path / "published")


@pytest.fixture
def mirror(published, serve) -> str:
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(published))

        def log_message(self, *_):
            pass

    return serve(Handler)


def test_everything_comes_and_is_kept(published, mirror, tmp_path, capsys):
    folder = tmp_path / "data"
    app(["fetch", str(published / "files.toml"), "-o", str(folder), "--mirror", mirror])
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{folder}: 5 of 5 files to download, about 0.0") and last.endswith(THOUSAND_GENOMES)
    names = {path.name for path in published.iterdir()} - {"files.toml"}
    assert {path.name for path in folder.iterdir()} == names
    assert all((folder / name).read_bytes() == (published / name).read_bytes() for name in names)
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "map_lm.txt").unlink()
    app(["fetch", str(published / "files.toml"), "-o", str(folder), "--mirror", mirror])
    assert "1 of 5 files to download" in capsys.readouterr().out
    assert {path for path, time in times.items() if path.stat().st_mtime_ns != time} == {folder / "map_lm.txt"}


def test_room_is_said_and_looked_for_before_the_first_byte(published, mirror, tmp_path, refused, monkeypatch, capsys):
    files = published / "files.toml"
    files.write_text("later_gb = 17.0\n" + files.read_text())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("dgex.files.atomic.shutil.disk_usage", lambda folder: usage._replace(free=10**10))
    command = ["fetch", str(files), "-o", str(tmp_path / "data"), "--mirror", mirror]
    line = refused(lambda: app(command))
    assert "needs 162" in line and "the disk has 9537 MiB left; make room" in line  # 17 GB are 16,212 MiB
    assert not (tmp_path / "data").exists()


def test_another_file_under_the_name_is_refused_and_the_others_stay(published, mirror, tmp_path, refused):
    shutil.copy(published / GTEX, published / ARRAYS)
    folder = tmp_path / "data"
    line = refused(lambda: app(["fetch", str(published / "files.toml"), "-o", str(folder), "--mirror", mirror]))
    assert f"{mirror}/{ARRAYS}: has 60 samples of 3,000 rows, the listed file has 120 samples of 2,470 rows" in line
    assert sorted(os.listdir(folder)) == ["map_lm.txt", "map_tg.txt"]
    shutil.copy(published / GTEX, folder / ARRAYS)
    line = refused(lambda: app(["fetch", str(published / "files.toml"), "-o", str(folder), "--mirror", mirror]))
    assert f"{folder / ARRAYS}: has 60 samples of 3,000 rows" in line


def test_a_truncated_table_is_refused(published, mirror, tmp_path):
    (published / GTEX).write_bytes((published / GTEX).read_bytes()[:-5000])
    with pytest.raises(DgexError, match=GTEX):
        fetch(published / "files.toml", tmp_path / "data", mirror)
    assert (tmp_path / "data" / ARRAYS).exists() and not (tmp_path / "data" / GTEX).exists()


def test_the_second_address_and_checksums(published, mirror, tmp_path):
    (published / "hello").write_bytes(b"hello\n")
    sha256 = hashlib.sha256(b"hello\n").hexdigest()
    entry = f'[[file]]\nname = "greeting"\nfrom = ["{mirror}/absent", "{mirror}/hello"]\ngb = 0\n'
    for checksum in (f'sha256 = "{sha256}"', 'git_blob = "ce013625030ba8dba906f756967f9e9ca394464a"'):
        (tmp_path / "list").write_text(entry + checksum)
        fetch(tmp_path / "list", tmp_path / "data")
        assert (tmp_path / "data" / "greeting").read_bytes() == b"hello\n"
        (tmp_path / "data" / "greeting").unlink()
    (tmp_path / "list").write_text(entry + f'git_blob = "{"0" * 40}"')
    with pytest.raises(DgexError, match=r"/hello: is another file than the listed one \(git calls it ce0136"):
        fetch(tmp_path / "list", tmp_path / "data")
    (published / "hello").unlink()
    with pytest.raises(DgexError, match="/hello: the server says 404"):
        fetch(tmp_path / "list", tmp_path / "data")
    assert os.listdir(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[file", "is no TOML"),
        ("", "is no list of files"),
        ('[[file]]\nname = "../a"\nfrom = ["x"]\ngb = 1', "is no name of a file"),
        ('[[file]]\nname = "a"\nfrom = "x"\ngb = 1', "from is a list"),
        ('[[file]]\nname = "a"\nfrom = ["x"]\ngb = 1\nsha256 = "0"', "another length"),
        ('[[file]]\nname = "a"\nfrom = ["x"]\ngb = 1\nsamples = 3', "rows"),
        ("file = 3", "is no list of files"),
    ],
)
def test_what_is_no_list_is_one_line(tmp_path, refused, text, said):
    (tmp_path / "list").write_text(text)
    assert said in refused(lambda: app(["fetch", str(tmp_path / "list"), "-o", str(tmp_path / "data")]))
    assert "cannot be read" in refused(lambda: app(["fetch", str(tmp_path / "absent"), "-o", str(tmp_path)]))
    assert not (tmp_path / "data").exists()


def test_the_lists_of_the_project_are_read():
    listed, later = read_list(ROOT / "data_prep" / "dgex.toml")
    by_name = {each.name: each for each in listed}
    assert set(by_name) == {"map_lm.txt", "map_tg.txt", ARRAYS, GTEX, THOUSAND_GENOMES} and later > 16
    for name in (ARRAYS, GTEX):  # float32, not compressed
        samples, rows = by_name[name].shape
        assert by_name[name].gb == pytest.approx(4e-9 * samples * rows, rel=0.02)
        assert by_name[name].gb < LARGEST
    assert len(read_list(ROOT / "data_prep" / "authors_example.toml")[0]) == 4


def test_the_simulated_files_are_prepared_like_the_real_ones(simulated, tmp_path):
    """Their forms are those that the readers know, and the cohorts have the genes of the tables."""
    with h5py.File(simulated / ARRAYS) as file:
        assert set(file["0/META/COL"]) == {"id", "data_origin"}
    prepare(simulated / ARRAYS, simulated, tmp_path / "GEO.h5", Settings("sample"), "prepare")
    arrays = read_dataset(tmp_path / "GEO.h5")
    for name, kind, lowest in ((GTEX, "GCTX", 0.0), (THOUSAND_GENOMES, "GEUVADIS table", -0.1)):
        with open_expression(simulated / name) as table:
            values = table.load()
            assert table.kind == kind and lowest <= values.min() and (kind == "GCTX" or values.min() < 0)
            ids = {row.split(".")[0] for row in table.row_id}
        assert ids >= {*arrays.landmark_genes.ensembl, *arrays.target_genes.ensembl}
        assert all("." in row for row in table.row_id)


def test_equal_seeds_give_equal_files(simulated, tmp_path):
    app(["simulate-dgex", "-o", str(tmp_path), "--profiles", "120", "--seed", "3"])
    for path in simulated.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
