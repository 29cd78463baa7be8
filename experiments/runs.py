"""Training several networks one after another, with a progress bar, logs and checkpoints; shared by the experiments."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from dgex.batches import Samples
from dgex.console import progress
from dgex.log import Epoch
from dgex.networks import NetworkConfig
from dgex.protocols import Protocol
from dgex.training import Fit, fit


def train_all(
    networks: Mapping[str, NetworkConfig],
    seeds: Sequence[int],
    protocol: Protocol,
    train: Samples,
    validation: Samples,
    folder: Path,
    tensorboard: bool = False,
) -> dict[str, list[Fit]]:
    """Fits every network with every seed, all on the same data in the same order.

    Args:
      networks: by name.
      seeds: one run each.
      protocol: how to train.
      train, validation: the samples; validation chooses the best epoch.
      folder: ``NAME/seed-N/`` in it holds a run's log and checkpoints; runs found there are continued.
      tensorboard: whether to write event files there too.

    Returns:
      The fits of every network, in the order of ``seeds``.

    Raises:
      DgexError: as ``fit`` does.
    """
    runs = [(name, seed) for name in networks for seed in seeds]
    fits: dict[str, list[Fit]] = {name: [] for name in networks}
    with progress("{task.fields[status]}") as bar:
        task = bar.add_task("", total=len(runs) * protocol.epochs, status="")
        for done, (name, seed) in enumerate(runs):
            bar.update(task, description=f"{name}, seed {seed}", status="", completed=done * protocol.epochs)
            run = folder / name / f"seed-{seed}"
            with event_file(run / "events") if tensorboard else nullcontext(lambda row: None) as write_event:

                def on_epoch(row: Epoch, seconds: float, before: int = done, write: Callable = write_event) -> None:
                    status = (
                        f"epoch {row.epoch}/{protocol.epochs}  train {row.train_loss:.4f}  "
                        f"validation {row.validation_mae:.4f}  {len(train) / seconds:,.0f} samples/s"
                    )
                    bar.update(task, completed=before * protocol.epochs + row.epoch, status=status)
                    write(row)

                fits[name].append(
                    fit(networks[name], protocol, train, validation, seed, run, resume=True, on_epoch=on_epoch)
                )
        bar.update(task, description="trained", status="", completed=len(runs) * protocol.epochs)
    return fits


@contextmanager
def event_file(folder: Path) -> Iterator[Callable[[Epoch], None]]:
    """Gives a function that adds a row of the training log to a TensorBoard event file."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder)) as writer:

        def write(row: Epoch) -> None:
            for name, value in zip(Epoch._fields[1:], row[1:], strict=True):
                if not math.isnan(value):  # the monitor of a protocol without a plateau rule
                    writer.add_scalar(name, value, row.epoch)

        yield write
