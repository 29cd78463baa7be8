"""The figures that experiments share, as plain data: from runs of models to what ``charts`` draws."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from dgex.networks import NetworkConfig, initial_taaf
from dgex.taaf import taaf
from experiments.analysis.evidence import Run, by_study, errors
from experiments.analysis.statistics import PairedComparison
from experiments.report.sections import Figure

SHAPES = 24  # units of a layer, evenly spaced along their numbers, whose shapes are drawn
RANGE = np.linspace(-6, 6, 61, dtype=np.float32)  # of pre-activations


def differences(
    name: str,
    runs: Mapping[str, Run],
    pairs: Sequence[tuple[str, str]],
    comparisons: Sequence[PairedComparison],
    tested: str,
) -> Figure:
    """Draws comparisons on test samples with their intervals; ``tested`` is their ``data_line``."""
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


def interval_rows(
    runs: Mapping[str, Run],
    pairs: Sequence[tuple[str, str]],
    comparisons: Sequence[PairedComparison],
    held: str = "test",
    groups: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Makes the rows of an ``intervals`` figure: every comparison, with each study's own difference as points."""
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


def study_errors(name: str, runs: Sequence[Run], held: str, what: str) -> Figure:
    """Draws every study's mean error, one mark a model, in the order of the first model's.

    Args:
      name: of the figure.
      runs: the models.
      held: "test", or the name of a cohort.
      what: what the rows are and the errors are means over; the first words of the caption.
    """
    by_model = [errors(run, held) for run in runs]
    means = [by_study(one) for one in by_model]
    order = sorted(means[0], key=lambda study: means[0][study])
    levels = [float(np.mean([mean[study] for mean in means])) for study in order]
    models = [float(np.mean(list(mean.values()))) for mean in means]
    return Figure(
        name,
        "dots",
        f"{what}, in the order of {runs[0].model.label}; n is the number of samples. Their errors, means over models, "
        f"go from {min(levels):.2f} to {max(levels):.2f}, the models' means over them from {min(models):.2f} to "
        f"{max(models):.2f}.",
        {
            "unit": "z-score MAE",
            "rows": [study or "no study" for study in order],
            "notes": [f"n = {by_model[0].study.count(study)}" for study in order],
            "series": [
                {"label": run.model.label, "values": [mean[study] for study in order]}
                for run, mean in zip(runs, means, strict=True)
            ],
        },
    )


def gene_errors(name: str, first: Run, second: Run) -> Figure:
    """Draws every gene's test error by one model against that by another, which is on the x axis."""
    y, x = (run.per_gene("test").mae for run in (first, second))
    return Figure(
        name,
        "scatter",
        f"Test z-score MAE of every gene, mean over seeds: {first.model.label} against {second.model.label}, "
        f"{len(y):,} genes, lower in {100 * np.mean(y < x):.1f} % of them. The genes are measured on the same samples "
        "and are no independent evidence.",
        {
            "x_label": f"{second.model.label}, z-score MAE",
            "y_label": f"{first.model.label}, z-score MAE",
            "x": np.round(x, 6).tolist(),
            "y": np.round(y, 6).tolist(),
            "diagonal": True,
        },
    )


def learning_curves(
    name: str, curves: Mapping[str, np.ndarray], held: str = "validation", unit: str = "z-score MAE"
) -> Figure:
    """Draws errors against the epoch, without the first tenth of the epochs, whose fall would hide all that follows.

    Args:
      name: of the figure.
      curves: errors in training and on held-out samples by the model's label, ``[seeds, 2, epochs]``, NaN where
        training had diverged.
      held: what the held-out samples are.
      unit: of the errors.
    """
    panels = []
    for row, title in enumerate(("training (dropout on)", held)):
        series = []
        for label, values in curves.items():
            first = values.shape[2] // 10
            drawn = values[:, row, first:]
            drawn = drawn[:, np.isfinite(drawn).any(0)]
            middle, low, high = (np.round(of(drawn, 0), 5).tolist() for of in (np.nanmean, np.nanmin, np.nanmax))
            epochs = list(range(first + 1, first + 1 + drawn.shape[1]))
            series.append({"label": label, "x": epochs, "y": middle, "low": low, "high": high})
        panels.append({"title": title, "x_label": "epoch", "y_label": unit, "log_x": False, "series": series})
    return Figure(name, "lines", "Learning curves: mean over seeds, and as bands their range.", {"panels": panels})


def taaf_parameters(name: str, run: Run) -> Figure:
    """Draws histograms of what the TAAFs have learnt by the best epoch, all sources and seeds together."""
    outcomes = [outcome for seeds in run.outcomes for outcome in seeds]
    panels = []
    for layer, learnt in outcomes[0].taaf_layers.items():
        for parameter in learnt:
            values = np.concatenate([np.ravel(one.taaf_layers[layer][parameter]) for one in outcomes])
            start = float(_initial(run, layer)[parameter])
            low, high = min(values.min(), start), max(values.max(), start)
            # Parameters that hardly moved span less than the bins can be told apart in.
            middle, half = (high + low) / 2, max((high - low) / 2, 1e-3)
            counts, edges = np.histogram(values, 40, (middle - half, middle + half))
            panels.append(
                {
                    "title": f"{layer}: {parameter}",
                    "x_label": parameter,
                    "y_label": "number",
                    "edges": edges.tolist(),
                    "counts": counts.tolist(),
                    "mark": start,
                    "mark_label": "initial value",
                }
            )
    caption = f"{run.model.label}: what the TAAFs have learnt by the best epoch, {len(outcomes)} networks together."
    return Figure(name, "histograms", caption, {"panels": panels})


def taaf_shapes(name: str, run: Run) -> Figure:
    """Draws learnt activations of the first network, one panel a layer, and the one that they began as."""
    panels = []
    activation = _config(run).activation
    z = jnp.asarray(RANGE)[:, None]
    for layer, learnt in run.outcomes[0][0].taaf_layers.items():
        initial = _initial(run, layer)
        curves = np.asarray(taaf(z, **{**initial, **learnt}, base=activation))
        units = curves.shape[1]
        chosen = np.unique(np.linspace(0, units - 1, min(SHAPES, units)).astype(int))
        began = np.ravel(taaf(z, **initial, base=activation))
        drawn = [(run.model.label, curves[:, unit]) for unit in chosen] + [("initial", began)]
        panels.append(
            {
                "title": f"{layer}: {len(chosen)} of {units:,}",
                "x_label": "pre-activation z",
                "y_label": "output",
                "log_x": False,
                "series": [
                    {"label": label, "x": RANGE.tolist(), "y": np.round(y, 5).tolist(), "markers": False}
                    for label, y in drawn
                ],
            }
        )
    caption = (
        f"{run.model.label}: learnt activations of base {activation}, of at most {SHAPES} units a layer; the network "
        "of the first seed."
    )
    return Figure(name, "lines", caption, {"panels": panels})


def _config(run: Run) -> NetworkConfig:
    """The first network, but for its numbers of genes."""
    assert run.model.network is not None
    reach = run.outcomes[0][0].output_reach
    return NetworkConfig(1, 1, **{**run.model.network, "output_reach": reach})


def _initial(run: Run, layer: str) -> dict[str, Any]:
    return {name: jnp.asarray(value, jnp.float32) for name, value in initial_taaf(_config(run), layer).items()}
