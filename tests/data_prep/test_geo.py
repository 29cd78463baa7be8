"""The compendium builder: on small series written here, over HTTP from this machine, and on GEO's own files."""

import gzip
import hashlib
import re
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest

from data_prep.__main__ import app
from data_prep.geo import COMPENDIUM, GENE_TABLE_SHA256, Accession, gene_tables, geo, read_accessions
from dgex.errors import DgexError
from dgex.formats.gctx import open_gctx

REAL = "GSE994 GPL96\nGSE55235\nGSE4107 GPL570\nGSE3268\nGSE14520 GPL571\n"
LANDMARKS = "B\tENSG02\t02_at\nA\tENSG01\t01_at\n"
TARGETS = "C\tENSG03\t" + ",".join(f"{n:02}_at" for n in range(3, 12)) + "\nA\tENSG01\t12_at,03_at\n"
WANTED = ("02_at", "01_at", *(f"{n:02}_at" for n in range(3, 13)))


def matrix(series, platform, values, rows, samples=None):
    """A series matrix of ``values`` [rows, samples] as GEO writes them."""
    samples = samples or [f"GSM{series[3:]}{n}" for n in range(values.shape[1])]

    def line(name, *fields):
        return "\t".join([name, *(f'"{field}"' for field in fields)])

    body = ["\t".join([f'"{name}"', *map(repr, row.tolist())]) for name, row in zip(rows, values, strict=True)]
    head = [
        line("!Series_geo_accession", series),
        line("!Sample_title", *(f"title of {name}" for name in samples)),
        line("!Sample_geo_accession", *samples),
        line("!Sample_platform_id", *([platform] * len(samples) if isinstance(platform, str) else platform)),
        "!series_matrix_table_begin",
        line("ID_REF", *samples),
    ]
    return gzip.compress("\n".join([*head, *body, "!series_matrix_table_end", ""]).encode(), mtime=0)


def levels(rows, samples, seed=0):
    """log2 intensities with three decimals, each row around a level of its own."""
    random = np.random.default_rng(seed)
    return np.round(random.uniform(3, 14, (rows, 1)) + random.normal(0, 0.3, (rows, samples)), 3)


class Mirror:
    """Serves a dictionary of files by path and keeps what was asked for."""

    def __init__(self, serve):
        self.files, self.asked = {}, []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.asked.append(self.path)
                content = mirror.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_):
                pass

        self.url = serve(Handler)


@pytest.fixture
def mirror(serve):
    return Mirror(serve)


@pytest.fixture
def genes(tmp_path):
    folder = tmp_path / "genes"
    folder.mkdir()
    (folder / "map_lm.txt").write_text(LANDMARKS)
    (folder / "map_tg.txt").write_text(TARGETS)
    return folder


@pytest.fixture
def command(tmp_path, genes):
    """Runs the command on a list and files in its cache; gives the output's path."""

    def command(accessions, files, *options):
        (tmp_path / "list.txt").write_text(accessions)
        (tmp_path / "cache").mkdir(exist_ok=True)
        for name, content in files.items():
            (tmp_path / "cache" / f"{name}_series_matrix.txt.gz").write_bytes(content)
        output = tmp_path / "out" / "compendium.gctx"
        arguments = [str(tmp_path / "list.txt"), "-o", str(output), "--genes", str(genes)]
        app(["geo", *arguments, "--cache", str(tmp_path / "cache"), *options], standalone_mode=False)
        return output

    return command


def contents(path):
    with open_gctx(path) as table:
        return table, table.load()


LOG2 = levels(14, 6)
LINEAR = np.round(2 ** levels(11, 5, seed=1) - 20, 1)  # background correction has gone below zero
# The second source has rows of no gene, in another order; the first lacks 12_at.
LOG2_ROWS = [f"{n:02}_at" for n in (20, *range(12, 0, -1), 21)]
LINEAR_ROWS = [f"{n:02}_at" for n in range(1, 12)]
FILES = {
    "GSE14520-GPL571": matrix("GSE14520", "GPL571", LOG2, LOG2_ROWS),
    "GSE7": matrix("GSE7", "GPL96", LINEAR, LINEAR_ROWS),
}
LIST = "# both kinds\n\nGSE7  # linear\nGSE14520\tGPL571\r\n"


