"""The style of the project's figures, and reproducible SVG: equal figures give equal bytes."""

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
    "svg.hashsalt": "dgex",  # otherwise the SVG of every run differs
}


@contextmanager
def look() -> Iterator[None]:
    """Applies the project's matplotlib style within a ``with`` block, or within a function that this decorates.

    Draw and save a figure within it: axes take their style when they are created, some ticks when they are saved.
    """
    with matplotlib.rc_context(LOOK):
        yield


def to_svg(figure: Figure) -> bytes:
    """Renders a figure as the bytes of an SVG file."""
    file = io.BytesIO()
    with look():
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
