"""From a source's rows to genes."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from dgex.genes import Genes
from dgex.matching import GeneRows
from dgex.nomenclature import Naming

VERSION = re.compile(r"\.\d+$")


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
