"""D-GEX's grid: one, two and three hidden layers of 3,000, 6,000 and 9,000 tanh units, with three shares of dropout.

    python -m experiments.dgex_grid --data full/prepared.h5 --estimate
    python -m experiments.dgex_grid --data full/prepared.h5 -o results/dgex-grid

Prints what each of the 27 networks takes and then trains them with D-GEX's protocol (``dgex.protocols.DGEX``), beside
the mean predictor and ridge regression. The folder gets report.html, results.json, tables/ and figures/. Stopped at any
moment, it goes on with ``--resume``; further processes started so on the same folder share the work. On GPUs give each
process one of its own (CUDA_VISIBLE_DEVICES=0, 1, ...): JAX takes most of a GPU's memory at once, whatever it needs,
and a second process on that GPU would find too little.

Cost on D-GEX's data (88,807 training and 11,101 validation samples, 943 -> 9,520 genes), by its own estimate: 315 PFLOP
of matrix products, that is 12 days on 2 CPU cores which do 0.41 TFLOP/s of them (one layer of 3,000 units takes 3
hours, three of 9,000 take 26); 4.8 to 9.8 GiB on the device, and 6 GiB of disk for checkpoints. Another machine's time
is 315 PFLOP over three quarters of the rate printed first; not measured on a GPU.

Chen et al. (Bioinformatics 2016) found test z-score MAEs from 0.3421 (one layer of 3,000 units, dropout 10 %) to 0.3204
(three of 9,000), and 0.3784 by linear regression; see ``PUBLISHED``. Other data have other numbers.
"""

from dataclasses import replace
from typing import Annotated, Any

import typer

from dgex import console
from dgex.protocols import DGEX, DGEX_ONE_LAYER, Protocol
from experiments.analysis.evidence import Run, errors
from experiments.experiment import (
    BASELINE_MODELS,
    Data,
    Devices,
    Epochs,
    EstimateOnly,
    Experiment,
    Output,
    Resume,
    carry_out,
)
from experiments.report.sections import Cell, Figure, Section, Table
from experiments.report.tables import compare_all, comparison_table, data_line, error_table, verdict
from experiments.trials.models import Model
from experiments.trials.sources import Source
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

CAVEATS = (
    "The published numbers are of D-GEX's own GEO profiles (88,807 for training), split by sample. Z-scores of other "
    "profiles have other errors: what can be compared is how the error falls with layers and units, and the distance "
    "to a linear model.",
    "D-GEX trained two networks, each on one half of the targets; here one network has all of them, so that its hidden "
    "layers get the gradients of both halves.",
    "The network compared with ridge regression is the one with the lowest validation error; its test error was not "
    "looked at to choose it. The other test errors are there to be read, not to choose from.",
)

app = console.command_line(help=__doc__.splitlines()[0])


@app.command()
def main(
    data: Data,
    output: Output = None,
    seeds: Annotated[int, typer.Option(min=1, help="Of every network; intervals need three.")] = 1,
    epochs: Epochs = None,
    devices: Devices = None,
    resume: Resume = False,
    estimate_only: EstimateOnly = False,
) -> None:
    """Trains D-GEX's 27 networks, and writes a report beside the published numbers."""

    def trials(source: Source) -> list[Trial]:
        return [
            *(Trial(source.name, model, None) for model in BASELINE_MODELS),
            *(
                Trial(source.name, model, protocol(len(model.network["hidden"]), epochs), seed)
                for model in networks()
                if model.network
                for seed in range(seeds)
            ),
        ]

    work = {"experiment": "dgex_grid", "seeds": seeds, "epochs": epochs, "networks": [m.name for m in networks()]}
    experiment = Experiment("D-GEX's grid", work, trials, section)
    carry_out(experiment, data, output, devices, resume=resume, estimate_only=estimate_only)


def networks() -> list[Model]:
    """The networks, those with the published dropout first, and then small ones before large ones."""
    return [
        Model(
            f"dgex-{layers}x{units}{suffix}",
            f"{layers} × {units:,}, dropout {_percent(dropout)}",
            {"hidden": (units,) * layers, "activation": "tanh", "dropout": dropout, "init": "dgex"},
        )
        for suffix, dropout in DROPOUTS.items()
        for layers in LAYERS
        for units in UNITS
    ]


def protocol(layers: int, epochs: int | None) -> Protocol:
    """D-GEX's for so many hidden layers."""
    of = DGEX_ONE_LAYER if layers == 1 else DGEX
    return replace(of, epochs=epochs or of.epochs)


def section(by_model: dict[str, Run]) -> Section:
    """The grid's table beside the published one, and its best network against ridge regression."""
    trained = [by_model[model.name] for model in networks()]
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
        caveats=CAVEATS,
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
    """D-GEX's table: layers and dropout by units, here and as published."""
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
    console.run(app)
