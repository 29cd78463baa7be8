"""Measures the error against the number of training profiles and the width of the layers, beside ridge regression.

    python -m experiments.study --only growth --data DIR -o results/study

Cost on the GEO compendium (seven folds and the split by sample, 1,000 targets): 186 networks besides those of the
ablation, a quarter of an hour. Expect a lower error of ridge regression at every size on new studies (by 0.048 with all
503 profiles), and no difference on the split by sample from 400 profiles on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dgex.data.dataset import training_samples
from experiments.analysis.evidence import Evidence, Run, compare_all, errors, runs
from experiments.analysis.statistics import PairedComparison
from experiments.questions.activations import NETWORK_MODELS, SIZE
from experiments.report.sections import Cell, Figure, Section, Table
from experiments.report.sentences import data_line, ends, signed
from experiments.trials.models import ModelSpec
from experiments.trials.plan import Plan
from experiments.trials.sources import Source, Sources
from experiments.trials.trial import Trial

RIDGE = ModelSpec("ridge", "ridge regression")
NETWORKS = tuple(model for model in NETWORK_MODELS if model.name in ("sigmoid", "taaf"))
USUAL_WIDTH = SIZE["hidden"][0]


def wide(model: ModelSpec, width: int) -> ModelSpec:
    """Changes the width of a network's two hidden layers."""
    assert model.network is not None
    return ModelSpec(f"{model.name}-{width}", model.label, {**model.network, "hidden": (width, width)})


def trials(sources: Sources, plan: Plan) -> list[Trial]:
    """Lists the trials: growing training sets on every split, growing layers on the split by sample."""
    by_profiles = [trial for splits in _curves(sources).values() for trial in _more_profiles(splits, plan)]
    return by_profiles + _wider(sources, plan)


def _curves(sources: Sources) -> dict[str, tuple[Source, ...]]:
    """Groups the prepared files whose errors go into one curve, by the curve's title."""
    by_sample = {"Split by sample": (sources.by_sample,)} if sources.by_sample else {}
    return {"Studies left out": sources.folds, **by_sample}


def _sizes(sources: Sequence[Source], plan: Plan) -> tuple[tuple[int | None, ...], int]:
    """Returns the sizes of the training sets, and the mean number of all training profiles.

    The sizes are those of the plan that every source is large enough for, and None for all profiles.
    """
    totals = [len(training_samples(source.path)) for source in sources]
    return (*(number for number in plan.profiles if number < min(totals)), None), round(np.mean(totals))


def _more_profiles(sources: Sequence[Source], plan: Plan) -> list[Trial]:
    """Lists the trials with growing training sets."""
    sizes, _ = _sizes(sources, plan)
    return [
        Trial(source.name, model, plan.protocol if model.seeded else None, seed, plan.part_targets, profiles)
        for source in sources
        for profiles in sizes
        for model in (*NETWORKS, RIDGE)
        for seed in (plan.seeds if model.seeded else (0,))
    ]


def _wider(sources: Sources, plan: Plan) -> list[Trial]:
    """Lists the trials with growing layers."""
    return [
        Trial(sources.by_sample.name, wide(model, width), plan.protocol, seed, plan.part_targets)
        for width in plan.widths
        for model in NETWORKS
        for seed in plan.seeds
        if sources.by_sample
    ]


PAIRS = (("sigmoid", "ridge"), ("taaf", "ridge"), ("taaf", "sigmoid"))
# What a comparison with ridge regression shows (``PairedComparison.shown``), in words.
WORDS = {
    "lower": "a lower error than ridge regression",
    None: "no shown difference from ridge regression",
    "higher": "a higher error than ridge regression",
}


def sections(evidence: Evidence, sources: Sources, plan: Plan) -> list[Section]:
    """Makes the section on the size of training set and network."""
    panels, tables, answer, data = [], [], [], []
    for title, splits in _curves(sources).items():
        grown = _grown(evidence, splits, plan)
        panels.append(_panel(title, "training profiles", grown, ("ridge", "sigmoid", "taaf")))
        comparisons = {x: compare_all(by_model, PAIRS) for x, by_model in grown.items()}
        tables.append(_table(f"growth-{_slug(title)}", title, grown, comparisons))
        answer.append(f"{title}: {_overtaking(comparisons)} {_gain(grown)}".rstrip())
        data.append(f"{title}: {data_line(next(iter(grown.values())))}.")
    if sources.by_sample:
        widths = _widths(evidence, sources, plan)
        panels.append(
            _panel("Split by sample, all profiles", "units of both hidden layers", widths, ("sigmoid", "taaf"))
        )
        tables.append(_width_table(widths))
        answer.append(_best_width(widths))
    return [
        Section(
            name="growth",
            question="How many training profiles do networks need to be better than ridge regression, and does the "
            "error still fall with more of them?",
            data=f"Targets drawn at random. {' '.join(data)}",
            answer=answer,
            caveats=[
                "Smaller training sets are drawn at random from the compendium's training profiles: they have fewer "
                "profiles of the same studies, not fewer studies. Means and SDs are those of the whole training split.",
                "A network on fewer profiles is trained for as many steps as on all of them, with the same learning "
                "rate. The validation samples, which choose the epoch and the penalty, stay the same; with fewer "
                "profiles an epoch has fewer steps, so there are more epochs to choose from.",
                "The change of the error from one number of profiles to the next has no interval.",
                "Nothing was measured beyond the compendium's size, and a trend is no measurement.",
            ],
            tables=tables,
            figures=[
                Figure(
                    "growth",
                    "lines",
                    "Test z-score MAE against the number of training profiles and the width of the hidden layers, "
                    "mean over samples, genes and seeds; bands are the range over seeds.",
                    {"panels": panels},
                )
            ],
        )
    ]


