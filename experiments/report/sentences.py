"""Sentences of reports that several experiments use: the results of comparisons in words."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.analysis.evidence import Run, errors
from experiments.analysis.statistics import PairedComparison


def verdict(c: PairedComparison) -> str:
    """Says which of two models has the lower error and by how much, or that no difference is shown."""
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
    percent = abs(c.improvement or 0)
    holm = "" if c.p_holm is None else f", Holm p = {c.p_holm:.2g}"
    return (
        f"{c.a} has a {c.shown} error than {c.b}: {numbers}{holm}. The error is {percent:.1f} % {c.shown}; it is lower "
        f"in {100 * c.genes_lower:.1f} % of the genes."
    )


def ends(interval: tuple[float, float]) -> str:
    """Formats an interval as ``[−0.0200, +0.0100]``."""
    return f"[{signed(interval[0])}, {signed(interval[1])}]"


def chosen_in_each(runs: Sequence[Run]) -> str:
    """Says which model has the lowest validation error in each source, and the test z-score MAE of these models.

    The choice is made source by source, since the validation samples of one fold are test samples of other folds.
    """
    best = [
        min(runs, key=lambda run: np.mean([outcome.validation_mae for outcome in run.outcomes[source]]))
        for source in range(len(runs[0].sources))
    ]
    tested = np.concatenate(
        [
            np.mean([outcome.held_out_errors["test"].sample[0] for outcome in run.outcomes[source]], axis=0)
            for source, run in enumerate(best)
        ]
    )
    if len(best) == 1:
        return (
            f"Of all {len(runs)} models, {best[0].model.label} has the lowest validation error; its test z-score MAE "
            f"is {tested.mean():.4f}."
        )
    counted = Counter(run.model.label for run in best).most_common()
    labels = ", ".join(f"{label} ({number} of {len(best)})" for label, number in counted)
    return (
        f"Of all {len(runs)} models, the one with the lowest validation error is, fold by fold, {labels}; together "
        f"these have a test z-score MAE of {tested.mean():.4f}."
    )


def signed(value: float) -> str:
    """Formats a difference as ``+0.0123`` or ``−0.0123``; one beside zero as ``−3e−05``, so as not to read as zero."""
    return (f"{value:+.4f}" if value == 0 or abs(value) >= 5e-5 else f"{value:+.0e}").replace("-", "−")


def data_line(runs: Mapping[str, Run], held_out: str = "test") -> str:
    """Says what the models were tested on: samples, studies, folds, genes, seeds."""
    first = errors(next(iter(runs.values())), held_out)
    seeds = max(len(run.outcomes[0]) for run in runs.values())
    folds = f" in {len(set(first.fold))} folds" if first.fold else ""
    studies = len(set(first.study))
    return (
        f"{len(first.study):,} samples of {studies} {'study' if studies == 1 else 'studies'}{folds}, "
        f"{first.gene.shape[2]:,} target genes, {seeds} seed{'s' if seeds > 1 else ''}"
    )
