"""Simulates a file in the form of ARCHS4's: counts of genes in RNA-seq studies, bulk and single cells, as HDF5.

The genes of ``simulate``'s tables are expressed by the same programs and responses, with the offsets of its RNA-seq
platform; the remaining rows, as most of the real file's, are hardly transcribed. A bulk sample has about 20 million
reads, one in twenty a hundredth of that. Of one study in five the samples are single cells: fewer reads, of a tenth of
the genes each. One study in ten is listed under the series before it too, as parts of a GEO SuperSeries are.
"""

import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_prep.blocks import in_order
from data_prep.simulate import (
    ARCHS4,
    ARCHS4_PROFILE,
    ARCHS4_STUDY,
    ORIGIN,
    READS_PER_GENE,
    Scale,
    Study,
    biology_of,
    draw_study,
    rna_seq_offset,
    sequence,
)
from dgex.formats.archs4 import ENSEMBL, GENES, MATRIX, SAMPLES, SYMBOL, VERSION
from dgex.formats.hdf5 import create_hdf5, write_texts

LARGEST_STUDY = 200  # samples; sizes are uniform in their logarithm
READS = 2e7  # of a bulk sample
SHALLOW, SHALLOW_SHARE = 0.01, 0.05  # reads of few samples, of the others' number; their share
SINGLE_CELLS = 5  # one study in so many
EXPRESSED_IN_CELL = 0.1  # of the genes
TOGETHER = 10  # one study in so many is listed with another
BACKGROUND_READS = 0.3  # of a bulk sample in a gene that is hardly transcribed
CHUNK = 2000  # genes, of one sample: as in version 2.5


def simulate_archs4(
    path: Path, scale: Scale, samples: int, seed: int, workers: int, advance: Callable[[int], None] = lambda done: None
) -> None:
    """Writes a simulated file in the form of ``human_gene_v2.5.h5``, atomically.

    Sample fields are geo_accession, series_id, singlecellprobability, title, organism_ch1 and data_origin. Equal scale,
    samples and seed give equal values.

    Args:
      path: the file to write.
      scale: as given to ``simulate``; the file has its ``archs4_genes`` rows.
      samples: how many samples.
      seed: as given to ``simulate``.
      workers: samples to draw at once.
      advance: is called with the number of samples just written.

    Raises:
      DgexError: the folder cannot be written to, or the disk has too little room.
    """
    biology, genes = biology_of(scale, seed)
    offset, rows = rna_seq_offset(genes, seed), max(scale.archs4_genes, genes)
    random = np.random.default_rng([seed, ARCHS4])
    place = np.sort(random.permutation(rows)[:genes])  # the tables' genes are scattered over the rows
    sizes = np.exp(random.uniform(0, np.log(LARGEST_STUDY), samples)).astype(int)
    study = np.repeat(np.arange(samples), sizes)[:samples]
    is_cell = study % SINGLE_CELLS == 1
    shallow = random.random(samples) < SHALLOW_SHARE
    probability = np.where(is_cell, random.uniform(0.6, 1, samples), random.uniform(0, 0.4, samples))
    depth = READS / (READS_PER_GENE * genes) * np.where(shallow | is_cell, SHALLOW, 1)

    @lru_cache(maxsize=16)
    def study_of(number: int) -> Study:
        return draw_study(np.random.default_rng([seed, ARCHS4_STUDY, number]), biology)

    def draw(number: int) -> list[bytes]:
        """Draws a sample, and compresses its chunks, which HDF5 would do for one sample at a time."""
        own = np.random.default_rng([seed, ARCHS4_PROFILE, number])
        counts = own.poisson(BACKGROUND_READS * (SHALLOW if is_cell[number] else 1), rows)
        counts[place] = sequence(own, biology, study_of(study[number]), offset, depth[number])
        if is_cell[number]:
            counts[own.random(rows) > EXPRESSED_IN_CELL] = 0
        padded = np.zeros(-(-rows // CHUNK) * CHUNK, "<u4")
        padded[:rows] = counts
        return [zlib.compress(chunk.tobytes(), 4) for chunk in padded.reshape(-1, CHUNK)]

    with create_hdf5(path, samples * rows) as file:
        write_texts(file, f"{GENES}/{ENSEMBL[0]}", _names(rows, place, "ENSSIM{:06d}"))
        write_texts(file, f"{GENES}/{SYMBOL[0]}", _names(rows, place, "GENE{}"))
        file.create_dataset(VERSION, data="2.5, simulated")
        series = [
            f"GSE{number + 1}" + f",GSE{number}" * (number % TOGETHER == TOGETHER - 1) for number in study.tolist()
        ]
        for name, texts in {
            "geo_accession": [f"GSM{number + 1}" for number in range(samples)],
            "series_id": series,
            "title": [f"{'cell' if cell else 'bulk'} {number}" for number, cell in enumerate(is_cell.tolist())],
            "organism_ch1": ["Homo sapiens"] * samples,
            "data_origin": [ORIGIN] * samples,
        }.items():
            write_texts(file, f"{SAMPLES}/{name}", texts)
        file.create_dataset(f"{SAMPLES}/singlecellprobability", data=probability)
        matrix = file.create_dataset(
            MATRIX, (rows, samples), "<u4", chunks=(CHUNK, 1), maxshape=(rows, None), compression="gzip"
        )
        for number, chunks in enumerate(in_order(draw, range(samples), workers)):
            for position, chunk in enumerate(chunks):
                matrix.id.write_direct_chunk((position * CHUNK, number), chunk)
            advance(1)


def _names(rows: int, place: np.ndarray, pattern: str) -> list[str]:
    """Names the rows: the tables' genes by their numbers there, the others by numbers beyond a million."""
    number = np.arange(rows) + 10**6
    number[place] = np.arange(len(place))
    return [pattern.format(each) for each in number.tolist()]
