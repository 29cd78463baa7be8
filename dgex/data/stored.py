"""Profiles that stay in their prepared file: they are read, checked and standardised whenever they are used."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from dgex.data.dataset_members import open_prepared, refuse
from dgex.data.missing import Missing
from dgex.errors import DgexError
from dgex.formats.content import is_gzip, reading

# Standardises values [samples, genes] of the samples at these positions in the file.
Standardise = Callable[[np.ndarray, np.ndarray], np.ndarray]
Stamp = tuple[int, int, int]


class Matrix(Protocol):
    """Is a float32 matrix ``[samples, genes]`` of which samples are taken by an index, in memory or in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, samples: Any, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Stored:
    """Holds a matrix of a prepared file that stays in the file; an index, as of an array's first axis, reads it.

    Every read checks HDF5's checksums, that the values are finite, and that the file is still the one that was opened.

    Attributes:
      path: the prepared file.
      name: its member, "landmark" or "target".
      first: where its genes begin among landmarks and then targets.
      rows: the positions of the samples in the file, int ``[samples]``.
      genes: number of genes, after ``standardise``.
      depth: samples in a chunk of the member, which HDF5 reads whole.
      missing: the missing values of all of the file's samples.
      stamp: what tells the file from a changed one.
      standardise: is applied to what is read, a chunk at a time; None leaves log2 values, NaN where missing.
    """

    path: Path
    name: str
    first: int
    rows: np.ndarray
    genes: int
    depth: int
    missing: Missing
    stamp: Stamp
    standardise: Standardise | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Gives the numbers of samples and genes."""
        return len(self.rows), self.genes

    @property
    def dtype(self) -> np.dtype:
        """Gives the element type of what is read."""
        return np.dtype(np.float32)

    @property
    def chunk(self) -> np.ndarray:
        """Numbers the chunk of the file that each sample lies in, int ``[samples]``."""
        return self.rows // self.depth

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, samples: np.ndarray, standardise: Standardise, genes: np.ndarray | None) -> "Stored":
        """Selects samples by their indices, to be standardised, and left with these genes alone, when they are read."""
        number = self.genes if genes is None else len(genes)
        return replace(self, rows=self.rows[samples], genes=number, standardise=standardise)

    def __getitem__(self, samples: Any) -> np.ndarray:
        """Reads samples by an index, as of an array, and each chunk of the file once; float32, C-contiguous.

        Raises:
          DgexError: the file cannot be read, is damaged or has changed since it was opened.
        """
        shape = self.rows[samples].shape
        rows = self.rows[samples].ravel()
        values = np.empty((len(rows), self.genes), np.float32)
        ascending = np.argsort(rows, kind="stable")
        ends = np.flatnonzero(np.diff(rows[ascending] // self.depth)) + 1
        self._check_unchanged()
        with open_prepared(self.path) as file:
            member = file[self.name]
            for part in np.split(ascending, ends) if len(rows) else ():
                values[part] = self._read(member, rows[part])
        self._check_unchanged()
        return values.reshape(*shape, self.genes)

    def count_missing(self) -> int:
        """Counts the missing values of all of the file's samples."""
        genes = np.unpackbits(self.missing.patterns, axis=1)[:, self.first : self.first + self.genes]
        return int(genes.sum(axis=1, dtype=np.int64)[self.missing.pattern].sum())

    def _read(self, member: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
        """Reads samples of one chunk, at ascending positions."""
        values = member[rows[0] : rows[-1] + 1].astype(np.float32, copy=False)[rows - rows[0]]
        if not np.isfinite(values).all():
            refuse(self.path, f"/{self.name} holds NaN or infinite values")
        if self.missing.patterns.any():
            end = self.first + values.shape[1]
            values[self.missing.of(rows, end)[:, self.first :]] = np.nan
        return values if self.standardise is None else self.standardise(values, rows)

    def _check_unchanged(self) -> None:
        """Refuses a file that has been written to, or replaced, since it was opened."""
        if stamp_of(self.path) != self.stamp:
            raise DgexError(f"{self.path}: has changed while it was in use; leave it as it is, and start again")


def stamp_of(path: Path) -> Stamp:
    """Takes what tells a file from a changed or another one: its number on the disk, its size and when it changed.

    Raises:
      DgexError: there is no such file.
    """
    with reading(path):
        found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def stored(path: Path, file: h5py.File, missing: Missing) -> tuple[Stored, Stored]:
    """Makes the landmarks and targets of an open prepared file, whose members have been checked.

    Raises:
      DgexError: the file is gzipped, so that it cannot be read in any order.
    """
    if is_gzip(path):
        raise DgexError(f"{path}: is gzipped, and too large to be held in memory; unpack it with gunzip")
    stamp, first, sides = stamp_of(path), 0, []
    for name in ("landmark", "target"):
        samples, genes = file[name].shape
        depth = (file[name].chunks or (1,))[0]
        sides.append(Stored(path, name, first, np.arange(samples), genes, depth, missing, stamp))
        first += genes
    return sides[0], sides[1]
