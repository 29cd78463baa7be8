"""The card says what the provenance and the arrays say, and says plainly what is little or not good."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from dgex.model import Model
from dgex.model.card import model_card


def changed(model: Model, change) -> str:
    provenance = copy.deepcopy(model.provenance)
    change(provenance)
    return model_card(replace(model, provenance=provenance))


def row_of(card: str, *cells: str) -> list[str]:
    """The one line of the tables that begins with these cells, the rest of it."""
    start = f"| {' | '.join(cells)} |"
    (line,) = [line for line in card.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.removeprefix(start).strip("| ").split("|")]


def test_sizes_and_network(small_model):
    card = model_card(small_model)
    assert card.partition("\n---\n")[2].strip().startswith("# dgex model: 24 landmark genes to 60 target genes\n")
    assert "24 landmark genes (8 genes are both)" in card
    # 24 x 16 and four TAAF parameters a unit; 16 x 60 and a bias each.
    assert f"24 → 16 → 60, TAAF of sigmoid (hidden layers), dropout 0.1, {24 * 16 + 4 * 16 + 16 * 60 + 60:,}" in card
    best = small_model.provenance["best_epoch"]
    assert (
        f"rate 0.02, batch 16, {best} epochs, of up to 3 the best on validation, for which it was then trained again "
        "on training and validation profiles together, seed 0, on 1 x cpu"
    ) in card
    assert (
        "the reliability measured on validation, are those of the network before it was trained on validation too"
        in card
    )
    assert "Trained on 180 profiles of 5 studies." in card


def test_models_that_were_not_refitted(small_model):
    card = changed(small_model, lambda made: made.pop("refit"))
    best = small_model.provenance["best_epoch"]
    assert f"batch 16, 3 epochs of which the best on validation was {best}, seed 0, on 1 x cpu" in card
    assert "Trained on 120 profiles of 3 studies." in card
    assert "The validation split chose the epoch; the test split was scored once." in card


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"taaf": "none"}, "24 → 16 → 60, sigmoid, dropout"),
        ({"taaf": "none", "hidden": ()}, "24 → no hidden layer → 60"),
        ({"hidden": (3000, 200)}, "24 → 3000 → 200 → 60, TAAF of sigmoid (hidden layers)"),
    ],
)
def test_other_networks(small_model, change, said):
    assert said in model_card(replace(small_model, config=replace(small_model.config, **change)))


def test_data(small_model):
    card = model_card(small_model)
    assert "`made-up.h5`, SHA-256 `0123`, made by `prepare made-up.gctx` from:" in card
    assert "- `made-up.gctx`, SHA-256 `00ff`" in card
    assert row_of(card, "train") == ["120", "3", "GSE1, GSE2, GSE3"]
    assert row_of(card, "test", "60") == ["2", "GSE5, GSE6"]


def test_scores(small_model):
    card = model_card(small_model)
    for split in ("validation", "test"):
        for name in ("network", "ridge regression"):
            means = small_model.provenance["scores"][split][name]
            expected = [f"{means[field]:.4f}" for field in ("zscore_mae", "log2_mae", "pearson", "r2")]
            assert row_of(card, split, name) == [*expected, f"{means['without_overlap']['zscore_mae']:.4f}"]
        assert row_of(card, split, "mean predictor")[2:4] == ["–", "–"]


def test_reliability(small_model):
    card = model_card(small_model)
    trusted = small_model.reliability
    well = np.sum((trusted.pearson >= 0.5) & (trusted.r2 > 0))
    assert f"{well} of 60 targets are *well inferred*: on the validation studies r is at least 0.5 within" in card
    test = small_model.provenance["scores"]["test"]
    assert f"above {trusted.expectation.farthest:.2f} SD" in card
    assert f"Of the test profiles {test['out_of_range']:.1%} are" in card
    assert "The validation profiles are 60 of 2 studies: few studies make this a coarse measure." in card
    assert "## Versions" in card and f"jax {small_model.provenance['versions']['jax']}" in card


def test_little_data_is_called_little(small_model):
    few = "Trained on 180 profiles of 5 studies. **That is little**: D-GEX was trained on 88,807 profiles."
    assert few in model_card(small_model)

    def grow(profiles, studies):
        size = {"profiles": profiles, "studies": [f"GSE{number}" for number in range(studies)]}
        none = {"profiles": 0, "studies": []}
        return changed(small_model, lambda made: made["data"]["splits"].update(train=size, validation=none))

    assert "**That is little**" in grow(10_000, 99) and "**That is little**" in grow(9_999, 100)
    card = grow(88_807, 1234)
    assert "Trained on 88,807 profiles of 1234 studies." in card and "That is little" not in card
    assert "GSE29 and 1204 more" in card and "GSE30," not in card


def test_coverage_by_study(small_model):
    shares = {
        "0.8": {"all": 0.71234, "lowest": 0.4, "highest": 1},
        "0.95": {"all": 0.9, "lowest": 0.89, "highest": 0.91},
    }
    card = changed(small_model, lambda made: made["scores"]["test"].update(coverage=shares))
    assert row_of(card, "in the interval") == ["of all", "of the study with fewest", "of the study with most"]
    assert row_of(card, "80%") == ["71.2%", "40.0%", "100.0%"]
    assert row_of(card, "95%") == ["90.0%", "89.0%", "91.0%"]
    assert "| 50% |" not in card and "| 90% |" not in card  # no level that is not known


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"flagged": 0.849, "others": 0.12}, "On the test studies 85% of these genes meet that again, and 12% of the"),
        ({"flagged": 0.5}, "On the test studies 50% of these genes meet that again, and none of the others."),
        ({"others": 0.5}, "On the test studies none of these genes meet that again, and 50% of the others."),
    ],
)
def test_how_well_inferred_genes_did_on_test(small_model, shares, said):
    assert said in changed(small_model, lambda made: made["scores"]["test"].update(well_inferred=shares))


NEW, OLD = "The network was trained on none of the 2 test studies.", "**The test profiles are not of new studies**"


@pytest.mark.parametrize(
    ("train", "validation", "test", "said"),
    [
        (["GSE1", "GSE2"], [], ["GSE3", "GSE4"], NEW),
        (["GSE1"], ["GSE2"], ["GSE3", "GSE4"], NEW),
        (["GSE1", "GSE3"], [], ["GSE3", "GSE4"], OLD),
        (["GSE1"], ["GSE3"], ["GSE3", "GSE4"], OLD),
        (["GSE1", "GSE3", "GSE4"], [], ["GSE3", "GSE4"], OLD),
        (["GSE1"], [], [], OLD),
        ([], [], [], OLD),
    ],
)
def test_whether_the_test_studies_are_new(small_model, train, validation, test, said):
    def change(made):
        for split, studies in (("train", train), ("validation", validation), ("test", test)):
            made["data"]["splits"][split]["studies"] = studies

    card = changed(small_model, change)
    assert [line for line in (NEW, OLD) if line in card] == [said]


def test_a_note_ends_the_card(small_model):
    card = changed(small_model, lambda made: made.update(note="Made on a *Sunday*.\n\n- µ"))
    assert card == model_card(small_model) + "\n## Notes\n\nMade on a *Sunday*.\n\n- µ\n"
    assert "## Notes" not in model_card(small_model)


def test_a_better_ridge_regression_is_not_hidden(small_model):
    def score(network):
        def change(made):
            made["scores"]["test"]["network"]["zscore_mae"] = network
            made["scores"]["test"]["ridge regression"]["zscore_mae"] = 0.4321

        return changed(small_model, change)

    assert "On these test profiles ridge regression has a lower error (0.4321 to 0.4322)." in score(0.4322)
    assert "has a lower error" not in score(0.4321) and "has a lower error" not in score(0.1)


def test_every_table_has_as_many_cells_in_each_line(small_model):
    tables = model_card(small_model).split("\n\n")
    widths = [[line.count("|") for line in table.splitlines()] for table in tables if table.startswith("|")]
    assert len(widths) == 3 and all(len(set(table)) == 1 for table in widths)


def test_models_without_a_range_or_calibration_do_not_speak_of_them(small_model):
    expectation = replace(small_model.reliability.expectation, farthest=float("inf"), reference_error=float("nan"))
    card = model_card(replace(small_model, reliability=replace(small_model.reliability, expectation=expectation)))
    assert "out of range" not in card and "nan" not in card and "## Calibration" not in card
    assert "out of range" in model_card(small_model)
