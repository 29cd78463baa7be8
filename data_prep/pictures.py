"""Draws the pictures of an inspection as SVG.

A study looks the same in all pictures. The six colours can be told apart with every kind of colour vision, which twelve
could not: of the twelve largest studies the second six have the same colours, with dashed lines or hollow marks. All
other studies are grey.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dgex.data.dataset import SPLITS
from dgex.data.dataset_members import HISTOGRAM_EDGES
from dgex.files.svg import look, to_svg

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # of Okabe and Ito
NAMED = 2 * len(COLOURS)
GREY = "0.65"
MARKERS = dict(zip(SPLITS, "o^s", strict=True))
LONGEST_NAME = 22  # letters
# The lines of many studies are drawn as an image inside the SVG, which is smaller than hundreds of paths.
CROWDED: dict[str, Any] = {"color": GREY, "linewidth": 0.6, "rasterized": True}
MEDIAN: dict[str, Any] = {"color": "black", "linewidth": 1.6}


@look()
def densities(
    panels: Mapping[str, Mapping[str, np.ndarray]], sizes: Mapping[str, int], unit: str, offset: float
) -> bytes:
    """Draws the distribution of each study's values; more than twelve studies are thin and grey, with their median.

    Args:
      panels: by title, each study's counts in ``HISTOGRAM_EDGES``.
      sizes: profiles by study, largest first.
      unit: of the values, for the axis.
      offset: added to the edges.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    width = np.diff(HISTOGRAM_EDGES)
    middle = HISTOGRAM_EDGES[:-1] + width / 2 + offset
    few = len(sizes) <= NAMED
    looks = {name: _look(number) if few else CROWDED for number, name in enumerate(sizes)}
    all_axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    drawn = []
    for axes, (title, counts) in zip(all_axes, panels.items(), strict=True):
        lines = {name: count / (count.sum() * width) for name, count in counts.items() if count.any()}
        for name, line in lines.items():
            axes.plot(middle, line, **looks[name])
        if not few:
            axes.plot(middle, np.median(list(lines.values()), axis=0), **MEDIAN)
        axes.set(title=title, xlabel=unit)
        drawn += list(lines.values())
    lines_of_all = np.array(drawn)
    used = middle[lines_of_all.any(axis=0)]
    # Zeros of RNA-seq and other floors pile up in up to three bins, beside which the rest of a line would be flat.
    highest, fourth = np.sort(lines_of_all, axis=1)[:, [-1, -4]].T
    top = 1.15 * np.where(highest > 3 * fourth, fourth, highest).max()
    all_axes[0].set(xlim=(used[0] - 0.3, used[-1] + 0.3), ylim=(0, top or None), ylabel="share of values per unit")
    if few:
        labels = [_label(name, size) for name, size in sizes.items()]
        _legend(figure, [Line2D([], [], **look) for look in looks.values()], labels)
    else:
        _legend(figure, [Line2D([], [], **look) for look in (CROWDED, MEDIAN)], ["one study", "median"])
    return to_svg(figure)


@look()
def components(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]],
    study: np.ndarray,
    sizes: Mapping[str, int],
    split: np.ndarray | None,
) -> bytes:
    """Draws profiles by their first two principal components, coloured by study.

    Args:
      panels: by title, the result of ``principal_components``.
      study: str [profiles].
      sizes: profiles of the file by study, largest first.
      split: u1 [profiles], shown by the shape of the mark; None for no splits.
    """
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    number = {name: i for i, name in enumerate(sizes)}
    rank = np.array([number[name] for name in study])
    codes = np.zeros(len(study), int) if split is None else split
    for axes, (title, (points, shares)) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for code, marker in enumerate(MARKERS.values()):
            # Grey marks are drawn first, so that they lie under the others.
            for first, last in ((NAMED, len(sizes)), *((i, i + 1) for i in range(min(NAMED, len(sizes))))):
                x, y = points[(codes == code) & (first <= rank) & (rank < last)].T
                axes.scatter(x, y, s=16, marker=marker, linewidths=0.9, **_filling(first))
        axes.set(title=title, xlabel=f"component 1 ({shares[0]:.1%} of variance)")
        axes.set_ylabel(f"component 2 ({shares[1]:.1%})")
    named = dict(list(sizes.items())[:NAMED])
    handles = [_mark("o", i) for i in range(len(named))]
    labels = [_label(name, size) for name, size in named.items()]
    if len(sizes) > NAMED:
        handles.append(_mark("o", NAMED))
        labels.append(f"{len(sizes) - NAMED} other studies")
    if split is not None:
        present = [name for code, name in enumerate(SPLITS) if (split == code).any()]
        handles += [
            Line2D([], [], linestyle="", marker=MARKERS[name], color="black", markersize=4.5) for name in present
        ]
        labels += present
    _legend(figure, handles, labels)
    return to_svg(figure)


