"""The project's figures: one look, and SVG whose bytes depend on the drawing alone."""

import io

import matplotlib
from matplotlib.figure import Figure

matplotlib.rcParams.update(
    {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "legend.frameon": False,
        "figure.dpi": 150,
        "svg.hashsalt": "dgex",  # else every run's SVG differs from the last
    }
)


def to_svg(figure: Figure) -> bytes:
    """The figure as an SVG file."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
