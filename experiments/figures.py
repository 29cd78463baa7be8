"""The comparison's figures: functions from results to matplotlib figures, and one that saves them as PNG and SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dgex.atomic import replacing
from dgex.log import Epoch
from dgex.networks import NetworkConfig, initial_taaf
from dgex.svg import to_svg
from dgex.taaf import taaf
from experiments.protocols import LABELS

# Okabe and Ito's palette, told apart by readers with any colour vision.
COLOURS = {"tanh": "#D55E00", "sigmoid": "#0072B2", "taaf": "#009E73", "taaf_output": "#CC79A7"}


def learning_curves(
    logs: Mapping[str, Sequence[Sequence[Epoch]]], held_out: str = "validation", unit: str = "z-score MAE"
) -> Figure:
    """The error in training (dashed) and on held-out samples (solid) against the epoch; mean over seeds and range.

    Args:
      logs: by network, one a seed.
      held_out: what the samples are that ``fit`` was given as validation.
      unit: what the logs' MAE is.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, seeds in logs.items():
        epochs = [row.epoch for row in seeds[0]]
        for attribute, style in (("train_mae", "--"), ("validation_mae", "-")):
            curves = np.array([[getattr(row, attribute) for row in log] for log in seeds])
            label = LABELS[name] if style == "-" else None
            axes.plot(epochs, curves.mean(axis=0), style, color=COLOURS[name], label=label, linewidth=1.3)
            axes.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=COLOURS[name], alpha=0.15, lw=0)
    # The first epochs fall so far that a full axis would hide all that follows.
    settled = [row.validation_mae for seeds in logs.values() for log in seeds for row in log[len(log) // 10 :]]
    trained = [row.train_mae for seeds in logs.values() for log in seeds for row in log[len(log) // 10 :]]
    low, high = min(settled + trained), max(settled + trained)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.set(xlabel="epoch", ylabel=unit, title=f"Learning curves: {held_out} solid, training (dropout on) dashed")
    axes.legend()
    return figure


def gene_errors(per_gene: Mapping[str, np.ndarray]) -> Figure:
    """Each target's test error against that of the tanh network, one panel a network.

    Args:
      per_gene: z-score MAE ``[targets]``, mean over seeds, by network.
    """
    others = [name for name in COLOURS if name != "tanh"]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    limit = max(per_gene[name].max() for name in COLOURS) * 1.03
    low = min(per_gene[name].min() for name in COLOURS) * 0.9
    for axes, name in zip(figure.subplots(1, len(others), sharex=True, sharey=True), others, strict=True):
        x, y = per_gene["tanh"], per_gene[name]
        axes.plot([low, limit], [low, limit], color="0.4", linewidth=0.8)
        # Thousands of points: as an image inside the SVG.
        axes.scatter(x, y, s=3, alpha=0.35, color=COLOURS[name], linewidths=0, rasterized=True)
        axes.set(xlim=(low, limit), ylim=(low, limit), aspect="equal", xlabel="tanh, z-score MAE")
        axes.set_title(f"{LABELS[name]}\nlower in {np.mean(y < x):.1%} of {len(x):,} genes", fontsize=9)
        axes.set_ylabel("z-score MAE")
    return figure


def taaf_parameters(params: Sequence[Mapping[str, Any]], config: NetworkConfig, title: str) -> Figure:
    """Histograms of the learnt ones of alpha, beta, gamma and delta, one row a layer, all seeds together.

    Where nothing is learnt, only the title.

    Args:
      params: a network's parameters, one tree a seed.
      config: the network.
      title: its name.
    """
    layers = _taaf_layers(params[0])
    if not layers:
        return _nothing_learnt(title)
    width, height = max(2.25 * len(config.learn), 4.5), 1.8 * len(layers) + 0.6
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(len(layers), len(config.learn), squeeze=False)
    for row, layer in zip(grid, layers, strict=True):
        initial = _initial(config, layer)
        for axes, name in zip(row, config.learn, strict=True):
            values = np.concatenate([np.ravel(tree[f"{layer}_taaf"][name]) for tree in params])
            start = float(initial[name])
            low, high = min(values.min(), start), max(values.max(), start)
            # Parameters that hardly moved span less than the bins can be told apart in.
            middle, half = (high + low) / 2, max((high - low) / 2, 1e-3)
            axes.hist(values, bins=40, range=(middle - half, middle + half), color="#009E73")
            axes.axvline(start, color="0.2", linewidth=0.8, linestyle=":")
            axes.set_title(f"{layer}: {name}")
        row[0].set_ylabel("units" if config.share == "unit" else "networks")
    figure.suptitle(f"{title}: learnt parameters (dotted: initial value)")
    return figure


def taaf_shapes(params: Mapping[str, Any], config: NetworkConfig, title: str, units: int = 24) -> Figure:
    """A sample of learnt activation shapes, one panel a layer, and in black the shape that they began with.

    Where nothing is learnt, only the title.

    Args:
      params: a network's parameters.
      config: the network.
      title: its name.
      units: how many of a layer's units to draw at most, evenly spaced along their numbers.
    """
    layers = _taaf_layers(params)
    if not layers:
        return _nothing_learnt(title)
    figure = Figure(figsize=(3.2 * len(layers), 3.4), layout="constrained")
    z = jnp.linspace(-6, 6, 241)[:, None]
    for axes, layer in zip(figure.subplots(1, len(layers), squeeze=False)[0], layers, strict=True):
        initial = _initial(config, layer)
        curves = taaf(z, **(initial | params[f"{layer}_taaf"]), base=config.activation)
        there_are = curves.shape[1]
        chosen = np.unique(np.linspace(0, there_are - 1, min(units, there_are)).astype(int))
        axes.plot(z, curves[:, chosen], color="#009E73", alpha=0.5, linewidth=0.8)
        axes.plot(z, taaf(z, **initial, base=config.activation), color="black", linewidth=1.6, label="initial")
        shared = "one for all layers" if layer == "hidden" else "one for the layer"
        drawn = f"{len(chosen)} of {there_are:,} units" if config.share == "unit" else shared
        axes.set(xlabel="pre-activation z", ylabel="output")
        axes.set_title(f"{layer}: {drawn}", fontsize=10)
        axes.legend(loc="upper left")
    figure.suptitle(f"{title}: learnt activations of base {config.activation}")
    return figure


def _nothing_learnt(title: str) -> Figure:
    figure = Figure(figsize=(4.5, 0.6))
    figure.suptitle(f"{title}: no learnt parameters")
    return figure


def _initial(config: NetworkConfig, layer: str) -> dict[str, jax.Array]:
    return {name: jnp.asarray(value) for name, value in initial_taaf(config, layer).items()}


def _taaf_layers(params: Mapping[str, Any]) -> list[str]:
    """The layers with a learnt TAAF, as the networks name them."""
    return [name.removesuffix("_taaf") for name in params if name.endswith("_taaf") and params[name]]


def save(figure: Figure, folder: Path, name: str) -> None:
    """Saves a figure as ``name.png`` and ``name.svg``."""
    with replacing(folder / f"{name}.png") as partial:
        figure.savefig(partial, format="png")
    with replacing(folder / f"{name}.svg") as partial:
        partial.write_bytes(to_svg(figure))
