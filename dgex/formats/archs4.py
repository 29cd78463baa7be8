"""Reads the gene counts of ARCHS4: the RNA-seq samples of GEO, all aligned alike, in one HDF5 file.

``data/expression`` is stored genes x samples, uint32, in gzip chunks that are one sample wide in version 2.5;
``meta/genes`` has Ensembl ids and symbols, ``meta/samples`` what GEO says of the samples. The human file of version 2.5
has 67,186 genes and 888,821 samples in 45 GiB. See Lachmann et al., Nat Commun 2018, doi 10.1038/s41467-018-03751-6.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from dgex.errors import DgexError
from dgex.formats.content import reading
from dgex.formats.expression import Block, Expression, plain_ids, text_column
from dgex.formats.hdf5 import dataset_at, is_filtered, read_column

KIND = "ARCHS4"
MATRIX, GENES, SAMPLES, VERSION = "data/expression", "meta/genes", "meta/samples", "meta/info/version"
ENSEMBL = "ensembl_gene", "ensembl_gene_id", "ensembl_id", "ensembl"  # what the versions call the ids
SYMBOL = "symbol", "gene_symbol"
STUDY = "study_id"
# Of each sample in the table, where the file has it.
TOLD = STUDY, "title", "source_name_ch1", "characteristics_ch1", "singlecellprobability", "data_origin"
WANTED = "give the human gene counts of version 2, human_gene_v2.5.h5 or newer"

# Takes the fields of all samples, by name, and gives the positions of those to read, ascending.
Choose = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def archs4_table(path: Path, file: h5py.File, choose: Choose | None = None) -> Expression:
    """Makes an expression table of an open ARCHS4 file; it can be read until the file is closed.

    The values are counts. Rows are named by Ensembl ids where the file has them, else by symbols. The sample field
    ``study_id`` is that of ``joined_series``.

    Args:
      path: the file, for error messages.
      file: the same file, open for reading.
      choose: chooses the samples, so that the counts of the others are not read from the disk; all by default.

    Raises:
      DgexError: the file is of version 1, of transcripts, of mouse, or not of counts; its parts do not fit together; it
        is damaged, or in compressed chunks above 256 MiB; whatever ``choose`` raises.
    """
    with reading(path):
        genes, samples = file.get(GENES), file.get(SAMPLES)
        groups = isinstance(genes, h5py.Group) and isinstance(samples, h5py.Group) and "geo_accession" in samples
        transcripts = "meta/transcripts" in file
        version = str(np.ravel(file[VERSION][()])) if VERSION in file else ""
    number = re.search(r"\d+(\.\d+)*", version)
    if transcripts or not groups or (number and not number[0].startswith("2")):
        said = f" but {number[0]}" if number else ""
        what = "holds transcripts" if transcripts else f"is not of version 2{said}"
        raise DgexError(f"{path}: is an ARCHS4 file that {what}; {WANTED}")
    with reading(path):
        naming = [name for names in (ENSEMBL, SYMBOL) for name in names if name in genes]
        matrix = dataset_at(file, MATRIX, 2)
        dtype, shape = matrix.dtype, matrix.shape
    if not naming:
        raise DgexError(f"{path}: /{GENES} has none of {', '.join((*ENSEMBL, *SYMBOL))}; {WANTED}")
    if dtype.kind not in "iu" or not all(shape):
        raise DgexError(f"{path}: /{MATRIX} is {shape} of {dtype}, not the counts of genes x samples; {WANTED}")
    row_id, *others = (_read(path, genes, name, shape[0]) for name in naming)
    fields = SampleFields(path, samples, shape[1])
    organism = fields.get("organism_ch1", row_id) if naming[0] in SYMBOL else row_id
    if str(organism[0]).startswith(("ENSMUSG", "Mus ")):
        raise DgexError(f"{path}: is an ARCHS4 file of mouse; {WANTED}")
    is_filtered(path, matrix)
    chosen = np.arange(shape[1]) if choose is None else choose(fields)
    return Expression(
        plain_ids(map(str, row_id.tolist())),
        plain_ids(map(str, fields["geo_accession"][chosen].tolist())),
        lambda most: _blocks(path, matrix, chosen, most),
        dict(zip(naming[1:], others, strict=True)),
        {name: fields[name][chosen] for name in TOLD if name in fields},
        KIND,
    )


class SampleFields(Mapping[str, np.ndarray]):
    """Gives the fields of an ARCHS4 file's samples, each read when it is asked for: together they take gigabytes."""

    def __init__(self, path: Path, group: h5py.Group, samples: int) -> None:
        """Keeps the open group ``meta/samples`` of the file ``path``, and the number of samples."""
        self._path, self._group, self._samples = path, group, samples

    def __getitem__(self, name: str) -> np.ndarray:
        if name == STUDY and "series_id" in self._group:
            return self._studies
        return _read(self._path, self._group, name, self._samples)

    def __iter__(self) -> Iterator[str]:
        return iter([STUDY] * ("series_id" in self._group) + list(self._group))

    def __len__(self) -> int:
        return len(list(iter(self)))

    @cached_property
    def _studies(self) -> np.ndarray:
        return text_column(joined_series(list(map(str, self["series_id"].tolist()))))


