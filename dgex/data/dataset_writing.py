"""Writes prepared data sets, the HDF5 files that ``dgex.data.dataset`` describes and reads."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dgex.data.dataset import Dataset, Reference
from dgex.data.dataset_members import ATTRIBUTES, MEMBERS, SCHEMA_VERSION
from dgex.data.missing import Missing
from dgex.formats.hdf5 import create_hdf5


class Writer:
    """Writes a prepared file: profiles in blocks, in order, and then what was fitted to them."""

    def __init__(self, file: h5py.File, samples: int, landmarks: int, targets: int) -> None:
        """Creates the two matrices in an open file.

        Args:
          file: an HDF5 file open for writing.
          samples: number of samples.
          landmarks: number of landmark genes.
          targets: number of target genes.
        """
        self._file = file
        self._sides = [
            # A chunk holds whole profiles, about a megabyte of them, since readers want blocks of samples. Their number
            # is a power of two, so that a caller whose blocks are a larger power of two never writes part of a chunk.
            file.create_dataset(
                name, (samples, genes), "f4", chunks=(min(samples, _chunk_rows(genes)), genes), fletcher32=True
            )
            for name, genes in (("landmark", landmarks), ("target", targets))
        ]
        self._landmarks = landmarks

    def write(self, samples: slice, values: np.ndarray) -> None:
        """Writes the log2 values [samples, landmarks + targets] of some samples."""
        self._sides[0][samples] = values[:, : self._landmarks]
        self._sides[1][samples] = values[:, self._landmarks :]

    def read(self, samples: slice) -> np.ndarray:
        """Reads the values of some samples back, [samples, landmarks + targets]."""
        return np.hstack([side[samples] for side in self._sides])

    def finish(
        self,
        reference: Reference,
        sample_id: Sequence[str],
        study: Sequence[str],
        project: Sequence[str],
        platform: np.ndarray,
        split: np.ndarray,
        missing: Missing,
        provenance: dict[str, Any],
        before: dict[str, np.ndarray] | None = None,
    ) -> None:
        """Writes everything but the two matrices.

        Args:
          reference: genes, scalers, quantiles and platforms.
          sample_id: unique names of the samples.
          study: the study of each sample.
          project: the project of each sample, "" where unknown.
          platform: positions in ``reference.platforms.name``, u1 [samples].
          split: positions in ``SPLITS``, u1 [samples].
          missing: which of the values are missing, so that the genes' means were written instead.
          provenance: the keys of ``ATTRIBUTES``, and "preparation".
          before: for each study its counts in ``HISTOGRAM_EDGES`` before normalisation, if known.
        """
        for name, values in _other_members(
            reference, sample_id, study, project, platform, split, missing, provenance
        ).items():
            self._create(name, values, MEMBERS[name][0])
        if before:
            self._create("before/study", tuple(before), "str")
            self._create("before/counts", np.stack(list(before.values())), "u8")
        self._file.attrs["schema_version"] = SCHEMA_VERSION
        for key in ATTRIBUTES:
            value = provenance[key]
            self._file.attrs[key] = json.dumps(value, sort_keys=True) if isinstance(value, dict) else value

    def _create(self, name: str, values: Any, kind: str) -> None:
        """Creates a member of an element type of ``MEMBERS``."""
        if kind == "str":
            values = values if isinstance(values, str) else list(values)
            self._file.create_dataset(name, data=values, dtype=h5py.string_dtype())
        else:
            self._file.create_dataset(name, data=values, dtype=kind)


@contextmanager
def create_dataset(path: Path, samples: int, landmarks: int, targets: int) -> Iterator[Writer]:
    """Opens a prepared file for writing, which becomes ``path`` if the ``with`` block ends without an error.

    Equal contents give equal bytes.

    Args:
      path: the file to make.
      samples: number of samples.
      landmarks: number of landmark genes.
      targets: number of target genes.

    Raises:
      DgexError: the folder cannot be written to, or the disk is full.
    """
    with create_hdf5(path, 4 * samples * (landmarks + targets)) as file:
        yield Writer(file, samples, landmarks, targets)


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Writes a data set that is in memory; errors as ``create_dataset``."""
    (samples, landmarks), targets = dataset.landmark.shape, dataset.target.shape[1]
    values = np.hstack([dataset.landmark[:], dataset.target[:]])
    offsets = np.hstack([dataset.platforms.landmark, dataset.platforms.target])
    mean = np.concatenate([dataset.landmark_scaler.mean, dataset.target_scaler.mean]) + offsets[dataset.platform]
    with create_dataset(path, samples, landmarks, targets) as writer:
        writer.write(slice(0, samples), np.where(np.isnan(values), mean, values))
        missing = Missing.among(values)
        writer.finish(
            dataset, dataset.sample_id, dataset.study, dataset.project, dataset.platform, dataset.split, missing,
            dataset.provenance,
        )  # fmt: skip


def _chunk_rows(genes: int) -> int:
    """Computes the number of profiles in a chunk: the largest power of two that makes no more than a megabyte."""
    return 1 << max(0, (2**20 // (4 * genes)).bit_length() - 1)


def _other_members(
    reference: Reference,
    sample_id: Sequence[str],
    study: Sequence[str],
    project: Sequence[str],
    platform: np.ndarray,
    split: np.ndarray,
    missing: Missing,
    provenance: dict[str, Any],
) -> dict[str, Any]:
    """Collects every member but the two matrices, by name."""
    members = {
        "sample/id": sample_id,
        "sample/study": study,
        "sample/project": project,
        "sample/platform": platform,
        "split": split,
        **{f"missing/{field}": values for field, values in vars(missing).items()},
        "quantiles": reference.quantiles,
        **{f"platform/{field}": values for field, values in vars(reference.platforms).items()},
        "preparation": json.dumps(provenance["preparation"], sort_keys=True),
    }
    for side, genes, scaler in (
        ("landmark", reference.landmark_genes, reference.landmark_scaler),
        ("target", reference.target_genes, reference.target_scaler),
    ):
        members |= {f"gene/{side}/{field}": values for field, values in vars(genes).items()}
        members |= {f"scaler/{side}/{field}": values for field, values in vars(scaler).items()}
    return members
