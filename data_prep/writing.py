"""From chosen profiles and genes of a staged source to the prepared file."""

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
from dgex.formats.missing_values import tally
from dgex.version import __version__

# How tied values are ranked, on arrays and on RNA-seq: the right way, and under ``legacy`` the originals'.
OF_ARRAYS: tuple[Ties, Ties] = ("quantile", "floor")
OF_RNA_SEQ: tuple[Ties, Ties] = ("rank", "dense")


@dataclass(frozen=True)
class Plan:
    """Which profiles and genes of a source are written, and how."""

    staged: Staged
    complete: np.ndarray  # bool [samples], the profiles without too many gaps
    kept: np.ndarray  # int [kept], positions in ``staged``
    split: np.ndarray  # u1 [kept]
    fit: np.ndarray  # bool [kept], the profiles that the fits are made of
    found: np.ndarray  # bool [genes], those of the tables that are written
    landmark: Genes  # of the tables
    target: Genes
    legacy: bool

    @property
    def ties(self) -> Ties:
        return (OF_ARRAYS if self.staged.match.naming == "probe set" else OF_RNA_SEQ)[self.legacy]

    @property
    def found_landmark(self) -> np.ndarray:
        return np.flatnonzero(self.found[: len(self.landmark)])

    @property
    def found_target(self) -> np.ndarray:
        return np.flatnonzero(self.found[len(self.landmark) :])

    def genes(self, profiles: np.ndarray) -> np.ndarray:
        """The genes to be written of some profiles: log2 [profiles, found].

        The originals ranked averages in float64; float32 would make ties, and so lower ranks, of some that differ.
        """
        return self.staged.genes(profiles, np.float64 if self.legacy else np.float32)[:, self.found]


def fit_reference(plan: Plan, work: Work) -> np.ndarray:
    """The quantile reference of the plan's profiles to fit on: ascending log2, float32 [found]."""
    profiles = plan.kept[plan.fit]
    total = QuantileSum(int(plan.found.sum()))
    with work.steps("fitting quantiles", len(profiles)) as advance:
        for values in in_order(plan.genes, blocks_of(profiles), work.resources.workers_for(plan.staged.rows)):
            total.add(values)
            advance(len(values))
    return total.quantiles()


def write(
    output: Path,
    plan: Plan,
    quantiles: np.ndarray,
    given: Reference | None,
    settings: dict[str, Any],
    command: str,
    sources: tuple[Path, ...],
    work: Work,
) -> Report:
    """Writes what the plan says.

    Args:
      quantiles: the reference distribution to map onto, ascending log2.
      given: whose scaler stands where nothing is fitted.
      settings: go into the provenance, as do ``command`` and the checksums of ``sources``.
    """
    landmarks, targets = len(plan.found_landmark), len(plan.found_target)
    report = _report(plan, filled=given is not None)
    missing = plan.staged.missing(plan.kept, plan.found)
    with create_dataset(output, len(plan.kept), landmarks, targets) as writer:
        fitted, before = _normalise(plan, quantiles, writer, work)
        scaler = _joined(fitted, given) if given else fitted
        _fill(missing, scaler.mean, writer, work)
        scalers = (
            Scaler(scaler.mean[:landmarks], scaler.sd[:landmarks]),
            Scaler(scaler.mean[landmarks:], scaler.sd[landmarks:]),
        )
        genes = plan.landmark.take(plan.found_landmark), plan.target.take(plan.found_target)
        writer.finish(
            Reference(*genes, *scalers, quantiles),
            plan.staged.sample_id[plan.kept].tolist(),
            plan.staged.study[plan.kept].tolist(),
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
    """Writes the normalised profiles, gaps and all; gives the fitted scaler and each study's values before."""

    def normal(profiles: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        values = plan.genes(profiles)
        return to_quantiles(values, quantiles, plan.ties), histograms(values, plan.staged.study[profiles])

    moments = Moments(np.full(int(plan.found.sum()), quantiles.mean()))
    before: dict[str, np.ndarray] = {}
    first = 0
    with work.steps("normalising", len(plan.kept)) as advance:
        for values, counts in in_order(normal, blocks_of(plan.kept), work.resources.workers_for(plan.staged.rows)):
            samples = slice(first, first + len(values))
            writer.write(samples, values)
            moments.add(values[plan.fit[samples]])
            for study, count in counts.items():
                before[study] = before.get(study, 0) + count
            first = samples.stop
            advance(len(values))
    return moments.scaler(plan.legacy), before


def _fill(missing: Missing, mean: np.ndarray, writer: Writer, work: Work) -> None:
    """Puts the genes' means where the written profiles have gaps."""
    gaps = np.any(missing.patterns, axis=1).take(missing.pattern)
    blocks = [block for block in blocks_of(np.arange(len(gaps))) if gaps[block].any()]
    with work.steps("filling gaps", len(blocks)) as advance:
        for block in blocks:
            samples = slice(block[0], block[-1] + 1)
            values = writer.read(samples)
            writer.write(samples, np.where(np.isnan(values), mean, values))
            advance(1)


def _joined(fitted: Scaler, given: Reference) -> Scaler:
    """The fitted scaler, and the given one where nothing was fitted."""
    mean = np.concatenate([given.landmark_scaler.mean, given.target_scaler.mean])
    sd = np.concatenate([given.landmark_scaler.sd, given.target_scaler.sd])
    unknown = np.isnan(fitted.mean)
    return Scaler(np.where(unknown, mean, fitted.mean), np.where(unknown, sd, fitted.sd))


def _report(plan: Plan, filled: bool) -> Report:
    staged, kept, found, complete = plan.staged, plan.kept, plan.found, plan.complete
    removed = np.full(len(complete), True)
    removed[kept] = False
    lacking = staged.lacking(kept)
    present = lacking < len(kept)
    landmark_present, target_present = np.split(present & found, [len(plan.landmark)])
    both = overlap(plan.landmark.take(plan.found_landmark), plan.target.take(plan.found_target))
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
        landmarks=len(plan.found_landmark),
        landmarks_missing=plan.landmark.take(np.flatnonzero(~landmark_present)).ensembl,
        targets=len(plan.found_target),
        targets_missing=plan.target.take(np.flatnonzero(~target_present)).ensembl,
        targets_that_are_landmarks=plan.target.take(plan.found_target[both]).ensembl,
        gaps_filled=int(lacking[found].sum()),
        genes_with_gaps=int((lacking[found] > 0).sum()),
        samples_with_gaps=int((staged.lacked(found)[kept] > 0).sum()),
        missing_are_filled=filled,
        taken_as_missing=tally(staged.stand_ins),
        # A cohort's own means where it is fitted on, the data set's training profiles' where it is not.
        gaps=gap_rule(("cohort's" if filled else "source's") if plan.legacy else "training"),
    )


def _checksums(paths: tuple[Path, ...], work: Work) -> dict[str, str]:
    with work.steps("checksums", sum(path.stat().st_size for path in paths)) as advance:
        return {path.name: sha256_of(path, advance) for path in paths}