def joined_series(series: Sequence[str]) -> list[str]:
    """Assigns a study to each sample, so that samples with a series in common are of one study, also by way of others.

    GEO lists a sample under several series where a SuperSeries collects some, or where a later series uses it again.
    Were each such list a study of its own, the same experiment could be in the training and in the test split.

    Args:
      series: the series of each sample, joined by commas: "GSE100,GSE200".

    Returns:
      The study of each sample, named after the series with the smallest number; "" where there is none.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    lists = {text: [name.strip() for name in text.split(",") if name.strip()] for text in set(series)}
    for names in lists.values():
        first, *others = sorted({root(name) for name in names}, key=_number) or [""]
        parent.update(dict.fromkeys(others, first))
    study = {text: root(names[0]) if names else "" for text, names in lists.items()}
    return [study[text] for text in series]


def _number(series: str) -> tuple[int, str]:
    """Orders series by the number in their accession: GSE99 before GSE100."""
    return len(series), series


def _read(path: Path, group: h5py.Group, name: str, length: int) -> np.ndarray:
    """Reads a column of a group; raises KeyError if there is none, and DgexError if it has another length."""
    with reading(path):
        known = name in group
    if not known:
        raise KeyError(name)
    with reading(path):
        column = read_column(group, name)
    if len(column) != length:
        raise DgexError(f"{path}: {group.name}/{name} has {len(column)} entries, and /{MATRIX} {length}; {WANTED}")
    return column


def _blocks(path: Path, matrix: h5py.Dataset, samples: np.ndarray, most: int) -> Iterator[Block]:
    """Reads the counts of some samples from a matrix [genes, samples], each chunk of it once.

    A block consists of whole profiles if those that share chunks fit into ``most`` values, else of some of their genes.
    """
    genes = matrix.shape[0]
    group = max(1, most // genes)
    deep, wide = matrix.chunks or (genes, group)
    tall = genes if wide <= group else max(1, most // (deep * wide)) * deep
    column = samples // wide  # of chunks
    start = 0
    while start < len(samples):
        stop = min(start + group, len(samples))
        if stop < len(samples) and column[stop] == column[stop - 1]:  # whole columns: back to the last, or to the next
            back = int(np.searchsorted(column, column[stop]))
            stop = back if back > start else int(np.searchsorted(column, column[stop], "right"))
        for top in range(0, genes, tall):
            rows = slice(top, min(top + tall, genes))
            values = np.empty((stop - start, rows.stop - rows.start), np.float32)
            for part in np.split(np.arange(start, stop), np.flatnonzero(np.diff(column[start:stop])) + 1):
                first, last = int(samples[part[0]]), int(samples[part[-1]])
                with reading(path):
                    stored = matrix[rows, first : last + 1]
                values[part - start] = stored[:, samples[part] - first].T
            yield slice(start, stop), rows, values
        start = stop
