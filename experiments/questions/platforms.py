"""Tests models trained on microarrays on RNA-seq cohorts, quantile-normalised onto the training arrays.

    python -m experiments.study --only platforms --data DIR -o results/study

This question trains no models of its own: the trials of ``experiments.questions.activations`` score the cohorts too.
Expect a z-score MAE on the 11 cohorts of the README of 1.43 for the mean predictor, 1.10 for ridge regression, 1.20 for
tanh, 1.27 for sigmoid and 1.26 for TAAF.
"""

import re

from experiments.analysis.evidence import Evidence, compare_all, errors, runs
from experiments.questions.activations import BASELINE_MODELS, NETWORK_MODELS, trials
from experiments.report.figures import interval_rows, study_errors
from experiments.report.sections import Figure, Section
from experiments.report.sentences import data_line, verdict
from experiments.report.tables import comparison_table, error_table
from experiments.trials.heldout import MEASURES
from experiments.trials.plan import Plan
from experiments.trials.sources import Sources

__all__ = ["sections", "trials"]  # the trials of the main comparison: they score the cohorts too

PAIRS = (
    ("ridge", "mean"),
    ("tanh", "ridge"),
    ("sigmoid", "tanh"),
    ("taaf", "sigmoid"),
    ("taaf_output_wide", "tanh"),
    ("taaf_output_wide", "ridge"),
)


def sections(evidence: Evidence, sources: Sources, plan: Plan) -> list[Section]:
    """Makes a section for each mapped file of cohorts, which the models of every fold predict."""
    folds = {fold.name for fold in sources.folds}
    by_model = runs(evidence, (trial for trial in trials(sources, plan) if trial.source in folds))
    models = [by_model[model.name] for model in (*BASELINE_MODELS, *NETWORK_MODELS)]
    result = []
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
                        [by_model[model] for model in ("mean", "ridge", "tanh", "sigmoid", "taaf", "taaf_output_wide")],
                        cohort,
                        "z-score MAE of every cohort, mean over samples, genes, folds and seeds",
                    ),
                ],
            )
        )  # fmt: skip
    return result
