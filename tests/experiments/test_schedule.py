"""Every trial is run once, whoever asks for it, however often, and however many work on it."""

import threading
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.identity import sole_use
from experiments import schedule, trials
from experiments.loading import Loaded
from experiments.models import Model
from experiments.schedule import run_all
from experiments.sources import Source, Sources
from experiments.trials import Trial, is_done, read

MODELS = (Model("mean", "mean predictor"), Model("least_squares", "linear regression"))
TRIALS = [
    Trial(source, model, None, targets=targets)
    for targets in (4, 6)
    for source in ("fold-2", "fold-1", "sample")
    for model in MODELS
]


@pytest.fixture
def devices() -> tuple[jax.Device, ...]:
    return tuple(jax.devices()[:1])


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """Who (a thread's name) has computed what."""
    calls: list[tuple[str, Path]] = []
    compute = trials._baseline

    def counted(trial: Trial, data: Loaded) -> Any:
        calls.append((threading.current_thread().name, trial.folder))
        time.sleep(0.02)  # so that others get their turn
        return compute(trial, data)

    monkeypatch.setattr(trials, "_baseline", counted)
    monkeypatch.setattr(schedule, "PATIENCE", 0.02)
    return calls


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were loaded."""
    names: list[str] = []

    def load(source: Source, devices: tuple[jax.Device, ...]) -> Loaded:
        names.append(source.name)
        return Loaded(source, devices)

    monkeypatch.setattr(schedule, "Loaded", load)
    return names


def test_each_once_and_source_by_source(sources: Sources, devices, fitted, opened, tmp_path: Path) -> None:
    run_all([*TRIALS, *TRIALS], list(sources), tmp_path, devices)
    assert sorted(path for _, path in fitted) == sorted(trial.folder for trial in TRIALS)
    assert opened == ["fold-1", "fold-2", "sample"]  # the order of the sources, and each of them once
    assert all(is_done(trial, tmp_path) for trial in TRIALS)
    run_all(TRIALS, list(sources), tmp_path, devices)
    assert len(fitted) == len(TRIALS) and len(opened) == 3  # nothing was left to do, or to read


def test_a_stopped_study_goes_on(sources: Sources, devices, fitted, tmp_path: Path, monkeypatch) -> None:
    class Killed(Exception):
        pass

    compute = trials._baseline

    def killed_at_the_fifth(trial: Trial, data: Loaded) -> Any:
        if len(fitted) == 4:
            raise Killed
        return compute(trial, data)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(trials, "_baseline", killed_at_the_fifth)
        run_all(TRIALS, list(sources), tmp_path, devices)
    assert sum(is_done(trial, tmp_path) for trial in TRIALS) == 4
    run_all(TRIALS, list(sources), tmp_path, devices)
    assert sorted(path for _, path in fitted) == sorted(trial.folder for trial in TRIALS)


def test_two_share_the_work(sources: Sources, devices, fitted, tmp_path: Path) -> None:
    """Two threads, for which the lock on a folder is what it is for two processes."""
    workers = [
        threading.Thread(target=run_all, name=name, args=(TRIALS, list(sources), tmp_path, devices)) for name in "ab"
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert sorted(path for _, path in fitted) == sorted(trial.folder for trial in TRIALS)
    assert {name for name, _ in fitted} == {"a", "b"}
    by_source = {source.name: Loaded(source, devices).identity for source in sources}
    for trial in TRIALS:
        read(trial, by_source[trial.source], tmp_path)


def test_what_another_is_at_work_on_comes_last(sources: Sources, devices, fitted, tmp_path: Path) -> None:
    busy = TRIALS[2]
    (tmp_path / busy.folder).mkdir(parents=True)

    def let_go_when_all_else_is_done() -> None:
        with sole_use(tmp_path / busy.folder):
            entered.set()
            while len(fitted) < len(TRIALS) - 1:
                time.sleep(0.01)
            time.sleep(0.05)
            assert not is_done(busy, tmp_path)

    entered = threading.Event()
    other = threading.Thread(target=let_go_when_all_else_is_done)
    other.start()
    entered.wait(10)
    run_all(TRIALS, list(sources), tmp_path, devices)
    other.join(10)
    assert fitted[-1][1] == busy.folder and len(fitted) == len(TRIALS)


def test_what_another_finishes_meanwhile_is_not_done_again(
    sources: Sources, devices, fitted, tmp_path: Path, monkeypatch
) -> None:
    """All trials are asked for, and while the first is trained another process does the rest of its source."""
    ours = trials._baseline

    def slow(trial: Trial, data: Loaded) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(trials, "_baseline", ours)
            rest = [other for other in TRIALS if other.source == trial.source and other != trial]
            run_all(rest, list(sources), tmp_path, devices)
        return ours(trial, data)

    monkeypatch.setattr(trials, "_baseline", slow)
    run_all(TRIALS, list(sources), tmp_path, devices)
    assert sorted(path for _, path in fitted) == sorted(trial.folder for trial in TRIALS)


def test_a_failure_ends_all(sources: Sources, devices, tmp_path: Path, monkeypatch) -> None:
    def fail(trial: Trial, data: Loaded) -> Any:
        raise DgexError("the disk is full")

    monkeypatch.setattr(trials, "_baseline", fail)
    with pytest.raises(DgexError, match="the disk is full"):
        run_all(TRIALS, list(sources), tmp_path, devices)
    assert not any(is_done(trial, tmp_path) for trial in TRIALS)


def test_sources_share_their_targets(sources: Sources, devices, tmp_path: Path) -> None:
    """A part of the targets is the same on every file: scores can be put together gene by gene."""
    run_all([trial for trial in TRIALS if trial.targets == 6], list(sources), tmp_path, devices)
    found = [
        read(trial, {"sha256": source.sha256, "cohorts": source.cohort_sha256}, tmp_path).scores["test"].overlap
        for source in sources
        for trial in TRIALS
        if trial.targets == 6 and trial.source == source.name
    ]
    np.testing.assert_array_equal(found, [found[0]] * 6)
