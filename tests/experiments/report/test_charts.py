"""Every figure draws what it is given, where it says, and no two of its texts overlap."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from dgex.files.svg import look
from experiments.report.charts import COLOURS, KINDS, dots, histograms, intervals, lines, scatter

MODELS = ["tanh", "sigmoid", "TAAF", "TAAF, output too", "TAAF, output too, wide start", "ridge regression"]
LONG = "alpha & delta, of <one> unit each, and of a name that is far longer than there is room for in a line"


@pytest.fixture(autouse=True)
def project_look() -> Iterator[None]:
    with look():
        yield


def forest_row(label: str, **fields: Any) -> dict[str, Any]:
    return {"label": label, "estimate": 0.5, "low": -0.25, "high": 1.5, "points": [-1.0, 2.0], **fields}


def curve(label: str, **fields: Any) -> dict[str, Any]:
    return {"label": label, "x": [50, 100, 600], "y": [0.9, 0.7, 0.6], **fields}


def panel(*series: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"title": "by study", "x_label": "profiles", "y_label": "MAE", "log_x": False, "series": series, **fields}


def bars(title: str, **fields: Any) -> dict[str, Any]:
    fixed = {"title": title, "x_label": "alpha", "y_label": "units", "edges": [0, 1, 3, 4], "counts": [5, 0, 20000]}
    return {**fixed, "mark": 1.5, "mark_label": "initial value", **fields}


# Each kind at the size the study needs it for.
LARGEST: dict[str, dict[str, Any]] = {
    "intervals": {
        "unit": "difference of z-score MAE",
        "better": "TAAF is better",
        "rows": [
            forest_row(LONG if i % 9 == 4 else f"variant {i}", group=f"group {i // 12}", low=None if i % 7 else -0.25)
            for i in range(45)
        ],
    },
    "dots": {
        "unit": "z-score MAE",
        "rows": [LONG, *(f"GSE{i}" for i in range(24))],
        "series": [{"label": label, "values": [0.4] * 25} for label in [*MODELS, "mean predictor"]],
        "order_by": "TAAF",
        "notes": [f"n = {10**i % 9999}" for i in range(25)],
    },
    "lines": {
        "panels": [
            panel(*map(curve, MODELS), log_x=True),
            panel(*map(curve, ["PReLU", "SReLU", "ABU", "PAU", "swish"]), log_x=True),
            panel(curve("TAAF", x=[3000, 20000, 129158]), log_x=True),
            panel(curve("TAAF", x=[10, 1000, 1000000]), log_x=True),
            panel(curve("TAAF", y=[0.42411, 0.42412, 0.42413])),
            panel(curve("TAAF"), levels=[{"label": "mean predictor", "y": 0.8}]),
        ]
    },
    "histograms": {"panels": [bars(f"H{layer}: {i}") for layer in range(2) for i in range(4)]},
    "scatter": {"x_label": "tanh", "y_label": "TAAF", "x": [0.1, 0.9], "y": [0.3, 0.7], "diagonal": True},
}


def drawn_texts(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> dict[Text, Bbox]:
    """Texts that are drawn, unlike those of ticks out of view, and the boxes [pixels] they are drawn in."""
    found: dict[Text, Bbox] = {}
    draw = Text.draw

    def recorded(text: Text, renderer: Any) -> None:
        draw(text, renderer)
        if text.get_visible() and text.get_text():
            found[text] = Text.get_window_extent(text, renderer)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", recorded)
        FigureCanvasAgg(figure).draw()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_whole_and_apart(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = KINDS[kind](**LARGEST[kind])
    boxes = drawn_texts(figure, monkeypatch)
    assert len(boxes) > 5
    for (text, box), (other, other_box) in combinations(boxes.items(), 2):
        assert not box.overlaps(other_box), (text, other)
    inside = figure.bbox.padded(1)
    assert [text.get_text() for text, box in boxes.items() if not inside.containsx(box.x0)] == []
    assert [text.get_text() for text, box in boxes.items() if not inside.containsx(box.x1)] == []
    assert [text.get_text() for text, box in boxes.items() if not inside.containsy(box.y0)] == []
    assert [text.get_text() for text, box in boxes.items() if not inside.containsy(box.y1)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_figures_fit_the_page(kind: str) -> None:
    # 1,024 CSS pixels: 96 an inch.
    assert KINDS[kind](**LARGEST[kind]).get_figwidth() * 96 <= 1024


@pytest.mark.parametrize("kind", ["intervals", "dots"])
def test_long_labels_leave_room(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = KINDS[kind](**LARGEST[kind])
    drawn_texts(figure, monkeypatch)  # lays it out
    assert figure.axes[0].get_position().width > 0.5


def test_intervals() -> None:
    rows = [
        forest_row("first", group="ours"),
        forest_row("second", group="ours", estimate=-0.00001, low=None, high=None, points=[]),
        forest_row("third", group="theirs", estimate=None, low=None, high=None, points=[None, 3.0]),
    ]
    (axes,) = intervals("log2", "first is better", rows).axes
    assert axes.get_xlabel() == "log2"
    labels = {label.get_text(): label for label in axes.get_yticklabels()}
    assert list(labels) == ["ours", "first", "second", "theirs", "third"]
    assert [name for name, label in labels.items() if label.get_fontweight() == "bold"] == ["ours", "theirs"]
    place = dict(zip(labels, axes.get_yticks(), strict=True))
    assert axes.yaxis_inverted()
    assert list(place.values()) == sorted(place.values())

    *parts, zero = axes.lines
    assert list(zero.get_xdata()) == [0, 0]
    for name, (points, interval, estimate) in zip(
        ("first", "second", "third"), zip(*[iter(parts)] * 3, strict=True), strict=True
    ):
        row = next(row for row in rows if row["label"] == name)
        np.testing.assert_array_equal(points.get_xdata(), np.array(row["points"], float))
        np.testing.assert_array_equal(interval.get_xdata(), np.array([row["low"], row["high"]], float))
        np.testing.assert_array_equal(estimate.get_xdata(), np.array([row["estimate"]], float))
        assert list(interval.get_ydata()) == [place[name]] * 2
        assert list(estimate.get_ydata()) == [place[name]]
        assert (estimate.get_markerfacecolor() == "white") == (name != "first")

    first, second, _, better = axes.texts
    assert first.get_text() == "+0.5000 [−0.2500, +1.5000]"
    assert second.get_text() == "+0.0000 (no interval)"  # what rounds to zero has no sign of its own
    assert "first is better" in better.get_text()
    assert (better.get_position()[0], better.get_ha()) == (0, "right")  # on the left of zero


def test_intervals_have_zero_in_view() -> None:
    (axes,) = intervals("", "", [forest_row("far", estimate=5.0, low=4.0, high=6.0, points=[])]).axes
    low, high = axes.get_xlim()
    assert low < 0 and high > 6


def test_dots_in_order() -> None:
    series = [{"label": "TAAF", "values": [3.0, None, 1.0]}, {"label": "tanh", "values": [4.0, 5.0, 6.0]}]
    figure = dots("MAE", ["a", "b", "c"], series, "TAAF", ["n = 1", "n = 2", "n = 3"])
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "a", "b"]
    assert [text.get_text() for text in axes.texts] == ["n = 3", "n = 1", "n = 2"]
    taaf, tanh = axes.lines
    np.testing.assert_array_equal(taaf.get_xdata(), [1, 3, np.nan])
    np.testing.assert_array_equal(tanh.get_xdata(), [6, 4, 5])
    middles = axes.get_yticks()
    for line in (taaf, tanh):  # each mark lies in its own row
        assert (np.abs(line.get_ydata() - middles) < np.diff(middles).min() / 2).all()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["TAAF", "tanh"]
    (axes,) = dots("MAE", ["a", "b", "c"], series).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]


def test_equal_dots_are_all_seen() -> None:
    series = [{"label": label, "values": [1.0]} for label in MODELS]
    (axes,) = dots("", ["a"], series).axes
    heights = [line.get_ydata()[0] for line in axes.lines]
    assert len(set(heights)) == len(MODELS)
    bottom, top = axes.get_ylim()
    assert top < min(heights) < max(heights) < bottom  # the row is all of the axes


def test_lines() -> None:
    panels = [
        panel(
            curve("TAAF", low=[0.8, 0.6, 0.5], high=[1.0, 0.8, 0.7], markers=True),
            curve("TAAF", y=[0.5, None, 0.3], dashed=True),
            levels=[{"label": "ridge regression", "y": 0.65}, {"label": "mean predictor", "y": None}],
        ),
        panel(curve("tanh"), curve("TAAF"), log_x=True),
    ]
    figure = lines(panels)
    left, right = figure.axes
    solid, dashed, ridge, _ = left.lines
    np.testing.assert_array_equal(solid.get_xydata(), [[50, 0.9], [100, 0.7], [600, 0.6]])
    np.testing.assert_array_equal(dashed.get_ydata(), [0.5, np.nan, 0.3])
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert solid.get_marker() and not dashed.get_marker()
    assert list(ridge.get_ydata()) == [0.65, 0.65]
    (band,) = left.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
    assert corners == {(50, 0.8), (100, 0.6), (600, 0.5), (50, 1.0), (100, 0.8), (600, 0.7)}
    assert (left.get_xscale(), right.get_xscale()) == ("linear", "log")
    assert (left.get_title(), left.get_xlabel(), left.get_ylabel()) == ("by study", "profiles", "MAE")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["TAAF", "ridge regression", "mean predictor", "tanh"]


def test_ticks_are_written_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = drawn_texts(lines([panel(curve("TAAF", y=[0.42411, 0.42412, 0.42413]))]), monkeypatch)
    assert "0.42412" in {text.get_text().rstrip("0") for text in texts}


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (3, 1, 3), (4, 2, 2), (5, 2, 3), (6, 2, 3)])
def test_panels_a_line(count: int, rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = lines([panel(curve("TAAF"))] * count)
    drawn_texts(figure, monkeypatch)  # lays it out
    corners = np.array([axes.get_position().p0 for axes in figure.axes]).round(3)
    assert (len(set(corners[:, 1])), len(set(corners[:, 0]))) == (rows, columns)
    assert len(corners) == count


def test_histograms() -> None:
    figure = histograms([bars("alpha"), bars("beta", mark=None)])
    marked, unmarked = figure.axes
    for axes in (marked, unmarked):
        (patch,) = axes.patches
        counts, edges, _ = patch.get_data()
        np.testing.assert_array_equal(counts, [5, 0, 20000])
        np.testing.assert_array_equal(edges, [0, 1, 3, 4])
    assert list(marked.lines[0].get_xdata()) == [1.5, 1.5]
    assert not unmarked.lines
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["initial value"]


def test_scatter() -> None:
    (axes,) = scatter("tanh", "TAAF", [1, 2, None, 4, 5], [0.5, 3, 3, None, 1], True).axes
    (points,) = axes.collections
    np.testing.assert_array_equal(points.get_offsets(), [[1, 0.5], [2, 3], [5, 1]])
    assert points.get_rasterized()
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_aspect() == 1
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), axes.lines[0].get_ydata())
    assert axes.get_title() == "n = 3, 66.7% below the diagonal"
    (axes,) = scatter("tanh", "TAAF", [1, 2], [30, 40], False).axes
    assert not axes.lines
    assert axes.get_title() == "n = 2"


def test_a_model_has_its_colour_in_every_figure() -> None:
    assert len(set(COLOURS.values())) == len(COLOURS)
    curves = lines([panel(curve("new"), curve("sigmoid"), curve("newer"), curve("TAAF"))]).axes[0].lines
    marks = dots("", ["a"], [{"label": label, "values": [1]} for label in ("TAAF", "sigmoid")]).axes[0].lines
    new, sigmoid, newer, taaf = curves
    assert to_hex(taaf.get_color()) == to_hex(marks[0].get_color()) == "#009e73"
    assert to_hex(sigmoid.get_color()) == to_hex(marks[1].get_color()) == "#0072b2"
    others = {to_hex(new.get_color()), to_hex(newer.get_color())}
    assert len(others) == 2 and not others & {colour.lower() for colour in COLOURS.values()}
    assert new.get_marker() != newer.get_marker()


def test_a_dollar_is_no_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = intervals("$", "$b$", [forest_row("$\\frac$", group="$g$")])
    assert not any(text.get_parse_math() for text in drawn_texts(figure, monkeypatch))
