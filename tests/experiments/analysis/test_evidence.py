"""Outcomes of folds, seeds and cohorts put together: compared with the same made from plain arrays of errors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dgex.errors import DgexError
from experiments.analysis import evidence as module
from experiments.analysis.evidence import Evidence, Run, by_study, errors, runs
from experiments.trials.heldout import HeldOut, score
from experiments.trials.models import ModelSpec
from experiments.trials.outcome import Outcome
from experiments.trials.sources import Sources
from experiments.trials.trial import Trial

GENES = 6
# Names whose order is not that of the folds: joined rows must be put in sorted order.
STUDIES = {"fold-1": ["d", "d", "a"], "fold-2": ["c", "c", "c", "c"], "fold-3": ["b", "e", "b"]}
SD = np.array([0.5, 1, 2, 0.25, 1, 1], np.float32)
OVERLAP = np.array([True, False, False, True, False, False])
NETWORK = ModelSpec("net", "net", {"activation": "tanh"})
RIDGE = ModelSpec("ridge", "ridge regression")


def outcome(held: dict[str, HeldOut], seed: int) -> tuple[Outcome, dict[str, np.ndarray]]:
    """An outcome of random predictions, and its absolute errors [samples, genes]."""
    random = np.random.default_rng(seed)
    scores, found = {}, {}
    for name, samples in held.items():
        predicted = random.normal(0, 1, samples.target.shape).astype(np.float32)
        scores[name] = score(lambda landmark, of=predicted: of, samples)
        found[name] = np.abs(predicted - samples.target)
    return Outcome(scores, 0.1 * seed, 3, 1, None, None, np.zeros((2, 1)), {}, 1.0, None, "here"), found


def held_out(name: str, study: list[str], seed: int) -> HeldOut:
    target = np.random.default_rng(seed).normal(0, 1, (len(study), GENES)).astype(np.float32)
    return HeldOut(name, np.zeros((len(study), 2), np.float32), target, tuple(study), SD, OVERLAP, np.full(GENES, True))


COHORT = held_out("rna", ["y", "x", "x", "z", "y"], 50)


def made(model: ModelSpec, seeds: int) -> tuple[Run, dict[str, np.ndarray]]:
    """A run, and its errors: of tests [seeds, all samples, genes], of cohorts [sources, seeds, samples, genes]."""
    by_source, test, rna = [], [], []
    for number, study in enumerate(STUDIES.values()):
        held = {"test": held_out("test", study, 10 + number), "rna": COHORT}
        outcomes, found = zip(*(outcome(held, 100 * number + seed + 1) for seed in range(seeds)), strict=True)
        by_source.append(outcomes)
        test.append([one["test"] for one in found])
        rna.append([one["rna"] for one in found])
    arrays = {"test": np.concatenate(test, axis=1), "rna": np.array(rna)}
    return Run(model, tuple(STUDIES), tuple(by_source)), arrays


def of_studies(errors: np.ndarray, study) -> np.ndarray:
    """Means over each study's samples, studies in sorted order, ``[seeds, studies, genes]``."""
    return np.stack([errors[:, np.asarray(study) == name].mean(1) for name in sorted(set(study))], axis=1)


@pytest.mark.parametrize(("model", "seeds"), [(NETWORK, 3), (RIDGE, 1)])
@pytest.mark.parametrize(
    ("measure", "scale", "kept"),
    [
        ("z-score MAE", np.ones(GENES), np.full(GENES, True)),
        ("z-score MAE without overlap", np.ones(GENES), ~OVERLAP),
        ("log2 MAE", SD, np.full(GENES, True)),
        ("log2 MAE without overlap", SD, ~OVERLAP),
    ],
)
def test_folds_are_put_side_by_side(model: ModelSpec, seeds: int, measure: str, scale, kept) -> None:
    run, arrays = made(model, seeds)
    found = errors(run, "test", measure)
    study = [name for names in STUDIES.values() for name in names]
    expected = (arrays["test"] * scale)[..., kept]
    np.testing.assert_allclose(found.sample, expected.mean(2), rtol=1e-5)
    np.testing.assert_allclose(found.gene, of_studies(expected, study), rtol=1e-5)
    assert found.gene.shape == (seeds, 5, kept.sum())
    assert (found.study, found.measure, found.seeded, found.model) == (tuple(study), measure, model.seeded, model.label)
    assert found.fold == ("fold-1",) * 3 + ("fold-2",) * 4 + ("fold-3",) * 3


