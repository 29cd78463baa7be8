"""An experiment on one prepared file: its trials are run, and a report is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import typer

from dgex.batches import check_devices
from dgex.files.atomic import check_writable
from dgex.files.run_directory import claim
from experiments.analysis.evidence import Evidence, Run, runs
from experiments.report.sections import Section
from experiments.trials.models import ModelSpec
from experiments.trials.schedule import run_all
from experiments.trials.sources import Source
from experiments.trials.trial import Trial

# What the networks stand beside.
BASELINE_MODELS = (ModelSpec("mean", "mean predictor"), ModelSpec("ridge", "ridge regression"))

# The options that these experiments share.
Epochs = Annotated[int | None, typer.Option(min=1, help="Instead of the protocol's number.", show_default=False)]
Devices = Annotated[int | None, typer.Option(help="How many devices to train on; all by default.", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what the folder holds, if anything.")]


@dataclass(frozen=True)
class Experiment:
    """What is asked of a prepared file.

    Attributes:
      name: of the module of ``experiments`` whose command it is.
      title: of the report.
      work: what is asked for, JSON's types; kept in results.json, and with the data it says whose the folder is.
      trials: what to train.
      section: what the trials' outcomes, by name of the model, say.
      kept: what else results.json is to keep of them.
    """

    name: str
    title: str
    work: Mapping[str, Any]
    trials: Sequence[Trial]
    section: Callable[[dict[str, Run]], Section]
    kept: Callable[[dict[str, Run]], dict[str, Any]] = lambda by_model: {}


def check(experiment: Experiment, output: Path, source: Source, devices: tuple[jax.Device, ...], resume: bool) -> None:
    """Refuses, before any work, what cannot be carried out, and claims the folder; DgexError says why."""
    for trial in experiment.trials:
        if trial.protocol:
            check_devices(len(devices), trial.protocol.batch)
    check_writable(output / "report.html", source.path)
    claim(output / "experiment.json", {"data": source.sha256, **experiment.work}, resume)


def carry_out(
    experiment: Experiment, output: Path, source: Source, devices: tuple[jax.Device, ...], *, events: bool = False
) -> dict[str, Run]:
    """Runs the trials that have no outcome yet, and writes the report.

    Args:
      experiment: what to do.
      output: where the results go.
      source: the prepared file.
      devices: to train on.
      events: whether to write TensorBoard event files.

    Returns:
      The trials' outcomes by name of the model.

    Raises:
      DgexError: training fails.
    """
    from experiments.report.page import results, write_report

    run_all(experiment.trials, [source], output, devices, events=events)
    evidence = Evidence(output, [source])
    by_model = runs(evidence, experiment.trials)
    section = experiment.section(by_model)
    write_report(
        output,
        results(
            experiment.name,
            f"{experiment.title} on {source.path.name}",
            [section],
            {source.path.name: source.identity},
            [trial.protocol for trial in experiment.trials if trial.protocol],
            evidence.origins,
            devices,
            work=dict(experiment.work),
            **experiment.kept(by_model),
        ),
    )
    return by_model
