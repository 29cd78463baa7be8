"""Holds the genes that the columns of an expression matrix stand for, and reads and writes tables of them.

A gene is identified by its Ensembl id. Symbols are only labels: they get renamed, and two genes can share one. On a
microarray several probe sets may measure one gene.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dgex.errors import DgexError
from dgex.files.atomic import replacing
from dgex.formats.content import read_small


@dataclass(frozen=True)
class Genes:
    """Holds the identifiers of genes in the order of a matrix's columns; each field has one entry a gene."""

    ensembl: tuple[str, ...]  # unique
    symbol: tuple[str, ...]
    probes: tuple[str, ...]  # the gene's probe set ids, joined by commas

    def __len__(self) -> int:
        """Counts the genes."""
        return len(self.ensembl)

    def take(self, index: np.ndarray) -> "Genes":
        """Selects the genes at the integer positions ``index``, in that order."""
        return Genes(*(tuple(field[i] for i in index) for field in (self.ensembl, self.symbol, self.probes)))


def read_gene_table(path: Path) -> Genes:
    """Reads a gene table: one gene a line, no header, tab-separated symbol, Ensembl id and comma-joined probe sets.

    This is the form of D-GEX's ``map_lm.txt`` and ``map_tg.txt`` (Chen et al., Bioinformatics 2016).

    Raises:
      DgexError: the file is missing, empty, above 16 MiB or not text, a line does not have three filled columns, or an
        Ensembl id occurs twice.
    """
    try:
        lines = read_small(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DgexError(f"{path}: cannot be read as a gene table ({reason})") from error
    rows: dict[str, tuple[str, str, str]] = {}
    for number, line in enumerate(lines, start=1):
        columns = line.split("\t")
        if len(columns) != 3 or not all(columns):
            raise DgexError(f"{path}, line {number}: expected symbol, Ensembl id and probe sets, tab-separated")
        symbol, ensembl, probes = columns
        if ensembl in rows:
            raise DgexError(f"{path}, line {number}: Ensembl id {ensembl} is listed twice; keep one line a gene")
        rows[ensembl] = (ensembl, symbol, probes)
    if not rows:
        raise DgexError(f"{path}: the gene table is empty")
    return Genes(*zip(*rows.values(), strict=True))


def write_gene_table(path: Path, genes: Genes) -> None:
    """Writes the table that ``read_gene_table`` reads, whole or not at all.

    Raises:
      DgexError: as ``dgex.files.atomic.replacing``.
    """
    lines = zip(genes.symbol, genes.ensembl, genes.probes, strict=True)
    with replacing(path) as partial:
        partial.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


def gene_table_paths(folder: Path) -> tuple[Path, Path]:
    """Gives the paths of the landmark and the target table in a folder, by D-GEX's file names."""
    return folder / "map_lm.txt", folder / "map_tg.txt"


def read_gene_tables(folder: Path) -> tuple[Genes, Genes]:
    """Reads the landmark and the target genes of a folder; errors as ``read_gene_table``."""
    landmark, target = gene_table_paths(folder)
    return read_gene_table(landmark), read_gene_table(target)


def overlap(landmark: Genes, target: Genes) -> np.ndarray:
    """Tells which targets are also landmark genes, by Ensembl id: bool [targets].

    In D-GEX's tables these are 445 genes, with other probe sets on the target side. In RNA-seq, where a gene has one
    value, such a target equals an input, so errors are reported with and without these targets.
    """
    return np.isin(target.ensembl, landmark.ensembl)
