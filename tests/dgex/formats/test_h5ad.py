"""h5ad and AnnData: files of anndata's own, files written here, and files that are wrong."""

import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from dgex.formats.expression import Expression, in_memory
from dgex.formats.h5ad import from_anndata, open_h5ad, to_anndata, write_h5ad

anndata = pytest.importorskip("anndata")
NAN = np.nan
VALUES = np.array([[1, 0, 3.5], [0, 0, 6]], np.float32)
OBS = pd.DataFrame(
    {
        "batch": pd.Categorical(["x", None]),
        "drug": ["DMSO", "b"],
        "dose": [0.5, NAN],
        "well": [1, 2],
        "dead": [True, False],
        "day": pd.array([3, None], "Int64"),
    },
    ["s1", "s2"],
)
VAR = pd.DataFrame({"symbol": ["A", "B", "C"]}, ["g1", "g2", "g3"])


@pytest.fixture
def written(tmp_path):
    """Writes an X with anndata and gives the file."""

    def write(matrix, **settings) -> Path:
        anndata.AnnData(matrix, OBS.copy(), VAR.copy()).write_h5ad(tmp_path / "some.h5ad", **settings)
        return tmp_path / "some.h5ad"

    return write


def read(path: Path, most: int = 100) -> np.ndarray:
    with open_h5ad(path) as found:
        values = np.full(found.shape, -1, np.float32)
        for samples, rows, block in found.blocks(most):
            assert block.dtype == np.float32
            values[samples, rows] = block
    return values


def check_metadata(found: Expression) -> None:
    assert found.row_id == ("g1", "g2", "g3") and found.sample_id == ("s1", "s2")
    assert found.row_metadata["symbol"].tolist() == ["A", "B", "C"]
    metadata = found.sample_metadata
    assert metadata["batch"].tolist() == ["x", ""] and metadata["drug"].tolist() == ["DMSO", "b"]
    np.testing.assert_array_equal(metadata["dose"], [0.5, NAN])
    np.testing.assert_array_equal(metadata["day"], [3, NAN])
    assert metadata["well"].dtype.kind == "i" and metadata["well"].tolist() == [1, 2]
    assert metadata["dead"].dtype.kind == "b" and metadata["dead"].tolist() == [True, False]
    assert metadata["batch"].dtype.kind == metadata["drug"].dtype.kind == "T"