def test_series_become_one_table(command, capsys):
    path = command(LIST, FILES)
    table, values = contents(path)
    assert table.row_id == WANTED
    assert table.sample_id == tuple(f"GSM7{n}" for n in range(5)) + tuple(f"GSM14520{n}" for n in range(6))
    expected = np.full((11, 12), np.nan)
    for column, name in enumerate(WANTED):
        if name in LINEAR_ROWS:
            expected[:5, column] = np.log2(np.maximum(LINEAR[LINEAR_ROWS.index(name)], 0) + 1)
        expected[5:, column] = LOG2[LOG2_ROWS.index(name)]
    assert LINEAR.min() < 0
    np.testing.assert_allclose(values, expected, rtol=3e-7)
    np.testing.assert_array_equal(values[5:], expected[5:].astype(np.float32))
    assert {name: column.tolist() for name, column in table.sample_metadata.items()} == {
        "study_id": ["GSE7"] * 5 + ["GSE14520"] * 6,
        "platform_id": ["GPL96"] * 5 + ["GPL571"] * 6,
        "title": [f"title of {name}" for name in table.sample_id],
        "source_scale": ["linear"] * 5 + ["log2"] * 6,
        "source_sha256": [hashlib.sha256(FILES["GSE7"]).hexdigest()] * 5
        + [hashlib.sha256(FILES["GSE14520-GPL571"]).hexdigest()] * 6,
    }
    linear, log2, total = capsys.readouterr().out.splitlines()
    assert linear == (
        "GSE7: 5 arrays of GPL96 (HG-U133A), linear, converted to log2(max(x, 0) + 1), 1 probe sets missing, "
        f"SHA-256 {hashlib.sha256(FILES['GSE7']).hexdigest()}"
    )
    assert log2.startswith("GSE14520: 6 arrays of GPL571 (HG-U133A_2), log2, unchanged, 0 probe sets missing, SHA")
    assert total == f"{path}: 11 arrays of 2 series"


@pytest.mark.parametrize("values", [LINEAR, LOG2[:11, :5]])
def test_values_that_stand_for_missing_ones_are_nan(command, capsys, values):
    wrong = np.where(np.arange(11)[:, None] == 4, -9999, values)
    _, found = contents(command("GSE7", {"GSE7": matrix("GSE7", "GPL96", wrong, LINEAR_ROWS)}))
    _, wanted = contents(command("GSE7", {"GSE7": matrix("GSE7", "GPL96", values, LINEAR_ROWS)}))
    wanted[:, WANTED.index("05_at")] = np.nan
    np.testing.assert_array_equal(found, wanted)
    assert "1 probe sets missing, 5 of -9999 taken as missing, SHA-256" in capsys.readouterr().out


def test_equal_files_give_equal_bytes(command, tmp_path):
    first = command(LIST, FILES).read_bytes()
    assert command(LIST, {}).read_bytes() == first
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["compendium.gctx"]


def test_what_the_cache_lacks_is_downloaded_once(command, mirror, tmp_path):
    mirror.files = {
        "/m/GSEnnn/GSE7/matrix/GSE7_series_matrix.txt.gz": FILES["GSE7"],
        "/m/GSE14nnn/GSE14520/matrix/GSE14520-GPL571_series_matrix.txt.gz": FILES["GSE14520-GPL571"],
    }
    first = command(LIST, {}, "--mirror", f"{mirror.url}/m/").read_bytes()
    plain = "/m/GSE14nnn/GSE14520/matrix/GSE14520_series_matrix.txt.gz"
    assert mirror.asked == [list(mirror.files)[0], plain, list(mirror.files)[1]]
    assert {path.name: path.read_bytes() for path in (tmp_path / "cache").iterdir()} == {
        f"{name}_series_matrix.txt.gz": content for name, content in FILES.items()
    }
    mirror.asked.clear()
    assert command(LIST, {}, "--mirror", mirror.url).read_bytes() == first
    assert mirror.asked == []


