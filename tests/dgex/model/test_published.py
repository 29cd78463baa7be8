"""Models by name, from servers on this machine: they are downloaded once, checked, and nothing is asked afterwards."""

import fcntl
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dgex.cli import app
from dgex.errors import DgexError
from dgex.model import published
from dgex.model.directory import load_model, read_card

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Server:
    """Serves ``files``, contents by path, and keeps what was asked for; what it lacks is answered as the Hub would."""

    def __init__(self, serve):
        self.files, self.asked = {}, []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                path = urlsplit(self.path).path
                server.asked.append(path)
                content = server.files.get(path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                lacking = "Repo" if "/small/" not in path else "Entry" if "/resolve/" in path else "Revision"
                self.send_header("X-Error-Code", f"{lacking}NotFound")
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content or b"")

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.url = serve(Handler)


@pytest.fixture
def server(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Server(serve)


def packed(folder: Path, below: str = "model/", more: dict[str, bytes] | None = None) -> bytes:
    """A tar.gz of a model directory, below a folder of that name, and of more files."""
    archive = io.BytesIO()
    contents = {f"{below}{path.name}": path.read_bytes() for path in folder.iterdir()} | (more or {})
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


@pytest.fixture
def offer(server):
    """Puts an archive on the server, and gives its name for ``-m``."""

    def offer(archive: bytes, path: str = "/small.tar.gz") -> str:
        server.files[path] = archive
        return f"{server.url}{path}#sha256={hashlib.sha256(archive).hexdigest()}"

    return offer


def kept(tmp_path: Path) -> list[str]:
    """What lies in the user's cache, but for locks."""
    found = (tmp_path / "cache").rglob("*")
    return sorted(path.name for path in found if path.is_file() and path.name != "lock")


@pytest.mark.parametrize("below", ["model/", "", "./", "a/b/"])
def test_an_archive_is_downloaded_once(model_files, server, offer, tmp_path, below):
    name = offer(packed(model_files / "model", below))
    local, first = load_model(model_files / "model"), load_model(name)
    assert server.asked == ["/small.tar.gz"]
    assert first.source == {"name": "small", "sha256": local.source["sha256"]}
    assert kept(tmp_path) == sorted(path.name for path in (model_files / "model").iterdir())
    (folder,) = (tmp_path / "cache" / "dgex" / "models").iterdir()
    assert folder.name == name.partition("=")[2] and folder.stat().st_mode & 0o777 == 0o700
    server.files.clear()
    assert load_model(name).source == first.source and read_card(name) == read_card(model_files / "model")
    assert server.asked == ["/small.tar.gz"]


def test_commands_take_names(model_files, offer, tmp_path, capsys):
    name = offer(packed(model_files / "model"))
    plate, data = str(model_files / "plate.gct"), str(model_files / "made-up.h5")
    app(["info", name])
    assert capsys.readouterr().out == read_card(name)
    app(["predict", plate, "-m", name, "-o", str(tmp_path / "named.csv")])
    app(["predict", plate, "-m", str(model_files / "model"), "-o", str(tmp_path / "local.csv")])
    assert (tmp_path / "named.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    made_by = json.loads((tmp_path / "named.csv.provenance.json").read_text())["model"]
    assert made_by == load_model(name).source
    capsys.readouterr()
    app(["evaluate", name, data, "--against", name])
    named = capsys.readouterr().out
    app(["evaluate", data, "-m", str(model_files / "model"), "--against", str(model_files / "model")])
    assert named.replace("small", "model") == capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "called"),
    [
        ("/a/small-1.2.tar.gz", "small-1.2"),
        ("/small.tgz", "small"),
        ("/..", "model"),
        ("/record/content", "content"),
        ("/x" + 300 * "y", "x" + 99 * "y"),
    ],
)
def test_what_an_archive_is_called(model_files, offer, path, called):
    assert load_model(offer(packed(model_files / "model"), path)).source["name"] == called


