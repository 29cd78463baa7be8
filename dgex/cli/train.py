"""The command ``dgex train``."""

import hashlib
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from dgex import console
from dgex.cli.options import Coordinator, Devices, Process, Processes
from dgex.errors import DgexError
from dgex.formats.content import read_small
from dgex.processes import join, need_same, workplaces
from dgex.score_table import print_scores


def train_command(
    prepared: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Prepared data set (`python -m data_prep prepare`), or folder of folds (`... folds`)."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model directory to make.")],
    hidden: Annotated[
        str, typer.Option(help="Units of each hidden layer, such as 300 or 3000,3000,3000; none for ridge regression.")
    ] = "300",
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
        float | None,
        typer.Option(
            help="Learning rate of the linear path, as a multiple of that of the network.", show_default="0.1"
        ),
    ] = None,
    kernel: Annotated[
        bool,
        typer.Option(
            "--kernel",
            help="Put the linear path on the arc-cosine kernel with the training profiles: it is kernel ridge "
            "regression, and stays so.",
        ),
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="Round the weights to half precision, for a model of half the size.")
    ] = False,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="How to train, and from what start: quick, residual, example, example-scheduled or dgex.",
            show_default="quick; beside a linear path residual",
        ),
    ] = None,
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
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
) -> None:
    """Train a network on a prepared data set and make a model directory of it.

    Validation chooses the number of epochs and calibrates the intervals, and then the network is trained on it too; the
    test split is scored once, at the end. Of a folder of folds every study is inferred by a network trained without it;
    these predictions are scored and calibrate the intervals, and the model is then fitted to all studies. Logs and
    checkpoints lie in OUTPUT.training meanwhile. With `--hidden none` the model is ridge regression, to compare others
    with: `dgex evaluate --against`.
    """
    import jax
    import numpy as np

    from dgex import parallel
    from dgex.data.dataset import read_dataset, read_shape, sha256_of
    from dgex.log import Epoch
    from dgex.model.cross_fitting import OutOfFold, cross_fit, fold_files
    from dgex.model.directory import check_new, save_model
    from dgex.model.fitting import Scores, train_model
    from dgex.model.half_precision import rounded_to_half
    from dgex.networks import NetworkConfig
    from dgex.protocols import named_protocol

    join(coordinator, processes, process)
    check_new(output)
    units = _units(hidden)
    folds = fold_files(prepared) if prepared.is_dir() else []
    beside = linear or kernel or bool(folds and units)
    chosen, start = named_protocol(protocol or ("residual" if beside else "quick"), len(units), epochs)
    usual_rate = 0.0 if kernel else 0.1 if beside else 1.0  # 1 where there is no path
    shape, note_field = read_shape(folds[0] if folds else prepared), _text(note)
    config = NetworkConfig(
        shape.landmarks, shape.targets, units, activation, taaf if units else "none",
        dropout=dropout if units else 0, init=init or start, linear=beside,
        linear_rank=linear_rank, linear_rate=usual_rate if linear_rate is None else linear_rate,
        kernel=1 if kernel else None,  # training sets the number of its profiles
        matmul_precision="default" if units else "highest",
    )  # fmt: skip
    used_devices = parallel.devices(devices)
    digests = [sha256_of(path) for path in folds or [prepared]]
    digest = hashlib.sha256("".join(digests).encode()).hexdigest() if folds else digests[0]
    data = {"file": f"{len(folds)} folds of studies" if folds else prepared.name, "sha256": digest}
    need_same("the prepared data", data)
    output, run = workplaces(output, output.with_name(f"{output.name}.training"))

    def on_ridge(scores: Scores) -> None:
        for name, means in scores.items():
            console.say(f"{name}: validation z-score MAE {means['zscore_mae']:.4f}")

    with console.progress("{task.fields[status]}") as bar:
        task = bar.add_task("training", total=chosen.epochs if units else None, status="")

        def on_epoch(stage: str, row: Epoch) -> None:
            validated = "" if np.isnan(row.validation_mae) else f"  validation {row.validation_mae:.4f}"
            status = f"train {row.train_loss:.4f}{validated}"
            bar.update(task, description=stage, completed=row.epoch, status=status)

        def on_fold(number: int, fold: OutOfFold) -> None:
            errors = (np.nanmean(np.abs(values - fold.target)) for values in (fold.inferred, fold.ridge))
            console.say(
                "fold {}: z-score MAE of the studies left out {:.4f}, ridge regression {:.4f}".format(number, *errors)
            )

        if folds:
            model = cross_fit(
                folds, data, config, chosen, seed, used_devices, run, resume=resume, on_epoch=on_epoch, on_fold=on_fold
            )
        else:
            dataset = read_dataset(prepared)
            for warning in dataset.warnings():
                console.warn(f"{prepared}: {warning}")
            model = train_model(
                dataset, data, config, chosen, seed, used_devices, run, resume=resume, on_epoch=on_epoch,
                on_ridge=on_ridge,
            )  # fmt: skip
    if half:
        model = replace(model, params=jax.tree.map(rounded_to_half, model.params))
    save_model(output, replace(model, provenance=model.provenance | note_field))
    if units or folds:  # ridge regression on a single file has no run
        _remove_run(run)
    print_scores(model.provenance["scores"])
    best = f"best epoch {model.provenance['best_epoch']} of {chosen.epochs}"
    what = best if units else f"ridge regression, penalty {model.provenance['penalty']:g}"
    console.say(f"{output}: {what}; `dgex info {output}` has its card")


def _units(text: str) -> tuple[int, ...]:
    """Parses the units of the hidden layers, such as 3000,3000, or none."""
    if text == "none":
        return ()
    try:
        return tuple(int(units) for units in text.split(","))
    except ValueError as error:
        raise DgexError(f"--hidden {text[:40]!r}: give whole numbers, such as 3000,3000,3000, or none") from error


def _text(note: Path | None) -> dict[str, str]:
    """Reads the note for a model card, as a field of the provenance; without a note there is no field."""
    try:
        return {"note": read_small(note).decode().strip()} if note else {}
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DgexError(f"{note}: cannot be read as a note ({reason})") from error


def _remove_run(run: Path) -> None:
    """Removes the files of a training from its run directory, last the one that identifies the run; others stay."""
    for part in (run / "refit", run / "choose"):
        if part.is_dir():
            _remove_run(part)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    for name in ("log.csv", "lock", "lease", "fit.json"):
        (run / name).unlink(missing_ok=True)
    if (run / "cross-fit.json").exists():
        for part in (*run.glob("fold-*"), run / "all"):
            _remove_run(part)
        for predictions in run.glob("out-of-fold-*.npz"):
            predictions.unlink()
        for name in ("penalties.json", "cross-fit.json"):
            (run / name).unlink(missing_ok=True)
    with suppress(OSError):  # the directory is not empty, or is a link
        run.rmdir()
