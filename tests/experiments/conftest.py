"""A small prepared data set, and one comparison run on it for all tests that look at its outputs; a small study's
data, and outcomes made up for it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from data_prep import pipeline
from data_prep import simulate as simulation
from data_prep.folds import prepare_folds
from data_prep.simulate import Scale, simulate, simulate_rna_seq
from dgex.data.dataset import read_dataset
from dgex.data.genes import Genes, write_gene_table
from dgex.formats.expression import Expression, in_memory
from dgex.formats.gctx import write_gctx
from dgex.protocols import QUICK, RESIDUAL
from experiments import compare
from experiments.analysis import statistics
from experiments.trials.heldout import MEASURES, HeldOutErrors, test_on
from experiments.trials.loading import measured_in_all, random_subset
from experiments.trials.outcome import Outcome, identity, write
from experiments.trials.plan import Plan
from experiments.trials.sources import Sources, find_sources
from experiments.trials.trial import Trial

SCALE = Scale(15, 40, overlap=7, rows=150, profiles=150, profiles_per_study=18, duplicates=0.05)
FOLDS = 5

TINY = Plan(
    protocol=replace(QUICK, batch=32, epochs=2),
    residual=replace(RESIDUAL, batch=32, epochs=2),
    seeds=(0, 1, 2),
    folds=None,
    targets=20,
    ablation_by_study=True,
    profiles=(20, 40, 1000),
    studies=(2, 1000),
    widths=(30,),
)


def write_compendium(folder: Path) -> None:
    """A simulated compendium of eight studies, source.gctx, and its gene tables."""
    expression, landmark, target = simulate(SCALE, SCALE.profiles, seed=1)
    write_gctx(folder / "source.gctx", expression)
    write_gene_table(folder / "map_lm.txt", landmark)
    write_gene_table(folder / "map_tg.txt", target)


def cohort_of(target: Genes, landmark: Genes, studies: int = 6, unmeasured: Iterable[str] = ()) -> Expression:
    """RNA-seq counts of seven samples a study, of all genes but ``unmeasured``."""
    names = [name for name in dict.fromkeys((*landmark.ensembl, *target.ensembl)) if name not in set(unmeasured)]
    random = np.random.default_rng(5)
    values = random.gamma(2.0, 300.0, len(names)) * random.gamma(4.0, 0.25, (7 * studies, len(names)))
    study = np.repeat([f"COHORT{number}" for number in range(studies)], 7)
    samples = [f"RNA{number}" for number in range(len(values))]
    return in_memory(values.astype(np.float32), names, samples, sample_metadata={"study_id": study})


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_compendium(folder)
    pipeline.prepare(folder / "source.gctx", folder, folder / "prepared.h5", pipeline.Settings("sample"), "test")
    return folder / "prepared.h5"


@pytest.fixture(scope="session")
def compared(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of a comparison with 2 seeds, 3 epochs and event files, on one device."""
    output = tmp_path_factory.mktemp("compared")
    arguments = ["--data", prepared, "--seeds", 2, "--epochs", 3, "--devices", 1, "--tensorboard", "-o", output]
    compare.app([str(argument) for argument in arguments], standalone_mode=False)
    return output


