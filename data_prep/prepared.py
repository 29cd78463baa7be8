"""Reads a prepared file in blocks of profiles, like any expression table, with its description.

``dgex.data.dataset.read_dataset`` reads the same file into memory and checks every value, which training needs.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_prep.report import Report
from dgex.data.dataset import Reference, read_missing, read_reference
from dgex.data.dataset_members import HISTOGRAM_EDGES, PREPARE_AGAIN
from dgex.errors import DgexError
from dgex.formats.content import reading
from dgex.formats.expression import Block, Expression
from dgex.formats.hdf5 import dataset_at, stream_hdf5


@dataclass(frozen=True)
class Prepared:
    """Holds the contents of a prepared file other than values and sample ids; see ``dgex.data.dataset``."""

    schema: int
    reference: Reference
    split: np.ndarray  # u1 [samples]
    seed: int
    command: str
    sources: dict[str, str]  # sha256 by file name
    versions: dict[str, str]  # by package
    preparation: dict[str, Any]
    report: Report | None  # from ``preparation``; None where the file was not made by ``data_prep``
    before: dict[str, np.ndarray]  # by study, counts before normalisation in HISTOGRAM_EDGES; empty if not recorded


@contextmanager
def open_prepared(path: Path) -> Iterator[tuple[Expression, Prepared]]:
    """Opens a prepared file as one table, whose rows are landmarks and then targets: log2, NaN for missing values.

    A gene that is both a landmark and a target has two rows.

    Raises:
      DgexError: as ``read_reference``; a part of the file is missing, damaged, or does not fit the others.
    """
    reference = read_reference(path)
    genes = reference.landmark_genes.ensembl + reference.target_genes.ensembl
    with stream_hdf5(path) as file:
        with reading(path):
            sides = [dataset_at(file, name) for name in ("landmark", "target")]
            members = [dataset_at(file, name) for name in ("split", "sample/id", "sample/study")]
            try:
                split, sample_id, study = members[0][:], *(member.asstr()[:].astype(str) for member in members[1:])
                schema = int(file.attrs["schema_version"])
                prepared = Prepared(schema, reference, split, *_provenance(file), _before(file))
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                raise DgexError(f"{path}: has a damaged description of its samples; {PREPARE_AGAIN}") from error
        widths = len(reference.landmark_genes), len(reference.target_genes)
        if any(side.shape != (len(split), width) for side, width in zip(sides, widths, strict=True)) or not (
            len(split) == len(sample_id) == len(study) > 0 and prepared.before.keys() <= set(study.tolist())
        ):
            raise DgexError(
                f"{path}: its {len(sample_id)} samples and {len(genes)} genes do not fit its values; {PREPARE_AGAIN}"
            )

        missing = read_missing(file, reference)

        def blocks(most: int) -> Iterator[Block]:
            step = max(1, most // len(genes))
            for first in range(0, len(split), step):
                samples = slice(first, min(first + step, len(split)))
                with reading(path):
                    values = np.hstack([side[samples] for side in sides])
                values[missing.of(samples, len(genes))] = np.nan
                yield samples, slice(0, len(genes)), values

        kind = f"prepared data set, schema {schema}"
        yield Expression(genes, tuple(sample_id.tolist()), blocks, {}, {"study_id": study}, kind), prepared


def _provenance(file: h5py.File) -> tuple[int, str, dict[str, str], dict[str, str], dict[str, Any], Report | None]:
    """Reads the provenance: the fields of ``Prepared`` from ``seed`` to ``report``."""
    documents = file.attrs["sources"], file.attrs["versions"], dataset_at(file, "preparation").asstr()[()]
    sources, versions, preparation = (dict(json.loads(document)) for document in documents)
    needed = {field.name for field in fields(Report) if field.default is MISSING}
    known = {field.name: preparation[field.name] for field in fields(Report) if field.name in preparation}
    report = Report(**known) if known.keys() >= needed else None
    return int(file.attrs["seed"]), str(file.attrs["command"]), sources, versions, preparation, report


def _before(file: h5py.File) -> dict[str, np.ndarray]:
    """Reads each study's histogram from before normalisation."""
    if "before" not in file:
        return {}
    study = dataset_at(file, "before/study").asstr()[:].tolist()
    counts = dataset_at(file, "before/counts")[:].astype(np.int64)
    if counts.shape != (len(study), len(HISTOGRAM_EDGES) - 1):
        raise ValueError(f"/before/counts has shape {counts.shape}")
    return dict(zip(study, counts, strict=True))
