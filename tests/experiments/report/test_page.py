"""An experiment's files say what its results say, and come from results.json alone."""

import base64
import csv
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dgex.errors import DgexError
from experiments.report.page import SCHEMA_VERSION, redraw, write_report
from experiments.report.sections import Figure, Section, Table

HOSTILE = "<script>alert('&')</script>"
ROW = {"label": HOSTILE, "estimate": 0.1, "low": -0.1, "high": None, "points": []}
FOREST = Figure("forest", "intervals", f"Differences {HOSTILE}", {"unit": "log2", "better": "ours", "rows": [ROW]})
CLOUD = Figure(
    "cloud",
    "scatter",
    "Genes",
    {"x_label": "a", "y_label": "b", "x": [1.0, math.nan], "y": [2.0, 3.0], "diagonal": True},
)
TABLE = Table(
    "table.1",
    f"Errors {HOSTILE}",
    ["model, or none", "samples", "difference", "p", "unknown"],
    [
        ["TAAF", 1234567, 1 / 3, None, None],
        [f'"{HOSTILE}", two\nlines', 7, -0.0, 1e-17, None],
        ["naïve", 0, -0.00001, math.nan, None],
        ["mean", -1200, -0.25, 2.0, None],
        ["last", 5, 0.5, 0.5, None],
    ],
    shown=4,
)
CELLS = [
    ["TAAF", "1,234,567", "0.3333", "–", "–"],
    [f'"{HOSTILE}", two\nlines', "7", "0.0000", "1e-17", "–"],
    ["naïve", "0", "0.0000", "–", "–"],
    ["mean", "-1,200", "-0.2500", "2.0000", "–"],
]
SECTIONS = [
    Section("first", f"Which {HOSTILE}?", "21 studies", ["TAAF.", "Or not."], ["Few.", "Old."], [TABLE], [FOREST]),
    Section("second", "How much?", "2 cohorts", ["No interval."], [], [], [CLOUD]),
]
RESULTS: dict[str, Any] = {
    "schema_version": SCHEMA_VERSION,
    "title": f"A study of {HOSTILE}",
    "summary": ["704 arrays.", "Units."],
    "sections": [asdict(section) for section in SECTIONS],
    "facts": {"command": f"python {HOSTILE}"},
    "seeds": [0, 1],
}
FILES = {
    "results.json",
    "report.html",
    "results.md",
    "tables/table.1.csv",
    "figures/forest.png",
    "figures/forest.svg",
    "figures/cloud.png",
    "figures/cloud.svg",
}