@look()
def gaps(share: np.ndarray) -> bytes:
    """Draws each row's share of missing values; ``share`` is a fraction of the samples [rows with missing values]."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.stairs(100 * np.sort(share)[::-1], np.arange(len(share) + 1), fill=True, color=COLOURS[0])
    axes.set(xlim=(0, len(share)), ylim=(0, min(100, 115 * share.max())), ylabel="% of samples without a value")
    axes.set_xlabel("rows with missing values, most missing first")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return to_svg(figure)


def principal_components(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Computes the first two principal components; rows are centred, not scaled, and missing values are row means.

    Args:
      values: [profiles, rows]; rows measured in fewer than half of the profiles are left out.

    Returns:
      The profiles' coordinates [profiles, 2], in the unit of the values, and the components' shares of all variance
      [2]; None if there are fewer than three profiles or they do not differ.
    """
    usual = values[:, np.isnan(values).sum(axis=0) <= len(values) / 2]
    deviation = np.nan_to_num(usual - np.nanmean(usual, axis=0))
    if len(values) < 3 or not np.ptp(deviation, axis=0).any():
        return None
    # There are usually far fewer profiles than rows, so that the matrix of products of profiles is the smaller one.
    variance, vectors = np.linalg.eigh((deviation @ deviation.T).astype(np.float64))
    points = (vectors * np.sqrt(np.maximum(variance, 0)))[:, :-3:-1]
    # Both signs are right, and linear algebra libraries differ in theirs, so that it is fixed here.
    largest = np.take_along_axis(points, np.abs(points).argmax(axis=0)[None], axis=0)
    return points * np.sign(largest), variance[:-3:-1] / variance.sum()


def _colour(number: int) -> str:
    """Gives the colour of the study of this rank by size."""
    return COLOURS[number % len(COLOURS)] if number < NAMED else GREY


def _is_second(number: int) -> bool:
    """Tells whether the study of this rank is among the second six, which are dashed or hollow."""
    return len(COLOURS) <= number < NAMED


def _look(number: int) -> dict[str, Any]:
    """Gives the style of a study's line."""
    return {"color": _colour(number), "linestyle": "--" if _is_second(number) else "-", "linewidth": 1.2}


def _filling(number: int) -> dict[str, str]:
    """Gives the fill and edge colours of a study's marks."""
    colour = _colour(number)
    return {"facecolors": "none" if _is_second(number) else colour, "edgecolors": colour}


def _mark(marker: str, number: int) -> Line2D:
    """Makes a study's mark for the legend."""
    colour = _colour(number)
    inside = "none" if _is_second(number) else colour
    return Line2D([], [], linestyle="", marker=marker, markersize=4.5, color=colour, markerfacecolor=inside)


def _label(study: str, profiles: int) -> str:
    """Makes a study's label for the legend, shortened if it is long."""
    name = study if len(study) <= LONGEST_NAME else f"{study[: LONGEST_NAME - 1]}…"
    return f"{name or 'unknown study'} ({profiles})"


def _legend(figure: Figure, handles: Sequence[Line2D], labels: Sequence[str]) -> None:
    """Draws the legend beside the axes."""
    legend = figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar in a study's name does not begin a formula
