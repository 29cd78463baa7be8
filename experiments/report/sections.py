"""What an experiment says, question by question, as plain data: all that the report shows and results.json keeps.

The report is drawn from this alone, so that a page can be made again, or a figure differently, without the trials.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A table of the report, and a CSV file.

    Attributes:
      name: of the file, without its ending.
      caption: what the rows are, with units and numbers of samples, studies and seeds.
      columns: headings, with units.
      rows: cells; a float is shown with four decimals and kept in full, None is shown as a dash.
      shown, columns_shown: how many rows and columns the page has; None for all. The CSV file has all of them.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    shown: int | None = None
    columns_shown: int | None = None


@dataclass(frozen=True)
class Figure:
    """A figure: one of the kinds of ``experiments.report.charts``, and the numbers that it draws.

    Attributes:
      name: of the file, without its ending.
      kind: the name of the function in ``experiments.report.charts.KINDS`` that draws it.
      caption: what there is to see, and what it says.
      data: that function's arguments; numbers, strings, lists and dictionaries only.
    """

    name: str
    kind: str
    caption: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """One question of an experiment and its answer.

    Attributes:
      name: short, for links and file names.
      question: in one sentence.
      data: what was trained and tested on: studies, samples, genes, seeds.
      answer: one or more sentences with the main numbers and their intervals.
      caveats: what the answer does not say.
      tables, figures: in the order of the page.
    """

    name: str
    question: str
    data: str
    answer: Sequence[str]
    caveats: Sequence[str]
    tables: Sequence[Table]
    figures: Sequence[Figure]


def section(fields: Mapping[str, Any]) -> Section:
    """The section that ``dataclasses.asdict`` made a dictionary of."""
    tables = [Table(**table) for table in fields["tables"]]
    return Section(**{**fields, "tables": tables, "figures": [Figure(**figure) for figure in fields["figures"]]})
