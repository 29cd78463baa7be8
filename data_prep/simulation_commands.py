"""The commands of data_prep that write simulated data."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from data_prep import simulate
from data_prep.options import LARGEST_SEED, RESOURCES
from data_prep.simulate_archs4 import simulate_archs4
from data_prep.simulate_dgex import simulate_dgex
from data_prep.steps import Steps
from dgex.console import say
from dgex.data.genes import gene_table_paths, read_gene_table, write_gene_table
from dgex.errors import DgexError
from dgex.files.atomic import check_writable, need_room
from dgex.formats.expression import Block
from dgex.formats.gctx import write_gctx


def simulate_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the tables and map_lm.txt, map_tg.txt.")],
    scale: Annotated[
        simulate.ScaleName,
        typer.Option(help="small: 200 landmark and 1,000 target genes; full: 943 and 9,520, as in D-GEX."),
    ] = "small",
    profiles: Annotated[
        int | None,
        typer.Option(
            min=simulate.SMALLEST_STUDY,
            help="How many profiles.",
            show_default="2,000 if small, 129,158 (11 GiB) if full",
        ),
    ] = None,
    counts: Annotated[
        int,
        typer.Option("--archs4", min=1, metavar="SAMPLES", help="How many samples simulated_archs4.h5 has."),
    ] = 400,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of all random numbers.")] = 0,
) -> None:
    """Write a simulated compendium and its gene tables, in the form of the real ones.

    Beside simulated.gctx, simulated_rnaseq.gctx has studies of a second platform, laboratory.gctx some whole profiles
    of a new laboratory, and simulated_archs4.h5 counts in the form of ARCHS4's file.
    """
    source, counted_source = output / "simulated.gctx", output / "simulated_archs4.h5"
    others = {
        output / "simulated_rnaseq.gctx": simulate.simulate_rna_seq,
        output / "laboratory.gctx": simulate.simulate_laboratory,
    }
    folder = check_writable(source)
    for path in (*others, counted_source):
        check_writable(path)
    size = simulate.SCALES[scale]
    need_room(folder, 4 * (profiles or size.profiles) * size.rows)
    expression, landmark, target = simulate.simulate(size, profiles or size.profiles, seed)
    tables = dict(zip(gene_table_paths(output), (landmark, target), strict=True))
    for path, genes in tables.items():
        if path.exists() and read_gene_table(path) != genes:
            raise DgexError(f"{path}: is a different gene table, which would be replaced; choose another folder")
    samples, rows = expression.shape
    steps = Steps()
    with steps("simulating", samples) as advance:

        def counted(most: int) -> Iterator[Block]:
            for block in expression.blocks(most):
                yield block
                advance(len(block[2]))

        write_gctx(source, replace(expression, blocks=counted))
    for path, simulate_table in others.items():
        write_gctx(path, simulate_table(size, seed))
    with steps("simulating counts", counts) as advance:
        simulate_archs4(counted_source, size, counts, seed, RESOURCES.workers, advance)
    for path, genes in tables.items():
        write_gene_table(path, genes)
    copies = np.count_nonzero(expression.sample_metadata["copy_of"] != "")
    say(
        f"{source}: {samples} profiles of {rows} probe sets, {copies} of them near-duplicates; "
        f"{len(landmark)} landmark and {len(target)} target genes\n"
        f"{' and '.join(map(str, others))}: profiles of RNA-seq studies, and of a new laboratory\n"
        f"{counted_source}: counts of {counts} samples\n\n{steps}"
    )


def simulate_dgex_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the files.")],
    scale: Annotated[
        simulate.ScaleName, typer.Option(help="small, or full: as large as D-GEX's files, 12 GB.")
    ] = "small",
    profiles: Annotated[
        int | None,
        typer.Option(
            min=simulate.SMALLEST_STUDY, help="How many arrays.", show_default="2,000 if small, 129,158 if full"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of all random numbers.")] = 0,
) -> None:
    """Write simulated files with the names and forms of D-GEX's, and their list, to try out fetching and more."""
    written = simulate_dgex(output, scale, profiles or simulate.SCALES[scale].profiles, seed)
    say("\n".join(map(str, written)))
