"""Any format by the name of the file; what cannot be written is known before the work."""

import gzip
import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.formats.companions import companion
from dgex.formats.expression import Block, Expression, in_memory, is_text, text_column
from dgex.formats.opening import open_expression
from dgex.formats.writing import WRITERS, check_output, write_expression

NAN = np.nan
VALUES = np.array([[1, NAN, 3], [4, 5, 6.5]], np.float32)
KINDS = {"gct": "GCT 1.3", "gctx": "GCTX", "csv": "table", "tsv": "table", "parquet": "Parquet", "h5ad": "h5ad"}
EXTRAS = {".parquet": ("pyarrow", "parquet"), ".h5ad": ("anndata", "anndata")}


@pytest.fixture(params=WRITERS)
def path(request, tmp_path) -> Path:
    """A name for an output of each format."""
    if request.param in EXTRAS:
        pytest.importorskip(EXTRAS[request.param][0])
    return tmp_path / "out" / f"some{request.param}"


@pytest.fixture
def expression() -> Expression:
    genes = {"symbol": np.array(["A", "", "C"])}
    return in_memory(VALUES, ("g1", "g2", "g3"), ("s1", "s2"), genes, {"dose": np.array([0.5, NAN])})


def test_the_name_decides(path, expression):
    check_output(path)
    assert not path.parent.exists()
    write_expression(path, expression)
    with open_expression(path) as found:
        kind = path.name.split(".")[1]
        assert found.kind == KINDS[kind]
        oriented = found.transposed() if kind == "parquet" else found
        np.testing.assert_array_equal(oriented.load(), VALUES, strict=True)
        assert oriented.row_id == ("g1", "g2", "g3") and oriented.sample_id == ("s1", "s2")
        if kind in ("gct", "gctx", "h5ad"):
            assert found.row_metadata["symbol"].tolist() == ["A", "", "C"]
            np.testing.assert_array_equal(found.sample_metadata["dose"], [0.5, NAN])


