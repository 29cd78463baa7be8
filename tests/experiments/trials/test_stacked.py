"""Trials that train at once: the outcomes of training them in turn, up to rounding."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dgex import parallel, stacked_training, training_result
from dgex.baselines.linear import PENALTIES
from experiments.trials import schedule
from experiments.trials.loading import Loaded
from experiments.trials.models import ModelSpec
from experiments.trials.outcome import Outcome, read
from experiments.trials.running import run
from experiments.trials.schedule import at_once
from experiments.trials.sources import Sources
from experiments.trials.stacked import run_at_once
from experiments.trials.trial import Trial

TAAF = ModelSpec("taaf", "TAAF", {"hidden": (6,), "activation": "sigmoid", "taaf": "hidden"})
LARGE = ModelSpec("large", "large", {"hidden": (3000,), "activation": "tanh"})


@pytest.fixture(scope="module")
def trials(tiny) -> list[Trial]:
    return [Trial("fold-1", TAAF, replace(tiny.protocol, epochs=3), seed, 12) for seed in (0, 1, 2)]


@pytest.fixture(scope="module")
def loaded(sources: Sources) -> Loaded:
    return Loaded(sources.folds[0], parallel.devices(1))


def outcomes(trials: list[Trial], loaded: Loaded, folder: Path) -> list[Outcome]:
    return [read(trial, loaded.source.identity, folder) for trial in trials]


@pytest.fixture(scope="module")
def in_turn(trials, loaded, tmp_path_factory) -> list[Outcome]:
    folder = tmp_path_factory.mktemp("turn")
    for trial in trials:
        run(trial, loaded, folder)
    return outcomes(trials, loaded, folder)


def same(found: list[Outcome], expected: list[Outcome]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.best_epoch == other.best_epoch and one.diverged == other.diverged
        np.testing.assert_allclose(one.curve, other.curve, rtol=1e-5)
        np.testing.assert_allclose(one.held_out_errors["test"].sample, other.held_out_errors["test"].sample, rtol=1e-4)


def test_outcomes_are_those_of_training_in_turn(trials, loaded, in_turn, tmp_path: Path) -> None:
    seen = []
    run_at_once(trials, loaded, tmp_path, lambda row, seconds: seen.append(row.epoch))
    same(outcomes(trials, loaded, tmp_path), in_turn)
    assert seen == [1, 2, 3]
    assert not list(tmp_path.rglob("checkpoints"))
    assert len(list(tmp_path.rglob("training-0-1-2/log.csv"))) == 3


def test_where_a_network_diverges_they_are_trained_in_turn(trials, loaded, in_turn, tmp_path, monkeypatch) -> None:
    not_finite = training_result.not_finite
    problem = lambda seed, row: "problem" if seed == 1 else not_finite(seed, row)  # noqa: E731
    monkeypatch.setattr(stacked_training, "not_finite", problem)
    run_at_once(trials, loaded, tmp_path)
    same(outcomes(trials, loaded, tmp_path), in_turn)


def test_seeds_of_small_networks_train_at_once_on_gpus(trials) -> None:
    large = [Trial("fold-1", LARGE, trials[0].protocol, seed) for seed in (0, 1)]
    ridge = Trial("fold-1", ModelSpec("ridge", "ridge regression"), None)
    refits = [replace(trial, refit=True) for trial in trials]  # each for the epochs that its own seed has chosen
    asked = [*trials, *large, ridge, replace(trials[0], targets=None), *refits]
    gpu = (SimpleNamespace(platform="gpu"),)
    assert at_once(asked, gpu) == [trials, *([trial] for trial in asked[3:])]
    assert at_once(asked, parallel.devices(1)) == [[trial] for trial in asked]


def test_a_stack_with_a_linear_path_starts_at_one_ridge_regression(trials, loaded, tmp_path: Path) -> None:
    """The penalty, chosen once for the stack, is in every outcome, so that refits start from it."""
    linear = ModelSpec("linear", "linear", {**TAAF.network, "linear": True, "linear_rate": 0.1})
    two = [replace(trial, model=linear) for trial in trials[:2]]
    run_at_once(two, loaded, tmp_path / "stack")
    for trial in two:
        run(trial, loaded, tmp_path)
    found, expected = outcomes(two, loaded, tmp_path / "stack"), outcomes(two, loaded, tmp_path)
    same(found, expected)
    assert found[0].chosen == found[1].chosen == expected[0].chosen in PENALTIES


def test_a_schedule_with_stacks(trials, sources, loaded, in_turn, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(schedule, "at_once", lambda trials, devices: [list(trials)] if trials else [])
    schedule.run_all(trials, [sources.folds[0]], tmp_path, parallel.devices(1))
    same(outcomes(trials, loaded, tmp_path), in_turn)
