"""Tables of reports that several experiments use: errors of models, their differences, errors of genes."""

from collections.abc import Mapping, Sequence

import numpy as np

from dgex.data.dataset import Reference
from experiments.analysis.evidence import Run, errors
from experiments.analysis.statistics import PairedComparison
from experiments.report.sections import Cell, Table
from experiments.trials.heldout import MEASURES


def error_table(name: str, caption: str, runs: Sequence[Run], held_out: str = "test") -> Table:
    """Makes a table with a row for each model: its size, validation error, and scores on a held-out set.

    Errors are means over samples, genes and seeds; the SD is that of the seeds' means. Pearson r and R2 are means over
    genes. The best epoch is a mean over networks; "at the end" is the percentage of networks whose best epoch is among
    the last 5 % of their epochs, which longer training might improve. The caption says how many networks diverged.
    """
    columns = [
        "model", "parameters", "validation z-score MAE", "z-score MAE", "SD of the mean over seeds",
        *MEASURES[1:], "Pearson r", "R2", "best epoch", "at the end, %",
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for run in runs:
        seed_means = [errors(run, held_out, measure).sample.mean(1) for measure in MEASURES]
        genes = run.per_gene(held_out)
        rows.append(
            [
                run.model.label,
                run.outcomes[0][0].parameters,
                run.validation_mae,
                float(seed_means[0].mean()),
                float(seed_means[0].std(ddof=1)) if len(seed_means[0]) > 1 else None,
                *(float(values.mean()) for values in seed_means[1:]),
                *(_mean_of_defined(values) for values in (genes.pearson, genes.r2)),
                *_best_epochs(run),
            ]
        )
    return Table(name, f"{caption} R2 is relative to the mean predictor.{_diverged(runs)}", columns, rows)


def _diverged(runs: Sequence[Run]) -> str:
    """Says how many networks have diverged, if any."""
    networks = [outcome for run in runs if run.model.seeded for seeds in run.outcomes for outcome in seeds]
    diverged = sum(outcome.diverged is not None for outcome in networks)
    if not diverged:
        return ""
    return f" Diverged, and scored at the best epoch before: {diverged} of {len(networks)} networks."


def _best_epochs(run: Run) -> tuple[float | None, float | None]:
    """Computes the mean best epoch of the networks, and the % of them that have it in the last 5 % of their epochs."""
    if not run.model.seeded:
        return None, None
    outcomes = [outcome for seeds in run.outcomes for outcome in seeds]
    best = np.array([outcome.best_epoch or 0 for outcome in outcomes])
    epochs = np.array([outcome.curve.shape[1] for outcome in outcomes])
    return float(best.mean()), 100 * float((best > 0.95 * epochs).mean())


def _mean_of_defined(values: np.ndarray) -> float | None:
    """Averages the finite values; None where there are none."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else None


COMPARISON_COLUMNS = (
    "first", "second", "first − second", "low", "high", "first lower by, %", "genes lower in first, %",
    "every study once: first − second", "low", "high", "Cohen's d", "p", "Holm p",
)  # fmt: skip
# Columns that only the CSV file has.
MORE_COLUMNS = (
    "genes lower in one study and seed, %", "low", "high", "studies", "folds", "seeds", "no interval",
)  # fmt: skip


def comparison_table(name: str, caption: str, comparisons: Sequence[PairedComparison]) -> Table:
    """Makes a table with a row for each comparison; the less important columns are in the CSV file only."""

    def low_and_high(interval: tuple[float, float] | None, scale: float = 1) -> tuple[float | None, float | None]:
        return (scale * interval[0], scale * interval[1]) if interval else (None, None)

    rows: list[list[Cell]] = [
        [
            c.a, c.b, c.difference, *low_and_high(c.interval), c.improvement, 100 * c.genes_lower,
            c.study_difference, *low_and_high(c.study_interval), c.cohens_d, c.p_studies, c.p_holm,
            100 * c.genes_lower_once, *low_and_high(c.genes_lower_once_interval, 100), c.studies, c.folds, c.seeds,
            c.no_interval,
        ]
        for c in comparisons
    ]  # fmt: skip
    note = (
        f"{caption} Low and high are the ends of a 95 % interval, not corrected for the number of rows. In first − "
        "second a study counts by its samples; for Cohen's d and p every study counts once. p is that of Wilcoxon's "
        "signed-rank test over studies, and Holm p is corrected for the number of rows by Holm's method. The test "
        "treats studies that the same networks predict as independent, which is too favourable: where it and the "
        "interval disagree, rely on the interval."
    )
    return Table(name, note, [*COMPARISON_COLUMNS, *MORE_COLUMNS], rows, columns_shown=len(COMPARISON_COLUMNS))


def gene_table(
    name: str, runs: Mapping[str, Run], reference: Reference, columns: np.ndarray, first: str, second: str
) -> Table:
    """Makes a table with a row for each gene: its test error by every model.

    The genes on which the error of ``first`` is lowest compared with that of ``second`` come first.

    Args:
      name: name of the table.
      runs: runs by name of the model.
      reference: the genes of the prepared file.
      columns: positions of the genes among its targets.
      first: name of a model.
      second: name of the model to compare it with.
    """
    genes = reference.target_genes.take(columns)
    mae = {model: run.per_gene("test").mae for model, run in runs.items()}
    difference = mae[first] - mae[second]
    labels = {model: run.model.label for model, run in runs.items()}
    rows: list[list[Cell]] = [
        [
            genes.ensembl[gene],
            genes.symbol[gene],
            "yes" if reference.overlap[columns[gene]] else "no",
            float(difference[gene]),
            *(float(values[gene]) for values in mae.values()),
        ]
        for gene in np.argsort(difference)
    ]
    return Table(
        name,
        f"Test z-score MAE of every gene, mean over samples and seeds, sorted by the difference {labels[first]} − "
        f"{labels[second]}.",
        ["Ensembl id", "symbol", "landmark too", f"{labels[first]} − {labels[second]}", *labels.values()],
        rows,
        shown=12,
    )
