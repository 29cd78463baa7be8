"""The report of a prediction: what it says, against numpy; what it refuses; and that equal input gives equal bytes."""

import csv
import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dgex
from dgex.cli import app
from dgex.errors import DgexError
from dgex.formats.expression import in_memory
from dgex.formats.gctx import write_gctx
from dgex.formats.opening import open_expression
from dgex.model.directory import save_model
from dgex.model.reliability import LEAST_PROFILES

PICTURE = re.compile(r'src="data:image/svg\+xml;base64,[^"]+"')


def predict(*arguments: object) -> None:
    app(["predict", *map(str, arguments)], standalone_mode=False)


def words_of(page: str) -> str:
    """The text of a page, without scripts, tags and pictures."""
    body = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))


def genes_of(page: str) -> dict[str, list]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def rows_of(page: str, table: str) -> list[list[str]]:
    """The cells of the body of a table."""
    body = page.partition(f"<table {table}>")[2].partition("<tbody>")[2].partition("</tbody>")[0]
    return [[html.unescape(cell) for cell in re.findall("<td>(.*?)</td>", row)] for row in body.split("</tr>")[:-1]]


@pytest.fixture(scope="module")
def written(model_files, tmp_path_factory) -> tuple[str, Path]:
    """The page of the small plate, and the folder of the prediction profile.csv."""
    folder = tmp_path_factory.mktemp("report")
    arguments = ["-m", model_files / "model", "-o", folder / "profile.csv", "--report", folder / "page.html"]
    predict(model_files / "plate.gct", *arguments)
    return (folder / "page.html").read_text(encoding="utf-8"), folder


def strange(small_plate):
    """A table in which no landmark goes with the others, so that its self-check fails."""
    shuffled = np.random.default_rng(0).permuted(small_plate.load(), axis=1)
    return in_memory(shuffled, small_plate.row_id, small_plate.sample_id)


def test_the_page_says_what_was_inferred_from_what(written):
    page, _ = written
    said = words_of(page)
    assert (
        "The expression of 52 genes was inferred in 60 profiles, from 24 of 24 landmark genes that the table measures, "
        "by the model “model”, which was trained on 120 profiles of 3 studies." in said
    )
    assert "plate.gct, GCT 1.3, 60 profiles" in said and "taken as log2" in said
    assert "array (60), which brings each profile nearest to the training data" in said
    assert "The self-check holds. Hidden landmarks of these profiles are inferred with r = " in said
    assert "No gene is called well inferred" not in said
    assert len(PICTURE.findall(page)) == 3


def test_the_page_loads_nothing_from_elsewhere(written):
    page = PICTURE.sub("", written[0])
    assert not re.findall(r"(?:src|href)\s*=|url\(|@import|https?:", page.replace("link.href = URL", ""))
    assert "default-src 'none'" in page


def test_the_worst_profiles_come_first_as_in_the_output(written):
    page, folder = written
    with (folder / "profile.samples.csv").open(newline="") as file:
        told = list(csv.DictReader(file))
    told.sort(key=lambda row: -float(row["expected_zscore_mae"]))
    rows = rows_of(page, 'class="profiles"')
    assert len(rows) == 20
    for row, wanted in zip(rows, told, strict=False):
        numbers = (float(wanted[name]) for name in ("expected_zscore_mae", "expected_log2_mae", "self_check_error"))
        assert row[1:4] == [f"{number:.3f}" for number in numbers] and row[0] == wanted["id"]
        assert row[4:] == ["array", "yes" if wanted["out_of_range"].lower() == "true" else "no", "0"]


def test_every_gene_is_listed_with_what_the_model_knows(written, small_model):
    page, _ = written
    genes, reliability = genes_of(page), small_model.reliability
    assert sorted(genes["ensembl"]) == sorted(small_model.reference.target_genes.ensembl)
    r = [-2 if value is None else value for value in genes["r"]]
    assert r == sorted(r, reverse=True)
    place = {gene: position for position, gene in enumerate(small_model.reference.target_genes.ensembl)}
    order = [place[gene] for gene in genes["ensembl"]]
    np.testing.assert_allclose(np.array(genes["r"], float), reliability.pearson[order], atol=6e-4)
    np.testing.assert_allclose(np.array(genes["mae"], float), reliability.zscore_mae[order], atol=6e-4)
    assert genes["well"] == ((reliability.pearson[order] >= 0.5) & (reliability.r2[order] > 0)).astype(int).tolist()
    landmarks = set(small_model.reference.landmark_genes.ensembl)
    assert genes["here"] == ["measured" if gene in landmarks else "inferred" for gene in genes["ensembl"]]
    shown = rows_of(page, 'id="genes"')
    assert [row[0] for row in shown] == genes["symbol"][:25]
    assert f"{sum(genes['well'])} of 60 target genes are well inferred" in words_of(page)


