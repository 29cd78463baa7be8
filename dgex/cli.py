"""The command ``dgex``: trains a model, evaluates it, calibrates it, shows its card, and infers whole profiles.

A command imports what it needs when it runs, so that its help is shown at once.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dgex import __version__, console
from dgex.errors import DgexError
from dgex.formats.content import read_small
from dgex.score_table import print_scores

if TYPE_CHECKING:
    from dgex.formats.expression import Expression
    from dgex.model import Model as Trained
    from dgex.model.evaluation import Comparison, Evaluation

app = console.command_line("Infer the expression of 9,520 target genes from landmark genes.")


def _version(requested: bool) -> None:
    """Prints the version and ends the command, if ``--version`` is given."""
    if requested:
        print(f"dgex {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Infer the expression of 9,520 target genes from landmark genes."""


Model = Annotated[
    Path | None, typer.Option("-m", "--model", help="Model directory.", show_default="the one that comes with dgex")
]
InputScale = Annotated[
    Literal["auto", "log2", "linear", "zscore"], typer.Option(help="Of the input; auto tells log2 from linear.")
]
Layer = Annotated[str | None, typer.Option(help="Of an h5ad, the layer to take, or raw.", show_default="X")]
MaxMissing = Annotated[float, typer.Option(help="Share of the landmarks that a profile may lack.")]
Platform = Annotated[
    str, typer.Option(help="That measured the input, one of the model's; auto: the nearest, profile by profile.")
]
Devices = Annotated[int | None, typer.Option(min=1, help="How many devices to use.", show_default="all")]