def _slug(title: str) -> str:
    """Makes a file name of a title."""
    return title.lower().replace(" ", "-")


def _grown(evidence: Evidence, sources: Sequence[Source], plan: Plan) -> dict[int, dict[str, Run]]:
    """Reads every model's run by the number of training profiles, ascending.

    The last number, that of all training profiles, is a mean over folds.
    """
    sizes, total = _sizes(sources, plan)
    all_trials = _more_profiles(sources, plan)
    return {
        number or total: runs(evidence, (trial for trial in all_trials if trial.profiles == number)) for number in sizes
    }


def _widths(evidence: Evidence, sources: Sources, plan: Plan) -> dict[int, dict[str, Run]]:
    """Reads every network's run by the width of its layers, ascending."""
    assert sources.by_sample is not None
    usual = [trial for trial in _more_profiles((sources.by_sample,), plan) if trial.profiles is None]
    by_name = runs(evidence, [*usual, *_wider(sources, plan)])
    widths = {width: {model.name: by_name[wide(model, width).name] for model in NETWORKS} for width in plan.widths}
    widths[USUAL_WIDTH] = {model.name: by_name[model.name] for model in NETWORKS}
    return dict(sorted(widths.items()))


def _panel(title: str, x_label: str, grown: Mapping[int, Mapping[str, Run]], models: Sequence[str]) -> dict[str, Any]:
    """Makes a panel of test errors against a size, with the range over seeds."""
    series = []
    for name in models:
        seed_means = {x: errors(by_model[name], "test").sample.mean(1) for x, by_model in grown.items()}
        label = next(iter(grown.values()))[name].model.label
        series.append(
            {
                "label": label,
                "x": list(seed_means),
                "y": [float(seeds.mean()) for seeds in seed_means.values()],
                "low": [float(seeds.min()) for seeds in seed_means.values()],
                "high": [float(seeds.max()) for seeds in seed_means.values()],
                "markers": True,
            }
        )
    return {"title": title, "x_label": x_label, "y_label": "test z-score MAE", "log_x": True, "series": series}


def _table(
    name: str, title: str, grown: Mapping[int, Mapping[str, Run]], comparisons: Mapping[int, Sequence[PairedComparison]]
) -> Table:
    """Makes the table of errors and differences by the number of training profiles."""
    columns = ["training profiles"]
    rows: list[list[Cell]] = []
    for model in next(iter(grown.values())).values():
        columns += [f"{model.model.label}, validation", f"{model.model.label}, test"]
    for c in next(iter(comparisons.values())):
        columns += [f"{c.a} − {c.b}", "low", "high"]
    for number, by_model in grown.items():
        row: list[Cell] = [number]
        for run in by_model.values():
            row += [run.validation_mae, float(errors(run, "test").sample.mean())]
        for c in comparisons[number]:
            row += [c.difference, *(c.interval or (None, None))]
        rows.append(row)
    return Table(name, f"{title}: z-score MAE by the number of training profiles.", columns, rows)


def _width_table(widths: Mapping[int, Mapping[str, Run]]) -> Table:
    """Makes the table of parameters and errors by the width of the layers."""
    columns = ["units of both hidden layers"]
    rows: list[list[Cell]] = []
    for run in next(iter(widths.values())).values():
        label = run.model.label
        columns += [f"{label}, parameters", f"{label}, validation", f"{label}, test"]
    for width, by_model in widths.items():
        row: list[Cell] = [width]
        for run in by_model.values():
            row += [run.outcomes[0][0].parameters, run.validation_mae, float(errors(run, "test").sample.mean())]
        rows.append(row)
    return Table("growth-width", "Split by sample, all profiles: z-score MAE by the width.", columns, rows)


def _overtaking(comparisons: Mapping[int, Sequence[PairedComparison]]) -> str:
    """Says with how many profiles a network has a lower or higher error than ridge regression by both intervals."""
    sentences = []
    largest = max(comparisons)
    for position in (0, 1):
        last = comparisons[largest][position]
        sizes = {
            shown: [str(number) for number, pairs in comparisons.items() if pairs[position].shown == shown]
            for shown in WORDS
        }
        phrases = [f"{WORDS[shown]} with {', '.join(numbers)} profiles" for shown, numbers in sizes.items() if numbers]
        interval = f" {ends(last.interval)}" if last.interval else f", no interval: {last.no_interval}"
        sentences.append(f"{last.a} has {', '.join(phrases)} (with {largest}: {signed(last.difference)}{interval})")
    return "; ".join(sentences) + "."


def _gain(grown: Mapping[int, Mapping[str, Run]]) -> str:
    """Says by how much each model's error changes between the two largest numbers of profiles that all folds have."""
    if len(grown) < 3:
        return ""
    few, many = list(grown)[-3:-1]
    falls = ", ".join(
        f"{signed(errors(grown[many][name], 'test').sample.mean() - errors(run, 'test').sample.mean())} "
        f"({run.model.label})"
        for name, run in grown[few].items()
    )
    return f"From {few} to {many} profiles the z-score MAE changes by {falls}."


def _best_width(widths: Mapping[int, Mapping[str, Run]]) -> str:
    """Says with which width each network has its lowest validation error."""
    best = {
        run.model.label: min(widths, key=lambda width: widths[width][name].validation_mae)
        for name, run in next(iter(widths.values())).items()
    }
    chosen = ", ".join(f"{width} units for {label}" for label, width in best.items())
    return f"Split by sample, the validation error is lowest with {chosen}, of {', '.join(map(str, widths))}."
