"""Compares tanh, sigmoid and TAAF networks, and TAAF beside a linear path, on one data set.

    python -m experiments.compare --data prepared.h5 --protocol quick --seeds 3 -o results/NAME

It trains every network of ``NETWORKS``, and ``LINEAR_PATH``, from every seed, fits the mean predictor and ridge
regression, and prints a table, with paired differences and, where the test split has five studies, their intervals. The
folder gets results.json (docs/results-format.md), results.md, genes.csv, report.html, tables/, figures/ and trials/.
The networks are trained on the training split, the validation split chooses the epoch, and the test split is scored
only then.

Cost on 2 CPU cores, protocol quick, 3 seeds: about 5 minutes on the simulated data set (200 landmarks, 1,000 targets,
1,690 training samples; 12 minutes on cores that others used too), about 6 on the GEO compendium (943 landmarks, 9,520
targets, 563 training samples). The README has the results on the compendium.

    python -m experiments.compare --authors-example example_data -o results/NAME

reproduces the example of the TAAF-D-GEX repository from its four files; see ``experiments.authors_example``.
"""

import csv
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from dgex import console, parallel
from dgex.cli.options import Coordinator, Process, Processes
from dgex.data.dataset import read_reference, read_shape
from dgex.errors import DgexError
from dgex.files.atomic import replacing
from dgex.files.optional import need
from dgex.metrics import summarize
from dgex.networks import NetworkConfig, Precision
from dgex.processes import join
from dgex.protocols import PROTOCOLS, named_protocol
from experiments import authors_example
from experiments.analysis.evidence import Run, compare_all
from experiments.experiment import (
    BASELINE_MODELS,
    Devices,
    Epochs,
    Experiment,
    Memory,
    Resume,
    carry_out,
    check,
    workplace,
)
from experiments.questions.activations import LINEAR, NETWORK_MODELS
from experiments.report.comparison import comparison_section
from experiments.report.figures import gene_errors, learning_curves, taaf_parameters, taaf_shapes
from experiments.report.sections import Section
from experiments.report.sentences import ends, signed
from experiments.trials.heldout import gene_scores
from experiments.trials.models import ModelSpec
from experiments.trials.sources import Source, single_source
from experiments.trials.trial import Trial

# D-GEX's tanh, the sigmoid of the TAAF paper, and TAAF of this sigmoid on the hidden layers alone and on the output
# layer too. "sigmoid" and "taaf" differ in one thing only.
NETWORKS = ("tanh", "sigmoid", "taaf", "taaf_output")
# The network "taaf" beside a linear path that starts at ridge regression and learns at a tenth of the rate.
LINEAR_PATH = LINEAR[-1]
LAYERS = 2  # named_protocol tells only one hidden layer from several, and all networks here have several
# The size that goes with D-GEX's protocol; with other protocols it is that of the study.
SIZES: Mapping[str, Mapping[str, Any]] = {"dgex": {"hidden": (3000, 3000, 3000), "dropout": 0.1}}

# The pairs were decided before any outcome was known, so that p-values can be corrected for their number; the last two
# were added later.
PAIRS = (
    ("sigmoid", "tanh"), ("taaf", "sigmoid"), ("taaf", "tanh"), ("taaf_output", "taaf"), ("tanh", "ridge"),
    ("taaf", "ridge"), ("taaf_linear", "taaf"), ("taaf_linear", "ridge"),
)  # fmt: skip
SHOWN = (("taaf", "tanh"), ("taaf", "sigmoid"), ("tanh", "ridge"), ("taaf", "ridge"), ("taaf_linear", "ridge"))
CAVEATS = (
    "The unit of replication is the study; genes of one sample are correlated, so percentages of genes are only "
    "descriptive. With fewer than five test studies, or fewer than three seeds, there is no interval.",
    "There is one training set and one split. Others could give another answer, and no interval here covers that. The "
    "study (experiments.study) leaves every study out once.",
    "The network with a linear path and its two pairs were added when results of the others were known.",
    "Errors without overlap leave out the targets that are landmark genes too.",
)

app = console.command_line(help=__doc__.splitlines()[0])


