"""Writes the prepared file from the chosen profiles and genes of a staged source."""

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy

from data_prep.blocks import Work, blocks_of, in_order
from data_prep.densities import histograms
from data_prep.report import Report, gap_rule
from data_prep.staging import Staged
from dgex.data.dataset import SPLITS, Missing, Reference, sha256_of
from dgex.data.dataset_writing import Writer, create_dataset
from dgex.data.genes import Genes, overlap
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

    staged: Staged
    complete: np.ndarray  # bool [samples], the profiles without too many missing values
    kept: np.ndarray  # int [kept], positions in ``staged`` of the profiles to write
    split: np.ndarray  # u1 [kept]
    fit: np.ndarray  # bool [kept], the profiles to which quantiles and scaler are fitted
    kept_genes: np.ndarray  # bool [genes], the genes of the tables to write
    landmark: Genes  # of the tables
    target: Genes
    legacy: bool

    @property
    def ties(self) -> Ties:
        """Gives the way in which tied values are ranked."""
        return (OF_ARRAYS if self.staged.match.naming == "probe set" else OF_RNA_SEQ)[self.legacy]

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
        return self.staged.genes(profiles, np.float64 if self.legacy else np.float32)[:, self.kept_genes]


def fit_reference(plan: Plan, work: Work) -> np.ndarray:
    """Fits the quantile reference to the plan's profiles: ascending log2, float32 [kept genes]."""
    profiles = plan.kept[plan.fit]
    total = QuantileSum(int(plan.kept_genes.sum()))
    with work.steps("fitting quantiles", len(profiles)) as advance:
        for values in in_order(plan.genes, blocks_of(profiles), work.resources.workers_for(plan.staged.rows)):
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
    missing = plan.staged.missing(plan.kept, plan.kept_genes)
    with create_dataset(output, len(plan.kept), landmarks, targets) as writer:
        fitted, before = _normalise(plan, quantiles, writer, work)
        scaler = _joined(fitted, existing) if existing else fitted
        _impute(missing, scaler.mean, writer, work)
        scalers = (
            Scaler(scaler.mean[:landmarks], scaler.sd[:landmarks]),
            Scaler(scaler.mean[landmarks:], scaler.sd[landmarks:]),
        )
        genes = plan.landmark.take(plan.kept_landmarks), plan.target.take(plan.kept_targets)
        writer.finish(
            Reference(*genes, *scalers, quantiles, Platforms.single(landmarks, targets)),
            plan.staged.sample_id[plan.kept].tolist(),
            plan.staged.study[plan.kept].tolist(),
            [""] * len(plan.kept),
            np.zeros(len(plan.kept), np.uint8),
            plan.split,
            missing,
            {
                "seed": settings.get("seed", 0),
                "command": command,
                "sources": _checksums(sources, work),
                "versions": {"python": platform.python_version()}
                | {package.__name__: package.__version__ for package in (np, scipy, h5py)}
                | {"dgex": __version__},
                "preparation": settings | asdict(report),
            },
            before,
        )
    return report


def _normalise(plan: Plan, quantiles: np.ndarray, writer: Writer, work: Work) -> tuple[Scaler, dict[str, np.ndarray]]:
    """Writes the profiles quantile-normalised, NaN where values are missing.

    Returns:
      The fitted scaler, and each study's histogram from before normalisation.
    """

    def normalise(profiles: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        values = plan.genes(profiles)
        return to_quantiles(values, quantiles, plan.ties), histograms(values, plan.staged.study[profiles])

    moments = Moments(np.full(int(plan.kept_genes.sum()), quantiles.mean()))
    before: dict[str, np.ndarray] = {}
    first = 0
    with work.steps("normalising", len(plan.kept)) as advance:
        for values, counts in in_order(normalise, blocks_of(plan.kept), work.resources.workers_for(plan.staged.rows)):
            samples = slice(first, first + len(values))
            writer.write(samples, values)
            moments.add(values[plan.fit[samples]])
            for study, count in counts.items():
                before[study] = before.get(study, 0) + count
            first = samples.stop
            advance(len(values))
    return moments.scaler(plan.legacy), before


def _impute(missing: Missing, mean: np.ndarray, writer: Writer, work: Work) -> None:
    """Imputes the missing values of the written profiles with the genes' means."""
    incomplete = np.any(missing.patterns, axis=1).take(missing.pattern)
    blocks = [block for block in blocks_of(np.arange(len(incomplete))) if incomplete[block].any()]
    with work.steps("imputing", len(blocks)) as advance:
        for block in blocks:
            samples = slice(block[0], block[-1] + 1)
            values = writer.read(samples)
            writer.write(samples, np.where(np.isnan(values), mean, values))
            advance(1)


def _joined(fitted: Scaler, existing: Reference) -> Scaler:
    """Completes the fitted scaler with that of the existing data set, for genes to which nothing was fitted."""
    mean = np.concatenate([existing.landmark_scaler.mean, existing.target_scaler.mean])
    sd = np.concatenate([existing.landmark_scaler.sd, existing.target_scaler.sd])
    unknown = np.isnan(fitted.mean)
    return Scaler(np.where(unknown, mean, fitted.mean), np.where(unknown, sd, fitted.sd))


def _report(plan: Plan, filled: bool) -> Report:
    """Makes the report of a plan; ``filled`` says whether missing genes are written, with imputed values."""
    staged, kept, kept_genes, complete = plan.staged, plan.kept, plan.kept_genes, plan.complete
    removed = np.full(len(complete), True)
    removed[kept] = False
    missing = staged.missing_per_gene(kept)
    present = missing < len(kept)
    landmark_present, target_present = np.split(present & kept_genes, [len(plan.landmark)])
    both = overlap(plan.landmark.take(plan.kept_landmarks), plan.target.take(plan.kept_targets))
    study = staged.study[kept]
    return Report(
        kind=staged.kind,
        naming=staged.match.naming,
        remarks=tuple(staged.match.remarks()),
        scale="linear" if staged.linear else "log2",
        samples_read=len(complete),
        duplicates_removed=tuple(staged.sample_id[removed & complete].tolist()),
        incomplete_removed=tuple(staged.sample_id[~complete].tolist()),
        split_samples={name: int((plan.split == i).sum()) for i, name in enumerate(SPLITS)},
        split_studies={name: len(set(study[plan.split == i]) - {""}) for i, name in enumerate(SPLITS)},
        landmarks=len(plan.kept_landmarks),
        landmarks_missing=plan.landmark.take(np.flatnonzero(~landmark_present)).ensembl,
        targets=len(plan.kept_targets),
        targets_missing=plan.target.take(np.flatnonzero(~target_present)).ensembl,
        targets_that_are_landmarks=plan.target.take(plan.kept_targets[both]).ensembl,
        gaps_filled=int(missing[kept_genes].sum()),
        genes_with_gaps=int((missing[kept_genes] > 0).sum()),
        samples_with_gaps=int((staged.missing_per_profile(kept_genes)[kept] > 0).sum()),
        missing_are_filled=filled,
        taken_as_missing=tally(staged.stand_ins),
        # Under ``legacy`` the means are those of the cohort or of the whole source, otherwise of the training profiles.
        gaps=gap_rule(("cohort's" if filled else "source's") if plan.legacy else "training"),
    )


def _checksums(paths: tuple[Path, ...], work: Work) -> dict[str, str]:
    """Computes the SHA-256 of each file, by name."""
    with work.steps("checksums", sum(path.stat().st_size for path in paths)) as advance:
        return {path.name: sha256_of(path, advance) for path in paths}
