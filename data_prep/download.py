"""Downloads that survive bad lines: resumed where they broke off, also by a later run, and checked before they count.

With the standard library alone. pooch, the usual choice, checks and retries as well, but starts every attempt from the
first byte; a series matrix of 100 MB over a line that breaks would never arrive.
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

from dgex.console import stderr
from dgex.errors import DgexError, visible
from dgex.version import __version__

ATTEMPTS = 6
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0  # seconds; a wait doubles from one attempt to the next
STALLED = 60.0  # seconds without a byte
RATE_SECONDS = 30.0  # over which the rate is measured
CHUNK = 2**18
MAY_PASS = {408, 416, 425, 429, 500, 502, 503, 504}  # statuses worth another attempt

Report = Callable[[int, int | None], None]  # takes bytes so far, and bytes in all where the server says


@dataclass(frozen=True)
class Limits:
    """What a server may do to a download.

    Attributes:
      rate: KiB/s that are to come at least; 0 for no such limit.
      size: GiB that a file may have, as it comes.
    """

    rate: float = 1.0
    size: float = 4.0


LIMITS = Limits()


class NotThere(DgexError):
    """The server has no such file (404 or 410)."""


class _Trouble(Exception):
    """Worth another attempt; ``wait`` is how many seconds the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


def download(
    url: str,
    path: Path,
    sha256: str | None = None,
    report: Report = lambda done, total: None,
    sleep: Callable[[float], None] = time.sleep,
    limits: Limits = LIMITS,
    check: Callable[[Path], None] = lambda path: None,
) -> None:
    """Fetches ``url`` to ``path``, which appears whole and checked or not at all.

    What has come lies in ``.NAME.part`` beside it, and the next run goes on from there. If the file changed on the
    server meanwhile, the parts do not fit, which the check finds: so the file is gzip (``.gz``) or has a ``sha256``.

    Args:
      sha256: hexadecimal; None where nobody knows it.
      report: called as bytes arrive.
      sleep: called between attempts.
      limits: a slower connection is cut and resumed, a larger file refused.
      check: raises a DgexError if what has come, under another name, is not the file that it should be.

    Raises:
      NotThere: the server has no such file.
      DgexError: the server refuses, sends a web page or too large a file, keeps failing, or sends a file that does not
        pass its checks, also when fetched again from the start; another process is fetching it; the folder cannot be
        written to.
    """
    if not re.match("https?://[^/]", url):
        raise DgexError(f"{url}: is no web address; give one such as https://host/folder")
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _lock(file, path)
            try:
                for _ in range(2):
                    _fetch(url, file, report, sleep, limits)
                    file.flush()
                    flaw = find_flaw(part, sha256)
                    if flaw is None:
                        _pass(check, part, url, file)
                        os.replace(part, path)
                        return
                    file.truncate(0)
            finally:
                if part.exists() and not part.stat().st_size:
                    part.unlink()
    except OSError as error:
        raise DgexError(f"{path}: cannot be written ({error.strerror}); check the folder's rights and space") from error
    raise DgexError(f"{url}: what comes from there {flaw}, twice; try again later, or another mirror")


def find_flaw(path: Path, sha256: str | None = None) -> str | None:
    """What is wrong with a file, as "is truncated"; None if nothing is. Reads gzip through to its CRC-32."""
    with path.open("rb") as file:
        if flaw := _flaw_at_start(file.read(64)):
            return flaw
        file.seek(0)
        if sha256 and (found := hashlib.file_digest(file, "sha256").hexdigest()) != sha256:
            return f"has SHA-256 {found}, not {sha256}"
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
    if not start:
        return "is empty"
    return "is a web page, not data" if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") else None


def _pass(check: Callable[[Path], None], part: Path, url: str, file: BinaryIO) -> None:
    try:
        check(part)
    except DgexError as error:
        file.truncate(0)
        raise DgexError(str(error).replace(str(part), url)) from error


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DgexError(f"{path}: another process is downloading it; wait for it, or stop it first") from error