def test_capitals_are_no_other_extension(tmp_path, expression):
    write_expression(tmp_path / "SOME.v2.CSV.GZ", expression)
    names = {"SOME.v2.CSV.GZ", "SOME.v2.genes.CSV.GZ", "SOME.v2.samples.CSV.GZ"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all(path.read_bytes().startswith(b"\x1f\x8b") for path in tmp_path.iterdir())


def test_the_same_bytes_whatever_the_blocks(path, expression):
    def blocks(most):
        for row in (2, 0, 1):
            for sample in (1, 0):
                cell = slice(sample, sample + 1), slice(row, row + 1)
                yield *cell, VALUES[cell]

    write_expression(path, expression)
    whole = path.read_bytes()
    pieces = Expression(
        expression.row_id, expression.sample_id, blocks, expression.row_metadata, expression.sample_metadata
    )
    write_expression(path, pieces)
    assert path.read_bytes() == whole


def test_a_source_that_fails_leaves_the_output_as_it_was(path, expression):
    def blocks(most):
        yield slice(0, 1), slice(0, 3), VALUES[:1]
        raise DgexError("the source is damaged")

    path.parent.mkdir()
    path.write_text("before")
    broken = Expression(expression.row_id, expression.sample_id, blocks)
    with pytest.raises(DgexError, match="the source is damaged"):
        write_expression(path, broken)
    assert path.read_text() == "before" and len(list(path.parent.iterdir())) == 1


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from dgex.console import run
from dgex.formats.expression import in_memory
from dgex.formats.writing import check_output, write_expression

path = Path(sys.argv[1])
check_output(path)
values = np.random.default_rng(0).normal(size=(200, 300)).astype(np.float32)
table = in_memory(values, [f"g{i}" for i in range(300)], [f"s{i}" for i in range(200)])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
run(lambda: write_expression(path, table))
"""


@pytest.mark.parametrize("room", [1000, 245000])  # not even for scratch; not for the last bytes
def test_a_disk_that_runs_full_is_one_line(path, room):
    pytest.importorskip("resource")
    path.parent.mkdir()
    room = min(room, 90000) if path.name.endswith(".gz") and room > 1000 else room
    done = subprocess.run([sys.executable, "-c", FULL, str(path), str(room)], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"error: \S+: [^\n]*(room|free space)[^\n]*\n", done.stderr), done.stderr
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("name", ["some.txt", "some", "gct", "some.gctx.gz", "some.xlsx", "some.csv.zip"])
def test_unknown_extensions_are_refused_with_the_known_ones(tmp_path, refused, name):
    for command in (check_output, lambda path: write_expression(path, in_memory(VALUES, "abc", "xy"))):
        line = refused(lambda command=command: command(tmp_path / name))
        assert f"{tmp_path / name}: has an unknown extension" in line and ".gct, .gct.gz, .gctx, .csv, .csv.gz" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("extension", EXTRAS)
def test_a_package_that_is_absent_is_named(tmp_path, refused, monkeypatch, extension):
    package, extra = EXTRAS[extension]
    for module in (package, f"{package}.io", f"{package}.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / f"some{extension}"
    said = f'{path}: needs {package}; install it: pip install "dgex[{extra}]"'
    assert said in refused(lambda: check_output(path))
    assert said in refused(lambda: write_expression(path, in_memory(VALUES, "abc", "xy")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("extension", EXTRAS)
def test_a_package_that_is_absent_is_named_by_readers_too(tmp_path, refused, monkeypatch, extension):
    package, extra = EXTRAS[extension]
    pytest.importorskip(package)
    path = tmp_path / f"some{extension}"
    write_expression(path, in_memory(VALUES, "abc", "xy"))
    for module in (package, f"{package}.io", f"{package}.parquet"):
        monkeypatch.setitem(sys.modules, module, None)

    def read():
        with open_expression(path):
            pass

    assert f'{path}: needs {package}; install it: pip install "dgex[{extra}]"' in refused(read)


@pytest.mark.parametrize("axis", ["genes", "samples"])
@pytest.mark.parametrize("extension", [".csv", ".tsv.gz", ".parquet"])
def test_files_of_metadata_are_outputs_too(tmp_path, refused, axis, extension):
    pytest.importorskip("pyarrow")
    path, beside = tmp_path / f"some{extension}", tmp_path / f"some.{axis}{extension}"
    beside.write_text("the user's own")
    assert f"{beside}: is read to make this output" in refused(lambda: check_output(path, beside))
    table = in_memory(VALUES, "abc", "xy")
    for command in (lambda: check_output(path), lambda: write_expression(path, table)):
        assert f"{beside}: is there without some{extension}" in refused(command)
    path.write_text("then they belong together")
    check_output(path)
    beside.unlink()
    beside.mkdir()
    assert f"{beside}: cannot be written" in refused(lambda: check_output(path))
    check_output(tmp_path / "some.gct", beside)


@pytest.mark.parametrize("extension", [".csv", ".parquet"])
def test_where_the_table_is_its_metadata_are(tmp_path, expression, extension, monkeypatch):
    pytest.importorskip("pyarrow")
    path = tmp_path / f"some{extension}"
    write_expression(path, expression)
    seen: list[tuple[str, bool]] = []
    rename = os.replace

    def watched(source, target):
        seen.append((Path(target).name, path.exists()))
        rename(source, target)

    monkeypatch.setattr("os.replace", watched)
    write_expression(path, expression)  # over an older one
    assert sorted(seen[:2]) == [(f"some.genes{extension}", False), (f"some.samples{extension}", False)]
    assert seen[2:] == [(f"some{extension}", False)] and path.exists()


PROVENANCE = {"dgex": "1.2", "model": {"name": "Ä\n", "sha256": "00ff"}, "options": {"all": False, "most": 0.2}}


def provenance_in(path: Path) -> dict:
    """What other readers than those of dgex find there."""
    if path.suffix == ".gctx":
        with h5py.File(path) as file:
            return json.loads(file.attrs["provenance"])
    if path.suffix == ".h5ad":
        return pytest.importorskip("anndata").read_h5ad(path).uns["provenance"]
    if path.suffix == ".parquet":
        return pytest.importorskip("pandas").read_parquet(path).attrs["provenance"]
    return json.loads(path.with_name(f"{path.name}.provenance.json").read_text())


def test_provenance_is_written_and_the_name_is_not(path, expression):
    """Two names, equal bytes, of the companions too; and what is said is nothing that readers mind."""
    table = replace(expression, provenance=PROVENANCE)
    written = {}
    for name in ("some", "another_name"):
        output = path.with_name(path.name.replace("some", name)).absolute()
        write_expression(output, table)
        assert provenance_in(output) == PROVENANCE
        written[name] = {
            file.name.replace(name, "some"): file.read_bytes()
            for file in path.parent.iterdir()
            if file.name.startswith(name)
        }
    assert path.name in written["some"] and written["some"] == written["another_name"]
    for content in written["some"].values():
        assert b"some" not in (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content)
    with open_expression(path) as found:
        np.testing.assert_array_equal((found.transposed() if path.suffix == ".parquet" else found).load(), VALUES)


def test_a_table_without_provenance_says_nothing(path, expression):
    write_expression(path, expression)
    assert not list(path.parent.glob("*.provenance.json"))
    assert b"provenance" not in path.read_bytes()


@pytest.mark.parametrize("extension", [".gct", ".gct.gz", ".csv", ".tsv.gz"])
def test_a_file_of_provenance_is_an_output_too(tmp_path, refused, extension):
    path, beside = tmp_path / f"some{extension}", tmp_path / f"some{extension}.provenance.json"
    beside.write_text("the user's own")
    assert f"{beside}: is there without some{extension}" in refused(lambda: check_output(path))
    path.write_text("then they belong together")
    check_output(path)
    check_output(tmp_path / "some.gctx")
    check_output(tmp_path / "some.parquet")


def test_an_older_table_stays_until_all_is_written(tmp_path, expression, monkeypatch):
    path = tmp_path / "some.csv"
    write_expression(path, expression)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    expression.sample_metadata["broken"] = np.array([object()])  # of one entry too few: fails in the last file
    with pytest.raises(ValueError):
        write_expression(path, expression)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


NAMES = ["id", "id_2", "a/b", "a|b", ".", "", "_index", "a\tb", "a\0b", "Ä"]


def test_any_name_of_a_metadata_column_is_written(path: Path) -> None:
    columns = {name: np.array([f"{number}\0 of s", "", "t"]) for number, name in enumerate(NAMES)}
    table = in_memory(np.ones((3, 2), np.float32), "ab", "stu", {}, {**columns, "one more": np.arange(3)})
    write_expression(path, table)
    beside = companion(path, "samples")
    with open_expression(beside if beside.exists() else path) as found:
        kept = found.row_metadata if beside.exists() else found.sample_metadata
        assert (found.row_id if beside.exists() else found.sample_id) == ("s", "t", "u")
    assert len(kept) == len(NAMES) + (not beside.exists()) and {"id_2", "id_3", "ab", "a b", "Ä"} <= kept.keys()
    assert {column[0] for column in kept.values() if is_text(column)} == {f"{n} of s" for n in range(len(NAMES))}


def test_a_gene_called_id_is_written(path: Path) -> None:
    write_expression(path, in_memory(VALUES, ("id", "b", "c"), ("id", "t")))
    with open_expression(path) as found:
        assert {found.row_id, found.sample_id} == {("id", "b", "c"), ("id", "t")}


def test_one_long_text_costs_no_more_than_itself(path: Path) -> None:
    count = 10000
    titles = text_column(["x" * 40000, *["short"] * (count - 1)])  # of NumPy's str_ it would be 1.6 GB
    table = in_memory(np.ones((count, 2), np.float32), "ab", list(map(str, range(count))), {}, {"title": titles})
    tracemalloc.start()
    try:
        write_expression(path, table)
        with open_expression(path) as found:
            assert not found.sample_metadata or (found.sample_metadata["title"] == titles).all()
            assert found.transposed().sample_metadata or found.sample_metadata or companion(path, "samples").exists()
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()


def test_a_writer_that_fails_ends_its_source(path: Path) -> None:
    running = []

    def blocks(most: int) -> Iterator[Block]:
        running.append(most)
        try:
            yield slice(0, 2), slice(0, 3), VALUES
            yield slice(0, 2), slice(0, 3), np.full((2, 3), "no number")
        finally:
            running.remove(most)

    with pytest.raises((TypeError, ValueError)) as failure:
        write_expression(path, Expression(("a", "b", "c"), ("s", "t"), blocks))
    assert failure.tb and not running  # though the traceback still has the writer's variables
    assert not list(path.parent.iterdir())


def test_the_input_and_folders_are_no_output(tmp_path, refused):
    path = tmp_path / "some.csv"
    path.write_text("id,s\na,1\n")
    assert "is read to make this output" in refused(lambda: check_output(path, path))
    (tmp_path / "folder.csv").mkdir()
    assert "cannot be written" in refused(lambda: check_output(tmp_path / "folder.csv"))


def test_nothing_is_imported_that_a_format_does_not_need():
    loaded = "import sys, dgex.formats.opening, dgex.formats.writing; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", loaded], env=environment, capture_output=True, text=True, check=True)
    assert not {"jax", "flax", "anndata", "pandas", "pyarrow"} & set(done.stdout.split())


def test_what_blocks_tell_of_the_samples_is_written(path: Path) -> None:
    told = {"distance": np.full(3, np.nan)}

    def blocks(most: int) -> Iterator[Block]:
        for sample in range(3):
            told["distance"][sample] = sample + 0.5
            yield slice(sample, sample + 1), slice(0, 2), np.full((1, 2), sample, np.float32)

    write_expression(path, Expression(("a", "b"), ("x", "y", "z"), blocks, {}, told))
    beside = companion(path, "samples")
    with open_expression(beside if beside.exists() else path) as table:
        columns = dict(zip(table.sample_id, table.load(), strict=True)) | table.sample_metadata
    assert np.array_equal(columns["distance"], [0.5, 1.5, 2.5])