@pytest.fixture(scope="session")
def study_data(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder of prepared files: five folds, the split by sample, and a cohort without two of the targets."""
    raw, folder = prepared.parent, tmp_path_factory.mktemp("study")
    dataset = read_dataset(prepared)
    only_targets = [name for name in dataset.target_genes.ensembl if name not in dataset.landmark_genes.ensembl]
    cohort = cohort_of(dataset.target_genes, dataset.landmark_genes, unmeasured=only_targets[:2])
    write_gctx(raw / "rna.gctx", cohort)
    list(prepare_folds(raw / "source.gctx", raw, folder, FOLDS, (raw / "rna.gctx",)))
    return folder


@pytest.fixture(scope="session")
def sources(study_data: Path) -> Sources:
    return find_sources(study_data)


@pytest.fixture(scope="session")
def two_platforms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder of prepared files: five folds and the split by sample of arrays and 48 RNA-seq profiles.

    The sources, source.gctx and rna.gctx, and the gene tables are in the folder that it is in.
    """
    raw = tmp_path_factory.mktemp("platforms")
    folder = raw / "study"
    write_compendium(raw)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(simulation, "RNA_SEQ_PROFILES", 6)
        write_gctx(raw / "rna.gctx", simulate_rna_seq(SCALE, seed=1))
    list(prepare_folds([raw / "source.gctx", raw / "rna.gctx"], raw, folder, FOLDS))
    return folder


@pytest.fixture(scope="module")
def few_draws() -> Iterator[None]:
    """For tests of many intervals that are about none of their ends."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(statistics, "resampled_means", partial(statistics.resampled_means, draws=500))
        yield


class Planted(Protocol):
    """What a made-up trial's samples have for z-score MAE: trial, held-out set, studies [samples] -> [samples]."""

    def __call__(self, trial: Trial, held: str, study: np.ndarray) -> Any: ...


@pytest.fixture(scope="session")
def tiny() -> Plan:
    """A study of two epochs; of its numbers of training profiles the last is more than there are."""
    return TINY


@pytest.fixture(scope="session")
def plant() -> Callable[[Path, Iterable[Trial], Sources, Planted], None]:
    return _plant


def _plant(folder: Path, trials: Iterable[Trial], sources: Sources, planted: Planted) -> None:
    """Writes an outcome for every trial, as if trained, with known errors, the same for every gene of a sample.

    The log2 error is half the z-score error; without overlap it is the same. Sums are those of targets alternating
    between 1 and -1 and predictions that lie beside them by the error.
    """
    held_out: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}  # by source and set: studies, measured targets
    for source in sources:
        sets = held_out[source.name] = {}
        for held, path in {"test": source.path, **source.cohorts}.items():
            dataset = read_dataset(path)
            study, platform = np.asarray(dataset.study)[dataset.split == 2], dataset.platform[dataset.split == 2]
            target = dataset.zscores("test")[1]
            sets[held] = study, measured_in_all(target, study) | (held == "test")
            names = dataset.platforms.name if held == "test" else ()
            for code in range(len(names) if len(names) > 1 else 0):
                sets[test_on(names[code])] = study[platform == code], np.full(target.shape[1], True)
    for trial in {trial.folder: trial for trial in trials}.values():
        source = next(source for source in sources if source.name == trial.source)
        scores = {}
        for held, (study, known) in held_out[source.name].items():
            measured = known[random_subset(len(known), trial.targets)]
            genes = int(measured.sum())
            overlap = np.arange(genes) < 2
            error = np.broadcast_to(np.asarray(planted(trial, held, study), np.float64), study.shape)
            names = np.unique(study)
            by_study = np.array([error[study == name].mean() for name in names])
            y = np.where(np.arange(len(study)) % 2, 1.0, -1.0)
            x = y + error
            sums = np.array(
                [len(y), error.sum(), (error**2).sum(), y.sum(), (y**2).sum(), x.sum(), (x**2).sum(), (x * y).sum()]
            )
            scores[held] = HeldOutErrors(
                study=study,
                sample=np.stack([error * (0.5 if "log2" in measure else 1.0) for measure in MEASURES]),
                gene=np.tile(by_study[:, None], genes).astype(np.float32),
                sums=np.tile(sums[:, None], genes),
                measured=measured,
                overlap=overlap,
                sd=np.full(genes, 0.5, np.float32),
            )
        network = trial.model.network
        error = float(scores["test"].sample[0].mean())
        hidden, outputs = ("H0_taaf", "H1_taaf"), ("outputs_taaf",)
        layers = {"hidden": hidden, "all": hidden + outputs}.get((network or {}).get("taaf"), ())
        outcome = Outcome(
            held_out_errors=scores,
            validation_mae=error,
            parameters=None if network is None else 1000,
            best_epoch=None if network is None else 2,
            chosen=None,
            output_reach=4.0 if trial.model.covered_fraction else None,
            curve=np.full((2, 0 if network is None else 2), error),
            taaf={f"{layer}/{name}": np.ones(3) for layer in layers for name in ("alpha", "beta", "gamma", "delta")},
            seconds=1.0,
            diverged=None,
            made="1 x abacus",
        )
        (folder / trial.folder).mkdir(parents=True)
        write(folder / trial.folder / "outcome.npz", outcome, identity(trial, source.identity))
