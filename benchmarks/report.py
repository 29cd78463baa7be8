"""Draws what ``train_step`` and ``prepare`` measured, and puts their tables into the documentation.

    python -m benchmarks.report docs/benchmarks

The figure lies beside the JSON files, and each table stands in docs/performance.md between two comments.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from benchmarks.train_step import DGEX_ROW, PRODUCTS_ROW
from dgex import console
from dgex.errors import DgexError
from dgex.files.atomic import replacing
from dgex.files.svg import look, to_svg

PAGE = Path("docs/performance.md")
BEGIN, END = "<!-- {}, written by benchmarks.report -->", "<!-- end -->"
Results = dict[str, Any]


def heading(case: Results) -> str:
    """Names a case in a table or figure by its network, optimiser and batch."""
    return f"{case['preset']}, {case['protocol']['optimizer'].split('_')[-1]}"


def number(value: float) -> str:
    """Formats a time with three digits, or with all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def cell(row: Results | None) -> str:
    """Formats a row's milliseconds a step and, in parentheses, its multiple of dgex's time, with the goal if missed."""
    if row is None:
        return ""
    time, ratio, goal = row["ms_per_step"]["median"], row["times_dgex"]["median"], row["goal"]
    missed = f", goal {goal:.2f}" if goal is not None and ratio < goal else ""
    return f"{number(time)} ({ratio:.2f}{missed})"


def conditions(results: Results) -> str:
    """Tells where and with what the numbers were measured."""
    environment = results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items() if version)
    return (
        f"Medians (rounds: {results['rounds']}) on {environment['cpus']} cores of {environment['processor']}, "
        f"load before {environment['load_average_before']:.1f}; {versions}."
    )


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Makes a Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def training_table(results: Results) -> str:
    """Makes the table of training: a row for each framework or limit, a column for each case."""
    cases = results["cases"]
    names = dict.fromkeys(name for case in cases for name in case["rows"])
    rows = [[name, *(cell(case["rows"].get(name)) for case in cases)] for name in names]
    return (
        f"Milliseconds a step, float32; in parentheses the multiple of dgex's time, and the goal where it is missed. "
        f"{conditions(results)}\n\n{markdown(['', *(heading(case) for case in cases)], rows)}"
    )


def preparation_table(results: Results) -> str:
    """Makes the table of preparation: a row for each way or limit, two columns for each source."""
    cases = results["cases"]
    head = ["", *(f"{case['profiles']:,} profiles of {case['probe_sets']:,} rows" for case in cases)]

    def seconds(row: Results) -> str:
        peak = f", {row['peak_gib']:.1f} GiB" if row["peak_gib"] else ""
        return f"{number(row['seconds'])} s{peak}"

    rows = [[name, *(seconds(case["rows"][name]) for case in cases)] for name in cases[0]["rows"]]
    return f"{conditions(results)}\n\n{markdown(head, rows)}"


def replaced(page: str, name: str, table: str) -> str:
    """Replaces the table of that name in a page.

    Raises:
      DgexError: the page has no place for it.
    """
    begin = BEGIN.format(name)
    before, found, rest = page.partition(begin)
    _, end, after = rest.partition(END)
    if not (found and end):
        raise DgexError(f"{PAGE} has no place for the table; put {begin} and {END} where it belongs")
    return f"{before}{begin}\n{table}\n{END}{after}"


@look()
def figure(results: Results) -> Figure:
    """Draws a panel for each case that peers train: bars of multiples of dgex's time, a line at the products alone."""
    cases = [case for case in results["cases"] if case["compared"]]
    names = list(dict.fromkeys(name for case in cases for name in case["rows"] if "alone" not in name))
    drawn = Figure(figsize=(2.6 * len(cases) + 2.4, 0.25 * len(names) + 0.8), layout="constrained")
    for axes, case in zip(drawn.subplots(1, len(cases), squeeze=False, sharey=True)[0], cases, strict=True):
        times = {name: row["times_dgex"] for name, row in case["rows"].items()}
        for y, name in enumerate(names):
            if time := times.get(name):
                axes.barh(y, time["median"], color="C0" if name.startswith(DGEX_ROW) else "0.75")
                axes.plot([time["min"], time["max"]], [y, y], color="0.3", linewidth=1)
        axes.axvline(times[PRODUCTS_ROW]["median"], color="C3", linestyle="--", linewidth=1)
        axes.set(title=heading(case), xlabel="times dgex's time", yticks=range(len(names)), yticklabels=names)
    axes.invert_yaxis()  # shared
    return drawn


app = console.command_line(__doc__.splitlines()[0])


@app.command()
def main(folder: Annotated[Path, typer.Argument(help="The folder of train_step.json and prepare.json.")]) -> None:
    """Draws what was measured, and puts its tables into docs/performance.md."""
    training, preparation = (json.loads((folder / f"{name}.json").read_text()) for name in ("train_step", "prepare"))
    page = replaced(PAGE.read_text(), "training", training_table(training))
    page = replaced(page, "preparation", preparation_table(preparation))
    with replacing(folder / "train_step.svg") as file:
        file.write_bytes(to_svg(figure(training)))
    with replacing(PAGE) as file:
        file.write_text(page)


if __name__ == "__main__":
    console.main(app)
