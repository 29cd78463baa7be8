"""The scale of a table's values, and what values are refused: no log2 or linear ones, no z-scores, too few of them."""

import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.formats.expression import in_memory

NAN = np.nan


@pytest.mark.parametrize(
    ("change", "request_", "said"),
    [
        (
            lambda x: np.exp2(x),
            {"input_scale": "log2"},
            "its values reach .* counts or linear, not log2; say --input-s",
        ),
        (lambda x: x - x.mean(axis=0), {}, "centred gene by gene.*for z-scores of each gene, say --input-scale zscore"),
        (lambda x: x, {"input_scale": "zscore"}, "0% of its values are negative, so they are not z-scores"),
        (lambda x: np.where(np.arange(60)[:, None] == 7, 0, x), {}, "the profile s7 has one value throughout"),
        (lambda x: np.zeros_like(x), {}, "every profile has one value throughout"),
        (lambda x: np.full_like(x, NAN), {}, "has no value of any gene"),
        (lambda x: np.where(np.arange(60)[:, None] == 7, NAN, x), {}, "s7 has no value of any landmark; leave it out"),
        (
            lambda x: np.where(np.arange(60)[:, None] > 50, np.exp2(x), x),
            {},
            "9 of 60 profiles, such as s51, are linear",
        ),
        (lambda x: np.where(np.arange(24) == 3, -999, x), {}, "reaches -999, which is no log2 value"),
        (
            lambda x: np.where(np.arange(24) == 3, -999, x),
            {"input_scale": "log2"},
            "s0 reaches -999, and log2",
        ),
        (lambda x: np.full_like(x, NAN), {"input_scale": "zscore"}, "s0 has no value of any landmark"),
        (lambda x: np.full_like(x, NAN), {"input_scale": "log2"}, "s0 has no value of any landmark"),
    ],
)
def test_values_that_are_refused(small_model, landmark, change, request_, said, table_of, predicted):
    with pytest.raises(DgexError, match=f"^plate.gct: .*{said}"):
        predicted(small_model, table_of(change(landmark)), **request_)


@pytest.mark.parametrize(
    ("change", "hinted"),
    [
        (lambda x: x - x.mean(axis=0), True),
        (lambda x: np.where(np.arange(24) == 3, -40, x - x.mean(axis=0)), True),
        (lambda x: np.where(np.arange(60)[:, None] > 50, np.exp2(x), x), False),
        (lambda x: np.full_like(x, NAN), False),
    ],
)
def test_zscores_are_hinted_at_where_they_may_be(small_model, landmark, change, hinted, table_of, predicted):
    with pytest.raises(DgexError) as refusal:
        predicted(small_model, table_of(change(landmark)))
    assert str(refusal.value).endswith("; for z-scores of each gene, say --input-scale zscore") == hinted


def test_later_profiles_that_seem_log2_among_linear_ones_are_refused(small_model, landmark, table_of, predicted):
    """Unless the scale is given; what seems to be counts of a shallow cell is none of these."""
    many = np.exp2(np.tile(landmark, (36, 1)))
    many[2000] = np.rint(landmark[0])
    predicted(small_model, table_of(many))
    many[2000] = landmark[0]
    with pytest.raises(DgexError, match="the profile s2000 stays below 32, .* or say --input-scale linear"):
        predicted(small_model, table_of(many))
    predicted(small_model, table_of(many), input_scale="linear")
    few = table_of(many[1990:2010])
    with pytest.raises(DgexError, match="such as s0, are linear .* 1, such as s10, log2; .* say --input-scale linear"):
        predicted(small_model, few)
    predicted(small_model, few, input_scale="linear")


def test_later_profiles_of_another_scale_are_refused(small_model, landmark, table_of, predicted):
    many = np.tile(landmark, (36, 1))
    many[2000] = np.exp2(many[2000])
    with pytest.raises(DgexError, match=r"the profile s2000 reaches \d+\.\d+, and log2 values are 32 at most"):
        predicted(small_model, table_of(many))


@pytest.mark.parametrize(("lacking", "most", "fine"), [(4, 0.2, True), (5, 0.2, False), (5, 0.25, True), (1, 0, False)])
def test_too_few_landmarks(small_model, small_plate, landmark, lacking, most, fine, table_of, predicted):
    fewer = in_memory(landmark[:, lacking:], small_plate.row_id[lacking:], small_plate.sample_id)
    gaps = landmark.copy()
    gaps[7, :lacking] = NAN
    for given, which in ((fewer, "every profile"), (table_of(gaps), "s7")):
        if fine:
            assert np.isfinite(predicted(small_model, given, max_missing=most)[1]).all()
        else:
            said = rf"plate.gct: {which} lacks {lacking} of the 24 landmarks, more than {most:.0%}; .*--max-missing"
            with pytest.raises(DgexError, match=said):
                predicted(small_model, given, max_missing=most)


def test_landmarks_that_are_missing_since_they_are_ambiguous(small_model, small_plate, landmark, predicted):
    """Two versions of each of five ids: the way out is to name them otherwise."""
    versions = [f"{gene}.{version}" for gene in small_plate.row_id[:5] for version in (1, 2)]
    twice = in_memory(landmark[:, np.repeat(np.arange(24), [2] * 5 + [1] * 19)], [*versions, *small_plate.row_id[5:]],
                      small_plate.sample_id)  # fmt: skip
    gene = r"MADEUP0 \(ENSG90000000000\): ENSG90000000000 \(2 times\)"
    said = (
        rf"lacks 5 of the 24 landmarks, of which 5 are ambiguous \({gene}, ...\), more than 20%; .* name its genes oth"
    )
    with pytest.raises(DgexError, match=said):
        predicted(small_model, twice)
    assert predicted(small_model, twice, max_missing=0.3)[1].shape == (60, 76)
