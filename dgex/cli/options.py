"""The options that commands share."""

from typing import Annotated, Literal

import typer

MODEL_HELP = "Model directory, hf://owner/name, or https://...tar.gz#sha256=HEX."
Model = Annotated[
    str | None, typer.Option("-m", "--model", help=MODEL_HELP, show_default="the one that comes with dgex")
]
InputScale = Annotated[
    Literal["auto", "log2", "linear", "zscore"], typer.Option(help="Of the input; auto tells log2 from linear.")
]
Layer = Annotated[str | None, typer.Option(help="Of an h5ad, the layer to take, or raw.", show_default="X")]
MaxMissing = Annotated[float, typer.Option(help="Share of the landmarks that a profile may lack.")]
Platform = Annotated[
    str, typer.Option(help="That measured the input, one of the model's; auto: the nearest, profile by profile.")
]
# Several processes that train together: ``dgex.processes``.
Coordinator = Annotated[
    str | None,
    typer.Option(help="HOST:PORT of process 0, to train in several processes; or auto, in a job that JAX knows."),
]
Processes = Annotated[int | None, typer.Option(min=1, help="How many processes train together.")]
Process = Annotated[int | None, typer.Option(min=0, help="Which of them this one is, counted from 0.")]
Devices = Annotated[int | None, typer.Option(min=1, help="How many devices to use.", show_default="all")]
