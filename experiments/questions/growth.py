"""Measures the error against the number of training profiles and the width of the layers, beside ridge regression.

    python -m experiments.study --only growth --data DIR -o results/study

Training sets grow by studies and by profiles; what is measured on each is ridge regression, the arc-cosine kernel, and
the TAAF network with a linear path, from three seeds each. On every fold there are 5, 10, 15 and 20 studies (in the
quick study 8), and 100 and 400 profiles (150), besides all of them; split by sample, these profiles, and layers of 30,
100 and 1,000 units (100) besides 300. A size that a fold does not have is left out of all. Targets are 500 (300), and
networks train for as many steps as 40 epochs (6) of all profiles have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from dgex.data.dataset import read_shape, training_samples
from experiments.analysis.evidence import Evidence, Run, compare_all, errors, runs
from experiments.analysis.statistics import PairedComparison
from experiments.questions.activations import BASELINE_MODELS, LINEAR, SIZE
from experiments.report.sections import Cell, Figure, Section, Table
from experiments.report.sentences import data_line, ends, signed
from experiments.trials.models import ModelSpec
from experiments.trials.plan import Plan
from experiments.trials.sources import Source, Sources
from experiments.trials.trial import Trial

BASELINES = BASELINE_MODELS[-2:]
NETWORKS = LINEAR[-1:]
USUAL_WIDTH = SIZE["hidden"][0]


class Curve(NamedTuple):
    """Names a curve: the prepared files whose errors go into it, and what grows, a field of ``Trial``."""

    title: str
    sources: tuple[Source, ...]
    grows: Literal["profiles", "studies"]

    @property
    def name(self) -> str:
        """Makes a file name of the title."""
        return self.title.lower().replace(" ", "-").replace(",", "")

    def trial(self, source: Source, model: ModelSpec, plan: Plan, seed: int, size: int | None) -> Trial:
        """Makes the trial of a model on a training set of this size; None is that of all."""
        trial = Trial(source.name, model, plan.protocol_of(model), seed, plan.targets)
        return replace(trial, profiles=size) if self.grows == "profiles" else replace(trial, studies=size)


def wide(model: ModelSpec, width: int) -> ModelSpec:
    """Changes the width of a network's two hidden layers."""
    assert model.network is not None
    return ModelSpec(f"{model.name}-{width}", model.label, {**model.network, "hidden": (width, width)})


def trials(sources: Sources, plan: Plan) -> list[Trial]:
    """Lists the trials: growing training sets on every split, growing layers on the split by sample."""
    return [trial for curve in _curves(sources) for trial in _growing(curve, plan)] + _wider(sources, plan)


def _curves(sources: Sources) -> tuple[Curve, ...]:
    """Lists the curves. Fewer studies of a split by sample would be another question: those left out are tested on."""
    by_sample = (Curve("Split by sample", (sources.by_sample,), "profiles"),) if sources.by_sample else ()
    return (
        Curve("Studies left out, fewer studies", sources.folds, "studies"),
        Curve("Studies left out, fewer profiles", sources.folds, "profiles"),
        *by_sample,
    )


def _sizes(curve: Curve, plan: Plan) -> tuple[tuple[int | None, ...], int]:
    """Returns the sizes of the training sets, and the mean number of all training profiles or studies.

    The sizes are those of the plan that every source is large enough for, and None for all.
    """
    if curve.grows == "profiles":
        totals = [len(training_samples(source.path)) for source in curve.sources]
    else:
        totals = [read_shape(source.path).studies["train"] for source in curve.sources]
    planned = getattr(plan, curve.grows)
    return (*(number for number in planned if number < min(totals)), None), round(np.mean(totals))


def _growing(curve: Curve, plan: Plan) -> list[Trial]:
    """Lists the trials with growing training sets."""
    sizes, _ = _sizes(curve, plan)
    return [
        curve.trial(source, model, plan, seed, size)
        for source in curve.sources
        for size in sizes
        for model in (*NETWORKS, *BASELINES)
        for seed in plan.seeds_of(model)
    ]


def _wider(sources: Sources, plan: Plan) -> list[Trial]:
    """Lists the trials with growing layers."""
    return [
        Trial(sources.by_sample.name, wide(model, width), plan.protocol_of(model), seed, plan.targets)
        for width in plan.widths
        for model in NETWORKS
        for seed in plan.seeds
        if sources.by_sample
    ]


PAIRS = (("taaf_linear", "ridge"), ("arc_cosine", "ridge"), ("taaf_linear", "arc_cosine"))
# What a comparison with ridge regression shows (``PairedComparison.shown``), in words.
WORDS = {
    "lower": "a lower error than ridge regression",
    None: "no shown difference from ridge regression",
    "higher": "a higher error than ridge regression",
}


