"""Draws the pictures of a report as SVG."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from dgex.files.svg import look, to_svg

# Of Okabe and Ito's palette, which readers with any colour vision can distinguish.
OWN, OWN_DARK = "#D55E00", "#8A3B00"
PLATFORMS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY, DARK = "0.75", "0.25"
BINS = 40
SQUARES = 90  # on a side of the histogram in two dimensions
OUTER = 99.9  # percentile of the values beside which the rest would be small
LARGEST = 10.0  # z-score
WIDTH = 9.0  # inches
MANY = 200  # profiles, whose marks are smaller


@look()
def check(
    measured: np.ndarray,
    inferred: np.ndarray,
    by_gene: np.ndarray,
    by_profile: np.ndarray,
    usual_by_gene: float,
    usual_by_profile: np.ndarray,
) -> bytes:
    """Draws hidden landmarks against inferred ones, and how far they correlate.

    Args:
      measured: z-scores of any shape, NaN where missing.
      inferred: of the same shape.
      by_gene: r of each landmark across profiles; empty if there are too few of these.
      by_profile: r of each profile across landmarks.
      usual_by_gene: the median of left-out studies, NaN if unknown.
      usual_by_profile: r of each left-out profile; empty if unknown.
    """
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    known = ~np.isnan(inferred)
    x, y = measured[known], inferred[known]
    limit = float(np.clip(np.percentile(np.abs([x, y]), OUTER), 1, LARGEST)) if len(x) else 1.0
    edges = np.linspace(-limit, limit, SQUARES + 1)
    counts = np.histogram2d(x, y, [edges, edges])[0].T
    left.imshow(
        np.ma.masked_equal(counts, 0), origin="lower", extent=(-limit, limit, -limit, limit), cmap="viridis_r",
        norm=LogNorm(1, max(float(counts.max()), 2.0)), interpolation="nearest",
    )  # fmt: skip
    left.plot([-limit, limit], [-limit, limit], color=DARK, linewidth=0.9, linestyle="--")
    left.set(xlabel="measured, but hidden (SD)", ylabel="inferred from the others (SD)")
    _correlations(middle, by_gene, np.array([]), usual_by_gene, "landmarks")
    middle.set_xlabel("r of a landmark, across profiles")
    usual = float(np.nanmedian(usual_by_profile)) if (~np.isnan(usual_by_profile)).any() else float("nan")
    _correlations(right, by_profile, usual_by_profile, usual, "profiles")
    right.set_xlabel("r of a profile, across landmarks")
    return to_svg(figure)


@look()
def expected(own: np.ndarray, usual: np.ndarray, farthest: float) -> bytes:
    """Draws the profiles' expected errors beside those of left-out profiles of the training data.

    Args:
      own: z-score MAE ``[profiles]``.
      usual: of left-out profiles, ``[checked]``; empty if unknown.
      farthest: the expected error above which a profile is out of range; infinite if unknown.
    """
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    axes = figure.subplots()
    shown = np.concatenate([own, usual, [farthest] if np.isfinite(farthest) else []])
    low, high = float(shown.min()), float(shown.max())
    margin = max(0.06 * (high - low), 0.02 * high, 1e-3)
    edges = np.linspace(max(low - margin, 0), high + margin, BINS + 1)
    _shares(axes, own, usual, edges, "profiles")
    if np.isfinite(farthest):
        axes.axvline(farthest, color=DARK, linewidth=1.2, linestyle="--", label="out of range to the right of this")
    axes.set(xlabel="expected error of a profile (z-score MAE)", xlim=(edges[0], edges[-1]))
    _legend(axes)
    return to_svg(figure)


@look()
def neighbourhood(own: np.ndarray, training: np.ndarray, platform: np.ndarray, names: Sequence[str]) -> bytes:
    """Draws the profiles among those of the training data.

    Args:
      own: positions ``[profiles, 2]``, as ``dgex.model.training_map.positions`` gives them.
      training: positions of training profiles ``[mapped, 2]``.
      platform: the platform of each training profile, int ``[mapped]``.
      names: of the platforms.
    """
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = figure.subplots()
    look: dict[str, Any] = {"linewidths": 0, "alpha": 0.45, "rasterized": True}
    for code in np.unique(platform).tolist():
        points = training[platform == code]
        colour = PLATFORMS[code % len(PLATFORMS)]
        label = f"training data, {names[code]} ({len(points):,})"
        axes.scatter(points[:, 0], points[:, 1], s=9, color=colour, label=label, **look)
    look = {"facecolors": OWN, "edgecolors": "white", "linewidths": 0.4, "rasterized": True}
    size = 24 if len(own) < MANY else 14
    axes.scatter(own[:, 0], own[:, 1], s=size, label=f"this table ({len(own):,})", **look)
    axes.set(xlabel="component 1 (SD of the training data)", ylabel="component 2 (SD of the training data)")
    _legend(axes, markerscale=1.6)
    return to_svg(figure)


def _correlations(axes: Axes, own: np.ndarray, usual: np.ndarray, usual_median: float, what: str) -> None:
    """Draws correlations, their median, and that of left-out studies."""
    own, usual = (values[~np.isnan(values)] for values in (own, usual))
    if not len(own):
        axes.text(0.5, 0.5, "not told:\ntoo few profiles\nor none varies", ha="center", va="center")
        axes.set(xticks=[], yticks=[])
        return
    least = min(float(own.min()), float(usual.min()) if len(usual) else 0.0, 0.0)
    edges = np.linspace(np.floor(10 * least) / 10, 1, BINS + 1)
    _shares(axes, own, usual, edges, what)
    median = float(np.median(own))
    axes.axvline(median, color=OWN_DARK, linewidth=1.4, label=f"median here {median:.2f}")
    if not np.isnan(usual_median):
        label = f"median of left-out {'profiles' if len(usual) else 'studies'} {usual_median:.2f}"
        axes.axvline(usual_median, color=DARK, linewidth=1.4, linestyle="--", label=label)
    axes.set_xlim(edges[0], edges[-1])
    _legend(axes, fontsize=7.5)


def _shares(axes: Axes, own: np.ndarray, usual: np.ndarray, edges: np.ndarray, what: str) -> None:
    """Draws two histograms as shares, that of the training data behind."""
    if len(usual):
        share = 100 * np.histogram(usual, edges)[0] / len(usual)
        axes.stairs(share, edges, fill=True, color=GREY, label=f"left-out {what} of the training data")
    share = 100 * np.histogram(own, edges)[0] / len(own)
    axes.stairs(share, edges, fill=True, color=OWN, alpha=0.35, label=f"{what} of this table")
    axes.stairs(share, edges, color=OWN, linewidth=1.2, baseline=None)
    axes.set_ylabel(f"% of the {what}")


def _legend(axes: Axes, **options: Any) -> None:
    """Draws the legend above the axes, where it covers nothing."""
    legend = axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2, **options)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar in a platform's name does not begin a formula
