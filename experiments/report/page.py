"""The report files of an experiment, all made from its results.json.

results.json          the data of all other files
report.html           all sections, tables and figures; needs no network connection
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
from experiments.report.sections import Cell, Figure, Section, Table, section_from_dict
from experiments.trials.provenance import provenance

SCHEMA_VERSION = 2  # of results.json
NAME = re.compile(r"\w[\w.-]*", re.ASCII)  # a valid name of a file or a link
HOW_TO_READ = (
    "The validation samples chose every epoch, penalty and number of neighbours before any test sample was read. The "
    "z-score MAE is in units of a gene's training SD, the log2 MAE in log2 units. A negative difference means that the "
    "first model is better. Brackets are 95 % intervals."
)


def gather_results(
    kind: str,
    title: str,
    sections: Sequence[Section],
    data: Mapping[str, Mapping[str, Any]],
    protocols: Sequence[Protocol],
    origins: Mapping[str, int],
    devices: Sequence[jax.Device],
    summary: Sequence[str] = (HOW_TO_READ,),
    **more: Any,
) -> dict[str, Any]:
    """Gathers the contents of results.json.

    Args:
      kind: name of the module of ``experiments`` whose command this is.
      title: title of the page.
      sections: sections of the page.
      data: identity of each data file, with "sha256" at least, by the file's name.
      protocols: protocols of the networks.
      origins: numbers of outcomes by the devices, JAX version and commit that they were made with.
      devices: devices of this process.
      summary: the first sentences of the page, on all sections.
      **more: further fields of results.json.
    """
    software = provenance(devices)
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
            "trials": "; ".join(f"{number} on {origin}" for origin, number in origins.items()),
            "software": ", ".join(f"{name} {version}" for name, version in software["packages"].items()),
            "source": f"dgex {software['dgex']}, commit {software['git_commit']}",
            "command": command,
        },
        "data": dict(data),
        "provenance": software,
        "command": command,
        **more,
    }


def write_report(output: Path, results: Mapping[str, Any]) -> None:
    """Writes results.json and all report files of an experiment.

    Args:
      output: the folder.
      results: the results, as ``gather_results`` gathers them.

    Raises:
      DgexError: the folder cannot be written to, or no report can be made of the results; only results.json is written
        then.
    """
    _write_json(output / "results.json", results)
    redraw(output)


def redraw(output: Path) -> None:
    """Writes all report files of an experiment again from its results.json alone; equal numbers give equal bytes.

    Raises:
      DgexError: results.json is missing, damaged or not of an experiment, and nothing is written; or the folder cannot
        be written to.
    """
    for name, content in _files(output / "results.json").items():
        with replacing(output / name) as partial:
            partial.write_bytes(content)


def _files(path: Path) -> dict[str, bytes]:
    """Makes the contents of tables, figures and pages by name, all before any is written: one may fail."""
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
    # The fields were not checked when they were read, so a wrong one can raise any of these errors where it is used.
    try:
        sections = [section_from_dict(fields) for fields in results["sections"]]
        tables = [table for section in sections for table in section.tables]
        figures = [figure for section in sections for figure in section.figures]
        for named in (sections, tables, figures):
            _check_names([each.name for each in named])
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
    """Refuses names that are invalid or used twice, since they become names of files."""
    wrong = [name for name, count in Counter(names).items() if count > 1 or not NAME.fullmatch(name)]
    if wrong:
        raise ValueError(f"invalid name, or used twice: {', '.join(map(repr, wrong))}")


def _csv(table: Table) -> bytes:
    """Formats a table as CSV."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([table.columns, *table.rows])
    return text.getvalue().encode()


def _drawn(figure: Figure) -> dict[str, bytes]:
    """Draws a figure as PNG and SVG."""
    png = io.BytesIO()
    with look():
        drawing = KINDS[figure.kind](**figure.data)
        drawing.savefig(png, format="png")
        return {f"figures/{figure.name}.png": png.getvalue(), f"figures/{figure.name}.svg": to_svg(drawing)}


def _page(results: Mapping[str, Any], sections: Sequence[Section], files: Mapping[str, bytes]) -> bytes:
    """Renders the HTML page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(shown=_shown, numeric=_numeric)
    pictures = {
        figure.name: base64.b64encode(files[f"figures/{figure.name}.svg"]).decode()
        for section in sections
        for figure in section.figures
    }
    content = {name: results[name] for name in ("title", "summary", "facts")}
    return environment.get_template("page.html.j2").render(sections=sections, pictures=pictures, **content).encode()


def _text(results: Mapping[str, Any], sections: Sequence[Section]) -> str:
    """Writes answers, caveats and tables in Markdown; the tables have the rows and columns of the page."""
    paragraphs = [f"# {results['title']}", *results["summary"]]
    for section in sections:
        paragraphs += [f"## {section.question}", section.data, *section.answer, "Limits of this answer:"]
        paragraphs += ["\n".join(f"- {line}" for line in section.caveats)]
        for table in section.tables:
            rows = [[_shown(cell) for cell in row[: table.columns_shown]] for row in table.rows[: table.shown]]
            paragraphs += [table.caption, _markdown([list(table.columns[: table.columns_shown]), *rows]).rstrip()]
    return "\n\n".join(paragraphs) + "\n"


def _shown(cell: Cell) -> str:
    """Formats a cell: ``12,345``, ``24.3``, ``0.4241``, ``2e-05`` (as a p-value cannot be 0.0000), a dash for None."""
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
    """Tells which columns hold numbers, or nothing."""
    columns = zip(table.columns, *table.rows, strict=True)
    return [not all(isinstance(cell, str | None) for cell in column) or not any(column) for _, *column in columns]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows of text, header first, as a Markdown table."""
    header, *body = rows
    lines = [header, ["---"] * len(header), *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically; an undefined number (NaN) becomes null."""
    text = json.dumps(_nan_to_none(value), indent=1, allow_nan=False)
    with replacing(path) as partial:
        partial.write_text(text + "\n")


def _nan_to_none(value: Any) -> Any:
    """Replaces every NaN in nested values by None."""
    if isinstance(value, Mapping):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
