"""A made-up compendium of the same form as the real one, at any size, for tests, demonstrations and the default run.

It is fixed by what is known of such data, not by what any network makes of it, and stands in for no result:

- Each profile has activities of 40 regulatory programs. Studies differ in their mean activities (tissues, diseases);
  profiles vary within a study.
- A gene answers one to three programs, up or down. An answer is a Hill function of the program's concentration exp(a),
  that is, a logistic function of its activity a: silent below a threshold, saturated above (Alon, *An Introduction
  to Systems Biology*, chapter 2). Answers add on the log2 scale, as independent factors multiply a transcription rate.
  A part of each gene's variation is its own.
- A study shifts and stretches each gene (batch effects act gene by gene: Leek et al., Nat Rev Genet 2010) and has
  a level of its own, a profile a brightness of its own, which quantile normalisation takes away again.
- A landmark has one probe set, a target one to six, in the shares of D-GEX's table, each with its own affinity. 47 % of
  the landmarks are targets as well, under other probe sets: D-GEX's tables have 445 such genes of 943. A quarter of the
  array's probe sets are in neither table; here each measures a gene of its own.
- The scanner sees background + signal * exp(proportional noise) + additive noise (Rocke and Durbin, J Comput Biol
  2001), so that on the log2 scale weak genes are noisier, and flatten out at the background; strong ones saturate.
- One study's source lacks 1 % of the probe sets, as one of the real studies does.
- Some profiles are another one put in again, as by a later study that reuses arrays, less than 1.0 away: the distance
  below which D-GEX calls two profiles one. In the real data these are 18,149 of 129,158, so at full scale 14 %.

A profile's values are a function of the seed, its own number and its study's, each with a random generator of its own,
so that neither blocks nor threads change a bit of them. They may differ in the last bit between kinds of processor, as
numpy's exp and log do.
"""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from data_prep.blocks import in_order
from dgex.data.genes import Genes
from dgex.formats.expression import Block, Expression

PROGRAMS = 40
PROGRAMS_PER_GENE = 3
PROBES_PER_TARGET = (0.606, 0.231, 0.102, 0.04, 0.013, 0.008)  # probabilities of 1, 2, ... probe sets, 1.65 on average
SMALLEST_STUDY = 6  # profiles
BACKGROUND = 40.0  # scanner units: log2 5.3
SATURATION = 2.0**16 - 1  # of a 16-bit scanner
ADDITIVE_SD = 6.0  # scanner units
PROPORTIONAL_SD = 0.144  # log2: 10 %
MISSING_PROBES = 0.01
LONGEST_STEP = 0.9  # from a profile to its copy

COMMON, STUDY, PROFILE = range(3)  # whose generator: the second word of its seed


@dataclass(frozen=True)
class Scale:
    """How large a compendium is."""

    landmarks: int
    targets: int
    overlap: int  # genes that are both
    rows: int  # probe sets, with those of neither table
    profiles: int  # unless another number is asked for
    profiles_per_study: int  # on average
    duplicates: float  # share of profiles that repeat another one, at most half


SMALL = Scale(200, 1000, overlap=94, rows=2470, profiles=2000, profiles_per_study=100, duplicates=0.05)
FULL = Scale(943, 9520, overlap=445, rows=22268, profiles=129158, profiles_per_study=50, duplicates=0.14)

ScaleName = Literal["small", "full"]
SCALES: dict[ScaleName, Scale] = {"small": SMALL, "full": FULL}


class _Biology(NamedTuple):
    """What all profiles have in common. An answer that a gene does not give has an amplitude of 0."""

    program: np.ndarray  # int [answers, genes]
    threshold: np.ndarray  # f4 [answers, genes]
    steepness: np.ndarray  # f4 [answers, genes]; the Hill coefficient
    amplitude: np.ndarray  # f4 [answers, genes], log2
    baseline: np.ndarray  # f4 [genes], log2
    gene: np.ndarray  # int [rows]; which one a probe set measures
    affinity: np.ndarray  # f4 [rows], log2


class _Study(NamedTuple):
    """What a study's profiles have in common, float32."""

    activity: np.ndarray  # [programs]
    shift: np.ndarray  # [genes], log2
    stretch: np.ndarray  # [genes], a factor


