"""What a prediction tells of its rows and samples: validation results, intervals, and who is out of range."""

from dataclasses import replace

import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.model.prediction import Request, rows_of

NAN = np.nan
TOLD = (
    "expected_zscore_mae", "expected_log2_mae", "self_check_error", "platform", "out_of_range", "landmarks_imputed"
)  # fmt: skip


@pytest.mark.parametrize("scale", ["log2", "zscore"])
@pytest.mark.parametrize("all_targets", [False, True])
def test_what_is_said_of_each_row(small_model, scale, all_targets):
    ids, told = rows_of(small_model, Request(output_scale=scale, all_targets=all_targets, interval=0.9))
    trusted, kept = small_model.reliability, np.arange(0 if all_targets else 8, 60)
    sd = small_model.reference.target_scaler.sd
    assert all(len(column) == len(ids) == 24 + len(kept) for column in told.values())
    assert told["symbol"].tolist() == [f"MADEUP{n}" for n in (*range(24), *range(8)[: 8 * all_targets], *range(24, 76))]
    for name, column in {
        "validation_pearson": trusted.pearson,
        "validation_r2": trusted.r2,
        "validation_zscore_mae": trusted.zscore_mae,
        "validation_log2_mae": trusted.zscore_mae * sd,
    }.items():
        assert np.isnan(told[name][:24]).all()
        np.testing.assert_array_equal(told[name][24:], column[kept])
    well = (trusted.pearson >= 0.5) & (trusted.r2 > 0)
    assert told["well_inferred"].tolist() == [1] * 24 + well[kept].astype(int).tolist()
    width = trusted.quantile[2] * (sd if scale == "log2" else 1)
    np.testing.assert_array_equal(told["interval_90_per_expected_error"], [NAN] * 24 + width[kept].tolist())
    assert "interval_90_per_expected_error" not in rows_of(small_model, Request())[1]


def test_an_interval_that_the_model_lacks(small_model, small_plate, predicted):
    with pytest.raises(DgexError, match="interval 0.7: is not available; choose from 0.5, 0.8, 0.9, 0.95"):
        predicted(small_model, small_plate, interval=0.7)


def test_intervals_hold_their_share_of_the_test_values(small_data, small_model, small_plate, predicted):
    """The measured values of profiles that nothing was fitted on, by what the output says of each row.

    More of them than that: errors are smaller after the refit, before which the intervals were calibrated.
    """
    prediction, values = predicted(small_model, small_plate, interval=0.8)
    width = prediction.expression.row_metadata["interval_80_per_expected_error"][24:]
    width = width * prediction.expression.sample_metadata["expected_zscore_mae"][:, None]
    inside = np.abs(values[:, 24:] - small_data.target[small_data.split == 2][:, 8:]) <= width
    assert 0.8 < inside.mean() < 0.92


def test_sample_metadata_are_kept(small_model, small_plate, predicted):
    told = {"dose": np.arange(60.0), "drug": np.array(["a", ""] * 30)}
    prediction, _ = predicted(small_model, replace(small_plate, sample_metadata=told))
    found = prediction.expression.sample_metadata
    assert list(found) == ["dose", "drug", *TOLD]
    for name, column in told.items():
        np.testing.assert_array_equal(found[name], column)


def test_strangers_are_told_and_others_not(small_model, small_data, landmark, table_of, predicted):
    training = small_data.landmark[small_data.split == 0]
    prediction, _ = predicted(small_model, table_of(training))
    assert prediction.expression.sample_metadata["out_of_range"].mean() < 0.05
    strangers = landmark[:5][:, np.random.default_rng(0).permutation(24)]  # another gene's value in every place
    prediction, _ = predicted(small_model, table_of(np.vstack([training[:3], strangers])), input_scale="log2")
    assert prediction.expression.sample_metadata["out_of_range"].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    line, _ = prediction.warnings()
    assert line.startswith("5 of 8 profiles, such as s3, are out of range")


def test_nothing_to_warn_of(small_model, landmark, table_of, predicted):
    prediction, _ = predicted(small_model, table_of(landmark[:1]))
    assert prediction.warnings() == []


def test_well_inferred_is_withheld_where_the_self_check_fails(small_model, landmark, table_of, predicted):
    strangers = landmark[:, np.random.default_rng(0).permutation(24)]
    prediction, _ = predicted(small_model, table_of(strangers))
    assert prediction.check.failed and np.isnan(prediction.expression.row_metadata["well_inferred"]).all()
    prediction, _ = predicted(small_model, table_of(landmark))
    assert not prediction.check.failed and prediction.expression.row_metadata["well_inferred"].dtype == bool
