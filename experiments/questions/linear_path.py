"""Asks what the activation adds beside a linear path: every base function there, with a TAAF of it and without.

    python -m experiments.study --only linear_path --data DIR -o results/study

All networks start at the same ridge regression, so their differences are what hidden layers of the activation have
learnt on top of it. The ablation has the same pairs without a linear path.

On 500 targets of every fold it trains ridge regression and 14 networks, from three seeds each for 40 epochs; in the
quick study for 6 epochs on 300 targets of the split by sample.
"""

from experiments.analysis.evidence import Evidence, compare_all, runs
from experiments.questions.ablation import BASE_PAIRS, PLAIN, TAAF, count_lower, used
from experiments.questions.activations import beside_linear_path
from experiments.report.figures import interval_rows
from experiments.report.sections import Figure, Section
from experiments.report.sentences import chosen_in_each, data_line, verdict
from experiments.report.tables import comparison_table, error_table
from experiments.trials.models import ModelSpec
from experiments.trials.plan import Plan
from experiments.trials.sources import Sources
from experiments.trials.trial import Trial

LINEAR_PAIRS = tuple(
    (beside_linear_path(base), beside_linear_path(taaf)) for base, taaf in ((PLAIN, TAAF), *BASE_PAIRS)
)
MODELS = tuple(model for pair in LINEAR_PAIRS for model in pair)
RIDGE = ModelSpec("ridge", "ridge regression")

# (first, second, group), decided before any outcome was known.
CONTRASTS = (
    *((taaf.name, base.name, "TAAF of a base, against the base") for base, taaf in LINEAR_PAIRS),
    *((model.name, RIDGE.name, "against ridge regression, where all start") for model in MODELS),
)


def trials(sources: Sources, plan: Plan) -> list[Trial]:
    """Lists the trials: every network on every file."""
    return [
        Trial(source.name, model, plan.protocol_of(model), seed, plan.targets)
        for source in used(sources, plan)
        for model in (RIDGE, *MODELS)
        for seed in plan.seeds_of(model)
    ]


def sections(evidence: Evidence, sources: Sources, plan: Plan) -> list[Section]:
    """Makes the section on activations beside a linear path."""
    by_model = runs(evidence, trials(sources, plan))
    pairs = [(first, second) for first, second, _ in CONTRASTS]
    comparisons = compare_all(by_model, pairs)
    tested = data_line(by_model)
    by_study = used(sources, plan) == sources.folds
    split = "Studies left out" if by_study else "Split by sample"
    by_base, by_ridge = comparisons[: len(LINEAR_PAIRS)], comparisons[len(LINEAR_PAIRS) :]
    return [
        Section(
            name="linear-path",
            question="What does the activation add beside a linear path that starts at ridge regression?",
            data=f"{split}: {tested}, drawn at random from all targets.",
            answer=[
                count_lower("networks have a lower error than ridge regression", by_ridge),
                verdict(by_base[0]),
                count_lower("base functions have a lower error with a TAAF", by_base),
                chosen_in_each([*by_model.values()]),
            ],
            caveats=[
                f"{len(CONTRASTS)} comparisons are made. Holm's p is corrected for their number; the intervals are "
                "not, so one in twenty of them misses the true difference.",
                "Every network is trained with the same optimiser, learning rate and epochs, which were chosen on "
                "validation errors of a TAAF network; another rate might suit another activation better.",
                *([] if by_study else ["The data are split by sample only, so this says nothing about new studies."]),
            ],
            tables=[
                error_table("linear-path-errors", f"Errors on the test samples ({tested}).", [*by_model.values()]),
                comparison_table("linear-path-comparisons", f"Differences of the z-score MAE ({tested}).", comparisons),
            ],
            figures=[
                Figure(
                    "linear-path-differences",
                    "intervals",
                    f"Difference of the test z-score MAE with its 95 % interval, not corrected for the number of "
                    f"comparisons; small dots are the differences of single studies. Left of zero the first is better "
                    f"({tested}).",
                    {
                        "unit": "difference of z-score MAE",
                        "better": "first is better",
                        "rows": interval_rows(by_model, pairs, comparisons, groups=[group for *_, group in CONTRASTS]),
                    },
                )
            ],
        )
    ]
