"""Asks whether one platform helps to infer another: by training on one alone, and by cohorts mapped onto arrays.

    python -m experiments.study --only platforms --data DIR -o results/study

Where the folds have profiles of several platforms, models are trained on each platform alone, besides those of
``experiments.questions.activations`` that are trained on all, and tested on the test samples of each. Cohorts that were
mapped onto the folds (``folds --cohorts``) are scored by the trials of that question. So beside those it trains two
baselines on every fold and platform alone.
"""

import re
from collections.abc import Mapping, Sequence

from dgex.data.dataset import read_reference, read_shape
from experiments.analysis.evidence import Evidence, Run, compare_all, errors, runs
from experiments.questions import activations
from experiments.questions.activations import BASELINE_MODELS, NETWORKS
from experiments.report.figures import interval_rows, study_errors
from experiments.report.sections import Figure, Section
from experiments.report.sentences import data_line, verdict
from experiments.report.tables import comparison_table, error_table
from experiments.trials.heldout import MEASURES, test_on
from experiments.trials.plan import Plan
from experiments.trials.sources import Sources
from experiments.trials.trial import Trial

# The models that are trained on one platform alone: those in closed form.
ALONE = BASELINE_MODELS[-2:]


def trials(sources: Sources, plan: Plan) -> list[Trial]:
    """Lists the trials: some models trained on one platform alone, and those of the main comparison on the folds."""
    folds = {fold.name for fold in sources.folds}
    of_all = [trial for trial in activations.trials(sources, plan) if trial.source in folds]
    return of_all + _alone(sources, plan)


def _alone(sources: Sources, plan: Plan) -> list[Trial]:
    """Lists the trials on one platform alone, where there are several."""
    return [
        Trial(fold.name, model, plan.protocol_of(model), seed, plan.targets, platform=platform)
        for fold in sources.folds
        for platform in _trained_alone(sources)
        for model in ALONE
        for seed in plan.seeds_of(model)
    ]


def _trained_alone(sources: Sources) -> list[str]:
    """Lists the platforms that are trained on alone: those of which every fold has validation samples, if several.

    A platform of ``folds --train-only`` has none to choose an epoch or penalty by.
    """
    names = read_reference(sources.folds[0].path).platforms.name
    validated = [read_shape(fold.path).platforms["validation"] for fold in sources.folds]
    return [name for name in names if len(names) > 1 and all(name in present for present in validated)]


PAIRS = (
    ("ridge", "mean"),
    ("tanh", "ridge"),
    ("sigmoid", "tanh"),
    ("taaf", "sigmoid"),
    ("taaf", "tanh"),
    ("taaf_linear", "ridge"),
)


