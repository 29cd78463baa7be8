"""Reads the prepared data set, the HDF5 file that data preparation makes for training, and checks what it holds.

Its layout is that of ``dgex.data.dataset_members``.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dgex.data.dataset_members import (
    MEMBERS,
    PREPARE_AGAIN,
    SINCE_3,
    axes_of,
    known_members,
    open_prepared,
    provenance_of,
    read_members,
    refuse,
)
from dgex.data.genes import Genes, overlap
from dgex.data.missing import Missing, mark_missing
from dgex.data.normalization import Moments, Scaler
from dgex.data.platforms import Platforms, standardize_by_platform
from dgex.data.stored import Matrix, Standardise, Stored, stored
from dgex.errors import DgexError
from dgex.files.memory import machine_memory
from dgex.formats.content import first_bytes, reading
from dgex.formats.expression import first_repeated
from dgex.formats.hdf5 import SIGNATURE, open_hdf5

SPLITS = ("train", "validation", "test")

REFERENCE = tuple(name for name in MEMBERS if name.startswith(("gene/", "scaler/", "quantiles", "platform/")))
SIDES = ("landmark", "target")  # the members that hold the values
SAMPLES = 2048  # in a block of computation: 80 MB with D-GEX's genes


@dataclass(frozen=True)
class Reference:
    """Holds what other profiles are normalised by to match a prepared file: genes, scalers, quantiles and platforms."""

    landmark_genes: Genes
    target_genes: Genes
    landmark_scaler: Scaler
    target_scaler: Scaler
    quantiles: np.ndarray  # f4 [ranked], ascending
    platforms: Platforms

    @property
    def overlap(self) -> np.ndarray:
        """Tells which targets are also landmark genes: bool [targets]."""
        return overlap(self.landmark_genes, self.target_genes)


@dataclass(frozen=True)
class Dataset(Reference):
    """Holds a prepared data set, in memory or with its values in the file.

    Values are log2, quantile-normalised, NaN where missing.
    """

    landmark: Matrix  # f4 [samples, landmarks]
    target: Matrix  # f4 [samples, targets]
    sample_id: tuple[str, ...]  # unique
    study: tuple[str, ...]
    project: tuple[str, ...]  # "" where unknown
    platform: np.ndarray  # u1 [samples], positions in ``platforms.name``
    split: np.ndarray  # u1 [samples], positions in SPLITS
    provenance: dict[str, Any]  # the keys of ATTRIBUTES, and preparation

    def zscores(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Standardises the samples of one of ``SPLITS`` by the training scaler and their platforms' offsets.

        Args:
          split: one of ``SPLITS``.

        Returns:
          Landmarks [n, landmarks], 0 (the training mean) where missing, and targets [n, targets], NaN where missing;
          float32, C-contiguous.
        """
        landmark, target = self.zscores_of(np.flatnonzero(self.split == SPLITS.index(split)))
        return landmark[:], target[:]

    def zscores_of(self, samples: np.ndarray, targets: np.ndarray | None = None) -> tuple[Matrix, Matrix]:
        """Standardises samples as ``zscores`` does, or, if the values are in the file, prepares to when they are read.

        Args:
          samples: indices of the samples [n].
          targets: indices of the targets; None for all.
        """
        sides: list[Matrix] = []
        for side, values, genes in (("landmark", self.landmark, None), ("target", self.target, targets)):
            standardise = self._standardise(side, genes)
            if isinstance(values, Stored):
                sides.append(values.take(samples, standardise, genes))
            else:
                sides.append(standardise(values[samples], samples))
        return sides[0], sides[1]

    def _standardise(self, side: str, genes: np.ndarray | None) -> Standardise:
        """Makes the function that standardises log2 values of "landmark" or "target", and keeps these genes alone."""
        scaler, offsets = getattr(self, f"{side}_scaler"), getattr(self.platforms, side)
        if genes is not None:
            scaler, offsets = Scaler(scaler.mean[genes], scaler.sd[genes]), offsets[:, genes]

        def standardise(values: np.ndarray, samples: np.ndarray) -> np.ndarray:
            values = values if genes is None else np.take(values, genes, axis=1)
            zscores = standardize_by_platform(values, scaler, offsets, self.platform[samples])
            return np.nan_to_num(zscores, copy=False) if side == "landmark" else zscores

        return standardise

    def warnings(self) -> list[str]:
        """Lists what the user should know about the data, a line each."""
        filled = self.provenance["preparation"].get("gaps_filled", 0)
        unknown = filled - sum(
            values.count_missing() if isinstance(values, Stored) else np.count_nonzero(np.isnan(values[:]))
            for values in (self.landmark, self.target)
        )
        if unknown <= 0:
            return []
        return [
            f"{unknown:,} missing values cannot be told from measured ones, as it was prepared by an earlier version; "
            f"they count as measured, with their genes' means as values; {PREPARE_AGAIN}"
        ]


