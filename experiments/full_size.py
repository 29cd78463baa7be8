"""Trains networks of the papers' size: D-GEX's grid, and tanh, sigmoid, TAAF and towers, three layers of 3,000 units.

    python -m experiments.full_size grid --data full/prepared.h5 --estimate
    python -m experiments.full_size grid --data full/prepared.h5 -o results/grid
    python -m experiments.full_size activations --data full/prepared.h5 -o results/activations

``grid`` trains one, two and three hidden layers of 3,000, 6,000 and 9,000 tanh units, with three dropout rates, by the
protocol ``dgex`` (``dgex.protocols``). ``activations`` trains tanh, sigmoid and TAAF networks from three seeds, with
dropout 10 % and ``PROTOCOL``: the optimiser, learning rate and loss of the TAAF repository's example (Keras-2 Nadam,
5e-4, MAE), with D-GEX's batch of 200 and 200 epochs; and TAAF networks in five towers and in a checkerboard of no more
weights (``dgex.towers``), the latter also with a linear path. Both train the mean predictor and ridge regression too.

The command first prints the estimated time and memory, from some twenty real steps of every network; ``--estimate``
stops there. The folder gets report.html, results.json, tables/ and figures/. Training can be stopped at any moment and
continued with ``--resume``; further processes that are started so on the same folder share the work. On GPUs give each
process a GPU of its own (CUDA_VISIBLE_DEVICES=0, 1, ...): JAX reserves most of a GPU's memory at once, whatever it
needs, so that a second process on that GPU would have too little.

Cost on D-GEX's data (88,807 training and 11,101 validation samples, 943 -> 9,520 genes), as the command estimates it on
2 CPU cores: about 12 days for the grid (one layer of 3,000 units takes 3 hours, three of 9,000 take 26), about two and
a half for activations. It was not measured on a GPU.

Chen et al. (Bioinformatics 2016) report test z-score MAEs from 0.3421 (one layer of 3,000 units, dropout 10 %) to
0.3204 (three of 9,000), and 0.3784 for linear regression; see ``PUBLISHED``. Kunc and Klema (PLoS ONE 2021) report
0.1637 for their D-GEX and 0.1340 for TAAF, and (BMC Genomics 2020) 0.128 for a checkerboard of five towers with a skip
connection, on a scale that is most likely log2 without standardisation. Numbers on other data are different.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import typer

from dgex import console, parallel
from dgex.cli.options import Coordinator, Process, Processes
from dgex.data.dataset import read_shape
from dgex.errors import DgexError
from dgex.files.optional import need
from dgex.processes import join
from dgex.protocols import DGEX, EXAMPLE, named_protocol
from dgex.towers import equal_units
from experiments.analysis.evidence import Run, compare_all, errors
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
from experiments.questions.activations import NETWORK_MODELS, TOWER_LAYERS, TOWERS, beside_linear_path, in_towers
from experiments.report.comparison import comparison_section
from experiments.report.sections import Cell, Figure, Section, Table
from experiments.report.sentences import data_line, verdict
from experiments.report.tables import comparison_table, error_table
from experiments.trials.estimate import announce, estimate
from experiments.trials.models import ModelSpec
from experiments.trials.sources import Source, single_source
from experiments.trials.trial import Trial

LAYERS = (1, 2, 3)
UNITS = (3000, 6000, 9000)
DROPOUT = 0.1  # dropout rate of the published numbers
# Dropout rates by the ending of a network's name. ``dgex.networks.PRESETS`` has the same networks by the same names.
DROPOUTS = {"": DROPOUT, "-dropout0": 0.0, "-dropout25": 0.25}

# Test z-score MAE on D-GEX's GEO profiles with dropout 10 %, by layers and units (Chen et al. 2016).
PUBLISHED = {
    (1, 3000): 0.3421, (1, 6000): 0.3377, (1, 9000): 0.3362,
    (2, 3000): 0.3337, (2, 6000): 0.3280, (2, 9000): 0.3252,
    (3, 3000): 0.3300, (3, 6000): 0.3224, (3, 9000): 0.3204,
}  # fmt: skip
PUBLISHED_LINEAR_REGRESSION = 0.3784

GRID_CAVEATS = (
    "The published numbers are of D-GEX's own GEO profiles (88,807 for training), split by sample. Errors on other "
    "profiles are different: what can be compared is how the error falls with layers and units, and the difference "
    "from a linear model.",
    "The network compared with ridge regression is the one with the lowest validation error; it was chosen without its "
    "test error. The other test errors are for information, not to choose a network by.",
)

WHOLE = (
    "D-GEX trained two networks, each on one half of the targets (``--halves``); here one network has all targets, so "
    "that its hidden layers get the gradients of both halves."
)

PROTOCOL = replace(EXAMPLE, batch=DGEX.batch, epochs=DGEX.epochs)
DEPTH = 3
NETWORKS = ("tanh", "sigmoid", "taaf", "taaf_output_wide")
# The pairs were decided before any outcome was known, so that p-values can be corrected for their number.
PAIRS = (
    ("taaf", "sigmoid"),
    ("taaf", "tanh"),
    ("taaf_output_wide", "taaf"),
    ("taaf_output_wide", "tanh"),
    ("sigmoid", "tanh"),
    ("taaf_towers", "taaf"),
    ("taaf_checkerboard", "taaf"),
    ("taaf_checkerboard", "taaf_towers"),
    ("taaf_checkerboard_linear", "taaf_checkerboard"),
    ("tanh", "ridge"),
    ("taaf_output_wide", "ridge"),
    ("taaf_checkerboard_linear", "ridge"),
)
ACTIVATION_CAVEATS = (
    "The unit of replication is the study; genes of one sample are correlated, so percentages of genes are only "
    "descriptive. Without the samples' studies there is no interval.",
    "There is one training set. Another could give another answer, and no interval here covers that.",
    "The TAAF paper's errors (0.1637 for D-GEX, 0.1340 with TAAF) are on another scale, most likely log2 without "
    "standardisation, and of another protocol; they cannot be compared with z-score errors.",
    "Towers and the checkerboard follow the abstract of Kunc and Klema (2020), which leaves details open; the skip "
    "connection is here a linear path that starts at ridge regression.",
)

Data = Annotated[Path, typer.Option(help="A prepared data set (python -m data_prep prepare).")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the results.", show_default=False)]
Halves = Annotated[
    bool, typer.Option("--halves", help="Train D-GEX's networks as it did, one for each random half of the targets.")
]
EstimateOnly = Annotated[bool, typer.Option("--estimate", help="Only estimate the time and memory of training.")]

app = console.command_line(help=__doc__.splitlines()[0])


@app.command()
def grid(
    data: Data,
    output: Output = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every network; intervals need three.")] = 1,
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
    """Trains D-GEX's 27 networks, and writes a report beside the published numbers."""
    join(coordinator, processes, process)
    source = prepared_source(data, output, estimate_only)
    output = output and workplace(output, source)
    models = grid_networks()
    experiment = Experiment(
        name="full_size",
        title="D-GEX's grid",
        work={
            "experiment": "grid",
            "seeds": seeds,
            "epochs": epochs,
            "networks": [model.name for model in models],
            "halves": halves or None,  # None as in runs from before there was a choice
        },
        trials=[
            *(Trial(source.name, model, None) for model in BASELINE_MODELS),
            *grid_trials(source, models, epochs, seeds, halves),
        ],
        section=partial(grid_section, caveats=GRID_CAVEATS if halves else (*GRID_CAVEATS, WHOLE)),
    )
    estimate_and_train(experiment, source, output, parallel.devices(devices), memory, resume, estimate_only)


