"""The command ``dgex predict``."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from dgex import console
from dgex.cli.options import Devices, InputScale, Layer, MaxMissing, Model, Platform


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
    report: Annotated[
        Path | None, typer.Option(help="Also write a page (.html) that shows how far to trust what is inferred.")
    ] = None,
    devices: Devices = None,
) -> None:
    """Infer whole expression profiles from landmark genes."""
    from dgex import parallel
    from dgex.formats.expression import Block
    from dgex.formats.opening import open_expression
    from dgex.formats.writing import check_output, write_expression
    from dgex.model.directory import load_model
    from dgex.model.prediction import Request, predict_table
    from dgex.reporting import check_report

    folder = check_output(output, table)
    if report is not None:
        check_report(report, table)
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
        unit = f": {prediction.unit}" * bool(prediction.unit)
        console.say(f"{table}: {expression.kind}, {prediction.match.report()}\n{how} as {prediction.scale}{unit}")
        whole = prediction.expression
        bar.update(task, description="profiles", total=len(whole.sample_id))

        def counted(rows: int) -> Iterator[Block]:
            for block in whole.blocks(rows):
                yield block
                bar.update(task, completed=block[0].stop)

        write_expression(output, replace(whole, blocks=counted))
        if report is not None:
            bar.update(task, description="report")
            from dgex.reporting.page import page_of

            page_of(loaded, prediction, expression.kind).save(report)
    console.say(f"{prediction.platform_report()}\n{prediction.check.text}")
    for warning in prediction.warnings():
        console.warn(warning)
    profiles, genes = whole.shape
    seconds = time.monotonic() - started
    if report is not None:
        console.say(f"{report}: the report")
    console.say(f"{output}: {profiles:,} profiles of {genes:,} genes, {output_scale}, in {seconds:.1f} s")
