"""Growth on errors that are known: the sizes, the curves, and where models overtake ridge regression."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.analysis.evidence import Evidence
from experiments.questions import growth
from experiments.report.sections import Section
from experiments.trials.sources import Sources
from experiments.trials.trial import Trial

# z-score MAE by training profiles and studies: TAAF is behind ridge regression, then as good and ahead at last; the
# kernel is ahead everywhere.
ERROR = {
    "ridge": {(None, 2): 0.85, (20, None): 0.8, (40, None): 0.7, (None, None): 0.6},
    "arc_cosine": {(None, 2): 0.79, (20, None): 0.75, (40, None): 0.62, (None, None): 0.54},
    "taaf_linear": {(None, 2): 0.95, (20, None): 0.9, (40, None): 0.69, (None, None): 0.55},
}
PATH = "TAAF with a linear path"


def planted(trial: Trial, held: str, study: np.ndarray) -> float:
    """Wider is better."""
    name = trial.model.name
    return (
        ERROR[name.removesuffix("-30")][trial.profiles, trial.studies] + 0.01 * trial.seed + 0.1 * name.endswith("-30")
    )


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
    """1,000 profiles or studies are asked for and no file has them: not trained on all of them under that name."""
    trials = growth.trials(sources, tiny)
    # A network of three seeds and two baselines: by sample with three numbers of profiles, in the folds with two
    # studies too. All profiles are of all studies, and so the same trials.
    assert len({trial.folder for trial in trials}) == 5 * 4 * 5 + 3 * 5 + 3
    sizes = {(trial.profiles, trial.studies) for trial in trials}
    assert sizes == {(20, None), (40, None), (None, 2), (None, None)}
    assert {trial.source for trial in trials if trial.studies} == {fold.name for fold in sources.folds}
    assert {trial.targets for trial in trials} == {20} and not any(trial.refit or trial.platform for trial in trials)
    protocols = {"ridge": None, "arc_cosine": None, "taaf_linear": tiny.residual}
    assert all(trial.protocol == protocols[trial.model.name.removesuffix("-30")] for trial in trials)
    wide = [trial for trial in trials if trial.model.name.endswith("-30")]
    assert {trial.source for trial in wide} == {"sample"} and len(wide) == 3
    assert all(trial.model.network["hidden"] == (30, 30) for trial in wide)
    assert all(trial.model.network["linear"] for trial in wide)


def test_a_size_that_one_fold_lacks_is_left_out_of_all(sources: Sources, tiny) -> None:
    """83 to 88 profiles of 4 to 6 studies in the folds, 114 profiles by sample."""
    plan = replace(tiny, profiles=(85,), studies=(4,))
    sizes = {(trial.source, trial.profiles, trial.studies) for trial in growth.trials(sources, plan)}
    assert sizes == {("sample", 85, None), *((source.name, None, None) for source in sources)}


def test_answer(section: Section) -> None:
    by_studies, by_profiles, by_sample, width = section.answer
    assert by_studies.startswith(
        f"Studies left out, fewer studies: {PATH} has a lower error than ridge regression with 5 studies, a higher "
        "error than ridge regression with 2 studies (with 5: −0.0400 [−0.0"
    )
    kernel = "; arc-cosine kernel has a lower error than ridge regression"
    assert f"{kernel} with 2, 5 studies (with 5: −0.0600 [−0.0" in by_studies
    assert by_studies.endswith("]).")  # two sizes: no change between the largest that all folds have
    assert by_profiles.startswith(
        f"Studies left out, fewer profiles: {PATH} has a lower error than ridge regression with 85 profiles, no shown "
        "difference from ridge regression with 40 profiles, a higher error than ridge regression with 20 profiles "
        "(with 85: −0.0400 [−0.0"
    )
    assert f"{kernel} with 20, 40, 85 profiles (with 85: −0.0600 [−0.0" in by_profiles
    changes = f"−0.2100 ({PATH}), −0.1000 (ridge regression), −0.1300 (arc-cosine kernel)"
    assert by_profiles.endswith(f"From 20 to 40 profiles the z-score MAE changes by {changes}.")
    assert by_sample.startswith(f"Split by sample: {PATH} has ")
    assert f"{kernel} with 20, 40, 114 profiles (with 114: −0.0600 [" in by_sample
    assert width == f"Split by sample, the validation error is lowest with 300 units for {PATH}, of 30, 300."
    for title in ("Studies left out, fewer studies", "Studies left out, fewer profiles"):
        assert f"{title}: 142 samples of 8 studies in 5 folds, 20 target genes, 3 seeds." in section.data


def test_tables(section: Section) -> None:
    studies, folds, sample, width = section.tables
    assert [table.name for table in section.tables] == [
        "growth-studies-left-out-fewer-studies", "growth-studies-left-out-fewer-profiles", "growth-split-by-sample",
        "growth-width",
    ]  # fmt: skip
    # Eight studies in five folds, each in the training split of three; 426 training profiles in five folds.
    assert [row[0] for row in studies.rows] == [2, 5] and studies.columns[0] == "training studies"
    assert [row[0] for row in folds.rows] == [20, 40, 85] and folds.columns[0] == "training profiles"
    assert [row[0] for row in sample.rows] == [20, 40, 114]
    few = dict(zip(studies.columns[:7], studies.rows[0][:7], strict=True))
    assert few[f"{PATH}, test"] == pytest.approx(0.96) and few["ridge regression, test"] == pytest.approx(0.85)
    first = dict(zip(folds.columns[:7], folds.rows[0][:7], strict=True))
    assert first[f"{PATH}, test"] == pytest.approx(0.91) and first["ridge regression, validation"] == pytest.approx(0.8)
    differences = {column: number for number, column in enumerate(folds.columns) if "−" in column}
    beyond = f"{PATH} − arc-cosine kernel"
    assert list(differences) == [f"{PATH} − ridge regression", "arc-cosine kernel − ridge regression", beyond]
    assert [row[differences[beyond]] for row in folds.rows] == pytest.approx([0.16, 0.08, 0.02])
    assert [row[differences[beyond]] for row in studies.rows] == pytest.approx([0.17, 0.02])
    assert [row[0] for row in width.rows] == [30, 300]
    assert width.rows[0][3] == pytest.approx(0.66) and width.rows[1][3] == pytest.approx(0.56)


def test_figure(section: Section) -> None:
    (figure,) = section.figures
    studies, folds, sample, width = figure.data["panels"]
    assert [panel["x_label"] for panel in figure.data["panels"]] == [
        "training studies", "training profiles", "training profiles", "units of both hidden layers"
    ]  # fmt: skip
    assert [one["label"] for one in folds["series"]] == ["ridge regression", "arc-cosine kernel", PATH]
    assert studies["series"][0]["x"] == [2, 5] and studies["series"][0]["y"] == pytest.approx([0.85, 0.6])
    ridge, kernel, taaf = folds["series"]
    assert ridge["x"] == [20, 40, 85] and ridge["y"] == pytest.approx([0.8, 0.7, 0.6]) == ridge["low"]
    assert kernel["y"] == pytest.approx([0.75, 0.62, 0.54])
    assert taaf["y"] == pytest.approx([0.91, 0.7, 0.56])
    assert taaf["low"] == pytest.approx([0.9, 0.69, 0.55]) and taaf["high"] == pytest.approx([0.92, 0.71, 0.57])
    (wider,) = width["series"]
    assert wider["label"] == PATH and wider["x"] == [30, 300] and wider["y"] == pytest.approx([0.66, 0.56])


def test_without_a_split_by_sample(evidence: Evidence, sources: Sources, tiny) -> None:
    (section,) = growth.sections(evidence, replace(sources, by_sample=None), tiny)
    assert len(section.answer) == len(section.tables) == len(section.figures[0].data["panels"]) == 2


def test_one_seed_has_no_interval(evidence: Evidence, sources: Sources, tiny) -> None:
    (section,) = growth.sections(evidence, sources, replace(tiny, seeds=(0,)))
    nothing = f"{PATH} has no shown difference from ridge regression with 20, 40, 85 profiles"
    assert f"{nothing} (with 85: −0.0500, no interval: 1 seed, at least 3 needed)" in section.answer[1]
    assert section.tables[0].rows[0][-2:] == [None, None]