@dataclass(frozen=True)
class Shape:
    """Holds the size of a prepared data set."""

    landmarks: int
    targets: int
    samples: dict[str, int]  # by split
    studies: dict[str, int]  # by split, of its samples
    platforms: dict[str, tuple[str, ...]]  # by split, of its samples, the reference platform first


def is_prepared(path: Path) -> bool:
    """Tells by its content whether a file is a prepared data set; errors as ``first_bytes`` and ``open_hdf5``."""
    if not first_bytes(path).startswith(SIGNATURE):
        return False
    with open_hdf5(path) as file:
        return "schema_version" in file.attrs


def read_dataset(path: Path) -> Dataset:
    """Reads and checks a prepared file.

    Raises:
      DgexError: the file is missing, damaged, of another kind or schema version, its values do not fit into this
        machine's memory, or its contents contradict each other (element types, shapes, non-finite values, repeated ids,
        empty splits, a scaler not of the training split).
    """
    with open_prepared(path) as file:
        axes = axes_of(file, SIDES)
        nbytes = 4 * axes["samples"] * (axes["landmarks"] + axes["targets"])
        if nbytes > machine_memory():
            raise DgexError(
                f"{path}: has {nbytes / 2**30:.1f} GiB of values, and this machine {machine_memory() / 2**30:.1f} GiB "
                "of memory; experiments.compare and experiments.full_size train on it from the file"
            )
        sides = tuple(read_members(file, SIDES).values())
        fields, missing = _fields(file)
    for name, values in zip(SIDES, sides, strict=True):
        _check_finite(path, name, values)
    if missing.patterns.any():
        mark_missing(missing, *sides)
    dataset = Dataset(landmark=sides[0], target=sides[1], **fields)
    _check(path, dataset)
    return dataset


def open_dataset(path: Path) -> Dataset:
    """Opens and checks a prepared file whose values stay in the file, for data that do not fit into memory.

    The checks are those of ``read_dataset``, in one pass over the file, which must not change afterwards.

    Raises:
      DgexError: as ``read_dataset``, whatever the file's size; the file is gzipped. Reads of the values raise it too.
    """
    with open_prepared(path) as file:
        axes_of(file, SIDES)
        fields, missing = _fields(file)
        landmark, target = stored(path, file, missing)
    dataset = Dataset(landmark=landmark, target=target, **fields)
    _check(path, dataset)
    return dataset


def read_reference(path: Path) -> Reference:
    """Reads a prepared file's genes, scalers and quantiles, and none of its profiles; errors as ``read_dataset``."""
    with open_prepared(path) as file:
        reference = Reference(**_reference(read_members(file, known_members(file, REFERENCE))))
    _check_reference(path, reference)
    return reference


