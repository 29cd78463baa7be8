"""Runs the study: all questions about TAAF on one compendium, with intervals, as a page, tables and figures.

    python -m data_prep folds compendium.gctx --genes genes/ --cohorts rnaseq.gctx --folds 7 -o data/study
    python -m experiments.study --data data/study -o results/study

It trains the models of every question, one *trial* (a model, a prepared file, a seed) after another, and writes
report.html, results.json, tables/ and figures/ after every question. It can be stopped at any moment and continued with
``--resume``; further processes that are started so on the same folder share the work. docs/results.md reports the
results.

Every network is trained from three seeds. Numbers of targets, epochs and training profiles are those of
``experiments.trials.plan``, and what a question trains stands in its docstring.
"""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.console import Console

from dgex import console, parallel
from dgex.batches import check_devices
from dgex.cli.options import Coordinator, Process, Processes
from dgex.errors import DgexError
from dgex.files.optional import need
from dgex.files.run_directory import claim
from dgex.processes import join
from dgex.version import __version__
from experiments.analysis.evidence import Evidence
from experiments.analysis.statistics import FEWEST_SEEDS, FEWEST_STUDIES
from experiments.experiment import workplace
from experiments.questions import ablation, activations, growth, linear_path, platforms
from experiments.report.sections import Section
from experiments.trials.outcome import is_done
from experiments.trials.plan import FULL, QUICK_STUDY, Plan
from experiments.trials.schedule import run_all
from experiments.trials.sources import Sources, find_sources, origin_of

# Each question is a module: ``trials`` lists what to train, ``sections`` makes the sections of the report. The order is
# that of the work and of the page.
QUESTIONS: dict[str, ModuleType] = {
    "activations": activations,
    "platforms": platforms,
    "linear_path": linear_path,
    "growth": growth,
    "ablation": ablation,
}

app = console.command_line(help=__doc__.splitlines()[0])


@app.command()
def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of prepared files (python -m data_prep folds).", show_default=False)
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help=f"A question: {', '.join(QUESTIONS)}; may be repeated. All by default.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small study, to see all of it in minutes.")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of every network.", show_default="3")] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Leave out the folds after so many, for a shorter study.")
    ] = None,
    devices: Annotated[int | None, typer.Option(help="How many devices to train on; all by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue what the folder holds, if anything.")] = False,
    redraw_only: Annotated[
        bool, typer.Option("--redraw", help="Only make page, tables and figures again, from results.json.")
    ] = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
) -> None:
    """Answers questions on tanh, sigmoid and TAAF networks with intervals, and writes a report."""
    need("matplotlib", "jinja2", extra="plots", what="the report")
    from experiments.report.page import HOW_TO_READ, gather_results, redraw, write_report

    if redraw_only:
        redraw(output)
        return
    if data is None:
        raise DgexError("give --data, a folder of prepared files (python -m data_prep folds), or --redraw")
    unknown = [name for name in only or () if name not in QUESTIONS]
    if unknown:
        raise DgexError(f"unknown question {unknown[0]!r}; known: {', '.join(QUESTIONS)}")
    join(coordinator, processes, process)
    over = parallel.devices(devices)
    plan = QUICK_STUDY if quick else FULL
    plan = replace(plan, seeds=tuple(range(seeds))) if seeds else plan
    plan = replace(plan, folds=folds) if folds else plan
    check_devices(len(over), plan.protocol.batch)
    all_sources = find_sources(data)
    output = workplace(output, all_sources)
    claim(output / "study.json", identity(all_sources, plan), resume)
    sources = all_sources.first(plan.folds)
    screen = Console(width=max(120, shutil.get_terminal_size().columns), highlight=False)
    for note in too_few(sources, plan):
        screen.print(note)
    sections: dict[str, list[Section]] = {}
    evidence = Evidence(output, sources)
    for name, question in QUESTIONS.items():
        if only and name not in only:
            continue
        trials = {trial.folder: trial for trial in question.trials(sources, plan)}
        left = sum(not is_done(trial, output) for trial in trials.values())
        screen.print(f"{name}: {len(trials)} trials, {len(trials) - left} of them done")
        run_all(list(trials.values()), list(sources), output, over)
        # Another question may be answered now too, since questions have trials in common.
        for each, other in QUESTIONS.items():
            if each not in sections and all(is_done(trial, output) for trial in other.trials(sources, plan)):
                sections[each] = other.sections(evidence, sources, plan)
        in_order = [section for each in QUESTIONS for section in sections.get(each, [])]
        title = f"tanh, sigmoid and TAAF on {sources.raw}"
        write_report(
            output,
            gather_results(
                "study",
                title,
                in_order,
                {each.path.name: each.identity for each in sources},
                [plan.protocol, plan.residual],
                evidence.origins,
                over,
                [HOW_TO_READ, *origin_of(sources.folds[0].path)],
                plan=asdict(plan),
            ),
        )
    screen.print(f"report: {output / 'report.html'}")


def identity(sources: Sources, plan: Plan) -> dict[str, Any]:
    """Identifies the study of a run directory, in which numbers of seeds, folds, targets and profiles may grow."""
    protocols = {"protocol": asdict(plan.protocol), "residual": asdict(plan.residual)}
    return {"data": sources.identity, **protocols, "dgex": __version__}


def too_few(sources: Sources, plan: Plan) -> list[str]:
    """Says, before the work, which results will have no interval."""
    notes = []
    if len(sources.folds) < FEWEST_STUDIES:
        notes.append(f"{len(sources.folds)} folds: no intervals over them, at least {FEWEST_STUDIES} needed")
    if len(plan.seeds) < FEWEST_SEEDS:
        notes.append(f"{len(plan.seeds)} seed(s): no intervals for networks, at least {FEWEST_SEEDS} needed")
    return notes


if __name__ == "__main__":
    console.main(app)
