"""The kinds of figures: functions from numbers, as results.json keeps them, to matplotlib figures.

They are drawn and saved within ``dgex.files.svg.look``.

Arguments are JSON's types: lists, dictionaries, numbers, strings. None is a missing number, and is not drawn.
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

# Okabe and Ito's palette, told apart by readers with any colour vision; a model looks the same in every figure.
COLOURS = {
    "tanh": "#D55E00",
    "sigmoid": "#0072B2",
    "TAAF": "#009E73",
    "TAAF, output too": "#CC79A7",
    "TAAF, output too, wide start": "#56B4E9",
    "ridge regression": "#000000",
    "mean predictor": "#999999",
}
MARKERS = dict(zip(COLOURS, "so^DvPX", strict=True))
# All others in turn: the palette's orange (its yellow is too pale on white), then Tol's wine, indigo and olive.
OTHERS = ("#E69F00", "#882255", "#332288", "#999933")
OTHER_MARKERS = "<>*hpd8"

DARK, GREY, PALE = "0.15", "0.6", "0.95"  # of what belongs to no model
WIDTH = 10.5  # inches, the report's width: letters are shown in their nominal size
LINE = 0.23  # inches that a line of text takes in a list of rows
LONGEST = 46  # letters of a row's label in a line


def intervals(unit: str, better: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Differences with their intervals, one row each, about a line at 0; on the right the numbers.

    Args:
      unit: of the differences.
      better: what a difference below 0 means, "first is better".
      rows: ``label``, ``estimate``, ``low``, ``high`` (None: no interval, an open mark), ``points`` (the estimate's
        parts, such as each study's own difference) and, optional, ``group``: a heading above rows that share it.
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
        # A little lower than the interval, which would hide them.
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
    """Values of several models, one row a study; a row's marks lie a little apart, so that equal ones are all seen.

    Args:
      unit: of the values.
      rows: labels.
      series: ``label`` and ``values``, one a row.
      order_by: label of the series whose smallest value comes first, missing ones last; None leaves the order as it is.
      notes: beside the labels, such as "n = 105".
    """
    values = {one["label"]: _numbers(one["values"]) for one in series}
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
        # The labels make room for them: 5 points a letter of 8.
        axes.tick_params("y", pad=10 + 5 * max(map(len, notes), default=0))
        beside: Any = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "fontsize": 8}
        for i, y in zip(order, middles, strict=True):
            axes.annotate(notes[i], (0, y), (-4, 0), ha="right", va="center", color="0.4", **beside)
    axes.set_xlabel(unit)
    _legend(figure, handles)
    return _finished(figure)


def lines(panels: Sequence[Mapping[str, Any]]) -> Figure:
    """Curves with bands, at most three panels side by side, and one legend for all.

    Args:
      panels: ``title``, ``x_label``, ``y_label``, ``log_x``, ``series`` (``label``, ``x``, ``y``; optional ``low`` and
        ``high``, ``dashed``, ``markers``) and, optional, ``levels`` (``label``, ``y``), dotted from side to side. A
        label stands once in the legend, in the first of its styles.
    """
    figure, grid = _panels(len(panels), most=3)
    looks = _looks(one["label"] for panel in panels for one in [*panel["series"], *panel.get("levels", [])])
    handles: dict[str, Artist] = {}
    for axes, panel in zip(grid, panels, strict=True):
        for one in panel["series"]:
            colour, marker = looks[one["label"]]
            # Others may share a colour, and then only the marker tells them apart.
            marked = one.get("markers", one["label"] not in COLOURS)
            (line,) = axes.plot(
                _numbers(one["x"]),
                _numbers(one["y"]),
                "--" if one.get("dashed") else "-",
                color=colour,
                marker=marker if marked else "",
                markersize=4.5,
                markevery=max(1, len(one["x"]) // 12),
                linewidth=1.4,
            )
            handles.setdefault(one["label"], line)
            if one.get("low") is not None:
                x, low, high = (_numbers(one[key]) for key in ("x", "low", "high"))
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
    """Histograms, at most four side by side.

    Args:
      panels: ``title``, ``x_label``, ``y_label``, ``edges`` [bins + 1], ``counts`` [bins], ``mark`` (where a dotted
        line stands, or None) and ``mark_label``, which the legend explains it with.
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
    """Points by the thousand, an image inside the SVG; ``diagonal``: both axes alike, and a line where they are equal.

    The title says how many points there are, and how many lie below the diagonal.
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
    """float64, None as NaN, which matplotlib leaves out."""
    return np.array(values, dtype=np.float64)


def _looks(labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker by label."""
    looks = {label: (COLOURS.get(label, ""), MARKERS.get(label, "")) for label in labels}
    for i, label in enumerate(label for label in looks if label not in COLOURS):
        looks[label] = (OTHERS[i % len(OTHERS)], OTHER_MARKERS[i % len(OTHER_MARKERS)])
    return looks


def _rows(labels: Sequence[str], height: float) -> tuple[Figure, Axes, np.ndarray, np.ndarray]:
    """A figure as high as its rows, the first on top, their labels on the left; middles and heights of rows, in lines.

    Args:
      height: of a row at least, in lines; a long label takes as many as it needs.
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
    """Equal panels, at most so many a line."""
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
    """A logarithmic x axis with plain numbers, four to six of them."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    factor = high / low
    steps = (1.0, 2.0, 5.0) if factor < 20 else (1.0, 3.0) if factor < 150 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, handles: Mapping[str, Artist]) -> None:
    """One legend above all panels, in as many columns as there is room for."""
    if handles:
        letters = 12 * figure.get_figwidth()  # in a line
        columns = max(1, int(letters // (max(map(len, handles)) + 7)))
        figure.legend(
            list(handles.values()), list(handles), loc="outside upper center", ncols=min(columns, len(handles))
        )


def _finished(figure: Figure) -> Figure:
    """A dollar in a label is no formula."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    return figure
