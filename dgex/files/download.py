"""Downloads files over unreliable connections: resumes them where they broke off, also in a later run, and checks them.

Only the standard library is used. pooch, the usual choice, checks and retries as well, but starts every attempt from
the first byte; a series matrix of 100 MB would never arrive over a connection that keeps breaking.
"""

import fcntl
import gzip
import hashlib
import os
import random
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from rich.progress import Progress

from dgex.console import stderr
from dgex.errors import DgexError, visible
from dgex.files.atomic import need_room
from dgex.version import __version__

ATTEMPTS = 6
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0  # seconds; a wait doubles from one attempt to the next
STALLED = 60.0  # seconds without a byte
RATE_SECONDS = 30.0  # over which the rate is measured
CHUNK = 2**18
ALGORITHMS = {40: "SHA-1", 64: "SHA-256"}  # by the number of hexadecimal digits
RETRYABLE = {408, 416, 425, 429, 500, 502, 503, 504}  # HTTP statuses after which another attempt may succeed

Report = Callable[[int, int | None], None]  # takes the bytes so far, and the total where the server states it


@dataclass(frozen=True)
class Limits:
    """Limits the rate and the size of a download.

    Attributes:
      rate: the lowest acceptable rate in KiB/s; 0 for no such limit.
      size: the largest file in GiB, as transferred, that is before it is unpacked.
      remedy: what the user can do about a larger file, for the error message.
    """

    rate: float = 1.0
    size: float = 4.0
    remedy: str = "allow it with --max-size, or try another mirror"


LIMITS = Limits()


class NotThere(DgexError):
    """Says that the server has no such file (404 or 410)."""


