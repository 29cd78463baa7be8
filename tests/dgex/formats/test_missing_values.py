"""Values that stand for missing ones: which, in every format and on every scale, and that the rest stays."""

import re
import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from data_prep.inspection import inspect
from data_prep.steps import Steps
from dgex.errors import DgexError
from dgex.formats.expression import in_memory
from dgex.formats.gct import write_gct
from dgex.formats.gctx import write_gctx
from dgex.formats.h5ad import write_h5ad
from dgex.formats.missing_values import STAND_INS, tally, without_stand_ins
from dgex.formats.opening import open_expression
from dgex.formats.parquet import write_parquet
from dgex.formats.table import write_table
from dgex.model.in_memory import predict

LARGEST = float(np.finfo(np.float32).max)
NAN = np.nan


def table_of(values):
    values = np.asarray(values, np.float32)
    rows = [f"g{row}" for row in range(values.shape[1])]
    return in_memory(values, rows, [f"s{sample}" for sample in range(len(values))])


@pytest.mark.parametrize(
    "value",
    [-666, -999, -9999, -99999, -999999, -(2**15), -(2**31), -(2**63), 1e20, -1e20, 1e30, -1e30, LARGEST, -LARGEST],
)
def test_stand_ins_are_missing(value):
    values = np.array([[1, value, 3], [value, value, NAN]], np.float32)
    table = without_stand_ins(table_of(values))
    np.testing.assert_array_equal(table.load(), [[1, NAN, 3], [NAN] * 3])
    assert list(table.stand_ins.values()) == [3]
    assert values[0, 1] == np.float32(value)  # the caller's array stays


def test_measurements_are_not():
    """Background correction goes below zero; nines above it are counts; -99 and -9 are on scales of their own."""
    values = np.array([[-666.3, -665, -667, -9998, -10000, -999.5, -99, -9, 666, 999, 9999, 99999, 0, 1e15, NAN]])
    table = without_stand_ins(table_of(values))
    np.testing.assert_array_equal(table.load(), values.astype(np.float32))
    assert not table.stand_ins and tally(table.stand_ins) == ""


def test_they_are_counted_once_however_often_they_are_read():
    table = without_stand_ins(without_stand_ins(table_of([[1, -9999, 1e20], [-666, -9999, 2]])))
    next(iter(table.blocks(1)))
    assert not table.stand_ins  # not all has been read
    for _ in range(2):
        table.transposed().load()
        assert tally(table.stand_ins) == "2 of -9999, 1 of -666, 1 of 1e+20"


WRITERS = {".gct": write_gct, ".gctx": write_gctx, ".csv": write_table, ".tsv.gz": write_table, ".h5ad": write_h5ad,
           ".parquet": write_parquet}  # fmt: skip
SOME = [2.5, -9999, -LARGEST, 1e30]


@pytest.mark.parametrize("extension", WRITERS)
def test_in_every_format(tmp_path, extension):
    path = tmp_path / f"some{extension}"
    WRITERS[extension](path, table_of([SOME, [1, 2, 3, 4]]))
    with open_expression(path) as table:
        values = table.load()
    assert np.isnan(values).sum() == 3 and sorted(values[~np.isnan(values)].tolist()) == [1, 2, 2.5, 3, 4]
    assert tally(table.stand_ins) == "1 of -3.402823e+38, 1 of -9999, 1 of 1e+30"


def test_in_columns_of_integers(tmp_path):
    """Where there is no NaN they are needed most; the lowest integer is R's NA, and what a cast of NaN becomes."""
    lowest = np.iinfo(np.int32).min
    counts = pd.DataFrame({"s0": [1, lowest, -9999], "s1": pd.array([4, 5, None], "Int64")}, ["g0", "g1", "g2"])
    counts.to_parquet(tmp_path / "some.parquet")
    write_h5ad(tmp_path / "some.h5ad", table_of(np.zeros((2, 3))))
    with h5py.File(tmp_path / "some.h5ad", "r+") as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        file["X"] = np.array([[1, lowest, -9999], [4, 5, -666]], np.int32)
        file["X"].attrs.update(attributes)
    for name in ("some.parquet", "some.h5ad"):
        with open_expression(tmp_path / name) as table:
            np.testing.assert_array_equal(table.load(), [[1, NAN, NAN], [4, 5, NAN]])
        assert tally(table.stand_ins).startswith("1 of -2147483648, 1 of -9999")


@pytest.fixture
def landmark(small_data) -> np.ndarray:
    return small_data.landmark[small_data.split == 2][:6]


def plates(model, values):
    """The same values as everything that ``dgex.predict`` takes, and how to get its result back as an array."""
    anndata = pytest.importorskip("anndata")
    genes = list(model.reference.landmark_genes.ensembl)
    frame = pd.DataFrame(values, [f"s{row}" for row in range(len(values))], genes)
    yield values, lambda result: result
    yield frame, lambda result: result.to_numpy()
    yield frame.T, lambda result: result.to_numpy().T
    yield anndata.AnnData(frame), lambda result: result.X


def predicted(model, plate, scale):
    """The prediction, and what is warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = predict(model, plate, input_scale=scale)
    return result, [str(warning.message) for warning in said]


@pytest.mark.parametrize(
    ("scale", "change"), [("log2", lambda x: x), ("linear", np.exp2), ("zscore", lambda x: (x - 9) / 2)]
)
@pytest.mark.parametrize("value", [-666, -9999, 1e30])
def test_predictions_are_those_of_nan(small_model, landmark, scale, change, value):
    values = change(landmark)
    gaps = np.arange(values.size).reshape(values.shape) % 11 == 0
    wanted, said = predicted(small_model, np.where(gaps, np.float32(NAN), values), scale)
    assert not any("stand for" in line for line in said)
    count = f"{gaps.sum()} of {value:g}"
    for plate, back in plates(small_model, np.where(gaps, np.float32(value), values)):
        found, said = predicted(small_model, plate, scale)
        assert f"values that stand for missing ones are taken as missing: {count}" in said
        np.testing.assert_array_equal(back(found), wanted)


def test_what_no_scale_holds_is_refused(small_model, landmark):
    zscores = (landmark - 9) / 2
    zscores[4, 2] = -134
    with pytest.raises(DgexError, match="the profile 4 reaches -134, and zscore values are -100 at least"):
        predict(small_model, zscores, input_scale="zscore")
    counts = np.rint(np.exp2(landmark))
    counts[3, 5] = -1
    with pytest.raises(DgexError, match="the profile 3 reaches -1, and counts, as its whole numbers are"):
        predict(small_model, counts)
    counts[3] += 0.25
    predicted(small_model, counts, "linear")


def test_real_case_is_read_as_with_na(shared, tmp_path):
    """The case's values are linear, with -9999 in place of what was not measured."""
    case = shared / "data" / "cases" / "lin_9999.tsv"
    text = case.read_text()
    path = tmp_path / "na.tsv"
    path.write_text(re.sub(r"-9999(?=[\t\n])", "NA", text))
    with open_expression(case) as table, open_expression(path) as other:
        np.testing.assert_array_equal(table.load(), other.load())
    assert dict(table.stand_ins) == {-9999: len(re.findall("-9999", text))}
    facts = inspect(case, Steps()).facts
    assert facts["taken as missing"] == "338 of -9999, among these"
    assert facts["missing values"] == inspect(Path(path), Steps()).facts["missing values"]


def test_there_is_no_stand_in_that_a_count_could_be():
    assert (STAND_INS[STAND_INS > 0] > 1e15).all()
