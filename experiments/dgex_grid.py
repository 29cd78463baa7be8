"""D-GEX's grid: one, two and three hidden layers of 3,000, 6,000 and 9,000 tanh units, with three shares of dropout.

    python -m experiments.dgex_grid --data full/prepared.h5 --estimate
    python -m experiments.dgex_grid --data full/prepared.h5 -o results/dgex-grid

Prints what each of the 27 networks takes and then trains them with D-GEX's protocol (``dgex.protocols.DGEX``), beside
the mean predictor and ridge regression. The folder gets report.html, results.json, tables/ and figures/. Stopped at any
moment, it goes on with ``--resume``; further processes started so on the same folder share the work.

Cost on D-GEX's data (88,807 training and 11,101 validation samples, 943 -> 9,520 genes), by its own estimate: 315 PFLOP
of matrix products, that is 12 days on 2 CPU cores which do 0.41 TFLOP/s of them (one layer of 3,000 units takes 3
hours, three of 9,000 take 26); 4.8 to 9.8 GiB on the device, and 6 GiB of disk for checkpoints. Another machine's time
is 315 PFLOP over three quarters of the rate printed first; not measured on a GPU.

Chen et al. (Bioinformatics 2016) found test z-score MAEs from 0.3421 (one layer of 3,000 units, dropout 10 %) to 0.3204
(three of 9,000), and 0.3784 by linear regression; see ``PUBLISHED``. Other data have other numbers.
"""

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from dgex import console, parallel
from dgex.atomic import check_writable
from dgex.batches import check_devices
from dgex.errors import DgexError
from dgex.identity import claim
from dgex.protocols import DGEX, DGEX_ONE_LAYER, Protocol
from experiments.estimate import announce
from experiments.evidence import Evidence, Run, errors, runs
from experiments.models import Model
from experiments.results import provenance
from experiments.schedule import run_all
from experiments.sections import Cell, Figure, Section, Table
from experiments.sources import Source, single_source
from experiments.study_page import HEADER, write_study
from experiments.tables import compare_all, comparison_table, data_line, error_table, verdict
from experiments.trials import Trial

LAYERS = (1, 2, 3)
UNITS = (3000, 6000, 9000)
DROPOUT = 0.1  # that of the published numbers
# By the end of a network's name among ``dgex.networks.PRESETS``, which has the same networks.
DROPOUTS = {"": DROPOUT, "-dropout0": 0.0, "-dropout25": 0.25}

BASELINE_MODELS = (Model("mean", "mean predictor"), Model("ridge", "ridge regression"))

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

# Options that experiments at paper size share.
Data = Annotated[Path, typer.Option(help="A prepared data set (python -m data_prep prepare).")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the results.", show_default=False)]
Epochs = Annotated[int | None, typer.Option(min=1, help="Instead of the protocol's number.", show_default=False)]
Devices = Annotated[int | None, typer.Option(help="How many devices to train on; all by default.", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what the folder holds, if anything.")]
EstimateOnly = Annotated[bool, typer.Option("--estimate", help="Only print what training takes.")]

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
    carry_out("D-GEX's grid", work, data, output, trials, section, devices, resume, estimate_only=estimate_only)


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


def carry_out(
    title: str,
    work: Mapping[str, Any],
    data: Path,
    output: Path | None,
    trials: Callable[[Source], list[Trial]],
    section: Callable[[dict[str, Run]], Section],
    devices: int | None,
    resume: bool,
    *,
    estimate_only: bool,
) -> None:
    """An experiment on one prepared file, from its estimate to its report.

    Args:
      title: of the report.
      work: what is asked for, JSON's types; kept in results.json, and with the data it says whose the folder is.
      data: the prepared file.
      output: where the results go; needed unless ``estimate_only``, which with it is of the trials left to do.
      trials: what to train on the file.
      section: what the trials' outcomes, by name of the model, say.
      devices: how many; all by default.
      resume: whether to go on with what the folder holds.
      estimate_only: whether to end with the estimate, and to write nothing.

    Raises:
      DgexError: the file, the folder or the number of devices is of no use; training fails.
    """
    if output is None and not estimate_only:
        raise DgexError("give -o, a folder for the results, or --estimate")
    over = parallel.devices(devices)
    source = single_source(data)
    asked = trials(source)
    for trial in asked:
        if trial.protocol:
            check_devices(len(over), trial.protocol.batch)
    if output is not None and not estimate_only:
        check_writable(output / "report.html", data)
        claim(output / "experiment.json", {"data": source.sha256, **work}, resume)
    announce(asked, source, over, output)
    if output is None or estimate_only:
        return
    run_all(asked, [source], output, over)
    found = section(runs(Evidence(output, [source]), asked))
    made = provenance(over, "default")
    command = shlex.join(["python", "-m", f"experiments.{work['experiment']}", *sys.argv[1:]])
    protocols = dict.fromkeys(trial.protocol for trial in asked if trial.protocol)
    facts = {
        "data": f"{source.path.name} sha256 {source.sha256}",
        "protocol": "; ".join(
            ", ".join(f"{key} {value}" for key, value in asdict(of).items() if value) for of in protocols
        ),
        "software": ", ".join(f"{name} {version}" for name, version in made["packages"].items()),
        "source": f"dgex {made['dgex']}, commit {made['git_commit']}",
        "device": f"{made['devices']} x {made['device_kind']}",
        "command": command,
    }
    summary = (
        "Test samples were read after validation had chosen every epoch and penalty. The z-score MAE is in units of a "
        "gene's training SD, the log2 MAE in log2 units; brackets are 95 % intervals."
    )
    results = {"title": f"{title} on {source.path.name}", "summary": [summary], "sections": [asdict(found)],
               "facts": facts, "work": dict(work), "provenance": made, "command": command}  # fmt: skip
    write_study(output, {**HEADER, **results})
    print(f"report: {output / 'report.html'}")


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
