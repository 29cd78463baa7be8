"""Figures of reports that several experiments use, as plain data for ``charts``."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from dgex.networks import NetworkConfig, initial_taaf
from dgex.taaf import taaf
from experiments.analysis.evidence import Run, by_study, errors
from experiments.analysis.statistics import PairedComparison
from experiments.report.sections import Figure

SHAPES = 24  # number of units of a layer whose learnt activations are drawn, evenly spaced
PRE_ACTIVATIONS = np.linspace(-6, 6, 61, dtype=np.float32)


def differences(
    name: str,
    runs: Mapping[str, Run],
    pairs: Sequence[tuple[str, str]],
    comparisons: Sequence[PairedComparison],
    tested: str,
) -> Figure:
    """Makes a figure of comparisons on test samples with their intervals; ``tested`` is their ``data_line``."""
    return Figure(
        name,
        "intervals",
        "Difference of the test z-score MAE with its 95 % interval; small dots are the differences of single studies. "
        f"Left of zero the first model is better ({tested}).",
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
    held_out: str = "test",
    groups: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Makes the rows of an ``intervals`` figure, with the differences of single studies as points.

    Args:
      runs: runs by name of the model.
      pairs: names of the models compared.
      comparisons: their comparisons.
      held_out: "test", or the name of a cohort.
      groups: heading of the group of each comparison; empty for none.
      labels: label of each comparison; empty for the models' names.
    """
    rows = []
    for number, ((a, b), c) in enumerate(zip(pairs, comparisons, strict=True)):
        first, second = (by_study(errors(runs[model], held_out, c.measure)) for model in (a, b))
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


def study_errors(name: str, runs: Sequence[Run], held_out: str, caption: str) -> Figure:
    """Makes a figure of every study's mean error, one mark a model, in the order of the first model's errors.

    Args:
      name: name of the figure.
      runs: runs of the models.
      held_out: "test", or the name of a cohort.
      caption: beginning of the caption: what the rows are, and what the errors are means over.
    """
    by_model = [errors(run, held_out) for run in runs]
    means = [by_study(model_errors) for model_errors in by_model]
    order = sorted(means[0], key=lambda study: means[0][study])
    levels = [float(np.mean([mean[study] for mean in means])) for study in order]
    models = [float(np.mean(list(mean.values()))) for mean in means]
    return Figure(
        name,
        "dots",
        f"{caption}, in the order of {runs[0].model.label}; n is the number of samples. Between rows the error, mean "
        f"over models, goes from {min(levels):.2f} to {max(levels):.2f}; between models the mean over rows goes from "
        f"{min(models):.2f} to {max(models):.2f}.",
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
    """Makes a scatter plot of every gene's test error by ``first`` (y axis) against that by ``second`` (x axis)."""
    y, x = (run.per_gene("test").mae for run in (first, second))
    return Figure(
        name,
        "scatter",
        f"Test z-score MAE of every gene, mean over seeds: {first.model.label} against {second.model.label}, "
        f"{len(y):,} genes; the error of {first.model.label} is lower in {100 * np.mean(y < x):.1f} % of them. The "
        "genes are measured on the same samples and are not independent evidence.",
        {
            "x_label": f"{second.model.label}, z-score MAE",
            "y_label": f"{first.model.label}, z-score MAE",
            "x": np.round(x, 6).tolist(),
            "y": np.round(y, 6).tolist(),
            "diagonal": True,
        },
    )


def learning_curves(
    name: str, curves: Mapping[str, np.ndarray], held_out: str = "validation", unit: str = "z-score MAE"
) -> Figure:
    """Makes a figure of errors against the epoch.

    It leaves out the first tenth of the epochs, in which the errors fall so far that later changes could not be seen.

    Args:
      name: name of the figure.
      curves: errors in training and on held-out samples by the model's label, ``[seeds, 2, epochs]``, NaN after
        training has diverged.
      held_out: name of the held-out samples.
      unit: unit of the errors.
    """
    panels = []
    for row, title in enumerate(("training (dropout on)", held_out)):
        series = []
        for label, values in curves.items():
            first = values.shape[2] // 10
            drawn = values[:, row, first:]
            drawn = drawn[:, np.isfinite(drawn).any(0)]
            middle, low, high = (
                np.round(reduce(drawn, 0), 5).tolist() for reduce in (np.nanmean, np.nanmin, np.nanmax)
            )
            epochs = list(range(first + 1, first + 1 + drawn.shape[1]))
            series.append({"label": label, "x": epochs, "y": middle, "low": low, "high": high})
        panels.append({"title": title, "x_label": "epoch", "y_label": unit, "log_x": False, "series": series})
    caption = "Learning curves: lines are means over seeds, bands their range."
    return Figure(name, "lines", caption, {"panels": panels})


def taaf_parameters(name: str, run: Run) -> Figure:
    """Makes histograms of the learnt TAAF parameters at the best epoch, all sources and seeds together."""
    outcomes = [outcome for seeds in run.outcomes for outcome in seeds]
    panels = []
    for layer, learnt in outcomes[0].taaf_layers.items():
        for parameter in learnt:
            values = np.concatenate([np.ravel(outcome.taaf_layers[layer][parameter]) for outcome in outcomes])
            start = float(_initial(run, layer)[parameter])
            low, high = min(values.min(), start), max(values.max(), start)
            # Where parameters have hardly changed, the bins would be too narrow for floating-point numbers.
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
    caption = f"{run.model.label}: learnt TAAF parameters at the best epoch, {len(outcomes)} networks together."
    return Figure(name, "histograms", caption, {"panels": panels})


def taaf_shapes(name: str, run: Run) -> Figure:
    """Makes a figure of the first network's learnt activations, one panel a layer, beside their initial one."""
    panels = []
    activation = _config(run).activation
    z = jnp.asarray(PRE_ACTIVATIONS)[:, None]
    for layer, learnt in run.outcomes[0][0].taaf_layers.items():
        initial = _initial(run, layer)
        curves = np.asarray(taaf(z, **{**initial, **learnt}, base=activation))
        units = curves.shape[1]
        chosen = np.unique(np.linspace(0, units - 1, min(SHAPES, units)).astype(int))
        first = np.ravel(taaf(z, **initial, base=activation))
        drawn = [(run.model.label, curves[:, unit]) for unit in chosen] + [("initial", first)]
        panels.append(
            {
                "title": f"{layer}: {len(chosen)} of {units:,}",
                "x_label": "pre-activation z",
                "y_label": "output",
                "log_x": False,
                "series": [
                    {"label": label, "x": PRE_ACTIVATIONS.tolist(), "y": np.round(y, 5).tolist(), "markers": False}
                    for label, y in drawn
                ],
            }
        )
    caption = (
        f"{run.model.label}: learnt activations with the base function {activation}, of at most {SHAPES} units a "
        "layer, in the network of the first seed."
    )
    return Figure(name, "lines", caption, {"panels": panels})


def _config(run: Run) -> NetworkConfig:
    """Makes the configuration of the first network, except for its numbers of genes."""
    assert run.model.network is not None
    return NetworkConfig(1, 1, **{**run.model.network, "output_reach": run.outcomes[0][0].output_reach})


def _initial(run: Run, layer: str) -> dict[str, Any]:
    """Returns a layer's initial TAAF parameters by name."""
    return {name: jnp.asarray(value, jnp.float32) for name, value in initial_taaf(_config(run), layer).items()}