class _RetryableError(Exception):
    """Says that an attempt failed in a way that may pass; ``wait`` is how many seconds the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


def download(
    url: str,
    path: Path,
    checksum: str | None = None,
    report: Report = lambda done, total: None,
    sleep: Callable[[float], None] = time.sleep,
    limits: Limits = LIMITS,
    check: Callable[[Path], None] = lambda path: None,
) -> None:
    """Downloads ``url`` to ``path``, which appears only when the file is complete and has passed its checks.

    The bytes received so far are kept in ``.NAME.part`` beside it, and the next run resumes from there. If the file has
    changed on the server meanwhile, the parts do not fit together. The checks notice this in gzip files (``.gz``) and
    where ``checksum`` is given. Of any other file, ``.NAME.part.version`` keeps the date that the server states (or the
    ETag, or the size), and a part is not joined with a file of another one.

    Args:
      url: the http or https address of the file.
      path: where the file goes; its folder is made.
      checksum: the expected SHA-256 or SHA-1, hexadecimal; None where it is not known.
      report: called as bytes arrive.
      sleep: called between attempts.
      limits: a slower connection is closed and resumed, a larger file refused.
      check: takes the downloaded file, under its temporary name, and raises a DgexError if it is not the right one.

    Raises:
      NotThere: the server has no such file.
      DgexError: ``url`` is no web address; the server refuses, sends a web page or too large a file, keeps failing, or
        sends a file that fails its checks twice, the second time downloaded from the start; it has another version
        than the part is of, which is kept; another process is
        downloading it; the folder cannot be written to, or has too little room, which is noticed before the first
        byte where the server states the size.
    """
    if not re.match("https?://[^/]", url):
        raise DgexError(f"{url}: is no web address; use one such as https://host/folder")
    part = path.with_name(f".{path.name}.part")
    version = None if checksum or ".gz" in path.suffixes else part.with_name(f"{part.name}.version")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _lock(file, path)
            try:
                for _ in range(2):
                    _fetch(url, file, report, sleep, limits, version)
                    file.flush()
                    flaw = find_flaw(part, checksum)
                    if flaw is None:
                        _run_check(check, part, url, file)
                        os.replace(part, path)
                        return
                    file.truncate(0)
            finally:
                if part.exists() and not part.stat().st_size:
                    part.unlink()
                if version and not part.exists():
                    version.unlink(missing_ok=True)
    except OSError as error:
        raise DgexError(f"{path}: cannot be written ({error.strerror}); check the folder's rights and space") from error
    raise DgexError(f"{url}: the downloaded file {flaw}, twice; try again later, or another mirror")


def download_with_bar(
    bars: Progress,
    url: str,
    path: Path,
    checksum: str | None = None,
    limits: Limits = LIMITS,
    check: Callable[[Path], None] = lambda path: None,
) -> None:
    """Downloads a file and shows how far it is as one of ``bars``; other arguments and errors as ``download``."""
    bar = bars.add_task(f"KiB of {path.name}", total=None)

    def report(done: int, total: int | None) -> None:
        bars.update(bar, completed=done // 2**10, total=total and total // 2**10)

    try:
        download(url, path, checksum, report, limits=limits, check=check)
    except NotThere:
        bars.remove_task(bar)
        raise


def find_flaw(path: Path, checksum: str | None = None) -> str | None:
    """Checks a file for damage; gzip files are read to the end, where their CRC-32 is.

    Args:
      path: the file to check.
      checksum: the expected SHA-256 or SHA-1, hexadecimal; None for no such check.

    Returns:
      What is wrong, as the predicate of a sentence such as "is empty"; None if nothing is.
    """
    with path.open("rb") as file:
        if flaw := _flaw_at_start(file.read(64)):
            return flaw
        file.seek(0)
        if checksum:
            algorithm = ALGORITHMS[len(checksum)]
            if (actual := hashlib.file_digest(file, algorithm.replace("-", "")).hexdigest()) != checksum:
                return f"has {algorithm} {actual}, not {checksum}"
    if ".gz" in path.suffixes:
        try:
            with gzip.open(path) as text:
                flaw = _flaw_at_start(text.read(64))
                while text.read(CHUNK):
                    pass
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            return f"is damaged or no gzip file ({error})"
        return flaw
    return None


def _flaw_at_start(start: bytes) -> str | None:
    """Checks the first bytes of a file: it must not be empty or a web page."""
    if not start:
        return "is empty"
    return "is a web page, not data" if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") else None


def _run_check(check: Callable[[Path], None], part: Path, url: str, file: BinaryIO) -> None:
    """Runs the caller's check of a download; if it fails, empties the file and raises the error under its address."""
    try:
        check(part)
    except DgexError as error:
        file.truncate(0)
        raise DgexError(str(error).replace(str(part), url)) from error


def _lock(file: BinaryIO, path: Path) -> None:
    """Takes the lock on a partial download; refuses if another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DgexError(f"{path}: another process is downloading it; wait for it, or stop it first") from error


def _fetch(
    url: str, file: BinaryIO, report: Report, sleep: Callable[[float], None], limits: Limits, version: Path | None
) -> None:
    """Appends to ``file`` until the download is complete, in up to ``ATTEMPTS`` attempts."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(url, file, report, limits, version)
        except _RetryableError as error:
            if attempt == ATTEMPTS:
                raise DgexError(
                    f"{url}: {error}, after {ATTEMPTS} attempts; run again to go on from here, or try another mirror"
                ) from error
            # The waits are random, so that many clients do not return at the same moment.
            wait = max(FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.5, 1.5), min(error.wait, LONGEST_WAIT))
            text = visible(f"{url}: {error}; next attempt in {wait:.0f} s")
            stderr.print(text, markup=False, soft_wrap=True)
            sleep(wait)