def test_a_failed_self_check_calls_no_gene_well_inferred(small_model, model_files, small_plate, tmp_path):
    write_gctx(tmp_path / "strange.gctx", strange(small_plate))
    arguments = ["-m", model_files / "model", "-o", tmp_path / "out.gctx", "--report", tmp_path / "page.html"]
    predict(tmp_path / "strange.gctx", *arguments, "--input-scale", "log2")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    said = words_of(page)
    assert "The self-check fails." in said and "No gene is called well inferred for this table." in said
    assert "are well inferred:" not in said
    assert set(genes_of(page)["well"]) == {None}
    assert {row[-1] for row in rows_of(page, 'id="genes"')} == {"not told"}
    with open_expression(tmp_path / "out.gctx") as found:
        error = found.sample_metadata["self_check_error"]
    outside = int((error > small_model.reliability.expectation.farthest).sum())
    assert outside > 0 and f"Out of range: {outside} of 60." in said


def test_equal_input_gives_equal_bytes_under_any_name(written, model_files, tmp_path):
    arguments = ["-m", model_files / "model", "-o", tmp_path / "other.gctx", "--report", tmp_path / "b" / "other.HTML"]
    predict(model_files / "plate.gct", *arguments)
    assert (tmp_path / "b" / "other.HTML").read_text(encoding="utf-8") == written[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("page.txt", "is no name of a report; give one that ends in .html"),
        ("out.gctx", "is no name of a report"),
        ("folder.html", "cannot be written"),
        ("input.html", "is read to make this output"),
    ],
)
def test_bad_names_are_refused_before_the_work(model_files, tmp_path, refused, name, said):
    (tmp_path / "folder.html").mkdir()
    shutil.copy(model_files / "plate.gct", tmp_path / "plate.gct")
    (tmp_path / "input.html").hardlink_to(tmp_path / "plate.gct")
    before = sorted(tmp_path.iterdir())
    arguments = ["-m", model_files / "model", "-o", tmp_path / "out.gctx", "--report", tmp_path / name]
    assert said in refused(lambda: predict(tmp_path / "plate.gct", *arguments))
    assert sorted(tmp_path.iterdir()) == before


def test_in_a_notebook(small_model, small_plate, tmp_path):
    values = small_plate.load()
    page = dgex.report(small_model, values)
    assert f"<{type(values).__name__}>: how far to trust" in words_of(page.html)
    frame = page._repr_html_()
    assert "a model in memory" in page.html and frame.startswith("<iframe sandbox=")
    assert html.unescape(re.findall('srcdoc="([^"]*)"', frame)[0]) == page.html
    page.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page.html
    with pytest.raises(DgexError, match="ends in .html"):
        page.save(tmp_path / "page")


def test_one_profile_has_a_page(small_model, small_plate):
    page = dgex.report(small_model, small_plate.load()[:1])
    said = words_of(page.html)
    assert "was inferred in 1 profile, from" in said and "across samples" not in said
    assert len(rows_of(page.html, 'class="profiles"')) == 1 < LEAST_PROFILES
    assert len(PICTURE.findall(page.html)) == 3


def test_a_long_table_is_counted_whole_and_drawn_in_part(small_model, small_plate):
    values = np.tile(small_plate.load(), (40, 1))
    values[-30:] = strange(small_plate).load()[:30]
    page = dgex.report(small_model, values)
    said = words_of(page.html)
    assert "every landmark of the first 1,024 profiles" in said and "2,000 evenly spaced of 2,400 of this table" in said
    assert "inferred in 2,400 profiles" in said
    # Those of the end are the worst, though the self-check has not seen them.
    assert all(int(row[0]) >= 2370 for row in rows_of(page.html, 'class="profiles"'))


def test_a_model_without_a_map_says_why_there_is_no_picture(small_model, small_plate):
    page = dgex.report(replace(small_model, training_map=None), small_plate.load())
    assert "Not drawn: this model does not hold where its training profiles lie." in words_of(page.html)
    assert len(PICTURE.findall(page.html)) == 2


def test_profiles_of_trained_studies_are_named(small_model, small_plate):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(small_plate.load(), small_plate.sample_id, small_plate.row_id)
    frame.insert(0, "study_id", ["GSE1"] * 7 + ["elsewhere"] * 53)
    assert small_model.provenance["data"]["splits"]["train"]["studies"][0] == "GSE1"
    assert "7 profiles of studies that the model was trained on (GSE1)" in words_of(
        dgex.report(small_model, frame).html
    )


def test_names_are_no_markup(small_model, small_plate, model_files, tmp_path):
    evil = "</script><script>alert(1)</script>"
    genes = small_model.reference.target_genes
    named = replace(genes, symbol=(evil, *genes.symbol[1:]))
    save_model(tmp_path / "model", replace(small_model, reference=replace(small_model.reference, target_genes=named)))
    names = [f"{name}<img src=x>" for name in small_plate.sample_id]
    write_gctx(tmp_path / "<b>.gctx", in_memory(small_plate.load(), small_plate.row_id, names))
    arguments = ["-m", tmp_path / "model", "-o", tmp_path / "out.gctx", "--report", tmp_path / "page.html"]
    predict(tmp_path / "<b>.gctx", *arguments)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert evil not in page and "<img src=x>" not in page and "<b>" not in page
    assert evil in genes_of(page)["symbol"]
    assert rows_of(page, 'class="profiles"')[0][0].endswith("<img src=x>")
