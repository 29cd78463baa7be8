"""The training log, a CSV file with a row an epoch and without times, so that a rerun gives the same bytes."""

import csv
from pathlib import Path
from typing import NamedTuple

from dgex.errors import DgexError
from dgex.files.atomic import replacing

# Networks trained at once share a checkpoint, so one of them cannot start again alone.
START_AGAIN = "delete the folder, with those of all seeds trained at once with it, and train again"


class Epoch(NamedTuple):
    """Holds the row of one epoch. Errors are on the scale of the training data: z-scores, for a prepared file."""

    epoch: int  # counted from 1
    learning_rate: float
    train_loss: float  # the protocol's loss, mean over the epoch's steps, with dropout
    train_mae: float  # MAE over the epoch's steps, with dropout and moving weights
    monitor_mae: float  # MAE on the plateau rule's training samples after the epoch; NaN without that rule
    validation_mae: float  # MAE on the validation samples after the epoch


def write_log(path: Path, rows: list[Epoch]) -> None:
    """Writes a whole log, with floats in their shortest exact decimal form, so that reading returns the same bits."""
    with replacing(path) as partial, partial.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([Epoch._fields, *rows])


def append_log(path: Path, row: Epoch) -> None:
    """Adds one row to a log.

    Raises:
      DgexError: the disk is full, or the file may no longer be written.
    """
    try:
        with path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
    except OSError as error:
        raise DgexError(f"{path}: cannot be written ({error.strerror}); make room and resume the run") from error


def read_log(path: Path, epochs: int) -> list[Epoch]:
    """Reads the first ``epochs`` rows; later ones, such as a line cut short by a kill, are ignored.

    Raises:
      DgexError: the log is missing, or has fewer rows, or one of them is not the row of an epoch.
    """
    try:
        with path.open(newline="") as file:
            lines = [line for line, _ in zip(csv.reader(file), range(epochs + 1), strict=False)][1:]
        rows = [Epoch(int(epoch), *map(float, values)) for epoch, *values in lines]
    except (OSError, ValueError, TypeError) as error:
        raise DgexError(f"{path}: not a training log ({error}); {START_AGAIN}") from error
    if [row.epoch for row in rows] != list(range(1, epochs + 1)):
        raise DgexError(f"{path}: does not reach its checkpoint's epoch {epochs}; {START_AGAIN}")
    return rows