def test_a_single_source_has_no_folds() -> None:
    run, arrays = made(NETWORK, 3)
    found = errors(replace(run, sources=("fold-1",), outcomes=run.outcomes[:1]), "test")
    assert found.fold is None and found.study == ("d", "d", "a")
    np.testing.assert_allclose(found.sample, arrays["test"][:, :3].mean(2), rtol=1e-5)


def test_errors_of_a_cohort_are_averaged_over_sources() -> None:
    run, arrays = made(NETWORK, 3)
    found = errors(run, "rna")
    expected = arrays["rna"].mean(0)
    np.testing.assert_allclose(found.sample, expected.mean(2), rtol=1e-5)
    np.testing.assert_allclose(found.gene, of_studies(expected, COHORT.study), rtol=1e-5)
    assert found.fold is None and found.study == COHORT.study


def test_the_part_of_a_platform_is_joined_over_folds() -> None:
    """As the whole test split is, which it is part of; a fold without it leaves the model without a score there."""
    run, arrays = made(NETWORK, 3)
    kept = [np.array([name in "dab" for name in study]) for study in STUDIES.values()]

    def on_arrays(one: Outcome, rows: np.ndarray) -> Outcome:
        of = one.held_out_errors["test"]
        present = np.isin(np.unique(of.study), of.study[rows])
        part = replace(of, study=of.study[rows], sample=of.sample[:, rows], gene=of.gene[present])
        return replace(one, held_out_errors={**one.held_out_errors, "test on array": part})

    folds = (0, 2)
    outcomes = tuple(tuple(on_arrays(one, kept[fold]) for one in run.outcomes[fold]) for fold in folds)
    two = replace(run, sources=("fold-1", "fold-3"), outcomes=outcomes)
    found = errors(two, "test on array")
    rows = np.array([0, 1, 2, 7, 9])  # d, d, a of the first fold, b, b of the third
    np.testing.assert_allclose(found.sample, arrays["test"][:, rows].mean(2), rtol=1e-5)
    np.testing.assert_allclose(found.gene, of_studies(arrays["test"][:, rows], list("ddabb")), rtol=1e-5)
    assert found.fold == ("fold-1",) * 3 + ("fold-3",) * 2 and found.study == tuple("ddabb")
    assert two.scored("test on array") and two.scored("rna") and not two.scored("test on rnaseq")
    mixed = replace(run, outcomes=(outcomes[0], run.outcomes[1], outcomes[1]))
    assert mixed.scored("test") and not mixed.scored("test on array")


def test_by_study() -> None:
    run, arrays = made(NETWORK, 3)
    of = arrays["test"].mean((0, 2))
    expected = {"a": of[2], "b": of[[7, 9]].mean(), "c": of[3:7].mean(), "d": of[:2].mean(), "e": of[8]}
    assert by_study(errors(run, "test")) == pytest.approx(expected, rel=1e-5)


def targets_of(held: str) -> np.ndarray:
    folds = [held_out("test", study, 10 + number).target for number, study in enumerate(STUDIES.values())]
    return np.concatenate(folds) if held == "test" else COHORT.target


def predictions(held: str, seed: int, source: int) -> np.ndarray:
    """What ``outcome`` drew."""
    random = np.random.default_rng(100 * source + seed + 1)
    test = random.normal(0, 1, (len(list(STUDIES.values())[source]), GENES)).astype(np.float32)
    return test if held == "test" else random.normal(0, 1, COHORT.target.shape).astype(np.float32)


def correlations(predicted: np.ndarray, target: np.ndarray) -> list[float]:
    return [np.corrcoef(x, y)[0, 1] for x, y in zip(predicted.T.astype(float), target.T.astype(float), strict=True)]


def test_cohorts_of_other_genes_are_not_put_together() -> None:
    """As many genes, but others: an average of theirs would pass unnoticed."""
    run, _ = made(NETWORK, 3)
    (first, *rest) = run.outcomes[2]
    other = replace(first.held_out_errors["rna"], measured=np.arange(GENES) > 0)
    spoilt = (replace(first, held_out_errors={**first.held_out_errors, "rna": other}), *rest)
    run = replace(run, outcomes=(*run.outcomes[:2], spoilt))
    with pytest.raises(DgexError, match="^rna: is scored on different genes in different splits; prepare all"):
        errors(run, "rna")
    assert errors(run, "test").sample.shape == (3, 10)


