"""Working through a study's trials, source by source; several processes can do so together."""

import time
from collections.abc import Sequence
from pathlib import Path

import jax

from dgex.console import progress
from dgex.identity import InUseError
from dgex.log import Epoch
from experiments.trials.loading import Loaded
from experiments.trials.sources import Source
from experiments.trials.trial import Trial, check, is_done, run

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
                for trial in [trial for trial in left if trial.source == source.name]:
                    if is_done(trial, folder):  # by another process
                        left.remove(trial)
                        bar.update(task, advance=1)
                        continue
                    if loaded is None or loaded.source != source:
                        loaded = None  # two data sets need not fit
                        jax.clear_caches()  # programs for the shapes of the source before, which no later trial has
                        loaded = Loaded(source, devices)
                    bar.update(task, description=f"{source.name}, {trial.model.label}, seed {trial.seed}", status="")

                    def on_epoch(row: Epoch, seconds: float) -> None:
                        bar.update(task, status=f"epoch {row.epoch}  validation {row.validation_mae:.4f}")

                    try:
                        run(trial, loaded, folder, on_epoch, events=events)
                    except InUseError:
                        continue
                    left.remove(trial)
                    bar.update(task, advance=1)
            if len(left) == before:
                bar.update(task, description="waiting for other processes", status="")
                time.sleep(PATIENCE)
        bar.update(task, description="trials done", status="")
