"""Tables, rows of figures and sentences from errors that are known."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.analysis.evidence import Evidence, Run, compare_all, runs
from experiments.analysis.statistics import PairedComparison
from experiments.report.figures import interval_rows
from experiments.report.sections import Table
from experiments.report.sentences import chosen_in_each, data_line, ends, signed, verdict
from experiments.report.tables import comparison_table, error_table
from experiments.trials.heldout import MEASURES
from experiments.trials.models import ModelSpec
from experiments.trials.sources import Sources
from experiments.trials.trial import Trial

GOOD = ModelSpec("good", "good net", {"activation": "tanh"})
BAD = ModelSpec("bad", "bad net", {"activation": "tanh"})
RIDGE = ModelSpec("ridge", "ridge regression")
ERROR = {"good": 0.4, "bad": 0.5, "ridge": 0.45}


def planted(trial: Trial, held: str, study: np.ndarray) -> np.ndarray:
    """A network is 0.001 worse a seed; a cohort's errors are twice as large."""
    return np.full(len(study), (ERROR[trial.model.name] + 0.001 * trial.seed) * (1 if held == "test" else 2))


def made(folder: Path, sources: Sources, plant, seeds: int = 3, folds: int = 5) -> dict[str, Run]:
    asked = [
        Trial(source.name, model, None, seed, 8)
        for source in sources.folds[:folds]
        for model in (GOOD, BAD, RIDGE)
        for seed in range(seeds if model.seeded else 1)
    ]
    plant(folder, asked, sources, planted)
    return runs(Evidence(folder, sources), asked)


