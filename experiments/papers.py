"""Sets the papers' tables beside the same models on the same data: D-GEX's arrays, GTEx and 1000 Genomes.

    make reproduce DATA=dgex
    python -m experiments.papers --data GEO.h5 --cohort GTEx.h5 --cohort 1000G.h5 -o results/dgex

Trained are linear and ridge regression, KNN-GE, D-GEX's nine networks with dropout 10 % by the protocol ``dgex``, once
each, and the TAAF paper's comparison of tanh, sigmoid and TAAF from three seeds, as ``experiments.full_size
activations`` has it. All are scored on the test split and on every cohort that was mapped onto the prepared file
(``python -m data_prep prepare TABLE --onto GEO.h5``), in z-scores and in log2 units.

The command first prints the estimated time and memory; ``--estimate`` stops there, ``--resume`` continues a run that
was stopped. On D-GEX's data and 2 CPU cores it takes about five days, by the estimates of ``experiments.full_size``.

D-GEX's choices of a network are kept: on the test split the one with the lowest validation error is compared, on other
cohorts the one with the lowest error on 1000 Genomes. D-GEX standardised each cohort by itself, which a single new
profile cannot be; so that its numbers can be compared at all, a cohort may be given a second time, prepared with
``--legacy`` and called NAME-as-published. Other choices differ from the papers' (``CAVEATS``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from scipy import stats

from dgex import console, parallel
from dgex.cli.options import Coordinator, Process, Processes
from dgex.data.dataset import read_shape
from dgex.processes import join
from experiments.analysis.evidence import Run, errors
from experiments.analysis.statistics import Errors, compare
from experiments.experiment import Devices, Epochs, Experiment, Memory, Resume, workplace
from experiments.full_size import (
    LAYERS,
    NETWORKS,
    PROTOCOL,
    PUBLISHED,
    PUBLISHED_LINEAR_REGRESSION,
    WHOLE,
    Data,
    EstimateOnly,
    Halves,
    Output,
    activation_networks,
    estimate_and_train,
    grid_network,
    grid_trials,
    prepared_source,
)
from experiments.questions.activations import BASELINE_MODELS
from experiments.report.figures import gene_errors
from experiments.report.sections import Cell, Section, Table
from experiments.report.sentences import data_line, ends, signed
from experiments.report.tables import error_table
from experiments.trials.heldout import TEST
from experiments.trials.models import ModelSpec
from experiments.trials.trial import Trial

BASELINES = tuple(
    model for model in BASELINE_MODELS if model.name in ("mean", "least_squares", "ridge", "nearest_genes")
)
WIDTHS = (1, 2, 3)  # times the units of the narrowest networks of D-GEX's grid
THOUSAND_GENOMES = "1000G"  # the cohort on which D-GEX chose its network for the other one
AS_PUBLISHED = "-as-published"  # ending of the name of a cohort that is standardised by itself

# Test log2 MAE of Kunc and Klema (2021), most likely; which of their TAAF networks it is of is not published.
PUBLISHED_LOG2 = {"tanh": 0.1637, "taaf": 0.1340}
# Beside D-GEX's best network against linear regression and KNN-GE.
PAIRS = (("sigmoid", "tanh"), ("taaf", "tanh"), ("taaf", "sigmoid"), ("taaf", "least_squares"))
# By how many percent D-GEX's error is lower than that of linear regression, and in how many percent of the genes.
PUBLISHED_IMPROVEMENT = {TEST: (15.33, 99.97), f"GTEx{AS_PUBLISHED}": (6.57, 81.31)}

CAVEATS = (
    "The split is drawn anew, near-duplicates are sought exactly, and quantiles and scaler are fitted to the training "
    "split alone; D-GEX fitted them to all profiles. Neither paper's list of profiles by split is published.",
    "D-GEX standardised each cohort by itself, so its errors on GTEx are to be compared with those on cohorts called "
    "NAME-as-published, where no gene has an offset; the others have the scale of the training profiles.",
    "The scale of the TAAF paper's errors (0.1637 and 0.1340) is not published, and is most likely log2 without "
    "standardisation; its learning rate schedule, batch and number of epochs are not published either: here they are "
    "those of its example and of D-GEX.",
    "Intervals over samples say how precisely these samples measure a difference, with these training runs. Samples of "
    "one study resemble each other, and the file names no studies: nothing here is evidence about other studies.",
    "For GTEx D-GEX chose the epoch on 1000 Genomes too, not the network alone; here validation chooses every epoch.",
    "On RNA-seq a target that is a landmark gene too equals an input; errors without overlap leave these out.",
)

Cohorts = Annotated[
    list[Path] | None,
    typer.Option("--cohort", help="A prepared file that was mapped onto the data set; may be repeated."),
]

app = console.command_line(help=__doc__.splitlines()[0])


@app.command()
def main(
    data: Data,
    output: Output = None,
    cohorts: Cohorts = None,
    units: Annotated[
        int, typer.Option(min=1, help="Units of every hidden layer of the narrowest networks; the papers have 3000.")
    ] = 3000,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of tanh, sigmoid and TAAF networks.")] = 3,
    halves: Halves = False,
    epochs: Epochs = None,
    devices: Devices = None,
    memory: Memory = None,
    resume: Resume = False,
    estimate_only: EstimateOnly = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
) -> None:
    """Trains the papers' models, scores them on every cohort, and writes the papers' tables beside."""
    join(coordinator, processes, process)
    source = prepared_source(data, output, estimate_only, cohorts or ())
    output = output and workplace(output, source)
    shape = read_shape(source.path)
    protocol = replace(PROTOCOL, epochs=epochs or PROTOCOL.epochs)
    grid = grid_models(units)
    activations = [
        model for model in activation_networks(units, shape.landmarks, shape.targets) if model.name in NETWORKS
    ]
    experiment = Experiment(
        name="papers",
        title="The papers' tables",
        work={
            "experiment": "papers",
            "units": units,
            "seeds": seeds,
            "epochs": epochs,
            "cohorts": dict(source.cohort_sha256),
            "halves": halves,
        },
        trials=[
            *(Trial(source.name, model, None) for model in BASELINES),
            *grid_trials(source, grid, epochs, 1, halves),
            *(Trial(source.name, model, protocol, seed) for model in activations for seed in range(seeds)),
        ],
        section=partial(
            section,
            caveats=CAVEATS if halves else (WHOLE, *CAVEATS),
            grid=[model.name for model in grid],
            held_out=[TEST, *source.cohorts],
        ),
    )
    estimate_and_train(experiment, source, output, parallel.devices(devices), memory, resume, estimate_only)
    if output is not None and not estimate_only:
        text = (output / "results.md").read_text(encoding="utf-8")
        Console(highlight=False, markup=False).print(text, soft_wrap=True)


def grid_models(units: int) -> list[ModelSpec]:
    """Lists D-GEX's networks with the published dropout rate, from one layer of so many units to three of thrice so."""
    return [grid_network(layers, width * units) for layers in LAYERS for width in WIDTHS]


