"""Real tables through every format, and read back by the programs that people have."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dgex.formats.expression import Expression, in_memory, is_text
from dgex.formats.opening import open_expression
from dgex.formats.writing import WRITERS, write_expression

PLATE = "l1000/LJP009_A375_24H_X1_B20_QNORM_n371x978.gct.gz"


@pytest.fixture(scope="module")
def plate(shared):
    """The L1000 plate, and its values read cell by cell."""
    lines = gzip.decompress((shared / "data" / PLATE).read_bytes()).decode().splitlines()
    values = np.array([line.split("\t")[9:] for line in lines[37:]], np.float64).T.astype(np.float32)
    with open_expression(shared / "data" / PLATE) as expression:
        yield expression, values


def check_metadata(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, column in expected.items():
        assert found[name].dtype.kind == column.dtype.kind, name
        np.testing.assert_array_equal(found[name], column, name)


@pytest.mark.parametrize("extension", WRITERS)
def test_the_plate_through_every_format(plate, tmp_path, extension):
    expression, values = plate
    pytest.importorskip({".h5ad": "anndata", ".parquet": "pyarrow"}.get(extension, "numpy"))
    path = tmp_path / f"plate{extension}"
    write_expression(path, expression)
    with open_expression(path) as found:
        table = found.transposed() if extension == ".parquet" else found
        np.testing.assert_array_equal(table.load(), values, strict=True)
        assert (table.row_id, table.sample_id) == (expression.row_id, expression.sample_id)
        if extension in (".gct", ".gct.gz", ".gctx", ".h5ad"):
            check_metadata(table.row_metadata, expression.row_metadata)
            check_metadata(table.sample_metadata, expression.sample_metadata)


@pytest.mark.parametrize("extension", [".gct", ".gctx", ".csv", ".tsv.gz", ".h5ad"])
def test_names_that_repeat_or_lack_stay_so(tmp_path, extension):
    """In rows and columns: which of them are samples' is not known yet."""
    if extension == ".h5ad":
        pytest.importorskip("anndata")
    given = in_memory(np.arange(12, dtype=np.float32).reshape(4, 3) + 0.5, ["a", "", "a"], ["s", "t", "s", "u"])
    write_expression(tmp_path / f"some{extension}", given)
    with open_expression(tmp_path / f"some{extension}") as found:
        assert (found.row_id, found.sample_id) == (given.row_id, given.sample_id)
        np.testing.assert_array_equal(found.load(), given.load())


@pytest.mark.parametrize(
    "name", ["mini_gctoo_for_testing.gct", "mini_gctoo_for_testing.gctx", "test_v1point2_n5x10.gct"]
)
@pytest.mark.parametrize("extension", [".gct", ".gctx", ".h5ad"])
def test_files_of_the_connectivity_map_keep_values_and_metadata(shared, tmp_path, name, extension):
    if extension == ".h5ad":
        pytest.importorskip("anndata")
    with open_expression(shared / "data" / "gct" / name) as source:
        write_expression(tmp_path / f"some{extension}", source)
        with open_expression(tmp_path / f"some{extension}") as found:
            np.testing.assert_array_equal(found.load(), source.load())
            assert (found.row_id, found.sample_id) == (source.row_id, source.sample_id)
            check_metadata(found.row_metadata, source.row_metadata)
            check_metadata(found.sample_metadata, source.sample_metadata)


@pytest.fixture
def written(plate, tmp_path):
    """Writes the plate and gives its file and values."""

    def write(extension: str) -> tuple[Path, Expression, np.ndarray]:
        path = tmp_path / f"plate{extension}"
        write_expression(path, plate[0])
        return path, *plate

    return write


