"""Simulates the files that D-GEX was trained and tested on: the same names and forms, and their list for ``fetch``.

The arrays are those of ``simulate``, without studies, as D-GEX's file has none. RNA-seq profiles are ``sequence``'s, as
RPKM: GTEx's of many tissues, so of as many studies, and those of 1000 Genomes of one, corrected there for hidden
factors, so that values near zero can be negative. Rows beyond the tables' genes are hardly transcribed.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep.fetching import Listed, write_list
from data_prep.simulate import (
    DGEX,
    DGEX_PROFILE,
    DGEX_STUDY,
    ORIGIN,
    SCALES,
    ScaleName,
    biology_of,
    draw_study,
    rna_seq_offset,
    sequence,
    simulate,
)
from data_prep.steps import Steps
from dgex.data.genes import gene_table_paths, write_gene_table
from dgex.files.atomic import need_room, replacing
from dgex.formats.expression import Block, Expression
from dgex.formats.gctx import write_gctx
from dgex.formats.geuvadis import FIELDS

ARRAYS, GTEX, THOUSAND_GENOMES = (
    "bgedv2_QNORM.gctx",
    "GTEx_RNASeq_RPKM_n2921x55993.gctx",
    "GD462.GeneQuantRPKM.50FN.samplename.resk10.txt",
)
LIST = "files.toml"
SERVER = "http://127.0.0.1:8000"  # python -m http.server
# Profiles and rows of the RNA-seq files.
SIZES: dict[ScaleName, dict[str, tuple[int, int]]] = {
    "small": {GTEX: (60, 3000), THOUSAND_GENOMES: (40, 1400)},
    "full": {GTEX: (2921, 55993), THOUSAND_GENOMES: (462, 23722)},
}
TISSUES = 30
BACKGROUND_READS = 0.1
CORRECTION_SD = 0.01  # RPKM


def simulate_dgex(folder: Path, scale: ScaleName, profiles: int, seed: int) -> list[Path]:
    """Writes the files, and ``files.toml``, their list, whose addresses are those of a server on this machine.

    Args:
      folder: where the files go.
      scale: small, or full: as large as D-GEX's.
      profiles: how many arrays.
      seed: of all random numbers; equal ones give equal files.

    Raises:
      DgexError: the folder cannot be written to, or the disk has too little room.
    """
    size, steps = SCALES[scale], Steps()
    folder.mkdir(parents=True, exist_ok=True)
    need_room(folder, 4 * profiles * size.rows + sum(12 * n * rows for n, rows in SIZES[scale].values()))
    arrays, *tables = simulate(size, profiles, seed)
    shapes = {ARRAYS: arrays.shape, **SIZES[scale]}
    for path, genes in zip(gene_table_paths(folder), tables, strict=True):
        write_gene_table(path, genes)
    with steps("simulating", profiles + sum(number for number, _ in SIZES[scale].values())) as advance:

        def counted(table: Expression) -> Expression:
            def blocks(most: int) -> Iterator[Block]:
                for block in table.blocks(most):
                    yield block
                    advance(len(block[2]))

            origin = np.full(len(table.sample_id), ORIGIN)
            return replace(table, blocks=blocks, sample_metadata={"data_origin": origin})

        write_gctx(folder / ARRAYS, counted(arrays))
        write_gctx(folder / GTEX, counted(_rna_seq(scale, GTEX, seed, TISSUES)))
        _write_geuvadis(folder / THOUSAND_GENOMES, counted(_rna_seq(scale, THOUSAND_GENOMES, seed, 1)), seed)
    names = [*(path.name for path in gene_table_paths(folder)), *shapes]
    listed = [
        Listed(name, (f"{SERVER}/{name}",), (folder / name).stat().st_size / 1e9, shape=shapes.get(name))
        for name in names
    ]
    write_list(folder / LIST, listed)
    return [*(folder / name for name in names), folder / LIST]


def _rna_seq(scale: ScaleName, name: str, seed: int, studies: int) -> Expression:
    """Simulates RNA-seq profiles in RPKM, with versioned Ensembl ids; each source has studies of its own."""
    biology, genes = biology_of(SCALES[scale], seed)
    offset, source = rna_seq_offset(genes, seed), list(SIZES[scale]).index(name)
    samples, rows = SIZES[scale][name]
    random = np.random.default_rng([seed, DGEX, source])
    place = np.sort(random.permutation(rows)[:genes])
    length = np.exp(random.normal(7.5, 0.7, rows))  # bases, of transcripts
    row_id = np.array([f"ENSSIM{number:06d}.{1 + number % 9}" for number in range(genes, genes + rows)], dtype="U20")
    row_id[place] = [f"ENSSIM{number:06d}.{1 + number % 9}" for number in range(genes)]
    drawn = [
        draw_study(np.random.default_rng([seed, DGEX_STUDY, source, number]), biology) for number in range(studies)
    ]

    def profile(number: int) -> np.ndarray:
        own = np.random.default_rng([seed, DGEX_PROFILE, source, number])
        counts = own.poisson(BACKGROUND_READS, rows)
        counts[place] = sequence(own, biology, drawn[number % studies], offset)
        return (1e9 * counts / (counts.sum() * length)).astype(np.float32)

    def blocks(most: int) -> Iterator[Block]:
        step = max(1, most // rows)
        for first in range(0, samples, step):
            values = np.stack([profile(number) for number in range(first, min(first + step, samples))])
            yield slice(first, first + len(values)), slice(0, rows), values

    sample_id = tuple(f"{name[:2]}{number:05d}" for number in range(samples))
    return Expression(tuple(row_id.tolist()), sample_id, blocks, kind="simulated")


def _write_geuvadis(path: Path, table: Expression, seed: int) -> None:
    """Writes a GEUVADIS table."""
    values = table.load()
    values += np.random.default_rng([seed, DGEX]).normal(0, CORRECTION_SD, values.shape).astype(np.float32)
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        print(*FIELDS, *table.sample_id, sep="\t", file=file)
        for number, (row, numbers) in enumerate(zip(table.row_id, values.T.tolist(), strict=True)):
            print(row, row, 1 + number % 22, 1000 * number, *(f"{value:.6g}" for value in numbers), sep="\t", file=file)
