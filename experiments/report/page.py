"""An experiment's files, all made from its results.json: tables as CSV, figures, and one HTML page that holds both and
needs no network.

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
import math
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

from dgex.errors import DgexError
from dgex.files.atomic import replacing
from dgex.files.svg import look, to_svg
from dgex.protocols import Protocol
from experiments.report.charts import KINDS
from experiments.report.sections import Cell, Figure, Section, Table, section
from experiments.trials.provenance import provenance

SCHEMA_VERSION = 2  # of results.json
NAME = re.compile(r"\w[\w.-]*", re.ASCII)  # of a file, and of a link
HOW_TO_READ = (
    "Test samples were read after validation had chosen every epoch, penalty and number of neighbours. The z-score MAE "
    "is in units of a gene's training SD, the log2 MAE in log2 units; negative differences mean that the first is "
    "better; brackets are 95 % intervals."
)


def results(
    kind: str,
    title: str,
    sections: Sequence[Section],
    data: Mapping[str, Mapping[str, Any]],
    protocols: Sequence[Protocol],
    made: Mapping[str, int],
    devices: Sequence[jax.Device],
    summary: Sequence[str] = (HOW_TO_READ,),
    **kept: Any,
) -> dict[str, Any]:
    """Gathers what results.json holds.

    Args:
      kind: name of the module of ``experiments`` whose command this is.
      title: of the page.
      sections: what it says.
      data: what tells each file of data from others, "sha256" at least, by the file's name.
      protocols: of its networks.
      made: on what the outcomes were made, and how many so.
      devices: of this process.
      summary: the page's first sentences, on all sections.
      kept: what else results.json is to keep.
    """
    source = provenance(devices)
    command = shlex.join(["python", "-m", f"experiments.{kind}", *sys.argv[1:]])
    settings = [", ".join(f"{key} {value}" for key, value in asdict(each).items() if value) for each in protocols]
    return {
        "kind": kind,
        "schema_version": SCHEMA_VERSION,
        "title": title,
        "summary": list(summary),
        "sections": [asdict(section) for section in sections],
        "facts": {
            "data": "; ".join(f"{name} sha256 {identity['sha256']}" for name, identity in data.items()),
            "protocol": "; ".join(dict.fromkeys(settings)),
            "trials": "; ".join(f"{number} on {how}" for how, number in made.items()),
            "software": ", ".join(f"{name} {version}" for name, version in source["packages"].items()),
            "source": f"dgex {source['dgex']}, commit {source['git_commit']}",
            "command": command,
        },
        "data": dict(data),
        "provenance": source,
        "command": command,
        **kept,
    }


def write_report(output: Path, results: Mapping[str, Any]) -> None:
    """Writes all of an experiment's files.

    Args:
      output: their folder.
      results: as the function of that name gathers them.

    Raises:
      DgexError: the folder cannot be written to, or the results cannot be shown; results.json is then written, and
        nothing else.
    """
    _write_json(output / "results.json", results)
    redraw(output)


def redraw(output: Path) -> None:
    """Writes all of an experiment's files again from its results.json alone, the same bytes from the same numbers.

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
        raise DgexError(
            f"{path}: cannot be read ({error.strerror}); name the folder of a finished experiment"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DgexError(f"{path}: is damaged ({error}); run it again") from error
    if not isinstance(results, dict) or results.get("schema_version") != SCHEMA_VERSION:
        raise DgexError(f"{path}: does not hold results that this version can show")
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
        raise DgexError(f"{path}: is not as an experiment writes it ({reason}); run it again") from error
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
    png = io.BytesIO()
    with look():
        drawing = KINDS[figure.kind](**figure.data)
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
            parts += [table.caption, _markdown([list(table.columns[: table.columns_shown]), *rows]).rstrip()]
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


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, header first, as a Markdown table."""
    header, *body = rows
    lines = [header, ["---"] * len(header), *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes the file whole or not at all; an undefined number (NaN) becomes null."""
    text = json.dumps(_nan_to_none(value), indent=1, allow_nan=False)
    with replacing(path) as partial:
        partial.write_text(text + "\n")


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
