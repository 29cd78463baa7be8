"""Compares tanh, sigmoid and TAAF networks, with a linear path, in towers or without, and baselines, refitted too.

    python -m experiments.study --only activations --data DIR -o results/study

On every fold and on the split by sample, thirteen networks are trained from three seeds each, refits included, and
eight baselines: on 500 targets, in the quick study on 300. Those without a linear path train for 100 epochs (10), the
others for 40 (6).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dgex.data.dataset import read_reference
from dgex.towers import equal_units
from experiments.analysis.evidence import Evidence, Run, compare_all, runs
from experiments.report.comparison import comparison_section
from experiments.report.figures import gene_errors, study_errors, taaf_parameters
from experiments.report.sections import Section, Table
from experiments.report.sentences import data_line
from experiments.report.tables import comparison_table, error_table, gene_table
from experiments.trials.heldout import test_on
from experiments.trials.loading import random_subset
from experiments.trials.models import ModelSpec
from experiments.trials.plan import Plan
from experiments.trials.sources import Source, Sources
from experiments.trials.trial import Trial

# The size of the networks in the example of the TAAF-D-GEX repository.
SIZE: Mapping[str, Any] = {"hidden": (300, 300), "dropout": 0.25}

BASELINE_MODELS = (
    ModelSpec("mean", "mean predictor"),
    ModelSpec("nearest_samples", "nearest samples"),
    ModelSpec("nearest_genes", "nearest genes (KNN-GE)"),
    ModelSpec("least_squares", "linear regression"),
    ModelSpec("ridge", "ridge regression"),
    ModelSpec("arc_cosine", "arc-cosine kernel"),
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


# Of Kunc and Klema's best network (``dgex.towers``). In two hidden layers a checkerboard is the same as towers.
TOWERS, TOWER_LAYERS = 5, 3
# 330; with the study's landmarks and targets these networks have no more weights than the others.
TOWER_UNITS = equal_units(943, 500, SIZE["hidden"][0], len(SIZE["hidden"]), TOWERS, TOWER_LAYERS)


def in_towers(model: ModelSpec, units: int, checkerboard: bool) -> ModelSpec:
    """Puts the units of a network's hidden layers, of which it then has three, into five towers or a checkerboard."""
    assert model.network is not None
    network = {**model.network, "hidden": (units,) * TOWER_LAYERS, "towers": TOWERS, "checkerboard": checkerboard}
    name, what = ("checkerboard", "a checkerboard") if checkerboard else ("towers", "five towers")
    return ModelSpec(f"{model.name}_{name}", f"{model.label} in {what}", network, model.covered_fraction)


def beside_linear_path(model: ModelSpec) -> ModelSpec:
    """Puts a network beside a linear path that starts at ridge regression and learns at a tenth of the rate."""
    assert model.network is not None
    network = {**model.network, "linear": True, "linear_rate": 0.1}
    return ModelSpec(f"{model.name}_linear", f"{model.label} with a linear path", network)


def beside_kernel(model: ModelSpec) -> ModelSpec:
    """Puts a network beside arc-cosine kernel ridge regression."""
    assert model.network is not None
    # Training sets the number of the kernel's profiles.
    network = {**model.network, "linear": True, "linear_rate": 0.0, "kernel": 1}
    return ModelSpec(f"{model.name}_kernel", f"{model.label} with the kernel", network)


PLAIN = NETWORK_MODELS[:3]  # with a TAAF on the output too, networks are in the ablation
LINEAR = tuple(map(beside_linear_path, PLAIN))
KERNEL = beside_kernel(PLAIN[-1])
IN_TOWERS = tuple(in_towers(PLAIN[-1], TOWER_UNITS, checkerboard) for checkerboard in (False, True))
NETWORKS = (*PLAIN, *LINEAR, KERNEL, *IN_TOWERS, beside_linear_path(IN_TOWERS[-1]))
REFITTED = (*BASELINE_MODELS[-2:], PLAIN[-1], LINEAR[-1], KERNEL)


def trials(sources: Sources, plan: Plan) -> list[Trial]:
    """Lists the trials: every model on every split, and the refit of some."""
    return [
        Trial(source.name, model, plan.protocol_of(model), seed, plan.targets, refit=refit)
        for source in sources
        for model in (*BASELINE_MODELS, *NETWORKS)
        for refit in ((False, True) if model in REFITTED else (False,))
        for seed in plan.seeds_of(model)
    ]


