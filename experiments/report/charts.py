"""The kinds of figures: functions that draw the numbers of results.json as matplotlib figures.

Figures are drawn and saved within ``dgex.files.svg.look``.

Arguments are of JSON's types: lists, dictionaries, numbers, strings. None is a missing number, and is not drawn.
"""

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

Number = float | None

# Okabe and Ito's palette, and Tol's wine, which readers with any colour vision can distinguish; a model has one colour
# in all figures.
COLOURS = {
    "tanh": "#D55E00",
    "sigmoid": "#0072B2",
    "TAAF": "#009E73",
    "TAAF, output too": "#CC79A7",
    "TAAF, output too, wide start": "#56B4E9",
    "TAAF with a linear path": "#882255",
    "ridge regression": "#000000",
    "mean predictor": "#999999",
}
MARKERS = dict(zip(COLOURS, "so^Dv*PX", strict=True))
# Colours for all other labels in turn: the palette's orange (its yellow is too pale on white), then Tol's indigo, olive
# and teal.
OTHERS = ("#E69F00", "#332288", "#999933", "#44AA99")
OTHER_MARKERS = "<>hpd8H"

DARK, GREY, PALE = "0.15", "0.6", "0.95"  # greys for marks that belong to no model
WIDTH = 10.5  # inches: the report's width, so that letters have their nominal size
LINE = 0.23  # inches: height of a line of text in a list of rows
LONGEST = 46  # letters in a line of a row's label


