"""An experiment on one prepared file: what training takes is printed first, the trials are run, a report is written."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.console import Console
from rich.table import Table

from dgex import parallel
from dgex.atomic import check_writable
from dgex.batches import check_devices
from dgex.dataset import Shape, read_shape
from dgex.errors import DgexError
from dgex.extras import need
from dgex.identity import claim
from experiments.analysis.evidence import Evidence, Run, runs
from experiments.report.sections import Section
from experiments.trials.estimate import Needs, measure
from experiments.trials.models import Model
from experiments.trials.schedule import run_all
from experiments.trials.sources import Source, single_source
from experiments.trials.trial import Trial

# What networks at paper size stand beside.
BASELINE_MODELS = (Model("mean", "mean predictor"), Model("ridge", "ridge regression"))

# The options that these experiments share.
Data = Annotated[Path, typer.Option(help="A prepared data set (python -m data_prep prepare).")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the results.", show_default=False)]
Epochs = Annotated[int | None, typer.Option(min=1, help="Instead of the protocol's number.", show_default=False)]
Devices = Annotated[int | None, typer.Option(help="How many devices to train on; all by default.", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what the folder holds, if anything.")]
EstimateOnly = Annotated[bool, typer.Option("--estimate", help="Only print what training takes.")]


@dataclass(frozen=True)
class Experiment:
    """What is asked of a prepared file.

    Attributes:
      title: of the report.
      work: what is asked for, JSON's types; kept in results.json, and with the data it says whose the folder is.
        Under "experiment" it has the name of the experiment's module.
      trials: what to train on a file.
      section: what the trials' outcomes, by name of the model, say.
    """

    title: str
    work: Mapping[str, Any]
    trials: Callable[[Source], list[Trial]]
    section: Callable[[dict[str, Run]], Section]


def carry_out(
    experiment: Experiment, data: Path, output: Path | None, devices: int | None, *, resume: bool, estimate_only: bool
) -> None:
    """Does an experiment, from its estimate to its report.

    Args:
      experiment: what to do.
      data: the prepared file.
      output: where the results go; needed unless ``estimate_only``, which with it is of the trials left to do.
      devices: how many; all by default.
      resume: whether to go on with what the folder holds.
      estimate_only: whether to end with the estimate, and to write nothing.

    Raises:
      DgexError: the file, the folder or the number of devices is of no use; training fails.
    """
    if output is None and not estimate_only:
        raise DgexError("give -o, a folder for the results, or --estimate")
    if not estimate_only:
        need("matplotlib", "jinja2", extra="plots", what="the report")
    over = parallel.devices(devices)
    source = single_source(data)
    trials = experiment.trials(source)
    for trial in trials:
        if trial.protocol:
            check_devices(len(over), trial.protocol.batch)
    shape = read_shape(data)
    if output is not None and not estimate_only:
        check_writable(output / "report.html", data)
        claim(output / "experiment.json", {"data": source.sha256, **experiment.work}, resume)
    announce(measure(trials, shape, over, output), shape, over)
    if output is None or estimate_only:
        return
    from experiments.report.page import results, write_study  # needs what an estimate does without

    run_all(trials, [source], output, over)
    evidence = Evidence(output, [source])
    section = experiment.section(runs(evidence, trials))
    write_study(
        output,
        results(
            experiment.work["experiment"],
            f"{experiment.title} on {source.path.name}",
            [section],
            [source],
            [trial.protocol for trial in trials if trial.protocol],
            evidence.made,
            over,
            work=dict(experiment.work),
        ),
    )
    print(f"report: {output / 'report.html'}")


def announce(needs: Needs, shape: Shape, devices: tuple[jax.Device, ...]) -> None:
    """Prints what each network takes, what those without an outcome take together, and what there is too little of.

    Args:
      needs: of the experiment.
      shape: of its prepared file.
      devices: to train on.
    """
    screen = Console(width=max(120, shutil.get_terminal_size().columns), highlight=False)
    table = Table(show_edge=False)
    for heading in ("network", "parameters", "steps", "PFLOP", "hours", "GiB on the device"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for network in needs.networks:
        of = network.estimate
        cells = _number(of.flop / 1e15), _number(network.seconds / 3600), f"{of.device_bytes / 2**30:.2f}"
        table.add_row(network.model.label, f"{of.parameters:,}", f"{of.steps:,}", *cells)
    rates = [network.rate / 1e12 for network in needs.networks]
    screen.print(
        f"{shape.samples['train']:,} training and {shape.samples['validation']:,} validation samples, "
        f"{shape.landmarks:,} -> {shape.targets:,} genes; {len(devices)} x {devices[0].device_kind}, "
        f"{_number(min(rates))} to {_number(max(rates))} TFLOP/s in products"
    )
    screen.print(table)
    screen.print(
        f"left to train: {sum(network.left for network in needs.networks)} networks, {_number(needs.flop / 1e15)} "
        f"PFLOP, {_number(needs.seconds / 3600)} hours in one process"
    )
    screen.print(
        f"room needed: {_gib(needs.device)} on the device, {_gib(needs.host)} of this machine's memory, "
        f"{_gib(needs.disk)} of disk"
    )
    for line in _too_little(needs):
        screen.print(f"warning: {line}")


def _too_little(needs: Needs) -> Iterator[str]:
    """A line for each thing that there is too little of."""
    if needs.device_memory is not None and needs.device > needs.device_memory:
        larger = [each.model.name for each in needs.networks if each.estimate.device_bytes > needs.device_memory]
        yield f"the device has {_gib(needs.device_memory)}, too little for {', '.join(larger)}"
    if needs.host > needs.host_memory:
        yield f"this machine has {_gib(needs.host_memory)} of memory, less than is needed"
    if needs.disk_free is not None and needs.disk > needs.disk_free:
        yield f"the disk has {_gib(needs.disk_free)} left, less than is needed"


def _gib(nbytes: int) -> str:
    return f"{nbytes / 2**30:.2f} GiB"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
