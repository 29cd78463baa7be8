"""A made-up compendium of the same form as the real one, for tests, demonstrations and the default run.

It is fixed by what is known of such data, not by what any network makes of it, and stands in for no result:

- Each profile has activities of 40 regulatory programs. Studies differ in their mean activities (tissues, diseases);
  profiles vary within a study.
- A gene answers one to three programs, up or down. An answer is a Hill function of the program's concentration exp(a),
  that is, a logistic function of its activity a: silent below a threshold, saturated above (Alon, *An Introduction
  to Systems Biology*, chapter 2). Answers add on the log2 scale, as independent factors multiply a transcription rate.
  A part of each gene's variation is its own.
- A study shifts and stretches each gene (batch effects act gene by gene: Leek et al., Nat Rev Genet 2010) and has
  a level of its own, a profile a brightness of its own, which quantile normalisation takes away again.
- A landmark has one probe set, a target one to four, each with its own affinity. 47 % of the landmarks are targets as
  well, under other probe sets: D-GEX's tables have 445 such genes of 943.
- The scanner sees background + signal * exp(proportional noise) + additive noise (Rocke and Durbin, J Comput Biol
  2001), so that on the log2 scale weak genes are noisier, and flatten out at the background; strong ones saturate.
- One study's source lacks 1 % of the probe sets, as one of the real studies does.
- 5 % of the profiles are another one put in again, as by a later study that reuses arrays, less than 1.0 away: the
  distance below which D-GEX calls two profiles one.
"""

import itertools

import numpy as np

from dgex.formats.matrix import Expression
from dgex.genes import Genes

PROGRAMS = 40
PROGRAMS_PER_GENE = 3
OVERLAP = 445 / 943
PROBES_PER_TARGET = (0.6, 0.2, 0.13, 0.07)  # probabilities of 1, 2, 3, 4 probe sets; the real mean is 1.65
SMALLEST_STUDY = 6  # profiles
BACKGROUND = 40.0  # scanner units: log2 5.3
SATURATION = 2.0**16 - 1  # of a 16-bit scanner
ADDITIVE_SD = 6.0  # scanner units
PROPORTIONAL_SD = 0.1  # natural log
DUPLICATES = 0.05
MISSING_PROBES = 0.01


def simulate(
    profiles: int = 2000, landmarks: int = 200, targets: int = 1000, studies: int = 20, seed: int = 0
) -> tuple[Expression, Genes, Genes]:
    """Draws a compendium.

    Returns:
      The expression (log2 [profiles, probe sets], with ``study_id`` as sample metadata), landmark and target genes.
    """
    random = np.random.default_rng(seed)
    landmark, target, probe_gene = _genes(random, landmarks, targets)
    study = _studies(random, profiles, studies)
    expression = _expression(random, study, int(probe_gene.max()) + 1)
    values = _measure(random, expression[:, probe_gene]).astype(np.float32)
    _leave_out_probes(random, values, study)
    _repeat_profiles(random, values, study)
    return (
        Expression(
            values,
            row_id=tuple(",".join(landmark.probes + target.probes).split(",")),
            sample_id=tuple(f"SIM{sample:06d}" for sample in range(profiles)),
            sample_metadata={"study_id": np.array([f"STUDY{number:03d}" for number in study])},
        ),
        landmark,
        target,
    )


def _genes(random: np.random.Generator, landmarks: int, targets: int) -> tuple[Genes, Genes, np.ndarray]:
    """Landmark and target genes, and for each probe set, in the order of the tables, the number of its gene."""
    shared = min(round(OVERLAP * landmarks), targets)
    landmark_gene = np.arange(landmarks)
    target_gene = random.permutation(np.arange(landmarks - shared, landmarks - shared + targets))
    count = 1 + random.choice(len(PROBES_PER_TARGET), targets, p=PROBES_PER_TARGET)
    names = (f"{probe:06d}_at" for probe in itertools.count())
    tables = [
        Genes(
            ensembl=tuple(f"ENSSIM{gene:06d}" for gene in genes),
            symbol=tuple(f"GENE{gene}" for gene in genes),
            probes=tuple(",".join(itertools.islice(names, number)) for number in numbers),
        )
        for genes, numbers in ((landmark_gene, np.ones(landmarks, int)), (target_gene, count))
    ]
    return tables[0], tables[1], np.concatenate([landmark_gene, np.repeat(target_gene, count)])


def _studies(random: np.random.Generator, profiles: int, studies: int) -> np.ndarray:
    """Each profile's study number; sizes as uneven as a broken stick, but none tiny."""
    sticks = random.dirichlet(np.ones(studies))
    sizes = SMALLEST_STUDY + random.multinomial(profiles - SMALLEST_STUDY * studies, sticks)
    return np.repeat(np.arange(studies), sizes)


def _expression(random: np.random.Generator, study: np.ndarray, genes: int) -> np.ndarray:
    """The log2 signal [profiles, genes], batch effects included."""
    profiles, studies = len(study), study.max() + 1
    activity = random.normal(0, 1.0, (studies, PROGRAMS))[study] + random.normal(0, 0.8, (profiles, PROGRAMS))
    deviation = random.normal(0, 0.25, (profiles, genes))
    for answers in range(PROGRAMS_PER_GENE):
        program = random.integers(PROGRAMS, size=genes)
        threshold = random.normal(0, 1.0, genes)
        steepness = random.uniform(1, 4, genes)  # the Hill coefficient
        amplitude = random.choice([-1, 1], genes) * random.gamma(2.0, 0.8, genes)
        responds = random.random(genes) < 1 / (1 + answers)  # a second answer is rarer, a third rarer still
        deviation += responds * amplitude / (1 + np.exp(-steepness * (activity[:, program] - threshold)))
    baseline = random.normal(8, 2, genes).clip(3, 13)
    shift = random.normal(0, 0.3, (studies, genes)) + random.normal(0, 0.8, (studies, 1))
    stretch = np.exp(random.normal(0, 0.1, (studies, genes)))
    brightness = random.normal(0, 0.2, (profiles, 1))
    return baseline + stretch[study] * deviation + shift[study] + brightness


def _measure(random: np.random.Generator, signal: np.ndarray) -> np.ndarray:
    """What the scanner reads for log2 signals [profiles, probe sets], in log2."""
    affinity = random.normal(0, 0.8, signal.shape[1])
    proportional = np.exp(random.normal(0, PROPORTIONAL_SD, signal.shape))
    additive = random.normal(0, ADDITIVE_SD, signal.shape)
    intensity = BACKGROUND + 2 ** (signal + affinity) * proportional + additive
    return np.log2(intensity.clip(1, SATURATION))


def _leave_out_probes(random: np.random.Generator, values: np.ndarray, study: np.ndarray) -> None:
    probes = np.flatnonzero(random.random(values.shape[1]) < MISSING_PROBES)
    profiles = np.flatnonzero(study == random.integers(study.max() + 1))
    values[np.ix_(profiles, probes)] = np.nan


def _repeat_profiles(random: np.random.Generator, values: np.ndarray, study: np.ndarray) -> None:
    """Overwrites some profiles by copies of others, wherever they stand; a copy's distance is uniform below 0.9."""
    profiles, probes = values.shape
    order = random.permutation(profiles)
    number = round(DUPLICATES * profiles)
    copies, originals = order[:number], order[number : 2 * number]
    step = random.normal(size=(number, probes))
    step *= random.uniform(0, 0.9, (number, 1)) / np.linalg.norm(step, axis=1, keepdims=True)
    values[copies] = values[originals] + step