@app.command()
def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")],
    data: Annotated[Path | None, typer.Option(help="A prepared data set (python -m data_prep prepare).")] = None,
    authors: Annotated[
        Path | None,
        typer.Option(
            "--authors-example",
            help="Folder of the original example's four HDF5 files, instead of --data; protocol and seed are its own.",
        ),
    ] = None,
    shared_dropout_mask: Annotated[
        bool,
        typer.Option("--shared-dropout-mask", help="Drop the same units in both hidden layers, as that example does."),
    ] = False,
    protocol: Annotated[str, typer.Option(help=f"How to train: {', '.join(PROTOCOLS)}.")] = "quick",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every network; intervals need three.")] = 3,
    epochs: Epochs = None,
    devices: Devices = None,
    matmul_precision: Annotated[
        Precision, typer.Option(help="Precision of float32 matrix products; matters on GPU and TPU.")
    ] = "default",
    memory: Memory = None,
    resume: Resume = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write event files beside the logs.")] = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
) -> None:
    """Compares tanh, sigmoid and TAAF networks, and TAAF with a linear path; ends with a table and a report."""
    if (data is None) == (authors is None):
        raise DgexError("give either --data or --authors-example")
    if shared_dropout_mask and authors is None:
        raise DgexError("--shared-dropout-mask belongs to --authors-example; leave it out")
    need("matplotlib", "jinja2", extra="plots", what="the report")
    if authors is not None and coordinator is not None:
        raise DgexError("--authors-example trains in one process; leave --coordinator out")
    join(coordinator, processes, process)
    over = parallel.devices(devices)
    if tensorboard:
        need("tensorboardX", extra="tensorboard", what="--tensorboard")
    if authors is not None:
        authors_example.run(
            authors, output, over, epochs, matmul_precision,
            resume=resume, tensorboard=tensorboard, shared_dropout_mask=shared_dropout_mask,
        )  # fmt: skip
        return
    assert data is not None
    source = single_source(data)
    output = workplace(output, source)
    settings, _ = named_protocol(protocol, LAYERS, epochs)
    models = networks(protocol, matmul_precision)
    experiment = Experiment(
        name="compare",
        title="tanh, sigmoid and TAAF",
        work={
            "experiment": "compare", "protocol": asdict(settings), "seeds": seeds,
            "networks": {model.name: dict(model.network or {}) for model in models},
        },
        trials=[
            *(Trial(source.name, model, None) for model in BASELINE_MODELS),
            *(Trial(source.name, model, settings, seed) for model in models for seed in range(seeds)),
        ],
        section=lambda by_model: section(by_model, source),
        more_results=lambda by_model: {
            **scores_of_all(by_model, source), "protocol": asdict(settings), "seeds": list(range(seeds))
        },
    )  # fmt: skip
    check(experiment, output, source, over, resume)
    by_model = carry_out(experiment, output, source, over, events=tensorboard, memory=memory)
    write_genes(output / "genes.csv", by_model, source)
    print_results(by_model, scores_of_all(by_model, source))
    print(f"report: {output / 'report.html'}")


def networks(protocol: str, matmul_precision: Precision) -> list[ModelSpec]:
    """Lists the networks to compare, of the size that goes with the protocol."""
    _, init = named_protocol(protocol, LAYERS)
    size = {**SIZES.get(protocol, {}), "init": init, "matmul_precision": matmul_precision}
    return [
        replace(model, network={**model.network, **size})
        for model in (*NETWORK_MODELS, LINEAR_PATH)
        if model.name in (*NETWORKS, LINEAR_PATH.name) and model.network
    ]


def section(by_model: dict[str, Run], source: Source) -> Section:
    """Makes the report's section: the comparison, learning curves, and what the TAAFs have learnt."""
    shape = read_shape(source.path)
    trained_on, validated_on = (
        f"{shape.samples[split]:,} samples of {shape.studies[split]:,} studies" for split in ("train", "validation")
    )
    curves = {
        run.model.label: np.array([outcome.curve for outcome in run.outcomes[0]]) for run in trained(by_model).values()
    }
    taaf_runs = [by_model[name] for name in ("taaf", "taaf_output", "taaf_linear")]
    return comparison_section(
        "compare",
        "Which network infers the target genes best: tanh, sigmoid or TAAF?",
        by_model,
        PAIRS,
        SHOWN,
        CAVEATS,
        data=f"Trained on {trained_on}, validated on {validated_on}; tested on ",
        figures=[
            learning_curves("learning-curves", curves),
            gene_errors("genes-tanh", by_model["taaf"], by_model["tanh"]),
            gene_errors("genes-sigmoid", by_model["taaf"], by_model["sigmoid"]),
            gene_errors("genes-ridge", by_model["taaf_linear"], by_model["ridge"]),
            *(taaf_parameters(f"{run.model.name}-parameters", run) for run in taaf_runs),
            *(taaf_shapes(f"{run.model.name}-shapes", run) for run in taaf_runs),
        ],
    )


def trained(by_model: Mapping[str, Run]) -> dict[str, Run]:
    """Picks the runs of networks, which depend on a seed."""
    return {name: run for name, run in by_model.items() if run.model.seeded}