def test_the_cache_is_beside_the_output_by_default_and_may_hold_the_gene_tables(tmp_path, capsys):
    (tmp_path / "list").write_text("GSE7")
    (tmp_path / "geo").mkdir()
    (tmp_path / "geo" / "GSE7_series_matrix.txt.gz").write_bytes(FILES["GSE7"])
    (tmp_path / "geo" / "map_lm.txt").write_text(LANDMARKS)
    (tmp_path / "geo" / "map_tg.txt").write_text(TARGETS)
    arguments = [str(tmp_path / "list"), "-o", str(tmp_path / "out.gctx"), "--mirror", "http://127.0.0.1:9"]
    app(["geo", *arguments], standalone_mode=False)
    assert "5 arrays of 1 series" in capsys.readouterr().out


def test_gene_tables_are_fetched_where_none_are_given(mirror, shared, tmp_path, capsys):
    name = "GSE3268_series_matrix.txt.gz"
    mirror.files = {f"/GSE3nnn/GSE3268/matrix/{name}": (shared / "data/geo" / name).read_bytes()} | {
        f"/{table}": (shared / "data/genes" / table).read_bytes() for table in ("map_lm.txt", "map_tg.txt")
    }
    (tmp_path / "list").write_text("GSE3268")
    app(["geo", str(tmp_path / "list"), "-o", str(tmp_path / "a.gctx"), "--mirror", mirror.url], standalone_mode=False)
    assert "10 arrays of 1 series" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "geo").iterdir()) == [name, "map_lm.txt", "map_tg.txt"]


def test_a_series_that_is_not_there(command, mirror, refused):
    line = refused(lambda: command("GSE7 GPL96", {}, "--mirror", mirror.url))
    names = "GSE7_series_matrix.txt.gz and no GSE7-GPL96_series_matrix.txt.gz"
    assert f"{mirror.url}/GSEnnn/GSE7/matrix: has no {names}; " in line
    line = refused(lambda: command("GSE7", {}, "--mirror", mirror.url))
    assert "add the platform if the series has several, as in 'GSE7 GPL570'" in line


WHOLE = gzip.decompress(FILES["GSE7"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>Sign in</html>", "is a web page, not data, twice"),
        (b'{"error": "rate limit"}', "has no !series_matrix_table_begin"),
        (b"try later", "has no !series_matrix_table_begin"),
        (b"\0" * 1000, ""),
        (WHOLE.replace(b"GSE7", b"GSE8"), "is of GSE8, not of GSE7; try another mirror"),
        (WHOLE[: WHOLE.rindex(b"!series")], "has no !series_matrix_table_end, is truncated"),
        (WHOLE.replace(b"!Sample_title", b"!Sample_name"), "has no !Sample_title"),
    ],
)
def test_what_is_not_the_series_matrix_is_not_kept(command, mirror, refused, tmp_path, content, said):
    """Valid gzip of something else."""
    url = "/GSEnnn/GSE7/matrix/GSE7_series_matrix.txt.gz"
    mirror.files = {url: gzip.compress(content, mtime=0)}
    line = refused(lambda: command("GSE7", {}, "--mirror", mirror.url))
    assert f"{mirror.url}{url}" in line and said in line and ".part" not in line
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_download_has_limits(command, mirror, refused, tmp_path):
    mirror.files = {"/GSEnnn/GSE7/matrix/GSE7_series_matrix.txt.gz": FILES["GSE7"]}
    options = ("--mirror", mirror.url, "--min-rate", "0.5", "--max-size")
    assert "is larger than 1e-09 GiB" in refused(lambda: command("GSE7", {}, *options, "1e-9"))
    assert list((tmp_path / "cache").iterdir()) == []
    assert command("GSE7", {}, *options, "1").exists()


