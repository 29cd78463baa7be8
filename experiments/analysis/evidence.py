"""From a study's outcomes to errors that can be compared: over folds and seeds, for every held-out set and measure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dgex.errors import DgexError
from dgex.metrics import GeneScores
from experiments.analysis.statistics import Errors, PairedComparison, compare, correct
from experiments.trials.heldout import MEASURES, HeldOutErrors, gene_scores
from experiments.trials.models import ModelSpec
from experiments.trials.sources import Source
from experiments.trials.trial import Outcome, Trial, read


class Evidence:
    """The outcomes of a study's trials, each read once."""

    def __init__(self, folder: Path, sources: Iterable[Source]) -> None:
        """Takes the study's folder, and the prepared files that its trials were run on."""
        self._folder = folder
        self._data = {source.name: source.identity for source in sources}
        self._read: dict[Path, Outcome] = {}

    def __call__(self, trial: Trial) -> Outcome:
        """A trial's outcome; errors as ``experiments.trials.trial.read``."""
        if trial.folder not in self._read:
            self._read[trial.folder] = read(trial, self._data[trial.source], self._folder)
        return self._read[trial.folder]

    @property
    def made(self) -> Counter[str]:
        """On what the outcomes read so far were made, and how many so."""
        return Counter(outcome.made for outcome in self._read.values())


@dataclass(frozen=True)
class Run:
    """One model on several sources: outcomes ``[sources][seeds]``, of a baseline with one seed."""

    model: ModelSpec
    sources: tuple[str, ...]
    outcomes: tuple[tuple[Outcome, ...], ...]

    def held_out_errors(self, held_out: str) -> list[list[HeldOutErrors]]:
        """The scores on a held-out set, ``[sources][seeds]``."""
        return [[outcome.held_out_errors[held] for outcome in seeds] for seeds in self.outcomes]

    @property
    def validation_mae(self) -> float:
        """Mean over sources and seeds, z-scores."""
        return float(np.mean([[outcome.validation_mae for outcome in seeds] for seeds in self.outcomes]))

    def of_genes(self, held: str) -> GeneScores:
        """HeldOutErrors of every gene: errors over all samples, correlation within a source's, mean over sources and seeds.

        z-scores of different sources have different zeros, so their predictions are not correlated together.
        """
        scores = self.held_out_errors(held)
        by_seed = [gene_scores(np.sum([one.sums for one in seed], axis=0)) for seed in zip(*scores, strict=True)]
        apart = [gene_scores(one.sums).pearson for seeds in scores for one in seeds]
        mean = {name: np.mean([vars(one)[name] for one in by_seed], axis=0) for name in vars(by_seed[0])}
        return GeneScores(**{**mean, "pearson": np.mean(apart, axis=0)})


def runs(evidence: Evidence, trials: Iterable[Trial]) -> dict[str, Run]:
    """The trials' outcomes by name of the model; every model with the same sources and all seeds."""
    grouped: dict[str, dict[str, list[Outcome]]] = {}
    models = {}
    for trial in trials:
        models[trial.model.name] = trial.model
        grouped.setdefault(trial.model.name, {}).setdefault(trial.source, []).append(evidence(trial))
    return {
        name: Run(models[name], tuple(by_source), tuple(map(tuple, by_source.values())))
        for name, by_source in grouped.items()
    }


def errors(run: Run, held: str, measure: str = "z-score MAE") -> Errors:
    """A model's errors on a held-out set.

    The test splits of several sources are put side by side: they are folds. A cohort is the same samples for all
    sources, so its errors are averaged over them.

    Args:
      run: the model's outcomes.
      held: "test", or the name of a cohort.
      measure: one of ``experiments.trials.heldout.MEASURES``.
    """
    scores = run.held_out_errors(held)
    if held != "test" and any((one.measured != scores[0][0].measured).any() for seeds in scores for one in seeds):
        raise DgexError(f"{held}: is scored on other genes in one split than in another; prepare all files again")
    row = MEASURES.index(measure)
    sample = [np.array([one.sample[row] for one in seeds]) for seeds in scores]
    gene = [np.array([_genes(one, measure) for one in seeds]) for seeds in scores]
    study = [tuple(seeds[0].study.tolist()) for seeds in scores]
    if held != "test" or len(scores) == 1:
        means = np.mean(sample, axis=0), np.mean(gene, axis=0)
        return Errors(run.model.label, study[0], *means, run.model.seeded, measure)
    fold = tuple(name for name, of in zip(run.sources, study, strict=True) for _ in of)
    names = np.concatenate([np.unique(of) for of in study])
    joined = np.concatenate(gene, axis=1)[:, np.argsort(names)]
    of_sample = tuple(name for of in study for name in of)
    return Errors(run.model.label, of_sample, np.concatenate(sample, axis=1), joined, run.model.seeded, measure, fold)


def compare_all(
    runs: Mapping[str, Run], pairs: Sequence[tuple[str, str]], held: str = "test", measure: str = "z-score MAE"
) -> list[PairedComparison]:
    """Every pair of models (names) compared on a held-out set, p-values corrected for the number of pairs."""
    needed: dict[str, Errors] = {}
    for name in {name for pair in pairs for name in pair}:
        needed[name] = errors(runs[name], held, measure)
    return correct([compare(needed[a], needed[b]) for a, b in pairs])


def by_study(of: Errors) -> dict[str, float]:
    """The mean error on every study's samples, over seeds."""
    sample, study = of.sample.mean(0), np.asarray(of.study)
    return {str(name): float(sample[study == name].mean()) for name in np.unique(study)}


def _genes(scores: HeldOutErrors, measure: str) -> np.ndarray:
    gene = scores.gene * scores.sd if measure.startswith("log2") else scores.gene
    return gene[:, ~scores.overlap] if measure.endswith("without overlap") else gene
