"""Holds the command line ``python -m data_prep``, which turns public expression data into prepared HDF5 files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep import archs4, fetching, folds, gene_tables, geo, inspection
from data_prep.blocks import Resources, Work
from data_prep.choice import Choice
from data_prep.duplicates import Rule
from data_prep.options import (
    LARGEST_SEED,
    RESOURCES,
    Keep,
    Layer,
    MaxSize,
    Memory,
    MinRate,
    MinReads,
    Mirror,
    PerStudy,
    PlatformNames,
    Samples,
    Sources,
    TrainOnly,
    Workers,
)
from data_prep.pipeline import Settings
from data_prep.simulation_commands import simulate_command, simulate_dgex_command
from data_prep.split import Fold, Fractions, Split
from data_prep.steps import Steps
from dgex import console
from dgex.console import command_line, say
from dgex.data.genes import gene_table_paths
from dgex.errors import DgexError
from dgex.files.atomic import check_writable
from dgex.files.download import LIMITS, Limits
from dgex.files.optional import need

app = command_line("Turns public gene expression data into prepared HDF5 files, for training and testing networks.")


@app.command("genes")
def genes_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for map_lm.txt and map_tg.txt.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="Expression table, in any format that prepare reads, whose genes are written.",
            show_default="D-GEX's tables are downloaded",
        ),
    ] = None,
    landmarks: Annotated[
        str | None,
        typer.Option(metavar="l1000|FILE", help="With --from, D-GEX's 943 or a gene table.", show_default="l1000"),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(metavar="all|FILE", help="With --from, all other genes or a gene table.", show_default="all"),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="With --from, in which share of a study's profiles a gene is measured, averaged over the studies.",
            show_default=f"{gene_tables.SHARE:g}",
        ),
    ] = None,
    keep: Keep = None,
    layer: Layer = None,
    mirror: Mirror = None,
    min_rate: MinRate = LIMITS.rate,
    max_size: MaxSize = LIMITS.size,
) -> None:
    """Download D-GEX's gene tables, 943 landmark and 9,520 target genes; or make tables of the genes of a source."""
    options: dict[str, Any] = {"landmarks": landmarks, "targets": targets, "share": share, "keep": keep, "layer": layer}
    given = {name: value for name, value in options.items() if value is not None}
    if source is not None:
        say(gene_tables.make_gene_tables(source, output, **given))
        return
    if given:
        raise DgexError(f"--{next(iter(given))}: is for the genes of a source; give --from SOURCE")
    geo.gene_tables(output, mirror or geo.GENE_TABLES, Limits(min_rate, max_size))
    say(f"{output}: {' and '.join(path.name for path in gene_table_paths(output))}, as published")


@app.command("geo")
def geo_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="The GCTX file to write.")],
    accessions: Annotated[
        Path, typer.Argument(help="List of series, one a line: GSE994, or GSE14520 GPL571.", show_default="21 series")
    ] = geo.COMPENDIUM,
    genes: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the gene tables map_lm.txt and map_tg.txt; the probe sets that they name are kept.",
            show_default="D-GEX's, from the cache",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder for downloaded series matrices and gene tables; files that are in it are not downloaded.",
            show_default="geo beside the output",
        ),
    ] = None,
    mirror: Mirror = None,
    min_rate: MinRate = LIMITS.rate,
    max_size: MaxSize = LIMITS.size,
) -> None:
    """Build a compendium from GEO series: download, check, convert to log2, and write one GCTX file."""
    cache, limits = cache or output.parent / "geo", Limits(min_rate, max_size)
    if genes is None:
        check_writable(output)  # before anything is downloaded
        genes = cache
        if not all(table.exists() for table in gene_table_paths(genes)):
            geo.gene_tables(genes, mirror or geo.GENE_TABLES, limits)
    series = geo.geo(accessions, genes, output, cache, mirror or geo.SERIES, limits)
    total = f"{output}: {sum(each.arrays for each in series)} arrays of {len(series)} series"
    say("\n".join([*map(str, series), total]))