@app.command()
def activations(
    data: Data,
    output: Output = None,
    units: Annotated[
        int, typer.Option(min=1, help="Units of every hidden layer; the papers have 3000, 6000 and 9000.")
    ] = 3000,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every network; intervals need three.")] = 3,
    epochs: Epochs = None,
    devices: Devices = None,
    memory: Memory = None,
    resume: Resume = False,
    estimate_only: EstimateOnly = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
) -> None:
    """Compares tanh, sigmoid, TAAF and towers at the papers' size, with intervals, and writes a report."""
    join(coordinator, processes, process)
    source = prepared_source(data, output, estimate_only)
    output = output and workplace(output, source)
    protocol, shape = replace(PROTOCOL, epochs=epochs or PROTOCOL.epochs), read_shape(source.path)
    experiment = Experiment(
        name="full_size",
        title=f"tanh, sigmoid and TAAF, {DEPTH} layers of {units:,} units,",
        work={"experiment": "activations", "units": units, "seeds": seeds, "epochs": epochs},
        trials=[
            *(Trial(source.name, model, None) for model in BASELINE_MODELS),
            *(
                Trial(source.name, model, protocol, seed)
                for model in activation_networks(units, shape.landmarks, shape.targets)
                for seed in range(seeds)
            ),
        ],
        section=lambda by_model: comparison_section(
            "activations",
            "Which activation is better at the papers' size: tanh, sigmoid or TAAF? What does a checkerboard add?",
            by_model,
            PAIRS,
            PAIRS,
            ACTIVATION_CAVEATS,
        ),
    )
    estimate_and_train(experiment, source, output, parallel.devices(devices), memory, resume, estimate_only)