@app.command("train")
def train_command(
    prepared: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Prepared data set (`python -m data_prep prepare`), or folder of folds (`... folds`)."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model directory to make.")],
    hidden: Annotated[str, typer.Option(help="Units of each hidden layer, such as 300 or 3000,3000,3000.")] = "300",
    activation: Annotated[
        str, typer.Option(help="Base function, or learnable activation, of the hidden layers.")
    ] = "sigmoid",
    taaf: Annotated[
        Literal["none", "hidden", "all"], typer.Option(help="Where a TAAF of it stands; all: on the output layer too.")
    ] = "hidden",
    dropout: Annotated[float, typer.Option(help="Share of each hidden layer's outputs dropped in training.")] = 0.25,
    linear: Annotated[
        bool, typer.Option("--linear", help="Add a linear path, started at ridge regression; folds always have it.")
    ] = False,
    linear_rank: Annotated[
        int | None, typer.Option(help="Rank of the linear path, for a smaller model.", show_default="full")
    ] = None,
    linear_rate: Annotated[
        float, typer.Option(help="Learning rate of the linear path, as a multiple of that of the network.")
    ] = 1.0,
    protocol: Annotated[
        str, typer.Option(help="How to train, and from what start: quick, example, example-scheduled or dgex.")
    ] = "quick",
    init: Annotated[
        Literal["glorot", "dgex"] | None,
        typer.Option(
            help="How the network is initialised: Glorot uniform, or so with outputs within 1e-4.",
            show_default="the protocol's",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the protocol's number.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of everything random.")] = 0,
    note: Annotated[Path | None, typer.Option(help="Text file that ends the model card.")] = None,
    devices: Devices = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a training that was stopped.")] = False,
) -> None:
    """Train a network on a prepared data set and make a model directory of it.

    Validation chooses the epoch and calibrates the intervals; the test split is scored once, at the end. Of a folder of
    folds every study is inferred by a network trained without it; these predictions are scored and calibrate the
    intervals, and the model is then fitted to all studies. Logs and checkpoints lie in OUTPUT.training meanwhile.
    """
    import numpy as np

    from dgex import parallel
    from dgex.data.dataset import read_dataset, read_shape, sha256_of
    from dgex.log import Epoch
    from dgex.model.cross_fitting import OutOfFold, cross_fit, fold_files
    from dgex.model.directory import check_new, save_model
    from dgex.model.fitting import Scores, train_model
    from dgex.networks import NetworkConfig
    from dgex.protocols import named_protocol

    check_new(output)
    units = _units(hidden)
    chosen, start = named_protocol(protocol, len(units), epochs)
    folds = fold_files(prepared) if prepared.is_dir() else []
    shape, note_field = read_shape(folds[0] if folds else prepared), _text(note)
    config = NetworkConfig(
        shape.landmarks, shape.targets, units, activation, taaf, dropout=dropout, init=init or start,
        linear=linear or bool(folds), linear_rank=linear_rank, linear_rate=linear_rate,
    )  # fmt: skip
    used_devices = parallel.devices(devices)
    digests = [sha256_of(path) for path in folds or [prepared]]
    digest = hashlib.sha256("".join(digests).encode()).hexdigest() if folds else digests[0]
    data = {"file": f"{len(folds)} folds of studies" if folds else prepared.name, "sha256": digest}
    run = output.with_name(f"{output.name}.training")

    def on_ridge(scores: Scores) -> None:
        for name, means in scores.items():
            console.say(f"{name}: validation z-score MAE {means['zscore_mae']:.4f}")

    with console.progress("{task.fields[status]}") as bar:
        task = bar.add_task("training", total=chosen.epochs, status="")

        def on_epoch(row: Epoch, seconds: float) -> None:
            status = f"train {row.train_loss:.4f}  validation {row.validation_mae:.4f}"
            bar.update(task, completed=row.epoch, status=status)

        def on_stage(stage: str, row: Epoch) -> None:
            bar.update(task, description=stage, completed=row.epoch, status=f"train {row.train_loss:.4f}")

        def on_fold(number: int, fold: OutOfFold) -> None:
            errors = (np.nanmean(np.abs(values - fold.target)) for values in (fold.inferred, fold.ridge))
            console.say(
                "fold {}: z-score MAE of the studies left out {:.4f}, ridge regression {:.4f}".format(number, *errors)
            )

        if folds:
            model = cross_fit(
                folds, data, config, chosen, seed, used_devices, run, resume=resume, on_epoch=on_stage, on_fold=on_fold
            )
        else:
            dataset = read_dataset(prepared)
            for warning in dataset.warnings():
                console.warn(f"{prepared}: {warning}")
            model = train_model(
                dataset, data, config, chosen, seed, used_devices, run, resume=resume, on_epoch=on_epoch,
                on_ridge=on_ridge,
            )  # fmt: skip
    save_model(output, replace(model, provenance=model.provenance | note_field))
    _remove_run(run)
    print_scores(model.provenance["scores"])
    console.say(
        f"{output}: best epoch {model.provenance['best_epoch']} of {chosen.epochs}; `dgex info {output}` has its card"
    )


@app.command("evaluate")
def evaluate_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[MODEL] DATA",
            help="A table of landmarks and targets, as predict reads, or a prepared data set; before it the model "
            "directory, instead of --model.",
        ),
    ],
    model: Model = None,
    input_scale: InputScale = "auto",
    max_missing: MaxMissing = 0.2,
    platform: Platform = "auto",
    layer: Layer = None,
    devices: Devices = None,
) -> None:
    """Score a model's predictions against measured targets, the mean predictor beside it, and its intervals' coverage.

    A table is scored by groups of profiles: those of studies that the model was trained, validated and tested on, by
    the sample field study_id, and others. A prepared data set is the one that the model was trained on, or a cohort
    prepared --onto that, and is scored split by split. Only measured values are scored.
    """
    from dgex import parallel
    from dgex.data.dataset import is_prepared, read_dataset
    from dgex.formats.opening import open_expression
    from dgex.model.evaluation import evaluate_model, evaluate_table
    from dgex.model.prediction import Request

    loaded, data = _model_and_data(paths, model)
    request, used_devices = Request(input_scale, max_missing=max_missing, platform=platform), parallel.devices(devices)
    scores: dict[str, dict] = {}
    with console.progress() as bar:
        task = bar.add_task("scoring", total=None)
        if is_prepared(data):
            dataset = read_dataset(data)
            for warning in dataset.warnings():
                console.warn(f"{data}: {warning}")
            bar.update(task, description="scoring splits", total=len(set(dataset.split.tolist())))
            for split, split_scores in evaluate_model(loaded, str(data), dataset, used_devices):
                scores[split] = split_scores
                bar.advance(task)
        else:
            with open_expression(data, layer) as table:
                scratch = Path(tempfile.gettempdir())
                evaluation = evaluate_table(loaded, str(data), table, request, used_devices, scratch)
            _say_found(data, table, evaluation, input_scale)
            scores = evaluation.scores
    print_scores(scores)


@app.command("calibrate")
def calibrate_command(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="[MODEL] PROFILES", help="Model directory; whole profiles, as evaluate reads."),
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
    offsets = f"its offsets from {len(result.comparison.inferred):,} profiles, on top of {result.base}"
    console.say(f"{output}: platform {name}, {offsets}, shrunk by n / (n + {result.shrinkage:.3g})")


@app.command("info")
def info_command(model: Annotated[Path | None, typer.Argument(help="Model directory.")] = None) -> None:
    """Print the card of a model, by default of the one that comes with dgex; its checksums are checked."""
    from dgex.model.directory import read_card

    console.say(read_card(model).removesuffix("\n"))


