"""From a GCTX file of probe sets to a prepared data set.

Values that were not measured are handled so:

1. A probe set missing in a profile is left out of its gene's average there.
2. A profile is removed if it lacks more than 10 % of the genes that at least half of the profiles have.
3. A gene is removed, and reported as missing, if more than half of the training profiles lack it, as all do where none
   of its probe sets is in the source.
4. Every other gap is filled after normalisation with the gene's mean over the training profiles that have it, which
   is a z-score of 0. The report counts them.

The reference distribution, the means and the scaler come from the training split alone.
"""

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

import dgex
from data_prep.duplicates import keep_unique
from data_prep.probes import average_probes, find_probes
from data_prep.split import FRACTIONS, Fractions, Split, check_fractions, split_by_sample, split_by_study
from dgex.console import stderr
from dgex.dataset import SPLITS, Dataset, sha256_of, write_dataset
from dgex.errors import DgexError
from dgex.formats.gctx import read_gctx
from dgex.formats.matrix import Expression
from dgex.genes import gene_table_paths, read_gene_tables
from dgex.normalization import fit_quantiles, fit_scaler, to_quantiles

MOST_MISSING_OF_A_PROFILE = 0.1
MOST_MISSING_OF_A_GENE = 0.5
LARGEST_LOG2 = 32.0  # beyond any scanner's or sequencer's count
GAP_RULE = "filled with the gene's mean over the training profiles that have it (z-score 0)"


@dataclass(frozen=True)
class Report:
    """What preparation did. ``str`` of it is what the command prints; the data set keeps it as provenance."""

    samples_read: int
    duplicates_removed: tuple[str, ...]  # sample ids
    incomplete_removed: tuple[str, ...]  # sample ids
    split_samples: dict[str, int]
    split_studies: dict[str, int]
    landmarks_found: int
    landmarks_missing: tuple[str, ...]  # Ensembl ids
    targets_found: int
    targets_missing: tuple[str, ...]  # Ensembl ids
    gaps_filled: int  # values; in how many genes and samples:
    genes_with_gaps: int
    samples_with_gaps: int

    def __str__(self) -> str:
        samples = sum(self.split_samples.values())
        share = self.gaps_filled / (samples * (self.landmarks_found + self.targets_found))
        splits = (f"{name} {self.split_samples[name]} ({self.split_studies[name]} studies)" for name in SPLITS)
        return (
            f"samples read        {self.samples_read}\n"
            f"duplicates removed  {_listed(self.duplicates_removed)}\n"
            f"incomplete removed  {_listed(self.incomplete_removed)}\n"
            f"samples kept        {samples}: {', '.join(splits)}\n"
            f"landmark genes      {self.landmarks_found} found, missing: {_listed(self.landmarks_missing)}\n"
            f"target genes        {self.targets_found} found, missing: {_listed(self.targets_missing)}\n"
            f"gaps                {self.gaps_filled} values ({share:.4%}) of {self.genes_with_gaps} genes "
            f"in {self.samples_with_gaps} samples, {GAP_RULE}"
        )


