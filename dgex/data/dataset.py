"""Reads the prepared data set, the HDF5 file that data preparation makes for training.

/landmark [samples, landmarks] f4, /target [samples, targets] f4      log2, quantile-normalised, not standardised; a
                                                                      missing value is the gene's mean of the scaler
/missing/patterns [patterns, bytes] u1, /missing/pattern [samples] u4 which values are missing: bits set in
                                                                      ``numpy.packbits`` of landmarks and then targets
/sample/id, /sample/study, /sample/project [samples]                  strings; a project holds one study or more
/sample/platform [samples] u1                                         positions in /platform/name
/split [samples] u1                                                   0 train, 1 validation, 2 test
/gene/{landmark,target}/{ensembl,symbol,probes}                       strings
/scaler/{landmark,target}/{mean,sd} f4, /quantiles [ranked] f4        log2, from the training split of the reference
                                                                      platform alone
/platform/name [platforms]                                            strings, the reference platform first
/platform/{landmark,target} [platforms, genes] f4                     log2 offsets: ``dgex.data.platforms``
/preparation                                                          JSON: what was done, what was left out
/before/study [studies] strings, /before/counts [studies, bins] u8    optional: gene values before normalisation
attributes: schema_version, seed, command, and as JSON sources (file name: sha256), versions

A cohort that was mapped onto another prepared file has that file's genes, scaler and quantiles, and only test samples;
its ``preparation`` has the file's sha256 under ``onto``. Where ``preparation`` has a true ``legacy``, quantiles and
scaler are fitted on all samples.

Schema 3 had no platforms and projects; its files are of one platform, "array". Schema 2 had no ``/missing`` either; of
the missing values in its files only those of whole genes, which their ``preparation`` lists, are known. Both are read.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from dgex.data.genes import Genes, overlap
from dgex.data.missing import Missing, mark_missing
from dgex.data.normalization import Moments, Scaler
from dgex.data.platforms import Platforms, standardize_by_platform
from dgex.errors import DgexError
from dgex.formats.content import first_bytes, reading
from dgex.formats.expression import first_repeated
from dgex.formats.hdf5 import SIGNATURE, dataset_at, open_hdf5

SCHEMA_VERSION = 4
READABLE = (2, 3, SCHEMA_VERSION)
SPLITS = ("train", "validation", "test")

# Every member's element type and axes; an axis has one length throughout the file.
MEMBERS = {
    "landmark": ("f4", ("samples", "landmarks")),
    "target": ("f4", ("samples", "targets")),
    "missing/patterns": ("u1", ("patterns", "bytes")),
    "missing/pattern": ("u4", ("samples",)),
    "sample/id": ("str", ("samples",)),
    "sample/study": ("str", ("samples",)),
    "sample/project": ("str", ("samples",)),
    "sample/platform": ("u1", ("samples",)),
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
    "platform/name": ("str", ("platforms",)),
    "platform/landmark": ("f4", ("platforms", "landmarks")),
    "platform/target": ("f4", ("platforms", "targets")),
    "preparation": ("str", ()),  # not an attribute: it lists samples and genes, and attributes end at 64 KiB
}
SINCE_3 = tuple(name for name in MEMBERS if name.startswith("missing/"))
SINCE_4 = ("sample/project", "sample/platform", "platform/name", "platform/landmark", "platform/target")
ATTRIBUTES = ("seed", "command", "sources", "versions")
# Of the optional histograms of values before normalisation, in log2 units; what lies outside counts into the end bins.
HISTOGRAM_EDGES = np.linspace(-2, 20, 221)
REFERENCE = tuple(name for name in MEMBERS if name.startswith(("gene/", "scaler/", "quantiles", "platform/")))
PREPARE_AGAIN = "prepare it again with `python -m data_prep prepare`"
SAMPLES = 256  # in a block of computation


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
    """Holds a prepared data set in memory; values are log2, quantile-normalised, NaN where missing."""

    landmark: np.ndarray  # f4 [samples, landmarks]
    target: np.ndarray  # f4 [samples, targets]
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
        rows = self.split == SPLITS.index(split)
        offsets, platform = self.platforms, self.platform[rows]
        return (
            np.nan_to_num(
                standardize_by_platform(self.landmark[rows], self.landmark_scaler, offsets.landmark, platform),
                copy=False,
            ),
            standardize_by_platform(self.target[rows], self.target_scaler, offsets.target, platform),
        )

    def warnings(self) -> list[str]:
        """Lists what the user should know about the data, a line each."""
        filled = self.provenance["preparation"].get("gaps_filled", 0)
        unknown = filled - sum(np.count_nonzero(np.isnan(values)) for values in (self.landmark, self.target))
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
      DgexError: the file is missing, damaged, of another kind or schema version, or its contents contradict each other
        (element types, shapes, non-finite values, repeated ids, empty splits, a scaler not of the training split).
    """
    with _open(path) as file:
        members = _read_members(file, _known(file, [name for name in MEMBERS if name not in SINCE_3]))
        provenance = _read_provenance(file, members.pop("preparation"))
        reference = Reference(**_reference(members))
        missing = read_missing(file, reference)
    sides = members["landmark"], members["target"]
    for name, values in zip(("landmark", "target"), sides, strict=True):
        _check_finite(path, name, values)
    if missing.patterns.any():
        mark_missing(missing, *sides)
    dataset = Dataset(
        **vars(reference),
        landmark=members["landmark"],
        target=members["target"],
        sample_id=members["sample/id"],
        study=members["sample/study"],
        project=members.get("sample/project", ("",) * len(members["sample/id"])),
        platform=members.get("sample/platform", np.zeros(len(members["sample/id"]), np.uint8)),
        split=members["split"],
        provenance=provenance,
    )
    _check(path, dataset)
    return dataset


