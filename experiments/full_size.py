"""Networks at the size of the papers: D-GEX's grid, and tanh, sigmoid and TAAF with three layers of 3,000 units.

    python -m experiments.full_size grid --data full/prepared.h5 --estimate
    python -m experiments.full_size grid --data full/prepared.h5 -o results/grid
    python -m experiments.full_size activations --data full/prepared.h5 -o results/activations

``grid`` trains one, two and three hidden layers of 3,000, 6,000 and 9,000 tanh units, with three shares of dropout, by
the protocol ``dgex`` (``dgex.protocols``). ``activations`` trains tanh, sigmoid and TAAF networks from three seeds,
with dropout 10 % and ``PROTOCOL``: the optimiser, rate and loss of the TAAF repository's example (Keras-2 Nadam, 5e-4,
MAE), with D-GEX's batch of 200 and 200 epochs. The mean predictor and ridge regression stand beside both.

What training takes is printed first, from some twenty real steps of every network; ``--estimate`` ends there. The
folder gets report.html, results.json, tables/ and figures/. Stopped at any moment, it goes on with ``--resume``;
further processes started so on the same folder share the work. On GPUs give each process one of its own
(CUDA_VISIBLE_DEVICES=0, 1, ...): JAX takes most of a GPU's memory at once, whatever it needs, and a second process on
that GPU would find too little.

Cost on D-GEX's data (88,807 training and 11,101 validation samples, 943 -> 9,520 genes), by its own estimate on 2 CPU
cores: the grid about 12 days (one layer of 3,000 units takes 3 hours, three of 9,000 take 26), activations about two
and a half. Not measured on a GPU.

Chen et al. (Bioinformatics 2016) found test z-score MAEs from 0.3421 (one layer of 3,000 units, dropout 10 %) to 0.3204
(three of 9,000), and 0.3784 by linear regression; see ``PUBLISHED``. Kunc and Klema (PLoS ONE 2021) found 0.1637 for
their D-GEX and 0.1340 for TAAF, on a scale that is most likely log2 without standardising. Other data have other
numbers.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import jax
import typer

from dgex import console, parallel
from dgex.data.dataset import read_shape
from dgex.errors import DgexError
from dgex.files.optional import need
from dgex.protocols import DGEX, EXAMPLE, named_protocol
from experiments.analysis.evidence import Run, compare_all, errors
from experiments.experiment import BASELINE_MODELS, Devices, Epochs, Experiment, Resume, carry_out, check
from experiments.questions.activations import NETWORK_MODELS
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
DROPOUT = 0.1  # that of the published numbers
# By the end of a network's name among ``dgex.networks.PRESETS``, which has the same networks.
DROPOUTS = {"": DROPOUT, "-dropout0": 0.0, "-dropout25": 0.25}

# Test z-score MAE on D-GEX's GEO profiles with dropout 10 %, by layers and units (Chen et al. 2016).
PUBLISHED = {
    (1, 3000): 0.3421, (1, 6000): 0.3377, (1, 9000): 0.3362,
    (2, 3000): 0.3337, (2, 6000): 0.3280, (2, 9000): 0.3252,
    (3, 3000): 0.3300, (3, 6000): 0.3224, (3, 9000): 0.3204,
}  # fmt: skip
PUBLISHED_LINEAR_REGRESSION = 0.3784

GRID_CAVEATS = (
    "The published numbers are of D-GEX's own GEO profiles (88,807 for training), split by sample. Z-scores of other "
    "profiles have other errors: what can be compared is how the error falls with layers and units, and the distance "
    "to a linear model.",
    "D-GEX trained two networks, each on one half of the targets; here one network has all of them, so that its hidden "
    "layers get the gradients of both halves.",
    "The network compared with ridge regression is the one with the lowest validation error; its test error was not "
    "looked at to choose it. The other test errors are there to be read, not to choose from.",
)

PROTOCOL = replace(EXAMPLE, batch=DGEX.batch, epochs=DGEX.epochs)
DEPTH = 3
NETWORKS = ("tanh", "sigmoid", "taaf", "taaf_output_wide")
# Decided beforehand, so that p-values can be corrected for their number.
PAIRS = (
    ("taaf", "sigmoid"),
    ("taaf", "tanh"),
    ("taaf_output_wide", "taaf"),
    ("taaf_output_wide", "tanh"),
    ("sigmoid", "tanh"),
    ("tanh", "ridge"),
    ("taaf_output_wide", "ridge"),
)
ACTIVATION_CAVEATS = (
    "The unit of replication is the study; genes of one sample are correlated and are described only. Samples "
    "that name no study give no interval.",
    "One training set: another could say otherwise, and no interval here covers that.",
    "The TAAF paper's errors (0.1637 for D-GEX, 0.1340 with TAAF) are on another scale, most likely log2 without "
    "standardising, and of another protocol; they are not to be put beside z-score errors.",
)

Data = Annotated[Path, typer.Option(help="A prepared data set (python -m data_prep prepare).")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the results.", show_default=False)]
EstimateOnly = Annotated[bool, typer.Option("--estimate", help="Only print what training takes.")]

app = console.command_line(help=__doc__.splitlines()[0])


@app.command()
def grid(
    data: Data,
    output: Output = None,
    seeds: Annotated[int, typer.Option(min=1, help="Of every network; intervals need three.")] = 1,
    epochs: Epochs = None,
    devices: Devices = None,
    resume: Resume = False,
    estimate_only: EstimateOnly = False,
) -> None:
    """Trains D-GEX's 27 networks, and writes a report beside the published numbers."""
    source = prepared_source(data, output, estimate_only)
    models = grid_networks()
    experiment = Experiment(
        name="full_size",
        title="D-GEX's grid",
        work={"experiment": "grid", "seeds": seeds, "epochs": epochs, "networks": [model.name for model in models]},
        trials=[
            *(Trial(source.name, model, None) for model in BASELINE_MODELS),
            *(
                Trial(source.name, model, named_protocol("dgex", len(model.network["hidden"]), epochs)[0], seed)
                for model in models
                if model.network
                for seed in range(seeds)
            ),
        ],
        section=grid_section,
    )
    estimate_and_train(experiment, source, output, parallel.devices(devices), resume, estimate_only)