def _attempt(url: str, file: BinaryIO, report: Report, limits: Limits, version: Path | None) -> None:
    """Appends the bytes that are missing from ``file``, in one request; raises ``_RetryableError`` if that fails.

    ``version`` is the file that keeps the version of the part; None where the checks at the end notice another one.
    """
    done = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": f"dgex/{__version__}"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        response = urlopen(Request(url, headers=headers), timeout=STALLED)
    except HTTPError as error:
        error.close()
        if error.code == 416:
            if error.headers["Content-Range"] == f"bytes */{done}":
                return  # nothing is missing
            if version:
                raise _other_version(url, file) from error
            file.truncate(0)  # the part is longer than the server's file, so it belongs to another version
        raise _refusal(url, error) from error
    except (InvalidURL, ValueError) as error:
        raise DgexError(f"{url}: is no web address ({error}); check the mirror") from error
    except (OSError, HTTPException) as error:
        raise _RetryableError(_reason(error)) from error
    with response:
        if response.headers.get_content_type() == "text/html":
            raise DgexError(f"{url}: sends a web page, not data; open it in a browser to see what the server wants")
        total = response.length
        if response.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or "")
            if match is None or int(match[1]) != done:
                file.truncate(0)
                raise _RetryableError("the server sends another range than the one requested")
            total = None if match[2] == "*" else int(match[2])
        if version:
            stated = response.headers["Last-Modified"] or response.headers["ETag"] or f"{total} bytes"
            if done and version.exists() and version.read_text(encoding="utf-8") != stated:
                raise _other_version(url, file)
            version.write_text(stated, encoding="utf-8")
        if response.status != 206:  # the server does not support ranges, and sends the file from its start
            file.truncate(0)
            done = 0
        _need_small(url, file, total or 0, limits)
        need_room(Path(file.name).parent, max((total or 0) - done, 0))
        since, before = time.monotonic(), done
        while chunk := _read(response):
            file.write(chunk)
            done += len(chunk)
            report(done, total)
            _need_small(url, file, done, limits)
            seconds, rate = time.monotonic() - since, limits.rate * 2**10
            if seconds >= RATE_SECONDS:
                if done - before < rate * seconds:
                    raise _RetryableError(
                        f"{(done - before) / 2**10 / seconds:.2g} KiB/s arrive, fewer than --min-rate {limits.rate:g}"
                    )
                since, before = time.monotonic(), done
    if total is not None and done != total:
        raise _RetryableError(f"the connection ended after {done} of {total} bytes")


def _other_version(url: str, file: BinaryIO) -> DgexError:
    """Makes the error to raise where a part does not belong to the server's file."""
    return DgexError(
        f"{url}: is not the version that {file.name} is a part of; delete that file to start over, or use the mirror "
        "that it is from"
    )


def _need_small(url: str, file: BinaryIO, size: int, limits: Limits) -> None:
    """Refuses a download that is larger than the limit, and empties the file."""
    if size > limits.size * 2**30:
        file.truncate(0)
        raise DgexError(f"{url}: is larger than {limits.size:g} GiB ({size / 2**30:.2f} at least); {limits.remedy}")


def _read(response: HTTPResponse) -> bytes:
    """Reads the bytes that have arrived, without waiting for a whole chunk, so that a stalled connection loses none."""
    try:
        return response.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise _RetryableError(_reason(error)) from error


def _refusal(url: str, error: HTTPError) -> Exception:
    """Makes the exception to raise for an HTTP error status."""
    status = f"the server says {error.code} {error.reason}"
    if error.code in RETRYABLE:
        return _RetryableError(status, _retry_after(error.headers["Retry-After"] or ""))
    if error.code in (404, 410):
        return NotThere(f"{url}: {status}; check the name")
    return DgexError(f"{url}: {status}; open it in a browser to see what the server wants")


def _retry_after(value: str) -> float:
    """Parses a Retry-After header, which holds seconds or a date, into the seconds to wait; 0 if it holds neither."""
    if value.isdecimal():
        return float(value)
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _reason(error: Exception) -> str:
    """Extracts the bare reason of an error: "timed out" rather than "<urlopen error timed out>"."""
    return str(getattr(error, "reason", error)) or type(error).__name__
