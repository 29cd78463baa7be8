"""Downloads from a server on this machine that misbehaves as servers and lines do."""

import fcntl
import gzip
import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from dgex.errors import DgexError
from dgex.files import download as module
from dgex.files.download import Limits, NotThere, download, find_flaw

DATA = gzip.compress(os.urandom(300_000), mtime=0)
OTHER = gzip.compress(os.urandom(300_000), mtime=0)


@pytest.fixture
def waits():
    return []


@pytest.fixture
def fetch(server, tmp_path, waits):
    """Downloads from the server, given its answers; returns the path."""

    def fetch(*answers, **options):
        server.answers = answers
        path = tmp_path / "cache" / "data.txt.gz"
        download(server.url, path, sleep=waits.append, **options)
        return path

    return fetch


def part_of(path):
    return path.with_name(f".{path.name}.part")


def whole(handler, begin, data=DATA, upto=None, length=None):
    """The file, or the range asked for; ``upto`` ends the connection there, ``length`` is a false Content-Length."""
    length = len(data) - begin if length is None else length
    if begin >= len(data):
        handler.head(416, Content_Range=f"bytes */{len(data)}")
    elif begin:
        handler.head(206, Content_Length=length, Content_Range=f"bytes {begin}-{len(data) - 1}/{len(data)}")
        handler.body(data[begin:upto])
    else:
        handler.head(200, Content_Length=length)
        handler.body(data[:upto])


def upto(count, data=DATA):
    return lambda handler, begin: whole(handler, begin, data, upto=count)


def rangeless(handler, begin, data=DATA):
    whole(handler, 0, data)


def status(code, **headers):
    return lambda handler, begin: handler.head(code, Content_Length=0, **headers)


def test_a_file_comes_whole(fetch, server, waits):
    seen = []
    path = fetch(whole, report=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == DATA
    assert os.listdir(path.parent) == [path.name]
    assert server.ranges == [None] and waits == []
    assert seen[-1] == (len(DATA), len(DATA)) and seen == sorted(seen)


def test_a_dropped_connection_is_resumed_where_it_broke_off(fetch, server, waits):
    assert fetch(upto(100_000), upto(250_000), whole).read_bytes() == DATA
    assert server.ranges == [None, "bytes=100000-", "bytes=250000-"]
    assert server.served == [100_000, 150_000, len(DATA) - 250_000]
    assert 0.5 <= waits[0] <= 1.5 and 1 <= waits[1] <= 3


def test_a_later_run_goes_on_from_the_part(fetch, server):
    drop = status(403)
    with pytest.raises(DgexError, match="403"):
        fetch(upto(100_000), drop)
    server.ranges.clear()
    server.served.clear()
    path = fetch(whole)
    assert path.read_bytes() == DATA and not part_of(path).exists()
    assert server.ranges == ["bytes=100000-"] and sum(server.served) == len(DATA) - 100_000


def test_a_killed_download_leaves_its_part_alone(fetch, server, tmp_path):
    path = tmp_path / "cache" / "data.txt.gz"
    held = threading.Event()

    def hold(handler, begin):
        handler.head(200, Content_Length=len(DATA))
        handler.body(DATA[:100_000])
        held.set()
        server.stop.wait(30)

    server.answers = [hold]
    program = "import sys, pathlib, dgex.files.download as d; d.download(sys.argv[1], pathlib.Path(sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", program, server.url, str(path)])
    try:
        assert held.wait(30)
        for _ in range(1000):
            if part_of(path).stat().st_size == 100_000:
                break
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert os.listdir(path.parent) == [part_of(path).name]
    assert fetch(whole).read_bytes() == DATA
    assert server.ranges == [None, "bytes=100000-"]


def test_a_part_that_is_whole_needs_no_more_bytes(fetch, server, tmp_path):
    path = tmp_path / "cache" / "data.txt.gz"
    path.parent.mkdir()
    part_of(path).write_bytes(DATA)
    assert fetch(whole).read_bytes() == DATA
    assert server.ranges == [f"bytes={len(DATA)}-"] and sum(server.served) == 0