def test_paths_in_an_archive_decide_nothing(model_files, offer, tmp_path):
    """Neither files elsewhere in it, nor what lies beside the model's, nor links, come out of it."""
    more = {"../../../escaped": b"1", "/tmp/escaped-from-dgex": b"2", "model/run.py": b"3", "README.md": b"4"}
    archive = io.BytesIO(packed(model_files / "model", more=more))
    load_model(offer(archive.getvalue()))
    assert kept(tmp_path) == sorted(path.name for path in (model_files / "model").iterdir())
    assert not list(tmp_path.rglob("*escaped*")) and not Path("/tmp/escaped-from-dgex").exists()


def test_a_link_is_not_followed(model_files, offer, tmp_path, refused):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(model_files / "model", "model", filter=lambda member: None if member.name.endswith("json") else member)
        member = tarfile.TarInfo("model/model.json")
        member.type, member.linkname = tarfile.SYMTYPE, str(model_files / "model" / "model.json")
        tar.addfile(member)
    name = offer(archive.getvalue())
    assert "model.json cannot be read" in refused(lambda: app(["info", name]))


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (lambda folder: packed(folder, more={"SHA256SUMS": b""}), "holds 2 model directories, not one; make it with"),
        (lambda folder: packed(folder.parent / "empty", more={"a": b"b"}), "holds 0 model directories, not one"),
        (lambda folder: gzip.compress(bytes(range(256)) * 9), "is no tar archive"),
        (lambda folder: b"no gzip", "is damaged or no gzip file"),
        (lambda folder: packed(folder)[:-9], "is damaged or no gzip file"),
        (lambda folder: b"<html>", "is a web page, not data"),
    ],
)
def test_archives_that_hold_no_model(model_files, offer, tmp_path, archive, said, refused):
    (model_files / "empty").mkdir(exist_ok=True)
    name = offer(archive(model_files / "model"))
    assert said in refused(lambda: app(["info", name]))
    assert kept(tmp_path) == []


def test_another_archive_than_the_digest_says(model_files, server, offer, tmp_path, refused):
    name = offer(packed(model_files / "model"))
    offer(packed(model_files / "model", "other/"))
    assert "has SHA-256" in refused(lambda: app(["info", name]))
    assert kept(tmp_path) == []


def test_an_archive_of_terabytes_is_refused(model_files, offer, tmp_path, monkeypatch, refused):
    monkeypatch.setattr(published, "LARGEST", 1e-6)  # about 1 kB
    name = offer(packed(model_files / "model"))
    assert "is larger than 1e-06 GiB" in refused(lambda: app(["info", name]))
    zeros = packed(model_files / "model", more={"model/MODEL_CARD.md": bytes(2**20)})
    monkeypatch.setattr(published, "LARGEST", 1.5 * len(zeros) / 2**30)
    assert "holds more than" in refused(lambda: app(["info", offer(zeros, "/zeros.tar.gz")]))
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("https://host/model.tar.gz", "lacks its digest; end it with #sha256=HEX, which `sha256sum` prints"),
        ("https://host/model.tar.gz#sha256=12", "lacks its digest"),
        ("ftp://host/model.tar.gz", "names no model; give a folder, hf://owner/name or https://"),
        ("hf://model", "names no model"),
        ("hf://owner/name/more", "names no model"),
    ],
)
def test_names_of_no_model(name, said, refused):
    line = refused(lambda: app(["info", name]))
    assert line.startswith(f"error: {name}: {said}")


def test_two_processes_download_it_once(model_files, server, offer, tmp_path):
    """The second waits for the first, and then finds the model."""
    name = offer(packed(model_files / "model"))
    folder = tmp_path / "cache" / "dgex" / "models" / name.partition("=")[2]
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threads = [threading.Thread(target=load_model, args=[name]) for _ in range(3)]
        for thread in threads:
            thread.start()
        threads[0].join(0.2)
        assert server.asked == []
    for thread in threads:
        thread.join()
    assert server.asked == ["/small.tar.gz"] and len(kept(tmp_path)) == 6


def test_where_nothing_can_be_kept(model_files, offer, tmp_path, monkeypatch, refused):
    name = offer(packed(model_files / "model"))
    (tmp_path / "cache").write_text("a file")
    assert "cannot be written (Not a directory); set XDG_CACHE_HOME" in refused(lambda: app(["info", name]))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert "there is no folder to keep it in; set XDG_CACHE_HOME" in refused(lambda: app(["info", name]))


