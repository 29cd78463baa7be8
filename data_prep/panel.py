"""Chooses a panel of landmark genes on the training profiles of a prepared file, and estimates what it will infer.

A panel S is as good as the ridge regression of all genes on it: ``|Y - Y_S W|^2 + penalty |W|^2``, with z-scores Y of
all genes, and Y_S of the panel. Over the weights W the minimum is the trace of ``R = G - G_:S (G_SS + penalty)^-1
G_S:``, where ``G = Y^T Y``: the variance that the panel leaves over. One more gene j changes R by ``-r r^T / (R_jj +
penalty)``, where r is its column, as a step of pivoted Cholesky decomposition does, so that the trace falls by
``|r|^2 / (R_jj + penalty)``. Each step takes the gene for which this is largest (greedy forward selection; without a
penalty it is that of Farahat, Ghodsi and Kamel 2011, Proc. IEEE ICDM, p. 161, for subsets of columns).

The profiles are read once, into G, in float64: 0.8 GB for 10,018 genes, whatever the number of profiles.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import blas

from data_prep.steps import Steps
from dgex import parallel
from dgex.baselines.closed_form import choose_penalty
from dgex.baselines.linear import LinearModel, mean_predictor, ridge_path
from dgex.baselines.sufficient_statistics import BATCH, Products
from dgex.batches import Samples, place
from dgex.data.dataset import SPLITS, Dataset, open_dataset
from dgex.data.genes import Genes, write_gene_table
from dgex.errors import DgexError
from dgex.files.atomic import check_writable
from dgex.files.memory import machine_memory
from dgex.metrics import finalize, statistics_of

# A gene of which the panel leaves less than this share of the variance is known: the rest is rounding.
KNOWN = 1e-9


@dataclass(frozen=True)
class Sums:
    """Holds sums over profiles of the z-scores of all genes, in float64."""

    count: int
    total: np.ndarray  # [genes]
    gram: np.ndarray  # [genes, genes], sums of products, in Fortran's order; only the lower triangle is filled

    def part(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Gathers the sums of products of the genes ``row`` with the genes ``column``: [rows, columns]."""
        one, other = row[:, None], column[None]
        return self.gram[np.maximum(one, other), np.minimum(one, other)]

    def products(self, panel: np.ndarray, targets: np.ndarray) -> Products:
        """Makes the sufficient statistics of a regression of the genes ``targets`` on the genes ``panel``."""
        sums: dict[str, Any] = {  # NumPy's arrays, as ``products`` leaves them on the host
            "count": self.count,
            "landmark": self.total[panel],
            "target": self.total[targets],
            "target_squared": self.gram.diagonal()[targets],
            "gram": self.part(panel, panel),
            "cross": self.part(panel, targets),
        }
        return Products(**sums)


def sums_of(dataset: Dataset, split: str, steps: Steps) -> Sums:
    """Sums the z-scores of a split in one pass; a missing value is 0, the training mean."""
    chosen = np.flatnonzero(dataset.split == SPLITS.index(split))
    genes = len(genes_of(dataset))
    total, gram = np.zeros(genes), np.zeros((genes, genes), order="F")
    with steps("summing products", len(chosen)) as advance:
        for first in range(0, len(chosen), BATCH):
            values = np.nan_to_num(zscores_of(dataset, chosen[first : first + BATCH])).astype(np.float64)
            total += values.sum(axis=0)
            gram = blas.dsyrk(1, values.T, beta=1, c=gram, lower=True, overwrite_c=True)
            advance(len(values))
    return Sums(len(chosen), total, gram)


def genes_of(dataset: Dataset) -> Genes:
    """Lists all genes of a prepared file once: the landmarks, and then the targets that are no landmarks."""
    others = dataset.target_genes.take(np.flatnonzero(~dataset.overlap))
    fields = zip(vars(dataset.landmark_genes).values(), vars(others).values(), strict=True)
    return Genes(*(first + second for first, second in fields))


def zscores_of(dataset: Dataset, profiles: np.ndarray) -> np.ndarray:
    """Reads z-scores of profiles, float32 [profiles, genes of ``genes_of``]; NaN where a target is missing."""
    landmark, target = dataset.zscores_of(profiles, np.flatnonzero(~dataset.overlap))
    return np.hstack([landmark[:], target[:]])


def select(
    gram: np.ndarray, size: int, penalty: float, advance: Callable[[int], object] = lambda genes: None
) -> np.ndarray:
    """Selects genes one by one, each of them the one that lowers the variance left over by most.

    A step takes time in proportion to the square of the number of genes: sums of squares of the columns of R are
    updated, and R itself is never made.

    Args:
      gram: sums of products of the genes' z-scores, float64 [genes, genes] in Fortran's order, of which only the lower
        triangle is read.
      size: how many genes to select.
      penalty: of the ridge regression; 0 for least squares.
      advance: is called with 1 after each gene.

    Returns:
      The positions of the genes in the order of selection, int [size]: the first n are the selection of size n.

    Raises:
      DgexError: fewer genes determine all others.
    """
    genes = len(gram)
    variance, left = gram.diagonal().copy(), gram.diagonal().copy()  # of each gene; what the panel leaves of it
    squares = np.zeros(genes)  # of the columns of R
    for gene in range(genes):
        below = gram[gene:, gene] ** 2
        squares[gene] += below.sum()
        squares[gene + 1 :] += below[1:]
    factor = np.empty((size, genes))  # R = G - factor^T factor
    chosen = np.empty(size, int)
    unknown = np.full(genes, True)
    for step in range(size):
        unknown &= left > KNOWN * variance
        if not unknown.any():
            raise DgexError(f"{step} genes determine all others on the training profiles; give --size {step} or less")
        gain = np.divide(squares, left + penalty, out=np.full(genes, -np.inf), where=unknown)
        gene = chosen[step] = gain.argmax()
        unknown[gene] = False
        done = factor[:step]
        column = np.concatenate([gram[gene, :gene], gram[gene:, gene]]) - done[:, gene] @ done
        row = factor[step] = column / np.sqrt(left[gene] + penalty)
        image = blas.dsymv(1, gram, row, lower=True) - (done @ row) @ done  # R row
        squares += row * (row * (row @ row) - 2 * image)
        left -= row**2
        advance(1)
    return chosen


