"""Paired comparisons of models: differences of absolute errors, with confidence intervals and tests.

The unit of replication is the *study*, and beside it the training *seed*. Samples of one study resemble each other,
and 9,520 genes are measured on the same samples, so neither samples nor genes are independent evidence. Counts of genes
are descriptive; intervals and p-values come from studies and seeds.

A mean over samples and a mean over studies answer two questions: the first is about the next sample of such a
compendium, the second about the next study. Where large and small studies disagree, the answers may differ in sign. So
both are reported, each with its interval; effect size and p-value belong to the second.

Training data are fixed for all samples that the same networks predict. With leave-studies-out folds, the studies of a
fold share their networks, trained on the same data, and are not independent units. The bootstrap then draws whole
*folds*, and the interval covers what the studies of a fold have in common. In simulations of 21 studies with an SD
between studies of 38 and between folds of 0 to 30, the interval holds the true value in 91 to 98 % of cases with five
to ten folds; if studies are drawn instead, in fewer than 92 % at 30 (slow tests of ``bootstrap``).

The networks of different folds still share most of their training data, and the interval does not cover another
compendium (Bengio & Grandvalet, Journal of Machine Learning Research 5, 2004). The signed-rank test treats studies as
independent, since with few folds it could not reject anything; where it and the interval disagree, rely on the
interval.

The same seed gives a different network in each fold; drawing seeds within folds, as strata, is not done.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from dgex.errors import DgexError
from experiments.analysis.bootstrap import interval, once_a_study, resampled_means

# With fewer studies, or folds, a 95 % interval would hold the true value in 75 to 95 % of cases where studies differ
# (table in bootstrap.interval).
FEWEST_STUDIES = 5
# With two seeds it would do so in 72 to 82 % of cases with five studies or more, where seeds differ more than studies
# do. With three it does so in 89 to 92 % there, and in 95 to 96 % where studies differ more (same table).
FEWEST_SEEDS = 3
# With n units the smallest two-sided p-value, where all differences have one sign, is 2^(1 - n): above 0.05 for n < 6.
FEWEST_TESTED = 6


@dataclass(frozen=True)
class Errors:
    """Holds means of a model's absolute errors ``[seeds, samples, genes]``, which are too large to keep themselves.

    Attributes:
      model: name of the model.
      study: study of each sample ``[samples]``; samples without one ("") count as one study.
      sample: mean error over genes, float64 ``[seeds, samples]``.
      gene: mean error over a study's samples, f4 ``[seeds, studies, genes]``, studies in sorted order; NaN where the
        study did not measure the gene.
      seeded: whether training depends on a seed. A model without seeds (ridge) has one row, valid for every seed.
      measure: the measure of error, such as "z-score MAE" or "log2 MAE".
      fold: the fold whose networks predicted each sample ``[samples]``, one fold a study; None where the same networks
        predicted all samples.

    Raises:
      DgexError: an error is not finite.
      ValueError: a model without seeds has several runs, or a study is in two folds.
    """

    model: str
    study: tuple[str, ...]
    sample: np.ndarray
    gene: np.ndarray
    seeded: bool = True
    measure: str = "z-score MAE"
    fold: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Checks the errors; raises as the class says."""
        if not np.isfinite(self.sample).all() or np.isinf(self.gene).any():
            raise DgexError(f"{self.model}: has errors that are not finite, which cannot be compared")
        if not self.seeded and len(self.sample) > 1:
            raise ValueError(f"{self.model}: a model without seeds has one run, not {len(self.sample)}")
        if self.fold and len(set(zip(self.study, self.fold, strict=True))) > len(set(self.study)):
            raise ValueError(f"{self.model}: a study is in two folds")


