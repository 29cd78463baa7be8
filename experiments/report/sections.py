"""Sections of a report as plain data: one for each question, with its answer, tables and figures.

results.json keeps them, and the report is made from them alone. So a page can be made again, or a figure be drawn
differently, without the trials.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Holds a table of the report, which is also a CSV file.

    Attributes:
      name: name of the file, without its ending.
      caption: what the rows are, with units and numbers of samples, studies and seeds.
      columns: headings, with units.
      rows: cells; a float is shown with four decimals and kept in full precision, None is shown as a dash.
      shown: number of rows on the page; None for all. The CSV file has all of them.
      columns_shown: number of columns on the page; None for all. The CSV file has all of them.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    shown: int | None = None
    columns_shown: int | None = None


@dataclass(frozen=True)
class Figure:
    """Holds a figure: one of the kinds of ``experiments.report.charts``, and the numbers that it draws.

    Attributes:
      name: name of the file, without its ending.
      kind: name of the function in ``experiments.report.charts.KINDS`` that draws it.
      caption: what the figure shows, and how to read it.
      data: arguments of that function; numbers, strings, lists and dictionaries only.
    """

    name: str
    kind: str
    caption: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """Holds one question of an experiment and its answer.

    Attributes:
      name: short name, for links and file names.
      question: the question, in one sentence.
      data: the data that were trained and tested on: studies, samples, genes, seeds.
      answer: one or more sentences with the main numbers and their intervals.
      caveats: limits of the answer.
      tables: the tables, in the order of the page.
      figures: the figures, in the order of the page.
    """

    name: str
    question: str
    data: str
    answer: Sequence[str]
    caveats: Sequence[str]
    tables: Sequence[Table]
    figures: Sequence[Figure]


def section_from_dict(fields: Mapping[str, Any]) -> Section:
    """Makes a section of the dictionary that ``dataclasses.asdict`` made of it."""
    tables = [Table(**table) for table in fields["tables"]]
    return Section(**{**fields, "tables": tables, "figures": [Figure(**figure) for figure in fields["figures"]]})