# The pairs were decided before these trials were made; of earlier ones, on other folds or fewer seeds, the errors of
# ridge regression, of the arc-cosine kernel and of one network with a linear path were known.
PAIRS = (
    ("sigmoid", "tanh"),
    ("taaf", "sigmoid"),
    ("taaf", "tanh"),
    ("tanh", "ridge"),
    ("taaf", "ridge"),
    ("sigmoid_linear", "tanh_linear"),
    ("taaf_linear", "sigmoid_linear"),
    ("taaf_linear", "tanh_linear"),
    ("taaf_linear", "taaf"),
    ("taaf_linear", "ridge"),
    ("taaf_towers", "taaf"),
    ("taaf_checkerboard", "taaf"),
    ("taaf_checkerboard", "taaf_towers"),
    ("taaf_checkerboard_linear", "taaf_linear"),
    ("arc_cosine", "ridge"),
    ("taaf_linear", "arc_cosine"),
    ("taaf_kernel", "arc_cosine"),
    ("taaf_kernel", "taaf_linear"),
    ("ridge_refit", "ridge"),
    ("taaf_refit", "taaf"),
    ("taaf_linear_refit", "taaf_linear"),
    ("taaf_linear_refit", "ridge_refit"),
    ("taaf_linear_refit", "arc_cosine_refit"),
    ("taaf_linear_refit", "ridge"),
    ("arc_cosine_refit", "ridge_refit"),
    ("taaf_kernel_refit", "arc_cosine_refit"),
    ("taaf_kernel_refit", "ridge_refit"),
    ("taaf_kernel_refit", "ridge"),
)
SHOWN = (
    ("taaf", "sigmoid"),
    ("taaf", "tanh"),
    ("taaf", "ridge"),
    ("taaf_checkerboard", "taaf"),
    ("taaf_linear", "taaf"),
    ("taaf_linear", "ridge"),
    ("taaf_linear", "sigmoid_linear"),
    ("taaf_linear", "tanh_linear"),
    ("taaf_checkerboard_linear", "taaf_linear"),
    ("taaf_linear_refit", "taaf_linear"),
    ("taaf_linear_refit", "ridge_refit"),
    ("taaf_linear_refit", "arc_cosine_refit"),
    ("taaf_kernel_refit", "arc_cosine_refit"),
    ("taaf_kernel_refit", "ridge_refit"),
    ("taaf_kernel_refit", "ridge"),
)
CAVEATS = (
    "The unit of replication is the study, or the fold where studies were left out fold by fold. Genes of one sample "
    "are correlated, so percentages of genes are only descriptive and no evidence by themselves.",
    "The networks of all folds share most of their training data. Another compendium could give another answer, and no "
    "interval here covers that.",
    "Optimiser, learning rate and epochs of the networks without a linear path were chosen on validation errors of "
    "tanh and sigmoid networks on the compendium of arrays; where the best epoch is among the last ones, longer "
    "training might lower the error. Loss and epochs of those with a linear path were chosen on the validation samples "
    "of these folds, which are test samples of other folds.",
    "A refit is made on training and validation samples, with the epoch, penalty or number of neighbours that "
    "validation has chosen; the validation error in its row is that of the choice.",
    "Studies of one laboratory can be in two folds, where the compendium does not say which project they are of. In "
    "some folds the test split or the validation split, which chooses the epoch, is a single study.",
    "Values that a test study did not measure are not scored. From values that a training study did not measure, "
    "networks learn nothing, and baselines use the training mean in their place.",
    "Networks in towers or a checkerboard follow the abstract of Kunc and Klema (2020), which leaves details open. "
    f"They have three hidden layers of {TOWER_UNITS} units, so no more weights than two whole layers of 300, but "
    "another depth; with few units the input and output layers, which are whole, hold most of the weights.",
    "The networks are small (two hidden layers of 300 units), and so is the compendium; the papers trained on 88,807 "
    "arrays.",
)


def sections(evidence: Evidence, sources: Sources, plan: Plan) -> list[Section]:
    """Makes a section on new studies, and one on new samples of the training studies, which is the papers' split."""
    all_trials = trials(sources, plan)
    folds = {fold.name for fold in sources.folds}
    by_model = runs(evidence, (trial for trial in all_trials if trial.source in folds))
    result = [
        _section(
            "new-studies",
            "Which activation infers the genes of a new study best: tanh, sigmoid or TAAF? What do a linear path and a "
            "refit add?",
            "Studies left out",
            by_model,
            sources.folds,
            plan,
        )
    ]
    if sources.by_sample:
        by_model = runs(evidence, (trial for trial in all_trials if trial.source == sources.by_sample.name))
        result.append(
            _section(
                "new-samples",
                "Which is best for new samples of the training studies, as in the papers' split?",
                "Split by sample",
                by_model,
                (sources.by_sample,),
                plan,
            )
        )
    return result


def _section(
    name: str, question: str, split: str, by_model: dict[str, Run], sources: Sequence[Source], plan: Plan
) -> Section:
    """Makes the section of one kind of split."""
    reference = read_reference(sources[0].path)
    columns = random_subset(len(reference.target_genes), plan.targets)
    shown = [by_model[model] for model in ("ridge", "arc_cosine", "taaf", "taaf_linear", "taaf_kernel")]
    platforms = [test_on(platform) for platform in reference.platforms.name]
    return comparison_section(
        name,
        question,
        by_model,
        PAIRS,
        SHOWN,
        CAVEATS,
        data=f"{split}: ",
        tables=[
            *(table for held_out in platforms for table in _on_platform(name, by_model, held_out)),
            gene_table(f"{name}-genes", by_model, reference, columns, "taaf_linear", "ridge"),
        ],
        figures=[
            study_errors(
                f"{name}-studies", shown, "test",
                "z-score MAE of every test study, mean over its samples, all genes and seeds",
            ),
            gene_errors(f"{name}-genes", by_model["taaf"], by_model["sigmoid"]),
            gene_errors(f"{name}-genes-ridge", by_model["taaf_linear"], by_model["ridge"]),
            taaf_parameters(f"{name}-taaf", by_model["taaf"]),
            taaf_parameters(f"{name}-taaf-linear", by_model["taaf_linear"]),
        ],
    )  # fmt: skip


def _on_platform(name: str, by_model: Mapping[str, Run], held_out: str) -> list[Table]:
    """Makes the tables of errors and differences on the test samples of one platform, if every source has some."""
    if not all(run.scored(held_out) for run in by_model.values()):
        return []
    tested = data_line(by_model, held_out)
    where, platform = held_out.replace(" ", "-"), held_out.removeprefix(test_on(""))
    return [
        error_table(
            f"{name}-{where}-errors",
            f"Errors on the test samples of the platform {platform} ({tested}).",
            [*by_model.values()],
            held_out,
        ),
        comparison_table(
            f"{name}-{where}-comparisons",
            f"Differences of the z-score MAE on the test samples of the platform {platform} ({tested}).",
            compare_all(by_model, PAIRS, held_out),
        ),
    ]
