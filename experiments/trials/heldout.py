"""Held-out samples, and a model's errors on them.

The errors are reduced to what the tables need, so that those of a thousand trials can be kept.
"""

from dataclasses import dataclass, fields

import jax
import numpy as np

from dgex.data.stored import Matrix
from dgex.metrics import GeneScores, GeneStatistics, finalize, statistics
from experiments.trials.models import Predictor

# The errors that are averaged over genes, in the order of the rows of ``HeldOutErrors.sample``. The log2 error of a
# gene is its z-score error times its training SD. "Without overlap" leaves out the targets that are landmark genes too.
MEASURES = ("z-score MAE", "z-score MAE without overlap", "log2 MAE", "log2 MAE without overlap")

BATCH = 256

TEST = "test"  # the name of the test split among held-out sets


def test_on(platform: str) -> str:
    """Names the samples of the test split that are of one platform."""
    return f"{TEST} on {platform}"


def is_test(name: str) -> bool:
    """Tells whether a held-out set is (part of) the test split, which differs from fold to fold, and no cohort."""
    return name == TEST or name.startswith(f"{TEST} on ")


@dataclass(frozen=True)
class HeldOut:
    """Holds samples that no training saw: a test split, or a cohort mapped onto the training data.

    They are in memory, or in their file, of which scoring reads a few at a time.

    Attributes:
      name: "test", ``test_on`` a platform, or the name of the cohort.
      landmark: z-scores ``[samples, landmarks]``.
      target: z-scores ``[samples, targets]``; a target that was not measured is a missing value (NaN) and not scored.
      study: study of each sample.
      sd: training SD of the targets, log2 units ``[targets]``.
      overlap: which targets are landmark genes too, bool ``[targets]``.
      measured: which targets are scored, bool ``[targets]``; for a cohort as ``measured_in_all`` says.
    """

    name: str
    landmark: Matrix
    target: Matrix
    study: tuple[str, ...]
    sd: np.ndarray
    overlap: np.ndarray
    measured: np.ndarray


@dataclass(frozen=True)
class HeldOutErrors:
    """Holds a model's errors on held-out samples, over the targets that were measured.

    Attributes:
      study: study of each sample ``[samples]``.
      sample: mean absolute error over genes, one row for each of ``MEASURES``, f8 ``[4, samples]``.
      gene: z-score MAE of every gene in every study, f4 ``[studies, genes]``, studies in sorted order; NaN where the
        study did not measure the gene.
      sums: sufficient statistics of every gene, the sums of ``dgex.metrics.GeneStatistics`` over all samples, f8
        ``[8, genes]``.
      measured: which targets the genes are, bool ``[targets]``.
      overlap: which genes are landmark genes too, bool ``[genes]``.
      sd: training SD of the genes, log2 units ``[genes]``.
    """

    study: np.ndarray
    sample: np.ndarray
    gene: np.ndarray
    sums: np.ndarray
    measured: np.ndarray
    overlap: np.ndarray
    sd: np.ndarray


def gene_scores(sums: np.ndarray) -> GeneScores:
    """Computes the scores of each gene from ``HeldOutErrors.sums``, which may be added over disjoint samples first."""
    return finalize(GeneStatistics(*sums))


def score(predictor: Predictor, held_out: HeldOut) -> HeldOutErrors:
    """Predicts held-out samples and computes the errors of the predictions."""
    genes = held_out.measured
    overlap, sd = held_out.overlap[genes], held_out.sd[genes].astype(np.float64)
    # The columns turn absolute z-score errors [samples, genes] into sums over genes, one column for each of MEASURES:
    # ``counted`` says which genes count, ``weights`` their factors.
    counted = np.stack([np.ones(genes.sum()), ~overlap, np.ones(genes.sum()), ~overlap], axis=1)
    weights = counted * np.stack([np.ones_like(sd), np.ones_like(sd), sd, sd], axis=1)
    names, code = np.unique(np.asarray(held_out.study), return_inverse=True)
    gene = np.zeros((len(names), int(genes.sum())))
    count = np.zeros(gene.shape)
    sums = np.zeros((len(fields(GeneStatistics)), gene.shape[1]))
    sample = np.empty((len(MEASURES), len(held_out.study)))
    for first in range(0, len(held_out.study), BATCH):
        rows = slice(first, first + BATCH)
        predicted, target = predictor(held_out.landmark[rows])[:, genes], held_out.target[rows][:, genes]
        measured = ~np.isnan(target)
        error = np.where(measured, np.abs(predicted - target, dtype=np.float64), 0)
        sample[:, rows] = (error @ weights / np.maximum(measured @ counted, 1)).T
        np.add.at(gene, code[rows], error)
        np.add.at(count, code[rows], measured)
        batch_statistics = statistics(predicted, target, np.ones(len(target), np.float32))
        sums += np.stack(jax.tree.leaves(batch_statistics))
    gene = np.where(count, gene / np.maximum(count, 1), np.nan).astype(np.float32)
    return HeldOutErrors(np.asarray(held_out.study), sample, gene, sums, genes, overlap, held_out.sd[genes])
