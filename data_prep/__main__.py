"""``python -m data_prep``: prepare a data set, or simulate a source to prepare."""

from pathlib import Path
from typing import Annotated

import typer

from data_prep import pipeline
from data_prep.simulate import simulate as draw
from data_prep.split import FRACTIONS, Fractions, Split
from dgex.console import command_line, run, stderr
from dgex.formats.gctx import write_gctx
from dgex.genes import gene_table_paths, write_gene_table

app = command_line("From public expression data to one prepared HDF5 file.")


Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="GCTX file of log2 values, rows named by probe set.")],
    genes: Annotated[Path, typer.Option(help="Folder of the gene tables map_lm.txt and map_tg.txt.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The prepared file to write.")],
    split: Annotated[Split, typer.Option(help="Divide by whole studies, or sample by sample.")] = "study",
    fractions: Annotated[Fractions, typer.Option(help="Shares of training, validation and test.")] = FRACTIONS,
    seed: Seed = 0,
) -> None:
    """Remove duplicates, average probe sets, split, normalise, and write one prepared file."""
    # Without folders, so that the file tells nothing of the machine and is the same on any.
    command = (
        f"python -m data_prep prepare {source.name} --genes {genes.resolve().name} --split {split} "
        f"--fractions {' '.join(map(str, fractions))} --seed {seed} -o {output.name}"
    )
    print(pipeline.prepare(source, genes, output, split, seed, command, fractions))


@app.command()
def simulate(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for simulated.gctx, map_lm.txt, map_tg.txt.")],
    seed: Seed = 0,
) -> None:
    """Write a made-up compendium and its gene tables, of the form of the real ones."""
    source = output / "simulated.gctx"
    pipeline.check_writable(source)
    with stderr.status("simulating"):
        expression, landmark, target = draw(seed=seed)
        write_gctx(source, expression)
        for path, genes in zip(gene_table_paths(output), (landmark, target), strict=True):
            write_gene_table(path, genes)
    samples, rows = expression.values.shape
    print(f"{source}: {samples} profiles of {rows} probe sets; {len(landmark)} landmark and {len(target)} target genes")


if __name__ == "__main__":
    run(app)
