"""Checkpoints of a training run, kept by Orbax, with a digest of each.

Orbax has checksums of its indices alone: a flipped bit in an array reads as other numbers. So the folder of a
checkpoint gets ``SHA256SUMS`` of its files, and of the two checkpoints that are kept the latest sound one is used.
"""

import hashlib
import inspect
import logging
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jax
from orbax.checkpoint import v1 as ocp

from dgex.errors import DgexError
from dgex.files.atomic import need_room, replacing

Tree = TypeVar("Tree")
SUMS = "SHA256SUMS"


class Saving(Protocol):
    """A save that goes on in the background."""

    def result(self) -> bool:
        """Waits for it; raises what it raised."""


def open_checkpoints(directory: Path, minimum_interval_secs: int) -> ocp.training.Checkpointer:
    """The checkpoints of one run; a context manager.

    The latest is kept, and the one before in case the latest gets damaged: a run's best parameters are part of its
    state, so the best epoch survives however seldom checkpoints are written. What a killed process left unfinished is
    removed, and so are damaged checkpoints that are later than a sound one, which a line on stderr tells.

    Args:
      directory: made if absent.
      minimum_interval_secs: ``save`` does nothing sooner than this after the checkpoint before.

    Raises:
      DgexError: there are checkpoints, and all are damaged.
    """
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
    """Starts to save the state after ``epoch``, if one is due or with ``force``; writing goes on in the background.

    Args:
      before: what the save before returned, which ``result`` waits for. Orbax gives every save a thread of its own,
        which ends in ``result`` and nowhere else: a study would gather thousands.

    Returns:
      What to hand on to the next save, or to wait for.

    Raises:
      DgexError: the disk has no room for another checkpoint.
    """
    if not (force or checkpoints.should_save(epoch)):
        return before  # a full disk is no reason to stop training while nothing is to be written
    if before:
        before.result()
    need_room(Path(checkpoints.directory), sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
    started = checkpoints.save_async(epoch, state, force=force)
    if not started:
        return before
    thread = ThreadPoolExecutor(1)
    sealed = thread.submit(_seal, started, Path(checkpoints.directory) / str(epoch))
    thread.shutdown(wait=False)  # it ends with what it does
    return sealed


def _seal(saving: Saving, folder: Path) -> bool:
    """Waits for a checkpoint to be written and adds the digests; without them, after a kill, it counts as sound."""
    saved = saving.result()
    sums = _digests(folder)
    with replacing(folder / SUMS) as partial:
        partial.write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return saved


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 by the name of each file but ``SUMS``."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SUMS:
            with path.open("rb") as file:
                sums[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def _find_damage(folder: Path) -> str | None:
    """The file of a checkpoint that is not as it was written; None if all are, or no digests are there."""
    if not (folder / SUMS).exists():
        return None
    lines = (folder / SUMS).read_text(errors="replace").splitlines()
    written, present = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}, _digests(folder)
    return next((name for name in [*present, *written] if written.get(name) != present.get(name)), None)


def _remove_damaged(directory: Path) -> None:
    """Removes the damaged checkpoints that are later than the latest sound one; errors as ``open_checkpoints``."""
    folders = [path for path in directory.iterdir() if path.name.isdecimal()] if directory.exists() else []
    damaged: list[tuple[Path, str]] = []
    for folder in sorted(folders, key=lambda folder: int(folder.name), reverse=True):
        if damage := _find_damage(folder):
            damaged.append((folder, damage))
            continue
        for later, file in damaged:
            from dgex.console import warn  # and typer with it, which training does without

            warn(f"{later}: is damaged ({file} is not as it was written); training goes on from epoch {folder.name}")
            shutil.rmtree(later)
        return
    if damaged:
        folder, file = damaged[0]
        raise DgexError(_unreadable(directory, folder.name, f"{file} is not as it was written"))


def _unreadable(directory: Path, epoch: int | str, reason: str) -> str:
    return (
        f"{directory}: the checkpoint of epoch {epoch} cannot be read ({reason}); delete the run's folder and train "
        "again"
    )


def restore_latest(checkpoints: ocp.training.Checkpointer, like: Tree) -> tuple[int, Tree]:
    """The epoch and state of the latest checkpoint, placed as ``like`` is; ``(0, like)`` if there is none.

    Raises:
      DgexError: the checkpoint is damaged, and has no digests; or it is not of this structure.
    """
    if checkpoints.latest is None:
        return 0, like
    step = checkpoints.latest.step
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like)
    unmute = _mute_abandoned_reads()
    try:
        loaded = checkpoints.load(step, abstract)
    except (ValueError, KeyError, OSError) as error:
        raise DgexError(
            _unreadable(Path(checkpoints.directory), step, "damaged, or written by another version")
        ) from error
    unmute()
    return step, loaded


def _mute_abandoned_reads() -> Callable[[], None]:
    """Drops the tracebacks of reads that Orbax abandons when another one fails; the result undoes it.

    Each prints one of its own, from another thread and at any later time, so after a failure this stays as it is.
    """
    hook, logger = sys.unraisablehook, logging.getLogger("asyncio")

    def show(unraisable: Any) -> None:
        if not (inspect.iscoroutine(unraisable.object) or str(unraisable.exc_value) == "Event loop is closed"):
            hook(unraisable)

    def undo() -> None:
        sys.unraisablehook, logger.disabled = hook, False

    sys.unraisablehook, logger.disabled = show, True
    return undo
