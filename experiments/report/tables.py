"""The tables that experiments share, as plain data: errors of models, their differences, errors of genes."""

from collections.abc import Mapping, Sequence

import numpy as np

from dgex.data.dataset import Reference
from experiments.analysis.evidence import Run, errors
from experiments.analysis.statistics import PairedComparison
from experiments.report.sections import Cell, Table
from experiments.trials.heldout import MEASURES


def error_table(name: str, caption: str, runs: Sequence[Run], held: str = "test") -> Table:
    """One row a model: its size, validation error, and errors and correlation on a held-out set.

    Errors are means over samples, genes and seeds; the SD is of these means, over seeds. Pearson r and R2 are means
    over genes. The best epoch is a mean over networks; "at the end" are those whose best epoch is among the last 5 %
    of them, and which longer training might improve. The caption says how many networks diverged.
    """
    columns = [
        "model", "parameters", "validation z-score MAE", "z-score MAE", "SD of the mean over seeds",
        *MEASURES[1:], "Pearson r", "R2", "best epoch", "at the end, %",
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for run in runs:
        of = [errors(run, held, measure).sample.mean(1) for measure in MEASURES]
        genes = run.per_gene(held)
        rows.append(
            [
                run.model.label,
                run.outcomes[0][0].parameters,
                run.validation_mae,
                float(of[0].mean()),
                float(of[0].std(ddof=1)) if len(of[0]) > 1 else None,
                *(float(values.mean()) for values in of[1:]),
                *(_mean_of_defined(values) for values in (genes.pearson, genes.r2)),
                *_best_epochs(run),
            ]
        )
    return Table(name, f"{caption} R2 is against the mean predictor.{_diverged(runs)}", columns, rows)


def _diverged(runs: Sequence[Run]) -> str:
    networks = [outcome for run in runs if run.model.seeded for seeds in run.outcomes for outcome in seeds]
    diverged = sum(outcome.diverged is not None for outcome in networks)
    if not diverged:
        return ""
    return f" Diverged, and scored at the best epoch before: {diverged} of {len(networks)} networks."


def _best_epochs(run: Run) -> tuple[float | None, float | None]:
    """Mean best epoch of the networks, and how many in 100 have it among the last 5 % of their epochs."""
    if not run.model.seeded:
        return None, None
    best = [(outcome.best_epoch or 0, outcome.curve.shape[1]) for seeds in run.outcomes for outcome in seeds]
    return float(np.mean([epoch for epoch, _ in best])), 100 * float(np.mean([e > 0.95 * of for e, of in best]))


def _mean_of_defined(values: np.ndarray) -> float | None:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else None


COMPARISON_COLUMNS = (
    "first", "second", "first − second", "low", "high", "first lower by, %", "genes lower in first, %",
    "every study once: first − second", "low", "high", "Cohen's d", "p", "Holm p",
)  # fmt: skip
# What the CSV file has besides.
MORE_COLUMNS = (
    "genes lower in one study and seed, %", "low", "high", "studies", "folds", "seeds", "no interval",
)  # fmt: skip


def comparison_table(name: str, caption: str, comparisons: Sequence[PairedComparison]) -> Table:
    """One row a comparison; what matters first, and the rest in the CSV file alone."""

    def pair(interval: tuple[float, float] | None, scale: float = 1) -> tuple[float | None, float | None]:
        return (scale * interval[0], scale * interval[1]) if interval else (None, None)

    rows: list[list[Cell]] = [
        [
            c.a, c.b, c.difference, *pair(c.interval), c.improvement, 100 * c.genes_lower,
            c.study_difference, *pair(c.study_interval), c.cohens_d, c.p_studies, c.p_holm,
            100 * c.genes_lower_once, *pair(c.genes_lower_once_interval, 100), c.studies, c.folds, c.seeds,
            c.no_interval,
        ]
        for c in comparisons
    ]  # fmt: skip
    note = (
        f"{caption} Low and high end a 95 % interval, not corrected for the number of rows. First − second weighs a "
        "study by its samples; Cohen's d and p are of the studies' differences, every study once. p is of Wilcoxon's "
        "signed-rank test over studies, corrected for the rows by Holm's method; it takes studies that the same "
        "networks predict for independent, which is too favourable: where it and the interval disagree, believe the "
        "interval."
    )
    return Table(name, note, [*COMPARISON_COLUMNS, *MORE_COLUMNS], rows, columns_shown=len(COMPARISON_COLUMNS))


def gene_table(
    name: str, runs: Mapping[str, Run], reference: Reference, columns: np.ndarray, first: str, second: str
) -> Table:
    """One row a gene: its test error by every model; those on which ``first`` gains most on ``second`` on top.

    Args:
      name: of the table.
      runs: by name of the model.
      reference: the genes of the prepared file.
      columns: which of its targets the genes are.
      first, second: names of models.
    """
    genes = reference.target_genes.take(columns)
    mae = {model: run.per_gene("test").mae for model, run in runs.items()}
    gain = mae[first] - mae[second]
    labels = {model: run.model.label for model, run in runs.items()}
    rows: list[list[Cell]] = [
        [
            genes.ensembl[gene],
            genes.symbol[gene],
            "yes" if reference.overlap[columns[gene]] else "no",
            float(gain[gene]),
            *(float(values[gene]) for values in mae.values()),
        ]
        for gene in np.argsort(gain)
    ]
    return Table(
        name,
        f"Test z-score MAE of every gene, mean over samples and seeds; those on which {labels[first]} gains most on "
        f"{labels[second]} first.",
        ["Ensembl id", "symbol", "landmark too", f"{labels[first]} − {labels[second]}", *labels.values()],
        rows,
        shown=12,
    )
