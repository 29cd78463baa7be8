"""The page of an inspection: whole, safe, and the same every time."""

import base64
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest

from data_prep.__main__ import app
from data_prep.inspection import inspect
from data_prep.page import write_page
from data_prep.simulate import Scale, simulate
from data_prep.steps import Steps
from dgex.data.genes import write_gene_table
from dgex.errors import DgexError
from dgex.formats.expression import in_memory
from dgex.formats.gctx import write_gctx

HOSTILE = "<script>alert(1)</script>"


class Links(HTMLParser):
    """Collects what a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def page_of(path, output) -> str:
    write_page(output, inspect(path, Steps()), Steps())
    return output.read_text(encoding="utf-8")


def pictures_in(page) -> list[bytes]:
    return [base64.b64decode(code) for code in re.findall(r"svg\+xml;base64,([A-Za-z0-9+/=]+)", page)]


def gctx(path, studies=("GSE1", "GSE2"), change=lambda values: values, prefix="s"):
    """Twenty profiles of thirty rows."""
    random = np.random.default_rng(0)
    values = change((random.normal(8, 2, 30) + random.normal(0, 0.5, (20, 30))).astype(np.float32))
    study = np.resize(studies, len(values))
    ids = [f"{prefix}{i}" for i in range(len(values))]
    write_gctx(path, in_memory(values, [f"{i}_at" for i in range(30)], ids, sample_metadata={"study_id": study}))
    return path


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A prepared data set of 13 studies with duplicates, and its source."""
    folder = tmp_path_factory.mktemp("simulated")
    scale = Scale(15, 40, overlap=7, rows=150, profiles=160, profiles_per_study=12, duplicates=0.05)
    expression, landmark, target = simulate(scale, scale.profiles, seed=1)
    write_gctx(folder / "source.gctx", expression)
    write_gene_table(folder / "map_lm.txt", landmark)
    write_gene_table(folder / "map_tg.txt", target)
    command = ["prepare", folder / "source.gctx", "--genes", folder, "-o", folder / "prepared.h5"]
    app([str(word) for word in command], standalone_mode=False)
    return folder


@pytest.mark.parametrize(("name", "pictures"), [("prepared.h5", 2), ("source.gctx", 3)])
def test_is_one_file_with_all_pictures_that_fetches_and_runs_nothing(simulated, tmp_path, name, pictures):
    page = page_of(simulated / name, tmp_path / "page.html")
    links = Links()
    links.feed(page)
    assert len(links.found) == pictures and "script" not in links.tags and "link" not in links.tags
    assert all(link.startswith("data:image/svg+xml;base64,") for link in links.found)
    assert "url(" not in page and "@import" not in page
    for svg in pictures_in(page):
        drawn = ElementTree.fromstring(svg)
        references = [value for part in drawn.iter() for key, value in part.attrib.items() if key.endswith("href")]
        assert references and all(value.startswith(("#", "data:image/png;base64,")) for value in references)
    for text in inspect(simulated / name, Steps()).facts.values():
        assert text.replace("'", "&#39;") in page


def test_equal_files_give_equal_bytes(simulated, tmp_path):
    assert page_of(simulated / "source.gctx", tmp_path / "1.html") == page_of(
        simulated / "source.gctx", tmp_path / "2.html"
    )


def test_lists_the_duplicates_that_were_removed(simulated, tmp_path):
    page = page_of(simulated / "prepared.h5", tmp_path / "page.html")
    with h5py.File(simulated / "prepared.h5") as file:
        removed = json.loads(file["preparation"][()])["duplicates_removed"]
    assert len(removed) >= 8  # copies were planted, and other profiles may be as close
    count = f"{len(removed)} duplicates of an earlier profile removed"
    assert f"<summary>{count}</summary><p>{', '.join(removed)}</p>" in page


