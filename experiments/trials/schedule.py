"""The schedule of a study's trials: source by source, shared by any number of processes."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax

from dgex import processes
from dgex.console import progress
from dgex.files.run_directory import InUseError, shared_use
from dgex.log import Epoch
from experiments.trials.loading import Loaded
from experiments.trials.outcome import check, is_done
from experiments.trials.running import run
from experiments.trials.sources import Source
from experiments.trials.stacked import run_at_once
from experiments.trials.trial import Trial

SMALL = 1000  # units of a layer
PATIENCE = 5  # seconds between two looks at the trials that other processes are running


def run_all(
    trials: Sequence[Trial],
    sources: Sequence[Source],
    folder: Path,
    devices: tuple[jax.Device, ...],
    *,
    events: bool = False,
    memory: float | None = None,
) -> None:
    """Runs every trial that has no outcome yet, and waits for those that other processes are running.

    Args:
      trials: the trials; one that is listed twice is run once.
      sources: the prepared files, in the order to work through them.
      folder: the study's folder.
      devices: the devices to train on.
      events: whether to write TensorBoard event files of networks too, in ``events/`` beside their outcome.
      memory: as in ``Loaded``.

    Raises:
      InUseError: processes that train together find others at work in the folder, or the other way round.
      DgexError: as ``experiments.trials.running.run``; an existing outcome is that of another trial.
    """
    # Others would change between two looks what there is left to do, and each process looks for itself.
    with shared_use(folder, alone=not processes.is_alone()):
        _run_all(trials, sources, folder, devices, events, memory)


def _run_all(
    trials: Sequence[Trial],
    sources: Sequence[Source],
    folder: Path,
    devices: tuple[jax.Device, ...],
    events: bool,
    memory: float | None,
) -> None:
    """Runs the trials of ``run_all``."""
    once = {trial.folder: trial for trial in trials}
    left = [trial for trial in once.values() if not is_done(trial, folder)]
    identities = {source.name: source.identity for source in sources}
    for trial in once.values():
        if is_done(trial, folder):  # an outcome of another trial is refused before the work, not after it
            check(trial, identities[trial.source], folder)
    loaded: Loaded | None = None
    with progress("{task.fields[status]}") as bar:
        task = bar.add_task("", total=len(left), status="")
        while left:
            before = len(left)
            for source in sources:
                for group in at_once([trial for trial in left if trial.source == source.name], devices):
                    # Other processes may have finished some of them.
                    todo = [trial for trial in group if not is_done(trial, folder)]
                    if todo and (loaded is None or loaded.source != source):
                        loaded = None  # frees the memory first, since two data sets may not fit
                        jax.clear_caches()  # no later trial has the shapes of the previous source
                        loaded = Loaded(source, devices, memory)
                    if todo and loaded and not _run_group(todo, loaded, folder, partial(bar.update, task), events):
                        continue
                    left = [trial for trial in left if trial not in group]
                    bar.update(task, advance=len(group))
            if len(left) == before:
                bar.update(task, description="waiting for other processes", status="")
                time.sleep(PATIENCE)
        bar.update(task, description="trials done", status="")


def _run_group(trials: Sequence[Trial], data: Loaded, folder: Path, show: Callable[..., object], events: bool) -> bool:
    """Runs one trial, or several at once; returns False if another process is running one of them."""
    seeds = ", ".join(str(trial.seed) for trial in trials)
    show(description=f"{data.source.name}, {trials[0].variant.label}, seed {seeds}", status="")

    def on_epoch(row: Epoch, seconds: float) -> None:
        mae = row.validation_mae
        validated = "" if math.isnan(mae) else f"  validation {mae:.4f}"  # a refit has none
        show(status=f"epoch {row.epoch}{validated}")

    try:
        if len(trials) > 1:
            run_at_once(trials, data, folder, on_epoch, events=events)
        else:
            run(trials[0], data, folder, on_epoch, events=events)
    except InUseError:
        if not processes.is_alone():
            raise  # the others, which see no lock, train this trial
        return False
    return True


def at_once(trials: Sequence[Trial], devices: tuple[jax.Device, ...]) -> list[list[Trial]]:
    """Groups the trials that train at once: small networks that differ in their seed alone, on other devices than CPUs.

    On a GPU an epoch of a small network is bound by its kernel launches, and a stack of networks has no more of them
    than one network (not measured). On two CPU cores a stack takes 0.9 to 1.4 times as long as its networks one after
    another (benchmarks/README.md), so every trial is a group of its own there.
    """
    if devices[0].platform == "cpu":
        return [[trial] for trial in trials]
    groups: dict[Path, list[Trial]] = {}
    for trial in trials:
        small = trial.model.network is not None and max(trial.model.network["hidden"], default=0) <= SMALL
        # A refit trains for as many epochs as its own seed has chosen.
        together = small and not trial.refit
        groups.setdefault(trial.folder.parent if together else trial.folder, []).append(trial)
    return list(groups.values())