def scores_of_all(by_model: Mapping[str, Run], source: Source) -> dict[str, Any]:
    """Gathers the scores of networks and baselines, by names that programs can rely on (docs/results-format.md)."""
    shape = read_shape(source.path)
    entries = {}
    for name, run in by_model.items():
        outcomes = run.outcomes[0]
        entry: dict[str, Any] = {
            "validation": {"zscore_mae": over_seeds([outcome.validation_mae for outcome in outcomes])},
            "test": test_scores(run),
        }
        if run.model.network:
            config = NetworkConfig(
                shape.landmarks, shape.targets, **{**run.model.network, "output_reach": outcomes[0].output_reach}
            )
            entry |= {
                "config": asdict(config),
                "parameters": outcomes[0].parameters,
                "best_epoch": over_seeds([outcome.best_epoch for outcome in outcomes]),
                "taaf_parameters": [quartiles(outcome.taaf_layers) for outcome in outcomes],
            }
        elif outcomes[0].chosen is not None:
            entry["penalty"] = outcomes[0].chosen
        entries[name] = entry
    networks = trained(by_model).keys()
    return {
        "baselines": {name: entry for name, entry in entries.items() if name not in networks},
        "networks": {name: entry for name, entry in entries.items() if name in networks},
        "size": asdict(shape),
    }


def test_scores(run: Run) -> dict[str, Any]:
    """Computes mean scores on the test samples, over all target genes and over those that are no landmark genes too."""
    (errors,) = run.held_out_errors("test")  # there is one source
    by_seed = [(gene_scores(each.sums), each.sd, each.overlap) for each in errors]
    all_genes = [summarize(scores, sd) for scores, sd, _ in by_seed]
    without_overlap = [summarize(scores, sd, ~overlap) for scores, sd, overlap in by_seed]
    return {
        **{name: over_seeds([each[name] for each in all_genes]) for name in all_genes[0]},
        "without_overlap": {name: over_seeds([each[name] for each in without_overlap]) for name in without_overlap[0]},
    }


def over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    """Computes {"mean", "sd", "seeds"} of the values of every seed; the sample SD of a single value is None."""
    known = np.array(values, np.float64)
    return {
        "mean": float(known.mean()),
        "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
        "seeds": list(values),
    }


def quartiles(layers: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Computes minimum, quartiles and maximum over units of every layer's learnt parameters."""
    return {
        layer: {name: np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist() for name, values in learnt.items()}
        for layer, learnt in layers.items()
    }


def write_genes(path: Path, by_model: Mapping[str, Run], source: Source) -> None:
    """Writes a CSV file of the test z-score MAE of every target by every model, mean over seeds."""
    reference = read_reference(source.path)
    genes = reference.target_genes
    errors = {}
    for name, run in by_model.items():
        (column := np.full(len(genes), np.nan))[run.held_out_errors("test")[0][0].measured] = run.per_gene("test").mae
        errors[f"{name}_test_zscore_mae"] = column
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["ensembl", "symbol", "is_landmark", *errors])
        writer.writerows(zip(genes.ensembl, genes.symbol, reference.overlap.astype(int), *errors.values(), strict=True))


# The columns of the table on the terminal; results.md has more.
COLUMNS = {
    "validation z-score MAE": ("validation", "zscore_mae"),
    "test z-score MAE": ("test", "zscore_mae"),
    "test z-score MAE, without overlap": ("test", "without_overlap", "zscore_mae"),
    "test log2 MAE": ("test", "log2_mae"),
    "test log2 MAE, without overlap": ("test", "without_overlap", "log2_mae"),
    "test Pearson r": ("test", "pearson"),
}


def print_results(by_model: Mapping[str, Run], scores: Mapping[str, Any]) -> None:
    """Prints the models' errors, baselines first, as means over seeds with their SD, and the paired differences."""
    # The width is that of the table: a narrower terminal then wraps whole lines, which reads better than wrapped cells.
    screen = Console(width=max(143, shutil.get_terminal_size().columns), highlight=False)
    table = Table(show_edge=False)
    table.add_column("network", no_wrap=True)
    for heading in COLUMNS:
        table.add_column(heading, justify="right")
    for name, entry in {**scores["baselines"], **scores["networks"]}.items():
        table.add_row(by_model[name].model.label, *(shown(reduce(getitem, path, entry)) for path in COLUMNS.values()))
    comparisons = compare_all(by_model, PAIRS)
    differences = Table("first − second", "z-score MAE", "95 % interval", show_edge=False)
    for c in comparisons:
        differences.add_row(f"{c.a} − {c.b}", signed(c.difference), ends(c.interval) if c.interval else "–")
    screen.print(table, "", differences, sep="\n")
    for reason in dict.fromkeys(c.no_interval for c in comparisons if c.no_interval):
        screen.print(f"no interval: {reason}")


def shown(figure: Mapping[str, Any]) -> str:
    """Formats ``0.4012 ± 0.0010``; the mean alone where there is no SD, a dash where the mean is undefined."""
    if np.isnan(figure["mean"]):
        return "–"
    return f"{figure['mean']:.4f}" + (f" ± {figure['sd']:.4f}" if figure["sd"] is not None else "")


if __name__ == "__main__":
    console.main(app)
