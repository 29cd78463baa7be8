"""A part of a download is joined with no other version of the file."""

import os

import pytest

from dgex.errors import DgexError
from dgex.files.download import download

DATA, OTHER = os.urandom(300_000), os.urandom(300_000)


def dated(date, data, upto=None, ranges=True):
    """Answers as a server that states when the file was last changed."""

    def answer(handler, begin):
        begin = begin if ranges else 0
        if begin >= len(data):
            return handler.head(416, Content_Range=f"bytes */{len(data)}")
        head = {"Content_Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
        handler.head(206 if begin else 200, Content_Length=len(data) - begin, Last_Modified=date, **head)
        handler.body(data[begin:upto])

    return answer


@pytest.mark.parametrize(
    "later",
    [
        dated("Tue, 02 Feb 2016 00:00:00 GMT", OTHER),
        dated("Tue, 02 Feb 2016 00:00:00 GMT", OTHER, ranges=False),
        dated("Tue, 02 Feb 2016 00:00:00 GMT", OTHER[:50_000]),
    ],
    ids=["resumed", "without ranges", "shorter"],
)
def test_a_part_is_not_joined_with_another_version(server, tmp_path, later):
    """Of a file that neither a checksum nor gzip protects; a part of the same version is gone on with."""
    path, monday = tmp_path / "data.gctx", "Mon, 01 Feb 2016 00:00:00 GMT"
    server.answers = [dated(monday, DATA, upto=100_000), dated(monday, DATA, upto=100_001), later]
    with pytest.raises(DgexError, match=r"is not the version that .*\.data\.gctx\.part is a part of; delete that file"):
        download(server.url, path, sleep=lambda seconds: None)
    assert server.ranges == [None, "bytes=100000-", "bytes=100001-"]
    assert (tmp_path / ".data.gctx.part").read_bytes() == DATA[:100_001] and not path.exists()
    server.answers = [dated(monday, DATA)]
    download(server.url, path)
    assert path.read_bytes() == DATA and os.listdir(tmp_path) == ["data.gctx"]
