"""The page must show its tables and figures without a network."""

import base64
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest


class Links(HTMLParser):
    """Collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture(scope="module")
def page(compared: Path) -> str:
    return (compared / "report.html").read_text(encoding="utf-8")


def test_fetches_nothing(page: str) -> None:
    links = Links()
    links.feed(page)
    assert len(links.found) == 6
    assert all(link.startswith("data:image/svg+xml;base64,") for link in links.found)
    assert "url(" not in page and "@import" not in page


def test_holds_the_figures_as_saved(page: str, compared: Path) -> None:
    embedded = [base64.b64decode(code) for code in re.findall(r"base64,([A-Za-z0-9+/=]+)", page)]
    assert sorted(embedded) == sorted(path.read_bytes() for path in (compared / "figures").glob("*.svg"))


def test_shows_the_table_of_results_md(page: str, compared: Path) -> None:
    lines = (compared / "results.md").read_text(encoding="utf-8").splitlines()
    for line in (lines[0], *lines[2:]):
        for cell in line.strip("| ").split(" | "):
            assert cell.strip() in page


def test_png_figures_are_not_tiny(compared: Path) -> None:
    for path in (compared / "figures").glob("*.png"):
        width, height = struct.unpack(">II", path.read_bytes()[16:24])
        assert min(width, height) > 300, path.name