def intervals(unit: str, better: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws differences with their intervals, one row each, around a line at 0, with the numbers on the right.

    Args:
      unit: unit of the differences.
      better: meaning of a difference below 0, such as "first is better".
      rows: ``label``, ``estimate``, ``low``, ``high`` (None: no interval, an open mark), ``points`` (such as the
        differences of single studies) and, optional, ``group``: a heading above consecutive rows of the same group.
    """
    lines: list[tuple[str, Mapping[str, Any] | None]] = []
    for row, above in zip(rows, [{}, *rows], strict=False):
        if row.get("group") and row["group"] != above.get("group"):
            lines.append((row["group"], None))
        lines.append((row["label"], row))
    figure, axes, middles, _ = _rows([text for text, _ in lines], 1.0)
    for (_, line), y, label in zip(lines, middles, axes.get_yticklabels(), strict=True):
        if line is None:
            label.set_fontweight("bold")
            continue
        estimate, low, high = _numbers([line["estimate"], line["low"], line["high"]])
        known = not np.isnan(high - low)
        points = _numbers(line["points"])
        # The points are a little lower than the interval, which would hide them.
        axes.plot(points, np.full(len(points), y + 0.25), "o", color=GREY, markersize=3, alpha=0.6, markeredgewidth=0)
        axes.plot([low, high], [y, y], color=DARK, linewidth=1.8, solid_capstyle="butt")
        axes.plot([estimate], [y], "o", color=DARK, markersize=5.5, markerfacecolor=DARK if known else "white")
        text = f"{estimate:+z.4f} " + (f"[{low:+z.4f}, {high:+z.4f}]" if known else "(no interval)")
        text = text.replace("-", "\N{MINUS SIGN}")
        axes.text(1.015, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.axvline(0, color=DARK, linewidth=0.8, zorder=1)
    above_axes: Any = {"transform": axes.get_xaxis_transform(), "va": "bottom", "color": "0.35", "fontsize": 8}
    if better:
        axes.text(0, 1.005, f"\N{LEFTWARDS ARROW} {better} ", ha="right", **above_axes)
    axes.set_xlabel(unit)
    return _finished(figure)


def dots(
    unit: str,
    rows: Sequence[str],
    series: Sequence[Mapping[str, Any]],
    order_by: str | None = None,
    notes: Sequence[str] | None = None,
) -> Figure:
    """Draws values of several models, one row a study, with the marks of a row a little apart to show equal values.

    Args:
      unit: unit of the values.
      rows: labels of the rows.
      series: ``label`` and ``values``, one value a row.
      order_by: label of the series to sort the rows by, ascending with missing values last; None keeps the order.
      notes: notes beside the labels, such as "n = 105".
    """
    values = {model["label"]: _numbers(model["values"]) for model in series}
    order = np.arange(len(rows)) if order_by is None else np.argsort(values[order_by], kind="stable")
    figure, axes, middles, heights = _rows([rows[i] for i in order], max(1.2, 0.27 * len(values)))
    for y, height in zip(middles[::2], heights[::2], strict=True):
        axes.axhspan(y - height / 2, y + height / 2, color=PALE, linewidth=0, zorder=0)
    offsets = (np.arange(len(values)) - (len(values) - 1) / 2) * 0.8 / max(len(values), 2)
    looks = _looks(values)
    handles: dict[str, Artist] = {}
    for offset, (label, all_values) in zip(offsets, values.items(), strict=True):
        colour, marker = looks[label]
        style: Any = {"color": colour, "marker": marker, "linestyle": "", "markersize": 5.5, "markeredgewidth": 0}
        (handles[label],) = axes.plot(all_values[order], middles + offset * heights.min(), **style)
    if notes is not None:
        # The labels leave space for the notes: 5 points for a letter of size 8.
        axes.tick_params("y", pad=10 + 5 * max(map(len, notes), default=0))
        beside: Any = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "fontsize": 8}
        for i, y in zip(order, middles, strict=True):
            axes.annotate(notes[i], (0, y), (-4, 0), ha="right", va="center", color="0.4", **beside)
    axes.set_xlabel(unit)
    _legend(figure, handles)
    return _finished(figure)


def lines(panels: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws curves with bands, at most three panels side by side, with one legend for all.

    Args:
      panels: ``title``, ``x_label``, ``y_label``, ``log_x``, ``series`` (``label``, ``x``, ``y``; optional ``low`` and
        ``high``, ``dashed``, ``markers``) and, optional, ``levels`` (``label``, ``y``), dotted horizontal lines. A
        label is once in the legend, in the first of its styles.
    """
    figure, grid = _panels(len(panels), most=3)
    looks = _looks(curve["label"] for panel in panels for curve in [*panel["series"], *panel.get("levels", [])])
    handles: dict[str, Artist] = {}
    for axes, panel in zip(grid, panels, strict=True):
        for curve in panel["series"]:
            colour, marker = looks[curve["label"]]
            # Labels without a colour of their own may have the same one, and then only the marker distinguishes them.
            marked = curve.get("markers", curve["label"] not in COLOURS)
            (line,) = axes.plot(
                _numbers(curve["x"]),
                _numbers(curve["y"]),
                "--" if curve.get("dashed") else "-",
                color=colour,
                marker=marker if marked else "",
                markersize=4.5,
                markevery=max(1, len(curve["x"]) // 12),
                linewidth=1.4,
            )
            handles.setdefault(curve["label"], line)
            if curve.get("low") is not None:
                x, low, high = (_numbers(curve[key]) for key in ("x", "low", "high"))
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        for level in panel.get("levels", []):
            (y,) = _numbers([level["y"]])
            line = axes.axhline(y, color=looks[level["label"]][0], linestyle=":", linewidth=1.4)
            handles.setdefault(level["label"], line)
        axes.set(title=panel["title"], xlabel=panel["x_label"], ylabel=panel["y_label"])
        if panel["log_x"]:
            _logarithmic(axes)
    _legend(figure, handles)
    return _finished(figure)


def histograms(panels: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws histograms, at most four side by side.

    Args:
      panels: ``title``, ``x_label``, ``y_label``, ``edges`` [bins + 1], ``counts`` [bins], ``mark`` (position of a
        dotted vertical line, or None) and ``mark_label``, its text in the legend.
    """
    figure, grid = _panels(len(panels), most=4)
    handles: dict[str, Artist] = {}
    for axes, panel in zip(grid, panels, strict=True):
        axes.stairs(_numbers(panel["counts"]), _numbers(panel["edges"]), fill=True, color=GREY)
        if panel["mark"] is not None:
            line = axes.axvline(panel["mark"], color=DARK, linestyle=":", linewidth=1.4)
            handles.setdefault(panel["mark_label"], line)
        axes.set(title=panel["title"], xlabel=panel["x_label"], ylabel=panel["y_label"])
        axes.xaxis.set_major_locator(MaxNLocator(4))
    _legend(figure, handles)
    return _finished(figure)


def scatter(x_label: str, y_label: str, x: Sequence[Number], y: Sequence[Number], diagonal: bool) -> Figure:
    """Draws a scatter plot of thousands of points, which are an image inside the SVG.

    The title says how many points there are and, with a diagonal, how many lie below it.

    Args:
      x_label: label of the x axis.
      y_label: label of the y axis.
      x: x of every point.
      y: y of every point.
      diagonal: whether to give both axes the same limits and draw the line x = y.
    """
    figure = Figure(figsize=(5.6, 5.6), layout="constrained")
    axes = figure.subplots()
    points = np.stack([_numbers(x), _numbers(y)])
    points = points[:, ~np.isnan(points).any(axis=0)]
    title = f"n = {points.shape[1]:,}"
    axes.scatter(points[0], points[1], s=5, alpha=0.3, color="0.4", linewidths=0, rasterized=True)
    if diagonal:
        ends = [points.min(), points.max()] if points.size else [0, 1]
        axes.plot(ends, ends, color="black", linewidth=1)
        margin = 0.03 * (ends[1] - ends[0]) or 1
        limits = (ends[0] - margin, ends[1] + margin)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        if points.size:
            title += f", {np.mean(points[1] < points[0]):.1%} below the diagonal"
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_title(title, fontsize=9)
    return _finished(figure)


KINDS: dict[str, Callable[..., Figure]] = {
    "intervals": intervals,
    "dots": dots,
    "lines": lines,
    "histograms": histograms,
    "scatter": scatter,
}


def _numbers(values: Sequence[Number]) -> np.ndarray:
    """Converts numbers to float64, and None to NaN, which matplotlib leaves out."""
    return np.array(values, dtype=np.float64)


def _looks(labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Assigns a colour and a marker to each label."""
    looks = {label: (COLOURS.get(label, ""), MARKERS.get(label, "")) for label in labels}
    for i, label in enumerate(label for label in looks if label not in COLOURS):
        looks[label] = (OTHERS[i % len(OTHERS)], OTHER_MARKERS[i % len(OTHER_MARKERS)])
    return looks


def _rows(labels: Sequence[str], height: float) -> tuple[Figure, Axes, np.ndarray, np.ndarray]:
    """Makes a figure as high as its rows, the first on top, with their labels on the left.

    Args:
      labels: labels of the rows.
      height: least height of a row, in lines of text; a long label takes as many lines as it needs.

    Returns:
      The figure, its axes, and the middles and heights of the rows, in lines of text.
    """
    wrapped = [textwrap.fill(label, LONGEST) for label in labels]
    heights = np.array([max(height, 1.0 + label.count("\n")) for label in wrapped])
    middles = np.cumsum(heights) - heights / 2
    figure = Figure(figsize=(WIDTH, LINE * heights.sum() + 1.0), layout="constrained")
    axes = figure.subplots()
    axes.set_ylim(heights.sum(), 0)
    axes.ticklabel_format(useOffset=False)
    axes.set_yticks(middles, wrapped)
    axes.tick_params("y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes, middles, heights


def _panels(count: int, most: int) -> tuple[Figure, list[Axes]]:
    """Makes a figure of ``count`` equal panels, at most ``most`` side by side."""
    lines = math.ceil(count / most)
    columns = math.ceil(count / lines)
    figure = Figure(figsize=(min(WIDTH, 6.0 * columns), 3.0 * lines + 0.5), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    for axes in grid[count:]:
        axes.remove()
    for axes in grid[:count]:
        axes.ticklabel_format(useOffset=False)  # 0.4241, not 1e-4 from 0.424
    return figure, grid[:count]


def _logarithmic(axes: Axes) -> None:
    """Makes the x axis logarithmic, with four to six plain numbers."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    factor = high / low
    steps = (1.0, 2.0, 5.0) if factor < 20 else (1.0, 3.0) if factor < 150 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, handles: Mapping[str, Artist]) -> None:
    """Draws one legend above all panels, in as many columns as there is space for."""
    if handles:
        letters = 12 * figure.get_figwidth()  # in a line
        columns = max(1, int(letters // (max(map(len, handles)) + 7)))
        figure.legend(
            list(handles.values()), list(handles), loc="outside upper center", ncols=min(columns, len(handles))
        )


def _finished(figure: Figure) -> Figure:
    """Switches mathematical notation off, so that a dollar sign in a label is shown as it is."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    return figure
