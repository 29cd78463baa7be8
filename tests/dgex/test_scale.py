"""Scales told from values: of real studies, and of values made to one scale."""

from pathlib import Path

import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.formats.gct import open_gct
from dgex.formats.opening import open_expression
from dgex.scale import NoIntensitiesError, _mean_correlation, intensity_scale, log2_of_linear, reach_of, scale_of

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


@pytest.mark.parametrize(
    ("values", "said", "kind"),
    [
        (LOG2 - LOG2.mean(axis=0), "are centred gene by gene", NoIntensitiesError),
        (np.where(np.arange(500) == 3, -999, LOG2), "reaches -999, which is no log2 value", NoIntensitiesError),
        (np.full_like(LOG2, np.nan), "has no value of any gene", DgexError),
        (np.ones_like(LOG2), "every profile has one value throughout", DgexError),
        (np.where(np.arange(20)[:, None] > 4, LOG2, 2**LOG2), "5 of 20 profiles, such as s0, are linear", DgexError),
    ],
)
def test_what_is_on_no_one_scale(values, said, kind):
    """Those that are on no scale of intensities can be told from the rest, for they may be z-scores."""
    ids = [f"s{row}" for row in range(20)]
    with pytest.raises(DgexError, match=f"^table.csv: .*{said}") as refusal:
        intensity_scale(Path("table.csv"), ids, reach_of(values), lambda rows: values[rows])
    assert refusal.type is kind


def test_mean_correlation_is_that_of_all_pairs():
    pairs = np.corrcoef(LOG2.astype(np.float64))[np.triu_indices(20, k=1)]
    np.testing.assert_allclose(_mean_correlation(LOG2), pairs.mean(), rtol=1e-5)


def test_log2_of_linear():
    found = log2_of_linear(np.array([[-5, 0, 1, 7, 1023, np.nan]], np.float64))
    np.testing.assert_array_equal(found, np.array([[0, 0, 1, 3, 10, np.nan]], np.float32), strict=True)
