"""Is one model better than another? Paired differences of absolute errors, with intervals and tests.

The unit of replication is the *study*, and beside it the training *seed*. Samples of one study resemble each other,
and 9,520 genes are measured on the same samples: neither are independent evidence. Over genes there is description
only; intervals and p-values come from studies and seeds.

A mean over samples and a mean over studies are two questions: the next sample of such a compendium, or the next study.
Where large and small studies disagree, the answers may differ in sign, so both are reported, each with its interval;
effect size and p-value belong to the second.

Training data are fixed for all samples that the same networks predict. Where studies are tested fold by fold, the
studies of a fold share their networks, trained on the same data, and are no independent units: the bootstrap then draws
whole *folds*, and the interval covers what the studies of a fold have in common. In simulations of 21 studies, whose SD
is 38 and that of what a fold shares 0 to 30, it holds the truth in 91 to 98 % of cases with five to ten folds; with
studies drawn, in fewer than 92 % at 30 (slow tests of ``bootstrap``).

The folds' networks still share most of their training data; what another compendium would have brought is not in the
interval (Bengio & Grandvalet, Journal of Machine Learning Research 5, 2004). The signed-rank test takes studies for
independent, since with few folds it could find nothing; where it and the interval disagree, believe the interval.

One seed is another network in each fold; to draw seeds within folds, as strata, is left open.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from dgex.errors import DgexError
from experiments.analysis.bootstrap import interval, once_a_study, resampled_means

# Fewer studies, or folds: a 95 % interval would hold the truth in 75 to 95 % of cases where studies differ (table in
# bootstrap.interval).
FEWEST_STUDIES = 5
# Fewer seeds: in 72 to 82 % with five studies or more, where seeds differ more than studies do. Three are not many
# either: 89 to 92 % there, and 95 to 96 % where studies differ more (same table).
FEWEST_SEEDS = 3
# Fewer units: the smallest two-sided p, that of all differences on one side, is 2^(1 - n) > 0.05.
FEWEST_TESTED = 6


@dataclass(frozen=True)
class Errors:
    """What comparisons need of a model's absolute errors ``[seeds, samples, genes]``, which are too large to keep.

    Attributes:
      model: its name.
      study: the study of each sample ``[samples]``; samples without one ("") count as one study.
      sample: mean over genes, float64 ``[seeds, samples]``.
      gene: mean over a study's samples, f4 ``[seeds, studies, genes]``, studies in sorted order; NaN where the
        study did not measure the gene.
      seeded: whether training depends on a seed. A model that does not (ridge) has one row, valid for every seed.
      measure: what is averaged, such as "z-score MAE" or "log2 MAE".
      fold: which networks predicted each sample ``[samples]``, one fold a study; None where the same did them all.

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
        if not np.isfinite(self.sample).all() or np.isinf(self.gene).any():
            raise DgexError(f"{self.model}: has errors that are not finite, which cannot be compared")
        if not self.seeded and len(self.sample) > 1:
            raise ValueError(f"{self.model}: a model without seeds has one run, not {len(self.sample)}")
        if self.fold and len(set(zip(self.study, self.fold, strict=True))) > len(set(self.study)):
            raise ValueError(f"{self.model}: a study is in two folds")


