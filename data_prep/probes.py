"""From probe sets to genes."""

from collections.abc import Sequence

import numpy as np

from dgex.genes import Genes


def find_probes(row_id: Sequence[str], genes: Genes) -> list[list[int]]:
    """For each gene, the rows of the source that are its probe sets; an empty list for a gene the source lacks."""
    position = {name: row for row, name in enumerate(row_id)}
    return [[position[probe] for probe in probes.split(",") if probe in position] for probes in genes.probes]


def average_probes(values: np.ndarray, probes: list[list[int]]) -> np.ndarray:
    """The mean of each gene's probe sets, over those measured in the profile.

    Args:
      values: log2 [samples, rows], NaN where not measured.
      probes: for each gene its rows, from ``find_probes``.

    Returns:
      float32 [samples, genes]; NaN where the source has none of the gene's probe sets, or the profile measured none.
    """
    length = np.array([len(rows) for rows in probes])
    found = length > 0
    start = (np.cumsum(length) - length)[found]
    by_gene = values[:, [row for rows in probes for row in rows]].astype(np.float64)
    measured = ~np.isnan(by_gene)
    total = np.add.reduceat(np.where(measured, by_gene, 0), start, axis=1)
    count = np.add.reduceat(measured, start, axis=1, dtype=np.int64)
    result = np.full((len(values), len(probes)), np.nan, np.float32)
    result[:, found] = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return result
