"""The study's tables and sentences: what a comparison of models says, in numbers and in words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.analysis.evidence import Run, by_study, errors
from experiments.analysis.statistics import Errors, PairedComparison, compare, correct
from experiments.report.sections import Cell, Figure, Table
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


def differences(
    name: str,
    runs: Mapping[str, Run],
    pairs: Sequence[tuple[str, str]],
    comparisons: Sequence[PairedComparison],
    tested: str,
) -> Figure:
    """The figure of comparisons on test samples; ``tested`` is their ``data_line``."""
    return Figure(
        name,
        "intervals",
        "Difference of the test z-score MAE with its 95 % interval; small dots are the studies' own differences. Left "
        f"of zero the first is better ({tested}).",
        {
            "unit": "difference of z-score MAE",
            "better": "first is better",
            "rows": interval_rows(runs, pairs, comparisons),
        },
    )


def verdict(c: PairedComparison) -> str:
    """One or two sentences: which of the two has the lower error and by how much, or that no difference is shown."""
    if c.interval is None or c.study_interval is None:
        return (
            f"{c.a} − {c.b}: {signed(c.difference)} {c.measure}, without an interval, so nothing is shown "
            f"({c.no_interval})."
        )
    numbers = (
        f"{signed(c.difference)} {c.measure} {ends(c.interval)}, and {signed(c.study_difference)} "
        f"{ends(c.study_interval)} with every study counted once"
    )
    if c.shown is None:
        return f"No difference is shown between {c.a} and {c.b}: {numbers}."
    share = abs(c.improvement or 0)
    holm = "" if c.p_holm is None else f", Holm p = {c.p_holm:.2g}"
    return (
        f"{c.a} has a {c.shown} error than {c.b}: {numbers}{holm}. That is {share:.1f} % {c.shown}; it is lower in "
        f"{100 * c.genes_lower:.1f} % of the genes."
    )


def ends(interval: tuple[float, float]) -> str:
    """``[−0.0200, +0.0100]``."""
    return f"[{signed(interval[0])}, {signed(interval[1])}]"


def chosen_in_each(runs: Sequence[Run]) -> str:
    """Which model validation chooses in each source, and the test z-score MAE of these choices together.

    Chosen source by source: pooled over folds, the validation samples are the test samples of other folds.
    """
    best = [
        min(runs, key=lambda run: np.mean([outcome.validation_mae for outcome in run.outcomes[source]]))
        for source in range(len(runs[0].sources))
    ]
    tested = np.concatenate(
        [
            np.mean([outcome.scores["test"].sample[0] for outcome in run.outcomes[source]], axis=0)
            for source, run in enumerate(best)
        ]
    )
    counted = Counter(run.model.label for run in best).most_common()
    where = ", ".join(f"{label} ({number} of {len(best)})" for label, number in counted)
    choice = f"chooses, fold by fold, {where}; together these" if len(best) > 1 else f"chooses {counted[0][0]}; it"
    verb = "have" if len(best) > 1 else "has"
    return f"Of all {len(runs)} models validation {choice} {verb} a test z-score MAE of {tested.mean():.4f}."


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
