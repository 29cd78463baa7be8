"""Checkpoints of a training run, written by Orbax and sealed with the digests of their files.

Orbax has checksums of its indices alone, so a flipped bit in an array reads as other numbers. Therefore a finished
checkpoint gets ``SHA256SUMS`` of its files. Two checkpoints are kept, and the later one whose digests agree is used.
Orbax reads no checkpoint that is not whole: of the arrays that it reads at once, each that fails after the first one
would print a traceback from another thread.

Where several processes train together, process 0 alone has checkpoints, whole ones, since the state is replicated. So
they restore onto any number of processes and devices. Orbax's ``Checkpointer`` of version 1 has no such mode: it needs
all processes for a save, and a folder that all of them see.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from dgex.errors import DgexError
from dgex.files.atomic import need_room, replacing

Tree = TypeVar("Tree")
SUMS = "SHA256SUMS"
KEPT = 2  # the latest, and the one before in case the latest gets damaged
PROCESS_0 = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="dgex")


class Checkpoints:
    """Holds the checkpoints of one run, of which ``KEPT`` remain.

    A run's best parameters are part of its state, so the best epoch survives however seldom checkpoints are written.
    """

    def __init__(self, directory: Path, interval: float) -> None:
        """Takes the folder of the checkpoints and the least seconds between two; see ``open_checkpoints``."""
        self._directory = directory
        self._interval = interval
        self._orbax = ocp.Checkpointer(
            ocp.PyTreeCheckpointHandler(multiprocessing_options=PROCESS_0), multiprocessing_options=PROCESS_0
        )
        self._saved_at = -float("inf")
        self._saving: Future[None] | None = None

    @property
    def epochs(self) -> list[int]:
        """Lists the epochs of the finished checkpoints, the latest first."""
        return [int(folder.name) for folder in _latest_first(self._directory)]

    def save(self, epoch: int, state: object, *, force: bool = False) -> None:
        """Starts to save a checkpoint, if one is due or with ``force``; writing goes on in the background.

        Args:
          epoch: the epoch after which the state is saved, counted from 1.
          state: the tree of arrays to save; they may be donated afterwards.
          force: whether to save although no checkpoint is due.

        Raises:
          DgexError: the disk has no room for another checkpoint.
        """
        if not force and time.monotonic() < self._saved_at + self._interval:
            return  # a full disk does not stop the training while there is nothing to write
        self.finish()
        need_room(self._directory, sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
        # A copy: on CPUs the host's view of an array is the memory that the next epoch reuses.
        values = jax.tree.map(lambda leaf: np.array(leaf, copy=True), jax.device_get(state))
        self._saved_at = time.monotonic()
        thread = ThreadPoolExecutor(1)
        self._saving = thread.submit(self._write, self._directory / str(epoch), values)
        thread.shutdown(wait=False)  # the thread ends when the checkpoint is written

    def finish(self) -> None:
        """Waits for the end of a save in the background, and raises the error that stopped it, if any."""
        saving, self._saving = self._saving, None
        if saving:
            saving.result()

    def restore_latest(self, like: Tree) -> tuple[int, Tree]:
        """Reads the epoch and the state of the latest checkpoint, or returns ``(0, like)`` if there is none.

        Args:
          like: a tree of arrays with the structure, shapes, dtypes and placement that the state is to have.

        Raises:
          DgexError: the checkpoint has another structure.
        """
        if not self.epochs:
            return 0, like
        epoch = self.epochs[0]
        folder = self._directory / str(epoch)
        as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
        try:
            if _shapes(self._orbax.metadata(folder).item_metadata) != _shapes(like):
                raise ValueError("other shapes")  # which Orbax would notice only in the middle of its reads
            values = self._orbax.restore(
                folder, args=ocp.args.PyTreeRestore(like, restore_args=jax.tree.map(lambda _: as_numpy, like))
            )
        except (ValueError, KeyError, OSError) as error:
            reason = "of another network, or written by another version"
            raise DgexError(_unreadable(self._directory, epoch, reason)) from error
        return epoch, jax.tree.map(lambda value, leaf: jax.device_put(value, leaf.sharding), values, like)

    def close(self) -> None:
        """Waits for the last save, and ends Orbax's threads."""
        try:
            self.finish()
        finally:
            self._orbax.close()

    def _write(self, folder: Path, values: object) -> None:
        """Writes a checkpoint and then its digests, without which it is not used, and removes old ones."""
        self._orbax.save(folder, args=ocp.args.PyTreeSave(values), force=True)
        sums = _digests(folder)
        with replacing(folder / SUMS) as partial:
            partial.write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
        for old in _latest_first(self._directory)[KEPT:]:
            shutil.rmtree(old)


