"""Whole profiles from any source: what comes profile by profile, gene by gene, or in pieces of the file's choosing."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.formats.expression import Expression, in_memory
from dgex.formats.gctx import write_gctx
from dgex.formats.opening import open_expression
from dgex.formats.profiles import profiles_of

SAMPLES, WIDTH = 7, 5
VALUES = np.arange(SAMPLES * WIDTH, dtype=np.float32).reshape(SAMPLES, WIDTH)
VALUES[2, 3] = np.nan

ROWS = [[0, 1, 2, 3, 4], [3, 0], [4, 2, 2, 0, 4], [1], [2, 2]]


def source(values, by, at_least=1):
    """A table that comes by sample or by row; as HDF5's chunks do, never fewer than ``at_least`` of them at a time."""

    samples, width = values.shape

    def blocks(most):
        along, across = (samples, width) if by == "sample" else (width, samples)
        step = max(at_least, most // across, 1)
        for first in range(0, along, step):
            part, whole = slice(first, min(first + step, along)), slice(0, across)
            where = (part, whole) if by == "sample" else (whole, part)
            yield *where, values[where].copy()

    return Expression(tuple(f"r{row}" for row in range(width)), tuple(f"s{row}" for row in range(samples)), blocks)


def read(table, rows, folder, most):
    with profiles_of(table, np.array(rows, int), most, folder) as profiles:
        blocks = list(profiles())
        again = list(profiles())
    for (where, values), (same, too) in zip(blocks, again, strict=True):
        assert where == same
        np.testing.assert_array_equal(values, too)
    return blocks


SOURCES = {
    "by sample": source(VALUES, "sample"),
    "by sample, in chunks": source(VALUES, "sample", at_least=3),
    "by sample, at once": source(VALUES, "sample", at_least=100),
    "by row": source(VALUES, "row"),
    "by row, in chunks": source(VALUES, "row", at_least=2),
    "in memory": in_memory(VALUES, [*"abcde"], [*"tuvwxyz"]),
    "transposed": source(VALUES.T.copy(), "sample").transposed(),
    "transposed by row": source(VALUES.T.copy(), "row").transposed(),
}


@pytest.mark.parametrize("table", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("rows", ROWS, ids=str)
@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_every_source_gives_the_same(table, rows, most, tmp_path):
    blocks = read(table, rows, tmp_path, most)
    assert all(len(values) == where.stop - where.start <= most for where, values in blocks)
    assert [where.start for where, _ in blocks] == [0, *(where.stop for where, _ in blocks)][:-1]
    found = np.vstack([values for _, values in blocks])
    np.testing.assert_array_equal(found, VALUES[:, np.array(rows, int)])
    assert found.dtype == np.float32
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("by", ["sample", "row"])
@pytest.mark.parametrize("shape", [(1, 5), (7, 1), (1, 1)])
def test_one_sample_or_one_row(by, shape, tmp_path):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = read(source(values, by), [shape[1] - 1, 0], tmp_path, 2)
    np.testing.assert_array_equal(np.vstack([part for _, part in found]), values[:, [shape[1] - 1, 0]])


def test_no_room_for_a_scratch_file(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    assert len(read(source(VALUES, "sample"), [0], tmp_path, 100)) == 1  # needs none
    with pytest.raises(DgexError, match="make room"):
        read(source(VALUES, "row"), [0], tmp_path, 3)


def test_errors_of_the_source_pass(tmp_path):
    def blocks(most):
        yield slice(0, SAMPLES), slice(0, 1), VALUES[:, :1]
        raise DgexError("line 3 is no number")

    table = Expression(tuple("abcde"), tuple("tuvwxyz"), blocks)
    with pytest.raises(DgexError, match="line 3"):
        read(table, [0, 4], tmp_path, 3)
    assert not list(tmp_path.iterdir())


def test_chunks_that_are_less_wide_than_a_profile(tmp_path):
    """3,000 profiles of 978 genes in uncompressed chunks of 2,000 by 100: a block of profiles holds few of them."""
    values = np.random.default_rng(0).normal(8, 2, (3000, 978)).astype(np.float32)
    path = tmp_path / "level3.gctx"
    write_gctx(path, in_memory(values[:1], [f"g{row}" for row in range(978)], ["s0"]))
    with h5py.File(path, "r+") as file:
        del file["0/DATA/0/matrix"], file["0/META/COL/id"]
        file["0/META/COL/id"] = [f"s{row}" for row in range(3000)]
        matrix = file.create_dataset("0/DATA/0/matrix", data=values, chunks=(2000, 100))
        assert matrix.compression is None
    rows = np.array([977, 0, 100, 99, 500])
    with open_expression(path) as table:
        blocks = read(table, rows, tmp_path, 1024)
    assert max(len(part) for _, part in blocks) <= 1024 and blocks[-1][0].stop == 3000
    np.testing.assert_array_equal(np.vstack([part for _, part in blocks]), values[:, rows])
    assert [file.name for file in tmp_path.iterdir()] == ["level3.gctx"]