def _fetch(url: str, file: BinaryIO, report: Report, sleep: Callable[[float], None], limits: Limits) -> None:
    """Appends to ``file`` until all is there."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(url, file, report, limits)
        except _Trouble as trouble:
            if attempt == ATTEMPTS:
                raise DgexError(
                    f"{url}: {trouble}, after {ATTEMPTS} attempts; run again to go on from here, or try another mirror"
                ) from trouble
            # Spread, so that many clients do not return at the same moment.
            wait = max(FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.5, 1.5), min(trouble.wait, LONGEST_WAIT))
            text = visible(f"{url}: {trouble}; next attempt in {wait:.0f} s")
            stderr.print(text, markup=False, soft_wrap=True)
            sleep(wait)


def _attempt(url: str, file: BinaryIO, report: Report, limits: Limits) -> None:
    done = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": f"dgex/{__version__}"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        response = urlopen(Request(url, headers=headers), timeout=STALLED)
    except HTTPError as error:
        error.close()
        if error.code == 416:
            if error.headers["Content-Range"] == f"bytes */{done}":
                return  # nothing is missing
            file.truncate(0)  # what lies here is longer than the file there, so it is of another one
        raise _refusal(url, error) from error
    except (InvalidURL, ValueError) as error:
        raise DgexError(f"{url}: is no web address ({error}); check the mirror") from error
    except (OSError, HTTPException) as error:
        raise _Trouble(_reason(error)) from error
    with response:
        if response.headers.get_content_type() == "text/html":
            raise DgexError(f"{url}: sends a web page, not data; open it in a browser to see what the server wants")
        total = response.length
        if response.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or "")
            if match is None or int(match[1]) != done:
                file.truncate(0)
                raise _Trouble("the server sends another range than asked for")
            total = None if match[2] == "*" else int(match[2])
        else:  # the server does not do ranges
            file.truncate(0)
            done = 0
        _need_small(url, file, total or 0, limits)
        since, before = time.monotonic(), done
        while chunk := _read(response):
            file.write(chunk)
            done += len(chunk)
            report(done, total)
            _need_small(url, file, done, limits)
            seconds, rate = time.monotonic() - since, limits.rate * 2**10
            if seconds >= RATE_SECONDS:
                if done - before < rate * seconds:
                    raise _Trouble(
                        f"{(done - before) / 2**10 / seconds:.2g} KiB/s come, fewer than --min-rate {limits.rate:g}"
                    )
                since, before = time.monotonic(), done
    if total is not None and done != total:
        raise _Trouble(f"the connection ended after {done} of {total} bytes")


def _need_small(url: str, file: BinaryIO, size: int, limits: Limits) -> None:
    if size > limits.size * 2**30:
        file.truncate(0)
        raise DgexError(
            f"{url}: is larger than {limits.size:g} GiB ({size / 2**30:.2f} at least); allow it with --max-size, or "
            "try another mirror"
        )


def _read(response: HTTPResponse) -> bytes:
    """What has come, before it is a whole chunk: a stall must not lose it."""
    try:
        return response.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise _Trouble(_reason(error)) from error


def _refusal(url: str, error: HTTPError) -> Exception:
    said = f"the server says {error.code} {error.reason}"
    if error.code in MAY_PASS:
        return _Trouble(said, _retry_after(error.headers["Retry-After"] or ""))
    if error.code in (404, 410):
        return NotThere(f"{url}: {said}; check the name")
    return DgexError(f"{url}: {said}; open it in a browser to see what the server wants")


def _retry_after(value: str) -> float:
    """The seconds that a Retry-After header asks for, whether it gives seconds or a date."""
    if value.isdecimal():
        return float(value)
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _reason(error: Exception) -> str:
    """ "timed out" rather than "<urlopen error timed out>"."""
    return str(getattr(error, "reason", error)) or type(error).__name__