def test_what_is_written_in_files_is_text(tmp_path):
    path = gctx(tmp_path / "a&b.gctx", (HOSTILE, "_x", "a$\\frac$", "Ελλ"), prefix="<b>")
    page = page_of(path, tmp_path / "page.html")
    links = Links()
    links.feed(page)
    assert HOSTILE not in page and "&lt;script&gt;alert(1)" in page and "<h1>a&amp;b.gctx</h1>" in page
    assert not links.tags & {"script", "b"}


@pytest.mark.parametrize("gaps", [1, 49, 3000])
def test_gaps_are_counted_and_listed(tmp_path, gaps):
    values = np.random.default_rng(0).normal(8, 1, (6, 3100)).astype(np.float32) + np.arange(3100) % 9
    values[:3, :gaps] = np.nan
    values[:, 0] = np.nan
    names = [f"{i}_at" for i in range(3100)]
    write_gctx(tmp_path / "a.gctx", in_memory(values, names, list("abcdef")))
    page = page_of(tmp_path / "a.gctx", tmp_path / "page.html")
    assert f"{gaps} of 3100 rows have missing values, 1 of them in all samples, n = 6." in page
    listed = re.search(r"<summary>(\d+) rows with missing values</summary><p>(.*?)</p>", page)
    assert listed and int(listed[1]) == gaps
    assert listed[2].split(", ") == ["0_at (100.0%)"] + [f"{i}_at (50.0%)" for i in range(1, gaps)]
    assert len(pictures_in(page)) == 3


@pytest.mark.parametrize(
    ("change", "pictures", "said"),
    [
        (lambda values: values, 2, "None: each of 30 rows has a value in each of 20 samples."),
        (lambda values: values - values.mean(axis=0), 2, "Changes from a baseline are not normalised."),
        (lambda values: 2**values, 2, "linear, converted by prepare to"),
        (lambda values: values[:2], 1, "fewer than three profiles"),
        (lambda values: np.tile(values[:1], (20, 1)), 1, "they do not differ"),
        (lambda values: np.vstack([np.full((19, 30), np.nan, np.float32), values[:1]]), 2, "n = 1 evenly spaced"),
    ],
)
def test_any_file_gets_a_page(tmp_path, change, pictures, said):
    page = page_of(gctx(tmp_path / "a.gctx", change=change), tmp_path / "page.html")
    assert len(pictures_in(page)) == pictures and said in page


def test_studies_without_a_profile_among_those_looked_at(tmp_path, monkeypatch):
    path = gctx(tmp_path / "a.gctx", [f"GSE{i}" for i in range(20)])
    monkeypatch.setattr("data_prep.inspection.PROFILES", 4)
    assert "n = 4 evenly spaced profiles of 20" in page_of(path, tmp_path / "page.html")


def test_a_prepared_file_without_what_is_optional(simulated, tmp_path):
    path = tmp_path / "prepared.h5"
    path.write_bytes((simulated / "prepared.h5").read_bytes())
    with h5py.File(path, "a") as file:
        del file["before"]
        file["preparation"][()] = "{}"
    page = page_of(path, tmp_path / "page.html")
    assert "does not hold the values from before" in page and page.count("The file does not record this.") == 2
    assert len(pictures_in(page)) == 2


def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path, refused):
    (tmp_path / "page.html").mkdir()
    line = refused(lambda: app(["inspect", str(tmp_path / "absent.gctx"), "--html", str(tmp_path / "page.html")]))
    assert "page.html: cannot be written" in line


def test_a_failure_leaves_the_old_page(tmp_path, monkeypatch):
    path = gctx(tmp_path / "a.gctx")
    (tmp_path / "page.html").write_text("old")
    found = inspect(path, Steps())

    def fail(self, *arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", fail)
    with pytest.raises(DgexError, match="No space left"):
        write_page(tmp_path / "page.html", found, Steps())
    assert (tmp_path / "page.html").read_text() == "old"
    assert {each.name for each in tmp_path.iterdir()} == {"a.gctx", "page.html"}
