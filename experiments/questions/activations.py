"""Which activation is better, by how much, for which genes: tanh, sigmoid or TAAF; beside baselines.

    python -m experiments.study --only activations --data DIR -o results/study

Cost on the GEO compendium (seven folds and the split by sample, all targets): 120 networks of half a minute each on a
quiet core, an hour; the baselines two minutes. Expect on new studies a z-score MAE of 0.662 for ridge regression, 0.686
for tanh, 0.717 for sigmoid and TAAF (0.718 with the output layer, started wide); on new samples 0.424 to 0.427 for all
of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dgex.data.dataset import read_reference
from experiments.analysis.evidence import Evidence, Run, runs
from experiments.report.comparison import comparison_section
from experiments.report.figures import gene_errors, study_errors, taaf_parameters
from experiments.report.sections import Section
from experiments.report.tables import gene_table
from experiments.trials.loading import random_subset
from experiments.trials.models import ModelSpec
from experiments.trials.plan import Plan
from experiments.trials.sources import Source, Sources
from experiments.trials.trial import Trial

# Of the original's example.
SIZE: Mapping[str, Any] = {"hidden": (300, 300), "dropout": 0.25}

BASELINE_MODELS = (
    ModelSpec("mean", "mean predictor"),
    ModelSpec("nearest_samples", "nearest samples"),
    ModelSpec("nearest_genes", "nearest genes (KNN-GE)"),
    ModelSpec("least_squares", "linear regression"),
    ModelSpec("ridge", "ridge regression"),
)
NETWORK_MODELS = (
    ModelSpec("tanh", "tanh", {**SIZE, "activation": "tanh"}),
    ModelSpec("sigmoid", "sigmoid", {**SIZE, "activation": "sigmoid"}),
    ModelSpec("taaf", "TAAF", {**SIZE, "activation": "sigmoid", "taaf": "hidden"}),
    ModelSpec("taaf_output", "TAAF, output too", {**SIZE, "activation": "sigmoid", "taaf": "all"}),
    ModelSpec(
        "taaf_output_wide", "TAAF, output too, wide start", {**SIZE, "activation": "sigmoid", "taaf": "all"}, 0.999
    ),
)


def trials(sources: Sources, plan: Plan) -> list[Trial]:
    """Every model on every split."""
    return [
        Trial(source.name, model, plan.protocol if model.seeded else None, seed, plan.targets)
        for source in sources
        for model in (*BASELINE_MODELS, *NETWORK_MODELS)
        for seed in (plan.seeds if model.seeded else (0,))
    ]


# None is chosen by its outcome.
PAIRS = (
    ("sigmoid", "tanh"),
    ("taaf", "sigmoid"),
    ("taaf", "tanh"),
    ("taaf_output", "taaf"),
    ("taaf_output_wide", "taaf"),
    ("taaf_output_wide", "tanh"),
    ("tanh", "ridge"),
    ("taaf_output_wide", "ridge"),
)
SHOWN = (("taaf", "tanh"), ("taaf", "sigmoid"), ("taaf_output_wide", "taaf"), ("tanh", "ridge"))
CAVEATS = (
    "The unit of replication is the study, and where studies were left out fold by fold the fold; genes of one sample "
    "are correlated and are described only. Shares of genes are no evidence by themselves.",
    "All folds' networks share most of their training data: another compendium could say otherwise, and no interval "
    "here covers that.",
    "Optimiser, rate and epochs were chosen on validation errors of tanh and sigmoid networks on the GEO compendium; "
    "where the best epoch is at the end, longer training might lower the error.",
    "Studies of one laboratory can be in two folds: studies are left out, not projects. In some folds a single study "
    "is tested on, or chooses the epoch.",
    "What a test study did not measure is not scored. Of what a training study did not measure networks learn nothing, "
    "and linear baselines take it for the training mean.",
    "The networks are small (two hidden layers of 300) and the compendium is too; the papers trained on 88,807 arrays.",
)


def sections(evidence: Evidence, sources: Sources, plan: Plan) -> list[Section]:
    """A section on new studies, and one on new samples of known studies, the papers' split."""
    asked = trials(sources, plan)
    new_studies = runs(evidence, (trial for trial in asked if trial.source in {fold.name for fold in sources.folds}))
    found = [
        _section(
            "new-studies",
            "Which activation infers the genes of a new study best: tanh, sigmoid or TAAF?",
            "Studies left out",
            new_studies,
            sources.folds,
            plan,
        )
    ]
    if sources.by_sample:
        known = runs(evidence, (trial for trial in asked if trial.source == sources.by_sample.name))
        found.append(
            _section(
                "new-samples",
                "And for new samples of studies that were trained on, the papers' split?",
                "Split by sample",
                known,
                (sources.by_sample,),
                plan,
            )
        )
    return found


def _section(
    name: str, question: str, split: str, by_model: dict[str, Run], sources: Sequence[Source], plan: Plan
) -> Section:
    reference = read_reference(sources[0].path)
    columns = random_subset(len(reference.target_genes), plan.targets)
    shown = [by_model[model] for model in ("ridge", "tanh", "sigmoid", "taaf", "taaf_output_wide")]
    return comparison_section(
        name,
        question,
        by_model,
        PAIRS,
        SHOWN,
        CAVEATS,
        data=f"{split}: ",
        tables=[gene_table(f"{name}-genes", by_model, reference, columns, "taaf", "sigmoid")],
        figures=[
            study_errors(
                f"{name}-studies", shown, "test",
                "Every test study's z-score MAE, mean over its samples, all genes and seeds",
            ),
            gene_errors(f"{name}-genes", by_model["taaf"], by_model["sigmoid"]),
            taaf_parameters(f"{name}-taaf", by_model["taaf"]),
        ],
    )  # fmt: skip
