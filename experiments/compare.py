"""tanh, sigmoid and TAAF networks on one data set: which infers the target genes best?

    python -m experiments.compare --data prepared.h5 --protocol quick --seeds 3 -o results/NAME

Prints the mean predictor and ridge regression first, trains every network of ``experiments.protocols.NETWORKS`` with
every seed, and ends with a table. The folder gets results.json (docs/results-format.md), results.md, genes.csv,
figures/ and report.html, and the runs' logs and checkpoints. Training sees the training split, the epoch is chosen on
the validation split, and the test split is opened once, when all of that is done.

Cost on 2 CPU cores, protocol quick, 3 seeds: about 2 minutes on the simulated data set (200 landmarks, 1,000 targets,
1,525 training samples), about 6 on the GEO compendium (943 landmarks, 9,520 targets, 563 training samples). What comes
out on the compendium is in the README.

    python -m experiments.compare --authors-example example_data -o results/NAME

reproduces the example of the TAAF-D-GEX repository from its four files; see ``experiments.authors_example``.
"""

import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from dgex import console, parallel
from dgex.baselines import mean_predictor, ridge_path
from dgex.batches import check_devices, place
from dgex.dataset import read_dataset, sha256_of
from dgex.errors import DgexError
from dgex.extras import need
from dgex.identity import claim
from dgex.metrics import finalize
from dgex.networks import Precision
from dgex.products import products
from dgex.protocols import PROTOCOLS
from dgex.training import evaluate
from experiments.protocols import LABELS, comparison
from experiments.results import collect, provenance, table
from experiments.runs import train_all

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
    protocol: Annotated[str, typer.Option(help=f"How to train: {', '.join(PROTOCOLS)}.")] = "quick",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each network.")] = 3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the protocol's number.")] = None,
    devices: Annotated[int | None, typer.Option(help="How many devices to train on; all by default.")] = None,
    matmul_precision: Annotated[
        Precision, typer.Option(help="Of float32 products; matters on GPU and TPU.")
    ] = "default",
    resume: Annotated[bool, typer.Option("--resume", help="Continue what the folder holds, if anything.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write event files beside the logs.")] = False,
) -> None:
    """Compares tanh, sigmoid and TAAF networks, and ends with a table and a report."""
    if (data is None) == (authors is None):
        raise DgexError("give either --data or --authors-example")
    need("matplotlib", "jinja2", extra="plots", what="the report")
    from experiments import authors_example
    from experiments.comparison_report import write_outputs

    over = parallel.devices(devices)
    if tensorboard:
        need("tensorboardX", extra="tensorboard", what="--tensorboard")
    if authors is not None:
        authors_example.run(authors, output, over, epochs, matmul_precision, resume=resume, tensorboard=tensorboard)
        return
    assert data is not None
    dataset = read_dataset(data)
    if "onto" in dataset.provenance["preparation"]:
        raise DgexError(f"{data}: has no train samples, it was mapped onto another data set; compare on that one")
    plan = comparison(protocol, dataset.landmark.shape[1], dataset.target.shape[1], seeds, epochs, matmul_precision)
    check_devices(len(over), plan.protocol.batch)
    sha256 = sha256_of(data)
    claim(output / "compare.json", {"data": sha256, **asdict(plan)}, resume)
    # Wide enough for the table: a narrower terminal wraps whole lines, which beats every cell cut in pieces.
    screen = Console(width=max(136, shutil.get_terminal_size().columns), highlight=False)

    samples = {split: place(*dataset.zscores(split), over) for split in ("train", "validation")}
    sums = products(samples["train"])
    ridge, penalties = ridge_path(sums, samples["validation"])
    baselines = {"mean": mean_predictor(sums).as_network(), "ridge": ridge.as_network()}
    for name, (config, params) in baselines.items():
        error = finalize(evaluate(params, samples["validation"], config)).mae.mean()
        screen.print(f"{LABELS[name]}: validation z-score MAE {error:.4f}")

    fits = train_all(
        plan.networks, plan.seeds, plan.protocol, samples["train"], samples["validation"], output / "runs", tensorboard
    )

    samples["test"] = place(*dataset.zscores("test"), over)  # opened here, once, with every choice made
    trained = {name: [(plan.networks[name], fit.params) for fit in runs] for name, runs in fits.items()}
    scores = {
        name: [
            {split: finalize(evaluate(params, part, config)) for split, part in samples.items()}
            for config, params in models
        ]
        for name, models in ({name: [model] for name, model in baselines.items()} | trained).items()
    }
    results = collect(dataset, plan, fits, scores)
    results["baselines"]["ridge"]["penalty"] = min(penalties, key=lambda penalty: penalties[penalty])
    results["data"] |= {"file": data.name, "sha256": sha256}
    results["provenance"] = provenance(over, matmul_precision)
    results["command"] = shlex.join(["python", "-m", "experiments.compare", *sys.argv[1:]])
    per_gene = {name: np.mean([run["test"].mae for run in runs], axis=0) for name, runs in scores.items()}
    write_outputs(output, results, dataset, fits, per_gene)
    _print_table(screen, table(results))
    screen.print(f"report: {output / 'report.html'}")


def _print_table(screen: Console, rows: Sequence[Sequence[str]]) -> None:
    """Prints the columns that say which network is better; results.md has them all."""
    shown = [column for column, name in enumerate(rows[0]) if name not in ("parameters", "best epoch")]
    drawn = Table(show_edge=False)
    for column in shown:
        drawn.add_column(rows[0][column], justify="right" if column else "left")
    for row in rows[1:]:
        drawn.add_row(*(row[column] for column in shown))
    screen.print(drawn)


if __name__ == "__main__":
    console.run(app)
