"""GCTX: the Connectivity Map's own small files, files written here, and files that are wrong."""

import h5py
import numpy as np
import pytest

from dgex.formats.gctx import read_gctx, write_gctx
from dgex.formats.matrix import Expression

NAN = np.nan


@pytest.fixture
def expression() -> Expression:
    return Expression(
        values=np.array([[1, NAN, 3], [4, 5, 6.5]], np.float32),
        row_id=("1_at", "2_at", "3_at"),
        sample_id=("GSM1", "DMSO:-666"),
        row_metadata={"symbol": np.array(["A", "", "Ä"]), "entrez": np.array([1.0, NAN, 3])},
        sample_metadata={"study_id": np.array(["GSE1", "GSE2"]), "batch": np.array([7, 8])},
    )


@pytest.fixture
def path(tmp_path, expression):
    write_gctx(tmp_path / "some.gctx", expression)
    return tmp_path / "some.gctx"


def assert_same(one: Expression, other: Expression) -> None:
    np.testing.assert_array_equal(one.values, other.values, strict=True)
    assert (one.row_id, one.sample_id) == (other.row_id, other.sample_id)
    for mine, theirs in ((one.row_metadata, other.row_metadata), (one.sample_metadata, other.sample_metadata)):
        assert mine.keys() == theirs.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], theirs[name])
            assert mine[name].dtype.kind == theirs[name].dtype.kind


def test_reads_back_what_was_written(path, expression):
    assert_same(read_gctx(path), expression)


def test_file_has_the_published_layout(path):
    with h5py.File(path) as file:
        assert file.attrs["version"] == "GCTX1.0"
        assert file["0/DATA/0/matrix"].shape == (2, 3) and file["0/DATA/0/matrix"].dtype == np.float32
        assert file["0/META/ROW/id"].asstr()[:].tolist() == ["1_at", "2_at", "3_at"]
        assert file["0/META/ROW/symbol"].asstr()[1] == "-666"
        assert file["0/META/ROW/entrez"][:].tolist() == [1, -666, 3]


def test_gctx_of_the_connectivity_map_equals_its_gct_twin(shared):
    folder = shared / "data" / "gct"
    read = read_gctx(folder / "mini_gctoo_for_testing.gctx")
    lines = [line.split("\t") for line in (folder / "mini_gctoo_for_testing.gct").read_text().splitlines()]
    rows, samples, row_fields, sample_fields = map(int, lines[1])
    header, body = lines[2], lines[3 + sample_fields :]
    assert read.sample_id == tuple(header[1 + row_fields :])
    assert read.row_id == tuple(line[0] for line in body)
    expected = np.array([line[1 + row_fields :] for line in body], np.float32).T
    np.testing.assert_allclose(read.values, expected, rtol=1e-5)
    for column, name in enumerate(header[1 : 1 + row_fields], start=1):
        texts = [line[column] for line in body]
        if read.row_metadata[name].dtype.kind == "U":
            assert read.row_metadata[name].tolist() == ["" if text == "-666" else text for text in texts]
        else:
            np.testing.assert_allclose(read.row_metadata[name], np.array(texts, float), rtol=1e-5)


def test_gctx_with_gzip_fixed_strings_and_missing_numbers(shared):
    read = read_gctx(shared / "data" / "gct" / "mini_gctx_with_metadata_n2x3.gctx")
    assert read.sample_id == ("LJP005_A375_24H:DMSO:-666", "LJP005_A375_24H:BRD-K76908866:10")
    assert read.row_metadata["pr_analyte_id"].tolist() == ["Analyte 11", "Analyte 12", "Analyte 12"]
    np.testing.assert_array_equal(read.row_metadata["pr_model_id"], [NAN, NAN, NAN])
    np.testing.assert_allclose(read.values[1], [0.01127037, 1.92106056, -0.14465202], rtol=1e-6)


def test_integer_metadata_with_gaps_becomes_float(path):
    with h5py.File(path, "r+") as file:
        file["0/META/COL/batch"][0] = -666
    np.testing.assert_array_equal(read_gctx(path).sample_metadata["batch"], [NAN, 8])


def test_integer_ids_are_names(path):
    with h5py.File(path, "r+") as file:
        del file["0/META/ROW/id"]
        file["0/META/ROW/id"] = [5720, 55847, 7416]
    assert read_gctx(path).row_id == ("5720", "55847", "7416")


def replaced(name, values):
    def damage(file):
        del file[name]
        if values is not None:
            file[name] = values

    return damage


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (replaced("0/DATA/0/matrix", np.zeros((3, 2), "f4")), "transposed"),
        (replaced("0/DATA/0/matrix", np.zeros((2, 4), "f4")), "of shape (2, 4)"),
        (replaced("0/DATA/0/matrix", np.zeros((2, 3), "i4")), "holds int32"),
        (replaced("0/DATA/0/matrix", np.full((2, 3), -np.inf)), "holds infinite values"),
        (replaced("0/DATA/0/matrix", None), "no /0/DATA/0/matrix"),
        (replaced("0/META/ROW/id", None), "no /0/META/ROW/id"),
        (replaced("0/META/ROW/id", ["1_at", "2_at", "1_at"]), "/0/META/ROW/id holds 1_at twice"),
        (replaced("0/META/COL/id", ["a", "a"]), "/0/META/COL/id holds a twice"),
        (replaced("0/META/COL/batch", [1, 2, 3]), "/0/META/COL/batch has shape (3,)"),
    ],
)
def test_wrong_files_are_refused(path, refused, damage, complaint):
    with h5py.File(path, "r+") as file:
        damage(file)
    line = refused(lambda: read_gctx(path))
    assert str(path) in line and complaint in line


def test_a_file_without_samples_is_refused(tmp_path, refused):
    empty = Expression(np.zeros((0, 1), np.float32), ("1_at",), ())
    write_gctx(tmp_path / "empty.gctx", empty)
    assert "is empty" in refused(lambda: read_gctx(tmp_path / "empty.gctx"))


def test_gct_text_under_a_gctx_name_is_recognised(shared, refused):
    assert "is GCT text" in refused(lambda: read_gctx(shared / "data" / "gct" / "test_l1000.gctx"))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_truncated_files_are_refused(path, refused, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "truncated or damaged" in refused(lambda: read_gctx(path))
