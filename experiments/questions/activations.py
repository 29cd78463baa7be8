"""Which activation is better, by how much, for which genes: tanh, sigmoid or TAAF; beside baselines.

    python -m experiments.study --only activations --data DIR -o results/study

Cost on the GEO compendium (seven folds and the split by sample, all targets): 120 networks of half a minute each on a
quiet core, an hour; the baselines two minutes. Expect on new studies a z-score MAE of 0.662 for ridge regression, 0.686
for tanh, 0.717 for sigmoid and TAAF (0.718 with the output layer, started wide); on new samples 0.424 to 0.427 for all
of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dgex.dataset import read_reference
from experiments.analysis.evidence import Evidence, Run, by_study, errors, runs
from experiments.report.sections import Cell, Figure, Section, Table
from experiments.report.tables import (
    chosen_in_each,
    compare_all,
    comparison_table,
    data_line,
    differences,
    error_table,
    verdict,
)  # fmt: skip
from experiments.trials.loading import part
from experiments.trials.models import Model
from experiments.trials.plan import Plan
from experiments.trials.sources import Source, Sources
from experiments.trials.trial import Trial

# Of the original's example.
SIZE: Mapping[str, Any] = {"hidden": (300, 300), "dropout": 0.25}

BASELINE_MODELS = (
    Model("mean", "mean predictor"),
    Model("nearest_samples", "nearest samples"),
    Model("nearest_genes", "nearest genes (KNN-GE)"),
    Model("least_squares", "linear regression"),
    Model("ridge", "ridge regression"),
)
NETWORK_MODELS = (
    Model("tanh", "tanh", {**SIZE, "activation": "tanh"}),
    Model("sigmoid", "sigmoid", {**SIZE, "activation": "sigmoid"}),
    Model("taaf", "TAAF", {**SIZE, "activation": "sigmoid", "taaf": "hidden"}),
    Model("taaf_output", "TAAF, output too", {**SIZE, "activation": "sigmoid", "taaf": "all"}),
    Model("taaf_output_wide", "TAAF, output too, wide start", {**SIZE, "activation": "sigmoid", "taaf": "all"}, 0.999),
)


def trials(sources: Sources, plan: Plan) -> list[Trial]:
    """Every model on every split."""
    return [
        Trial(source.name, model, plan.protocol if model.seeded else None, seed, plan.targets)
        for source in sources
        for model in (*NETWORK_MODELS, *BASELINE_MODELS)
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
CAVEATS = (
    "The unit of replication is the study, and where studies were left out fold by fold the fold; genes of one sample "
    "are correlated and are described only. Shares of genes are no evidence by themselves.",
    "All folds' networks share most of their training data: another compendium could say otherwise, and no interval "
    "here covers that.",
    "Optimiser, rate and epochs were chosen on validation errors of tanh and sigmoid networks on the GEO compendium; "
    "where the best epoch is at the end, longer training might lower the error.",
    "Studies of one laboratory can be in two folds: studies are left out, not projects. In some folds a single study "
    "is tested on, or chooses the epoch.",
    "Gaps of a test study that preparation filled with the training mean are scored as if they were measured.",
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
    comparisons = compare_all(by_model, PAIRS)
    log2 = compare_all(by_model, PAIRS, measure="log2 MAE")
    models = [by_model[model.name] for model in (*BASELINE_MODELS, *NETWORK_MODELS)]
    tested = data_line(by_model)
    shown = ("taaf", "tanh"), ("taaf", "sigmoid"), ("taaf_output_wide", "taaf"), ("tanh", "ridge")
    return Section(
        name=name,
        question=question,
        data=f"{split}: {tested}.",
        answer=[
            *(verdict(comparisons[PAIRS.index(pair)]) for pair in shown),
            chosen_in_each(models),
        ],
        caveats=CAVEATS,
        tables=[
            error_table(f"{name}-errors", f"Errors on the test samples ({split.lower()}: {tested}).", models),
            comparison_table(f"{name}-comparisons", f"Differences of the z-score MAE ({tested}).", comparisons),
            comparison_table(f"{name}-comparisons-log2", f"The same of the log2 MAE ({tested}).", log2),
            _gene_table(f"{name}-genes", by_model, sources[0], plan),
        ],
        figures=[
            differences(f"{name}-differences", by_model, PAIRS, comparisons, tested),
            _study_figure(f"{name}-studies", by_model),
            _gene_figure(f"{name}-genes", by_model),
            _parameter_figure(f"{name}-taaf", by_model["taaf"]),
        ],
    )


def _study_figure(name: str, by_model: dict[str, Run]) -> Figure:
    shown = [by_model[model] for model in ("ridge", "tanh", "sigmoid", "taaf", "taaf_output_wide")]
    of = [errors(run, "test") for run in shown]
    means = [by_study(one) for one in of]
    order = sorted(means[0], key=lambda study: means[0][study])
    levels = [float(np.mean([mean[study] for mean in means])) for study in order]  # over models
    models = [float(np.mean(list(mean.values()))) for mean in means]
    return Figure(
        name,
        "dots",
        "Every test study's z-score MAE, mean over its samples, all genes and seeds, in the order of ridge "
        f"regression's; n is the number of its samples. The studies' errors go from {min(levels):.2f} to "
        f"{max(levels):.2f}, the models' means over studies from {min(models):.2f} to {max(models):.2f}.",
        {
            "unit": "z-score MAE",
            "rows": [study or "no study" for study in order],
            "notes": [f"n = {of[0].study.count(study)}" for study in order],
            "series": [
                {"label": run.model.label, "values": [mean[study] for study in order]}
                for run, mean in zip(shown, means, strict=True)
            ],
        },
    )


def _per_gene(run: Run) -> np.ndarray:
    """z-score MAE of every gene over all test samples, mean over seeds ``[genes]``."""
    return run.of_genes("test").mae


def _gene_figure(name: str, by_model: dict[str, Run]) -> Figure:
    sigmoid, taaf = _per_gene(by_model["sigmoid"]), _per_gene(by_model["taaf"])
    return Figure(
        name,
        "scatter",
        f"Test z-score MAE of every gene, mean over seeds: TAAF against sigmoid, {len(taaf):,} genes, lower in "
        f"{100 * np.mean(taaf < sigmoid):.1f} % of them. The genes are measured on the same samples and are no "
        "independent evidence.",
        {
            "x_label": "sigmoid, z-score MAE",
            "y_label": "TAAF, z-score MAE",
            "x": np.round(sigmoid, 6).tolist(),
            "y": np.round(taaf, 6).tolist(),
            "diagonal": True,
        },
    )


def _gene_table(name: str, by_model: dict[str, Run], source: Source, plan: Plan) -> Table:
    """Every gene's test error; the genes that TAAF gains most on first."""
    reference = read_reference(source.path)
    columns = part(len(reference.target_genes.ensembl), plan.targets)
    mae = {model: _per_gene(run) for model, run in by_model.items()}
    gain = mae["taaf"] - mae["sigmoid"]
    rows: list[list[Cell]] = [
        [
            reference.target_genes.ensembl[columns[gene]],
            reference.target_genes.symbol[columns[gene]],
            "yes" if reference.overlap[columns[gene]] else "no",
            float(gain[gene]),
            *(float(values[gene]) for values in mae.values()),
        ]
        for gene in np.argsort(gain)
    ]
    labels = [run.model.label for run in by_model.values()]
    return Table(
        name,
        "Test z-score MAE of every gene, mean over samples and seeds; those on which TAAF gains most on sigmoid first.",
        ["Ensembl id", "symbol", "landmark too", "TAAF − sigmoid", *labels],
        rows,
        shown=12,
    )


def _parameter_figure(name: str, run: Run) -> Figure:
    panels = []
    start = {"alpha": 1.0, "beta": 1.0, "gamma": 0.0, "delta": 0.0}
    for layer in ("H0", "H1"):
        for parameter, initial in start.items():
            learnt = np.concatenate(
                [outcome.taaf[f"{layer}_taaf/{parameter}"] for seeds in run.outcomes for outcome in seeds]
            )
            counts, edges = np.histogram(learnt, 40)
            panels.append(
                {
                    "title": f"{layer}: {parameter}",
                    "x_label": parameter,
                    "y_label": "units",
                    "edges": edges.tolist(),
                    "counts": counts.tolist(),
                    "mark": initial,
                    "mark_label": "initial value",
                }
            )
    networks = sum(map(len, run.outcomes))
    return Figure(
        name,
        "histograms",
        f"What the hidden units' TAAFs have learnt by the best epoch, {networks} networks together.",
        {"panels": panels},
    )
