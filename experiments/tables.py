"""The study's tables and sentences: what a comparison of models says, in numbers and in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.evidence import Run, by_study, errors
from experiments.heldout import MEASURES
from experiments.sections import Cell, Table
from experiments.statistics import Errors, PairedComparison, compare, correct


def error_table(name: str, caption: str, runs: Sequence[Run], held: str = "test") -> Table:
    """One row a model: its size, validation error, and errors and correlation on a held-out set.

    Errors are means over samples, genes and seeds, and the SD is over seeds. Pearson r and R2 are means over genes, of
    a gene over all held-out samples.
    """
    columns = [
        "model", "parameters", "validation z-score MAE", "z-score MAE", "SD over seeds",
        *MEASURES[1:], "Pearson r", "R2 against the mean predictor",
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for run in runs:
        of = [errors(run, held, measure).sample.mean(1) for measure in MEASURES]
        genes = run.of_genes(held)
        rows.append(
            [
                run.model.label,
                run.outcomes[0][0].parameters,
                run.validation_mae,
                float(of[0].mean()),
                float(of[0].std(ddof=1)) if len(of[0]) > 1 else None,
                *(float(values.mean()) for values in of[1:]),
                *(_mean_of_defined(values) for values in (genes.pearson, genes.r2)),
            ]
        )
    return Table(name, caption, columns, rows)


def _mean_of_defined(values: np.ndarray) -> float | None:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else None


COMPARISON_COLUMNS = (
    "first", "second", "first − second", "low", "high", "first lower by, %", "genes lower in first, %",
    "Cohen's d", "p", "Holm p", "studies", "folds", "seeds",
)  # fmt: skip
# What the CSV file has besides.
MORE_COLUMNS = (
    "no interval", "every study once: first − second", "low", "high",
    "genes lower in one study and seed, %", "low", "high", "p over seeds",
)  # fmt: skip


def comparison_table(name: str, caption: str, comparisons: Sequence[PairedComparison]) -> Table:
    """One row a comparison, with everything that ``PairedComparison`` holds."""

    def ends(interval: tuple[float, float] | None, scale: float = 1) -> tuple[float | None, float | None]:
        return (scale * interval[0], scale * interval[1]) if interval else (None, None)

    rows: list[list[Cell]] = [
        [
            c.a, c.b, c.difference, *ends(c.interval), c.improvement, 100 * c.genes_lower,
            c.cohens_d, c.p_studies, c.p_holm, c.studies, c.folds, c.seeds,
            c.no_interval, c.study_difference, *ends(c.study_interval),
            100 * c.genes_lower_once, *ends(c.genes_lower_once_interval, 100), c.p_seeds,
        ]
        for c in comparisons
    ]  # fmt: skip
    note = (
        f"{caption} Low and high end a 95 % interval. Cohen's d and p are of the studies' differences, every study "
        "once; p by Wilcoxon's signed-rank test, corrected for the rows of this table by Holm's method."
    )
    return Table(name, note, [*COMPARISON_COLUMNS, *MORE_COLUMNS], rows, columns_shown=len(COMPARISON_COLUMNS))


def compare_all(
    runs: Mapping[str, Run], pairs: Sequence[tuple[str, str]], held: str = "test", measure: str = "z-score MAE"
) -> list[PairedComparison]:
    """Every pair of models (names) compared on a held-out set, p-values corrected for the number of pairs."""
    needed: dict[str, Errors] = {}
    for name in {name for pair in pairs for name in pair}:
        needed[name] = errors(runs[name], held, measure)
    return correct([compare(needed[a], needed[b]) for a, b in pairs])


def interval_rows(
    runs: Mapping[str, Run],
    pairs: Sequence[tuple[str, str]],
    comparisons: Sequence[PairedComparison],
    held: str = "test",
    groups: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The rows of an ``intervals`` figure: every comparison, with each study's own difference as points."""
    rows = []
    for number, ((a, b), c) in enumerate(zip(pairs, comparisons, strict=True)):
        first, second = by_study(errors(runs[a], held, c.measure)), by_study(errors(runs[b], held, c.measure))
        low, high = c.interval or (None, None)
        row = {
            "label": labels[number] if labels else f"{c.a} − {c.b}",
            "estimate": c.difference,
            "low": low,
            "high": high,
            "points": [first[study] - second[study] for study in first],
        }
        rows.append({**row, "group": groups[number]} if groups else row)
    return rows


def verdict(c: PairedComparison) -> str:
    """One sentence: which of the two has the lower error and by how much, or that no difference is shown."""
    if c.interval is None:
        return (
            f"{c.a} − {c.b}: {signed(c.difference)} {c.measure}, without an interval, so nothing is shown "
            f"({c.no_interval})."
        )
    low, high = c.interval
    ends = f"[{signed(low)}, {signed(high)}]"
    if low <= 0 <= high:
        return f"No difference is shown between {c.a} and {c.b}: {signed(c.difference)} {c.measure} {ends}."
    relation, share = ("lower", c.improvement) if c.difference < 0 else ("higher", -(c.improvement or 0))
    return (
        f"{c.a} has a {relation} error than {c.b}: {signed(c.difference)} {c.measure} {ends}, "
        f"{share:.1f} % {relation}; it is lower in {100 * c.genes_lower:.1f} % of the genes."
    )


def signed(value: float) -> str:
    """``+0.0123``, ``−0.0123`` with a minus sign, ``−3e−05``: an end beside zero must not read as zero."""
    return (f"{value:+.4f}" if value == 0 or abs(value) >= 5e-5 else f"{value:+.0e}").replace("-", "−")


def data_line(runs: Mapping[str, Run], held: str = "test") -> str:
    """What was tested on: samples, studies, folds, genes, seeds."""
    first = next(iter(runs.values()))
    of = errors(first, held)
    seeds = max(len(run.outcomes[0]) for run in runs.values())
    folds = f" in {len(set(of.fold))} folds" if of.fold else ""
    studies = len(set(of.study))
    return (
        f"{len(of.study):,} samples of {studies} {'study' if studies == 1 else 'studies'}{folds}, "
        f"{of.gene.shape[2]:,} target genes, {seeds} seed{'s' if seeds > 1 else ''}"
    )