@pytest.mark.parametrize("extension", [".csv", ".csv.gz", ".tsv", ".tsv.gz"])
def test_pandas_reads_text(written, extension):
    path, plate, values = written(extension)
    separator = "\t" if "tsv" in extension else ","
    found = pd.read_csv(path, sep=separator, index_col=0, dtype=dict.fromkeys(plate.sample_id, np.float32))
    np.testing.assert_array_equal(found.to_numpy().T, values)
    assert tuple(found.index) == plate.row_id and tuple(found.columns) == plate.sample_id
    genes = pd.read_csv(path.with_name(f"plate.genes{extension}"), sep=separator, index_col=0, keep_default_na=False)
    assert genes["pr_gene_symbol"].tolist() == plate.row_metadata["pr_gene_symbol"].tolist()
    assert genes["pr_gene_id"].tolist() == plate.row_metadata["pr_gene_id"].tolist()
    samples = pd.read_csv(path.with_name(f"plate.samples{extension}"), sep=separator, index_col=0)
    assert tuple(samples.index) == plate.sample_id
    np.testing.assert_array_equal(samples["pert_dose"], plate.sample_metadata["pert_dose"])


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("by_genes", [True, False])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC, csv.QUOTE_ALL])
def test_text_of_pandas_is_read(plate, tmp_path, separator, by_genes, quoting):
    expression, values = plate
    frame = pd.DataFrame(values, expression.sample_id, expression.row_id).iloc[:20, :30]
    frame = frame.T if by_genes else frame
    frame.to_csv(tmp_path / "some.txt", sep=separator, quoting=quoting)
    with open_expression(tmp_path / "some.txt") as found:
        np.testing.assert_array_equal(found.load().T, frame.to_numpy(), strict=True)
        assert found.row_id == tuple(frame.index) and found.sample_id == tuple(frame.columns)


def test_pyarrow_reads_parquet(written):
    parquet = pytest.importorskip("pyarrow.parquet")
    path, plate, values = written(".parquet")
    found = parquet.read_table(path)
    assert tuple(found.column_names) == ("id", *plate.row_id) and tuple(found["id"].to_pylist()) == plate.sample_id
    np.testing.assert_array_equal(found[1].to_numpy(), values[:, 0])
    frame = pd.read_parquet(path)
    assert tuple(frame.index) == plate.sample_id
    np.testing.assert_array_equal(frame.to_numpy(), values, strict=True)


@pytest.mark.parametrize("extension", [".gct", ".gctx"])
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_cmappy_reads_gct_and_gctx(written, monkeypatch, extension):
    parse = pytest.importorskip("cmapPy.pandasGEXpress.parse").parse
    to_numeric = pd.to_numeric

    def ignoring(column, errors):  # what pandas 3 no longer does
        try:
            return to_numeric(column)
        except ValueError:
            return column

    monkeypatch.setattr(pd, "to_numeric", ignoring)
    path, plate, values = written(extension)
    theirs = parse(str(path))
    np.testing.assert_array_equal(theirs.data_df[list(plate.sample_id)].loc[list(plate.row_id)].to_numpy().T, values)
    for frame, ids, metadata in (
        (theirs.row_metadata_df, plate.row_id, plate.row_metadata),
        (theirs.col_metadata_df, plate.sample_id, plate.sample_metadata),
    ):
        assert set(frame.columns) == metadata.keys()
        for name, column in metadata.items():
            expected = frame.loc[list(ids), name]
            if is_text(column):  # theirs drops what looks missing, such as a dose unit of "na"
                known = expected.notna().to_numpy()
                assert expected[known].astype(str).tolist() == column[known].tolist()
            else:
                np.testing.assert_allclose(column, expected.astype(float), rtol=1e-12)


def test_cmappy_writes_what_is_read(plate, tmp_path):
    gctoo = pytest.importorskip("cmapPy.pandasGEXpress.GCToo").GCToo
    write_gct = pytest.importorskip("cmapPy.pandasGEXpress.write_gct")
    expression, values = plate
    data = pd.DataFrame(values.T, pd.Index(expression.row_id, name="rid"), pd.Index(expression.sample_id, name="cid"))
    genes = pd.DataFrame({"symbol": expression.row_metadata["pr_gene_symbol"]}, data.index)
    samples = pd.DataFrame({"well": expression.sample_metadata["det_well"]}, data.columns)
    genes.columns.name, samples.columns.name = "rhd", "chd"
    write_gct.write(gctoo(data, genes, samples), str(tmp_path / "some.gct"))
    with open_expression(tmp_path / "some.gct") as found:
        np.testing.assert_allclose(found.load(), values, atol=1e-4)  # it writes four decimals
        assert found.row_metadata["symbol"].tolist() == genes["symbol"].tolist()
        assert found.sample_metadata["well"].tolist() == samples["well"].tolist()