def prepared_source(data: Path, output: Path | None, estimate_only: bool, cohorts: Sequence[Path] = ()) -> Source:
    """Checks the options and packages, and then the prepared file and the cohorts that were mapped onto it."""
    if output is None and not estimate_only:
        raise DgexError("give -o, a folder for the results, or --estimate")
    if not estimate_only:
        need("matplotlib", "jinja2", extra="plots", what="the report")
    return single_source(data, cohorts)


def estimate_and_train(
    experiment: Experiment,
    source: Source,
    output: Path | None,
    devices: tuple[jax.Device, ...],
    memory: float | None,
    resume: bool,
    estimate_only: bool,
) -> None:
    """Prints the estimated time and memory of an experiment, and carries it out; ``--resume`` skips the estimate."""
    if output is not None and not estimate_only:
        check(experiment, output, source, devices, resume)
    if estimate_only or not resume:
        shape = read_shape(source.path)
        announce(estimate(experiment.trials, shape, devices, output, memory), shape, devices, output, memory)
    if output is not None and not estimate_only:
        carry_out(experiment, output, source, devices, memory=memory)
        print(f"report: {output / 'report.html'}")


def activation_networks(units: int, landmarks: int, targets: int) -> list[ModelSpec]:
    """Lists the networks of ``NETWORKS`` at the papers' size, and TAAF networks in towers of no more weights."""
    size = {"hidden": (units,) * DEPTH, "dropout": DROPOUT}
    whole = [
        replace(model, network={**model.network, **size})
        for model in NETWORK_MODELS
        if model.name in NETWORKS and model.network
    ]
    (taaf,) = [model for model in whole if model.name == "taaf"]
    as_many = equal_units(landmarks, targets, units, DEPTH, TOWERS, TOWER_LAYERS)
    towers, checkerboard = (in_towers(taaf, as_many, dealt) for dealt in (False, True))
    return [*whole, towers, checkerboard, beside_linear_path(checkerboard)]


def grid_networks() -> list[ModelSpec]:
    """Lists the networks of the grid, those with the published dropout rate first, and small ones before large ones."""
    return [grid_network(layers, units, suffix) for suffix in DROPOUTS for layers in LAYERS for units in UNITS]


def grid_trials(
    source: Source, models: Sequence[ModelSpec], epochs: int | None, seeds: int, halves: bool
) -> list[Trial]:
    """Lists the trials of D-GEX's networks by its protocol, on all targets or on each half of them."""
    half = read_shape(source.path).targets // 2
    return [
        Trial(source.name, model, named_protocol("dgex", len(model.network["hidden"]), epochs)[0], seed, targets)
        for model in models
        if model.network
        for seed in range(seeds)
        for targets in ((half, half - read_shape(source.path).targets) if halves else (None,))
    ]


