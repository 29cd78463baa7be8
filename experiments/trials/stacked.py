"""Trials that train at once as a stack of networks: the same network on the same data from several seeds."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from dgex.files.run_directory import sole_use
from dgex.log import Epoch
from dgex.stacked_training import fit_many
from dgex.training_result import DivergedError
from experiments.trials.events import event_file
from experiments.trials.loading import Loaded
from experiments.trials.outcome import identity, write
from experiments.trials.running import network_of, network_outcome, run, samples_of, start_of
from experiments.trials.trial import Trial


def run_at_once(
    trials: Sequence[Trial],
    data: Loaded,
    folder: Path,
    on_epoch: Callable[[Epoch, float], None] = lambda row, seconds: None,
    *,
    events: bool = False,
) -> None:
    """Trains several seeds of a network at once, scores them and writes their outcomes.

    It is ``experiments.trials.running.run`` for several trials. A network that diverges stops the whole stack; the
    trials are then run one after another, so that only the diverging one is affected.

    Args:
      trials: trials of one network on one data set that differ in their seed alone; none has an outcome.
      data: their prepared file, loaded.
      folder: the study's folder.
      on_epoch: called after every epoch with the row of the first trial's log.
      events: whether to write TensorBoard event files too.

    Raises:
      InUseError: another process is running one of the trials.
      DgexError: as ``run``.
    """
    directories = [folder / trial.folder for trial in trials]
    seeds = [trial.seed for trial in trials]
    # The name holds the seeds, since a training that was begun with other seeds, or alone, cannot be continued.
    records = [directory / f"training-{'-'.join(map(str, seeds))}" for directory in directories]
    train, validation = samples_of(trials[0], data)
    start, penalty = start_of(trials[0], data)
    config, protocol = network_of(trials[0], data)
    seconds = 0.0
    with ExitStack() as stack:
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(sole_use(directory))
        write_events = [stack.enter_context(event_file(each / "events" if events else None)) for each in directories]

        def on_epochs(rows: list[Epoch], took: float) -> None:
            nonlocal seconds
            seconds += took
            for write_event, row in zip(write_events, rows, strict=True):
                write_event(row)
            on_epoch(rows[0], took)

        try:
            fits = fit_many(
                config, protocol, train, validation, seeds, records,
                start=start, resume=True, on_epoch=on_epochs,
            )  # fmt: skip
        except DivergedError:
            fits = []
        for trial, directory, fitted in zip(trials, directories, fits, strict=bool(fits)):
            outcome = network_outcome(trial, data, fitted, seconds / len(trials), penalty=penalty)
            write(directory / "outcome.npz", outcome, identity(trial, data.source.identity))
        for record in records:
            shutil.rmtree(record / "checkpoints", ignore_errors=True)
    if not fits:
        for trial in trials:
            run(trial, data, folder, on_epoch, events=events)
