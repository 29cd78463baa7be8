"""Simulates a compendium in the form of the real one, at any size, for tests, demonstrations and the default run.

Beside the arrays of the compendium there are a second platform, RNA-seq, and a few whole profiles of a new laboratory.

The model follows what is known of such data. It was not adjusted to what any network learns from it, and results on it
say nothing about real data:

- Each profile has activities of 40 regulatory programs. Studies differ in their mean activities (tissues, diseases);
  profiles vary within a study.
- A gene responds to one to three programs, up or down. A response is a Hill function of the program's concentration
  exp(a), that is, a logistic function of its activity a: silent below a threshold, saturated above (Alon, *An
  Introduction to Systems Biology*, chapter 2). Responses add on the log2 scale, as independent factors multiply a
  transcription rate. A part of each gene's variation is independent of all programs.
- A study shifts and stretches each gene (batch effects act gene by gene: Leek et al., Nat Rev Genet 2010). Each study
  also has an overall level, and each profile a brightness, which quantile normalisation removes.
- A landmark has one probe set, a target one to six, in the proportions of D-GEX's table, each with its own affinity.
  47 % of the landmarks are targets as well, with other probe sets: D-GEX's tables have 445 such genes of 943. A quarter
  of the array's probe sets are in neither table; here each of them measures a gene of its own.
- The scanner reads background + signal * exp(proportional noise) + additive noise (Rocke and Durbin, J Comput Biol
  2001), so that on the log2 scale weak genes are noisier and level off at the background; strong ones saturate.
- One study's source lacks 1 % of the probe sets, as one of the real studies does.
- Some profiles are near-duplicates of another profile, as where a later study reuses arrays. They are less than 1.0
  away from it, the distance below which D-GEX counts two profiles as one. In the real data they are 18,149 of 129,158,
  so at full scale 14 %.
- The RNA-seq platform measures the genes of the tables in other studies, by the same programs and responses. Each gene
  lies above or below its level on arrays by an offset of its own, log2 with an SD of 1.5 (length, composition and the
  affinity of probes differ from gene to gene). A library has about 300 reads a gene, divided among the genes by
  expression; counts are Poisson (Marioni et al., Genome Res 2008), so that weak genes are often 0, and become
  log2(counts per million + 1).
- The new laboratory's arrays are those of one more study, in which each gene is shifted further, by an SD of 0.5 log2.

A profile's values are a function of the seed, of its number and of its study's number, each with a separate random
generator, so that they are the same to the bit whatever the blocks and threads. They may differ in the last bit between
kinds of processor, as numpy's exp and log do.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from data_prep.blocks import in_order
from dgex.data.genes import Genes
from dgex.formats.expression import Block, Expression, in_memory

PROGRAMS = 40
PROGRAMS_PER_GENE = 3
PROBES_PER_TARGET = (0.606, 0.231, 0.102, 0.04, 0.013, 0.008)  # probabilities of 1, 2, ... probe sets, 1.65 on average
SMALLEST_STUDY = 6  # profiles
BACKGROUND = 40.0  # scanner units: log2 5.3
SATURATION = 2.0**16 - 1  # of a 16-bit scanner
ADDITIVE_SD = 6.0  # scanner units
PROPORTIONAL_SD = 0.144  # log2: 10 %
MISSING_PROBES = 0.01
LONGEST_STEP = 0.9  # from a profile to its near-duplicate

RNA_SEQ_STUDIES, RNA_SEQ_PROFILES = 8, 20  # studies of RNA-seq, and the profiles of each
RNA_SEQ_OFFSET_SD = 1.5  # log2, of genes
READS_PER_GENE = 300
LABORATORY_PROFILES = 10
LABORATORY_SHIFT_SD = 0.5  # log2, of genes
ORIGIN = (
    "simulated by python -m data_prep simulate (genes respond to 40 regulatory programs; each study, laboratory and "
    "platform shifts every gene by its own amount; arrays have background and noise, RNA-seq has Poisson counts), so "
    "results say nothing about real data"
)

# The second word of a generator's seed: what it draws.
COMMON, STUDY, PROFILE, RNA_SEQ, RNA_SEQ_STUDY, RNA_SEQ_PROFILE, LABORATORY, LABORATORY_PROFILE = range(8)
ARCHS4, ARCHS4_STUDY, ARCHS4_PROFILE = range(8, 11)
DGEX, DGEX_STUDY, DGEX_PROFILE = range(11, 14)


@dataclass(frozen=True)
class Scale:
    """Holds the size of a compendium."""

    landmarks: int
    targets: int
    overlap: int  # genes that are both
    rows: int  # probe sets, including those of neither table
    profiles: int  # unless the caller gives another number
    profiles_per_study: int  # on average
    duplicates: float  # share of profiles that repeat another one, at most half
    archs4_genes: int = 3000  # of the file in ARCHS4's form


SMALL = Scale(200, 1000, overlap=94, rows=2470, profiles=2000, profiles_per_study=100, duplicates=0.05)
FULL = Scale(
    943, 9520, overlap=445, rows=22268, profiles=129158, profiles_per_study=50, duplicates=0.14, archs4_genes=67186
)

ScaleName = Literal["small", "full"]
SCALES: dict[ScaleName, Scale] = {"small": SMALL, "full": FULL}


class Biology(NamedTuple):
    """Holds the parameters shared by all profiles. A response that a gene does not have has an amplitude of 0."""

    program: np.ndarray  # int [responses, genes]
    threshold: np.ndarray  # f4 [responses, genes]
    steepness: np.ndarray  # f4 [responses, genes]; the Hill coefficient
    amplitude: np.ndarray  # f4 [responses, genes], log2
    baseline: np.ndarray  # f4 [genes], log2
    gene: np.ndarray  # int [rows]; the gene that a probe set measures
    affinity: np.ndarray  # f4 [rows], log2


class Study(NamedTuple):
    """Holds the parameters shared by a study's profiles, float32."""

    activity: np.ndarray  # [programs]
    shift: np.ndarray  # [genes], log2
    stretch: np.ndarray  # [genes], a factor


