"""A server on this machine that answers as a test tells it, for downloads."""

import re
import threading
from http.server import BaseHTTPRequestHandler

import pytest


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
