"""An experiment on one prepared file: runs its trials and writes a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import typer

from dgex import processes
from dgex.batches import check_devices
from dgex.files.atomic import check_writable
from dgex.files.run_directory import claim
from experiments.analysis.evidence import Evidence, Run, runs
from experiments.report.sections import Section
from experiments.trials.models import ModelSpec
from experiments.trials.schedule import run_all
from experiments.trials.sources import Source, Sources, origin_of
from experiments.trials.trial import Trial

# The baselines that the networks are compared with.
BASELINE_MODELS = (ModelSpec("mean", "mean predictor"), ModelSpec("ridge", "ridge regression"))

# The options that these experiments have in common.
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Number of epochs, instead of the protocol's.", show_default=False)
]
Devices = Annotated[int | None, typer.Option(help="How many devices to train on; all by default.", show_default=False)]
Memory = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=4096,
        help="Most memory for the data, in GiB; larger data are not held in memory, but read from the file.",
        show_default="half of the machine's",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue what the folder holds, if anything.")]


@dataclass(frozen=True)
class Experiment:
    """Specifies an experiment on a prepared file.

    Attributes:
      name: name of the module of ``experiments`` whose command it is.
      title: title of the report.
      work: the settings of the experiment, of JSON types. They are kept in results.json, and identify the folder
        together with the data.
      trials: the trials to run.
      section: makes the section of the report from the trials' outcomes by name of the model.
      more_results: makes further fields of results.json from the same outcomes.
    """

    name: str
    title: str
    work: Mapping[str, Any]
    trials: Sequence[Trial]
    section: Callable[[dict[str, Run]], Section]
    more_results: Callable[[dict[str, Run]], dict[str, Any]] = lambda by_model: {}


def check(experiment: Experiment, output: Path, source: Source, devices: tuple[jax.Device, ...], resume: bool) -> None:
    """Checks before any work that the experiment can be carried out, and claims the run directory.

    Args:
      experiment: the experiment.
      output: the folder for its results.
      source: the prepared file.
      devices: the devices to train on.
      resume: whether to continue what the folder holds.

    Raises:
      DgexError: the devices do not suit a batch, or the folder cannot be written to or is that of another experiment.
    """
    for trial in experiment.trials:
        if trial.protocol:
            check_devices(len(devices), trial.protocol.batch)
    check_writable(output / "report.html", source.path)
    claim(output / "experiment.json", {"data": source.sha256, **experiment.work}, resume)


def workplace(output: Path, source: Source | Sources) -> Path:
    """Returns the folder in which this process works, see ``dgex.processes``, if all train on the same data."""
    processes.need_same("the prepared data", source.identity)
    (folder,) = processes.workplaces(output)
    return folder


def carry_out(
    experiment: Experiment,
    output: Path,
    source: Source,
    devices: tuple[jax.Device, ...],
    *,
    events: bool = False,
    memory: float | None = None,
) -> dict[str, Run]:
    """Runs the trials that have no outcome yet, and writes the report.

    Args:
      experiment: the experiment.
      output: the folder for its results.
      source: the prepared file.
      devices: the devices to train on.
      events: whether to write TensorBoard event files.
      memory: as in ``experiments.trials.loading.Loaded``.

    Returns:
      The trials' outcomes by name of the model.

    Raises:
      DgexError: training fails.
    """
    from experiments.report.page import HOW_TO_READ, gather_results, write_report

    run_all(experiment.trials, [source], output, devices, events=events, memory=memory)
    evidence = Evidence(output, [source])
    by_model = runs(evidence, experiment.trials)
    section = experiment.section(by_model)
    write_report(
        output,
        gather_results(
            experiment.name,
            f"{experiment.title} on {source.path.name}",
            [section],
            {source.path.name: source.identity},
            [trial.protocol for trial in experiment.trials if trial.protocol],
            evidence.origins,
            devices,
            [HOW_TO_READ, *origin_of(source.path)],
            work=dict(experiment.work),
            **experiment.more_results(by_model),
        ),
    )
    return by_model
