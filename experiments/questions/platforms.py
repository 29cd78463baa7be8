"""Does what was learnt on microarrays carry over to RNA-seq? The cohorts mapped onto the training arrays' quantiles.

    python -m experiments.study --only platforms --data DIR -o results/study

Trains nothing of its own: the trials of ``experiments.questions.activations`` score the cohorts too. Expect a z-score
MAE on the 11 cohorts of the README of 1.43 for the mean predictor, 1.10 for ridge regression, 1.20 for tanh, 1.27 for
sigmoid and 1.26 for TAAF.
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
    """One section a mapped file of cohorts, predicted by the models of every fold."""
    folds = {fold.name for fold in sources.folds}
    by_model = runs(evidence, (trial for trial in trials(sources, plan) if trial.source in folds))
    models = [by_model[model.name] for model in (*BASELINE_MODELS, *NETWORK_MODELS)]
    found = []
    several = len(sources.folds[0].cohorts) > 1
    for held in sources.folds[0].cohorts:
        stem = re.sub(r"[^\w.-]", "-", f"platforms-{held}", flags=re.ASCII)  # for files and links
        tested = data_line(by_model, held)
        both = {measure: compare_all(by_model, PAIRS, held, measure) for measure in MEASURES[:2]}
        comparisons, without = both.values()
        overlap = [errors(by_model[name], held, MEASURES[1]).sample.mean() for name in ("ridge", "tanh")]
        found.append(
            Section(
                name=stem if several else "platforms",
                question=f"Does what is learnt on microarrays carry over to RNA-seq{f' ({held})' if several else ''}?",
                data=f"{held}: {tested}; every sample predicted by the models of all {len(sources.folds)} folds, "
                "errors averaged over them.",
                answer=[
                    *(verdict(comparisons[PAIRS.index(pair)]) for pair in (PAIRS[0], PAIRS[1], PAIRS[3], PAIRS[5])),
                    f"Without the targets that are landmark genes too, which on RNA-seq equal an input, the z-score "
                    f"MAE of ridge regression is {overlap[0]:.4f} and that of tanh {overlap[1]:.4f}.",
                ],
                caveats=[
                    "Z-scores are of the arrays' means and SDs: a gene whose RNA-seq level is shifted has an error "
                    "that no model of arrays can avoid. A cohort's own scaler would hide it.",
                    "Genes that a cohort does not measure are not scored; as inputs they are filled with the training "
                    "mean.",
                    "The unit of replication is the cohort, and cohorts of one consortium (TCGA) or project are no "
                    "independent units: the intervals are too narrow. They know nothing of another training set.",
                ],
                tables=[
                    error_table(f"{stem}-errors", f"Errors on {held} ({tested}).", models, held),
                    comparison_table(f"{stem}-comparisons", f"All targets ({tested}).", comparisons),
                    comparison_table(
                        f"{stem}-comparisons-without-overlap", "Without the targets that are landmarks.",
                        without,
                    ),
                ],
                figures=[
                    Figure(
                        f"{stem}-differences",
                        "intervals",
                        f"Difference of the z-score MAE with its 95 % interval; small dots are the cohorts' own "
                        f"differences. Left of zero the first is better ({tested}).",
                        {
                            "unit": "difference of z-score MAE",
                            "better": "first is better",
                            "rows": interval_rows(by_model, PAIRS * 2, [*comparisons, *without], held,
                                groups=["all targets"] * len(PAIRS) + ["without overlap"] * len(PAIRS)),
                        },
                    ),
                    study_errors(
                        f"{stem}-cohorts",
                        [by_model[model] for model in ("mean", "ridge", "tanh", "sigmoid", "taaf", "taaf_output_wide")],
                        held,
                        "Every cohort's z-score MAE, mean over samples, genes, folds and seeds",
                    ),
                ],
            )
        )  # fmt: skip
    return found