def prepare(
    source: Path,
    genes_dir: Path,
    output: Path,
    split: Split,
    seed: int,
    command: str,
    fractions: Fractions = FRACTIONS,
) -> Report:
    """Reads a GCTX file and the gene tables in ``genes_dir``, and writes a prepared data set to ``output``.

    Equal input, seed and command give equal bytes.

    Args:
      split: whether whole studies or single samples are assigned.
      seed: of the split.
      command: what the user asked for; kept as provenance.
      fractions: shares of training, validation and test; they sum to 1.

    Raises:
      DgexError: an input is unusable (see ``read_gctx``, ``read_gene_tables``): values not in log2, rows that are not
        the tables' probe sets, no studies to split by, too few samples; or the output cannot be written.
    """
    check_writable(output)
    check_fractions(fractions)
    with stderr.status("reading") as status:
        landmark_genes, target_genes = read_gene_tables(genes_dir)
        expression = read_gctx(source)
        _check_log2(source, expression)
        study = _studies(source, expression, needed=split == "study")

        status.update("averaging probe sets")
        probes = find_probes(expression.row_id, landmark_genes) + find_probes(expression.row_id, target_genes)
        values = average_probes(expression.values, probes)
        sides = _by_side(np.isnan(values), len(landmark_genes))
        for table, missing in zip(gene_table_paths(genes_dir), sides, strict=True):
            if missing.all():
                raise DgexError(
                    f"{source}: has values for no gene of {table}; its rows are named like {expression.row_id[0]}, use "
                    "gene tables that name probe sets so"
                )

        status.update("looking for duplicates")
        named = sorted({row for rows in probes for row in rows})
        unique = keep_unique(expression.values[:, named])
        complete = _is_complete(values)
        kept = unique & complete
        values, study = values[kept], study[kept]

        status.update("normalising")
        if split == "study":
            code = split_by_study(study, fractions, seed)
        else:
            code = split_by_sample(len(study), fractions, seed)
        training = code == SPLITS.index("train")
        found = np.isnan(values[training]).mean(axis=0) <= MOST_MISSING_OF_A_GENE
        landmark_found, target_found = _by_side(found, len(landmark_genes))
        for table, side in zip(gene_table_paths(genes_dir), (landmark_found, target_found), strict=True):
            if not side.any():
                raise DgexError(
                    f"{source}: no gene of {table} is measured in half of the training profiles; use a fuller source"
                )
        quantiles = fit_quantiles(values[training][:, found])
        values = to_quantiles(values[:, found], quantiles)
        gaps = np.isnan(values)
        values = np.where(gaps, np.nanmean(values[training], axis=0, dtype=np.float64).astype(np.float32), values)
        landmark, target = _by_side(values, landmark_found.sum())

        status.update("writing")
        sample_id = np.array(expression.sample_id)
        report = Report(
            samples_read=len(sample_id),
            duplicates_removed=tuple(sample_id[~unique].tolist()),
            incomplete_removed=tuple(sample_id[unique & ~complete].tolist()),
            split_samples={name: int((code == i).sum()) for i, name in enumerate(SPLITS)},
            split_studies={name: len(set(study[code == i]) - {""}) for i, name in enumerate(SPLITS)},
            landmarks_found=landmark.shape[1],
            landmarks_missing=landmark_genes.take(np.flatnonzero(~landmark_found)).ensembl,
            targets_found=target.shape[1],
            targets_missing=target_genes.take(np.flatnonzero(~target_found)).ensembl,
            gaps_filled=int(gaps.sum()),
            genes_with_gaps=int(gaps.any(axis=0).sum()),
            samples_with_gaps=int(gaps.any(axis=1).sum()),
        )
        write_dataset(
            output,
            Dataset(
                landmark=landmark,
                target=target,
                sample_id=tuple(sample_id[kept].tolist()),
                study=tuple(study.tolist()),
                split=code,
                landmark_genes=landmark_genes.take(np.flatnonzero(landmark_found)),
                target_genes=target_genes.take(np.flatnonzero(target_found)),
                landmark_scaler=fit_scaler(landmark[training]),
                target_scaler=fit_scaler(target[training]),
                quantiles=quantiles,
                provenance={
                    "seed": seed,
                    "command": command,
                    "sources": {path.name: sha256_of(path) for path in (source, *gene_table_paths(genes_dir))},
                    "versions": {"python": platform.python_version()}
                    | {package.__name__: package.__version__ for package in (np, h5py, dgex)},
                    "preparation": {"split": split, "fractions": fractions, "gaps": GAP_RULE, **asdict(report)},
                },
            ),
        )
    return report


def check_writable(path: Path) -> None:
    """Finds out before the work, not after it, that ``path`` cannot be written; makes nothing."""
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise DgexError(f"{path}: cannot be written; give the name of a file in a folder you may write to")


def _by_side(values: np.ndarray, landmarks: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits an array whose last axis is the landmarks and then the targets."""
    return values[..., :landmarks], values[..., landmarks:]


def _check_log2(source: Path, expression: Expression) -> None:
    largest = np.nanmax(expression.values, initial=-np.inf)
    if largest > LARGEST_LOG2:
        raise DgexError(f"{source}: reaches {largest:g}, so it is not on a log2 scale; write log2(max(x, 0) + 1) of it")
    smallest = np.nanmin(expression.values, initial=np.inf)
    if smallest < -LARGEST_LOG2:
        raise DgexError(f"{source}: reaches {smallest:g}, so it is not on a log2 scale; write NaN where not measured")


def _studies(source: Path, expression: Expression, needed: bool) -> np.ndarray:
    """Each sample's study, "" where unknown."""
    study = expression.sample_metadata.get("study_id", np.full(len(expression.sample_id), "")).astype(str)
    if needed and (study == "").any():
        raise DgexError(
            f"{source}: {(study == '').sum()} of {len(study)} samples have no study_id; add this field to the sample "
            "metadata, or choose --split sample"
        )
    return study


def _is_complete(values: np.ndarray) -> np.ndarray:
    missing = np.isnan(values)
    usual = missing.mean(axis=0) <= MOST_MISSING_OF_A_GENE
    return missing[:, usual].sum(axis=1) <= MOST_MISSING_OF_A_PROFILE * usual.sum()


def _listed(names: tuple[str, ...]) -> str:
    """Their number, and the names where they are few."""
    return f"{len(names)} ({', '.join(names)})" if 0 < len(names) <= 10 else str(len(names))
