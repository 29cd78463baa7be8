"""Companion files: metadata and provenance written beside a table whose format cannot hold them.

NAME.genes.csv and NAME.samples.csv hold the metadata of NAME.csv; NAME.csv.provenance.json records how it was made.
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
Write = Callable[[Path], None]  # writes a file under the name that it is given


def companion(path: Path, axis: str) -> Path:
    """Returns the path of the metadata of one axis: NAME.genes.csv.gz beside NAME.csv.gz."""
    stem, *extensions = path.name.rsplit(".", 2 if path.suffix.lower() == ".gz" else 1)
    return path.with_name(".".join([stem, axis, *extensions]))


def provenance_companion(path: Path) -> Path:
    """Returns the path of the provenance of a table: NAME.csv.gz.provenance.json beside NAME.csv.gz."""
    return path.with_name(f"{path.name}.provenance.json")


def metadata_companions(
    path: Path, expression: Expression, write: Callable[[Path, Sequence[str], Metadata], None]
) -> dict[Path, Write]:
    """Maps the path of each companion file for metadata to a function that writes it; axes without any have none.

    Args:
      path: the table.
      expression: its content.
      write: called with a path, and the ids and metadata of an axis, which it writes to that path.
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
    """Maps the path of the companion file for provenance to a function that writes it; empty if there is none."""

    def write(name: Path) -> None:
        name.write_text(json.dumps(expression.provenance, indent=1) + "\n")

    return {provenance_companion(path): write} if expression.provenance else {}


def write_with_companions(path: Path, write_values: Write, companions: Mapping[Path, Write]) -> None:
    """Writes a table and its companion files atomically: every file is either complete or absent.

    All are first written under temporary names. Then an older table is removed, the companions get their names, and the
    table gets its name last. So where the table exists, all of its companions do, even if the process was killed.

    Args:
      path: the table.
      write_values: writes the table. It is called first, since metadata are final only once the blocks have been read.
      companions: the functions that write the companion files, by their paths.

    Raises:
      DgexError: as ``dgex.files.atomic.replacing``; whatever the writing functions raise.
    """
    with ExitStack() as stack:
        write_values(stack.enter_context(replacing(path)))
        for companion_path, write in companions.items():
            write(stack.enter_context(replacing(companion_path)))
        if companions:
            path.unlink(missing_ok=True)