@pytest.fixture
def hub(server, model_files, tmp_path, monkeypatch):
    """A Hub with a repository lab/small, whose main branch and tag v1 are a model and a large file beside it."""
    constants = pytest.importorskip("huggingface_hub.constants")
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = "/api/models/lab/small"
    contents = {path.name: path.read_bytes() for path in (model_files / "model").iterdir()} | {"other.bin": b"large"}
    tree = [{"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in contents.items()]  # fmt: skip
    information = {"id": "lab/small", "sha": COMMIT, "siblings": [{"rfilename": name} for name in contents]}
    server.files |= {
        f"{repository}/revision/{revision}": json.dumps(information).encode() for revision in ("main", "v1")
    }
    server.files[repository] = server.files[f"{repository}/revision/main"]
    server.files[f"{repository}/tree/{COMMIT}"] = json.dumps(tree).encode()
    server.files |= {f"/lab/small/resolve/{COMMIT}/{name}": content for name, content in contents.items()}
    return server


@pytest.mark.parametrize("name", ["hf://lab/small", "hf://lab/small@v1", f"hf://lab/small@{COMMIT}"])
def test_a_model_of_the_hub_is_downloaded_once(model_files, hub, tmp_path, name):
    first = load_model(name)
    assert first.source == load_model(model_files / "model").source | {"name": name.removeprefix("hf://")}
    downloaded = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert downloaded == {path.name for path in (model_files / "model").iterdir()}
    asked = len(hub.asked)
    hub.files.clear()
    assert load_model(name).source == first.source
    assert len(hub.asked) == asked


def test_a_download_from_the_hub_that_broke_off_goes_on(model_files, hub):
    weights = f"/lab/small/resolve/{COMMIT}/weights.safetensors"
    content = hub.files.pop(weights)
    with pytest.raises(DgexError, match="^hf://lab/small: cannot be downloaded .*; try again"):
        load_model("hf://lab/small")
    hub.files[weights] = content
    assert load_model("hf://lab/small").source["sha256"] == load_model(model_files / "model").source["sha256"]


def test_what_was_altered_on_the_hub_is_refused(hub):
    hub.files[f"/lab/small/resolve/{COMMIT}/genes.tsv"] += b"\n"
    with pytest.raises(DgexError, match="genes.tsv is not as it was written, its SHA-256 differs"):
        load_model("hf://lab/small")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "hf://lab/none",
            "the Hub has no such model, or it is private; check the name, or log in with `hf auth login`",
        ),
        ("hf://lab/small@v2", "the model has no such revision; check what stands behind the @"),
        ("hf://lab/-small", "names no model ("),
    ],
)
def test_what_the_hub_lacks(hub, name, said, refused):
    line = refused(lambda: app(["info", name]))
    assert line.startswith(f"error: {name}: {said}")


def test_without_a_connection_to_the_hub(hub, monkeypatch, refused):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    line = refused(lambda: app(["info", "hf://lab/small"]))
    assert line.startswith("error: hf://lab/small: cannot be downloaded (") and "try again" in line


def test_the_hub_needs_its_package(monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    line = refused(lambda: app(["info", "hf://lab/small"]))
    assert line == 'error: hf://lab/small: needs huggingface_hub; install it: pip install "dgex[hub]"\n'


def test_the_hub_reads_the_card(model_files):
    """As huggingface_hub, its reader, does."""
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(model_files / "model" / "README.md")
    assert card.data.to_dict() == {
        "library_name": "dgex",
        "pipeline_tag": "tabular-regression",
        "tags": ["biology", "genomics", "gene-expression", "transcriptomics"],
    }
    assert card.text.strip() == read_card(model_files / "model").strip()


@pytest.mark.slow
def test_in_a_process_with_the_hubs_own_settings(model_files, hub, tmp_path):
    """HF_ENDPOINT and HF_HOME, as users set them."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "dgex", "info", "hf://lab/small"]
    for _ in range(2):
        done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, read_card(model_files / "model"))
        hub.files.clear()
    assert (tmp_path / "home" / "hub" / "models--lab--small").is_dir()