LAYOUTS = [np.array, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
@pytest.mark.parametrize("settings", [{}, {"compression": "gzip"}])
def test_files_of_anndata(written, layout, dtype, settings):
    values = VALUES.astype(dtype)
    path = written(layout(values), **settings)
    with open_h5ad(path) as found:
        assert found.kind == "h5ad"
        check_metadata(found)
    for most in (1, 4, 100):
        np.testing.assert_array_equal(read(path, most), values, strict=False)


@pytest.mark.parametrize("layout", [sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("most", [1, 50, 10**6])
def test_sparse_blocks_are_of_whole_lines(tmp_path, layout, most):
    values = sparse.random(40, 30, 0.2, random_state=0, dtype=np.float32)
    anndata.AnnData(layout(values)).write_h5ad(tmp_path / "some.h5ad")
    whole = 30 if layout is sparse.csr_matrix else 40
    with open_h5ad(tmp_path / "some.h5ad") as found:
        for samples, rows, block in found.blocks(most):
            assert block.size <= max(most, whole)
            np.testing.assert_array_equal(block, values.toarray()[samples, rows])
    np.testing.assert_array_equal(read(tmp_path / "some.h5ad", most), values.toarray())


@pytest.fixture
def expression() -> Expression:
    return in_memory(
        np.array([[1, NAN, 3.5], [0, -2, 6]], np.float32),
        ("g1", "g2", "g3"),
        ("s1", "s2"),
        {"symbol": np.array(["A", "", "C"]), "mae": np.array([0.25, NAN, 1]), "ok": np.array([True, False, True])},
        {"dose/unit": np.array([1, 10]), "_index": np.array(["p", "q"])},
    )


def check_anndata(adata, expression: Expression) -> None:
    np.testing.assert_array_equal(adata.X, expression.load(), strict=True)
    assert adata.var_names.tolist() == ["g1", "g2", "g3"] and adata.obs_names.tolist() == ["s1", "s2"]
    assert adata.var["symbol"].tolist() == ["A", "", "C"] and adata.var["ok"].tolist() == [True, False, True]
    np.testing.assert_array_equal(adata.var["mae"], [0.25, NAN, 1])
    assert adata.obs["dose|unit"].tolist() == [1, 10] and adata.obs["_index_2"].tolist() == ["p", "q"]


@pytest.mark.parametrize("backed", [None, "r"])
def test_anndata_reads_what_is_written_here(tmp_path, expression, backed):
    path = tmp_path / "some.h5ad"
    write_h5ad(path, expression)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adata = anndata.read_h5ad(path, backed=backed)
    if backed:
        adata = adata.to_memory()
    check_anndata(adata, expression)
    adata.write_h5ad(tmp_path / "again.h5ad")
    np.testing.assert_array_equal(read(tmp_path / "again.h5ad"), expression.load())
    assert [entry.name for entry in tmp_path.iterdir() if "partial" in entry.name] == []


def test_anndata_in_and_out(expression, tmp_path):
    adata = to_anndata(expression)
    check_anndata(adata, expression)
    again = from_anndata(adata)
    np.testing.assert_array_equal(again.load(), expression.load(), strict=True)
    assert again.row_id == expression.row_id and again.sample_id == expression.sample_id
    assert again.row_metadata["symbol"].tolist() == ["A", "", "C"]
    assert again.row_metadata["ok"].dtype.kind == "b"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backed", [False, True])
def test_any_anndata_becomes_a_table(written, layout, backed):
    path = written(layout(VALUES))
    adata = anndata.read_h5ad(path, backed="r" if backed else None)
    found = from_anndata(adata)
    check_metadata(found)
    assert all(values.size <= 4 for *_, values in found.blocks(4))
    for most in (1, 4, 100):
        values = np.empty(VALUES.shape, np.float32)
        for samples, rows, block in found.blocks(most):
            values[samples, rows] = block
        np.testing.assert_array_equal(values, VALUES)
    if backed:
        adata.file.close()


def test_wrong_anndata_is_refused(refused):
    assert "AnnData: has no X" in refused(lambda: from_anndata(anndata.AnnData(obs=OBS, var=VAR)))
    infinite = anndata.AnnData(np.array([[np.inf]], np.float32))
    assert "AnnData: X holds infinite values" in refused(lambda: from_anndata(infinite).load())
    assert "AnnData: X holds bool; store numbers" in refused(
        lambda: from_anndata(anndata.AnnData(np.full((1, 1), True)))
    )


@pytest.mark.parametrize(
    ("layout", "parts", "complaint"),
    [
        (sparse.csr_matrix, ([1, 2, 4], [0, 0, 2], [0, 2, 3]), "X gives 1 values twice, with repeated indices"),
        (sparse.csc_matrix, ([1, 2, 4], [1, 1, 0], [0, 2, 2, 3]), "X gives 1 values twice, with repeated indices"),
        (sparse.csr_array, ([1, 2, 4], [0, 3, 2], [0, 2, 3]), "X is no sound sparse matrix"),
        (sparse.csr_matrix, ([1, 2, 4], [0, 1, 2], [0, 3, 2]), "X is no sound sparse matrix"),
    ],
)
def test_sparse_matrices_in_memory_that_contradict_themselves(refused, layout, parts, complaint):
    matrix = layout((2, 3), dtype=np.float32)
    matrix.data, matrix.indices, matrix.indptr = np.array(parts[0], np.float32), *map(np.array, parts[1:])
    adata = anndata.AnnData(sparse.csr_matrix((2, 3), dtype=np.float32))
    adata.X = matrix
    assert f"AnnData: {complaint}" in refused(lambda: from_anndata(adata).load())


@pytest.mark.parametrize("backed", [False, True])
def test_repeated_indices_behind_an_anndata_are_refused(written, refused, backed):
    path = written(sparse.csr_matrix(VALUES))
    with h5py.File(path, "r+") as file:
        file["X/indices"][:] = [2, 2, 2]
    adata = anndata.read_h5ad(path, backed="r" if backed else None)
    assert "X gives 1 values twice" in refused(lambda: from_anndata(adata).load())
    if backed:
        adata.file.close()


@pytest.mark.parametrize(
    ("layout", "values"),
    [(sparse.csr_matrix, [[4, 5, 6], [1, 2, 3]]), (sparse.csc_matrix, [[3, 2, 1], [6, 5, 4]])],
)
def test_the_order_of_indices_does_not_matter(tmp_path, layout, values):
    matrix = layout(np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    matrix.indices, matrix.data = matrix.indices[::-1].copy(), matrix.data[::-1].copy()
    adata = anndata.AnnData(matrix)
    adata.write_h5ad(tmp_path / "some.h5ad")
    with h5py.File(tmp_path / "some.h5ad") as file:
        assert file["X/indices"][:2].tolist() == matrix.indices[:2].tolist()  # not put in order by anndata
    np.testing.assert_array_equal(read(tmp_path / "some.h5ad"), values)
    np.testing.assert_array_equal(from_anndata(adata).load(), values)


@pytest.fixture
def layered() -> "anndata.AnnData":
    """Of three rows in ``raw``, of which X has two; and counts."""
    whole = anndata.AnnData(VALUES * 10, OBS.copy(), VAR.copy())
    adata = whole[:, :2].copy()
    adata.X = VALUES[:, :2].copy()
    adata.layers["counts"] = sparse.csr_matrix(VALUES[:, :2] * 100)
    adata.raw = whole
    return adata


@pytest.mark.parametrize(("layer", "factor", "genes"), [(None, 1, 2), ("X", 1, 2), ("counts", 100, 2), ("raw", 10, 3)])
def test_layers(tmp_path, layered, layer, factor, genes):
    layered.write_h5ad(tmp_path / "some.h5ad")
    with open_h5ad(tmp_path / "some.h5ad", layer) as found:
        tables = [("h5ad", found), ("AnnData", from_anndata(layered, layer))]
        for kind, table in tables:
            np.testing.assert_array_equal(table.load(), VALUES[:, :genes] * factor)
            assert table.row_id == ("g1", "g2", "g3")[:genes] and table.sample_id == ("s1", "s2")
            assert table.kind == (f"{kind}, layer {layer}" if layer else kind)


def test_layers_that_there_are_are_named(tmp_path, layered, refused):
    layered.X = None
    layered.write_h5ad(tmp_path / "some.h5ad")

    def opened(layer=None):
        with open_h5ad(tmp_path / "some.h5ad", layer):
            pass

    for read_table in (opened, lambda layer=None: from_anndata(layered, layer)):
        assert "has no X; choose one of its 'raw', 'counts' (--layer NAME)" in refused(read_table)
        line = refused(lambda read_table=read_table: read_table("spliced"))
        assert "has no layer 'spliced'; choose one of its 'raw', 'counts' (--layer NAME)" in line


def replaced(name, values):
    def damage(file):
        del file[name]
        if values is not None:
            file[name] = values

    return damage


def shaped(shape):
    return lambda file: file["X"].attrs.modify("shape", shape)


@pytest.mark.parametrize(
    ("layout", "damage", "complaint"),
    [
        (np.array, replaced("X", None), "has no X; it has no layer either"),
        (np.array, replaced("X", np.zeros((3, 2))), "/X is (3, 2) of float64; store (2, 3) numbers"),
        (np.array, replaced("X", np.array([[b"a"] * 3] * 2)), "/X is (2, 3) of |S1"),
        (np.array, replaced("X", np.full((2, 3), np.inf)), "holds infinite values"),
        (np.array, replaced("X", np.full((2, 3), True)), "/X is (2, 3) of bool; store (2, 3) numbers"),
        (sparse.csr_matrix, replaced("X/data", np.array([True] * 3)), "/X has data of bool, indices of int32"),
        (sparse.csc_matrix, replaced("X/indices", np.zeros(3)), "data of float32, indices of float64 and an indptr of"),
        (np.array, replaced("obs", None), "/obs cannot be read"),
        (np.array, replaced("var", [1, 2, 3]), "/var is not a data frame"),
        (sparse.csr_matrix, shaped((3, 2)), "/X is (3, 2) with 2 lines; obs and var have (2, 3) names"),
        (sparse.csr_matrix, replaced("X/indptr", np.array([0, 2, 1])), "/X/indptr is damaged"),
        (sparse.csr_matrix, replaced("X/indptr", np.array([0, 2, 99])), "/X/indptr is damaged"),
        (sparse.csr_matrix, replaced("X/indptr", np.array([0, 3])), "with 1 lines"),
        (sparse.csr_matrix, replaced("X/indices", np.array([0, 2, 3])), "/X/indices points beyond"),
        (sparse.csr_matrix, replaced("X/indices", np.array([0, -1, 2])), "/X/indices points beyond"),
        (sparse.csr_matrix, replaced("X/data", np.array([1.0, 2])), "/X has 2 data, 3 indices and an indptr for 3"),
        (sparse.csr_matrix, replaced("X/data", np.arange(9)), "/X has 9 data, 3 indices and an indptr for 3"),
        (sparse.csc_matrix, replaced("X/data", np.arange(9)), "/X has 9 data, 3 indices and an indptr for 3"),
        (
            sparse.csc_matrix,
            replaced("X/indptr", np.array([0, 1, 1, 2])),
            "/X has 3 data, 3 indices and an indptr for 2",
        ),
        (sparse.csc_matrix, replaced("X/indptr", np.array([0, 2, 1, 3])), "/X/indptr is damaged"),
        (sparse.csr_matrix, replaced("X/indptr", np.array([1, 2, 3])), "/X/indptr is damaged"),
        (sparse.csr_matrix, replaced("X/indices", np.array([2, 2, 2])), "/X gives 1 values twice"),
        (sparse.csc_matrix, replaced("X/indices", np.array([0, 1, 1])), "/X gives 1 values twice"),
        (sparse.csr_matrix, replaced("X/data", np.array([1, 2, np.inf])), "X holds infinite values"),
        (sparse.csc_matrix, replaced("X/data", None), "has no /X/data"),
        (
            np.array,
            replaced("obs/batch/categories", np.array([["x", "y"]], h5py.string_dtype())),
            "categories has 2 axes",
        ),
        (np.array, replaced("obs/batch/categories", np.zeros((2, 2))), "categories has 2 axes, not one"),
        (np.array, replaced("obs/batch/categories", 3.5), "categories has 0 axes, not one"),
        (np.array, replaced("obs/batch/codes", np.zeros((2, 1), np.int8)), "/obs/batch/codes has 2 axes, not one"),
        (np.array, replaced("obs/batch/codes", np.array([0, 7], np.int8)), "/obs cannot be read (codes need"),
        (np.array, replaced("obs/batch/codes", np.zeros(9, np.int8)), "/obs cannot be read (Length of values"),
        (np.array, replaced("obs/_index", np.array([[b"a"], [b"b"]])), "/obs/_index has 2 axes, not one"),
        (np.array, replaced("obs/day/mask", np.zeros(7, bool)), "/obs cannot be read"),
        (np.array, replaced("var/symbol", np.zeros(3, [("a", "i4")])), "/var cannot be read"),
    ],
)
def test_wrong_files_are_refused(written, refused, layout, damage, complaint):
    path = written(layout(VALUES))
    with h5py.File(path, "r+") as file:
        damage(file)
    line = refused(lambda: read(path))
    assert str(path) in line and complaint in line


def test_a_table_without_genes_is_refused(tmp_path, refused):
    anndata.AnnData(np.zeros((2, 0), np.float32)).write_h5ad(tmp_path / "some.h5ad")
    assert "has 2 samples and 0 rows, is empty" in refused(lambda: read(tmp_path / "some.h5ad"))


def test_truncated_files_are_refused(written, refused):
    path = written(VALUES)
    path.write_bytes(path.read_bytes()[:-100])
    assert "truncated or damaged" in refused(lambda: read(path))