def test_accession_lists(tmp_path):
    path = tmp_path / "list.txt"
    sha256 = "0" * 64
    path.write_bytes(
        f"\ufeffGSE1\r\n# GSE2\nGSE3 GPL96 # three\n GSE3\tGPL570 sha256:{sha256}\nGSE4 sha256:{sha256}".encode()
    )
    assert read_accessions(path) == [
        Accession("GSE1", None, None),
        Accession("GSE3", "GPL96", None),
        Accession("GSE3", "GPL570", sha256),
        Accession("GSE4", None, sha256),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GSE1\n\nGSM2\n", r", line 3: expected a series, .*, found 'GSM2'"),
        (b"GSE1 GPL96 GPL97", ", line 1: expected"),
        (b"GSE1 sha256:abc", ", line 1: expected"),
        (b"GSE1 GPL96\nGSE2\nGSE1  GPL96", ", line 3: GSE1 GPL96 is in line 1 already"),
        (b"# nothing\n", ": lists no series"),
        (b"\xff\xfe", r": cannot be read as a list of accessions \(not UTF-8 text\)"),
        (None, r": cannot be read as a list of accessions \(No such file or directory\)"),
    ],
)
def test_unusable_lists(tmp_path, content, message):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DgexError, match=re.escape(str(path)) + message):
        read_accessions(path)


CENTRED = LOG2 - LOG2.mean(axis=1, keepdims=True)
MIXED = np.where(np.arange(6) < 2, np.round(2**LOG2), LOG2)
NEIGHBOUR = matrix("GSE8", "GPL96", LOG2, LOG2_ROWS, ["GSM80", "GSM81", "GSM73", "GSM82", "GSM83", "GSM84"])


@pytest.mark.parametrize(
    ("accessions", "name", "content", "message"),
    [
        ("GSE7", "GSE7", matrix("GSE7", "GPL97", LOG2, LOG2_ROWS), "is of unknown platform GPL97, known are GPL96 "),
        ("GSE7 GPL96", "GSE7", matrix("GSE7", "GPL570", LOG2, LOG2_ROWS), "are of GPL570, not of GPL96 alone"),
        (
            "GSE7",
            "GSE7",
            matrix("GSE7", ["GPL96"] * 3 + ["GPL570"] * 3, LOG2, LOG2_ROWS),
            "are of GPL570, GPL96, not of GPL570 alone",
        ),
        ("GSE7", "GSE7", NEIGHBOUR, "is of GSE8, not of GSE7"),
        (
            "GSE7",
            "GSE7",
            matrix("GSE7", "GPL96", LINEAR[:10], LINEAR_ROWS[:10]),
            "lacks 2 of the 12 probe sets .* 11_at",
        ),
        ("GSE7", "GSE7", matrix("GSE7", "GPL96", LOG2, [f"g{n}" for n in LOG2_ROWS]), "lacks 12 .* named like g20_at"),
        ("GSE7", "GSE7", matrix("GSE7", "GPL96", CENTRED, LOG2_ROWS), "changes and not intensities; use values"),
        (
            "GSE7",
            "GSE7",
            matrix("GSE7", "GPL96", MIXED, LOG2_ROWS),
            "are linear .beyond 32. and 4, such as GSM72",
        ),
        ("GSE7", "GSE7", matrix("GSE7", "GPL96", LOG2 * np.nan, LOG2_ROWS), "has no value of any gene"),
        ("GSE7", "GSE7", matrix("GSE7", "GPL96", LOG2[:0], []), "is an empty study"),
        ("GSE7", "GSE7", FILES["GSE7"][:-9], "is damaged or no gzip file .*; delete it"),
        ("GSE7", "GSE7", b"<html>Not found</html>", "is a web page, not data; delete it"),
        ("GSE7", "GSE7", gzip.compress(b"<!DOCTYPE html><html>Not found</html>\n", mtime=0), "is a web page"),
        (f"GSE7 sha256:{'0' * 64}", "GSE7", FILES["GSE7"], "has SHA-256 .*, not 0000"),
    ],
)
def test_unusable_series(command, refused, tmp_path, accessions, name, content, message):
    line = refused(lambda: command(accessions, {name: content}))
    path = tmp_path / "cache" / f"{name}_series_matrix.txt.gz"
    assert re.match(f"error: {re.escape(str(path))}: .*{message}", line), line
    assert path.read_bytes() == content
    assert not list(tmp_path.glob("out/*"))


