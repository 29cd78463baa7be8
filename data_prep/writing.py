"""Writes the prepared file from the chosen profiles and genes of a staged source."""

import platform as machine
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy

from data_prep.blocks import Work, blocks_of, in_order
from data_prep.densities import histograms
from data_prep.report import Report, gap_rule
from data_prep.sources import Pool
from data_prep.staging import Staged
from dgex.data.dataset import SPLITS, Reference, sha256_of
from dgex.data.dataset_writing import Writer, create_dataset
from dgex.data.genes import Genes, overlap
from dgex.data.missing import Missing
from dgex.data.normalization import Moments, QuantileSum, Scaler, Ties, to_quantiles
from dgex.data.platforms import Platforms
from dgex.formats.missing_values import tally
from dgex.version import __version__

# How tied values are ranked, on arrays and on RNA-seq: by default, and under ``legacy`` as in the papers' own code.
OF_ARRAYS: tuple[Ties, Ties] = ("quantile", "floor")
OF_RNA_SEQ: tuple[Ties, Ties] = ("rank", "dense")


@dataclass(frozen=True)
class Plan:
    """Holds the choice of profiles and genes to write, their splits, and how they are normalised."""

    pool: Pool
    complete: np.ndarray  # bool [samples], the profiles without too many missing values
    kept: np.ndarray  # int [kept], positions in ``pool`` of the profiles to write
    split: np.ndarray  # u1 [kept]
    fit: np.ndarray  # bool [kept], the profiles to which, by platform, quantiles and scaler or offsets are fitted
    kept_genes: np.ndarray  # bool [genes], the genes of the tables to write
    landmark: Genes  # of the tables
    target: Genes
    legacy: bool

    @property
    def platform(self) -> np.ndarray:
        """Gives the platform of each profile to write, u1 [kept]."""
        return self.pool.platform[self.kept]

    def ties(self, source: Staged) -> Ties:
        """Gives the way in which tied values of a source are ranked."""
        return (OF_ARRAYS if source.match.naming == "probe set" else OF_RNA_SEQ)[self.legacy]

    @property
    def kept_landmarks(self) -> np.ndarray:
        """Gives the positions in ``landmark`` of the genes to write."""
        return np.flatnonzero(self.kept_genes[: len(self.landmark)])

    @property
    def kept_targets(self) -> np.ndarray:
        """Gives the positions in ``target`` of the genes to write."""
        return np.flatnonzero(self.kept_genes[len(self.landmark) :])

    def genes(self, profiles: np.ndarray) -> np.ndarray:
        """Reads the genes to write of some profiles: log2 [profiles, kept genes].

        The papers' own code ranked averages in float64; in float32 some averages that differ would be tied, and so get
        lower ranks.
        """
        return self.pool.genes(profiles, np.float64 if self.legacy else np.float32)[:, self.kept_genes]


def fit_reference(plan: Plan, work: Work) -> np.ndarray:
    """Fits the quantile reference to the reference platform's profiles: ascending log2, float32 [kept genes]."""
    profiles = plan.kept[plan.fit & (plan.platform == 0)]
    total = QuantileSum(int(plan.kept_genes.sum()))
    with work.steps("fitting quantiles", len(profiles)) as advance:
        for values in in_order(plan.genes, blocks_of(profiles), work.resources.workers_for(plan.pool.rows)):
            total.add(values)
            advance(len(values))
    return total.quantiles()


