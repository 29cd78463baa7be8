"""Holds the options that several commands of ``python -m data_prep`` have in common, as types of their parameters."""

from pathlib import Path
from typing import Annotated

import typer

from data_prep.blocks import Resources
from data_prep.choice import Choice

Mirror = Annotated[str | None, typer.Option(help="Web address to download from.", show_default="where it is published")]
MinRate = Annotated[float, typer.Option(min=0, help="Slowest download in KiB/s; a slower connection is retried.")]
MaxSize = Annotated[float, typer.Option(min=0, help="Largest file to download, in GiB.")]
LARGEST_SEED = 2**32 - 1  # the largest seed that every random generator in use accepts

Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE...",
        help="Expression tables, one or several: GCTX, GCT, CSV, TSV, GEO series matrix, GEUVADIS table, h5ad, "
        "ARCHS4 or pandas HDF5, gzipped or not, or Parquet.",
    ),
]
PlatformNames = Annotated[
    list[str] | None,
    typer.Option(
        "--platform",
        metavar="NAME",
        help="Platform of a source, once a source and in their order; the first is the reference.",
        show_default="sample metadata platform, else array or rnaseq",
    ),
]
TrainOnly = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="Platform all of whose profiles are training samples; may be repeated.", show_default=False
    ),
]
Keep = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITIONS",
        help="Of an ARCHS4 file, the samples to keep: FIELD < VALUE, also <= > >= = != contains, joined by 'and'.",
        show_default="singlecellprobability < 0.5, also with conditions on other fields",
    ),
]
Samples = Annotated[
    int | None, typer.Option(min=1, help="Of an ARCHS4 file, how many samples to draw.", show_default="all")
]
PerStudy = Annotated[
    int | None,
    typer.Option(min=1, help="Of an ARCHS4 file, most samples of a study.", show_default=str(Choice.per_study)),
]
MinReads = Annotated[
    int | None,
    typer.Option(min=0, help="Of an ARCHS4 file, fewest reads of a sample.", show_default=f"{Choice.min_reads:,}"),
]
Layer = Annotated[
    str | None, typer.Option(help="Layer of an h5ad file to read, or raw for its raw matrix.", show_default="X")
]
Memory = Annotated[float, typer.Option(min=0.5, max=4096, help="Most memory to use, in GiB.")]
Workers = Annotated[int, typer.Option(min=1, help="Blocks of profiles to process at once.", show_default="all cores")]
RESOURCES = Resources()