@contextmanager
def open_checkpoints(directory: Path, interval: float) -> Iterator[Checkpoints]:
    """Opens the checkpoints of one run as a context manager, which waits for the last one at its end.

    Checkpoints that a killed process left unfinished, or without digests, are removed. So are damaged checkpoints that
    are later than a sound one; a warning on stderr names them.

    Args:
      directory: the folder of the checkpoints; it is made if absent.
      interval: the least number of seconds between two checkpoints that ``Checkpoints.save`` writes.

    Raises:
      DgexError: there are checkpoints, and all are damaged.
    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    for unfinished in directory.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    _remove_unsealed(directory)
    _remove_damaged(directory)
    checkpoints = Checkpoints(directory, interval)
    try:
        yield checkpoints
    finally:
        checkpoints.close()


def _digests(folder: Path) -> dict[str, str]:
    """Computes the SHA-256 of each file but ``SUMS``, by its name relative to the folder."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SUMS:
            with path.open("rb") as file:
                sums[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def _find_damage(folder: Path) -> str | None:
    """Names a file of a checkpoint that is not as it was written, or returns None if all are."""
    lines = (folder / SUMS).read_text(errors="replace").splitlines()
    written, present = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}, _digests(folder)
    return next((name for name in [*present, *written] if written.get(name) != present.get(name)), None)


def _latest_first(directory: Path) -> list[Path]:
    """Lists the folders of the checkpoints, which are named after their epochs, the latest first."""
    folders = [path for path in directory.iterdir() if path.name.isdecimal()] if directory.exists() else []
    return sorted(folders, key=lambda folder: int(folder.name), reverse=True)


def _remove_unsealed(directory: Path) -> None:
    """Removes the checkpoints without digests: the process was killed before it had finished them."""
    unsealed = [folder for folder in _latest_first(directory) if not (folder / SUMS).exists()]
    for folder in unsealed:
        shutil.rmtree(folder)
    if unsealed and not _latest_first(directory):
        from dgex.console import warn  # here, because it imports typer, which training does without

        warn(f"{unsealed[0]}: has no {SUMS}, so it was not finished; training begins anew")


def _remove_damaged(directory: Path) -> None:
    """Removes the damaged checkpoints that are later than the latest sound one.

    Raises:
      DgexError: there are checkpoints, and all are damaged.
    """
    damaged: list[tuple[Path, str]] = []
    for folder in _latest_first(directory):
        if damage := _find_damage(folder):
            damaged.append((folder, damage))
            continue
        for later, file in damaged:
            from dgex.console import warn  # here, because it imports typer, which training does without

            warn(f"{later}: is damaged ({file} is not as it was written); training goes on from epoch {folder.name}")
            shutil.rmtree(later)
        return
    if damaged:
        folder, file = damaged[0]
        raise DgexError(_unreadable(directory, folder.name, f"{file} is not as it was written"))


def _unreadable(directory: Path, epoch: int | str, reason: str) -> str:
    """Words the message for a checkpoint that cannot be read."""
    return (
        f"{directory}: the checkpoint of epoch {epoch} cannot be read ({reason}); delete the run's folder and train "
        "again"
    )


def _shapes(tree: object) -> list[tuple[int, ...]]:
    """Lists the shapes of a tree's arrays in an order of their own, as metadata have the leaves in another one."""
    return sorted(leaf.shape for leaf in jax.tree.leaves(tree))