def read_missing(file: h5py.File, reference: Reference) -> Missing:
    """Reads which values of an open prepared file with these genes are missing; errors as ``read_dataset``."""
    landmark, target = reference.landmark_genes.ensembl, reference.target_genes.ensembl
    genes = len(landmark) + len(target)
    if file.attrs["schema_version"] < 3:
        preparation = provenance_of(file, read_members(file, ("preparation",))["preparation"])["preparation"]
        whole_genes = [
            np.isin(ids, list(preparation.get(f"{side}s_missing", ())))
            for side, ids in (("landmark", landmark), ("target", target))
        ]
        samples = axes_of(file, ("split",))["samples"]
        return Missing(np.packbits(np.concatenate(whole_genes))[None], np.zeros(samples, np.uint32))
    axes_of(file, ("split", *SINCE_3))
    missing = Missing(*read_members(file, SINCE_3).values())
    if missing.patterns.shape[1] != -(-genes // 8) or (missing.pattern >= len(missing.patterns)).any():
        refuse(Path(file.filename), f"/missing does not fit its {genes} genes")
    return missing


def read_provenance(path: Path) -> dict[str, Any]:
    """Reads a prepared file's ``Dataset.provenance`` and nothing else; errors as ``read_dataset``."""
    with open_prepared(path) as file:
        return provenance_of(file, read_members(file, ("preparation",))["preparation"])


def training_samples(path: Path) -> list[str]:
    """Reads the ids of a prepared file's training samples; errors as ``read_dataset``."""
    with open_prepared(path) as file:
        members = read_members(file, ("sample/id", "split"))
    training = SPLITS.index("train")
    return [name for name, split in zip(members["sample/id"], members["split"], strict=True) if split == training]


def read_shape(path: Path) -> Shape:
    """Reads the size of a prepared file, and none of its profiles; errors as ``read_provenance``."""
    with open_prepared(path) as file:
        axes = axes_of(file, ("landmark", "target", "sample/study", "split"))
        members = read_members(file, known_members(file, ("sample/study", "split", "sample/platform", "platform/name")))
    study, names = np.asarray(members["sample/study"]), members.get("platform/name", ("array",))
    platform = members.get("sample/platform", np.zeros(len(study), np.uint8))
    rows = {name: members["split"] == code for code, name in enumerate(SPLITS)}
    return Shape(
        axes["landmarks"],
        axes["targets"],
        samples={name: int(of.sum()) for name, of in rows.items()},
        studies={name: len(set(study[of].tolist())) for name, of in rows.items()},
        platforms={name: tuple(names[code] for code in np.unique(platform[of])) for name, of in rows.items()},
    )


def sha256_of(path: Path, advance: Callable[[int], object] = lambda nbytes: None) -> str:
    """Computes the SHA-256 of a file in hexadecimal, by which provenance identifies a source or a data set.

    Args:
      path: the file.
      advance: is called with the number of bytes after each piece that was read.
    """
    digest = hashlib.sha256()
    with reading(path), path.open("rb") as file:
        while piece := file.read(2**24):
            digest.update(piece)
            advance(len(piece))
    return digest.hexdigest()


def _fields(file: h5py.File) -> tuple[dict[str, Any], Missing]:
    """Reads the fields of a ``Dataset`` but its values from an open file, and which of these are missing."""
    others = [name for name in MEMBERS if name not in (*SIDES, *SINCE_3)]
    members = read_members(file, known_members(file, others), axes_of(file, SIDES))
    provenance = provenance_of(file, members.pop("preparation"))
    reference = Reference(**_reference(members))
    samples = len(members["sample/id"])
    fields = vars(reference) | {
        "sample_id": members["sample/id"],
        "study": members["sample/study"],
        "project": members.get("sample/project", ("",) * samples),
        "platform": members.get("sample/platform", np.zeros(samples, np.uint8)),
        "split": members["split"],
        "provenance": provenance,
    }
    return fields, read_missing(file, reference)


def _reference(members: dict[str, Any]) -> dict[str, Any]:
    """Makes the fields of a ``Reference`` from the members of a file."""
    fields: dict[str, Any] = {"quantiles": members["quantiles"]}
    for side in ("landmark", "target"):
        fields[f"{side}_genes"] = Genes(*(members[f"gene/{side}/{field}"] for field in ("ensembl", "symbol", "probes")))
        fields[f"{side}_scaler"] = Scaler(*(members[f"scaler/{side}/{field}"] for field in ("mean", "sd")))
    sizes = (len(fields[f"{side}_genes"].ensembl) for side in ("landmark", "target"))
    fields["platforms"] = (
        Platforms(*(members[f"platform/{field}"] for field in ("name", "landmark", "target")))
        if "platform/name" in members
        else Platforms.single(next(sizes), next(sizes))
    )
    return fields


def _fitted(values: Matrix, fit: np.ndarray, legacy: bool) -> Scaler:
    """Fits a scaler to the samples ``fit``, bool [samples], block by block; all are read, so that all are checked."""
    moments = Moments(np.nan_to_num(values[:1][0]))
    for first in range(0, len(values), SAMPLES):
        moments.add(values[first : first + SAMPLES][fit[first : first + SAMPLES]])
    return moments.scaler(legacy)


def _check_reference(path: Path, reference: Reference) -> None:
    """Refuses repeated Ensembl ids, unusable scalers, and quantiles that are not ascending."""
    for side, genes, scaler in (
        ("landmark", reference.landmark_genes, reference.landmark_scaler),
        ("target", reference.target_genes, reference.target_scaler),
    ):
        if repeated := first_repeated(genes.ensembl):
            refuse(path, f"/gene/{side}/ensembl holds {repeated} twice")
        for name, values in vars(scaler).items():
            _check_finite(path, f"scaler/{side}/{name}", values)
        if not (scaler.sd > 0).all():
            refuse(path, f"/scaler/{side}/sd is not positive")
    _check_finite(path, "quantiles", reference.quantiles)
    for side in ("landmark", "target"):
        _check_finite(path, f"platform/{side}", vars(reference.platforms)[side])
    if not reference.platforms.name or first_repeated(reference.platforms.name):
        refuse(path, "/platform/name holds no platform, or one twice")
    if not len(reference.quantiles) or not (np.diff(reference.quantiles) >= 0).all():
        refuse(path, "/quantiles are not ascending")


def _check_finite(path: Path, name: str, values: np.ndarray) -> None:
    """Refuses a member with NaN or infinite values."""
    if not np.isfinite(values).all():
        refuse(path, f"/{name} holds NaN or infinite values")


def _check(path: Path, dataset: Dataset) -> None:
    """Refuses a data set whose contents contradict each other."""
    _check_reference(path, dataset)
    if repeated := first_repeated(dataset.sample_id):
        refuse(path, f"/sample/id holds {repeated} twice")
    if not np.isin(dataset.split, range(len(SPLITS))).all():
        refuse(path, f"/split holds other values than 0 to {len(SPLITS) - 1}")
    if (dataset.platform >= len(dataset.platforms.name)).any():
        refuse(path, f"/sample/platform holds other values than 0 to {len(dataset.platforms.name) - 1}")
    preparation = dataset.provenance["preparation"]
    mapped, legacy = "onto" in preparation, preparation.get("legacy", False)
    for code, split in enumerate(SPLITS):
        if not mapped and not (dataset.split == code).any():
            refuse(path, f"there are no {split} samples")
    fit = np.full(len(dataset.split), True) if legacy else dataset.split == SPLITS.index("train")
    fit &= dataset.platform == 0
    for side, values, scaler in (
        ("landmark", dataset.landmark, dataset.landmark_scaler),
        ("target", dataset.target, dataset.target_scaler),
    ):
        if not mapped:
            fitted = _fitted(values, fit, legacy)
            # The tolerance is far above the float32 rounding of log2 values, and far below the differences between the
            # scalers of two splits.
            if not (np.allclose(fitted.mean, scaler.mean, atol=1e-4) and np.allclose(fitted.sd, scaler.sd, atol=1e-4)):
                refuse(path, f"/scaler/{side} is not that of the {'' if legacy else 'training '}samples")
