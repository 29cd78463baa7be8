"""Checks that the prepared files of a folder are splits of the same data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dgex.data.dataset import read_provenance, read_reference
from dgex.errors import DgexError

MAKE_THEM = "make the folder with `python -m data_prep folds`"


def check_alike(files: Sequence[Path]) -> None:
    """Checks that prepared files were made of the same sources, with the same seed, genes and platforms.

    Otherwise a study could be tested on by one and trained on by another, or errors be put together that cannot be
    compared.

    Args:
      files: the prepared files, one or more.

    Raises:
      DgexError: one differs from the first; or as ``read_provenance``.
    """
    first = _traits(files[0])
    for path in files[1:]:
        for what, trait in _traits(path).items():
            if trait != first[what]:
                # A gene that most training profiles of one fold lack is missing in this fold alone.
                advice = f"{MAKE_THEM}, of sources that measure all genes" if "genes" in what else MAKE_THEM
                raise DgexError(f"{path}: does not belong with {files[0].name}: different {what}; {advice}")


def _traits(path: Path) -> dict[str, Any]:
    """Reads what prepared files of one folder have in common."""
    provenance, reference = read_provenance(path), read_reference(path)
    return {
        "sources": set(provenance["sources"].values()),
        "seed": provenance["seed"],
        "landmark genes": reference.landmark_genes.ensembl,
        "target genes": reference.target_genes.ensembl,
        "platforms": reference.platforms.name,
    }
