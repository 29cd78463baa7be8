"""Scales told from values: of real studies, and of values made to one scale."""

import numpy as np
import pytest

from dgex.data.intensity_scale import (
    MixedScalesError,
    NoIntensitiesError,
    _mean_correlation,
    check_value_ranges,
    intensity_scale,
    log2_of_linear,
    scale_of,
    value_ranges,
)
from dgex.errors import DgexError
from dgex.formats.gct import open_gct
from dgex.formats.opening import open_expression

RNG = np.random.default_rng(0)
LEVELS = RNG.uniform(2, 14, 500)  # log2, of genes
LOG2 = (LEVELS + RNG.normal(0, 0.8, (20, 500))).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("geo/GSE994_series_matrix.txt.gz", "linear"),
        ("geo/GSE4107_series_matrix.txt.gz", "linear"),
        ("geo/GSE55235_series_matrix.txt.gz", "linear"),
        ("geo/GSE3268_series_matrix.txt.gz", "log2"),
        ("geo/GSE14520-GPL571_series_matrix.txt.gz", "log2"),
        ("geo/GSE30528_series_matrix.txt.gz", "centred"),
        ("l1000/LJP009_A375_24H_X1_B20_QNORM_n371x978.gct.gz", "log2"),
    ],
)
def test_real_tables(shared, name, scale):
    with open_expression(shared / "data" / name) as expression:
        values = expression.load()
    check_scale(values, scale)


def test_real_zscores(shared):
    with open_gct(shared / "data" / "gct" / "test_l1000.gctx") as expression:  # from -61 to 27
        check_scale(expression.load(), "centred")