def grid_network(layers: int, units: int, suffix: str = "") -> ModelSpec:
    """Specifies a network of the grid; ``suffix`` is one of ``DROPOUTS``."""
    dropout = DROPOUTS[suffix]
    return ModelSpec(
        f"dgex-{layers}x{units}{suffix}",
        f"{layers} × {units:,}, dropout {_percent(dropout)}",
        {
            "hidden": (units,) * layers,
            "activation": "tanh",
            "dropout": dropout,
            "init": named_protocol("dgex", layers)[1],
        },
    )


def grid_section(by_model: dict[str, Run], caveats: Sequence[str]) -> Section:
    """Makes the section with D-GEX's table, here and as published, and the best network against ridge regression."""
    networks = [by_model[model.name] for model in grid_networks()]
    best = min(networks, key=lambda run: run.validation_mae)
    ridge, mean = by_model["ridge"], by_model["mean"]
    comparisons = compare_all(by_model, [(best.model.name, "ridge")])
    tested = data_line(by_model)
    return Section(
        name="dgex-grid",
        question="How does the error of D-GEX's networks fall with layers and units?",
        data=f"{tested}.",
        answer=[
            f"Of {len(networks)} networks, {best.model.label} has the lowest validation error. The test z-score MAE is "
            f"{_test_mae(best):.4f} for this network, {_test_mae(ridge):.4f} for ridge regression and "
            f"{_test_mae(mean):.4f} for the mean predictor.",
            verdict(comparisons[0]),
            f"Published, on other data: {min(PUBLISHED.values()):.4f} (3 × 9,000, dropout 10 %) and "
            f"{PUBLISHED_LINEAR_REGRESSION:.4f} (linear regression).",
        ],
        caveats=caveats,
        tables=[
            grid_table(by_model, tested),
            error_table("dgex-grid-errors", f"All errors on the test samples ({tested}).", [mean, ridge, *networks]),
            comparison_table("dgex-grid-comparison", f"Difference of the z-score MAE ({tested}).", comparisons),
        ],
        figures=[
            Figure(
                "dgex-grid",
                "lines",
                f"Test z-score MAE by the units of every hidden layer, mean over samples, genes and seeds ({tested}).",
                {"panels": [_panel(by_model, suffix) for suffix in DROPOUTS]},
            )
        ],
    )


def grid_table(by_model: dict[str, Run], tested: str) -> Table:
    """Makes D-GEX's table: layers and dropout by units, here and as published."""
    columns = ["hidden layers", "dropout", *(f"{units:,} units" for units in UNITS)]
    columns += [f"published, {units:,} units" for units in UNITS]
    rows: list[list[Cell]] = [
        [
            layers,
            _percent(dropout),
            *(_test_mae(by_model[f"dgex-{layers}x{units}{suffix}"]) for units in UNITS),
            *(PUBLISHED.get((layers, units)) if dropout == DROPOUT else None for units in UNITS),
        ]
        for suffix, dropout in DROPOUTS.items()
        for layers in LAYERS
    ]
    caption = f"Test z-score MAE ({tested}), and as Chen et al. (2016) published it for dropout 10 % on their data."
    return Table("dgex-grid", caption, columns, rows)


def _panel(by_model: dict[str, Run], suffix: str) -> dict[str, Any]:
    """Makes a panel of test errors against units, for one dropout rate."""
    return {
        "title": f"dropout {_percent(DROPOUTS[suffix])}",
        "x_label": "units of every hidden layer",
        "y_label": "test z-score MAE",
        "log_x": False,
        "series": [
            {
                "label": f"{layers} hidden layer{'s' if layers > 1 else ''}",
                "x": list(UNITS),
                "y": [_test_mae(by_model[f"dgex-{layers}x{units}{suffix}"]) for units in UNITS],
                "markers": True,
            }
            for layers in LAYERS
        ],
        "levels": [{"label": "ridge regression", "y": _test_mae(by_model["ridge"])}],
    }


def _percent(fraction: float) -> str:
    """Formats a fraction in percent."""
    return f"{100 * fraction:.0f} %"


def _test_mae(run: Run) -> float:
    """Computes the mean test z-score MAE over samples, genes and seeds."""
    return float(errors(run, "test").sample.mean())


if __name__ == "__main__":
    console.main(app)