def section(by_model: dict[str, Run], grid: Sequence[str], held_out: Sequence[str], caveats: Sequence[str]) -> Section:
    """Makes the section: the papers' tables, here and as published, and all errors on every held-out set.

    Args:
      by_model: runs by name of the model.
      grid: names of D-GEX's networks.
      held_out: "test" and the names of the cohorts.
      caveats: limits of the answer.
    """
    improvements = improvement_table(by_model, grid, held_out)
    linear, taaf, tanh = (by_model[name].model.label for name in ("least_squares", "taaf", "tanh"))
    tested = [f"{name}: {data_line(by_model, name)}" for name in held_out]
    return Section(
        name="papers",
        question="Do the papers' models have the errors, and the differences, that were published?",
        data=f"{'; '.join(tested)}.",
        answer=[
            _sentence(dict(zip(improvements.columns, row, strict=True)))
            for row in improvements.rows
            if row[2] == linear or (row[1], row[2]) == (taaf, tanh)
        ],
        caveats=caveats,
        tables=[
            papers_table(by_model, held_out),
            improvements,
            *(
                error_table(f"papers-errors-{name}", f"All errors on {line}.", list(by_model.values()), name)
                for name, line in zip(held_out, tested, strict=True)
            ),
        ],
        figures=[
            gene_errors("papers-genes-dgex", by_model[_chosen(by_model, grid, TEST)], by_model["least_squares"]),
            gene_errors("papers-genes-taaf", by_model["taaf"], by_model["tanh"]),
        ],
    )


