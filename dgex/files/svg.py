"""The look of the project's figures, and SVG whose bytes depend on the drawing alone."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure

LOOK: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "figure.dpi": 150,
    "svg.hashsalt": "dgex",  # else every run's SVG differs from the last
}


@contextmanager
def look() -> Iterator[None]:
    """Gives matplotlib the project's look while a ``with`` block lasts, or a function that this decorates.

    A figure is to be drawn and saved within it: axes take their look when they are made, some ticks when saved.
    """
    with matplotlib.rc_context(LOOK):
        yield


def to_svg(figure: Figure) -> bytes:
    """Draws the figure as an SVG file."""
    file = io.BytesIO()
    with look():
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