@dataclass(frozen=True)
class Panel:
    """Describes a panel that was chosen, and what ridge regression infers from it and from others.

    Attributes:
      genes: the panel, in the order of selection.
      text: what the command prints: how it was chosen, and the errors.
      errors: by name of panel, the z-score MAE on the validation and on the test profiles.
    """

    genes: Genes
    text: str
    errors: dict[str, tuple[float, float]]


def choose_panel(prepared: Path, output: Path, size: int, seed: int, steps: Steps) -> Panel:
    """Chooses a panel among all genes of a prepared file, and writes it as a landmark table.

    The genes are selected on the training profiles, with the penalty by which the file's own landmarks infer the
    validation profiles best. The panel, a random one of its size and the file's landmarks are then compared by ridge
    regression on the genes that none of them has: each penalty is the best on the validation profiles, and the test
    profiles are inferred once.

    Args:
      prepared: a prepared file with all three splits.
      output: the gene table to write.
      size: the number of genes.
      seed: of the random panel.
      steps: the progress display.

    Raises:
      DgexError: as ``open_dataset``; the file lacks a split, or has too few genes; fewer genes determine all others;
        this machine has too little memory.
    """
    check_writable(output, prepared)
    dataset = open_dataset(prepared)
    profiles = {name: np.flatnonzero(dataset.split == code) for code, name in enumerate(SPLITS)}
    if empty := [name for name, chosen in profiles.items() if not len(chosen)]:
        raise DgexError(f"{prepared}: has no {empty[0]} profiles; give a file that was prepared without --onto")
    genes = genes_of(dataset)
    landmarks = np.arange(len(dataset.landmark_genes))
    random = np.sort(np.random.default_rng(seed).permutation(len(genes))[:size])
    if size + len(np.union1d(landmarks, random)) >= len(genes):
        raise DgexError(
            f"{prepared}: its {len(genes):,} genes are too few for a panel of {size:,}, a random one beside it and its "
            f"{len(landmarks):,} landmarks, as none would be left to infer; give a smaller --size"
        )
    held_out = len(profiles["validation"]) + len(profiles["test"])
    needed = 8 * len(genes) * (len(genes) + size + 3 * held_out)
    if needed > machine_memory():
        raise DgexError(
            f"{prepared}: {len(genes):,} genes need {needed / 2**30:.1f} GiB of memory, and this machine has "
            f"{machine_memory() / 2**30:.1f}; prepare it with fewer targets"
        )
    sums = sums_of(dataset, "train", steps)
    validation, test = (zscores_of(dataset, profiles[split]) for split in ("validation", "test"))

    def regress(panel: np.ndarray, targets: np.ndarray) -> tuple[LinearModel, dict[float, float]]:
        return ridge_path(sums.products(panel, targets), _samples(validation, panel, targets))

    with steps("choosing a penalty", 1) as advance:
        penalty = choose_penalty(regress(landmarks, np.arange(len(landmarks), len(genes)))[1])
        advance(1)
    with steps("selecting genes", size) as advance:
        chosen = select(sums.gram, size, penalty, advance)
    panels = {f"{size:,} genes chosen": chosen, f"{size:,} genes at random": random}
    panels[f"{len(landmarks):,} landmarks of the file"] = landmarks
    targets = np.setdiff1d(np.arange(len(genes)), np.concatenate(list(panels.values())))
    scores = {}
    with steps("comparing panels", len(panels)) as advance:
        for name, panel in panels.items():
            model, errors = regress(panel, targets)
            scores[name] = min(errors.values()), _error(model, test, panel, targets)
            advance(1)
    nothing = mean_predictor(sums.products(landmarks, targets))
    by_mean = [_error(nothing, each, landmarks, targets) for each in (validation, test)]
    scores["mean predictor"] = by_mean[0], by_mean[1]
    studies = len({dataset.study[profile] for profile in profiles["train"]})
    shared = int(np.isin(chosen, landmarks).sum())
    table = genes.take(chosen)
    write_gene_table(output, table)
    lines = [
        f"{output}: {size:,} of {len(genes):,} genes, chosen on {sums.count:,} training profiles of {studies:,} "
        f"studies with penalty {penalty:g}; {shared:,} of them are landmarks of {prepared.name}",
        f"z-score MAE of ridge regression on the {len(targets):,} genes that none of the panels has:",
        f"{'':<28}{'validation':>10}{'test':>8}",
        *(f"{name:<28}{one:>10.4f}{other:>8.4f}" for name, (one, other) in scores.items()),
    ]
    return Panel(table, "\n".join(lines), scores)


def _samples(values: np.ndarray, panel: np.ndarray, targets: np.ndarray) -> Samples:
    """Makes samples of z-scores [profiles, genes] whose landmarks are the panel."""
    return place(np.nan_to_num(values[:, panel]), values[:, targets], parallel.devices())


def _error(model: LinearModel, values: np.ndarray, panel: np.ndarray, targets: np.ndarray) -> float:
    """Computes the z-score MAE of a model on z-scores [profiles, genes], as ``ridge_path`` does."""
    inferred = model.predict(np.nan_to_num(values[:, panel]))
    return finalize(statistics_of(inferred, values[:, targets])).zscore_mae
