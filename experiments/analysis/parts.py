"""Joins outcomes on parts of the targets, as D-GEX trained its networks, into one outcome over all targets."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from experiments.trials.heldout import MEASURES, HeldOutErrors
from experiments.trials.loading import random_subset
from experiments.trials.outcome import Outcome


def joined(parts: Sequence[tuple[int | None, Outcome]]) -> Outcome:
    """Joins outcomes on disjoint parts of the targets; a single one is returned as it is.

    Validation errors, curves and best epochs become means, weighted by the targets; a learning rate or an epoch is
    chosen for each part by itself.

    Args:
      parts: of each part ``Trial.targets`` and its outcome; together these are all targets.

    Raises:
      ValueError: there are several parts, and one of them has all targets.
    """
    if len(parts) == 1:
        return parts[0][1]
    sizes = [abs(targets or 0) for targets, _ in parts]
    if 0 in sizes:
        raise ValueError("several outcomes of one model, source and seed, and one of them has all targets")
    outcomes = [outcome for _, outcome in parts]
    columns = np.concatenate([random_subset(sum(sizes), targets) for targets, _ in parts])

    def mean(values: Sequence[np.ndarray | float | int]) -> np.ndarray:
        return np.tensordot(np.array(sizes) / sum(sizes), np.array(values, np.float64), 1)

    first = outcomes[0]
    return replace(
        first,
        held_out_errors={
            name: _joined([outcome.held_out_errors[name] for outcome in outcomes], columns)
            for name in first.held_out_errors
        },
        validation_mae=float(mean([outcome.validation_mae for outcome in outcomes])),
        parameters=None if first.parameters is None else sum(outcome.parameters or 0 for outcome in outcomes),
        best_epoch=None
        if first.best_epoch is None
        else round(float(mean([each.best_epoch or 0 for each in outcomes]))),
        curve=mean([outcome.curve for outcome in outcomes]),
        taaf={},  # of several networks
        seconds=sum(outcome.seconds for outcome in outcomes),
        diverged=next((outcome.diverged for outcome in outcomes if outcome.diverged is not None), None),
    )


def _joined(parts: Sequence[HeldOutErrors], columns: np.ndarray) -> HeldOutErrors:
    """Joins errors on the same samples; ``columns`` are the positions of all parts' targets, one part after another.

    The error of a sample is weighted by the genes of each part. That is exact where the sample has all of them.
    """
    measured = np.concatenate([part.measured for part in parts])
    order, genes = np.argsort(columns), np.argsort(columns[measured])
    counts = np.array([[len(part.sd), (~part.overlap).sum()] * (len(MEASURES) // 2) for part in parts])
    weights = counts / np.maximum(counts.sum(axis=0), 1)
    return HeldOutErrors(
        study=parts[0].study,
        sample=np.einsum("pm,pms->ms", weights, [part.sample for part in parts]),
        gene=np.concatenate([part.gene for part in parts], axis=1)[:, genes],
        sums=np.concatenate([part.sums for part in parts], axis=1)[:, genes],
        measured=measured[order],
        overlap=np.concatenate([part.overlap for part in parts])[genes],
        sd=np.concatenate([part.sd for part in parts])[genes],
    )
