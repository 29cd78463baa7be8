"""Training several networks with a progress bar, logs and checkpoints; shared by the experiments."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np

from dgex.batches import Samples
from dgex.console import progress
from dgex.errors import DgexError
from dgex.log import Epoch
from dgex.networks import NetworkConfig
from dgex.protocols import Protocol
from dgex.training import Fit, fit_many, init_state

# Of a device's memory, what the states of networks that train at once may take. Beside them stand their best
# parameters, gradients and updates (about as much again), their activations, and up to three data sets.
SHARE_OF_MEMORY = 0.2


def train_all(
    networks: Mapping[str, NetworkConfig],
    seeds: Sequence[int],
    protocol: Protocol,
    train: Samples,
    validation: Samples,
    folder: Path,
    tensorboard: bool = False,
) -> dict[str, list[Fit]]:
    """Fits every network with every seed, all on the same data, each seed in its own order.

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
      DgexError: as ``fit_many`` does.
    """
    fits: dict[str, list[Fit]] = {name: [] for name in networks}
    with progress("{task.fields[status]}") as bar:
        task = bar.add_task("", total=len(networks) * len(seeds) * protocol.epochs, status="")
        done = 0
        for name, config in networks.items():
            at_once = networks_at_once(config, protocol, train.devices[0])
            for first in range(0, len(seeds), at_once):
                stack = seeds[first : first + at_once]
                runs = [folder / name / f"seed-{seed}" for seed in stack]
                description = f"{name}, seed {', '.join(map(str, stack))}"
                bar.update(task, description=description, status="", completed=done * protocol.epochs)
                with ExitStack() as open_files:
                    event_files = [open_files.enter_context(event_file(run / "events")) for run in runs if tensorboard]

                    def on_epoch(
                        rows: list[Epoch], seconds: float, before: int = done, files: Sequence[Callable] = event_files
                    ) -> None:
                        train_loss, validation_mae = np.mean([(row.train_loss, row.validation_mae) for row in rows], 0)
                        status = (
                            f"epoch {rows[0].epoch}/{protocol.epochs}  train {train_loss:.4f}  "
                            f"validation {validation_mae:.4f}  {len(rows) * len(train) / seconds:,.0f} samples/s"
                        )
                        completed = before * protocol.epochs + len(rows) * rows[0].epoch
                        bar.update(task, completed=completed, status=status)
                        for write, row in zip(files, rows, strict=False):  # no files without ``tensorboard``
                            write(row)

                    fits[name] += fit_many(
                        config, protocol, train, validation, stack, runs, resume=True, on_epoch=on_epoch
                    )
                done += len(stack)
        bar.update(task, description="trained", status="", completed=done * protocol.epochs)
    return fits


def networks_at_once(config: NetworkConfig, protocol: Protocol, device: jax.Device) -> int:
    """How many networks of a shape to train at once: on a CPU one, elsewhere as many as its memory has room for.

    Two CPU cores lose by it: ten example networks at once cost 1.2 times as much as one after another, ten of
    943 -> 300 -> 300 -> 9520 units 1.1 times. A GPU is mostly idle with one such network, so there it should pay; that
    is not measured yet.
    """
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if device.platform == "cpu" or not limit:
        return 1
    state = jax.eval_shape(lambda: init_state(config, protocol.optimizer, 0))
    bytes_of_state = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return max(int(SHARE_OF_MEMORY * limit) // bytes_of_state, 1)


def need_event_files() -> None:
    """Finds out before the work that event files can be written.

    Raises:
      DgexError: tensorboardX is not installed.
    """
    if find_spec("tensorboardX") is None:
        raise DgexError(
            "event files need tensorboardX; install it (.venv/bin/pip install tensorboardX), or drop --tensorboard"
        )


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
