"""Checkpoints of a training run, kept by Orbax."""

import gc
import logging
import sys
from pathlib import Path
from typing import TypeVar

import jax
from orbax.checkpoint import v1 as ocp

from dgex.atomic import need_room
from dgex.errors import DgexError

Tree = TypeVar("Tree")


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


def save(checkpoints: ocp.training.Checkpointer, epoch: int, state: object, *, force: bool = False) -> None:
    """Starts to save the state after ``epoch``, if one is due or with ``force``; writing goes on in the background.

    Raises:
      DgexError: the disk has no room for another checkpoint.
    """
    need_room(Path(checkpoints.directory), sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
    checkpoints.save_async(epoch, state, force=force)


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
    try:
        return step, checkpoints.load(step, abstract)
    except (ValueError, KeyError, OSError):
        pass  # reported below, when the exception no longer holds on to what Orbax left
    _collect_abandoned_reads()
    raise DgexError(
        f"{checkpoints.directory}: the checkpoint of epoch {step} cannot be read (damaged, or written by another "
        "version); delete the run's folder and train again"
    )


def _collect_abandoned_reads() -> None:
    """Orbax abandons the reads of other arrays when one fails; collected later, each would print its own traceback."""
    hook, logger = sys.unraisablehook, logging.getLogger("asyncio")
    sys.unraisablehook, logger.disabled = (lambda _: None), True
    try:
        gc.collect()
    finally:
        sys.unraisablehook, logger.disabled = hook, False