def sections(evidence: Evidence, sources: Sources, plan: Plan) -> list[Section]:
    """Makes a section on training with one platform or all, and one for each mapped file of cohorts."""
    by_model = runs(evidence, trials(sources, plan))
    models = [by_model[model.name] for model in (*BASELINE_MODELS, *NETWORKS)]
    result = _one_or_all(by_model, read_reference(sources.folds[0].path).platforms.name, _trained_alone(sources))
    several = len(sources.folds[0].cohorts) > 1
    for cohort in sources.folds[0].cohorts:
        stem = re.sub(r"[^\w.-]", "-", f"platforms-{cohort}", flags=re.ASCII)  # for files and links
        tested = data_line(by_model, cohort)
        comparisons, without_overlap = (compare_all(by_model, PAIRS, cohort, measure) for measure in MEASURES[:2])
        ridge_mae, tanh_mae = (errors(by_model[name], cohort, MEASURES[1]).sample.mean() for name in ("ridge", "tanh"))
        result.append(
            Section(
                name=stem if several else "platforms",
                question="Do models trained on microarrays work on RNA-seq"
                f"{f' ({cohort})' if several else ''}?",
                data=f"{cohort}: {tested}; every sample predicted by the models of all {len(sources.folds)} folds, "
                "errors averaged over them.",
                answer=[
                    *(verdict(comparisons[PAIRS.index(pair)]) for pair in (PAIRS[0], PAIRS[1], PAIRS[3], PAIRS[5])),
                    f"Without the targets that are landmark genes too, and so equal to an input on RNA-seq, the "
                    f"z-score MAE is {ridge_mae:.4f} for ridge regression and {tanh_mae:.4f} for tanh.",
                ],
                caveats=[
                    "Z-scores use the means and SDs of the training arrays. A gene whose RNA-seq level is shifted has "
                    "an error that no model trained on arrays can avoid; standardising by the cohort itself would hide "
                    "it.",
                    "Genes that a cohort does not measure are not scored; as inputs they are filled with the training "
                    "mean.",
                    "The unit of replication is the cohort. Cohorts of one consortium (TCGA) or project are not "
                    "independent, so the intervals are too narrow. They do not cover another training set.",
                ],
                tables=[
                    error_table(f"{stem}-errors", f"Errors on {cohort} ({tested}).", models, cohort),
                    comparison_table(
                        f"{stem}-comparisons", f"Differences of the z-score MAE, all targets ({tested}).", comparisons
                    ),
                    comparison_table(
                        f"{stem}-comparisons-without-overlap",
                        "Differences of the z-score MAE, without the targets that are landmark genes too.",
                        without_overlap,
                    ),
                ],
                figures=[
                    Figure(
                        f"{stem}-differences",
                        "intervals",
                        f"Difference of the z-score MAE with its 95 % interval; small dots are the differences of "
                        f"single cohorts. Left of zero the first model is better ({tested}).",
                        {
                            "unit": "difference of z-score MAE",
                            "better": "first is better",
                            "rows": interval_rows(by_model, PAIRS * 2, [*comparisons, *without_overlap], cohort,
                                groups=["all targets"] * len(PAIRS) + ["without overlap"] * len(PAIRS)),
                        },
                    ),
                    study_errors(
                        f"{stem}-cohorts",
                        [by_model[model] for model in ("mean", "ridge", "tanh", "sigmoid", "taaf", "taaf_linear")],
                        cohort,
                        "z-score MAE of every cohort, mean over samples, genes, folds and seeds",
                    ),
                ],
            )
        )  # fmt: skip
    return result


def _one_or_all(by_model: Mapping[str, Run], platforms: Sequence[str], alone: Sequence[str]) -> list[Section]:
    """Makes the section on training with one platform alone or with all, if there are several.

    Args:
      by_model: runs by name of the model.
      platforms: names of the folds' platforms; the test samples of each are a held-out set, if every fold has some.
      alone: those of them that models were trained on alone.
    """
    tested_on = [name for name in platforms if all(run.scored(test_on(name)) for run in by_model.values())]
    if not alone or not tested_on:
        return []
    pairs = [(model.name, f"{model.name}_{platform}") for platform in alone for model in ALONE]
    models = [*(by_model[model.name] for model in ALONE), *(by_model[second] for _, second in pairs)]
    answer, tables, rows, tested = [], [], [], []
    for name in tested_on:
        held_out = test_on(name)
        comparisons = compare_all(by_model, pairs, held_out)
        tested.append(f"{held_out}: {data_line(by_model, held_out)}")
        answer += [f"Test samples on {name}: {verdict(comparison)}" for comparison in comparisons]
        tables += [
            error_table(
                f"platforms-{name}-errors", f"Errors on the test samples of the platform {name}.", models, held_out
            ),
            comparison_table(
                f"platforms-{name}-comparisons",
                f"Differences of the z-score MAE on the test samples of the platform {name}.",
                comparisons,
            ),
        ]
        groups = [f"test samples on {name}"] * len(pairs)
        rows += interval_rows(by_model, pairs, comparisons, held_out, groups=groups)
    return [
        Section(
            name="platforms-together",
            question="Do arrays help to infer RNA-seq, and RNA-seq arrays?",
            data=f"Studies left out; {'; '.join(tested)}.",
            answer=answer,
            caveats=[
                "Z-scores use the means and SDs of the first platform's training samples, and of every other platform "
                "the offsets of its training samples, in models trained on one platform alone too: what is compared is "
                "what the model learns from the other platform's profiles, not what the offsets are worth.",
                "A model trained on one platform alone has fewer profiles too.",
                "Validation samples of that platform alone choose its penalty and epoch.",
            ],
            tables=tables,
            figures=[
                Figure(
                    "platforms-together-differences",
                    "intervals",
                    "Difference of the test z-score MAE between a model trained on all platforms and on one alone, "
                    "with its 95 % interval; small dots are the differences of single studies. Left of zero more "
                    "platforms are better.",
                    {"unit": "difference of z-score MAE", "better": "all platforms are better", "rows": rows},
                )
            ],
        )
    ]