@app.command("predict")
def predict_command(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="GCT, GCTX, CSV, TSV, Parquet, h5ad or series matrix; text gzipped or not."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The file to write: .gctx, .gct, .csv, .tsv (.gz), .parquet, .h5ad.")
    ],
    model: Model = None,
    input_scale: InputScale = "auto",
    output_scale: Annotated[
        Literal["log2", "zscore"], typer.Option(help="log2 as in the training data, or z-scores by its mean and SD.")
    ] = "log2",
    all_targets: Annotated[
        bool, typer.Option("--all-targets", help="Also infer the targets that were measured, as ID:inferred.")
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            help="Also tell each gene's half width of this interval, a unit of expected error: 0.5, 0.8, 0.9 or 0.95."
        ),
    ] = None,
    max_missing: MaxMissing = 0.2,
    platform: Platform = "auto",
    layer: Layer = None,
    devices: Devices = None,
) -> None:
    """Infer whole expression profiles from landmark genes."""
    from dgex import parallel
    from dgex.formats.expression import Block
    from dgex.formats.opening import open_expression
    from dgex.formats.writing import check_output, write_expression
    from dgex.model.directory import load_model
    from dgex.model.prediction import Request, predict_table

    folder = check_output(output, table)
    request = Request(input_scale, output_scale, all_targets, interval, max_missing, platform)
    loaded = load_model(model)
    started = time.monotonic()
    with ExitStack() as stack:
        bar = stack.enter_context(console.progress())
        task = bar.add_task("reading", total=None)
        expression = stack.enter_context(open_expression(table, layer))
        used_devices = parallel.devices(devices)
        prediction = stack.enter_context(predict_table(loaded, str(table), expression, request, used_devices, folder))
        how = "taken" if input_scale == "auto" else "given"
        console.say(f"{table}: {expression.kind}, {prediction.match.report()}\n{how} as {prediction.scale}")
        whole = prediction.expression
        bar.update(task, description="profiles", total=len(whole.sample_id))

        def counted(rows: int) -> Iterator[Block]:
            for block in whole.blocks(rows):
                yield block
                bar.update(task, completed=block[0].stop)

        write_expression(output, replace(whole, blocks=counted))
    console.say(f"{prediction.platform_report()}\n{prediction.check.text}")
    for warning in prediction.warnings():
        console.warn(warning)
    profiles, genes = whole.shape
    seconds = time.monotonic() - started
    console.say(f"{output}: {profiles:,} profiles of {genes:,} genes, {output_scale}, in {seconds:.1f} s")


def _model_and_data(paths: list[Path], model: Path | None) -> tuple["Trained", Path]:
    """Reads the model of [MODEL] DATA or --model, by default the one that comes with dgex, and gives DATA."""
    from dgex.model.directory import load_model

    *models, data = paths
    if model is not None:
        models.append(model)
    if len(models) > 1:
        raise DgexError(f"{', '.join(map(str, models))}: are {len(models)} models; give one, and one table")
    return load_model(*models), data


def _say_found(data: Path, table: "Expression", found: "Comparison | Evaluation", input_scale: str) -> None:
    """Prints what was found in a table of whole profiles, and how they were taken."""
    how = "taken" if input_scale == "auto" else "given"
    console.say(f"{data}: {table.kind}\n{found.landmarks.report()}\n{found.targets.report()}")
    console.say(f"{how} as {found.scale}; each profile brought to the training data's quantiles on its own")
    console.say(f"{found.platforms}\n{found.check.text}")
    if table.stand_ins:
        from dgex.formats.missing_values import tally

        console.warn(f"{data}: taken as missing: {tally(table.stand_ins)}")


def _units(text: str) -> tuple[int, ...]:
    """Parses the units of the hidden layers, such as 3000,3000."""
    try:
        return tuple(int(units) for units in text.split(","))
    except ValueError as error:
        raise DgexError(f"--hidden {text[:40]!r}: give whole numbers, such as 300 or 3000,3000,3000") from error


def _text(note: Path | None) -> dict[str, str]:
    """Reads the note for a model card, as a field of the provenance; without a note there is no field."""
    try:
        return {"note": read_small(note).decode().strip()} if note else {}
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DgexError(f"{note}: cannot be read as a note ({reason})") from error


def _remove_run(run: Path) -> None:
    """Removes the files of a training from its run directory, last the one that identifies the run; others stay."""
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    for name in ("log.csv", "lock", "fit.json"):
        (run / name).unlink(missing_ok=True)
    if (run / "cross-fit.json").exists():
        for part in (*run.glob("fold-*/choose"), *run.glob("fold-*/refit"), *run.glob("fold-*"), run / "all"):
            _remove_run(part)
        for predictions in run.glob("out-of-fold-*.npz"):
            predictions.unlink()
        (run / "cross-fit.json").unlink()
    with suppress(OSError):  # the directory is not empty, or is a link
        run.rmdir()


def main() -> None:
    """Runs the command ``dgex``."""
    console.main(app)
