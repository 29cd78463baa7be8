"""The look of the project's figures, and SVG whose bytes depend on the drawing alone."""

import io
from contextlib import AbstractContextManager

import matplotlib
from matplotlib.figure import Figure

LOOK = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "figure.dpi": 150,
    "svg.hashsalt": "dgex",  # else every run's SVG differs from the last
}


def look() -> AbstractContextManager[None]:
    """Gives matplotlib the project's look while a ``with`` block lasts, or a function that this decorates.

    A figure is to be drawn and saved within it: axes take their look when they are made, some ticks when saved.
    """
    return matplotlib.rc_context(LOOK)


def to_svg(figure: Figure) -> bytes:
    """Draws the figure as an SVG file."""
    file = io.BytesIO()
    with look():
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
