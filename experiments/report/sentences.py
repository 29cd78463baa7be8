"""The sentences that experiments share: what a comparison of models says, in words."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.analysis.evidence import Run, errors
from experiments.analysis.statistics import PairedComparison


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
            np.mean([outcome.held_out_errors["test"].sample[0] for outcome in run.outcomes[source]], axis=0)
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
