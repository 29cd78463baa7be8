"""Working through a study's trials, source by source; several processes can do so together."""

import time
from collections.abc import Sequence
from pathlib import Path

import jax

from dgex.console import progress
from dgex.files.run_directory import InUseError
from dgex.log import Epoch
from experiments.trials.loading import Loaded
from experiments.trials.sources import Source
from experiments.trials.stacked import run_at_once
from experiments.trials.trial import Trial, check, is_done, run

SMALL = 1000  # units of a layer
PATIENCE = 5  # seconds between two looks at what other processes are at work on


def run_all(
    trials: Sequence[Trial],
    sources: Sequence[Source],
    folder: Path,
    devices: tuple[jax.Device, ...],
    *,
    events: bool = False,
) -> None:
    """Runs every trial that has no outcome yet; those that other processes work on are waited for.

    Args:
      trials: what to do; asked for twice is done once.
      sources: the prepared files, in the order to take them.
      folder: the study's.
      devices: to train on.
      events: whether networks also leave TensorBoard event files, in ``events/`` beside their outcome.

    Raises:
      DgexError: as ``experiments.trials.trial.run``; an outcome that is there is another trial's.
    """
    once = {trial.folder: trial for trial in trials}
    left = [trial for trial in once.values() if not is_done(trial, folder)]
    identities = {source.name: source.identity for source in sources}
    for trial in once.values():
        if is_done(trial, folder):  # a wrong one is to be met before the work, not after it
            check(trial, identities[trial.source], folder)
    loaded: Loaded | None = None
    with progress("{task.fields[status]}") as bar:
        task = bar.add_task("", total=len(left), status="")
        while left:
            before = len(left)
            for source in sources:
                for group in at_once([trial for trial in left if trial.source == source.name], devices):
                    todo = [trial for trial in group if not is_done(trial, folder)]  # others may have done some
                    if todo:
                        if loaded is None or loaded.source != source:
                            loaded = None  # two data sets need not fit
                            jax.clear_caches()  # programs for the shapes of the source before: no later trial has them
                            loaded = Loaded(source, devices)
                        seeds = ", ".join(str(trial.seed) for trial in todo)
                        bar.update(task, description=f"{source.name}, {todo[0].model.label}, seed {seeds}", status="")

                        def on_epoch(row: Epoch, seconds: float) -> None:
                            bar.update(task, status=f"epoch {row.epoch}  validation {row.validation_mae:.4f}")

                        try:
                            if len(todo) > 1:
                                run_at_once(todo, loaded, folder, on_epoch, events=events)
                            else:
                                run(todo[0], loaded, folder, on_epoch, events=events)
                        except InUseError:
                            continue
                    left = [trial for trial in left if trial not in group]
                    bar.update(task, advance=len(group))
            if len(left) == before:
                bar.update(task, description="waiting for other processes", status="")
                time.sleep(PATIENCE)
        bar.update(task, description="trials done", status="")


def at_once(trials: Sequence[Trial], devices: tuple[jax.Device, ...]) -> list[list[Trial]]:
    """Decides which trials train at once: small networks that differ in their seed alone, where there is a GPU.

    An epoch of these is bound by the launches of its kernels there, of which a stack has no more than one network (not
    measured). On two CPU cores a stack takes 0.9 to 1.4 times as long as its networks in turn (benchmarks/README.md).
    """
    if devices[0].platform == "cpu":
        return [[trial] for trial in trials]
    groups: dict[Path, list[Trial]] = {}
    for trial in trials:
        small = trial.model.network is not None and max(trial.model.network["hidden"], default=0) <= SMALL
        groups.setdefault(trial.folder.parent if small else trial.folder, []).append(trial)
    return list(groups.values())
