"""Ablates TAAF: learnt parameters, sharing, layers and base function; and compares rival learnable activations.

    python -m experiments.study --only ablation --data DIR -o results/study

On 500 targets of every fold it trains ridge regression, the lasso and 37 networks, from three seeds each for 100
epochs; in the quick study for 10 epochs on 300 targets of the split by sample.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from dgex.taaf import PARAMETERS
from experiments.analysis.evidence import Evidence, Run, compare_all, errors, runs
from experiments.analysis.statistics import PairedComparison
from experiments.questions.activations import SIZE
from experiments.report.figures import interval_rows
from experiments.report.sections import Cell, Figure, Section, Table
from experiments.report.sentences import chosen_in_each, data_line, verdict
from experiments.report.tables import comparison_table, error_table
from experiments.trials.models import ModelSpec
from experiments.trials.plan import Plan
from experiments.trials.sources import Source, Sources
from experiments.trials.trial import Trial

_SIGMOID = {**SIZE, "activation": "sigmoid"}
_TAAF = {**_SIGMOID, "taaf": "hidden"}
_OUTPUT = {**_SIGMOID, "taaf": "all"}


def subset_label(learn: Sequence[str]) -> str:
    """Names the learnt parameters, with gamma in parentheses where learning it makes no difference."""
    return ", ".join(
        name if name in learn else f"({name})"
        for name in PARAMETERS
        if name in learn or (name == "gamma" and "beta" not in learn)
    )


PLAIN = ModelSpec("sigmoid", "sigmoid", _SIGMOID)
TAAF = ModelSpec("taaf", "TAAF", _TAAF)

# The empty subset is the plain sigmoid network, and the full one is TAAF; both are listed above. Where beta is not
# learnt, a learnt gamma takes the place of the layer's bias: the network is the same with gamma and without, bit for
# bit. So of those four pairs of subsets only one each is trained.
SUBSETS = tuple(
    ModelSpec(f"taaf-{'-'.join(learn)}", subset_label(learn), {**_TAAF, "learn": learn})
    for number in (1, 2, 3)
    for learn in combinations(PARAMETERS, number)
    if "beta" in learn or "gamma" not in learn
)
SHARED = (
    ModelSpec("taaf-layer", "one TAAF a layer", {**_TAAF, "share": "layer"}),
    ModelSpec("taaf-network", "one TAAF for the network", {**_TAAF, "share": "network"}),
)
OUTPUTS = (
    ModelSpec("taaf_output", "TAAF, output too, range 0 to 1 at first (paper)", _OUTPUT),
    ModelSpec("taaf_output-90", "TAAF, output too, 90 % of the targets in range at first", _OUTPUT, 0.9),
    ModelSpec("taaf_output_wide", "TAAF, output too, 99.9 %", _OUTPUT, 0.999),
    ModelSpec("taaf_output-all", "TAAF, output too, all", _OUTPUT, 1.0),
)
BASES = ("tanh", "relu", "silu", "elu", "softplus", "linear")
BASE_PAIRS = tuple(
    (
        ModelSpec(base, base, {**SIZE, "activation": base}),
        ModelSpec(f"taaf-of-{base}", f"TAAF of {base}", {**SIZE, "activation": base, "taaf": "hidden"}),
    )
    for base in BASES
)
RIVAL_MODELS = (
    ModelSpec("prelu", "PReLU", {**SIZE, "activation": "prelu"}),
    ModelSpec("srelu", "SReLU", {**SIZE, "activation": "srelu"}),
    ModelSpec("swish", "swish, learnt slope", {**SIZE, "activation": "swish"}),
    ModelSpec("abu-layer", "ABU, one a layer (paper)", {**SIZE, "activation": "abu", "share": "layer"}),
    ModelSpec("abu", "ABU, one a unit", {**SIZE, "activation": "abu"}),
    ModelSpec("pau-layer", "PAU, one a layer (paper)", {**SIZE, "activation": "pau", "share": "layer"}),
    ModelSpec("pau", "PAU, one a unit", {**SIZE, "activation": "pau"}),
)
MODELS = (
    PLAIN,
    TAAF,
    *SUBSETS,
    *SHARED,
    *OUTPUTS,
    *(model for pair in BASE_PAIRS for model in pair),
    *RIVAL_MODELS,
)
# The baselines on the same targets. The lasso is only here, since it takes minutes on all targets.
BASELINE_MODELS = (ModelSpec("ridge", "ridge regression"), ModelSpec("lasso", "lasso regression"))


def used(sources: Sources, plan: Plan) -> tuple[Source, ...]:
    """Selects the files that the ablation is trained on."""
    return sources.folds if plan.ablation_by_study or not sources.by_sample else (sources.by_sample,)


def trials(sources: Sources, plan: Plan) -> list[Trial]:
    """Lists the trials: every variant on every file."""
    return [
        Trial(source.name, model, plan.protocol_of(model), seed, plan.targets)
        for source in used(sources, plan)
        for model in (*MODELS, *BASELINE_MODELS)
        for seed in plan.seeds_of(model)
    ]


# (first, second, group, label): a variant against the model that it varies. They were decided before any outcome was
# known.
CONTRASTS = (
    *((model.name, PLAIN.name, "learnt parameters, against sigmoid", model.label) for model in SUBSETS),
    (TAAF.name, PLAIN.name, "learnt parameters, against sigmoid", "all four (TAAF)"),
    *((model.name, TAAF.name, "one TAAF for many units, against one a unit", model.label) for model in SHARED),
    *((model.name, TAAF.name, "TAAF on the output too, against hidden only", model.label) for model in OUTPUTS),
    *((taaf.name, base.name, "TAAF of a base, against the base", taaf.label) for base, taaf in BASE_PAIRS),
    *((taaf.name, TAAF.name, "TAAF of other bases, against TAAF of sigmoid", taaf.label) for _, taaf in BASE_PAIRS),
    *((model.name, TAAF.name, "rival activations, against TAAF", model.label) for model in RIVAL_MODELS),
)


def sections(evidence: Evidence, sources: Sources, plan: Plan) -> list[Section]:
    """Makes the section on the ablation."""
    by_model = runs(evidence, trials(sources, plan))
    pairs = [(first, second) for first, second, _, _ in CONTRASTS]
    comparisons = compare_all(by_model, pairs)
    tested = data_line(by_model)
    by_study = used(sources, plan) == sources.folds
    split = "studies left out" if by_study else "split by sample"
    networks = [by_model[model.name] for model in MODELS]
    by_pair = dict(zip(pairs, comparisons, strict=True))
    subsets = [by_pair[model.name, PLAIN.name] for model in (*SUBSETS, TAAF)]
    return [
        Section(
            name="ablation",
            question="Which parts of TAAF lower the error, and are other learnable activations as good?",
            data=f"{split.capitalize()}: {tested}, drawn at random from all targets.",
            answer=[
                verdict(by_pair[TAAF.name, PLAIN.name]),
                _count(subsets),
                verdict(by_pair["taaf_output", TAAF.name]),
                verdict(by_pair["taaf_output_wide", TAAF.name]),
                count_lower(
                    "base functions have a lower error with a TAAF",
                    [by_pair[taaf.name, base.name] for base, taaf in BASE_PAIRS],
                ),
                count_lower(
                    "rival activations have a lower error than TAAF",
                    [by_pair[model.name, TAAF.name] for model in RIVAL_MODELS],
                ),
                chosen_in_each(networks),
            ],
            caveats=[
                f"{len(CONTRASTS)} comparisons are made. Holm's p is corrected for their number; the intervals are "
                "not, so one in twenty of them misses the true difference.",
                "Every variant is trained with the same optimiser, learning rate and epochs, which were chosen on "
                "validation errors of tanh and sigmoid networks; another rate might suit another activation better.",
                "Where the units of a layer do not learn a gamma each, the dense layer has a bias.",
                *([] if by_study else ["The data are split by sample only, so this says nothing about new studies."]),
            ],
            tables=[
                error_table(
                    "ablation-errors",
                    f"Errors on the test samples ({tested}).",
                    [*networks, *(by_model[model.name] for model in BASELINE_MODELS)],
                ),
                comparison_table("ablation-comparisons", f"Differences of the z-score MAE ({tested}).", comparisons),
                _range_table(by_model),
            ],
            figures=[
                Figure(
                    "ablation-differences",
                    "intervals",
                    f"Difference of the test z-score MAE with its 95 % interval, not corrected for the number of "
                    f"comparisons; small dots are the differences of single studies. Left of zero the variant is "
                    f"better ({tested}).",
                    {
                        "unit": "difference of z-score MAE",
                        "better": "variant is better",
                        "rows": interval_rows(
                            by_model,
                            pairs,
                            comparisons,
                            groups=[group for _, _, group, _ in CONTRASTS],
                            labels=[label for *_, label in CONTRASTS],
                        ),
                    },
                ),
                _curves_figure(by_model),
            ],
        )
    ]


def _count(comparisons: Sequence[PairedComparison]) -> str:
    """Says how many choices of learnt parameters have a lower or higher error than the sigmoid network."""
    if not any(c.interval for c in comparisons):
        return f"None of the {len(comparisons)} choices of learnt parameters has an interval."
    lower, higher = (sum(c.shown == shown for c in comparisons) for shown in ("lower", "higher"))
    return (
        f"Of {len(comparisons)} choices of learnt parameters, {lower} have a lower error than the sigmoid network and "
        f"{higher} a higher one, according to both intervals; for the others no difference is shown."
    )


def count_lower(claim: str, comparisons: Sequence[PairedComparison]) -> str:
    """Says of how many comparisons, and of which, the claim holds that the error is lower."""
    lower = [c.a for c in comparisons if c.shown == "lower"]
    names = f" ({', '.join(lower)})" if lower else ""
    return f"{len(lower)} of {len(comparisons)} {claim}{names}, according to both intervals."


def _range_table(by_model: Mapping[str, Run]) -> Table:
    """Makes the table of the z-scores between which the output units can predict, at first and when trained."""
    rows: list[list[Cell]] = []
    for model in OUTPUTS:
        outcomes = [outcome for seeds in by_model[model.name].outcomes for outcome in seeds]
        limits = [outcome.output_reach for outcome in outcomes if outcome.output_reach is not None]
        alpha, delta = (
            np.concatenate([outcome.taaf[f"outputs_taaf/{name}"] for outcome in outcomes])
            for name in ("alpha", "delta")
        )
        low, high = np.minimum(delta, delta + alpha), np.maximum(delta, delta + alpha)
        rows.append(
            [
                model.label,
                -float(np.mean(limits)) if limits else 0.0,
                float(np.mean(limits)) if limits else 1.0,
                float(np.median(low)),
                float(np.median(high)),
                float(np.mean([outcome.best_epoch for outcome in outcomes])),
                by_model[model.name].validation_mae,
                errors(by_model[model.name], "test").sample.mean(),
            ]
        )
    return Table(
        "ablation-output-ranges",
        "A TAAF of a sigmoid on the output layer predicts between delta and delta + alpha. The table gives this range "
        "in z-scores at first, its median over units at the best epoch, and means over networks of the best epoch and "
        "of the errors.",
        [
            "network", "from, at first", "to, at first", "from, trained", "to, trained", "best epoch",
            "validation z-score MAE", "test z-score MAE",
        ],
        rows,
    )  # fmt: skip


def _curves_figure(by_model: Mapping[str, Run]) -> Figure:
    """Draws the validation error against the epoch, by the initial range of the output layer."""
    series = []
    for model in (TAAF, *OUTPUTS):
        curves = np.array([outcome.curve[1] for seeds in by_model[model.name].outcomes for outcome in seeds])
        curves = curves[:, np.isfinite(curves).any(0)]  # a network has no errors after it has diverged
        epochs = list(range(1, curves.shape[1] + 1))
        series.append({"label": model.label, "x": epochs, "y": np.round(np.nanmean(curves, 0), 5).tolist()})
    return Figure(
        "ablation-output-start",
        "lines",
        f"Validation z-score MAE against the epoch, mean over {len(curves)} networks each, without those that have "
        "diverged. The range of an output TAAF that starts at 0 to 1 first has to grow, by no more than about the "
        "learning rate in each step.",
        {
            "panels": [
                {
                    "title": "TAAF on the output layer",
                    "x_label": "epoch",
                    "y_label": "validation z-score MAE",
                    "log_x": False,
                    "series": series,
                }
            ]
        },
    )