def test_a_part_that_is_too_long_is_started_over(fetch, server, tmp_path):
    path = tmp_path / "cache" / "data.txt.gz"
    path.parent.mkdir()
    part_of(path).write_bytes(DATA + b"more")
    assert fetch(whole).read_bytes() == DATA
    assert server.ranges == [f"bytes={len(DATA) + 4}-", None]


def test_a_server_without_ranges_starts_over(fetch, server):
    assert fetch(upto(100_000), rangeless).read_bytes() == DATA
    assert server.ranges == [None, "bytes=100000-"] and server.served == [100_000, len(DATA)]


@pytest.mark.parametrize("header", [f"bytes 5-{len(DATA) - 1}/{len(DATA)}", "bytes", None])
def test_a_range_that_was_not_asked_for_starts_over(fetch, server, header):
    def shifted(handler, begin):
        handler.head(206, Content_Length=len(DATA) - 5, **({"Content_Range": header} if header else {}))
        handler.body(DATA[5:])

    assert fetch(upto(100_000), shifted, whole).read_bytes() == DATA
    assert server.ranges == [None, "bytes=100000-", None]


def test_a_file_that_changes_between_attempts_is_fetched_anew(fetch, server):
    assert fetch(upto(100_000), lambda handler, begin: whole(handler, begin, OTHER)).read_bytes() == OTHER
    assert server.ranges == [None, "bytes=100000-", None]


def test_unfinished_gzip_of_the_right_length_is_refused(fetch, server, tmp_path):
    short = DATA[:200_000]
    with pytest.raises(DgexError, match=r"data\.txt\.gz: .* is damaged or no gzip file .*, twice; "):
        fetch(lambda handler, begin: whole(handler, begin, short))
    assert server.ranges == [None, None]
    assert os.listdir(tmp_path / "cache") == []


def test_too_large_a_content_length_is_settled_by_a_range(fetch, server):
    assert fetch(lambda handler, begin: whole(handler, begin, length=len(DATA) + 9)).read_bytes() == DATA
    assert server.ranges == [None, f"bytes={len(DATA)}-"]


def test_too_small_a_content_length_is_noticed(fetch, tmp_path):
    with pytest.raises(DgexError, match="is damaged"):
        fetch(lambda handler, begin: whole(handler, begin, length=1000))
    assert os.listdir(tmp_path / "cache") == []


def test_unknown_length_is_settled_by_the_check(fetch):
    def endless(handler, begin):
        handler.head(200)
        handler.body(DATA)

    assert fetch(endless).read_bytes() == DATA


@pytest.mark.parametrize(("code", "error"), [(404, NotThere), (410, NotThere), (403, DgexError), (401, DgexError)])
def test_refusals_are_not_repeated(fetch, server, waits, tmp_path, code, error):
    with pytest.raises(error, match=rf"data\.txt\.gz: the server says {code} ") as refused:
        fetch(status(code))
    assert type(refused.value) is error
    assert server.ranges == [None] and waits == []
    assert os.listdir(tmp_path / "cache") == []


def test_a_busy_server_is_asked_again_when_it_says(fetch, waits):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    answers = (status(503, Retry_After=7), status(429, Retry_After=date), status(503, Retry_After="soon"), whole)
    assert fetch(*answers).read_bytes() == DATA
    assert waits[0] == 7 and 45 < waits[1] <= 50 and 2 <= waits[2] <= 6


def test_no_server_may_ask_for_hours(fetch, waits):
    fetch(status(503, Retry_After=7200), whole)
    assert waits == [module.LONGEST_WAIT]


def test_patience_ends(fetch, server, waits, tmp_path):
    with pytest.raises(DgexError, match=r"data\.txt\.gz: the server says 500 .* after 6 attempts; run again"):
        fetch(upto(1000), status(500))
    assert len(server.ranges) == 6 and len(waits) == 5
    assert all(2**n / 2 <= wait <= 2**n * 1.5 for n, wait in enumerate(waits))
    assert os.listdir(tmp_path / "cache") == [".data.txt.gz.part"]
    assert part_of(tmp_path / "cache" / "data.txt.gz").read_bytes() == DATA[:1000]