@pytest.fixture(scope="module")
def by_model(sources: Sources, plant, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    return made(tmp_path_factory.mktemp("planted"), sources, plant)


PAIRS = (("good", "bad"), ("bad", "ridge"))


@pytest.fixture(scope="module")
def comparisons(by_model: dict[str, Run]) -> list[PairedComparison]:
    return compare_all(by_model, PAIRS)


def cells(table: Table, row: int) -> dict:
    assert all(len(cells) == len(table.columns) for cells in table.rows)
    return dict(zip(table.columns, table.rows[row], strict=True))


def test_error_table(by_model: dict[str, Run]) -> None:
    table = error_table("errors", "Errors.", list(by_model.values()))
    assert [row[0] for row in table.rows] == ["good net", "bad net", "ridge regression"]
    first = cells(table, 0)
    assert first["parameters"] == 1000
    assert first["validation z-score MAE"] == pytest.approx(0.401)
    assert [first[measure] for measure in MEASURES] == pytest.approx([0.401, 0.401, 0.2005, 0.2005])
    assert first["SD of the mean over seeds"] == pytest.approx(0.001)
    # Targets of 1 and -1, predictions beside them by the error e: R2 = 1 - e^2, and r = 1.
    assert first["R2"] == pytest.approx(1 - np.mean(np.square([0.4, 0.401, 0.402])))
    assert first["Pearson r"] == pytest.approx(1)
    assert (first["best epoch"], first["at the end, %"]) == (2, 100)  # of two epochs
    ridge = cells(table, 2)
    assert (ridge["best epoch"], ridge["at the end, %"]) == (None, None)
    assert table.caption == "Errors. R2 is relative to the mean predictor."
    assert ridge["parameters"] is None and ridge["SD of the mean over seeds"] is None
    assert ridge["z-score MAE"] == pytest.approx(0.45)
    of_cohort = error_table("errors", "Errors.", list(by_model.values()), "rna")
    assert cells(of_cohort, 0)["z-score MAE"] == pytest.approx(0.802)
    assert cells(of_cohort, 0)["R2"] == pytest.approx(1 - np.mean(np.square([0.8, 0.802, 0.804])))


def with_outcomes(run: Run, **changes: list) -> Run:
    """The run, and of its networks, source by source and seed by seed, the fields changed to these."""
    left = [dict(zip(changes, values, strict=True)) for values in zip(*changes.values(), strict=True)]
    return replace(run, outcomes=tuple(tuple(replace(one, **left.pop(0)) for one in seeds) for seeds in run.outcomes))


def test_best_epochs(by_model: dict[str, Run]) -> None:
    """Of 100 epochs the last five are the end; a diverged network's end is that of all it was to be trained for."""
    best = [96, 95, 1, 100, 50] + [10] * 10
    curves = [np.full((2, 100), 0.5) for _ in best]
    curves[4][:, 50:] = np.nan
    row = cells(error_table("e", "", [with_outcomes(by_model["good"], best_epoch=best, curve=curves)]), 0)
    assert row["best epoch"] == pytest.approx((96 + 95 + 1 + 100 + 50 + 100) / 15)
    assert row["at the end, %"] == pytest.approx(100 * 2 / 15)


def test_diverged_networks_are_counted_under_the_errors(by_model: dict[str, Run]) -> None:
    """Of two models' 15 networks each; a baseline is none."""
    good = with_outcomes(by_model["good"], diverged=[None, 7, *[None] * 12, 1])
    caption = error_table("e", "Errors.", [good, by_model["bad"], by_model["ridge"]]).caption
    assert caption.endswith(" predictor. Diverged, and scored at the best epoch before: 2 of 30 networks.")


def test_comparison_table(comparisons: list[PairedComparison]) -> None:
    first = comparison_table("c", "Differences.", comparisons)
    assert first.rows[0][:2] == ["good net", "bad net"]
    assert first.rows[0][2:6] == pytest.approx([-0.1, -0.1, -0.1, 100 * (1 - 0.401 / 0.501)])
    row = cells(first, 0)
    assert (row["studies"], row["folds"], row["seeds"], row["no interval"]) == (8, 5, 3, None)
    assert row["genes lower in first, %"] == 100
    assert row["every study once: first − second"] == pytest.approx(-0.1)
    # Eight studies, all on one side: 2 / 2^8, and there are two comparisons.
    assert row["p"] == pytest.approx(2 / 256) and row["Holm p"] == pytest.approx(4 / 256)
    assert first.rows[1][2] == pytest.approx(0.051) and first.rows[1][5] == pytest.approx(100 * (1 - 0.501 / 0.45))


def test_other_measures_and_sets(by_model: dict[str, Run]) -> None:
    (log2,) = compare_all(by_model, PAIRS[:1], measure="log2 MAE")
    assert (log2.measure, log2.genes, log2.folds) == ("log2 MAE", 8, 5) and log2.difference == pytest.approx(-0.05)
    (cohort,) = compare_all(by_model, PAIRS[:1], "rna", "z-score MAE without overlap")
    assert (cohort.genes, cohort.folds, cohort.studies) == (6, None, 6) and cohort.difference == pytest.approx(-0.2)


def test_interval_rows(by_model: dict[str, Run], comparisons: list[PairedComparison]) -> None:
    rows = interval_rows(by_model, PAIRS, comparisons)
    assert [row["label"] for row in rows] == ["good net − bad net", "bad net − ridge regression"]
    for row, difference in zip(rows, (-0.1, 0.051), strict=True):
        assert [row["estimate"], row["low"], row["high"]] == pytest.approx([difference] * 3, abs=0.002)
        assert "group" not in row
        assert row["points"] == pytest.approx([difference] * 8)  # one a study
    grouped = interval_rows(by_model, PAIRS, comparisons, groups=["x", "y"], labels=["first", "second"])
    assert [(row["group"], row["label"]) for row in grouped] == [("x", "first"), ("y", "second")]


def test_points_are_the_studies_own(sources: Sources, plant, tmp_path: Path) -> None:
    """One study stands out: its point does, whatever its size."""

    def outlier(trial: Trial, held: str, study: np.ndarray) -> np.ndarray:
        return np.where(study == "STUDY0003", 0.9, 0.4) if trial.model == GOOD else np.full(len(study), 0.5)

    asked = [
        Trial(fold.name, model, None, seed, 8) for fold in sources.folds for model in (GOOD, BAD) for seed in (0, 1)
    ]
    plant(tmp_path, asked, sources, outlier)
    by_model = runs(Evidence(tmp_path, sources), asked)
    (row,) = interval_rows(by_model, PAIRS[:1], compare_all(by_model, PAIRS[:1]))
    assert sorted(row["points"]) == pytest.approx([-0.1] * 7 + [0.4])


@pytest.mark.parametrize(
    ("folds", "seeds", "why"),
    [
        (4, 3, "4 folds, at least 5 needed"),
        (5, 1, "1 seed, at least 3 needed"),
        (5, 2, "2 seeds, at least 3 needed"),
        (3, 1, "3 folds, at least 5 needed and 1 seed, at least 3 needed"),
    ],
)
def test_no_interval_and_why(sources: Sources, plant, tmp_path: Path, folds: int, seeds: int, why: str) -> None:
    by_model = made(tmp_path, sources, plant, seeds, folds)
    (compared,) = compare_all(by_model, PAIRS[:1])
    assert compared.interval is None
    said = verdict(compared)
    assert "without an interval" in said and f"({why})" in said and "nothing is shown" in said
    assert cells(comparison_table("c", "", [compared]), 0)["no interval"] == why
    (row,) = interval_rows(by_model, PAIRS[:1], [compared])
    assert (row["low"], row["high"]) == (None, None)


def test_verdicts(comparisons: list[PairedComparison]) -> None:
    lower = replace(
        comparisons[0], difference=-0.012, interval=(-0.02, -0.004), study_difference=-0.01,
        study_interval=(-0.018, -0.002), improvement=2.5, genes_lower=0.87, p_holm=0.0156,
    )  # fmt: skip
    higher = replace(
        comparisons[1], difference=0.013, interval=(0.004, 0.02), study_difference=0.01,
        study_interval=(0.00003, 0.03), improvement=-3.25, genes_lower=0.125, p_holm=None,
    )  # fmt: skip
    numbers = "−0.0120 z-score MAE [−0.0200, −0.0040], and −0.0100 [−0.0180, −0.0020] with every study counted once"
    assert verdict(lower) == (
        f"good net has a lower error than bad net: {numbers}, Holm p = 0.016. The error is 2.5 % lower; it is lower in "
        "87.0 % of the genes."
    )
    assert verdict(higher) == (
        "bad net has a higher error than ridge regression: +0.0130 z-score MAE [+0.0040, +0.0200], and +0.0100 "
        "[+3e−05, +0.0300] with every study counted once. The error is 3.2 % higher; it is lower in 12.5 % of the "
        "genes."
    )
    neither = replace(lower, study_interval=(-0.018, 0.002))
    assert verdict(neither) == (
        f"No difference is shown between good net and bad net: {numbers.replace('−0.0020', '+0.0020')}."
    )


def chosen(label: str, seeded: bool, validation: list[list[float]], test: list[list[list[float]]]) -> Run:
    """A run of validation errors ``[sources][seeds]`` and test errors ``[sources][seeds][samples]``."""
    outcomes = tuple(
        tuple(
            SimpleNamespace(
                validation_mae=mae, held_out_errors={"test": SimpleNamespace(sample=np.array([samples, samples]))}
            )
            for mae, samples in zip(*of, strict=True)
        )
        for of in zip(validation, test, strict=True)
    )
    model = ModelSpec(label, label, {"activation": "tanh"} if seeded else None)
    return Run(model, tuple(f"fold-{number}" for number in range(len(outcomes))), outcomes)


def test_chosen_in_each() -> None:
    """Over all sources "a" would be chosen, and by the first seeds "b" in the first; no unchosen error is used."""
    a = chosen("a", True, [[0.5, 0.3], [0.6, 0.6], [0.2, 0.2]], [[[1, 2], [3, 4]], [[99, 99, 99]] * 2, [[6], [8]]])
    b = chosen("b", False, [[0.45], [0.5], [0.3]], [[[99, 99]], [[11, 11, 11]], [[99]]])
    # Samples, not sources, count alike: ((1 + 3) / 2 + (2 + 4) / 2 + 3 * 11 + (6 + 8) / 2) / 6.
    assert chosen_in_each([a, b]) == (
        "Of all 2 models, the one with the lowest validation error is, fold by fold, a (2 of 3), b (1 of 3); "
        "together these have a test z-score MAE of 7.5000."
    )


def test_chosen_in_one_source() -> None:
    a = chosen("a", True, [[0.5, 0.5]], [[[1, 2], [3, 4]]])
    b = chosen("b", False, [[0.45]], [[[10, 11]]])
    expected = "Of all 2 models, b has the lowest validation error; its test z-score MAE is 10.5000."
    assert chosen_in_each([a, b]) == chosen_in_each([b, a]) == expected


def test_signed() -> None:
    """An interval that leaves out zero by little must not be printed as if it ended there."""
    found = [signed(value) for value in (0.01234, -0.5, 0.0, -0.00003, 0.00005)]
    assert found == ["+0.0123", "−0.5000", "+0.0000", "−3e−05", "+0.0001"]
    assert ends((-0.02, 0.00001)) == "[−0.0200, +1e−05]"


def test_data_line(by_model: dict[str, Run], sources: Sources, plant, tmp_path: Path) -> None:
    assert data_line(by_model) == "142 samples of 8 studies in 5 folds, 8 target genes, 3 seeds"
    assert data_line(by_model, "rna") == "42 samples of 6 studies, 8 target genes, 3 seeds"
    assert data_line(made(tmp_path, sources, plant, 1, 1)) == "27 samples of 1 study, 8 target genes, 1 seed"
