"""The errors of models over folds and seeds, gathered from the outcomes of their trials."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dgex.errors import DgexError
from dgex.metrics import GeneScores
from experiments.analysis.parts import joined
from experiments.analysis.statistics import Errors, PairedComparison, compare, correct
from experiments.trials.heldout import MEASURES, HeldOutErrors, gene_scores, is_test
from experiments.trials.models import ModelSpec
from experiments.trials.outcome import Outcome, read
from experiments.trials.sources import Source
from experiments.trials.trial import Trial


class Evidence:
    """Reads the outcomes of a study's trials, with a cache."""

    def __init__(self, folder: Path, sources: Iterable[Source]) -> None:
        """Takes the study's folder and the prepared files that its trials were run on."""
        self._folder = folder
        self._data = {source.name: source.identity for source in sources}
        self._read: dict[Path, Outcome] = {}

    def __call__(self, trial: Trial) -> Outcome:
        """Returns a trial's outcome; raises errors as ``experiments.trials.outcome.read`` does."""
        if trial.folder not in self._read:
            self._read[trial.folder] = read(trial, self._data[trial.source], self._folder)
        return self._read[trial.folder]

    @property
    def origins(self) -> Counter[str]:
        """Counts the outcomes read so far by the devices, JAX version and commit that they were made with."""
        return Counter(outcome.made for outcome in self._read.values())


@dataclass(frozen=True)
class Run:
    """Holds the outcomes of one model on several sources.

    Attributes:
      model: the model.
      sources: names of the prepared files.
      outcomes: outcomes ``[sources][seeds]``; a baseline has one seed.
    """

    model: ModelSpec
    sources: tuple[str, ...]
    outcomes: tuple[tuple[Outcome, ...], ...]

    def scored(self, held_out: str) -> bool:
        """Tells whether every source has samples of a held-out set."""
        return all(held_out in seeds[0].held_out_errors for seeds in self.outcomes)

    def held_out_errors(self, held_out: str) -> list[list[HeldOutErrors]]:
        """Returns the errors on a held-out set, ``[sources][seeds]``."""
        return [[outcome.held_out_errors[held_out] for outcome in seeds] for seeds in self.outcomes]

    @property
    def validation_mae(self) -> float:
        """Computes the mean validation z-score MAE over sources and seeds."""
        return float(np.mean([[outcome.validation_mae for outcome in seeds] for seeds in self.outcomes]))

    def per_gene(self, held_out: str) -> GeneScores:
        """Computes the scores of every gene: errors over all samples, means over seeds.

        The correlation is computed source by source and averaged over sources and seeds, since z-scores of different
        sources have different zeros.
        """
        by_source = self.held_out_errors(held_out)
        by_seed = [gene_scores(np.sum([each.sums for each in seed], axis=0)) for seed in zip(*by_source, strict=True)]
        pearson = [gene_scores(each.sums).pearson for seeds in by_source for each in seeds]
        mean = {name: np.mean([vars(each)[name] for each in by_seed], axis=0) for name in vars(by_seed[0])}
        return GeneScores(**{**mean, "pearson": np.mean(pearson, axis=0)})


def runs(evidence: Evidence, trials: Iterable[Trial]) -> dict[str, Run]:
    """Reads the trials' outcomes by name of the model, as ``Trial.variant`` names it.

    Args:
      evidence: reads outcomes.
      trials: the trials; every model must have the same sources and seeds. Those that differ in their targets alone
        are joined.
    """
    grouped: dict[str, dict[str, dict[int, list[tuple[int | None, Outcome]]]]] = {}
    models = {}
    for trial in trials:
        model = trial.variant
        models[model.name] = model
        by_seed = grouped.setdefault(model.name, {}).setdefault(trial.source, {})
        by_seed.setdefault(trial.seed, []).append((trial.targets, evidence(trial)))
    return {
        name: Run(
            models[name],
            tuple(by_source),
            tuple(tuple(joined(parts) for parts in by_seed.values()) for by_seed in by_source.values()),
        )
        for name, by_source in grouped.items()
    }


def errors(run: Run, held_out: str, measure: str = "z-score MAE") -> Errors:
    """Gathers a model's errors on a held-out set.

    The test splits of several sources are leave-studies-out folds, so their samples are joined. A cohort has the same
    samples for all sources, so its errors are averaged over them.

    Args:
      run: the model's outcomes.
      held_out: "test", ``test_on`` a platform, or the name of a cohort.
      measure: one of ``experiments.trials.heldout.MEASURES``.

    Raises:
      DgexError: a cohort is scored on different genes in different splits, or an error is not finite.
    """
    by_source = run.held_out_errors(held_out)
    first = by_source[0][0]
    if not is_test(held_out) and any((each.measured != first.measured).any() for seeds in by_source for each in seeds):
        raise DgexError(f"{held_out}: is scored on different genes in different splits; prepare all files again")
    row = MEASURES.index(measure)
    sample = [np.array([each.sample[row] for each in seeds]) for seeds in by_source]
    gene = [np.array([_gene_errors(each, measure) for each in seeds]) for seeds in by_source]
    study = [tuple(seeds[0].study.tolist()) for seeds in by_source]
    if not is_test(held_out) or len(by_source) == 1:
        means = np.mean(sample, axis=0), np.mean(gene, axis=0)
        return Errors(run.model.label, study[0], *means, run.model.seeded, measure)
    fold = tuple(source for source, studies in zip(run.sources, study, strict=True) for _ in studies)
    names = np.concatenate([np.unique(studies) for studies in study])
    all_genes = np.concatenate(gene, axis=1)[:, np.argsort(names)]
    all_studies = tuple(name for studies in study for name in studies)
    all_samples = np.concatenate(sample, axis=1)
    return Errors(run.model.label, all_studies, all_samples, all_genes, run.model.seeded, measure, fold)


def compare_all(
    runs: Mapping[str, Run], pairs: Sequence[tuple[str, str]], held_out: str = "test", measure: str = "z-score MAE"
) -> list[PairedComparison]:
    """Compares pairs of models (by name) on a held-out set, with p-values corrected for the number of pairs."""
    by_model: dict[str, Errors] = {}
    for name in {name for pair in pairs for name in pair}:
        by_model[name] = errors(runs[name], held_out, measure)
    return correct([compare(by_model[a], by_model[b]) for a, b in pairs])


def by_study(model_errors: Errors) -> dict[str, float]:
    """Averages the errors over every study's samples and the seeds."""
    sample, study = model_errors.sample.mean(0), np.asarray(model_errors.study)
    return {str(name): float(sample[study == name].mean()) for name in np.unique(study)}


def _gene_errors(errors: HeldOutErrors, measure: str) -> np.ndarray:
    """Converts the errors of genes to a measure, ``[studies, genes]``."""
    gene = errors.gene * errors.sd if measure.startswith("log2") else errors.gene
    return gene[:, ~errors.overlap] if measure.endswith("without overlap") else gene