def check_scale(values, scale):
    assert scale_of(values) == scale
    assert scale_of(values[::-1][:6]) == scale
    for profile in values[:: max(1, len(values) // 5)]:
        assert scale_of(profile[None]) == scale


@pytest.mark.parametrize("name", ["geo_compendium_n704x16687.gctx", "rnaseq_cohorts_n661x10018.gctx"])
def test_every_cohort_and_their_mixture_are_log2(shared, name):
    with open_expression(shared / "data" / "geo" / name) as expression:
        values, studies = expression.load(), expression.sample_metadata["study_id"]
    for study in set(studies):
        assert scale_of(values[studies == study]) == "log2", study
    assert scale_of(values[:: len(values) // 200]) == "log2"


def test_values_made_to_one_scale():
    assert scale_of(LOG2) == "log2"
    assert scale_of(LOG2 - 9) == "log2"  # as log-CPM: half of the values are negative, and the profiles agree
    assert scale_of(LOG2 + RNG.normal(0, 3, (20, 1)).astype(np.float32)) == "log2"  # levels differ
    assert scale_of(2**LOG2) == "linear"
    assert scale_of(LOG2 - LOG2.mean(axis=0)) == "centred"
    assert scale_of((LOG2 - LOG2.mean(axis=0)) / LOG2.std(axis=0) * 20) == "centred"  # beyond 32
    low, high = LOG2.min(axis=0), LOG2.max(axis=0)
    assert scale_of((LOG2 - low) / (high - low)) == "centred"  # to [0, 1] gene by gene


def test_gaps_do_not_matter():
    gappy = LOG2.copy()
    gappy[RNG.random(gappy.shape) < 0.3] = np.nan
    gappy[3] = np.nan
    assert scale_of(gappy) == "log2"
    assert scale_of(2**gappy) == "linear"
    assert scale_of(gappy - np.nanmean(gappy, axis=0)) == "centred"
    with pytest.raises(ValueError, match="no value is measured"):
        scale_of(np.full((2, 3), np.nan, np.float32))


FIVE_LINEAR = np.where(np.arange(20)[:, None] > 4, LOG2, 2**LOG2)


@pytest.mark.parametrize(
    ("values", "said", "kind"),
    [
        (LOG2 - LOG2.mean(axis=0), "are centred gene by gene", NoIntensitiesError),
        (np.where(np.arange(500) == 3, -999, LOG2), "reaches -999, which is no log2 value", NoIntensitiesError),
        (np.full_like(LOG2, np.nan), "has no value of any gene", DgexError),
        (np.ones_like(LOG2), "every profile has one value throughout", DgexError),
        (
            FIVE_LINEAR,
            "5 of 20 profiles, such as s0, are linear .* 15, such as s5, log2",
            MixedScalesError,
        ),
    ],
)
def test_what_is_on_no_one_scale(values, said, kind):
    """Those that are on no scale of intensities can be told from the rest, for they may be z-scores."""
    ids = [f"s{row}" for row in range(20)]
    with pytest.raises(DgexError, match=f"^table.csv: .*{said}") as refusal:
        intensity_scale("table.csv", ids, value_ranges(values), lambda rows: values[rows])
    assert refusal.type is kind


COUNTS = RNG.poisson(2 ** (LEVELS - 6), (20, 500)).astype(np.float32)


def scale_in(values) -> str:
    ids = [f"s{row}" for row in range(len(values))]
    return intensity_scale("table.csv", ids, value_ranges(values), lambda rows: values[rows])


def test_whole_numbers_are_counts_however_small():
    shallow = np.minimum(COUNTS, 9)
    noise = RNG.integers(0, 3, (20, 500)).astype(np.float32)  # profiles that do not agree, as single cells
    one = np.where(np.arange(20)[:, None] == 4, shallow, COUNTS)
    for values in (COUNTS, shallow, noise, one, np.where(noise == 0, np.nan, noise)):
        assert scale_in(values) == scale_of(values) == "linear"
    assert scale_in(np.where(np.arange(20)[:, None] == 4, shallow, COUNTS + 0.5)) == "linear"  # a cell among TPM
    assert scale_in(np.where(np.arange(20)[:, None] == 4, 1 + shallow, LOG2)) == "log2"
    assert scale_of(noise - 1) != "linear"


def test_counts_are_not_negative():
    """Intensities may be: MAS4 and MAS5 correct for the background."""
    wrong = np.where((np.arange(20)[:, None] == 3) & (np.arange(500) == 7), -5, COUNTS)
    with pytest.raises(DgexError, match="^table.csv: the profile s3 reaches -5, and counts, as its .* never negative"):
        scale_in(wrong)
    assert scale_in(wrong + 0.3) == "linear"


@pytest.mark.parametrize(
    ("scale", "value", "said"),
    [
        ("zscore", 101, "reaches 101, and zscore values are 100 at most"),
        ("zscore", -250.5, "reaches -250.5, and zscore values are -100 at least; write NaN"),
        ("log2", 33, "reaches 33, and log2 values are 32 at most; bring all to one scale"),
        ("log2", -33, "reaches -33, and log2 values are -32 at least"),
        ("linear", 3e25, "reaches 3e.25, and linear values are 1e.15 at most"),
        ("linear", -1, "reaches -1, and counts"),
    ],
)
def test_what_no_measurement_on_a_scale_has(scale, value, said):
    values = np.array([[1, 2, 3], [0, 2, value], [np.nan] * 3], np.float32)
    check_value_ranges("table.csv", ["s0"], value_ranges(values[:1]), scale)
    check_value_ranges("table.csv", ["s2"], value_ranges(values[2:]), scale)
    with pytest.raises(DgexError, match=f"^table.csv: the profile s1 {said}"):
        check_value_ranges("table.csv", ["s0", "s1", "s2"], value_ranges(values), scale)


def test_value_ranges():
    values = np.array([[1, np.nan, 3], [0.5, -2, 7], [np.nan] * 3], np.float32)
    np.testing.assert_array_equal(value_ranges(values), [[1, 3, 1], [-2, 7, 0], [np.inf, -np.inf, 1]])


def test_mean_correlation_is_that_of_all_pairs():
    pairs = np.corrcoef(LOG2.astype(np.float64))[np.triu_indices(20, k=1)]
    np.testing.assert_allclose(_mean_correlation(LOG2), pairs.mean(), rtol=1e-5)


def test_log2_of_linear():
    found = log2_of_linear(np.array([[-5, 0, 1, 7, 1023, np.nan]], np.float64))
    np.testing.assert_array_equal(found, np.array([[0, 0, 1, 3, 10, np.nan]], np.float32), strict=True)
