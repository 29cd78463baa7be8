"""Links between processes: messages over TCP, with notice of the other side's end."""

import queue
import socket
import struct
import threading
import time
from collections.abc import Callable

from dgex.errors import DgexError

RESOLVE_SECONDS = 20.0  # that a host's name may take to become known, as in a job that is starting
RETRY_SECONDS = 0.2
ANSWER_SECONDS = 30.0  # that a message may take on its way
FIRST_SECONDS = 5.0  # that whoever connects may take to say who it is
# Seconds of silence before the first probe, seconds between probes, and probes: a lost host is noticed in 30 s.
KEEPALIVE = (10, 5, 4)
LONGEST_MESSAGE = 2**36
_HEADER = struct.Struct("!cQ")
_MESSAGE, _WARNING = b"m", b"w"


class LinkError(Exception):
    """Says that a link has ended, or that what came is no message."""


class Link:
    """Is one end of a connection that carries messages, byte strings, in order."""

    def __init__(self, connection: socket.socket, patience: float = ANSWER_SECONDS) -> None:
        """Takes over a connected socket, whose first messages may take so many seconds."""
        self._socket = connection
        self._sending = threading.Lock()
        self._messages: queue.SimpleQueue[bytes] | None = None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in zip(("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), KEEPALIVE, strict=True):
            if hasattr(socket, name):  # macOS lacks the first
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        connection.settimeout(patience)

    def send(self, message: bytes) -> None:
        """Sends a message; a LinkError if the other side is gone."""
        self._send(_MESSAGE, message)

    def warn(self, reason: str) -> None:
        """Tells the other side to end, and why."""
        self._send(_WARNING, reason.encode())

    def receive(self) -> bytes:
        """Waits for a message.

        Before ``watch`` a LinkError says that none came in time. From then on the watching thread deals with the end.
        """
        return self._read()[1] if self._messages is None else self._messages.get()

    def watch(self, on_end: Callable[[str | None], None]) -> None:
        """Receives from now on in a thread of its own, which notices when the other side ends.

        Args:
          on_end: called in that thread when the connection has ended, with None, or with the reason in a warning.
        """
        self._socket.settimeout(None)
        messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._messages = messages

        def read() -> None:
            reason = None
            try:
                while reason is None:
                    kind, message = self._read()
                    if kind == _WARNING:
                        reason = message.decode(errors="replace")
                    else:
                        messages.put(message)
            except LinkError:
                pass
            finally:  # whatever has happened, nothing will come any more
                on_end(reason)

        threading.Thread(target=read, daemon=True).start()

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def _send(self, kind: bytes, message: bytes) -> None:
        try:
            with self._sending:
                self._socket.sendall(_HEADER.pack(kind, len(message)) + message)
        except OSError as error:
            raise LinkError(str(error)) from error

    def _read(self) -> tuple[bytes, bytes]:
        kind, length = _HEADER.unpack(self._exactly(_HEADER.size))
        if kind not in (_MESSAGE, _WARNING) or length > LONGEST_MESSAGE:
            raise LinkError("not a message")
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        pieces = []
        while count:
            try:
                piece = self._socket.recv(min(count, 2**20))
            except OSError as error:
                raise LinkError(str(error)) from error
            if not piece:
                raise LinkError("the other side has ended")
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)


class Server:
    """Accepts links; a context manager that stops to do so at its end."""

    def __init__(self, listening: socket.socket) -> None:
        """Takes over a listening socket."""
        self._socket = listening

    def __enter__(self) -> "Server":
        """Returns itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the port."""
        self._socket.close()

    def accept(self, deadline: float) -> Link | None:
        """Waits for a link, and returns None if none came before the deadline, in seconds of ``time.monotonic``."""
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            return Link(self._socket.accept()[0], FIRST_SECONDS)
        except TimeoutError:
            return None


def listen(host: str, port: int) -> Server:
    """Listens on a port: of the loopback interface if the host is this machine's own name for itself, else of all.

    Raises:
      DgexError: the port is in use, or may not be used.
    """
    try:
        if host == "localhost" or host.startswith("127."):
            return Server(socket.create_server((host, port), backlog=1024))
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        return Server(socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=1024))
    except OSError as error:
        raise DgexError(
            f"port {port}: cannot be used ({error.strerror}); name another in --coordinator, and start process 0 once"
        ) from error


def connect(host: str, port: int, deadline: float, patience: float) -> Link:
    """Connects with the process that listens on a port, and tries again until it does; ``patience`` is the link's.

    Raises:
      DgexError: the host's name is unknown, or nothing answers before the deadline, in seconds of ``time.monotonic``.
    """
    started = time.monotonic()
    while True:
        try:
            left = max(deadline - time.monotonic(), 0.001)
            return Link(socket.create_connection((host, port), timeout=left), patience)
        except socket.gaierror as error:
            if time.monotonic() - started > RESOLVE_SECONDS:
                raise DgexError(f"{host}: is no known host ({error.strerror}); check --coordinator") from error
        except OSError as error:
            if time.monotonic() > deadline:
                waited = time.monotonic() - started
                raise DgexError(
                    f"{host}:{port}: no process 0 answers within {waited:.0f} s ({error.strerror or error}); start it, "
                    "or check --coordinator"
                ) from error
        time.sleep(RETRY_SECONDS)