def test_no_array_counts_twice(command, refused, tmp_path):
    line = refused(lambda: command("GSE7\nGSE8", {"GSE7": FILES["GSE7"], "GSE8": NEIGHBOUR}))
    first, second = (tmp_path / "cache" / f"{name}_series_matrix.txt.gz" for name in ("GSE7", "GSE8"))
    assert line == f"error: {second}: array GSM73 is in {first} too; take one of them off the list\n"


def test_gene_tables_are_checked(mirror, shared, tmp_path, refused):
    tables = {f"/{name}": (shared / "data/genes" / name).read_bytes() for name in ("map_lm.txt", "map_tg.txt")}
    assert tuple(hashlib.sha256(content).hexdigest() for content in tables.values()) == GENE_TABLE_SHA256
    mirror.files = dict(tables)
    app(["genes", "-o", str(tmp_path / "new"), "--mirror", mirror.url], standalone_mode=False)
    assert {f"/{path.name}": path.read_bytes() for path in (tmp_path / "new").iterdir()} == tables
    mirror.files["/map_tg.txt"] = tables["/map_lm.txt"]
    with pytest.raises(DgexError, match=r"map_tg\.txt: .* has SHA-256 7c0be34.*, not a238c8e"):
        gene_tables(tmp_path / "newer", mirror.url)


def test_the_shipped_list_is_the_compendium(shared):
    table = (shared / "data" / "README.md").read_text()
    rows = re.findall(r"^\| (GSE\d+) \| (GPL\d+) \|", table, re.MULTILINE)
    assert len(rows) == 21
    assert sorted((each.series, each.platform) for each in read_accessions(COMPENDIUM)) == sorted(rows)


def test_geos_own_files_give_the_compendium(shared, tmp_path):
    (tmp_path / "list.txt").write_text(REAL)
    data = shared / "data"
    taken = geo(tmp_path / "list.txt", data / "genes", tmp_path / "out.gctx", data / "geo")
    assert [each.arrays for each in taken] == [75, 30, 22, 10, 43]
    assert [each.missing for each in taken] == [10, 0, 0, 0, 0]
    table, values = contents(tmp_path / "out.gctx")
    expected, all_values = contents(data / "geo" / "geo_compendium_n704x16687.gctx")
    at = [expected.sample_id.index(name) for name in table.sample_id]
    assert table.row_id == expected.row_id
    # That file's values went through half precision, and some of its titles are UTF-8 read as Latin-1.
    np.testing.assert_array_equal(values.astype(np.float16).astype(np.float32), all_values[at])
    for name in ("study_id", "platform_id", "source_scale"):
        np.testing.assert_array_equal(table.sample_metadata[name], expected.sample_metadata[name][at])
    titles = [title.encode("latin-1").decode() for title in expected.sample_metadata["title"][at]]
    assert table.sample_metadata["title"].tolist() == titles


def test_baseline_subtracted_values_are_refused(shared, tmp_path, refused):
    (tmp_path / "list.txt").write_text("GSE30528")
    data, output = shared / "data", tmp_path / "out.gctx"
    arguments = ["geo", str(tmp_path / "list.txt"), "-o", str(output), "--genes", str(data / "genes")]
    line = refused(lambda: app([*arguments, "--cache", str(data / "geo")]))
    assert "GSE30528_series_matrix.txt.gz: its values are centred gene by gene" in line
    assert not output.exists()


def test_a_series_listed_with_and_without_its_platform_is_listed_twice(command, refused):
    assert "is listed twice" in refused(lambda: command("GSE7\nGSE7 GPL96\n", {"GSE7": FILES["GSE7"]}))


@pytest.mark.parametrize("name", ["genes/map_lm.txt", "cache/GSE7_series_matrix.txt.gz"])
def test_no_input_is_replaced(command, refused, tmp_path, name):
    command("GSE7", {"GSE7": FILES["GSE7"]})
    content = (tmp_path / name).read_bytes()
    arguments = ["geo", str(tmp_path / "list.txt"), "--genes", str(tmp_path / "genes"), "-o", str(tmp_path / name)]
    assert "is read to make this output" in refused(lambda: app([*arguments, "--cache", str(tmp_path / "cache")]))
    assert (tmp_path / name).read_bytes() == content
