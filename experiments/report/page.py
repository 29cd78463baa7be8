"""A study's files, all made from its results.json: tables as CSV, figures, and one HTML page that holds both and needs
no network.

    results.json          everything the others show
    report.html
    results.md            answers and tables as text
    tables/NAME.csv       RFC 4180, full precision, a missing value is empty
    figures/NAME.svg, .png
"""

import base64
import csv
import io
import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dgex.atomic import replacing
from dgex.errors import DgexError
from dgex.protocols import Protocol
from dgex.svg import to_svg
from experiments.report.charts import KINDS
from experiments.report.sections import Cell, Figure, Section, Table, section
from experiments.results import markdown, provenance, write_json
from experiments.trials.sources import Source

# What a study's results.json begins with; the comparison's has schema 1, and no kind.
HEADER: Mapping[str, Any] = {"kind": "study", "schema_version": 2}
NAME = re.compile(r"\w[\w.-]*", re.ASCII)  # of a file, and of a link


def results(
    module: str,
    title: str,
    sections: Sequence[Section],
    sources: Sequence[Source],
    protocols: Sequence[Protocol],
    made: Mapping[str, int],
    devices: Sequence[jax.Device],
    **kept: Any,
) -> dict[str, Any]:
    """What results.json holds.

    Args:
      module: of ``experiments``, whose command this is.
      title: of the page.
      sections: what it says.
      sources: the prepared files.
      protocols: of its networks.
      made: on what the outcomes were made, and how many so.
      devices: of this process.
      kept: what else results.json is to keep.
    """
    source = provenance(devices, "default")
    command = shlex.join(["python", "-m", f"experiments.{module}", *sys.argv[1:]])
    settings = [", ".join(f"{key} {value}" for key, value in asdict(of).items() if value) for of in protocols]
    return {
        **HEADER,
        "title": title,
        "summary": [
            "Test samples were read after validation had chosen every epoch, penalty and number of neighbours. The "
            "z-score MAE is in units of a gene's training SD, the log2 MAE in log2 units; negative differences mean "
            "that the first is better; brackets are 95 % intervals."
        ],
        "sections": [asdict(section) for section in sections],
        "facts": {
            "data": "; ".join(f"{each.path.name} sha256 {each.sha256}" for each in sources),
            "protocol": "; ".join(dict.fromkeys(settings)),
            "trials": "; ".join(f"{number} on {how}" for how, number in made.items()),
            "software": ", ".join(f"{name} {version}" for name, version in source["packages"].items()),
            "source": f"dgex {source['dgex']}, commit {source['git_commit']}",
            "command": command,
        },
        "data": {each.path.name: each.identity for each in sources},
        "provenance": source,
        "command": command,
        **kept,
    }


def write_study(output: Path, results: Mapping[str, Any]) -> None:
    """Writes all of a study's files.

    Args:
      output: their folder.
      results: ``HEADER``, ``title``, ``summary`` (sentences, the first of them on the data), ``sections`` (``asdict``
        of each ``Section``), ``facts`` (text by name), and whatever else results.json is to keep.

    Raises:
      DgexError: the folder cannot be written to, or the results cannot be shown; results.json is then written, and
        nothing else.
    """
    write_json(output / "results.json", results)
    redraw(output)


def redraw(output: Path) -> None:
    """Writes all of a study's files again from its results.json alone, the same bytes from the same numbers.

    Raises:
      DgexError: results.json is missing, damaged or of something else, and nothing is written; or the folder cannot be
        written to.
    """
    for name, content in _files(output / "results.json").items():
        with replacing(output / name) as partial:
            partial.write_bytes(content)


def _files(path: Path) -> dict[str, bytes]:
    """Contents of tables, figures and page by name; all of them, so that none is written where one cannot be made."""
    try:
        results = json.loads(path.read_bytes())
    except OSError as error:
        raise DgexError(f"{path}: cannot be read ({error.strerror}); name the folder of a finished study") from error
    except ValueError as error:
        raise DgexError(f"{path}: is damaged ({error}); run the study again") from error
    if not isinstance(results, dict) or {key: results.get(key) for key in HEADER} != HEADER:
        raise DgexError(f"{path}: does not hold the results of a study that this version can show")
    # Nothing was checked when it was read, so a wrong field is met wherever it is used.
    try:
        sections = [section(fields) for fields in results["sections"]]
        tables = [table for part in sections for table in part.tables]
        figures = [figure for part in sections for figure in part.figures]
        for things in (sections, tables, figures):
            _check_names([thing.name for thing in things])
        files = {f"tables/{table.name}.csv": _csv(table) for table in tables}
        for figure in figures:
            files |= _drawn(figure)
        files["report.html"] = _page(results, sections, files)
        files["results.md"] = _text(results, sections).encode()
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DgexError(f"{path}: is not as a study writes it ({reason}); run the study again") from error
    return files


def _check_names(names: Sequence[str]) -> None:
    """They become files, none of which may replace another or lie elsewhere."""
    wrong = [name for name, count in Counter(names).items() if count > 1 or not NAME.fullmatch(name)]
    if wrong:
        raise ValueError(f"not a name, or not of one thing alone: {', '.join(map(repr, wrong))}")


def _csv(table: Table) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([table.columns, *table.rows])
    return text.getvalue().encode()


def _drawn(figure: Figure) -> dict[str, bytes]:
    drawing = KINDS[figure.kind](**figure.data)
    png = io.BytesIO()
    drawing.savefig(png, format="png")
    return {f"figures/{figure.name}.png": png.getvalue(), f"figures/{figure.name}.svg": to_svg(drawing)}


def _page(results: Mapping[str, Any], sections: Sequence[Section], files: Mapping[str, bytes]) -> bytes:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(shown=_shown, numeric=_numeric)
    pictures = {
        figure.name: base64.b64encode(files[f"figures/{figure.name}.svg"]).decode()
        for part in sections
        for figure in part.figures
    }
    content = {name: results[name] for name in ("title", "summary", "facts")}
    return environment.get_template("page.html.j2").render(sections=sections, pictures=pictures, **content).encode()


def _text(results: Mapping[str, Any], sections: Sequence[Section]) -> str:
    """The answers, what they do not say, and the tables in Markdown, as far as the page shows them."""
    parts = [f"# {results['title']}", *results["summary"]]
    for part in sections:
        parts += [f"## {part.question}", part.data, *part.answer, "What this does not say:"]
        parts += ["\n".join(f"- {line}" for line in part.caveats)]
        for table in part.tables:
            rows = [[_shown(cell) for cell in row[: table.columns_shown]] for row in table.rows[: table.shown]]
            parts += [table.caption, markdown([list(table.columns[: table.columns_shown]), *rows]).rstrip()]
    return "\n\n".join(parts) + "\n"


def _shown(cell: Cell) -> str:
    """``12,345``, ``24.3``, ``0.4241``, ``2e-05`` (a p-value of 0.0000 would be none), a dash for None."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    if 0 < cell < 5e-5:
        return f"{cell:.0e}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:z.4f}"


def _numeric(table: Table) -> list[bool]:
    """Which columns hold numbers, or nothing."""
    columns = zip(table.columns, *table.rows, strict=True)
    return [not all(isinstance(cell, str | None) for cell in column) or not any(column) for _, *column in columns]