def read_reference(path: Path) -> Reference:
    """Reads a prepared file's genes, scalers and quantiles, and none of its profiles; errors as ``read_dataset``."""
    with _open(path) as file:
        reference = Reference(**_reference(_read_members(file, _known(file, REFERENCE))))
    _check_reference(path, reference)
    return reference


def read_missing(file: h5py.File, reference: Reference) -> Missing:
    """Reads which values of an open prepared file with these genes are missing; errors as ``read_dataset``."""
    landmark, target = reference.landmark_genes.ensembl, reference.target_genes.ensembl
    genes = len(landmark) + len(target)
    if file.attrs["schema_version"] < 3:
        preparation = _read_provenance(file, _read_members(file, ("preparation",))["preparation"])["preparation"]
        whole_genes = [
            np.isin(ids, list(preparation.get(f"{side}s_missing", ())))
            for side, ids in (("landmark", landmark), ("target", target))
        ]
        samples = _axes(file, ("split",))["samples"]
        return Missing(np.packbits(np.concatenate(whole_genes))[None], np.zeros(samples, np.uint32))
    _axes(file, ("split", *SINCE_3))
    missing = Missing(*_read_members(file, SINCE_3).values())
    if missing.patterns.shape[1] != -(-genes // 8) or (missing.pattern >= len(missing.patterns)).any():
        _refuse(Path(file.filename), f"/missing does not fit its {genes} genes")
    return missing


def read_provenance(path: Path) -> dict[str, Any]:
    """Reads a prepared file's ``Dataset.provenance`` and nothing else; errors as ``read_dataset``."""
    with _open(path) as file:
        return _read_provenance(file, _read_members(file, ("preparation",))["preparation"])


def training_samples(path: Path) -> list[str]:
    """Reads the ids of a prepared file's training samples; errors as ``read_dataset``."""
    with _open(path) as file:
        members = _read_members(file, ("sample/id", "split"))
    training = SPLITS.index("train")
    return [name for name, split in zip(members["sample/id"], members["split"], strict=True) if split == training]


def read_shape(path: Path) -> Shape:
    """Reads the size of a prepared file, and none of its profiles; errors as ``read_provenance``."""
    with _open(path) as file:
        axes = _axes(file, ("landmark", "target", "sample/study", "split"))
        members = _read_members(file, _known(file, ("sample/study", "split", "sample/platform", "platform/name")))
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


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """Opens a prepared file of a readable schema version; a DgexError for any other file."""
    with open_hdf5(path) as file:
        if "0/DATA" in file:
            raise DgexError(f"{path}: is a GCTX file; turn it into a data set with `python -m data_prep prepare`")
        version = file.attrs.get("schema_version")
        if version is None:
            raise DgexError(f"{path}: is not a prepared data set; make one with `python -m data_prep prepare`")
        if not any(np.array_equal(version, readable) for readable in READABLE):
            raise DgexError(
                f"{path}: has schema version {version}, this dgex reads up to {SCHEMA_VERSION}; {PREPARE_AGAIN}"
            )
        yield file


def _known(file: h5py.File, names: Collection[str]) -> list[str]:
    """Leaves out the members that the schema of the file does not have yet."""
    return [name for name in names if name not in SINCE_4 or file.attrs["schema_version"] >= 4]


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


def _axes(file: h5py.File, names: Collection[str]) -> dict[str, int]:
    """Checks the types and shapes of these members, not their values, and gives the lengths of their axes."""
    lengths: dict[str, int] = {}
    for name in names:
        kind, axes = MEMBERS[name]
        member = dataset_at(file, name)
        actual = "str" if h5py.check_string_dtype(member.dtype) else member.dtype.str[1:]
        if actual != kind:
            raise DgexError(f"{file.filename}: /{name} holds {actual} where {kind} belongs; {PREPARE_AGAIN}")
        if member.ndim != len(axes) or any(
            lengths.setdefault(axis, length) != length for axis, length in zip(axes, member.shape, strict=True)
        ):
            raise DgexError(
                f"{file.filename}: /{name} has shape {member.shape}, against [{', '.join(axes)}] of {lengths}; "
                f"{PREPARE_AGAIN}"
            )
    return lengths


def _read_members(file: h5py.File, names: Collection[str]) -> dict[str, Any]:
    """Reads these members, checked by ``_axes``: arrays, tuples of texts, or one text."""
    _axes(file, names)
    members: dict[str, Any] = {}
    for name in names:
        kind, axes = MEMBERS[name]
        member = file[name]
        try:
            values = member.asstr()[()] if kind == "str" else member[()].astype(kind, copy=False)
        except UnicodeDecodeError as error:
            raise DgexError(f"{file.filename}: /{name} is not text; {PREPARE_AGAIN}") from error
        members[name] = tuple(values) if kind == "str" and axes else values
    return members


def _read_provenance(file: h5py.File, preparation: str) -> dict[str, Any]:
    """Reads ``Dataset.provenance`` from the attributes and the JSON text of the preparation."""
    try:
        seed, command, *documents = (file.attrs[key] for key in ATTRIBUTES)
        values = [int(seed), str(command), *map(json.loads, [*documents, preparation])]
        if not isinstance(values[-1], dict):
            raise TypeError("preparation is no JSON object")
        return dict(zip([*ATTRIBUTES, "preparation"], values, strict=True))
    except (KeyError, ValueError, TypeError) as error:
        raise DgexError(f"{file.filename}: has incomplete provenance; {PREPARE_AGAIN}") from error


def _fitted(values: np.ndarray, fit: np.ndarray, legacy: bool) -> Scaler:
    """Fits a scaler to the samples ``fit``, bool [samples], block by block so that they need not be copied."""
    moments = Moments(np.nan_to_num(values[0]))
    for first in range(0, len(values), SAMPLES):
        moments.add(values[first : first + SAMPLES][fit[first : first + SAMPLES]])
    return moments.scaler(legacy)


def _refuse(path: Path, problem: str) -> NoReturn:
    """Raises the error that a prepared file has a problem and is to be prepared again."""
    raise DgexError(f"{path}: {problem}; {PREPARE_AGAIN}")


def _check_reference(path: Path, reference: Reference) -> None:
    """Refuses repeated Ensembl ids, unusable scalers, and quantiles that are not ascending."""
    for side, genes, scaler in (
        ("landmark", reference.landmark_genes, reference.landmark_scaler),
        ("target", reference.target_genes, reference.target_scaler),
    ):
        if repeated := first_repeated(genes.ensembl):
            _refuse(path, f"/gene/{side}/ensembl holds {repeated} twice")
        for name, values in vars(scaler).items():
            _check_finite(path, f"scaler/{side}/{name}", values)
        if not (scaler.sd > 0).all():
            _refuse(path, f"/scaler/{side}/sd is not positive")
    _check_finite(path, "quantiles", reference.quantiles)
    for side in ("landmark", "target"):
        _check_finite(path, f"platform/{side}", vars(reference.platforms)[side])
    if not reference.platforms.name or first_repeated(reference.platforms.name):
        _refuse(path, "/platform/name holds no platform, or one twice")
    if not len(reference.quantiles) or not (np.diff(reference.quantiles) >= 0).all():
        _refuse(path, "/quantiles are not ascending")


def _check_finite(path: Path, name: str, values: np.ndarray) -> None:
    """Refuses a member with NaN or infinite values."""
    if not np.isfinite(values).all():
        _refuse(path, f"/{name} holds NaN or infinite values")


def _check(path: Path, dataset: Dataset) -> None:
    """Refuses a data set whose contents contradict each other."""
    _check_reference(path, dataset)
    if repeated := first_repeated(dataset.sample_id):
        _refuse(path, f"/sample/id holds {repeated} twice")
    if not np.isin(dataset.split, range(len(SPLITS))).all():
        _refuse(path, f"/split holds other values than 0 to {len(SPLITS) - 1}")
    if (dataset.platform >= len(dataset.platforms.name)).any():
        _refuse(path, f"/sample/platform holds other values than 0 to {len(dataset.platforms.name) - 1}")
    preparation = dataset.provenance["preparation"]
    mapped, legacy = "onto" in preparation, preparation.get("legacy", False)
    for code, split in enumerate(SPLITS):
        if not mapped and not (dataset.split == code).any():
            _refuse(path, f"there are no {split} samples")
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
                _refuse(path, f"/scaler/{side} is not that of the {'' if legacy else 'training '}samples")
