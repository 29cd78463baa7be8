"""A figure's SVG must be well-formed and the same every time."""

from xml.etree import ElementTree

from matplotlib.figure import Figure

from dgex.files.svg import to_svg


def drawing() -> Figure:
    figure = Figure()
    figure.subplots().scatter([1, 2], [3, 4])
    return figure


def test_equal_figures_give_equal_svg_without_a_date():
    svg = to_svg(drawing())
    assert svg == to_svg(drawing())
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert b"dc:date" not in svg
