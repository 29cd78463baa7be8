"""Held-out samples of a study, and what is kept of a model's errors on them: enough for every table, small enough to
keep for a thousand trials.
"""

from dataclasses import dataclass, fields

import jax
import numpy as np

from dgex.metrics import GeneScores, GeneStatistics, finalize, statistics
from experiments.trials.models import Predictor

# What is averaged over genes, in this order in ``Scores.sample``. The log2 error of a gene is its z-score error times
# its training SD. "Without overlap" leaves out the targets that are landmark genes too.
MEASURES = ("z-score MAE", "z-score MAE without overlap", "log2 MAE", "log2 MAE without overlap")

BATCH = 256


@dataclass(frozen=True)
class HeldOut:
    """Samples that no training saw: a test split, or a cohort mapped onto the training data.

    Attributes:
      name: "test", or the cohort's.
      landmark, target: z-scores ``[samples, landmarks]`` and ``[samples, targets]``; a target that was not measured is
        NaN, and not scored.
      study: of each sample.
      sd: the targets' training SD, log2 units ``[targets]``.
      overlap: which targets are landmark genes too, bool ``[targets]``.
      measured: which targets are scored, bool ``[targets]``; of a cohort those that all of its studies have.
    """

    name: str
    landmark: np.ndarray
    target: np.ndarray
    study: tuple[str, ...]
    sd: np.ndarray
    overlap: np.ndarray
    measured: np.ndarray


@dataclass(frozen=True)
class Scores:
    """A model's errors on held-out samples, over the targets that were measured.

    Attributes:
      study: of each sample ``[samples]``.
      sample: mean absolute error over genes, one row each of ``MEASURES``, f8 ``[4, samples]``.
      gene: z-score MAE of every gene in every study, f4 ``[studies, genes]``, studies in sorted order; NaN where the
        study did not measure the gene.
      sums: the sums of ``dgex.metrics.GeneStatistics`` over all samples, f8 ``[8, genes]``.
      measured: which targets the genes are, bool ``[targets]``.
      overlap, sd: as in ``HeldOut``, of the genes ``[genes]``.
    """

    study: np.ndarray
    sample: np.ndarray
    gene: np.ndarray
    sums: np.ndarray
    measured: np.ndarray
    overlap: np.ndarray
    sd: np.ndarray


def gene_scores(sums: np.ndarray) -> GeneScores:
    """Per-gene scores of sums ``[8, genes]``, which may be added over disjoint samples first."""
    return finalize(GeneStatistics(*sums))


def score(predict: Predictor, held: HeldOut) -> Scores:
    """Predicts the held-out samples and reduces the errors."""
    genes = held.measured
    overlap, sd = held.overlap[genes], held.sd[genes].astype(np.float64)
    # Columns that turn absolute z-score errors [samples, genes] into the sums of MEASURES, and count what is summed.
    kept = np.stack([np.ones(genes.sum()), ~overlap, np.ones(genes.sum()), ~overlap], axis=1)
    weights = kept * np.stack([np.ones_like(sd), np.ones_like(sd), sd, sd], axis=1)
    names, code = np.unique(np.asarray(held.study), return_inverse=True)
    gene = np.zeros((len(names), int(genes.sum())))
    count = np.zeros(gene.shape)
    sums = np.zeros((len(fields(GeneStatistics)), gene.shape[1]))
    sample = np.empty((len(MEASURES), len(held.study)))
    for first in range(0, len(held.study), BATCH):
        rows = slice(first, first + BATCH)
        predicted, target = predict(held.landmark[rows])[:, genes], held.target[rows][:, genes]
        measured = ~np.isnan(target)
        error = np.where(measured, np.abs(predicted - target, dtype=np.float64), 0)
        sample[:, rows] = (error @ weights / np.maximum(measured @ kept, 1)).T
        np.add.at(gene, code[rows], error)
        np.add.at(count, code[rows], measured)
        part = statistics(predicted, target, np.ones(len(target), np.float32))
        sums += np.stack(jax.tree.leaves(part))
    gene = np.where(count, gene / np.maximum(count, 1), np.nan)
    return Scores(np.asarray(held.study), sample, gene.astype(np.float32), sums, genes, overlap, held.sd[genes])