def papers_table(by_model: Mapping[str, Run], held_out: Sequence[str]) -> Table:
    """Makes the table of all methods: errors on every held-out set on both scales, and those published for GEO."""
    published: dict[str, float] = {"least_squares": PUBLISHED_LINEAR_REGRESSION}
    published |= {f"dgex-{layers}x{units}": error for (layers, units), error in PUBLISHED.items()}
    rows: list[list[Cell]] = []
    for name, run in by_model.items():
        z, log2 = (
            [float(errors(run, each, measure).sample.mean()) for each in held_out]
            for measure in ("z-score MAE", "log2 MAE")
        )
        rows.append([run.model.label, z[0], published.get(name), *z[1:], log2[0], PUBLISHED_LOG2.get(name), *log2[1:]])
    columns = ["model"]
    for measure in ("z-score MAE", "log2 MAE"):
        columns += [f"{TEST} {measure}", f"published {measure}", *(f"{each} {measure}" for each in held_out[1:])]
    caption = (
        "Mean absolute errors here, mean over samples, genes and seeds, and as published on D-GEX's test profiles: by "
        "Chen et al. (2016) in z-scores, for dropout 10 %, and by Kunc and Klema (2021) in log2 units, most likely."
    )
    return Table("papers", caption, columns, rows)


IMPROVEMENT_COLUMNS = (
    "samples", "first", "second", "first lower by, %", "published, %", "genes lower in first, %",
    "published genes, %", "first − second", "low over samples", "high over samples", "low", "high", "no interval",
)  # fmt: skip


def improvement_table(by_model: Mapping[str, Run], grid: Sequence[str], held_out: Sequence[str]) -> Table:
    """Makes the table of the papers' comparisons on every held-out set, with intervals."""
    rows: list[list[Cell]] = []
    for name in held_out:
        best = _chosen(by_model, grid, name)
        for first, second in ((best, "least_squares"), (best, "nearest_genes"), *PAIRS):
            a, b = (errors(by_model[model], name) for model in (first, second))
            c = compare(a, b)
            is_published = first == best and second == "least_squares"
            percent, genes = PUBLISHED_IMPROVEMENT.get(name, (None, None)) if is_published else (None, None)
            rows.append(
                [
                    name, c.a, c.b, c.improvement, percent, 100 * c.genes_lower, genes,
                    c.difference, *over_samples(a, b), *(c.interval or (None, None)), c.no_interval,
                ]
            )  # fmt: skip
    caption = (
        "Differences of the z-score MAE. Intervals over samples take samples as independent and the networks as they "
        "are; low and high are the ends of the 95 % interval over studies and seeds, where the samples have studies."
    )
    return Table("papers-improvements", caption, list(IMPROVEMENT_COLUMNS), rows)


def over_samples(a: Errors, b: Errors) -> tuple[float, float]:
    """Computes the 95 % interval, by Student's t, of the mean difference over samples, each averaged over seeds."""
    difference = a.sample.mean(0) - b.sample.mean(0)
    half = stats.t.ppf(0.975, len(difference) - 1) * difference.std(ddof=1) / np.sqrt(len(difference))
    return float(difference.mean() - half), float(difference.mean() + half)


def _chosen(by_model: Mapping[str, Run], grid: Sequence[str], held_out: str) -> str:
    """Chooses the network of the grid that is compared on a held-out set, as D-GEX did: without its errors there."""
    runs = [by_model[name] for name in grid]
    other = THOUSAND_GENOMES + (AS_PUBLISHED if held_out.endswith(AS_PUBLISHED) else "")
    if held_out in (TEST, other) or not runs[0].scored(other):
        return min(runs, key=lambda run: run.validation_mae).model.name
    return min(runs, key=lambda run: float(errors(run, other).sample.mean())).model.name


def _sentence(row: Mapping[str, Any]) -> str:
    """Says a row of the table of improvements."""
    percent, genes = row["published, %"], row["published genes, %"]
    published = f"; published {percent:.2f} % and {genes:.2f} %" if percent else ""
    lower = row["first lower by, %"] or 0.0
    interval = ends((row["low over samples"], row["high over samples"]))
    return (
        f"On {row['samples']} the error of {row['first']} is {abs(lower):.2f} % {'lower' if lower > 0 else 'higher'} "
        f"than that of {row['second']}, and lower in {row['genes lower in first, %']:.2f} % of the genes{published}; "
        f"the difference is {signed(row['first − second'])}, over samples {interval}."
    )


if __name__ == "__main__":
    console.main(app)