@dataclass(frozen=True)
class PairedComparison:
    """Model a against model b on the same test samples; differences are a - b, so negative means that a is better.

    Attributes:
      a, b: their names.
      measure: of ``mean_a`` to ``interval``.
      studies, samples, genes: how many were tested on.
      folds: in how many folds the studies were left out; None where the same networks predicted all. These, or the
        studies, are what the bootstrap draws.
      seeds: how many pairs of training runs; None if neither model has seeds.
      mean_a, mean_b: mean absolute errors over seeds, samples and genes.
      difference: mean_a - mean_b, in which a study counts by its samples.
      interval: 95 % interval of the difference, by the hierarchical bootstrap over studies or folds, samples and seeds.
      no_interval: why there is none, nor of any other quantity.
      improvement: how much smaller a's error is, in % of b's; None where b makes no error.
      study_difference: mean of the studies' differences, each averaged over its samples and all seeds: every study
        counts once. It has the sign of ``cohens_d``, and not always that of ``difference``.
      study_interval: its 95 % interval, from the same draws as the difference's.
      cohens_d: study_difference / SD of the studies' differences (Cohen's d_z, 1988); None for fewer than two studies
        or no spread.
      genes_lower: share of genes whose mean error over all samples and seeds is lower in a, as D-GEX's 99.97 % is.
        A study counts by its samples. It has no interval, because noise pulls it towards one half, and resampling
        adds noise: resamples scatter about too low a share.
      genes_lower_once: share of genes with the lower error in one study and seed alone, averaged over these with the
        studies' sizes as weights. Being a mean over studies and seeds, it has an interval like the difference's.
      genes_lower_once_interval: that interval.
      p_studies: Wilcoxon signed-rank test of the studies' differences, those that ``study_difference`` averages.
      p_seeds: the same test of the seeds' differences, each averaged over all samples: evidence about other seeds on
        these very samples, and none about other studies.
      p_holm: ``p_studies`` corrected for the comparisons made with it (``correct``); None until then.
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
        """Whether a's error is "lower" or "higher", for the next sample and the next study: both intervals say so."""
        if self.interval is None or self.study_interval is None:
            return None
        if max(self.interval[1], self.study_interval[1]) < 0:
            return "lower"
        return "higher" if min(self.interval[0], self.study_interval[0]) > 0 else None


def compare(a: Errors, b: Errors, seed: int = 0) -> PairedComparison:
    """Compares two models seed by seed, sample by sample and gene by gene; seed s of one goes with seed s of the other.

    Args:
      a, b: their errors on the same samples and genes.
      seed: of the bootstrap's draws; the same seed gives all comparisons on the same samples the same draws.

    Raises:
      ValueError: samples, genes, seeds or measures do not go together.
    """
    if (a.study, a.fold, a.measure, a.gene.shape[1:]) != (b.study, b.fold, b.measure, b.gene.shape[1:]):
        raise ValueError(f"{a.model} and {b.model}: not the same samples, folds, genes and measure")
    if a.seeded and b.seeded and len(a.sample) != len(b.sample):
        raise ValueError(f"{a.model} has {len(a.sample)} seeds and {b.model} {len(b.sample)}: they cannot be paired")
    code = np.unique(np.asarray(a.study), return_inverse=True)[1]
    sizes = np.bincount(code)
    drawn = np.unique(np.asarray(a.fold), return_inverse=True)[1] if a.fold else code
    units = drawn.max() + 1
    # One row without seeds is set against every seed of the other model.
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
    """Two-sided p of Wilcoxon's signed-rank test (Biometrics Bulletin 1(6), 1945) of independent units' differences.

    The null hypothesis is that differences are symmetric about zero; a large study counts no more than a small one.
    Zeros are left out, as Wilcoxon did. None where fewer than six remain: no outcome of theirs could be significant.

    Args:
      differences: one a study, or one a seed; never one a gene or sample.
    """
    nonzero = differences[differences != 0]
    if len(nonzero) < FEWEST_TESTED:
        return None
    return float(stats.wilcoxon(nonzero).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that the chance of one false finding among them stays below alpha.

    With p sorted upwards, the k-th of m becomes max_{j <= k} min(1, (m - j + 1) p_j) (Holm, Scandinavian Journal of
    Statistics 6(2), 1979). It holds for dependent p-values, as those of one model against several others are.
    """
    ascending = np.argsort(p, kind="stable")
    stepped = np.asarray(p, np.float64)[ascending] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[ascending] = np.minimum(np.maximum.accumulate(stepped), 1)
    return corrected.tolist()


def correct(comparisons: Sequence[PairedComparison]) -> list[PairedComparison]:
    """The same comparisons with ``p_holm``, corrected for as many tests over studies as there are among them."""
    corrected = iter(holm([c.p_studies for c in comparisons if c.p_studies is not None]))
    return [c if c.p_studies is None else replace(c, p_holm=next(corrected)) for c in comparisons]


def _why_no_interval(units: int, seeds: int | None, one: str, many: str) -> str | None:
    reasons = []
    if units < FEWEST_STUDIES:
        reasons.append(f"{_count(units, one, many)}, at least {FEWEST_STUDIES} needed")
    if seeds is not None and seeds < FEWEST_SEEDS:
        reasons.append(f"{_count(seeds, 'seed', 'seeds')}, at least {FEWEST_SEEDS} needed")
    return " and ".join(reasons) or None


def _count(number: int, one: str, many: str) -> str:
    return f"{number or 'no'} {one if number == 1 else many}"
