"""The pictures of an inspection, as SVG.

A study looks the same in all of them. Nobody can tell twelve colours apart, but six whatever the eyes: of the twelve
largest studies the second six have them again, dashed or hollow. All others are grey.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dgex.data.dataset import HISTOGRAM_EDGES, SPLITS
from dgex.files.svg import look, to_svg

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # of Okabe and Ito
NAMED = 2 * len(COLOURS)
GREY = "0.65"
MARKERS = dict(zip(SPLITS, "o^s", strict=True))
LONGEST_NAME = 22  # letters
# Lines of many studies: hundreds of them are smaller as an image inside the SVG.
CROWDED: dict[str, Any] = {"color": GREY, "linewidth": 0.6, "rasterized": True}
MEDIAN: dict[str, Any] = {"color": "black", "linewidth": 1.6}


@look()
def densities(
    panels: Mapping[str, Mapping[str, np.ndarray]], sizes: Mapping[str, int], unit: str, offset: float
) -> bytes:
    """How each study's values are distributed; beyond twelve studies all thin and grey, with their median.

    Args:
      panels: by title, each study's counts in ``HISTOGRAM_EDGES``.
      sizes: profiles by study, largest first.
      unit: of the values.
      offset: what to add to the edges.
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
    # Zeros of RNA-seq and other floors pile up in a bin or three, beside which all else would be flat.
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
    """Profiles by their first two principal components, coloured by study.

    Args:
      panels: by title, what ``principal_components`` gives.
      study: str [profiles].
      sizes: profiles of the file by study, largest first.
      split: u1 [profiles], shown by the mark; or None.
    """
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    number = {name: i for i, name in enumerate(sizes)}
    rank = np.array([number[name] for name in study])
    codes = np.zeros(len(study), int) if split is None else split
    for axes, (title, (points, shares)) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for code, marker in enumerate(MARKERS.values()):
            # Grey ones first, under the others.
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
    """In how many of the samples each row lacks a value; ``share`` [rows with gaps] of 1."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.stairs(100 * np.sort(share)[::-1], np.arange(len(share) + 1), fill=True, color=COLOURS[0])
    axes.set(xlim=(0, len(share)), ylim=(0, min(100, 115 * share.max())), ylabel="% of samples without a value")
    axes.set_xlabel("rows with gaps, the emptiest first")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return to_svg(figure)


def principal_components(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The first two principal components of rows centred over the profiles, not scaled; a gap is its row's mean.

    Args:
      values: [profiles, rows]; rows measured in fewer than half of the profiles are left out.

    Returns:
      The profiles' coordinates [profiles, 2], in the unit of the values, and the components' shares of all variance
      [2]; None where fewer than three profiles, or no difference among them, leave nothing to show.
    """
    usual = values[:, np.isnan(values).sum(axis=0) <= len(values) / 2]
    deviation = np.nan_to_num(usual - np.nanmean(usual, axis=0))
    if len(values) < 3 or not np.ptp(deviation, axis=0).any():
        return None
    # Far fewer profiles than rows, as a rule: their products among each other are the smaller matrix.
    variance, vectors = np.linalg.eigh((deviation @ deviation.T).astype(np.float64))
    points = (vectors * np.sqrt(np.maximum(variance, 0)))[:, :-3:-1]
    # Either sign is right; which one comes is up to the library, so it is settled here.
    largest = np.take_along_axis(points, np.abs(points).argmax(axis=0)[None], axis=0)
    return points * np.sign(largest), variance[:-3:-1] / variance.sum()


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)] if number < NAMED else GREY


def _is_second(number: int) -> bool:
    """Whether the study is one of those that have the colours for the second time."""
    return len(COLOURS) <= number < NAMED


def _look(number: int) -> dict[str, Any]:
    return {"color": _colour(number), "linestyle": "--" if _is_second(number) else "-", "linewidth": 1.2}


def _filling(number: int) -> dict[str, str]:
    colour = _colour(number)
    return {"facecolors": "none" if _is_second(number) else colour, "edgecolors": colour}


def _mark(marker: str, number: int) -> Line2D:
    colour = _colour(number)
    inside = "none" if _is_second(number) else colour
    return Line2D([], [], linestyle="", marker=marker, markersize=4.5, color=colour, markerfacecolor=inside)


def _label(study: str, profiles: int) -> str:
    name = study if len(study) <= LONGEST_NAME else f"{study[: LONGEST_NAME - 1]}…"
    return f"{name or 'unknown study'} ({profiles})"


def _legend(figure: Figure, handles: Sequence[Line2D], labels: Sequence[str]) -> None:
    legend = figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar in a study's name is no formula
