"""Activations beside a linear path on errors that are known: which trials, what they share, and what is said."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.analysis.evidence import Evidence
from experiments.questions import ablation, activations, growth, linear_path
from experiments.questions.linear_path import CONTRASTS, LINEAR_PAIRS, MODELS
from experiments.report.sections import Section
from experiments.trials.sources import Sources
from experiments.trials.trial import Trial

# z-score MAE; all that is not named has the error of ridge regression but for noise between studies.
ERROR = {"ridge": 0.5, "sigmoid_linear": 0.48, "taaf_linear": 0.47, "tanh_linear": 0.52, "taaf-of-tanh_linear": 0.46}


def planted(trial: Trial, held: str, study: np.ndarray) -> np.ndarray:
    error = np.full(len(study), ERROR.get(trial.model.name, 0.5))
    if trial.model.name in ERROR:
        return error
    return error + np.where(np.array([int(name[-1]) for name in study]) % 2, 0.015, -0.015)


pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture(scope="module")
def evidence(few_draws, sources: Sources, tiny, plant, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("planted")
    by_sample = linear_path.trials(sources, replace(tiny, ablation_by_study=False))
    plant(folder, [*linear_path.trials(sources, tiny), *by_sample], sources, planted)
    return Evidence(folder, sources)


@pytest.fixture(scope="module")
def section(evidence: Evidence, sources: Sources, tiny) -> Section:
    (section,) = linear_path.sections(evidence, sources, tiny)
    return section


def test_trials(sources: Sources, tiny) -> None:
    """Seven bases with a TAAF and without, from three seeds, and ridge regression."""
    trials = linear_path.trials(sources, tiny)
    assert len({trial.folder for trial in trials}) == len(trials) == 5 * (14 * 3 + 1)
    assert {trial.source for trial in trials} == {fold.name for fold in sources.folds}
    assert {trial.targets for trial in trials} == {20}
    for trial in trials:
        assert trial.protocol == (tiny.residual if trial.model.seeded else None)


def test_each_pair_differs_in_the_taaf_alone(tiny) -> None:
    bases = []
    for base, taaf in LINEAR_PAIRS:
        assert base.network["linear"] is True and base.network["linear_rate"] == 0.1
        assert taaf.network == {**base.network, "taaf": "hidden"} and "taaf" not in base.network
        bases.append(base.network["activation"])
    assert bases == ["sigmoid", *ablation.BASES]


def test_trials_that_other_questions_have_too_are_the_same(sources: Sources, tiny) -> None:
    """They share a folder, so must be of one identity."""
    asked = {trial.folder: trial for trial in linear_path.trials(sources, tiny)}
    others = [*activations.trials(sources, tiny), *growth.trials(sources, tiny)]
    shared = {other.folder: other for other in others if other.folder in asked}
    names = {folder.parent.name for folder in shared}
    assert names == {"ridge", "sigmoid_linear", "tanh_linear", "taaf_linear"}
    assert all(replace(other, model=asked[folder].model) == asked[folder] for folder, other in shared.items())
    assert all(other.model.network == asked[folder].model.network for folder, other in shared.items())


def test_section(section: Section) -> None:
    assert (section.name, section.data) == (
        "linear-path",
        "Studies left out: 142 samples of 8 studies in 5 folds, 20 target genes, 3 seeds, drawn at random from all "
        "targets.",
    )
    ridge, taaf, bases, best = section.answer
    path = "with a linear path"
    assert ridge == (
        f"3 of 14 networks have a lower error than ridge regression (sigmoid {path}, TAAF {path}, TAAF of tanh {path}),"
        " according to both intervals."
    )
    # Eight studies on one side: p = 2 / 2^8, times the number of tests. Five bases have no difference to their TAAF.
    holm = (len(CONTRASTS) - 5) * 2 / 2**8
    assert taaf == (
        f"TAAF {path} has a lower error than sigmoid {path}: −0.0100 z-score MAE [−0.0100, −0.0100], and −0.0100 "
        f"[−0.0100, −0.0100] with every study counted once, Holm p = {holm:.2g}. The error is 2.1 % lower; it is lower "
        "in 100.0 % of the genes."
    )
    assert bases == (
        f"2 of 7 base functions have a lower error with a TAAF (TAAF {path}, TAAF of tanh {path}), according to both "
        "intervals."
    )
    assert best == (
        "Of all 15 models, the one with the lowest validation error is, fold by fold, "
        f"TAAF of tanh {path} (5 of 5); together these have a test z-score MAE of 0.4600."
    )
    assert section.caveats[0].startswith(f"{len(CONTRASTS)} comparisons")
    assert not any("by sample" in caveat for caveat in section.caveats)


def test_tables_and_figure(section: Section) -> None:
    errors, comparisons = section.tables
    assert [row[0] for row in errors.rows] == ["ridge regression", *(model.label for model in MODELS)]
    rows = {(row[0], row[1]): row[2] for row in comparisons.rows}
    assert len(rows) == len(CONTRASTS) == 7 + 14
    path = "with a linear path"
    assert rows[f"TAAF of tanh {path}", f"tanh {path}"] == pytest.approx(-0.06)
    assert rows[f"tanh {path}", "ridge regression"] == pytest.approx(0.02)
    (figure,) = section.figures
    groups = [row["group"] for row in figure.data["rows"]]
    assert groups == ["TAAF of a base, against the base"] * 7 + ["against ridge regression, where all start"] * 14


def test_by_sample_it_says_so(evidence: Evidence, sources: Sources, tiny) -> None:
    (section,) = linear_path.sections(evidence, sources, replace(tiny, ablation_by_study=False))
    assert section.data.startswith("Split by sample: 14 samples of 8 studies, 20 target genes, 3 seeds")
    assert section.caveats[-1] == "The data are split by sample only, so this says nothing about new studies."
