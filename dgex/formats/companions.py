"""The files beside a table of values alone that have its metadata: NAME.genes.csv and NAME.samples.csv of NAME.csv."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from dgex.atomic import replacing
from dgex.formats.matrix import Expression

AXES = ("genes", "samples")
Metadata = dict[str, np.ndarray]


def companion(path: Path, axis: str) -> Path:
    """Where the metadata of an axis lie: NAME.genes.csv.gz beside NAME.csv.gz."""
    stem, *extensions = path.name.rsplit(".", 2 if path.suffix.lower() == ".gz" else 1)
    return path.with_name(".".join([stem, axis, *extensions]))


def write_with_companions(
    path: Path,
    expression: Expression,
    write_values: Callable[[Path], None],
    write_metadata: Callable[[Path, Sequence[str], Metadata], None],
) -> None:
    """Writes a table and, of each axis that has metadata, its companion; every file is whole or not there.

    Nothing takes its place before all is written. Then an older table goes, the companions come, and the table comes
    last: where it is, all is, even if the process was killed.

    Args:
      write_values: writes the table under another name; comes first, since what its blocks tell is metadata.
      write_metadata: writes the ids and metadata of an axis under another name.

    Raises:
      DgexError: as ``dgex.atomic.replacing``; whatever the two raise.
    """
    metadata = (expression.row_id, expression.row_metadata), (expression.sample_id, expression.sample_metadata)
    with ExitStack() as stack:
        write_values(stack.enter_context(replacing(path)))
        for axis, (ids, columns) in zip(AXES, metadata, strict=True):
            if columns:
                write_metadata(stack.enter_context(replacing(companion(path, axis))), ids, columns)
        if any(columns for _, columns in metadata):
            path.unlink(missing_ok=True)
