"""The prepared data set: one HDF5 file between data preparation and training.

/landmark [samples, landmarks] f4, /target [samples, targets] f4      log2, quantile-normalised, not standardised
/sample/id, /sample/study [samples]                                   strings
/split [samples] u1                                                   0 train, 1 validation, 2 test
/gene/{landmark,target}/{ensembl,symbol,probes}                       strings
/scaler/{landmark,target}/{mean,sd} f4, /quantiles [ranked] f4        log2, from the training split alone
attributes: schema_version, seed, command, and as JSON sources (file name: sha256), versions, preparation
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dgex.errors import DgexError
from dgex.formats.hdf5 import create_hdf5, dataset_at, open_hdf5
from dgex.formats.matrix import first_repeated
from dgex.genes import Genes, overlap
from dgex.normalization import Scaler, fit_scaler, standardize

SCHEMA_VERSION = 1
SPLITS = ("train", "validation", "test")

# Every member's element type and axes; an axis has one length throughout the file.
MEMBERS = {
    "landmark": ("f4", ("samples", "landmarks")),
    "target": ("f4", ("samples", "targets")),
    "sample/id": ("str", ("samples",)),
    "sample/study": ("str", ("samples",)),
    "split": ("u1", ("samples",)),
    "gene/landmark/ensembl": ("str", ("landmarks",)),
    "gene/landmark/symbol": ("str", ("landmarks",)),
    "gene/landmark/probes": ("str", ("landmarks",)),
    "gene/target/ensembl": ("str", ("targets",)),
    "gene/target/symbol": ("str", ("targets",)),
    "gene/target/probes": ("str", ("targets",)),
    "scaler/landmark/mean": ("f4", ("landmarks",)),
    "scaler/landmark/sd": ("f4", ("landmarks",)),
    "scaler/target/mean": ("f4", ("targets",)),
    "scaler/target/sd": ("f4", ("targets",)),
    "quantiles": ("f4", ("ranked",)),
}
PROVENANCE = ("seed", "command", "sources", "versions", "preparation")
PREPARE_AGAIN = "prepare it again with `python -m data_prep prepare`"


@dataclass(frozen=True)
class Dataset:
    """A prepared data set in memory; values are log2, quantile-normalised and finite."""

    landmark: np.ndarray  # f4 [samples, landmarks]
    target: np.ndarray  # f4 [samples, targets]
    sample_id: tuple[str, ...]  # unique
    study: tuple[str, ...]
    split: np.ndarray  # u1 [samples], positions in SPLITS
    landmark_genes: Genes
    target_genes: Genes
    landmark_scaler: Scaler
    target_scaler: Scaler
    quantiles: np.ndarray  # f4 [ranked], ascending
    provenance: dict[str, Any]  # the keys of PROVENANCE

    @property
    def overlap(self) -> np.ndarray:
        """Which targets are also a landmark gene: bool [targets]."""
        return overlap(self.landmark_genes, self.target_genes)

    def zscores(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """The samples of one of ``SPLITS``, standardised by the training split's scaler.

        Returns:
          Landmarks [n, landmarks] and targets [n, targets], float32, C-contiguous.
        """
        rows = self.split == SPLITS.index(split)
        return (
            standardize(self.landmark[rows], self.landmark_scaler),
            standardize(self.target[rows], self.target_scaler),
        )


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Writes the file whole or not at all; equal data sets give equal bytes.

    Raises:
      DgexError: the folder cannot be written to, or the disk is full.
    """
    with create_hdf5(path, dataset.landmark.nbytes + dataset.target.nbytes) as file:
        for name, values in _members(dataset).items():
            kind, _ = MEMBERS[name]
            if kind == "str":
                file.create_dataset(name, data=list(values), dtype=h5py.string_dtype())
            elif values.ndim == 2:
                # Whole profiles, about a megabyte of them: blocks of samples are what readers want.
                rows = max(1, min(len(values), 2**20 // values[0].nbytes))
                file.create_dataset(name, data=values, dtype=kind, chunks=(rows, values.shape[1]), fletcher32=True)
            else:
                file.create_dataset(name, data=values, dtype=kind)
        file.attrs["schema_version"] = SCHEMA_VERSION
        for key in PROVENANCE:
            value = dataset.provenance[key]
            file.attrs[key] = json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


def read_dataset(path: Path) -> Dataset:
    """Reads and checks a prepared file.

    Raises:
      DgexError: the file is missing, damaged, of another kind or schema version, or its contents contradict each other
        (element types, shapes, non-finite values, repeated ids, empty splits, a scaler not of the training split).
    """
    with open_hdf5(path) as file:
        if "0/DATA" in file:
            raise DgexError(f"{path}: is a GCTX file; turn it into a data set with `python -m data_prep prepare`")
        version = file.attrs.get("schema_version")
        if version is None:
            raise DgexError(f"{path}: is not a prepared data set; make one with `python -m data_prep prepare`")
        if not np.array_equal(version, SCHEMA_VERSION):
            raise DgexError(f"{path}: has schema version {version}, this is dgex for {SCHEMA_VERSION}; {PREPARE_AGAIN}")
        members = _read_members(file)
        provenance = _read_provenance(file)
    dataset = Dataset(
        landmark=members["landmark"],
        target=members["target"],
        sample_id=members["sample/id"],
        study=members["sample/study"],
        split=members["split"],
        landmark_genes=Genes(*(members[f"gene/landmark/{field}"] for field in ("ensembl", "symbol", "probes"))),
        target_genes=Genes(*(members[f"gene/target/{field}"] for field in ("ensembl", "symbol", "probes"))),
        landmark_scaler=Scaler(members["scaler/landmark/mean"], members["scaler/landmark/sd"]),
        target_scaler=Scaler(members["scaler/target/mean"], members["scaler/target/sd"]),
        quantiles=members["quantiles"],
        provenance=provenance,
    )
    _check(path, dataset)
    return dataset


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal: what provenance calls a source or a data set by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _members(dataset: Dataset) -> dict[str, Any]:
    sides = {
        "landmark": (dataset.landmark_genes, dataset.landmark_scaler),
        "target": (dataset.target_genes, dataset.target_scaler),
    }
    members = {
        "landmark": dataset.landmark,
        "target": dataset.target,
        "sample/id": dataset.sample_id,
        "sample/study": dataset.study,
        "split": dataset.split,
        "quantiles": dataset.quantiles,
    }
    for side, (genes, scaler) in sides.items():
        members |= {f"gene/{side}/{field}": values for field, values in vars(genes).items()}
        members |= {f"scaler/{side}/{field}": values for field, values in vars(scaler).items()}
    return members


def _read_members(file: h5py.File) -> dict[str, Any]:
    members: dict[str, Any] = {}
    lengths: dict[str, int] = {}
    for name, (kind, axes) in MEMBERS.items():
        member = dataset_at(file, name)
        found = "str" if h5py.check_string_dtype(member.dtype) else member.dtype.str[1:]
        if found != kind:
            raise DgexError(f"{file.filename}: /{name} holds {found} where {kind} belongs; {PREPARE_AGAIN}")
        if member.ndim != len(axes) or any(
            lengths.setdefault(axis, length) != length for axis, length in zip(axes, member.shape, strict=True)
        ):
            raise DgexError(
                f"{file.filename}: /{name} has shape {member.shape}, against [{', '.join(axes)}] of {lengths}; "
                f"{PREPARE_AGAIN}"
            )
        try:
            members[name] = tuple(member.asstr()[:]) if kind == "str" else member[:].astype(kind, copy=False)
        except UnicodeDecodeError as error:
            raise DgexError(f"{file.filename}: /{name} is not text; {PREPARE_AGAIN}") from error
    return members


def _read_provenance(file: h5py.File) -> dict[str, Any]:
    try:
        seed, command, *documents = (file.attrs[key] for key in PROVENANCE)
        return dict(zip(PROVENANCE, [int(seed), str(command), *map(json.loads, documents)], strict=True))
    except (KeyError, ValueError, TypeError) as error:
        raise DgexError(f"{file.filename}: has incomplete provenance attributes; {PREPARE_AGAIN}") from error


def _check(path: Path, dataset: Dataset) -> None:
    def refuse(problem: str) -> None:
        raise DgexError(f"{path}: {problem}; {PREPARE_AGAIN}")

    for name, values in _members(dataset).items():
        if MEMBERS[name][0] == "f4" and not np.isfinite(values).all():
            refuse(f"/{name} holds NaN or infinite values")
    for name, ids in (
        ("sample/id", dataset.sample_id),
        ("gene/landmark/ensembl", dataset.landmark_genes.ensembl),
        ("gene/target/ensembl", dataset.target_genes.ensembl),
    ):
        if repeated := first_repeated(ids):
            refuse(f"/{name} holds {repeated} twice")
    if not np.isin(dataset.split, range(len(SPLITS))).all():
        refuse(f"/split holds other values than 0 to {len(SPLITS) - 1}")
    for code, split in enumerate(SPLITS):
        if not (dataset.split == code).any():
            refuse(f"there are no {split} samples")
    if not (np.diff(dataset.quantiles) >= 0).all():
        refuse("/quantiles are not ascending")
    training = dataset.split == SPLITS.index("train")
    for side, values, scaler in (
        ("landmark", dataset.landmark, dataset.landmark_scaler),
        ("target", dataset.target, dataset.target_scaler),
    ):
        if not (scaler.sd > 0).all():
            refuse(f"/scaler/{side}/sd is not positive")
        fitted = fit_scaler(values[training])
        # Far above float32 rounding of log2 values, far below the shift another split's scaler would show.
        if not (np.allclose(fitted.mean, scaler.mean, atol=1e-4) and np.allclose(fitted.sd, scaler.sd, atol=1e-4)):
            refuse(f"/scaler/{side} is not that of the training samples")
