"""Files beside a table, with what its format has no place for.

NAME.genes.csv and NAME.samples.csv have the metadata of NAME.csv; NAME.csv.provenance.json says how it came about.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from dgex.files.atomic import replacing
from dgex.formats.expression import Expression

AXES = ("genes", "samples")
Metadata = dict[str, np.ndarray]
Write = Callable[[Path], None]  # a file, under whatever name


def companion(path: Path, axis: str) -> Path:
    """Where the metadata of an axis lie: NAME.genes.csv.gz beside NAME.csv.gz."""
    stem, *extensions = path.name.rsplit(".", 2 if path.suffix.lower() == ".gz" else 1)
    return path.with_name(".".join([stem, axis, *extensions]))


def provenance_companion(path: Path) -> Path:
    """Where the provenance of a table lies: NAME.csv.gz.provenance.json beside NAME.csv.gz."""
    return path.with_name(f"{path.name}.provenance.json")


def metadata_companions(
    path: Path, expression: Expression, write: Callable[[Path, Sequence[str], Metadata], None]
) -> dict[Path, Write]:
    """What writes the metadata of each axis that has some.

    Args:
      write: writes the ids and metadata of an axis under the name that it is given.
    """

    def writer(ids: Sequence[str], metadata: Metadata) -> Write:
        return lambda name: write(name, ids, metadata)

    axes = (expression.row_id, expression.row_metadata), (expression.sample_id, expression.sample_metadata)
    return {
        companion(path, axis): writer(ids, metadata)
        for axis, (ids, metadata) in zip(AXES, axes, strict=True)
        if metadata
    }


def provenance_companions(path: Path, expression: Expression) -> dict[Path, Write]:
    """What writes the provenance of a table, if it has any."""

    def write(name: Path) -> None:
        name.write_text(json.dumps(expression.provenance, indent=1) + "\n")

    return {provenance_companion(path): write} if expression.provenance else {}


def write_with_companions(path: Path, write_values: Write, companions: Mapping[Path, Write]) -> None:
    """Writes a table and its companions; every file is whole or not there.

    Nothing takes its place before all is written. Then an older table goes, the companions come, and the table comes
    last: where it is, all is, even if the process was killed.

    Args:
      write_values: writes the table; comes first, since what its blocks tell is metadata.
      companions: what writes each of the files beside it.

    Raises:
      DgexError: as ``dgex.files.atomic.replacing``; whatever the writing functions raise.
    """
    with ExitStack() as stack:
        write_values(stack.enter_context(replacing(path)))
        for beside, write in companions.items():
            write(stack.enter_context(replacing(beside)))
        if companions:
            path.unlink(missing_ok=True)
