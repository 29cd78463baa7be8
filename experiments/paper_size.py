"""tanh, sigmoid and TAAF networks at the papers' size: three hidden layers of 3,000, 6,000 or 9,000 units.

    python -m experiments.paper_size --data full/prepared.h5 --estimate
    python -m experiments.paper_size --data full/prepared.h5 -o results/paper-size

Prints what training takes, and then trains every network from three seeds, with dropout 10 % and ``PROTOCOL``: the
optimiser, rate and loss of the TAAF repository's example (Keras-2 Nadam, 5e-4, MAE), with D-GEX's batch of 200 and 200
epochs. The folder gets report.html, results.json, tables/ and figures/. Stopped at any moment, it goes on with
``--resume``; further processes started so on the same folder share the work. On GPUs give each process one of its own
(CUDA_VISIBLE_DEVICES=0, 1, ...): JAX takes most of a GPU's memory at once, whatever it needs, and a second process on
that GPU would find too little.

Cost on D-GEX's data (88,807 training and 11,101 validation samples, 943 -> 9,520 genes), by its own estimate: with
3,000, 6,000 and 9,000 units 65, 178 and 338 PFLOP of matrix products, that is 2.4, 6.6 and 12.6 days on 2 CPU cores
which do 0.41 TFLOP/s of them; 5.4, 7.9 and 11.5 GiB on the device. Another machine's time is the PFLOP over three
quarters of the rate printed first; not measured on a GPU.

Kunc and Klema (PLoS ONE 2021) found 0.1637 for their D-GEX and 0.1340 for TAAF, on a scale that is most likely log2
without standardising; D-GEX's z-score MAE of three layers of 3,000 tanh units is 0.3300. Other data have other numbers.
"""

from dataclasses import replace
from typing import Annotated

import typer

from dgex import console
from dgex.protocols import DGEX, EXAMPLE
from experiments.analysis.evidence import Run
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
from experiments.questions.activations import NETWORK_MODELS
from experiments.report.sections import Section
from experiments.report.tables import compare_all, comparison_table, data_line, differences, error_table, verdict
from experiments.trials.models import Model
from experiments.trials.sources import Source
from experiments.trials.trial import Trial

LAYERS = 3
DROPOUT = 0.1
PROTOCOL = replace(EXAMPLE, batch=DGEX.batch, epochs=DGEX.epochs)
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
CAVEATS = (
    "The unit of replication is the study; genes of one sample are correlated and are described only. Samples "
    "that name no study give no interval.",
    "One training set: another could say otherwise, and no interval here covers that.",
    "The TAAF paper's errors (0.1637 for D-GEX, 0.1340 with TAAF) are on another scale, most likely log2 without "
    "standardising, and of another protocol; they are not to be put beside z-score errors.",
)

app = console.command_line(help=__doc__.splitlines()[0])


@app.command()
def main(
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

    def trials(source: Source) -> list[Trial]:
        protocol = replace(PROTOCOL, epochs=epochs or PROTOCOL.epochs)
        return [
            *(Trial(source.name, model, None) for model in BASELINE_MODELS),
            *(Trial(source.name, model, protocol, seed) for model in networks(units) for seed in range(seeds)),
        ]

    work = {"experiment": "paper_size", "units": units, "seeds": seeds, "epochs": epochs}
    title = f"tanh, sigmoid and TAAF, {LAYERS} layers of {units:,} units,"
    experiment = Experiment(title, work, trials, section)
    carry_out(experiment, data, output, devices, resume=resume, estimate_only=estimate_only)


def networks(units: int) -> list[Model]:
    """The study's networks, at the papers' size."""
    size = {"hidden": (units,) * LAYERS, "dropout": DROPOUT}
    return [
        replace(model, network={**model.network, **size})
        for model in NETWORK_MODELS
        if model.name in NETWORKS and model.network
    ]


def section(by_model: dict[str, Run]) -> Section:
    """The comparison."""
    comparisons = compare_all(by_model, PAIRS)
    log2 = compare_all(by_model, PAIRS, measure="log2 MAE")
    tested = data_line(by_model)
    return Section(
        name="paper-size",
        question="Which activation is better at the papers' size: tanh, sigmoid or TAAF?",
        data=f"{tested}.",
        answer=[verdict(comparison) for comparison in comparisons],
        caveats=CAVEATS,
        tables=[
            error_table("paper-size-errors", f"Errors on the test samples ({tested}).", list(by_model.values())),
            comparison_table("paper-size-comparisons", f"Differences of the z-score MAE ({tested}).", comparisons),
            comparison_table("paper-size-comparisons-log2", f"The same of the log2 MAE ({tested}).", log2),
        ],
        figures=[differences("paper-size-differences", by_model, PAIRS, comparisons, tested)],
    )


if __name__ == "__main__":
    console.run(app)
