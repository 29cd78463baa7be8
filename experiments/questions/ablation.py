"""What in TAAF helps: which parameters, whose they are, where it stands, over which base; and do rivals do as well?

    python -m experiments.study --only ablation --data DIR -o results/study

Cost on the GEO compendium (seven folds, 1,000 targets): 777 networks of 5 seconds each, an hour, and the lasso 10 s a
fold. Expect a z-score MAE of 0.717 for sigmoid, 0.711 with a TAAF, 0.705 with delta alone learnt; 0.688 and 0.684 for
tanh; 0.679 for ABU, the least of all; 0.724 with an output TAAF that starts at 0 to 1, 0.711 with one that starts wide.
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
    """The learnt parameters, with gamma in parentheses where it makes no difference."""
    return ", ".join(
        name if name in learn else f"({name})"
        for name in PARAMETERS
        if name in learn or (name == "gamma" and "beta" not in learn)
    )


PLAIN = ModelSpec("sigmoid", "sigmoid", _SIGMOID)
TAAF = ModelSpec("taaf", "TAAF", _TAAF)

# Without the empty subset, which is the plain sigmoid network, and the full one, which is TAAF. Without a learnt beta,
# gamma is what the bias of the layer is where gamma is not learnt: the same network with it and without, by the same
# bits. So those four pairs of subsets are trained once.
SUBSETS = tuple(
    ModelSpec(f"taaf-{'-'.join(learn)}", subset_label(learn), {**_TAAF, "learn": learn})
    for number in (1, 2, 3)
    for learn in combinations(PARAMETERS, number)
    if "beta" in learn or "gamma" not in learn
)
SHARES = (
    ModelSpec("taaf-layer", "one TAAF a layer", {**_TAAF, "share": "layer"}),
    ModelSpec("taaf-network", "one TAAF for the network", {**_TAAF, "share": "network"}),
)
OUTPUTS = (
    ModelSpec("taaf_output", "TAAF, output too, range 0 to 1 at first (paper)", _OUTPUT),
    ModelSpec("taaf_output-90", "TAAF, output too, 90 % of the targets in range at first", _OUTPUT, 0.9),
    ModelSpec("taaf_output_wide", "TAAF, output too, 99.9 %", _OUTPUT, 0.999),
    ModelSpec("taaf_output-all", "TAAF, output too, all", _OUTPUT, 1.0),
)
OF_BASES = ("tanh", "relu", "silu", "elu", "softplus", "linear")
BASE_PAIRS = tuple(
    (
        ModelSpec(base, base, {**SIZE, "activation": base}),
        ModelSpec(f"taaf-of-{base}", f"TAAF of {base}", {**SIZE, "activation": base, "taaf": "hidden"}),
    )
    for base in OF_BASES
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
    *SHARES,
    *OUTPUTS,
    *(model for pair in BASE_PAIRS for model in pair),
    *RIVAL_MODELS,
)
# Beside them, on the same targets; the lasso, which takes minutes on all of them, only here.
BASELINE_MODELS = (ModelSpec("ridge", "ridge regression"), ModelSpec("lasso", "lasso regression"))


def used(sources: Sources, plan: Plan) -> tuple[Source, ...]:
    """The files that the ablation is trained on."""
    return sources.folds if plan.ablation_by_study or not sources.by_sample else (sources.by_sample,)


def trials(sources: Sources, plan: Plan) -> list[Trial]:
    """Every variant on every fold."""
    return [
        Trial(source.name, model, plan.protocol if model.seeded else None, seed, plan.part_targets)
        for source in used(sources, plan)
        for model in (*MODELS, *BASELINE_MODELS)
        for seed in (plan.seeds if model.seeded else (0,))
    ]


# (first, second, what is asked, label): a variant against what it is a variant of. None is chosen by its outcome.
CONTRASTS = (
    *((model.name, PLAIN.name, "learnt parameters, against sigmoid", model.label) for model in SUBSETS),
    (TAAF.name, PLAIN.name, "learnt parameters, against sigmoid", "all four (TAAF)"),
    *((model.name, TAAF.name, "one for many units, against one a unit", model.label) for model in SHARES),
    *((model.name, TAAF.name, "on the output too, against hidden only", model.label) for model in OUTPUTS),
    *((own.name, plain.name, "TAAF of a base, against the base", own.label) for plain, own in BASE_PAIRS),
    *((own.name, TAAF.name, "TAAF of other bases, against TAAF of sigmoid", own.label) for _, own in BASE_PAIRS),
    *((model.name, TAAF.name, "rivals, against TAAF", model.label) for model in RIVAL_MODELS),
)


def sections(evidence: Evidence, sources: Sources, plan: Plan) -> list[Section]:
    """One section."""
    by_model = runs(evidence, trials(sources, plan))
    pairs = [(first, second) for first, second, _, _ in CONTRASTS]
    comparisons = compare_all(by_model, pairs)
    tested = data_line(by_model)
    by_study = used(sources, plan) == sources.folds
    split = "studies left out" if by_study else "split by sample"
    everything = [by_model[model.name] for model in MODELS]
    by_pair = dict(zip(pairs, comparisons, strict=True))
    subsets = [by_pair[model.name, PLAIN.name] for model in (*SUBSETS, TAAF)]
    return [
        Section(
            name="ablation",
            question="What in TAAF helps, and do other learnt activations do as well?",
            data=f"{split.capitalize()}: {tested}, drawn at random from all targets.",
            answer=[
                verdict(by_pair[TAAF.name, PLAIN.name]),
                _count(subsets),
                verdict(by_pair["taaf_output", TAAF.name]),
                verdict(by_pair["taaf_output_wide", TAAF.name]),
                _better(
                    "bases have a lower error with a TAAF", [by_pair[own.name, base.name] for base, own in BASE_PAIRS]
                ),
                _better(
                    "rivals have a lower error than TAAF", [by_pair[each.name, TAAF.name] for each in RIVAL_MODELS]
                ),
                chosen_in_each(everything),
            ],
            caveats=[
                f"{len(CONTRASTS)} comparisons are made: Holm's p is corrected for that, the intervals are not, and "
                "one in twenty misses the truth.",
                "Every variant is trained with the same optimiser, rate and epochs, which were chosen on validation "
                "errors of tanh and sigmoid networks; another rate might suit another activation better.",
                "Where units learn no gamma of their own, the dense layer has its bias back.",
                *([] if by_study else ["Split by sample alone: this says nothing of new studies."]),
            ],
            tables=[
                error_table(
                    "ablation-errors",
                    f"Errors on the test samples ({tested}).",
                    [*everything, *(by_model[model.name] for model in BASELINE_MODELS)],
                ),
                comparison_table("ablation-comparisons", f"Differences of the z-score MAE ({tested}).", comparisons),
                _range_table(by_model),
            ],
            figures=[
                Figure(
                    "ablation-differences",
                    "intervals",
                    f"Difference of the test z-score MAE with its 95 % interval, not corrected for the number of "
                    f"comparisons; small dots are the studies' own differences. Left of zero the variant is better "
                    f"({tested}).",
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
    """In how many of the comparisons with the sigmoid network a difference is shown, and which."""
    if not any(c.interval for c in comparisons):
        return f"None of the {len(comparisons)} choices of learnt parameters has an interval."
    lower, higher = (sum(c.shown == which for c in comparisons) for which in ("lower", "higher"))
    return (
        f"Of {len(comparisons)} choices of learnt parameters, {lower} have intervals below the sigmoid network's error "
        f"and {higher} above it; for the others no difference is shown."
    )


def _better(what: str, comparisons: Sequence[PairedComparison]) -> str:
    """Which of the comparisons show a lower error."""
    shown = [c.a for c in comparisons if c.shown == "lower"]
    which = f" ({', '.join(shown)})" if shown else ""
    return f"{len(shown)} of {len(comparisons)} {what}{which}, by both intervals."


def _range_table(by_model: Mapping[str, Run]) -> Table:
    """Between which z-scores the output units can predict, at first and when trained."""
    rows: list[list[Cell]] = []
    for model in OUTPUTS:
        outcomes = [outcome for seeds in by_model[model.name].outcomes for outcome in seeds]
        reach = [outcome.output_reach for outcome in outcomes if outcome.output_reach is not None]
        alpha, delta = (
            np.concatenate([outcome.taaf[f"outputs_taaf/{name}"] for outcome in outcomes])
            for name in ("alpha", "delta")
        )
        low, high = np.minimum(delta, delta + alpha), np.maximum(delta, delta + alpha)
        rows.append(
            [
                model.label,
                -float(np.mean(reach)) if reach else 0.0,
                float(np.mean(reach)) if reach else 1.0,
                float(np.median(low)),
                float(np.median(high)),
                float(np.mean([outcome.best_epoch for outcome in outcomes])),
                by_model[model.name].validation_mae,
                errors(by_model[model.name], "test").sample.mean(),
            ]
        )
    return Table(
        "ablation-output-ranges",
        "A TAAF of a sigmoid on the output predicts between delta and delta + alpha. Its range in z-scores at first, "
        "and the median over units at the best epoch; means over networks of the best epoch and the errors.",
        [
            "network", "from, at first", "to, at first", "from, trained", "to, trained", "best epoch",
            "validation z-score MAE", "test z-score MAE",
        ],
        rows,
    )  # fmt: skip


def _curves_figure(by_model: Mapping[str, Run]) -> Figure:
    """Validation error against the epoch, by what the output layer starts with."""
    series = []
    for model in (TAAF, *OUTPUTS):
        curves = np.array([outcome.curve[1] for seeds in by_model[model.name].outcomes for outcome in seeds])
        curves = curves[:, np.isfinite(curves).any(0)]  # from where a network diverged it has no errors
        epochs = list(range(1, curves.shape[1] + 1))
        series.append({"label": model.label, "x": epochs, "y": np.round(np.nanmean(curves, 0), 5).tolist()})
    return Figure(
        "ablation-output-start",
        "lines",
        f"Validation z-score MAE against the epoch, mean over {len(curves)} networks each, without those that have "
        "diverged. An output TAAF that starts with the range 0 to 1 first has to grow, by no more than about the "
        "learning rate a step.",
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