def test_a_stalled_connection_is_resumed(fetch, server, monkeypatch, capsys):
    monkeypatch.setattr(module, "STALLED", 0.2)

    def stall(handler, begin):
        handler.head(200, Content_Length=len(DATA))
        handler.body(DATA[:100_000])
        server.stop.wait(5)

    assert fetch(stall, whole).read_bytes() == DATA
    assert server.ranges == [None, "bytes=100000-"]
    assert "timed out; next attempt in" in capsys.readouterr().err


def test_a_server_that_is_down_is_tried_again(tmp_path, waits):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        down = f"http://127.0.0.1:{closed.getsockname()[1]}/data.txt.gz"
    with pytest.raises(DgexError, match="refused, after 6 attempts"):
        download(down, tmp_path / "data.txt.gz", sleep=waits.append)
    assert len(waits) == 5


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=UTF-8"])
def test_a_web_page_is_refused_and_the_part_kept(fetch, server, tmp_path, kind):
    def page(handler, begin):
        handler.head(200, Content_Type=kind)
        handler.body(b"<!DOCTYPE html><html>Log in, please</html>")

    with pytest.raises(DgexError, match="sends a web page, not data"):
        fetch(upto(1000), page)
    assert part_of(tmp_path / "cache" / "data.txt.gz").read_bytes() == DATA[:1000]


def test_a_web_page_in_disguise_is_refused(fetch, tmp_path):
    with pytest.raises(DgexError, match="is a web page, not data, twice"):
        fetch(lambda handler, begin: whole(handler, begin, b"\n<html>Maintenance</html>"))
    assert os.listdir(tmp_path / "cache") == []


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>Log in</html>", b"\xef\xbb\xbf\r\n <html></html>"])
def test_a_web_page_within_gzip_is_refused(fetch, tmp_path, page):
    packed = gzip.compress(page, mtime=0)
    with pytest.raises(DgexError, match="is a web page, not data, twice"):
        fetch(lambda handler, begin: whole(handler, begin, packed))
    assert os.listdir(tmp_path / "cache") == []


def test_another_file_is_refused_and_not_kept(fetch, server, tmp_path):
    """Its bytes have come as they are, so fetching it again would not help."""

    def check(path):
        assert path.read_bytes() == DATA
        raise DgexError(f"{path}, line 7: is no series matrix")

    with pytest.raises(DgexError, match=f"^{re.escape(server.url)}, line 7: is no series matrix$"):
        fetch(whole, check=check)
    assert os.listdir(tmp_path / "cache") == [] and server.ranges == [None]


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_that_is_too_large(fetch, server, tmp_path, announced):
    """Refused before its bytes are fetched where the server says its size, else as soon as that many have come."""

    def endless(handler, begin):
        handler.head(200, **({"Content_Length": 10**13} if announced else {}))
        try:
            for _ in range(1 if announced else 400):
                handler.body(b"0" * 2**20)
        except OSError:
            pass  # hung up on

    with pytest.raises(DgexError, match=r"data\.txt\.gz: is larger than 0\.01 GiB .*--max-size"):
        fetch(endless, limits=Limits(size=0.01))
    assert os.listdir(tmp_path / "cache") == [] and len(server.ranges) == 1


def test_size_within_the_limit(fetch):
    assert fetch(upto(100_000), whole, limits=Limits(size=len(DATA) / 2**30)).read_bytes() == DATA
    with pytest.raises(DgexError, match="is larger than"):
        fetch(whole, limits=Limits(size=(len(DATA) - 1) / 2**30))


