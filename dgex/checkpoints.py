"""Checkpoints of a training run, kept by Orbax."""

import inspect
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jax
from orbax.checkpoint import v1 as ocp

from dgex.atomic import need_room
from dgex.errors import DgexError

Tree = TypeVar("Tree")


class Saving(Protocol):
    """A save that goes on in the background."""

    def result(self) -> bool:
        """Waits for it; raises what it raised."""


def open_checkpoints(directory: Path, minimum_interval_secs: int) -> ocp.training.Checkpointer:
    """The checkpoints of one run; a context manager.

    Only the latest is kept: a run's best parameters are part of its state, so the best epoch survives however seldom
    checkpoints are written. What a killed process left unfinished is removed.

    Args:
      directory: made if absent.
      minimum_interval_secs: ``save`` does nothing sooner than this after the checkpoint before.
    """
    return ocp.training.Checkpointer(
        directory.absolute(),
        save_decision_policy=ocp.training.save_decision_policies.ContinuousCheckpointingPolicy(
            minimum_interval_secs=minimum_interval_secs
        ),
        preservation_policy=ocp.training.preservation_policies.LatestN(1),
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
    return checkpoints.save_async(epoch, state, force=force)


def restore_latest(checkpoints: ocp.training.Checkpointer, like: Tree) -> tuple[int, Tree]:
    """The epoch and state of the latest checkpoint, placed as ``like`` is; ``(0, like)`` if there is none.

    Raises:
      DgexError: the checkpoint is damaged or not of this structure. (Orbax keeps no checksums here: a file with a
        flipped bit, rather than a missing piece, reads as other numbers.)
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
            f"{checkpoints.directory}: the checkpoint of epoch {step} cannot be read (damaged, or written by another "
            "version); delete the run's folder and train again"
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