@dataclass(frozen=True)
class PairedComparison:
    """Holds the comparison of model a with model b on the same test samples.

    Differences are a - b, so a negative difference means that a is better.

    Attributes:
      a: name of the first model.
      b: name of the second model.
      measure: measure of the errors and differences.
      studies: number of studies tested on.
      folds: number of leave-studies-out folds, which the bootstrap draws; None where the same networks predicted all
        samples, and it draws studies.
      samples: number of samples tested on.
      genes: number of genes tested on.
      seeds: number of pairs of training runs; None if neither model has seeds.
      mean_a: mean absolute error of a over seeds, samples and genes.
      mean_b: mean absolute error of b over seeds, samples and genes.
      difference: mean_a - mean_b, in which a study counts by its samples.
      interval: 95 % interval of the difference, by the hierarchical bootstrap over studies or folds, samples and seeds.
      no_interval: why there are no intervals; None where there are.
      improvement: how much smaller a's error is, in % of b's; None where b makes no error.
      study_difference: mean of the studies' differences, each averaged over its samples and all seeds, so that every
        study counts once. It has the sign of ``cohens_d``, and not always that of ``difference``.
      study_interval: 95 % interval of ``study_difference``, from the same draws as ``interval``.
      cohens_d: study_difference / SD of the studies' differences (Cohen's d_z, 1988); None for fewer than two studies
        or an SD of 0.
      genes_lower: fraction of genes whose mean error over all samples and seeds is lower in a, the quantity that D-GEX
        gives as 99.97 %. A study counts by its samples. It has no interval: noise pulls this fraction towards one half,
        and resampling adds noise, so that resampled fractions are too close to one half.
      genes_lower_once: fraction of genes with the lower error in a single study and seed, averaged over studies,
        weighted by their sizes, and seeds. Being a mean over studies and seeds, it has an interval as the difference
        has.
      genes_lower_once_interval: 95 % interval of ``genes_lower_once``.
      p_studies: p-value of Wilcoxon's signed-rank test of the differences that ``study_difference`` averages.
      p_seeds: p-value of the same test of the seeds' differences, each averaged over all samples. It is evidence about
        other seeds on the same samples, and not about other studies.
      p_holm: ``p_studies`` corrected for the number of comparisons (``correct``); None until then.
    """

    a: str
    b: str
    measure: str
    studies: int
    folds: int | None
    samples: int
    genes: int
    seeds: int | None
    mean_a: float
    mean_b: float
    difference: float
    interval: tuple[float, float] | None
    no_interval: str | None
    improvement: float | None
    study_difference: float
    study_interval: tuple[float, float] | None
    cohens_d: float | None
    genes_lower: float
    genes_lower_once: float
    genes_lower_once_interval: tuple[float, float] | None
    p_studies: float | None
    p_seeds: float | None
    p_holm: float | None = None

    @property
    def shown(self) -> str | None:
        """Tells whether a's error is "lower" or "higher" by both intervals, for the next sample and the next study.

        It is None where an interval holds zero, where the two disagree, and where there are no intervals.
        """
        if self.interval is None or self.study_interval is None:
            return None
        if max(self.interval[1], self.study_interval[1]) < 0:
            return "lower"
        return "higher" if min(self.interval[0], self.study_interval[0]) > 0 else None


