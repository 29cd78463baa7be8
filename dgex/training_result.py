"""The result of a training: the parameters of the best epoch and the log, and the error of one that diverges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dgex.errors import DgexError
from dgex.log import Epoch
from dgex.networks import Params


@dataclass(frozen=True)
class Fit:
    """Holds the result of a training run.

    Attributes:
      params: the parameters after the best epoch.
      log: the training log, one row an epoch.
    """

    params: Params
    log: list[Epoch]

    @property
    def best_epoch(self) -> int:
        """Returns the first epoch, counted from 1, with the lowest validation MAE; without validation the last."""
        if math.isnan(self.log[-1].validation_mae):
            return self.log[-1].epoch
        return min(self.log, key=lambda row: row.validation_mae).epoch


class DivergedError(DgexError):
    """Says that the loss of a network is not finite.

    Attributes:
      fits: the results until the epoch before, one for each network; without such an epoch their logs are empty.
    """

    def __init__(self, fits: list[Fit], message: str) -> None:
        """Keeps the results beside the message."""
        super().__init__(message)
        self.fits = fits


def is_best(row: Epoch, log: Sequence[Epoch]) -> bool:
    """Tells whether an epoch has a lower validation MAE than all before it."""
    return all(row.validation_mae < earlier.validation_mae for earlier in log)


def not_finite(seed: int, row: Epoch, validated: bool = True) -> str | None:
    """Words the error message if the loss of an epoch is not finite, and returns None if it is."""
    if math.isfinite(row.train_loss) and (not validated or math.isfinite(row.validation_mae)):
        return None
    return (
        f"training stopped: the loss is not finite in epoch {row.epoch} (seed {seed}, learning rate "
        f"{row.learning_rate:g}); use a lower learning rate or look for extreme values in the data"
    )
