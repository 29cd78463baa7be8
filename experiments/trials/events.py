"""TensorBoard event files, written beside the training log."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dgex.log import Epoch


@contextmanager
def event_file(folder: Path | None) -> Iterator[Callable[[Epoch], None]]:
    """Provides a function that writes a row of the training log to an event file in ``folder``; None writes nothing."""
    if folder is None:
        yield lambda row: None
        return
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder)) as writer:

        def write(row: Epoch) -> None:
            for name, value in zip(Epoch._fields[1:], row[1:], strict=True):
                if not math.isnan(value):  # a protocol without a plateau rule has no monitored error
                    writer.add_scalar(name, value, row.epoch)

        yield write
