"""A server on this machine, for tests of downloads."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def serve() -> Iterator[Callable[[type[BaseHTTPRequestHandler]], str]]:
    """Starts a server that handles requests so, and gives its address; it is stopped after the test."""
    with ExitStack() as stack:

        def start(handler: type[BaseHTTPRequestHandler]) -> str:
            http = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            http.daemon_threads = True
            thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(http.shutdown)
            return f"http://127.0.0.1:{http.server_port}"

        yield start


class Server:
    """Answers the n-th request as the n-th of ``answers`` says, and every later one as the last does.

    An answer takes the handler and the request's first byte. ``ranges`` and ``served`` are what was asked for and sent.
    """

    def __init__(self, serve):
        self.answers, self.ranges, self.served = [], [], []
        self.stop = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked = self.headers["Range"]
                server.ranges.append(asked)
                answer = server.answers[min(len(server.ranges), len(server.answers)) - 1]
                server.served.append(0)
                answer(self, int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0)
                self.close_connection = True

            def head(self, status, **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), str(value))
                self.end_headers()

            def body(self, data):
                server.served[-1] += len(data)
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.url = f"{serve(Handler)}/data.txt.gz"


@pytest.fixture
def server(serve):
    server = Server(serve)
    yield server
    server.stop.set()
