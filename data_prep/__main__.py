"""``python -m data_prep``: prepare a data set, or simulate a source to prepare."""

import os
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from data_prep import pipeline
from data_prep.blocks import Resources, Work
from data_prep.duplicates import Rule
from data_prep.geo import COMPENDIUM, GENE_TABLES, SERIES, gene_tables
from data_prep.geo import geo as fetch
from data_prep.inspection import inspect as look_into
from data_prep.page import write_page
from data_prep.pipeline import Settings, prepare_onto
from data_prep.simulate import SCALES, SMALLEST_STUDY, ScaleName
from data_prep.simulate import simulate as draw
from data_prep.split import FRACTIONS, Fractions, Split
from data_prep.steps import Steps
from dgex.atomic import check_writable
from dgex.console import command_line, run
from dgex.errors import DgexError
from dgex.formats.gctx import write_gctx
from dgex.formats.matrix import Block
from dgex.genes import gene_table_paths, write_gene_table

app = command_line("From public expression data to one prepared HDF5 file.")


Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="GCTX, GCT, GEO series matrix, ... (see the README), .gz or not.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The prepared file to write.")],
    genes: Annotated[
        Path | None, typer.Option(help="Folder of the gene tables map_lm.txt and map_tg.txt; not with --onto.")
    ] = None,
    onto: Annotated[
        Path | None,
        typer.Option(
            help="Map the profiles onto this prepared file's genes, quantiles and scaler, all as test samples."
        ),
    ] = None,
    split: Annotated[Split, typer.Option(help="Divide by whole studies, or sample by sample.")] = "study",
    fractions: Annotated[Fractions, typer.Option(help="Shares of training, validation and test.")] = FRACTIONS,
    duplicates: Annotated[
        Rule, typer.Option(help="Remove near-duplicates exactly, or by the rules of one of the originals.")
    ] = "exact",
    legacy: Annotated[
        bool, typer.Option("--legacy", help="Rank ties as the originals did, and fit on all samples, test included.")
    ] = False,
    seed: Seed = 0,
    memory: Annotated[float, typer.Option(min=0, help="GiB to use at most.")] = 2.0,
    workers: Annotated[int, typer.Option(min=1, help="Blocks of profiles to work on at once.")] = os.cpu_count() or 1,
) -> None:
    """Remove duplicates, average probe sets, split, normalise, and write one prepared file."""
    if (genes is None) == (onto is None):
        raise DgexError("give either --genes, to prepare a new data set, or --onto, to map profiles onto one")
    work = Work(Resources(memory, workers))
    # Without folders, so that the file tells nothing of the machine and is the same on any.
    command = ["python", "-m", "data_prep", "prepare", source.name, "-o", output.name, *["--legacy"] * legacy]
    if onto is not None:
        report = prepare_onto(onto, source, output, legacy, shlex.join([*command, "--onto", onto.name]), work)
    else:
        assert genes is not None
        settings = Settings(split, fractions, seed, duplicates, legacy)
        command += ["--genes", genes.resolve().name, "--split", split, "--fractions", *map(str, fractions)]
        command += ["--duplicates", duplicates, "--seed", str(seed)]
        report = pipeline.prepare(source, genes, output, settings, shlex.join(command), work)
    print(f"{report}\n\n{work.steps}")


@app.command()
def simulate(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for simulated.gctx, map_lm.txt, map_tg.txt.")],
    scale: Annotated[
        ScaleName, typer.Option(help="200 landmark and 1,000 target genes, or D-GEX's 943 and 9,520.")
    ] = "small",
    profiles: Annotated[
        int | None,
        typer.Option(min=SMALLEST_STUDY, help="2,000 if small, 129,158 if full (11 GiB), or another number."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Write a made-up compendium and its gene tables, of the form of the real ones."""
    source = output / "simulated.gctx"
    check_writable(source)
    expression, landmark, target = draw(SCALES[scale], profiles or SCALES[scale].profiles, seed)
    for path, genes in zip(gene_table_paths(output), (landmark, target), strict=True):
        write_gene_table(path, genes)
    samples, rows = expression.shape
    steps = Steps()
    with steps("simulating", samples) as advance:

        def counted(most: int) -> Iterator[Block]:
            for block in expression.blocks(most):
                yield block
                advance(len(block[2]))

        write_gctx(source, replace(expression, blocks=counted))
    copies = np.count_nonzero(expression.sample_metadata["copy_of"] != "")
    print(
        f"{source}: {samples} profiles of {rows} probe sets, {copies} of them near-duplicates; "
        f"{len(landmark)} landmark and {len(target)} target genes\n{steps}"
    )


@app.command()
def geo(
    output: Annotated[Path, typer.Option("-o", "--output", help="The GCTX file to write.")],
    genes: Annotated[Path, typer.Option(help="Folder of the gene tables map_lm.txt and map_tg.txt.")],
    accessions: Annotated[
        Path, typer.Argument(help="List of series, one a line: GSE994, or GSE14520 GPL571.", show_default="21 series")
    ] = COMPENDIUM,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder of series matrices, filled with what it lacks.", show_default="geo beside the output"
        ),
    ] = None,
    mirror: Annotated[str, typer.Option(help="Web address to download from.")] = SERIES,
) -> None:
    """Build a compendium from GEO series: download, check, bring to log2, and write one GCTX file."""
    series = fetch(accessions, genes, output, cache, mirror)
    print(*series, f"{output}: {sum(each.arrays for each in series)} arrays of {len(series)} series", sep="\n")


@app.command("genes")
def download_genes(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for map_lm.txt and map_tg.txt.")],
    mirror: Annotated[str, typer.Option(help="Web address to download from.")] = GENE_TABLES,
) -> None:
    """Download D-GEX's gene tables: 943 landmark and 9,520 target genes."""
    gene_tables(output, mirror)
    print(f"{output}: {' and '.join(path.name for path in gene_table_paths(output))}, as published")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="Expression table of any format that prepare reads, or prepared file.")],
    html: Annotated[Path | None, typer.Option(help="Also write a page with pictures here.")] = None,
) -> None:
    """Say what is in a file: ids, scale, gaps, studies, splits, and where it comes from."""
    if html is not None:
        check_writable(html)
    steps = Steps()
    inspection = look_into(file, steps)
    if html is not None:
        write_page(html, inspection, steps)
    print(f"{inspection}\n\n{steps}")


if __name__ == "__main__":
    run(app)