def simulate(scale: Scale, profiles: int, seed: int) -> tuple[Expression, Genes, Genes]:
    """Simulates expression profiles of a compendium, with its gene tables.

    Args:
      scale: numbers of genes and rows, and the average size of a study.
      profiles: how many profiles, at least ``SMALLEST_STUDY``.
      seed: of all random numbers.

    Returns:
      The expression table (log2; its blocks are whole profiles, drawn when they are read), landmark and target genes.
      Sample metadata are ``study_id`` and ``copy_of``: the sample that a near-duplicate repeats, "" for all others.
    """
    random = np.random.default_rng([seed, COMMON])
    row_id = _row_ids(scale)
    landmark, target, gene = _draw_tables(random, scale, row_id)
    biology = _draw_biology(random, gene)
    absent = random.random(scale.rows) < MISSING_PROBES
    studies = max(1, profiles // scale.profiles_per_study)
    study = _draw_studies(random, profiles, studies)
    lacking = random.integers(studies)
    original = _draw_originals(random, profiles, round(scale.duplicates * profiles))

    @lru_cache(maxsize=16)  # a study's profiles are consecutive, so that few studies are in use at a time
    def study_of(number: int) -> Study:
        return draw_study(np.random.default_rng([seed, STUDY, number]), biology)

    def measure(number: int) -> np.ndarray:
        source = original[number]
        values = _measure(np.random.default_rng([seed, PROFILE, source]), biology, study_of(study[source]))
        if source != number:
            values += _draw_step(np.random.default_rng([seed, PROFILE, number]), scale.rows)
        if study[number] == lacking:
            values[absent] = np.nan
        return values

    def blocks(most: int) -> Iterator[Block]:
        size = max(1, most // scale.rows)
        measured = in_order(measure, range(profiles), os.cpu_count() or 1)
        for first in range(0, profiles, size):
            values = np.stack(list(itertools.islice(measured, size)))
            yield slice(first, first + len(values)), slice(0, scale.rows), values

    sample_id = np.array([f"SIM{number:06d}" for number in range(profiles)])
    expression = Expression(
        row_id,
        tuple(sample_id.tolist()),
        blocks,
        sample_metadata={
            "study_id": np.array([f"STUDY{number:04d}" for number in study]),
            "copy_of": np.where(original == np.arange(profiles), "", sample_id[original]),
        },
        kind="simulated",
    )
    return expression, landmark, target


def simulate_rna_seq(scale: Scale, seed: int) -> Expression:
    """Simulates RNA-seq studies of the genes of ``simulate``'s tables.

    Args:
      scale: as given to ``simulate``.
      seed: as given to ``simulate``.

    Returns:
      The expression table, log2(counts per million + 1), its rows named by Ensembl ids. Sample metadata are
      ``study_id`` and ``data_origin``.
    """
    biology, genes = biology_of(scale, seed)
    offset = rna_seq_offset(genes, seed)
    study = np.repeat(np.arange(RNA_SEQ_STUDIES), RNA_SEQ_PROFILES)
    studies = [
        draw_study(np.random.default_rng([seed, RNA_SEQ_STUDY, number]), biology) for number in range(RNA_SEQ_STUDIES)
    ]
    counts = [
        sequence(np.random.default_rng([seed, RNA_SEQ_PROFILE, number]), biology, studies[code], offset)
        for number, code in enumerate(study)
    ]
    values = [np.log2(1e6 * profile / profile.sum() + 1).astype(np.float32) for profile in counts]
    row_id = [f"ENSSIM{number:06d}" for number in range(genes)]
    return _table(values, row_id, "SIMRNA", [f"RNASTUDY{code:04d}" for code in study])


def simulate_laboratory(scale: Scale, seed: int) -> Expression:
    """Simulates whole array profiles of a laboratory that is not in ``simulate``'s compendium.

    Args:
      scale: as given to ``simulate``.
      seed: as given to ``simulate``.

    Returns:
      The expression table, log2, with the rows of ``simulate``'s. Sample metadata are ``study_id`` and ``data_origin``.
    """
    biology, _ = biology_of(scale, seed)
    random = np.random.default_rng([seed, LABORATORY])
    study = draw_study(random, biology)
    further = LABORATORY_SHIFT_SD * random.standard_normal(len(study.shift), np.float32)
    study = study._replace(shift=study.shift + further)
    values = [
        _measure(np.random.default_rng([seed, LABORATORY_PROFILE, number]), biology, study)
        for number in range(LABORATORY_PROFILES)
    ]
    return _table(values, _row_ids(scale), "SIMLAB", ["LABORATORY"] * LABORATORY_PROFILES)


def _table(values: list[np.ndarray], row_id: Sequence[str], prefix: str, study: list[str]) -> Expression:
    """Makes a table of profiles, whose samples are numbered after the prefix."""
    sample_id = [f"{prefix}{number:06d}" for number in range(len(values))]
    metadata = {"study_id": np.array(study), "data_origin": np.full(len(values), ORIGIN)}
    return in_memory(np.stack(values), row_id, sample_id, sample_metadata=metadata)


def _row_ids(scale: Scale) -> tuple[str, ...]:
    """Names the probe sets of the array."""
    return tuple(f"{row:06d}_at" for row in range(scale.rows))


def biology_of(scale: Scale, seed: int) -> tuple[Biology, int]:
    """Draws the parameters that ``simulate`` draws, and counts the tables' genes, which have the first numbers."""
    random = np.random.default_rng([seed, COMMON])
    *_, gene = _draw_tables(random, scale, _row_ids(scale))
    return _draw_biology(random, gene), scale.landmarks - scale.overlap + scale.targets


def _draw_tables(random: np.random.Generator, scale: Scale, row_id: tuple[str, ...]) -> tuple[Genes, Genes, np.ndarray]:
    """Draws the landmark and target genes, and for each row the number of the gene that it measures."""
    alone = scale.landmarks - scale.overlap
    genes = alone + scale.targets
    landmark_gene = np.arange(scale.landmarks)
    target_gene = random.permutation(np.arange(alone, genes))
    count = 1 + random.choice(len(PROBES_PER_TARGET), scale.targets, p=PROBES_PER_TARGET)
    in_tables = np.concatenate([landmark_gene, np.repeat(target_gene, count)])
    order = random.permutation(scale.rows)  # the tables' rows are scattered over the file
    gene = np.empty(scale.rows, int)
    gene[order] = np.concatenate([in_tables, np.arange(genes, genes + scale.rows - len(in_tables))])
    names = (row_id[row] for row in order)
    landmark, target = (
        Genes(
            ensembl=tuple(f"ENSSIM{number:06d}" for number in numbers),
            symbol=tuple(f"GENE{number}" for number in numbers),
            probes=tuple(",".join(itertools.islice(names, probes)) for probes in counts),
        )
        for numbers, counts in ((landmark_gene, np.ones(scale.landmarks, int)), (target_gene, count))
    )
    return landmark, target, gene


def _draw_biology(random: np.random.Generator, gene: np.ndarray) -> Biology:
    """Draws the responses of genes to programs, and the affinities of probe sets."""
    genes = gene.max() + 1
    responses = PROGRAMS_PER_GENE, genes
    # A second response is rarer than the first, a third rarer still.
    responds = random.random(responses) < 1 / np.arange(1, PROGRAMS_PER_GENE + 1)[:, None]
    amplitude = responds * random.choice([-1, 1], responses) * random.gamma(2.0, 0.8, responses)
    return Biology(
        program=random.integers(PROGRAMS, size=responses),
        threshold=random.normal(0, 1.0, responses).astype(np.float32),
        steepness=random.uniform(1, 4, responses).astype(np.float32),
        amplitude=amplitude.astype(np.float32),
        baseline=random.normal(8, 2, genes).clip(3, 13).astype(np.float32),
        gene=gene,
        affinity=random.normal(0, 0.8, len(gene)).astype(np.float32),
    )


def _draw_studies(random: np.random.Generator, profiles: int, studies: int) -> np.ndarray:
    """Draws each profile's study number, ascending; study sizes are Dirichlet, and at least ``SMALLEST_STUDY``."""
    sticks = random.dirichlet(np.ones(studies))
    sizes = SMALLEST_STUDY + random.multinomial(profiles - SMALLEST_STUDY * studies, sticks)
    return np.repeat(np.arange(studies), sizes)


def _draw_originals(random: np.random.Generator, profiles: int, copies: int) -> np.ndarray:
    """Draws for each profile the number of the one that it repeats, or its own number if it repeats none.

    A near-duplicate is not repeated itself, and no profile is repeated twice.
    """
    order = random.permutation(profiles)
    original = np.arange(profiles)
    original[order[:copies]] = order[copies : 2 * copies]
    return original


def draw_study(random: np.random.Generator, biology: Biology) -> Study:
    """Draws a study's mean activities and batch effects."""
    genes = len(biology.baseline)
    return Study(
        activity=random.standard_normal(PROGRAMS, np.float32),
        shift=0.3 * random.standard_normal(genes, np.float32) + random.normal(0, 0.8),
        stretch=np.exp(0.1 * random.standard_normal(genes, np.float32)),
    )


def _measure(random: np.random.Generator, biology: Biology, study: Study) -> np.ndarray:
    """Draws a profile of the study as the scanner reads it: float32 log2 [rows]."""
    rows = len(biology.gene)
    signal = _draw_signal(random, biology, study)
    noisy = signal[biology.gene] + biology.affinity + PROPORTIONAL_SD * random.standard_normal(rows, np.float32)
    intensity = BACKGROUND + np.exp2(noisy) + ADDITIVE_SD * random.standard_normal(rows, np.float32)
    return np.log2(intensity.clip(1, SATURATION))


def rna_seq_offset(genes: int, seed: int) -> np.ndarray:
    """Draws the offsets of genes on the RNA-seq platform: float32 log2 [genes]."""
    return RNA_SEQ_OFFSET_SD * np.random.default_rng([seed, RNA_SEQ]).standard_normal(genes, np.float32)


def sequence(
    random: np.random.Generator, biology: Biology, study: Study, offset: np.ndarray, depth: float = 1.0
) -> np.ndarray:
    """Draws a profile of the study as RNA-seq counts it: int [len(offset)], with ``depth`` times the usual reads."""
    expected = np.exp2(_draw_signal(random, biology, study)[: len(offset)] + offset, dtype=np.float64)
    reads = depth * READS_PER_GENE * len(offset) * np.exp2(random.normal(0, 0.5))
    return random.poisson(reads * expected / expected.sum())


def _draw_signal(random: np.random.Generator, biology: Biology, study: Study) -> np.ndarray:
    """Draws the expression of a profile of the study: float32 log2 [genes]."""
    activity = study.activity + 0.8 * random.standard_normal(PROGRAMS, np.float32)
    responses = biology.amplitude / (1 + np.exp(biology.steepness * (biology.threshold - activity[biology.program])))
    deviation = responses.sum(axis=0) + 0.25 * random.standard_normal(len(biology.baseline), np.float32)
    return biology.baseline + study.stretch * deviation + study.shift + random.normal(0, 0.2)


def _draw_step(random: np.random.Generator, rows: int) -> np.ndarray:
    """Draws a vector of uniform direction and of a length uniform below ``LONGEST_STEP``: float32 [rows]."""
    step = random.standard_normal(rows, np.float32)
    # np.linalg.norm is not used: BLAS divides a long sum among its threads, whose number would change the bits.
    return step * (random.uniform(0, LONGEST_STEP) / np.sqrt(np.square(step).sum()))
