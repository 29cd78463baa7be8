"""Every trial is run once, whoever asks for it, however often, and however many work on it."""

import math
import shutil
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jax
import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.files.run_directory import sole_use
from dgex.log import Epoch
from experiments.trials import loading, running, schedule
from experiments.trials.loading import Loaded
from experiments.trials.models import ModelSpec
from experiments.trials.outcome import is_done, read
from experiments.trials.schedule import run_all
from experiments.trials.sources import Source, Sources
from experiments.trials.trial import Trial

MODELS = (ModelSpec("mean", "mean predictor"), ModelSpec("least_squares", "linear regression"))
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
    compute = running._baseline

    def counted(trial: Trial, data: Loaded, choice: Any) -> Any:
        calls.append((threading.current_thread().name, trial.folder))
        time.sleep(0.02)  # so that others get their turn
        return compute(trial, data, choice)

    monkeypatch.setattr(running, "_baseline", counted)
    monkeypatch.setattr(schedule, "PATIENCE", 0.02)
    return calls


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were loaded."""
    names: list[str] = []

    def load(source: Source, devices: tuple[jax.Device, ...], memory: float | None) -> Loaded:
        names.append(source.name)
        return Loaded(source, devices, memory)

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

    compute = running._baseline

    def killed_at_the_fifth(trial: Trial, data: Loaded, choice: Any) -> Any:
        if len(fitted) == 4:
            raise Killed
        return compute(trial, data, choice)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(running, "_baseline", killed_at_the_fifth)
        run_all(TRIALS, list(sources), tmp_path, devices)
    assert sum(is_done(trial, tmp_path) for trial in TRIALS) == 4
    run_all(TRIALS, list(sources), tmp_path, devices)
    assert sorted(path for _, path in fitted) == sorted(trial.folder for trial in TRIALS)


def test_the_progress_of_a_refit_has_no_validation_error(
    sources: Sources, devices, tmp_path: Path, monkeypatch
) -> None:
    def trained(trial: Trial, data: Loaded, folder: Path, on_epoch: Any, events: bool) -> None:
        on_epoch(Epoch(3, 0.001, 0.5, 0.4, math.nan, 0.25), 1.0)
        on_epoch(Epoch(4, 0.001, 0.5, 0.4, math.nan, math.nan), 1.0)

    monkeypatch.setattr(schedule, "run", trained)
    monkeypatch.setattr(schedule, "progress", lambda *fields: nullcontext(bar))
    bar = Mock()
    run_all(TRIALS[:1], list(sources), tmp_path, devices)
    said = [call.kwargs["status"] for call in bar.update.call_args_list if call.kwargs.get("status")]
    assert said == ["epoch 3  validation 0.2500", "epoch 4"]


def need_all(folder: Path, sources: Sources) -> None:
    """Every outcome is there and its trial's."""
    by_source = {source.name: source.identity for source in sources}
    for trial in TRIALS:
        read(trial, by_source[trial.source], folder)


# Waits until both processes are there, then says what it computes.
WORKER = """
import sys, time
from pathlib import Path
import jax
from experiments.trials import running, schedule
from experiments.trials.models import ModelSpec
from experiments.trials.sources import find_sources
from experiments.trials.trial import Trial

data, folder, ready, names = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), ("mean", "least_squares")
compute = running._baseline

def said(trial, data, choice):
    print(trial.folder, flush=True)
    time.sleep(0.05)
    return compute(trial, data, choice)

running._baseline, schedule.PATIENCE = said, 0.05
asked = [
    Trial(source, ModelSpec(name, name), None, targets=targets)
    for targets in (4, 6) for source in ("fold-2", "fold-1", "sample") for name in names
]
sources = list(find_sources(data))
ready.write_text("")
while len(list(ready.parent.glob("ready-*"))) < 2:
    time.sleep(0.01)
schedule.run_all(asked, sources, folder, tuple(jax.devices()[:1]))
"""


def test_two_processes_on_one_folder(sources: Sources, study_data: Path, tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(study_data), str(tmp_path / "study"), str(tmp_path / f"ready-{name}")],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    try:
        ended = [worker.communicate(timeout=120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], ended
    done = [said.split() for said, _ in ended]
    assert all(done) and sorted(sum(done, [])) == sorted(str(trial.folder) for trial in TRIALS)
    need_all(tmp_path / "study", sources)


def test_an_outcome_of_another_trial_is_met_before_the_work(sources: Sources, devices, fitted, tmp_path: Path) -> None:
    """Of the last trial, in the place of which another's lies."""
    last = TRIALS[-1]
    run_all([TRIALS[1]], list(sources), tmp_path, devices)
    (tmp_path / last.folder).mkdir(parents=True)
    (tmp_path / TRIALS[1].folder / "outcome.npz").rename(tmp_path / last.folder / "outcome.npz")
    with pytest.raises(DgexError, match=f"{last.folder}/outcome.npz: is of another trial, which differs in: source"):
        run_all(TRIALS, list(sources), tmp_path, devices)
    assert len(fitted) == 1


def test_nothing_is_read_while_waiting(sources: Sources, devices, fitted, tmp_path: Path, monkeypatch) -> None:
    """Others are at work on all trials of two sources; at the fourth look they are done."""
    busy = [trial for trial in TRIALS if trial.source != "sample"]
    run_all(busy, list(sources), tmp_path / "others", devices)
    fitted.clear()
    monkeypatch.setattr(loading, "read_dataset", reading := Mock())
    looks = []
    with ExitStack() as locks:
        for trial in busy:
            (tmp_path / trial.folder).mkdir(parents=True)
            locks.enter_context(sole_use(tmp_path / trial.folder))

        def look_again(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 3:
                for trial in busy:
                    name = trial.folder / "outcome.npz"
                    shutil.copy(tmp_path / "others" / name, tmp_path / name)
                locks.close()

        monkeypatch.setattr(schedule, "time", Mock(sleep=look_again))
        run_all(busy, list(sources), tmp_path, devices)
    assert looks == [schedule.PATIENCE] * 3
    assert not fitted and not reading.called


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
    need_all(tmp_path, sources)


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
    ours = running._baseline

    def slow(trial: Trial, data: Loaded, choice: Any) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(running, "_baseline", ours)
            rest = [other for other in TRIALS if other.source == trial.source and other != trial]
            run_all(rest, list(sources), tmp_path, devices)
        return ours(trial, data, choice)

    monkeypatch.setattr(running, "_baseline", slow)
    run_all(TRIALS, list(sources), tmp_path, devices)
    assert sorted(path for _, path in fitted) == sorted(trial.folder for trial in TRIALS)


def test_a_failure_ends_all(sources: Sources, devices, tmp_path: Path, monkeypatch) -> None:
    def fail(trial: Trial, data: Loaded, choice: Any) -> Any:
        raise DgexError("the disk is full")

    monkeypatch.setattr(running, "_baseline", fail)
    with pytest.raises(DgexError, match="the disk is full"):
        run_all(TRIALS, list(sources), tmp_path, devices)
    assert not any(is_done(trial, tmp_path) for trial in TRIALS)


def test_sources_share_their_targets(sources: Sources, devices, tmp_path: Path) -> None:
    """A part of the targets is the same on every file: scores can be put together gene by gene."""
    run_all([trial for trial in TRIALS if trial.targets == 6], list(sources), tmp_path, devices)
    found = [
        read(trial, source.identity, tmp_path).held_out_errors["test"].overlap
        for source in sources
        for trial in TRIALS
        if trial.targets == 6 and trial.source == source.name
    ]
    np.testing.assert_array_equal(found, [found[0]] * 6)