def write(
    output: Path,
    plan: Plan,
    quantiles: np.ndarray,
    existing: Reference | None,
    settings: dict[str, Any],
    command: str,
    sources: tuple[Path, ...],
    work: Work,
) -> Report:
    """Normalises and imputes the profiles of a plan, and writes them with their provenance to a prepared file.

    Args:
      output: the prepared file.
      plan: which profiles and genes are written.
      quantiles: the reference distribution to map onto, ascending log2.
      existing: of a cohort, the data set that it is mapped onto, whose scaler is used for genes without a fit.
      settings: recorded in the file.
      command: recorded in the file.
      sources: the input files, whose checksums are recorded in the file.
      work: resources to use, and the progress display.
    """
    landmarks, targets = len(plan.kept_landmarks), len(plan.kept_targets)
    report = _report(plan, filled=existing is not None)
    missing = plan.pool.missing(plan.kept, plan.kept_genes)
    with create_dataset(output, len(plan.kept), landmarks, targets) as writer:
        moments, before = _normalise(plan, quantiles, writer, work)
        scaler = moments[0].scaler(plan.legacy)
        if existing:
            scaler, platforms = _joined(scaler, existing), existing.platforms
        else:
            offsets = _offsets(moments, scaler)
            platforms = Platforms(plan.pool.platforms, offsets[:, :landmarks], offsets[:, landmarks:])
        means = scaler.mean + np.hstack([platforms.landmark, platforms.target])
        _impute(missing, means, plan.platform, writer, work)
        scalers = (
            Scaler(scaler.mean[:landmarks], scaler.sd[:landmarks]),
            Scaler(scaler.mean[landmarks:], scaler.sd[landmarks:]),
        )
        genes = plan.landmark.take(plan.kept_landmarks), plan.target.take(plan.kept_targets)
        writer.finish(
            Reference(*genes, *scalers, quantiles, platforms),
            plan.pool.sample_id[plan.kept].tolist(),
            plan.pool.study[plan.kept].tolist(),
            plan.pool.project[plan.kept].tolist(),
            plan.platform,
            plan.split,
            missing,
            {
                "seed": settings.get("seed", 0),
                "command": command,
                "sources": _checksums(sources, work),
                "versions": {"python": machine.python_version()}
                | {package.__name__: package.__version__ for package in (np, scipy, h5py)}
                | {"dgex": __version__},
                "preparation": settings | asdict(report),
            },
            before,
        )
    return report


