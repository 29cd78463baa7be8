"""Which samples of a large file are chosen: conditions, the cap of a study, the number, the seed."""

from collections import Counter

import numpy as np
import pytest

from data_prep.choice import Choice, fulfilled, parse
from dgex.errors import DgexError
from dgex.formats.expression import text_column

SAMPLES = 400
RANDOM = np.random.default_rng(0)
FIELDS = {
    "study_id": text_column([f"GSE{i}" for i in np.sort(RANDOM.integers(0, 12, SAMPLES) ** 2 // 12)]),
    "geo_accession": text_column([f"GSM{i}" for i in range(SAMPLES)]),
    "source_name_ch1": text_column([("Liver", "liver and bile", "brain", "")[i % 4] for i in range(SAMPLES)]),
    "singlecellprobability": np.where(np.arange(SAMPLES) % 5, 0.1, 0.9),
    "alignedreads": np.where(np.arange(SAMPLES) % 7, np.arange(SAMPLES) * 1e5, np.nan),
}
NUMBER = np.arange(SAMPLES)


def choose(**options) -> list[int]:
    return Choice(**options).choose("a.h5", FIELDS)[0].tolist()


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("a<0.5", [("a", "<", "0.5")]),
        (" a <= 1e6 and  b contains liver ", [("a", "<=", "1e6"), ("b", "contains", "liver")]),
        ('b = "this and that" and c!=3', [("b", "=", "this and that"), ("c", "!=", "3")]),
        ("b = hand", [("b", "=", "hand")]),
        ("brand == band and x = -1", [("brand", "==", "band"), ("x", "=", "-1")]),
        ('b = ""', [("b", "=", "")]),
        ("b = 1 or c = 2", [("b", "=", "1 or c = 2")]),
        (" ", []),
    ],
)
def test_conditions_are_parsed(text, conditions):
    assert parse(text) == conditions


@pytest.mark.parametrize(
    "text", ["a", "a <", "< 1", "and", "a = 1 and", "__import__('os').abort() = 1", 'a = "x', "a ~ 1"]
)
def test_nothing_else_is_a_condition(text):
    with pytest.raises(DgexError, match="--keep: .* is no condition; write FIELD < VALUE"):
        Choice(keep=text)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("alignedreads >= 1e7", (NUMBER % 7 > 0) & (NUMBER >= 100)),
        ("alignedreads < 1e6 and alignedreads > 2e5", (NUMBER % 7 > 0) & (NUMBER < 10) & (NUMBER > 2)),
        ("source_name_ch1 contains LIVER", NUMBER % 4 < 2),
        ("source_name_ch1 = Liver", NUMBER % 4 == 0),
        ("source_name_ch1 != brain and singlecellprobability > 0.5", (NUMBER % 4 != 2) & (NUMBER % 5 == 0)),
        ('source_name_ch1 = ""', NUMBER % 4 == 3),
    ],
)
def test_conditions_hold(text, holds):
    np.testing.assert_array_equal(fulfilled("a.h5", FIELDS, parse(text)), holds)


def test_bulk_samples_unless_the_conditions_say_otherwise():
    bulk = NUMBER[NUMBER % 5 > 0].tolist()
    assert choose(per_study=SAMPLES) == bulk
    assert choose(per_study=SAMPLES, keep="source_name_ch1 = brain") == [i for i in bulk if i % 4 == 2]
    assert choose(per_study=SAMPLES, keep="singlecellprobability <= 1") == list(range(SAMPLES))
    early = {name: column for name, column in FIELDS.items() if name != "singlecellprobability"}
    chosen, remark = Choice(per_study=SAMPLES).choose("a.h5", early)
    assert len(chosen) == SAMPLES and "400 fulfil no condition" in remark


def test_a_cap_spreads_the_choice_over_studies():
    sizes = Counter(np.array(FIELDS["study_id"].tolist())[NUMBER % 5 > 0].tolist())
    assert max(sizes.values()) > 90 > 25 > min(sizes.values())
    chosen = choose(per_study=25)
    found = Counter(FIELDS["study_id"][chosen].tolist())
    assert found == {study: min(size, 25) for study, size in sizes.items()}


def test_after_the_cap_every_sample_is_as_likely():
    """Of 200 samples of one study and 20 of twenty others, the cap leaves 20 and 20."""
    fields = {"study_id": text_column(["GSE1"] * 200 + [f"GSE{i}" for i in range(2, 22)])}
    fields["geo_accession"] = text_column([f"GSM{i}" for i in range(220)])
    drawn = [(Choice(samples=10, per_study=20, seed=i).choose("a.h5", fields)[0] < 200).sum() for i in range(200)]
    assert abs(np.mean(drawn) - 5) < 4 * 1.387 / np.sqrt(200)  # hypergeometric: mean 5, SD 1.387


def test_the_seed_decides_and_nothing_else():
    first = choose(samples=50, seed=3)
    assert first == choose(samples=50, seed=3) == sorted(set(first)) and len(first) == 50
    assert first != choose(samples=50, seed=4)
    assert set(first) < set(choose(samples=80, seed=3))  # more samples are these and others
    assert choose(samples=10**6) == choose()


def test_what_was_chosen_is_said():
    remark = Choice(samples=50, per_study=20, seed=3).choose("a.h5", FIELDS)[1]
    capped = len(choose(per_study=20))
    assert remark == (
        "50 of 400 samples chosen: 320 fulfil singlecellprobability < 0.5, "
        f"{capped} remain with at most 20 of a study (--per-study), of which 50 are drawn with seed 3"
    )


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ("tissue = liver", "no field tissue; --keep knows study_id, geo_accession, source_name_ch1"),
        ("singlecellprobability > 2", "no sample fulfils singlecellprobability > 2; change --keep"),
        ("source_name_ch1 < 3", "source_name_ch1 holds texts; compare them by ="),
        ("alignedreads > many", "alignedreads holds numbers; compare it with one in --keep, not by > 'many'"),
        ("alignedreads contains 1", "alignedreads holds numbers"),
    ],
)
def test_choices_that_cannot_be_made(keep, said):
    with pytest.raises(DgexError) as error:
        choose(keep=keep)
    assert said in str(error.value) and str(error.value).startswith("a.h5: ")


@pytest.mark.parametrize("option", ["samples", "per_study", "min_reads"])
def test_numbers_below_their_least(option):
    with pytest.raises(DgexError, match=f"--{option.replace('_', '-')}: is a number of "):
        Choice(**{option: -1})


def test_options_are_spelt_as_the_command_has_them():
    assert Choice(seed=5).options == []
    assert Choice("a = 1", 10, min_reads=0).options == ["--keep", "a = 1", "--samples", "10", "--min-reads", "0"]
