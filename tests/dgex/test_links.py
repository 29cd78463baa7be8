"""Messages arrive whole and in order, and the end of the other side is noticed."""

import queue
import socket
import struct
import time

import pytest

from dgex.errors import DgexError
from dgex.links import Link, LinkError, connect, listen


def connected():
    """The two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        return near, server.accept()[0]


@pytest.fixture
def pair():
    one, other = map(Link, connected())
    yield one, other
    one.close()
    other.close()


def watched(link):
    """The link's end, when it comes, as its watching thread tells it."""
    ends = queue.SimpleQueue()
    link.watch(ends.put)
    return lambda: ends.get(timeout=10)


def test_messages_arrive_whole_and_in_order(pair):
    one, other = pair
    sent = [b"", b"one", bytes(3_000_000), b"two"]
    watched(other)
    for message in sent:
        one.send(message)
    assert [other.receive() for _ in sent] == sent


def test_the_end_is_noticed(pair):
    one, other = pair
    end = watched(other)
    one.close()
    assert end() is None


def test_a_warning_comes_with_its_reason(pair):
    one, other = pair
    end = watched(other)
    one.send(b"before")
    one.warn("process 3 has stopped")
    assert end() == "process 3 has stopped" and other.receive() == b"before"


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", struct.pack("!cQ", b"m", 2**60)])
def test_what_is_no_message(sent):
    near, far = connected()
    link = Link(near)
    far.sendall(sent)
    with pytest.raises(LinkError, match="not a message"):
        link.receive()
    link.close()
    far.close()


def test_a_message_that_does_not_come_in_time():
    near, far = connected()
    link = Link(near, patience=0.05)
    with pytest.raises(LinkError, match="timed out"):
        link.receive()
    link.close()
    far.close()


def test_whoever_came_first_waits_for_the_last():
    """Process 0 answers when all have come, which may take until the deadline."""
    with listen("localhost", 0) as server:
        port = server._socket.getsockname()[1]
        link = connect("localhost", port, time.monotonic() + 100, 150)
        assert link._socket.gettimeout() == 150
        accepted = server.accept(time.monotonic() + 10)
        accepted.send(b"welcome")
        assert link.receive() == b"welcome"
        assert server.accept(time.monotonic() + 0.01) is None
        link.close()
        accepted.close()


def test_a_host_that_is_not_known(monkeypatch):
    monkeypatch.setattr("dgex.links.RESOLVE_SECONDS", 0.0)
    with pytest.raises(DgexError, match="^no-such-host.invalid: is no known host .* check --coordinator$"):
        connect("no-such-host.invalid", 4711, time.monotonic() + 10, 10)