def simulate(scale: Scale, profiles: int, seed: int) -> tuple[Expression, Genes, Genes]:
    """Draws a compendium of ``profiles`` profiles, at least ``SMALLEST_STUDY``.

    Returns:
      The expression (log2; its blocks are whole profiles, drawn as they are asked for), landmark and target genes.
      Sample metadata are ``study_id`` and ``copy_of``: the sample that a near-duplicate repeats, "" for all others.
    """
    random = np.random.default_rng([seed, COMMON])
    row_id = tuple(f"{row:06d}_at" for row in range(scale.rows))
    landmark, target, gene = _draw_tables(random, scale, row_id)
    biology = _draw_biology(random, gene)
    absent = random.random(scale.rows) < MISSING_PROBES
    studies = max(1, profiles // scale.profiles_per_study)
    study = _draw_studies(random, profiles, studies)
    lacking = random.integers(studies)
    original = _draw_originals(random, profiles, round(scale.duplicates * profiles))

    @lru_cache(maxsize=16)  # a study's profiles follow one another
    def study_of(number: int) -> _Study:
        return _draw_study(np.random.default_rng([seed, STUDY, number]), biology)

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


def _draw_tables(random: np.random.Generator, scale: Scale, row_id: tuple[str, ...]) -> tuple[Genes, Genes, np.ndarray]:
    """Landmark and target genes, and for each row the number of the gene it measures."""
    alone = scale.landmarks - scale.overlap
    genes = alone + scale.targets
    landmark_gene = np.arange(scale.landmarks)
    target_gene = random.permutation(np.arange(alone, genes))
    count = 1 + random.choice(len(PROBES_PER_TARGET), scale.targets, p=PROBES_PER_TARGET)
    named = np.concatenate([landmark_gene, np.repeat(target_gene, count)])
    order = random.permutation(scale.rows)  # the tables' rows are scattered over the file
    gene = np.empty(scale.rows, int)
    gene[order] = np.concatenate([named, np.arange(genes, genes + scale.rows - len(named))])
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


def _draw_biology(random: np.random.Generator, gene: np.ndarray) -> _Biology:
    genes = gene.max() + 1
    answers = PROGRAMS_PER_GENE, genes
    # A second answer is rarer, a third rarer still.
    responds = random.random(answers) < 1 / np.arange(1, PROGRAMS_PER_GENE + 1)[:, None]
    amplitude = responds * random.choice([-1, 1], answers) * random.gamma(2.0, 0.8, answers)
    return _Biology(
        program=random.integers(PROGRAMS, size=answers),
        threshold=random.normal(0, 1.0, answers).astype(np.float32),
        steepness=random.uniform(1, 4, answers).astype(np.float32),
        amplitude=amplitude.astype(np.float32),
        baseline=random.normal(8, 2, genes).clip(3, 13).astype(np.float32),
        gene=gene,
        affinity=random.normal(0, 0.8, len(gene)).astype(np.float32),
    )


def _draw_studies(random: np.random.Generator, profiles: int, studies: int) -> np.ndarray:
    """Each profile's study number, ascending; sizes as uneven as a broken stick, but none tiny."""
    sticks = random.dirichlet(np.ones(studies))
    sizes = SMALLEST_STUDY + random.multinomial(profiles - SMALLEST_STUDY * studies, sticks)
    return np.repeat(np.arange(studies), sizes)


def _draw_originals(random: np.random.Generator, profiles: int, copies: int) -> np.ndarray:
    """For each profile the number of the one it repeats, its own if none; no copy is repeated, no original twice."""
    order = random.permutation(profiles)
    original = np.arange(profiles)
    original[order[:copies]] = order[copies : 2 * copies]
    return original


def _draw_study(random: np.random.Generator, biology: _Biology) -> _Study:
    genes = len(biology.baseline)
    return _Study(
        activity=random.standard_normal(PROGRAMS, np.float32),
        shift=0.3 * random.standard_normal(genes, np.float32) + random.normal(0, 0.8),
        stretch=np.exp(0.1 * random.standard_normal(genes, np.float32)),
    )


def _measure(random: np.random.Generator, biology: _Biology, study: _Study) -> np.ndarray:
    """What the scanner reads of a profile of the study: float32 log2 [rows]."""
    genes, rows = len(biology.baseline), len(biology.gene)
    activity = study.activity + 0.8 * random.standard_normal(PROGRAMS, np.float32)
    answers = biology.amplitude / (1 + np.exp(biology.steepness * (biology.threshold - activity[biology.program])))
    deviation = answers.sum(axis=0) + 0.25 * random.standard_normal(genes, np.float32)
    signal = biology.baseline + study.stretch * deviation + study.shift + random.normal(0, 0.2)
    noisy = signal[biology.gene] + biology.affinity + PROPORTIONAL_SD * random.standard_normal(rows, np.float32)
    intensity = BACKGROUND + np.exp2(noisy) + ADDITIVE_SD * random.standard_normal(rows, np.float32)
    return np.log2(intensity.clip(1, SATURATION))


def _draw_step(random: np.random.Generator, rows: int) -> np.ndarray:
    """A vector of uniform direction and of a length uniform below ``LONGEST_STEP``: float32 [rows]."""
    step = random.standard_normal(rows, np.float32)
    # Not np.linalg.norm: BLAS divides a long sum among its threads, and their number would change the bits.
    return step * (random.uniform(0, LONGEST_STEP) / np.sqrt(np.square(step).sum()))
