"""What a training leaves in its folder, to be resumed from: fit.json (what is trained), log.csv and checkpoints/."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from orbax.checkpoint import v1 as ocp

from dgex.checkpoints import Saving, open_checkpoints, restore_latest, save
from dgex.errors import DgexError
from dgex.files.run_directory import check_claim, claim, sole_use
from dgex.log import Epoch, append_log, read_log, write_log

Tree = TypeVar("Tree")


class Record:
    """The logs of networks that train at once, one a folder, and their checkpoints, which lie in the first."""

    def __init__(self, directories: Sequence[Path], checkpoints: ocp.training.Checkpointer) -> None:
        self._directories = directories
        self._checkpoints = checkpoints
        self._saving: Saving | None = None

    def latest(self, fresh: Tree) -> tuple[list[list[Epoch]], Tree]:
        """Reads what there is: the log of every network, and the latest checkpoint, placed as ``fresh`` is.

        Without a checkpoint the logs are empty and ``fresh`` is given back; what logs say beyond it is cut off.
        """
        done, tree = restore_latest(self._checkpoints, fresh)
        logs = [read_log(directory / "log.csv", done) if done else [] for directory in self._directories]
        for directory, log in zip(self._directories, logs, strict=True):
            write_log(directory / "log.csv", log)
        return logs, tree

    def add(self, rows: Sequence[Epoch], tree: object, *, last: bool) -> None:
        """Adds an epoch's row to each log, and starts to save a checkpoint if one is due or it is the last epoch."""
        for directory, row in zip(self._directories, rows, strict=True):
            append_log(directory / "log.csv", row)
        self._saving = save(self._checkpoints, rows[0].epoch, tree, self._saving, force=last)

    def finish(self) -> None:
        """Waits for the checkpoint that is being saved."""
        if self._saving:
            self._saving.result()


@contextmanager
def recorded(
    directories: Sequence[Path], identity: Mapping[str, Any], resume: bool, checkpoint_seconds: int
) -> Iterator[Record | None]:
    """Keeps the record of a training in its folders while the ``with`` block lasts; None where it is to have none.

    Args:
      directories: one a network; none for no record.
      identity: what is trained, on what; JSON's types.
      resume: whether to go on with what the folders hold.
      checkpoint_seconds: least time between checkpoints.

    Raises:
      InUseError: another process is at work in one of the folders.
      DgexError: a folder holds a run already (without ``resume``), or another run (with it).
    """
    if not directories:
        yield None
        return
    for directory in directories:  # all of them or none
        check_claim(directory / "fit.json", identity, resume)
        if (directory / "checkpoints").exists() and not (directory / "fit.json").exists():
            raise DgexError(f"{directory}: has checkpoints of an unknown run; delete it or move it away")
    with ExitStack() as stack:
        for directory in directories:
            claim(directory / "fit.json", identity, resume)
            stack.enter_context(sole_use(directory))
        checkpoints = stack.enter_context(open_checkpoints(directories[0] / "checkpoints", checkpoint_seconds))
        record = Record(directories, checkpoints)
        stack.callback(record.finish)
        yield record
