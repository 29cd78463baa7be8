"""Checkpoints of a training run, written by Orbax and sealed with the digests of their files.

Orbax has checksums of its indices alone, so a flipped bit in an array reads as other numbers. Therefore a finished
checkpoint gets ``SHA256SUMS`` of its files. Two checkpoints are kept, and the later one whose digests agree is used.
Orbax reads no checkpoint that is not whole: of the arrays that it reads at once, each that fails after the first one
would print a traceback from another thread.
"""

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import jax
from orbax.checkpoint import v1 as ocp

from dgex.errors import DgexError
from dgex.files.atomic import need_room, replacing

Tree = TypeVar("Tree")
SUMS = "SHA256SUMS"


class Saving(Protocol):
    """Stands for a save that goes on in the background."""

    def result(self) -> bool:
        """Waits for the end of the save, and raises the error that stopped it, if any."""


def open_checkpoints(directory: Path, minimum_interval_secs: int) -> ocp.training.Checkpointer:
    """Opens the checkpoints of one run, as a context manager.

    The latest checkpoint is kept, and the one before in case the latest gets damaged. A run's best parameters are part
    of its state, so the best epoch survives however seldom checkpoints are written. Checkpoints that a killed process
    left unfinished, or without digests, are removed. So are damaged checkpoints that are later than a sound one; a
    warning on stderr names them.

    Args:
      directory: the folder of the checkpoints; it is made if absent.
      minimum_interval_secs: the least number of seconds between two checkpoints that ``save`` writes.

    Raises:
      DgexError: there are checkpoints, and all are damaged.
    """
    _remove_unsealed(directory)
    _remove_damaged(directory)
    return ocp.training.Checkpointer(
        directory.absolute(),
        save_decision_policy=ocp.training.save_decision_policies.ContinuousCheckpointingPolicy(
            minimum_interval_secs=minimum_interval_secs
        ),
        preservation_policy=ocp.training.preservation_policies.LatestN(2),
        cleanup_tmp_directories=True,
    )


def save(
    checkpoints: ocp.training.Checkpointer,
    epoch: int,
    state: object,
    before: Saving | None = None,
    *,
    force: bool = False,
) -> Saving | None:
    """Starts to save a checkpoint, if one is due or with ``force``; writing goes on in the background.

    Args:
      checkpoints: the open checkpoints of the run.
      epoch: the epoch after which the state is saved, counted from 1.
      state: the tree of arrays to save.
      before: the value that the previous call returned; this call waits for that save first. Orbax gives every save a
        thread of its own, which ends in ``result`` and nowhere else: a study would gather thousands.
      force: whether to save although no checkpoint is due.

    Returns:
      The save to hand on to the next call, or to wait for.

    Raises:
      DgexError: the disk has no room for another checkpoint.
    """
    if not (force or checkpoints.should_save(epoch)):
        return before  # a full disk does not stop the training while there is nothing to write
    if before:
        before.result()
    need_room(Path(checkpoints.directory), sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
    started = checkpoints.save_async(epoch, state, force=force)
    if not started:
        return before
    thread = ThreadPoolExecutor(1)
    sealed = thread.submit(_seal, started, Path(checkpoints.directory) / str(epoch))
    thread.shutdown(wait=False)  # the thread ends when the checkpoint is sealed
    return sealed


def _seal(saving: Saving, folder: Path) -> bool:
    """Waits until a checkpoint is written, and adds its digests; without them, after a kill, it is not used."""
    saved = saving.result()
    sums = _digests(folder)
    with replacing(folder / SUMS) as partial:
        partial.write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return saved


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


def restore_latest(checkpoints: ocp.training.Checkpointer, like: Tree) -> tuple[int, Tree]:
    """Reads the epoch and the state of the latest checkpoint, or returns ``(0, like)`` if there is none.

    Args:
      checkpoints: the open checkpoints of the run.
      like: a tree of arrays with the structure, shapes, dtypes and placement that the state is to have.

    Raises:
      DgexError: the checkpoint has another structure.
    """
    if checkpoints.latest is None:
        return 0, like
    step = checkpoints.latest.step
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like)
    try:
        if _shapes(checkpoints.metadata(step).metadata) != _shapes(like):
            raise ValueError("other shapes")  # which Orbax would notice only in the middle of its reads
        return step, checkpoints.load(step, abstract)
    except (ValueError, KeyError, OSError) as error:
        raise DgexError(
            _unreadable(Path(checkpoints.directory), step, "of another network, or written by another version")
        ) from error


def _shapes(tree: object) -> list[tuple[int, ...]]:
    """Lists the shapes of a tree's arrays in an order of their own, as metadata have the leaves in another one."""
    return sorted(leaf.shape for leaf in jax.tree.leaves(tree))
