"""The commands that compare a model with whole profiles: ``dgex evaluate`` and ``dgex calibrate``."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dgex import console
from dgex.cli.options import Devices, InputScale, Layer, MaxMissing, Model, Platform
from dgex.errors import DgexError
from dgex.files.atomic import check_path
from dgex.score_table import print_scores

if TYPE_CHECKING:
    from dgex.formats.expression import Expression
    from dgex.model import Model as Trained
    from dgex.model.evaluation import Comparison


def evaluate_command(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] DATA",
            help="A table of landmarks and targets, as predict reads, or a prepared data set; before it the model, "
            "instead of --model.",
        ),
    ],
    model: Model = None,
    input_scale: InputScale = "auto",
    max_missing: MaxMissing = 0.2,
    platform: Platform = "auto",
    against: Annotated[
        str | None,
        typer.Option(help="Another model of the same training data, compared with by study.", show_default="none"),
    ] = None,
    layer: Layer = None,
    devices: Devices = None,
) -> None:
    """Score a model's predictions against measured targets, the mean predictor beside it, and its intervals' coverage.

    A table is scored by groups of profiles: those of studies that the model was trained, validated and tested on, by
    the sample field study_id, and others. A prepared data set is the one that the model was trained on, or a cohort
    prepared --onto that, and is scored split by split. Only measured values are scored.

    `--against ridge/`, made by `dgex train --hidden none` on the same data, tells whether the model is better than
    ridge regression.
    """
    from dgex import parallel
    from dgex.data.dataset import is_prepared, read_dataset
    from dgex.formats.opening import open_expression
    from dgex.model.directory import load_model
    from dgex.model.evaluation import evaluate_model, evaluate_table
    from dgex.model.prediction import Request

    loaded, data = _model_and_data(paths, model)
    other = None if against is None else load_model(against)
    request, used_devices = Request(input_scale, max_missing=max_missing, platform=platform), parallel.devices(devices)
    scores: dict[str, dict] = {}
    with console.progress() as bar:
        task = bar.add_task("scoring", total=None)
        if is_prepared(data):
            dataset = read_dataset(data)
            for warning in dataset.warnings():
                console.warn(f"{data}: {warning}")
            bar.update(task, description="scoring splits", total=len(set(dataset.split.tolist())))
            for split, split_scores in evaluate_model(loaded, str(data), dataset, used_devices, other):
                scores[split] = split_scores
                bar.advance(task)
        else:
            with open_expression(data, layer) as table:
                scratch = Path(tempfile.gettempdir())
                evaluation = evaluate_table(loaded, str(data), table, request, used_devices, scratch, other)
            _say_found(data, table, evaluation.comparison, input_scale)
            scores = evaluation.scores
    print_scores(scores, loaded.provenance.get("refit", False))


def calibrate_command(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="[MODEL] PROFILES", help="Model; whole profiles, as evaluate reads."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model directory to make.")],
    name: Annotated[str, typer.Option(help="Of the platform that is added to the model.")] = "mine",
    model: Model = None,
    input_scale: Annotated[
        Literal["auto", "log2", "linear"], typer.Option(help="Of the profiles; auto tells log2 from linear.")
    ] = "auto",
    max_missing: MaxMissing = 0.2,
    platform: Annotated[
        str, typer.Option(help="That measured the profiles, one of the model's; auto: nearest to most of them.")
    ] = "auto",
    layer: Layer = None,
    devices: Devices = None,
) -> None:
    """Make a model directory for your laboratory, with offsets of the targets from a few whole profiles of your own."""
    from dgex import parallel
    from dgex.data.dataset import sha256_of
    from dgex.formats.opening import open_expression
    from dgex.model.calibration import calibrate_table
    from dgex.model.directory import check_new, save_model
    from dgex.model.prediction import Request

    check_new(output)
    loaded, data = _model_and_data(paths, model)
    request, used_devices = Request(input_scale, max_missing=max_missing, platform=platform), parallel.devices(devices)
    with console.progress() as bar:
        bar.add_task("calibrating", total=None)
        with open_expression(data, layer) as table:
            source = {"file": data.name, "sha256": sha256_of(data)}
            scratch = Path(tempfile.gettempdir())
            result = calibrate_table(loaded, str(data), table, request, name, source, used_devices, scratch)
    _say_found(data, table, result.comparison, input_scale)
    save_model(output, result.model)
    number = len(result.comparison.inferred)
    offsets = f"its offsets from {number:,} profile{'s' * (number > 1)}, on top of {result.base}"
    console.say(f"{output}: platform {name}, {offsets}, shrunk by n / (n + {result.shrinkage:.3g})")


def _model_and_data(paths: list[str], model: str | None) -> tuple["Trained", Path]:
    """Reads the model of [MODEL] DATA or --model, by default the one that comes with dgex, and gives DATA."""
    from dgex.model.directory import load_model

    *models, data = paths
    if model is not None:
        models.append(model)
    if len(models) > 1:
        raise DgexError(f"{', '.join(models)}: are {len(models)} models; give one, and one table")
    check_path(Path(data))
    return load_model(*models), Path(data)


def _say_found(data: Path, table: "Expression", found: "Comparison", input_scale: str) -> None:
    """Prints what was found in a table of whole profiles, and how they were taken."""
    how = "taken" if input_scale == "auto" else "given"
    console.say(f"{data}: {table.kind}\n{found.landmarks.report()}\n{found.targets.report()}")
    console.say(f"{how} as {found.scale}; each profile brought to the training data's quantiles on its own")
    console.say(f"{found.platforms}\n{found.check.text}")
    if table.stand_ins:
        from dgex.formats.missing_values import tally

        console.warn(f"{data}: taken as missing: {tally(table.stand_ins)}")