def compare(a: Errors, b: Errors, seed: int = 0) -> PairedComparison:
    """Compares two models seed by seed, sample by sample and gene by gene; seed s of a is paired with seed s of b.

    Args:
      a: errors of the first model.
      b: errors of the second model, on the same samples and genes.
      seed: seed of the bootstrap's draws; with one seed all comparisons on the same samples have the same draws.

    Raises:
      ValueError: samples, folds, genes, seeds or measures of the two differ.
    """
    if (a.study, a.fold, a.measure, a.gene.shape[1:]) != (b.study, b.fold, b.measure, b.gene.shape[1:]):
        raise ValueError(f"{a.model} and {b.model}: not the same samples, folds, genes and measure")
    if a.seeded and b.seeded and len(a.sample) != len(b.sample):
        raise ValueError(f"{a.model} has {len(a.sample)} seeds and {b.model} {len(b.sample)}: they cannot be paired")
    code = np.unique(np.asarray(a.study), return_inverse=True)[1]
    sizes = np.bincount(code)
    drawn = np.unique(np.asarray(a.fold), return_inverse=True)[1] if a.fold else code
    units = drawn.max() + 1
    # A model without seeds has one row, which is compared with every seed of the other model.
    sample = a.sample - b.sample
    gene = a.gene - b.gene
    seeds = len(sample) if a.seeded or b.seeded else None
    measured = ~np.isnan(gene)
    lower_once = ((gene < 0).sum(2) / measured.sum(2))[:, code]
    no_interval = _why_no_interval(int(units), seeds, *(("fold", "folds") if a.fold else ("study", "studies")))
    difference_interval = once_interval = study_interval = None
    if no_interval is None:
        means = resampled_means(np.stack([sample, lower_once]), drawn, seed=seed)
        difference_interval = interval(sample, drawn, means[0])
        once_interval = interval(lower_once, drawn, means[1])
        weight = once_a_study(code)
        study_interval = interval(sample, drawn, resampled_means(sample, drawn, seed=seed, weight=weight), weight)

    by_study = np.bincount(code, sample.mean(0)) / sizes
    spread = by_study.std(ddof=1) if len(sizes) > 1 else 0.0
    mean_a, mean_b = float(a.sample.mean()), float(b.sample.mean())
    return PairedComparison(
        a=a.model,
        b=b.model,
        measure=a.measure,
        studies=len(sizes),
        folds=int(units) if a.fold else None,
        samples=len(code),
        genes=gene.shape[2],
        seeds=seeds,
        mean_a=mean_a,
        mean_b=mean_b,
        difference=mean_a - mean_b,
        interval=difference_interval,
        no_interval=no_interval,
        improvement=100 * (1 - mean_a / mean_b) if mean_b > 0 else None,
        study_difference=float(by_study.mean()),
        study_interval=study_interval,
        cohens_d=float(by_study.mean() / spread) if spread > 0 else None,
        genes_lower=float((np.tensordot(sizes, np.nan_to_num(gene).mean(0, dtype=np.float64), 1) < 0).mean()),
        genes_lower_once=float(lower_once.mean()),
        genes_lower_once_interval=once_interval,
        p_studies=signed_rank(by_study),
        p_seeds=signed_rank(sample.mean(1)),
    )


def signed_rank(differences: np.ndarray) -> float | None:
    """Computes the two-sided p-value of Wilcoxon's signed-rank test (Biometrics Bulletin 1(6), 1945).

    The null hypothesis is that the differences are symmetric about zero; a large study counts no more than a small one.
    Zeros are left out, as Wilcoxon did.

    Args:
      differences: differences of independent units: one a study, or one a seed; never one a gene or sample.

    Returns:
      The p-value; None where fewer than six differences remain, which cannot be significant at 0.05.
    """
    nonzero = differences[differences != 0]
    if len(nonzero) < FEWEST_TESTED:
        return None
    return float(stats.wilcoxon(nonzero).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Corrects p-values for their number by Holm's method, which bounds the chance of any false positive among them.

    With p in ascending order, the k-th of m becomes max_{j <= k} min(1, (m - j + 1) p_j) (Holm, Scandinavian Journal of
    Statistics 6(2), 1979). It is valid for dependent p-values, such as those of one model against several others.
    """
    ascending = np.argsort(p, kind="stable")
    stepped = np.asarray(p, np.float64)[ascending] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[ascending] = np.minimum(np.maximum.accumulate(stepped), 1)
    return corrected.tolist()


def correct(comparisons: Sequence[PairedComparison]) -> list[PairedComparison]:
    """Returns the comparisons with ``p_holm``, corrected for the number of those that have a ``p_studies``."""
    corrected = iter(holm([c.p_studies for c in comparisons if c.p_studies is not None]))
    return [c if c.p_studies is None else replace(c, p_holm=next(corrected)) for c in comparisons]


def _why_no_interval(units: int, seeds: int | None, singular: str, plural: str) -> str | None:
    """Says which units, named by ``singular`` and ``plural``, or seeds are too few for intervals; None if neither."""
    reasons = []
    if units < FEWEST_STUDIES:
        reasons.append(f"{_count(units, singular, plural)}, at least {FEWEST_STUDIES} needed")
    if seeds is not None and seeds < FEWEST_SEEDS:
        reasons.append(f"{_count(seeds, 'seed', 'seeds')}, at least {FEWEST_SEEDS} needed")
    return " and ".join(reasons) or None


def _count(number: int, singular: str, plural: str) -> str:
    """Formats a number with its noun, such as "no seeds" or "1 seed"."""
    return f"{number or 'no'} {singular if number == 1 else plural}"