def drip(handler, begin):
    """The file, 100 bytes every hundredth of a second: some 10 KB/s, and no pause that would count as a stall."""
    handler.head(206 if begin else 200, Content_Length=len(DATA) - begin,
                 **({"Content_Range": f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}"} if begin else {}))  # fmt: skip
    try:
        for first in range(begin, len(DATA), 100):
            handler.body(DATA[first : first + 100])
            time.sleep(0.01)
    except OSError:
        pass  # hung up on


def test_a_slow_connection_is_resumed(fetch, server, monkeypatch, capsys):
    monkeypatch.setattr(module, "RATE_SECONDS", 0.2)
    assert fetch(drip, drip, whole, limits=Limits(rate=20)).read_bytes() == DATA
    begun = [int(asked[6:-1]) for asked in server.ranges[1:]]
    assert len(begun) == 2 and 0 < begun[0] < begun[1]  # what came slowly is kept
    assert "KiB/s arrive, fewer than --min-rate 20; next attempt in" in capsys.readouterr().err


def test_a_server_that_stays_slow_is_left(fetch, server, monkeypatch):
    monkeypatch.setattr(module, "RATE_SECONDS", 0.05)
    with pytest.raises(DgexError, match="fewer than --min-rate 20, after 6 attempts; run again to go on from here"):
        fetch(drip, limits=Limits(rate=20))
    assert len(server.ranges) == 6


def test_without_a_minimum_slow_is_no_fault(fetch, server, monkeypatch):
    monkeypatch.setattr(module, "RATE_SECONDS", 0.05)

    def last(handler, begin):
        drip(handler, max(begin, len(DATA) - 2000))

    assert fetch(upto(len(DATA) - 2000), last, limits=Limits(rate=0)).read_bytes() == DATA
    assert len(server.ranges) == 2


def test_checksums(fetch):
    assert fetch(whole, checksum=hashlib.sha256(DATA).hexdigest()).read_bytes() == DATA
    with pytest.raises(DgexError, match=f"has SHA-256 {hashlib.sha256(OTHER).hexdigest()}, not "):
        fetch(lambda handler, begin: whole(handler, begin, OTHER), checksum=hashlib.sha256(DATA).hexdigest())


def test_an_older_file_stays_until_the_new_one_is_whole(fetch, tmp_path):
    path = tmp_path / "cache" / "data.txt.gz"
    path.parent.mkdir()
    path.write_bytes(b"old")
    with pytest.raises(DgexError):
        fetch(upto(1000), status(403))
    assert path.read_bytes() == b"old"
    assert fetch(whole).read_bytes() == DATA


def test_only_one_process_downloads_a_file(fetch, tmp_path):
    path = tmp_path / "cache" / "data.txt.gz"
    path.parent.mkdir()
    with part_of(path).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DgexError, match="another process is downloading it"):
            fetch(whole)


def test_unwritable_folders_are_named(tmp_path, server):
    (tmp_path / "file").write_text("")
    with pytest.raises(DgexError, match=r"data\.txt\.gz: cannot be written \(.+\)"):
        download(server.url, tmp_path / "file" / "data.txt.gz")
    assert server.ranges == []


@pytest.mark.parametrize("url", ["ftp://host/file", "data.txt", "http://host:port/file", "http:///file"])
def test_addresses_must_be_of_the_web(tmp_path, url, waits):
    with pytest.raises(DgexError, match=f"^{re.escape(url)}: is no web address"):
        download(url, tmp_path / "file", sleep=waits.append)
    assert waits == []


@pytest.mark.parametrize(
    ("content", "flaw"),
    [
        (DATA, None),
        (DATA + OTHER, None),  # members may follow one another
        (b"", "is empty"),
        (DATA[:-1], "is damaged or no gzip file"),
        (DATA[:1000] + b"\0" + DATA[1001:], "is damaged or no gzip file"),
        (b"text", "is damaged or no gzip file"),
        (b"<html>", "is a web page"),
        (gzip.compress(b"<html>", mtime=0), "is a web page"),
        (gzip.compress(b"", mtime=0), "is empty"),
    ],
)
def test_flaws_are_found(tmp_path, content, flaw):
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    found = find_flaw(path)
    assert found is None if flaw is None else found.startswith(flaw)