def test_scores_of_genes_over_all_folds_samples() -> None:
    """But for the correlation, which is within a fold: z-scores of different folds have different zeros."""
    run, arrays = made(NETWORK, 3)
    found, target = run.per_gene("test"), targets_of("test")
    joined = [np.concatenate([predictions("test", seed, source) for source in range(3)]) for seed in range(3)]
    np.testing.assert_allclose(found.mae, arrays["test"].mean((0, 1)), rtol=1e-5)
    apart = [
        correlations(predictions("test", seed, source), held_out("test", study, 10 + source).target)
        for source, study in enumerate(STUDIES.values())
        for seed in range(3)
    ]
    np.testing.assert_allclose(found.pearson, np.mean(apart, axis=0), rtol=1e-4, atol=1e-6)
    r2 = [1 - ((one - target) ** 2).sum(0) / (target**2).sum(0) for one in joined]
    np.testing.assert_allclose(found.r2, np.mean(r2, axis=0), rtol=1e-4)


def test_scores_of_genes_in_a_cohort_are_means_over_sources() -> None:
    """Five times the same samples are not five times as many, and no correlation across models."""
    run, arrays = made(NETWORK, 3)
    found = run.per_gene("rna")
    every = [predictions("rna", seed, source) for source in range(3) for seed in range(3)]
    np.testing.assert_allclose(found.mae, arrays["rna"].mean((0, 1, 2)), rtol=1e-5)
    expected = np.mean([correlations(one, COHORT.target) for one in every], axis=0)
    np.testing.assert_allclose(found.pearson, expected, rtol=1e-4, atol=1e-6)


def test_validation_error_is_the_mean_over_sources_and_seeds() -> None:
    run, _ = made(NETWORK, 3)
    assert run.validation_mae == pytest.approx(0.1 * np.mean([100 * n + s + 1 for n in range(3) for s in range(3)]))


def test_runs_are_read_once_and_grouped(sources: Sources, plant, tmp_path: Path, monkeypatch) -> None:
    asked = [Trial(source.name, NETWORK, None, seed, 4) for seed in (0, 1) for source in sources.folds]
    asked += [Trial(source.name, RIDGE, None, 0, 4) for source in sources.folds]
    plant(tmp_path, asked, sources, lambda trial, held, study: 0.5 + trial.seed + int(trial.source[-1]) / 10)
    read, calls = module.read, []
    monkeypatch.setattr(module, "read", lambda trial, *rest: calls.append(trial) or read(trial, *rest))
    evidence = Evidence(tmp_path, sources)
    by_model = runs(evidence, asked)
    runs(evidence, asked)
    assert len(calls) == len(asked)
    assert list(by_model) == ["net", "ridge"]
    assert by_model["net"].sources == tuple(f"fold-{number}" for number in range(1, 6))
    validation = [[one.validation_mae for one in seeds] for seeds in by_model["net"].outcomes]
    np.testing.assert_allclose(validation, [[0.5 + n / 10, 1.5 + n / 10] for n in range(1, 6)])
    assert [len(seeds) for seeds in by_model["ridge"].outcomes] == [1] * 5


def test_a_refit_and_a_model_of_one_platform_are_models_of_their_own(sources: Sources, plant, tmp_path: Path) -> None:
    base = Trial("fold-1", RIDGE, None, 0, 4)
    asked = [base, replace(base, refit=True), replace(base, platform="array")]
    asked.append(replace(base, platform="array", refit=True))
    plant(tmp_path, asked, sources, lambda trial, held, study: 0.5 + trial.refit + 2 * bool(trial.platform))
    by_model = runs(Evidence(tmp_path, sources), asked)
    names = ["ridge", "ridge_refit", "ridge_array", "ridge_array_refit"]
    assert [(name, run.model.name, run.validation_mae) for name, run in by_model.items()] == [
        (name, name, 0.5 + number) for number, name in enumerate(names)
    ]
    assert by_model["ridge_array_refit"].model.label == "ridge regression, array alone, refitted"


def test_on_what_the_outcomes_were_made_is_counted(sources: Sources, plant, tmp_path: Path) -> None:
    asked = [Trial("fold-1", NETWORK, None, seed, 4) for seed in range(3)]
    plant(tmp_path, asked, sources, lambda trial, held, study: 0.5)
    evidence = Evidence(tmp_path, sources)
    assert evidence.origins == {}
    runs(evidence, asked[:2])
    runs(evidence, asked[:2])
    assert evidence.origins == {"1 x abacus": 2}


def test_outcomes_of_other_data_are_refused(sources: Sources, plant, tmp_path: Path) -> None:
    asked = [Trial("fold-1", NETWORK, None, 0, 4)]
    plant(tmp_path, asked, sources, lambda trial, held, study: 0.5)
    other = replace(sources, folds=(replace(sources.folds[0], sha256="00"), *sources.folds[1:]))
    with pytest.raises(DgexError, match="is of another trial, which differs in: data; choose another folder"):
        Evidence(tmp_path, other)(asked[0])
