"""Growth on errors that are known: the sizes, the curves, and where networks overtake ridge regression."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.analysis.evidence import Evidence
from experiments.questions import growth
from experiments.report.sections import Section
from experiments.trials.sources import Sources
from experiments.trials.trial import Trial


def planted(trial: Trial, held: str, study: np.ndarray) -> float:
    """Sigmoid is behind ridge regression, then as good and ahead at last, TAAF ahead everywhere; wider is better."""
    position = {20: 0, 40: 1, None: 2}[trial.profiles]
    if trial.model.name == "ridge":
        return [0.8, 0.7, 0.6][position]
    start = {"sigmoid": [0.9, 0.69, 0.55], "taaf": [0.75, 0.62, 0.54]}[trial.model.name.removesuffix("-30")][position]
    return start + 0.01 * trial.seed + 0.1 * trial.model.name.endswith("-30")


pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture(scope="module")
def evidence(few_draws, sources: Sources, tiny, plant, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("planted")
    plant(folder, growth.trials(sources, tiny), sources, planted)
    return Evidence(folder, sources)


@pytest.fixture(scope="module")
def section(evidence: Evidence, sources: Sources, tiny) -> Section:
    (section,) = growth.sections(evidence, sources, tiny)
    return section


def test_sizes_that_there_are(sources: Sources, tiny) -> None:
    """1,000 profiles are asked for and no file has them: not trained on all of them under that name."""
    trials = growth.trials(sources, tiny)
    assert len({trial.folder for trial in trials}) == len(trials) == 6 * 3 * 7 + 2 * 3
    assert {trial.profiles for trial in trials} == {20, 40, None}
    assert {trial.targets for trial in trials} == {12}
    wide = [trial for trial in trials if trial.model.name.endswith("-30")]
    assert {trial.source for trial in wide} == {"sample"} and len(wide) == 6
    assert all(trial.model.network["hidden"] == (30, 30) for trial in wide)


def test_a_size_that_one_fold_lacks_is_left_out_of_all(sources: Sources, tiny) -> None:
    """83 to 88 profiles in the folds, 114 by sample."""
    sizes = {(trial.source, trial.profiles) for trial in growth.trials(sources, replace(tiny, profiles=(85,)))}
    assert sizes == {("sample", 85), *((source.name, None) for source in sources)}


def test_answer(section: Section) -> None:
    by_study, by_sample, width = section.answer
    assert by_study.startswith(
        "Studies left out: sigmoid has a lower error than ridge regression with 85 profiles, no shown difference from "
        "ridge regression with 40 profiles, a higher error than ridge regression with 20 profiles "
        "(with 85: −0.0400 [−0.0"
    )
    assert "; TAAF has a lower error than ridge regression with 20, 40, 85 profiles (with 85: −0.0500 [−0.0" in by_study
    changes = "−0.2100 (sigmoid), −0.1300 (TAAF), −0.1000 (ridge regression)"
    assert by_study.endswith(f"From 20 to 40 profiles the z-score MAE changes by {changes}.")
    assert (
        "; TAAF has a lower error than ridge regression with 20, 40, 114 profiles (with 114: −0.0500 [−0.0" in by_sample
    )
    assert width == (
        "Split by sample, the validation error is lowest with 300 units for sigmoid, 300 units for TAAF, of 30, 300."
    )
    assert "142 samples of 8 studies in 5 folds, 12 target genes, 3 seeds" in section.data


def test_tables(section: Section) -> None:
    folds, sample, width = section.tables
    assert [row[0] for row in folds.rows] == [20, 40, 85]  # 426 training profiles in 5 folds
    assert [row[0] for row in sample.rows] == [20, 40, 114]
    first = dict(zip(folds.columns[:7], folds.rows[0][:7], strict=True))
    assert first["sigmoid, test"] == pytest.approx(0.91) and first["ridge regression, validation"] == pytest.approx(0.8)
    differences = {column: number for number, column in enumerate(folds.columns) if "−" in column}
    assert list(differences) == ["sigmoid − ridge regression", "TAAF − ridge regression", "TAAF − sigmoid"]
    assert [row[differences["TAAF − sigmoid"]] for row in folds.rows] == pytest.approx([-0.15, -0.07, -0.01])
    assert [row[0] for row in width.rows] == [30, 300]
    assert width.rows[0][3] == pytest.approx(0.66) and width.rows[1][3] == pytest.approx(0.56)


def test_figure(section: Section) -> None:
    (figure,) = section.figures
    folds, sample, width = figure.data["panels"]
    assert [one["label"] for one in folds["series"]] == ["ridge regression", "sigmoid", "TAAF"]
    ridge, sigmoid, _ = folds["series"]
    assert ridge["x"] == [20, 40, 85] and ridge["y"] == pytest.approx([0.8, 0.7, 0.6]) == ridge["low"]
    assert sigmoid["y"] == pytest.approx([0.91, 0.7, 0.56])
    assert sigmoid["low"] == pytest.approx([0.9, 0.69, 0.55]) and sigmoid["high"] == pytest.approx([0.92, 0.71, 0.57])
    assert width["series"][1]["x"] == [30, 300] and width["series"][1]["y"] == pytest.approx([0.65, 0.55])


def test_without_a_split_by_sample(evidence: Evidence, sources: Sources, tiny) -> None:
    (section,) = growth.sections(evidence, replace(sources, by_sample=None), tiny)
    assert len(section.answer) == len(section.tables) == len(section.figures[0].data["panels"]) == 1


def test_one_seed_has_no_interval(evidence: Evidence, sources: Sources, tiny) -> None:
    (section,) = growth.sections(evidence, sources, replace(tiny, seeds=(0,)))
    nothing = "sigmoid has no shown difference from ridge regression with 20, 40, 85 profiles"
    assert f"{nothing} (with 85: −0.0500, no interval: 1 seed, at least 3 needed)" in section.answer[0]
    assert section.tables[0].rows[0][-2:] == [None, None]
