"""Defines the members of a prepared file, the HDF5 file that data preparation makes for training, and reads them.

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

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from dgex.errors import DgexError
from dgex.formats.hdf5 import dataset_at, open_hdf5

SCHEMA_VERSION = 4
READABLE = (2, 3, SCHEMA_VERSION)

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
PREPARE_AGAIN = "prepare it again with `python -m data_prep prepare`"


@contextmanager
def open_prepared(path: Path) -> Iterator[h5py.File]:
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


def known_members(file: h5py.File, names: Collection[str]) -> list[str]:
    """Leaves out the members that the schema of the file does not have yet."""
    return [name for name in names if name not in SINCE_4 or file.attrs["schema_version"] >= 4]


def axes_of(file: h5py.File, names: Collection[str], known: Mapping[str, int] | None = None) -> dict[str, int]:
    """Checks the types and shapes of these members, not their values, and gives the lengths of their axes.

    Lengths that are ``known`` already, of other members, must be the same.
    """
    lengths = dict(known or {})
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


def read_members(file: h5py.File, names: Collection[str], known: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Reads these members, checked by ``axes_of``: arrays, tuples of texts, or one text."""
    axes_of(file, names, known)
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


def provenance_of(file: h5py.File, preparation: str) -> dict[str, Any]:
    """Reads ``Dataset.provenance`` from the attributes and the JSON text of the preparation."""
    try:
        seed, command, *documents = (file.attrs[key] for key in ATTRIBUTES)
        values = [int(seed), str(command), *map(json.loads, [*documents, preparation])]
        if not isinstance(values[-1], dict):
            raise TypeError("preparation is no JSON object")
        return dict(zip([*ATTRIBUTES, "preparation"], values, strict=True))
    except (KeyError, ValueError, TypeError) as error:
        raise DgexError(f"{file.filename}: has incomplete provenance; {PREPARE_AGAIN}") from error


def refuse(path: Path, problem: str) -> NoReturn:
    """Raises the error that a prepared file has a problem and is to be prepared again."""
    raise DgexError(f"{path}: {problem}; {PREPARE_AGAIN}")
