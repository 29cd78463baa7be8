"""From a source's rows to genes."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dgex.genes import Genes

Naming = Literal["probe set", "Ensembl id"]

VERSION = re.compile(r"\.\d+$")


@dataclass(frozen=True)
class GeneRows:
    """Where a source has its genes: which rows are averaged into which column."""

    naming: Naming  # of the source's rows
    members: np.ndarray  # int: rows, gene after gene
    count: np.ndarray  # int [genes]: how many of ``members`` belong to each gene; 0 where the source lacks it

    @property
    def starts(self) -> np.ndarray:
        """Where in ``members`` each gene with any begins."""
        return (np.cumsum(self.count) - self.count)[self.count > 0]

    def absent(self, unmeasured: np.ndarray) -> np.ndarray:
        """Which genes have no measured row: bool [profiles, rows] to bool [profiles, genes]."""
        result = np.ones((len(unmeasured), len(self.count)), bool)
        result[:, self.count > 0] = np.logical_and.reduceat(unmeasured[:, self.members], self.starts, axis=1)
        return result


def find_rows(row_id: Sequence[str], landmark: Genes, target: Genes) -> GeneRows:
    """Finds the genes of both tables, landmarks first, by whichever name the source's rows go.

    Arrays have probe sets, on average 1.6 of a gene, and other ones where a landmark is also a target. RNA-seq has one
    row a gene, with or without the version of its Ensembl id, which is then landmark and target at once.
    """
    by_probe = {name: row for row, name in enumerate(row_id)}
    probes = [
        [by_probe[probe] for probe in own.split(",") if probe in by_probe] for own in landmark.probes + target.probes
    ]
    by_gene = {VERSION.sub("", name): row for row, name in enumerate(row_id)}
    ensembl = [[by_gene[gene]] if gene in by_gene else [] for gene in landmark.ensembl + target.ensembl]
    naming: Naming = "Ensembl id" if sum(map(bool, ensembl)) > sum(map(bool, probes)) else "probe set"
    found = ensembl if naming == "Ensembl id" else probes
    members = np.array([row for own in found for row in own], int)
    return GeneRows(naming, members, np.array([len(own) for own in found]))


def repeated_gene(row_id: Sequence[str], genes: Collection[str]) -> str | None:
    """One of the Ensembl ids ``genes`` that comes twice once versions are taken off, if any."""
    count = Counter(VERSION.sub("", name) for name in row_id)
    return next((gene for gene in genes if count[gene] > 1), None)


def average(values: np.ndarray, genes: GeneRows) -> np.ndarray:
    """The mean of each gene's rows, over those measured in the profile.

    Args:
      values: log2 [samples, rows], NaN where not measured.

    Returns:
      float32 [samples, genes]; NaN where the source has none of the gene's rows, or the profile measured none.
    """
    found = genes.count > 0
    by_gene = values[:, genes.members].astype(np.float64)
    unmeasured = np.isnan(by_gene)
    count = genes.count[found]
    if unmeasured.any():
        count = np.add.reduceat(~unmeasured, genes.starts, axis=1, dtype=np.int64)
        by_gene[unmeasured] = 0
    result = np.full((len(values), len(found)), np.nan, np.float32)
    with np.errstate(invalid="ignore"):  # 0 / 0: a gene of which the profile measured nothing
        result[:, found] = np.add.reduceat(by_gene, genes.starts, axis=1) / count
    return result