@app.command("archs4")
def archs4_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="The HDF5 file to write.")],
    release: Annotated[str, typer.Option(help="Version of ARCHS4, 2.2 or newer.")] = archs4.RELEASE,
    mirror: Mirror = None,
    min_rate: MinRate = LIMITS.rate,
    max_size: MaxSize = archs4.LARGEST,
) -> None:
    """Download ARCHS4's human gene counts, 45 GiB; run again, it goes on where it stopped."""
    say(archs4.archs4(output, release, mirror or archs4.FILES, Limits(min_rate, max_size)))


@app.command("fetch")
def fetch_command(
    files: Annotated[
        Path, typer.Argument(metavar="LIST", help="List of files: data_prep/dgex.toml, data_prep/authors_example.toml.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the files.")],
    mirror: Mirror = None,
    min_rate: MinRate = LIMITS.rate,
    max_size: MaxSize = fetching.LARGEST,
) -> None:
    """Download the files of a list, such as D-GEX's 12 GB; run again, it goes on where it stopped."""
    say(fetching.fetch(files, output, mirror, Limits(min_rate, max_size)))


@app.command("prepare")
def prepare_command(
    sources: Sources,
    output: Annotated[Path, typer.Option("-o", "--output", help="The prepared file to write.")],
    genes: Annotated[
        Path | None, typer.Option(help="Folder of the gene tables map_lm.txt and map_tg.txt; not with --onto.")
    ] = None,
    onto: Annotated[
        Path | None,
        typer.Option(
            help="Prepared file onto whose genes, quantiles and scaler the profiles are mapped; all of them become "
            "test samples."
        ),
    ] = None,
    split: Annotated[
        Split | None, typer.Option(help="Split by whole studies, or sample by sample.", show_default="study")
    ] = None,
    fractions: Annotated[
        Fractions | None,
        typer.Option(
            metavar="TRAIN VALIDATION TEST",
            help="Fractions of the samples, which sum to 1.",
            show_default="0.8 0.1 0.1",
        ),
    ] = None,
    fold: Annotated[
        Fold | None,
        typer.Option(
            metavar="K N",
            help="Leave studies out: the K-th of N folds of studies is the test split, the next one the validation "
            "split; instead of --split.",
            show_default=False,
        ),
    ] = None,
    duplicates: Annotated[
        Rule | None,
        typer.Option(
            help="Rule for removing near-duplicates: exact, or that of the TAAF or D-GEX paper.", show_default="exact"
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the random split.", show_default="0")
    ] = None,
    legacy: Annotated[
        bool,
        typer.Option(
            "--legacy",
            help="Normalise as the papers' own code did: tied values get their average rank rounded down (dense ranks "
            "for RNA-seq), 0.001 is added to SDs, and quantiles and scaler are fitted to all samples; with --onto, the "
            "scaler is fitted to the cohort.",
        ),
    ] = False,
    platforms: PlatformNames = None,
    train_only: TrainOnly = None,
    keep: Keep = None,
    samples: Samples = None,
    per_study: PerStudy = None,
    min_reads: MinReads = None,
    layer: Layer = None,
    memory: Memory = RESOURCES.memory,
    workers: Workers = RESOURCES.workers,
) -> None:
    """Write one prepared file: near-duplicates removed, averaged by gene, split, and quantile-normalised."""
    if (genes is None) == (onto is None):
        raise DgexError("give either --genes, to prepare a new data set, or --onto, to map profiles onto one")
    options: dict[str, Any] = {
        "split": split,
        "fractions": fractions,
        "fold": fold,
        "duplicates": duplicates,
        "seed": seed,
    }
    options |= {"platforms": tuple(platforms or ()) or None, "train_only": tuple(train_only or ()) or None}
    options = {name: value for name, value in options.items() if value is not None}
    work = Work(Resources(memory, workers))
    choice = _choice(keep, samples, per_study, min_reads, seed or 0)
    file: folds.SplitFile | folds.CohortFile
    if onto is not None:
        if options:
            name = next(iter(options)).replace("platforms", "platform").replace("_", "-")
            raise DgexError(f"--{name}: cannot be used with --onto; leave it out")
        if len(sources) > 1:
            raise DgexError("--onto: maps one source onto a data set; map the others one by one")
        file = folds.CohortFile(output, sources[0], onto, legacy, layer, choice)
    else:
        assert genes is not None
        if fold and (split or fractions):
            raise DgexError("--fold: splits by studies, into folds of one size; leave out --split and --fractions")
        settings = Settings(legacy=legacy, choice=choice, **options)
        file = folds.SplitFile(output, tuple(sources), genes, settings, layer)
    say(f"{file.write(work)}\n\n{work.steps}")


@app.command("folds")
def folds_command(
    sources: Sources,
    genes: Annotated[Path, typer.Option(help="Folder of the gene tables map_lm.txt and map_tg.txt.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the prepared files.")],
    number: Annotated[
        int, typer.Option("--folds", metavar="N", help="How many folds of studies, 3 or more.")
    ] = folds.FOLDS,
    cohorts: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Expression table to map onto each prepared file; may be given several times.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the random splits.")] = 0,
    platforms: PlatformNames = None,
    train_only: TrainOnly = None,
    keep: Keep = None,
    samples: Samples = None,
    per_study: PerStudy = None,
    min_reads: MinReads = None,
    layer: Layer = None,
    memory: Memory = RESOURCES.memory,
    workers: Workers = RESOURCES.workers,
) -> None:
    """Write all leave-studies-out folds, a split by sample, and cohorts mapped onto each of these prepared files.

    If it is stopped and started again, it keeps the files that are already complete.
    """
    resources = Resources(memory, workers)
    names = tuple(platforms or ()), tuple(train_only or ())
    all_cohorts = tuple(cohorts or ())
    choice = _choice(keep, samples, per_study, min_reads, seed)
    for written in folds.prepare_folds(
        sources, genes, output, number, all_cohorts, seed, resources, layer, *names, choice
    ):
        say(written)


def _choice(
    keep: str | None, samples: int | None, per_study: int | None, min_reads: int | None, seed: int
) -> Choice | None:
    """Makes the choice of samples of an ARCHS4 file from the options that are given; None if none is."""
    options: dict[str, Any] = {"keep": keep, "samples": samples, "per_study": per_study, "min_reads": min_reads}
    given = {name: value for name, value in options.items() if value is not None}
    return Choice(**given, seed=seed) if given else None


@app.command("panel")
def panel_command(
    prepared: Annotated[Path, typer.Argument(help="Prepared file, among all of whose genes the panel is chosen.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The gene table to write, for genes --landmarks.")],
    size: Annotated[int, typer.Option(min=1, help="How many genes the panel has.")],
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the random panel beside it.")] = 0,
) -> None:
    """Choose a panel of landmark genes from a prepared file, and estimate its error beside that of its landmarks."""
    from data_prep.panel import choose_panel  # imports JAX, which preparing does not need

    steps = Steps()
    say(f"{choose_panel(prepared, output, size, seed, steps).text}\n\n{steps}")


@app.command("inspect")
def inspect_command(
    file: Annotated[
        Path, typer.Argument(help="Expression table in any format that prepare reads, or a prepared file.")
    ],
    html: Annotated[Path | None, typer.Option(help="HTML page to write as well, with pictures.")] = None,
    layer: Layer = None,
) -> None:
    """Describe a file: ids, scale, missing values, studies, splits, and provenance."""
    if html is not None:
        need("matplotlib", "jinja2", extra="plots", what="--html")
        check_writable(html, file)
    steps = Steps()
    inspected = inspection.inspect(file, steps, layer)
    if html is not None:
        from data_prep.page import write_page  # imports matplotlib and jinja2, which inspecting does not need

        write_page(html, inspected, steps)
    say(f"{inspected}\n\n{steps}")


app.command("simulate")(simulate_command)
app.command("simulate-dgex")(simulate_dgex_command)


def main() -> None:
    """Runs the command ``dgex-prepare``, which is ``python -m data_prep``."""
    console.main(app)


if __name__ == "__main__":
    main()