@app.command()
def activations(
    data: Data,
    output: Output = None,
    units: Annotated[int, typer.Option(min=1, help="Of every hidden layer; the papers': 3000, 6000, 9000.")] = 3000,
    seeds: Annotated[int, typer.Option(min=1, help="Of every network; intervals need three.")] = 3,
    epochs: Epochs = None,
    devices: Devices = None,
    resume: Resume = False,
    estimate_only: EstimateOnly = False,
) -> None:
    """Compares tanh, sigmoid and TAAF at the papers' size, with intervals, and writes a report."""
    source = prepared_source(data, output, estimate_only)
    protocol = replace(PROTOCOL, epochs=epochs or PROTOCOL.epochs)
    experiment = Experiment(
        name="full_size",
        title=f"tanh, sigmoid and TAAF, {DEPTH} layers of {units:,} units,",
        work={"experiment": "activations", "units": units, "seeds": seeds, "epochs": epochs},
        trials=[
            *(Trial(source.name, model, None) for model in BASELINE_MODELS),
            *(
                Trial(source.name, model, protocol, seed)
                for model in activation_networks(units)
                for seed in range(seeds)
            ),
        ],
        section=lambda by_model: comparison_section(
            "activations",
            "Which activation is better at the papers' size: tanh, sigmoid or TAAF?",
            by_model,
            PAIRS,
            PAIRS,
            ACTIVATION_CAVEATS,
        ),
    )
    estimate_and_train(experiment, source, output, parallel.devices(devices), resume, estimate_only)


def prepared_source(data: Path, output: Path | None, estimate_only: bool) -> Source:
    """Looks at the prepared file, once all that does not depend on it is in order."""
    if output is None and not estimate_only:
        raise DgexError("give -o, a folder for the results, or --estimate")
    if not estimate_only:
        need("matplotlib", "jinja2", extra="plots", what="the report")
    return single_source(data)


def estimate_and_train(
    experiment: Experiment,
    source: Source,
    output: Path | None,
    devices: tuple[jax.Device, ...],
    resume: bool,
    estimate_only: bool,
) -> None:
    """Carries an experiment out, after it has said what that takes; with ``--resume`` that is known already."""
    if output is not None and not estimate_only:
        check(experiment, output, source, devices, resume)
    if estimate_only or not resume:
        shape = read_shape(source.path)
        announce(estimate(experiment.trials, shape, devices, output), shape, devices, output)
    if output is not None and not estimate_only:
        carry_out(experiment, output, source, devices)
        print(f"report: {output / 'report.html'}")


def activation_networks(units: int) -> list[ModelSpec]:
    """Lists the study's networks, at the papers' size."""
    size = {"hidden": (units,) * DEPTH, "dropout": DROPOUT}
    return [
        replace(model, network={**model.network, **size})
        for model in NETWORK_MODELS
        if model.name in NETWORKS and model.network
    ]


def grid_networks() -> list[ModelSpec]:
    """Lists the networks, those with the published dropout first, and then small ones before large ones."""
    return [
        ModelSpec(
            f"dgex-{layers}x{units}{suffix}",
            f"{layers} × {units:,}, dropout {_percent(dropout)}",
            {
                "hidden": (units,) * layers,
                "activation": "tanh",
                "dropout": dropout,
                "init": named_protocol("dgex", layers)[1],
            },
        )
        for suffix, dropout in DROPOUTS.items()
        for layers in LAYERS
        for units in UNITS
    ]


def grid_section(by_model: dict[str, Run]) -> Section:
    """Puts the grid's table beside the published one, and its best network against ridge regression."""
    trained = [by_model[model.name] for model in grid_networks()]
    best = min(trained, key=lambda run: run.validation_mae)
    ridge, mean = by_model["ridge"], by_model["mean"]
    comparisons = compare_all(by_model, [(best.model.name, "ridge")])
    tested = data_line(by_model)
    return Section(
        name="dgex-grid",
        question="How does the error of D-GEX's networks fall with layers and units?",
        data=f"{tested}.",
        answer=[
            f"Of {len(trained)} networks {best.model.label} has the lowest validation error. Its test z-score MAE is "
            f"{_test_mae(best):.4f}, that of ridge regression {_test_mae(ridge):.4f} and of the mean predictor "
            f"{_test_mae(mean):.4f}.",
            verdict(comparisons[0]),
            f"Published, on other data: {min(PUBLISHED.values()):.4f} (3 × 9,000, dropout 10 %) and "
            f"{PUBLISHED_LINEAR_REGRESSION:.4f} (linear regression).",
        ],
        caveats=GRID_CAVEATS,
        tables=[
            grid_table(by_model, tested),
            error_table("dgex-grid-errors", f"All errors on the test samples ({tested}).", [mean, ridge, *trained]),
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
    caption = f"Test z-score MAE ({tested}), and what Chen et al. (2016) published for dropout 10 % on their data."
    return Table("dgex-grid", caption, columns, rows)


def _panel(by_model: dict[str, Run], suffix: str) -> dict[str, Any]:
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


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _test_mae(run: Run) -> float:
    return float(errors(run, "test").sample.mean())


if __name__ == "__main__":
    console.main(app)
