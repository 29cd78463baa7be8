"""The record of a training in its run directory, to resume from: fit.json (what is trained), log.csv, checkpoints/."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from dgex import processes
from dgex.batches import Samples
from dgex.checkpoints import Checkpoints, open_checkpoints
from dgex.errors import DgexError
from dgex.files.run_directory import check_claim, claim, sole_use
from dgex.log import Epoch, append_log, read_log, write_log
from dgex.networks import NetworkConfig, Params
from dgex.protocols import Protocol

Tree = TypeVar("Tree")


class Record:
    """Keeps the logs of networks that train at once, one a run directory, and their checkpoints, in the first one."""

    def __init__(self, directories: Sequence[Path], checkpoints: Checkpoints | None) -> None:
        """Keeps the record in folders whose checkpoints are open already; of several processes the first has them."""
        self._directories = directories
        self._checkpoints = checkpoints

    def latest(self, fresh: Tree) -> tuple[list[list[Epoch]], Tree]:
        """Reads the log of every network, and the state of the latest checkpoint.

        Rows of later epochs than the checkpoint's are removed from the logs. Without a checkpoint the logs are empty
        and ``fresh`` is returned, as it is on all processes but the first one, which has to send its state.

        Args:
          fresh: a tree of arrays with the structure, shapes, dtypes and placement of the state.
        """
        done, tree = self._checkpoints.restore_latest(fresh) if self._checkpoints else (0, fresh)
        done = processes.from_first(done)
        logs = [read_log(directory / "log.csv", done) if done else [] for directory in self._directories]
        for directory, log in zip(self._directories, logs, strict=True):
            write_log(directory / "log.csv", log)
        return logs, tree

    def add(self, rows: Sequence[Epoch], tree: object, *, last: bool) -> None:
        """Adds an epoch's row to each log, and starts to save a checkpoint if one is due or it is the last epoch.

        Args:
          rows: the row of each network.
          tree: the state after the epoch.
          last: whether it is the last epoch.
        """
        for directory, row in zip(self._directories, rows, strict=True):
            append_log(directory / "log.csv", row)
        if self._checkpoints:
            self._checkpoints.save(rows[0].epoch, tree, force=last)


@contextmanager
def recorded(
    directories: Sequence[Path], identity: Mapping[str, Any], resume: bool, checkpoint_seconds: int
) -> Iterator[Record | None]:
    """Opens the record of a training as a context manager, which locks the run directories.

    Args:
      directories: one run directory a network; none for no record, whose value is None.
      identity: what decides the result of the training, of types that JSON has.
      resume: whether to go on with the runs in the directories.
      checkpoint_seconds: the least time between checkpoints.

    Raises:
      InUseError: another process is using one of the directories.
      DgexError: a directory holds a run already (without ``resume``), or another run (with it); processes that train
        together have other identities.
    """
    processes.need_same("settings or data of the training", identity)
    if not directories:
        yield None
        return
    for directory in directories:  # before any is claimed: all are or none is
        check_claim(directory / "fit.json", identity, resume)
        if (directory / "checkpoints").exists() and not (directory / "fit.json").exists():
            raise DgexError(f"{directory}: has checkpoints of an unknown run; delete it or move it away")
    with ExitStack() as stack:
        for directory in directories:
            claim(directory / "fit.json", identity, resume)
            stack.enter_context(sole_use(directory))
        checkpoints = None
        if processes.is_first():
            checkpoints = stack.enter_context(open_checkpoints(directories[0] / "checkpoints", checkpoint_seconds))
        yield Record(directories, checkpoints)


def identity(
    config: NetworkConfig,
    protocol: Protocol,
    seed: int | list[int],
    train: Samples,
    validation: Samples | None,
    start: Params | None = None,
) -> dict[str, Any]:
    """Describes all that decides the result of a training, for fit.json; ``seed`` is a list for a stack of networks."""
    samples = {"train": train.sha256, "validation": validation.sha256 if validation else None}
    described = {"network": asdict(config), "protocol": asdict(protocol), "seed": seed, "samples": samples}
    return described | ({"start": _digest(start)} if start else {})


def _digest(params: Params) -> str:
    """Computes the SHA-256 of parameters, which depends on their names, shapes and values."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(params)):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()