class Page(HTMLParser):
    """What a browser would fetch, follow and run; and the texts of cells and paragraphs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.right: list[str] = []  # texts of cells with numbers
        self.text = ""
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.sources += [found["src"]] if "src" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.anchors += [found["id"]] if "id" in found else []
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.in_cell, self.number = True, found.get("class") == "number"

    def handle_endtag(self, tag: str) -> None:
        if tag == "td" and self.number:
            self.right.append(self.tables[-1][-1][-1])
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "new"
    write_report(folder, RESULTS)
    return folder


@pytest.fixture(scope="module")
def page(study: Path) -> Page:
    return Page((study / "report.html").read_text(encoding="utf-8"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files(study: Path) -> None:
    assert contents(study).keys() == FILES


def test_results_keep_all_and_nan_is_null(study: Path) -> None:
    found = json.loads((study / "results.json").read_text())
    assert found["seeds"] == [0, 1]
    assert found["sections"][0]["tables"][0]["rows"][2] == ["naïve", 0, -0.00001, None, None]
    assert found["sections"][1]["figures"][0]["data"]["x"] == [1.0, None]


def test_csv_has_every_value_in_full(study: Path) -> None:
    assert (study / "tables/table.1.csv").read_bytes().startswith(b'"model, or none",samples,difference,p,unknown\r\n')
    with (study / "tables/table.1.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == TABLE.columns
    for found, row in zip(rows, TABLE.rows, strict=True):
        assert found[0] == row[0]
        for text, value in zip(found[1:], row[1:], strict=True):
            missing = value is None or math.isnan(float(value))
            assert text == "" if missing else float(text) == value


def test_page_begins_with_all_answers(page: Page) -> None:
    assert page.tables[0] == [
        ["question", "answer", "on what data", "caveat"],
        [f"Which {HOSTILE}?", "TAAF.", "21 studies", "Few."],
        ["How much?", "No interval.", "2 cohorts", "–"],
    ]
    assert [link for link in page.links if link[0] == "#"] == ["#first", "#second"]
    assert {"first", "second"} <= set(page.anchors)


def test_page_shows_every_cell(page: Page) -> None:
    header, *rows = page.tables[1]
    assert header == TABLE.columns
    assert rows == CELLS
    assert page.right == [cell for row in CELLS for cell in row[1:]]


def test_page_says_how_many_rows_it_leaves_to_the_file(page: Page) -> None:
    assert "4 of 5 rows; all of them" in page.text


def test_text_has_answers_and_tables(study: Path) -> None:
    text = (study / "results.md").read_text(encoding="utf-8")
    assert f"## Which {HOSTILE}?\n\n21 studies\n\nTAAF.\n\nOr not.\n" in text
    assert "| TAAF | 1,234,567 | 0.3333 | – | – |" in text
    assert "| last |" not in text  # the table shows four rows


def test_page_leaves_columns_to_the_file(tmp_path: Path) -> None:
    table = replace(TABLE, columns_shown=2)
    write_report(tmp_path, {**RESULTS, "sections": [asdict(replace(SECTIONS[0], tables=[table]))]})
    found = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert found.tables[1] == [TABLE.columns[:2], *(row[:2] for row in CELLS)]
    assert (tmp_path / "tables/table.1.csv").read_bytes().startswith(b'"model, or none",samples,difference,p,unknown')


def test_page_shows_every_text(page: Page) -> None:
    texts = ["704 arrays.", "Units.", "Or not.", "Old.", f"Errors {HOSTILE}", f"Differences {HOSTILE}", "Genes"]
    for text in [*texts, f"A study of {HOSTILE}", f"python {HOSTILE}", "tables/table.1.csv"]:
        assert text in page.text, text
    for text in ("TAAF.", "Few.", "21 studies"):  # in the first table and in the section
        assert page.text.count(text) == 2, text


def test_page_escapes_and_fetches_nothing(page: Page, study: Path) -> None:
    assert "script" not in page.tags
    text = (study / "report.html").read_text(encoding="utf-8")
    assert "url(" not in text and "@import" not in text
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    # All other links lead to the page itself and to files beside it.
    assert {link for link in page.links if link[0] != "#"} <= FILES


def test_page_holds_the_figures_as_saved(page: Page, study: Path) -> None:
    embedded = [base64.b64decode(source.partition(",")[2]) for source in page.sources]
    assert embedded == [(study / "figures" / f"{name}.svg").read_bytes() for name in ("forest", "cloud")]
    for name in ("forest", "cloud"):
        assert (study / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_redraw_gives_the_same_bytes_from_results_alone(study: Path, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes((study / "results.json").read_bytes())
    redraw(tmp_path)
    assert contents(tmp_path) == contents(study)


def change(edit: Callable[[dict[str, Any]], Any]) -> str:
    results = json.loads(json.dumps(RESULTS).replace("NaN", "null"))
    edit(results)
    return json.dumps(results)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        (change(lambda _: None)[:-50], "is damaged"),
        ("[]", "does not hold"),
        (change(lambda results: results.update(schema_version=1)), "does not hold"),
        (change(lambda results: results.pop("schema_version")), "does not hold"),
        (change(lambda results: results.pop("facts")), "facts"),
        (change(lambda results: results["sections"][0].pop("answer")), "answer"),
        (change(lambda results: results["sections"][0].update(tables=3)), "TypeError"),
        (change(lambda results: results["sections"][0]["tables"][0].update(name="../x")), "'../x'"),
        (change(lambda results: results["sections"][1].update(name="first")), "'first'"),
        (change(lambda results: results["sections"][0]["tables"][0]["rows"][1].pop()), "ValueError"),
        (change(lambda results: results["sections"][0]["figures"][0].update(kind="pie")), "pie"),
        (change(lambda results: results["sections"][1]["figures"][0]["data"].update(x=["a", 1])), "ValueError"),
        (change(lambda results: results["sections"][1]["figures"][0]["data"].pop("x")), "TypeError"),
    ],
)
def test_damaged_results_are_refused_in_one_line(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(DgexError, match=re.escape(message)) as caught:
        redraw(tmp_path)
    assert "results.json: " in str(caught.value) and "\n" not in str(caught.value)
    assert contents(tmp_path).keys() <= {"results.json"}