def sections(evidence: Evidence, sources: Sources, plan: Plan) -> list[Section]:
    """Makes the section on the size of training set and network."""
    panels, tables, answer, data = [], [], [], []
    models = tuple(model.name for model in (*BASELINES, *NETWORKS))
    for curve in _curves(sources):
        grown = _grown(evidence, curve, plan)
        panels.append(_panel(curve.title, f"training {curve.grows}", grown, models))
        comparisons = {x: compare_all(by_model, PAIRS) for x, by_model in grown.items()}
        tables.append(_table(curve, grown, comparisons))
        answer.append(f"{curve.title}: {_overtaking(curve, comparisons)} {_gain(curve, grown)}".rstrip())
        data.append(f"{curve.title}: {data_line(next(iter(grown.values())))}.")
    if sources.by_sample:
        widths = _widths(evidence, sources, plan)
        panels.append(_panel("Split by sample, all profiles", "units of both hidden layers", widths, models[-1:]))
        tables.append(_width_table(widths))
        answer.append(_best_width(widths))
    return [
        Section(
            name="growth",
            question="How many training studies and profiles do models that are not linear need to be better than "
            "ridge regression, and does the error still fall with more of them?",
            data=f"Targets drawn at random. {' '.join(data)}",
            answer=answer,
            caveats=[
                "Smaller training sets are drawn at random from the compendium's training profiles: fewer profiles are "
                "of the same studies, and fewer studies have all their profiles. Means, SDs and the offsets of "
                "platforms are those of the whole training split.",
                "A network on fewer profiles is trained for as many steps as on all of them, with the same learning "
                "rate. The validation samples, which choose the epoch and the penalty, stay the same; with fewer "
                "profiles an epoch has fewer steps, so there are more epochs to choose from.",
                "The change of the error from one number to the next has no interval.",
                "Nothing was measured beyond the compendium's size, and a trend is no measurement.",
            ],
            tables=tables,
            figures=[
                Figure(
                    "growth",
                    "lines",
                    "Test z-score MAE against the numbers of training studies and profiles, and the width of the "
                    "hidden layers, mean over samples, genes and seeds; bands are the range over seeds.",
                    {"panels": panels},
                )
            ],
        )
    ]


def _grown(evidence: Evidence, curve: Curve, plan: Plan) -> dict[int, dict[str, Run]]:
    """Reads every model's run by the size of the training set, ascending; that of all is a mean over folds."""
    sizes, total = _sizes(curve, plan)
    all_trials = _growing(curve, plan)
    return {
        size or total: runs(evidence, (trial for trial in all_trials if getattr(trial, curve.grows) == size))
        for size in sizes
    }


def _widths(evidence: Evidence, sources: Sources, plan: Plan) -> dict[int, dict[str, Run]]:
    """Reads every network's run by the width of its layers, ascending."""
    assert sources.by_sample is not None
    by_profiles = _growing(Curve("", (sources.by_sample,), "profiles"), plan)
    usual = [trial for trial in by_profiles if trial.profiles is None]
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
    curve: Curve, grown: Mapping[int, Mapping[str, Run]], comparisons: Mapping[int, Sequence[PairedComparison]]
) -> Table:
    """Makes the table of errors and differences by the size of the training set."""
    columns = [f"training {curve.grows}"]
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
    caption = f"{curve.title}: z-score MAE by the number of training {curve.grows}."
    return Table(f"growth-{curve.name}", caption, columns, rows)


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


def _overtaking(curve: Curve, comparisons: Mapping[int, Sequence[PairedComparison]]) -> str:
    """Says with how many profiles or studies a model has a lower or higher error than ridge regression."""
    sentences = []
    largest = max(comparisons)
    for position in (0, 1):
        last = comparisons[largest][position]
        sizes = {
            shown: [str(number) for number, pairs in comparisons.items() if pairs[position].shown == shown]
            for shown in WORDS
        }
        phrases = [
            f"{WORDS[shown]} with {', '.join(numbers)} {curve.grows}" for shown, numbers in sizes.items() if numbers
        ]
        interval = f" {ends(last.interval)}" if last.interval else f", no interval: {last.no_interval}"
        sentences.append(f"{last.a} has {', '.join(phrases)} (with {largest}: {signed(last.difference)}{interval})")
    return "; ".join(sentences) + "."


def _gain(curve: Curve, grown: Mapping[int, Mapping[str, Run]]) -> str:
    """Says by how much each model's error changes between the two largest sizes that all folds have."""
    if len(grown) < 3:
        return ""
    few, many = list(grown)[-3:-1]
    falls = ", ".join(
        f"{signed(errors(grown[many][name], 'test').sample.mean() - errors(run, 'test').sample.mean())} "
        f"({run.model.label})"
        for name, run in grown[few].items()
    )
    return f"From {few} to {many} {curve.grows} the z-score MAE changes by {falls}."


def _best_width(widths: Mapping[int, Mapping[str, Run]]) -> str:
    """Says with which width each network has its lowest validation error."""
    best = {
        run.model.label: min(widths, key=lambda width: widths[width][name].validation_mae)
        for name, run in next(iter(widths.values())).items()
    }
    chosen = ", ".join(f"{width} units for {label}" for label, width in best.items())
    return f"Split by sample, the validation error is lowest with {chosen}, of {', '.join(map(str, widths))}."