def _normalise(
    plan: Plan, quantiles: np.ndarray, writer: Writer, work: Work
) -> tuple[list[Moments], dict[str, np.ndarray]]:
    """Writes the profiles quantile-normalised, NaN where values are missing.

    Returns:
      The moments of each platform's profiles to fit, and each study's histogram from before normalisation.
    """
    studies = plan.pool.study

    def normalise(profiles: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        values = plan.genes(profiles)
        ranked, first = [], 0
        for source, inside in plan.pool.parts(profiles):
            part = slice(first, first + len(inside))
            ranked.append(to_quantiles(values[part], quantiles, plan.ties(source)))
            first = part.stop
        return np.concatenate(ranked), histograms(values, studies[profiles])

    shift = np.full(int(plan.kept_genes.sum()), quantiles.mean())
    moments = [Moments(shift) for _ in plan.pool.platforms]
    platform = plan.platform
    before: dict[str, np.ndarray] = {}
    first = 0
    with work.steps("normalising", len(plan.kept)) as advance:
        for values, counts in in_order(normalise, blocks_of(plan.kept), work.resources.workers_for(plan.pool.rows)):
            samples = slice(first, first + len(values))
            writer.write(samples, values)
            for code in np.unique(platform[samples]):
                moments[code].add(values[plan.fit[samples] & (platform[samples] == code)])
            for study, count in counts.items():
                before[study] = before.get(study, 0) + count
            first = samples.stop
            advance(len(values))
    return moments, before


def _offsets(moments: list[Moments], scaler: Scaler) -> np.ndarray:
    """Computes the offsets of platforms from their moments, as ``fit_offsets``: log2, f4 [platforms, genes]."""
    offsets = np.zeros((len(moments), len(scaler.mean)), np.float32)
    for offset, each in zip(offsets[1:], moments[1:], strict=True):
        about_mean = each.shift - scaler.mean + each.total / np.maximum(each.count, 1)
        offset[:] = np.where(each.count > 0, about_mean, 0)
    return offsets


def _impute(missing: Missing, means: np.ndarray, platform: np.ndarray, writer: Writer, work: Work) -> None:
    """Imputes the missing values of the written profiles with the genes' means on their platforms.

    Args:
      missing: which values are missing.
      means: log2 [platforms, genes].
      platform: of each profile, u1 [samples].
      writer: of the file.
      work: resources to use, and the progress display.
    """
    incomplete = np.any(missing.patterns, axis=1).take(missing.pattern)
    blocks = [block for block in blocks_of(np.arange(len(incomplete))) if incomplete[block].any()]
    with work.steps("imputing", len(blocks)) as advance:
        for block in blocks:
            samples = slice(block[0], block[-1] + 1)
            values = writer.read(samples)
            writer.write(samples, np.where(np.isnan(values), means[platform[samples]], values))
            advance(1)


def _joined(fitted: Scaler, existing: Reference) -> Scaler:
    """Completes the fitted scaler with that of the existing data set, for genes to which nothing was fitted."""
    mean = np.concatenate([existing.landmark_scaler.mean, existing.target_scaler.mean])
    sd = np.concatenate([existing.landmark_scaler.sd, existing.target_scaler.sd])
    unknown = np.isnan(fitted.mean)
    return Scaler(np.where(unknown, mean, fitted.mean), np.where(unknown, sd, fitted.sd))


def _report(plan: Plan, filled: bool) -> Report:
    """Makes the report of a plan; ``filled`` says whether missing genes are written, with imputed values."""
    pool, kept, kept_genes, complete = plan.pool, plan.kept, plan.kept_genes, plan.complete
    removed = np.full(len(complete), True)
    removed[kept] = False
    missing = pool.missing_per_gene(kept)
    present = missing < len(kept)
    landmark_present, target_present = np.split(present & kept_genes, [len(plan.landmark)])
    both = overlap(plan.landmark.take(plan.kept_landmarks), plan.target.take(plan.kept_targets))
    study, platform = pool.study[kept], plan.platform
    return Report(
        kind=_distinct([source.kind for source in pool.sources]),
        naming=_distinct([source.match.naming for source in pool.sources]),
        origin=tuple(dict.fromkeys(text for source in pool.sources for text in source.origin)),
        remarks=tuple(dict.fromkeys(remark for source in pool.sources for remark in source.remarks)),
        scale=_distinct([source.scale if source.reads is None else "counts" for source in pool.sources]),
        samples_read=len(complete),
        duplicates_removed=tuple(pool.sample_id[removed & complete].tolist()),
        incomplete_removed=tuple(pool.sample_id[~complete].tolist()),
        split_samples={name: int((plan.split == i).sum()) for i, name in enumerate(SPLITS)},
        split_studies={name: len(set(study[plan.split == i]) - {""}) for i, name in enumerate(SPLITS)},
        landmarks=len(plan.kept_landmarks),
        landmarks_missing=plan.landmark.take(np.flatnonzero(~landmark_present)).ensembl,
        targets=len(plan.kept_targets),
        targets_missing=plan.target.take(np.flatnonzero(~target_present)).ensembl,
        targets_that_are_landmarks=plan.target.take(plan.kept_targets[both]).ensembl,
        gaps_filled=int(missing[kept_genes].sum()),
        genes_with_gaps=int((missing[kept_genes] > 0).sum()),
        samples_with_gaps=int((pool.missing_per_profile(kept_genes)[kept] > 0).sum()),
        missing_are_filled=filled,
        taken_as_missing=tally(sum((source.stand_ins for source in pool.sources), Counter())),
        # Under ``legacy`` the means are those of the cohort or of the whole source, otherwise of the training profiles.
        gaps=gap_rule(("cohort's" if filled else "source's") if plan.legacy else "training"),
        by_platform=tuple(_by_split(name, plan.split[platform == code]) for code, name in enumerate(pool.platforms)),
    )


def _by_split(name: str, split: np.ndarray) -> str:
    """Says how many samples of a platform are in each split."""
    counts = ((split_name, int((split == code).sum())) for code, split_name in enumerate(SPLITS))
    return f"{name}: {', '.join(f'{split_name} {count}' for split_name, count in counts if count) or 'no sample'}"


def _distinct(names: list[str]) -> str:
    """Joins the distinct ones of the names by "and"."""
    return " and ".join(dict.fromkeys(names))


def _checksums(paths: tuple[Path, ...], work: Work) -> dict[str, str]:
    """Computes the SHA-256 of each file, by name."""
    with work.steps("checksums", sum(path.stat().st_size for path in paths)) as advance:
        return {path.name: sha256_of(path, advance) for path in paths}
