"""h5ad and AnnData: files of anndata's own, files written here, and files that are wrong."""

import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from dgex.formats.h5ad import from_anndata, open_h5ad, to_anndata, write_h5ad
from dgex.formats.matrix import Expression, in_memory

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
    blocks = list(found.blocks(4))
    assert [samples for samples, *_ in blocks] == [slice(0, 1), slice(1, 2)]
    np.testing.assert_array_equal(np.concatenate([values for *_, values in blocks]), VALUES, strict=True)
    if backed:
        adata.file.close()


def test_wrong_anndata_is_refused(refused):
    assert "AnnData: has no X" in refused(lambda: from_anndata(anndata.AnnData(obs=OBS, var=VAR)))
    infinite = anndata.AnnData(np.array([[np.inf]], np.float32))
    assert "AnnData: X holds infinite values" in refused(lambda: from_anndata(infinite).load())


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
        (np.array, replaced("X", None), "has no /X"),
        (np.array, replaced("X", np.zeros((3, 2))), "/X is (3, 2) of float64; store (2, 3) numbers"),
        (np.array, replaced("X", np.array([[b"a"] * 3] * 2)), "/X is (2, 3) of |S1"),
        (np.array, replaced("X", np.full((2, 3), np.inf)), "holds infinite values"),
        (np.array, replaced("obs", None), "/obs cannot be read"),
        (np.array, replaced("var", [1, 2, 3]), "/var is not a data frame"),
        (sparse.csr_matrix, shaped((3, 2)), "/X is (3, 2) with 2 lines; obs and var have (2, 3) names"),
        (sparse.csr_matrix, replaced("X/indptr", np.array([0, 2, 1])), "/X/indptr is damaged"),
        (sparse.csr_matrix, replaced("X/indptr", np.array([0, 2, 99])), "/X/indptr is damaged"),
        (sparse.csr_matrix, replaced("X/indptr", np.array([0, 3])), "with 1 lines"),
        (sparse.csr_matrix, replaced("X/indices", np.array([0, 2, 3])), "/X/indices points beyond"),
        (sparse.csr_matrix, replaced("X/indices", np.array([0, -1, 2])), "/X/indices points beyond"),
        (sparse.csr_matrix, replaced("X/data", np.array([1.0, 2])), "/X/indices points beyond"),
        (sparse.csr_matrix, replaced("X/data", np.array([1, 2, np.inf])), "X holds infinite values"),
        (sparse.csc_matrix, replaced("X/data", None), "has no /X/data"),
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
