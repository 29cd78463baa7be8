"""The model card: what a model is, what it was trained on, how good it is and when not to trust it; as Markdown."""

from typing import Any

from dgex.model import Model
from dgex.networks import layer_table
from dgex.reliability import LEAST_PEARSON

FEW_PROFILES, FEW_STUDIES = 10_000, 100


def model_card(model: Model) -> str:
    """The card of a model, from its provenance and reliability alone."""
    config, made = model.config, model.provenance
    splits = made["data"]["splits"]
    overlap = int(model.reference.overlap.sum())
    hidden = " → ".join(map(str, config.hidden))
    kind = config.activation if config.taaf == "none" else f"TAAF of {config.activation} ({config.taaf} layers)"
    parameters = sum(count for *_, count in layer_table(config))
    well = int(model.reliability.well_inferred.sum())
    return "\n".join(
        [
            f"# dgex model: {config.landmarks} landmark genes to {config.targets:,} target genes",
            "",
            f"Infers the expression of {config.targets:,} target genes from {config.landmarks} landmark genes "
            f"({overlap} genes are both). {_size_of(splits['train'])}",
            "",
            "## Use",
            "",
            "    dgex predict plate.gct -m MODEL -o profile.gctx",
            "",
            "Input: expression of human samples, log2 or linear; each profile is brought to the training data's "
            "landmark quantiles on its own. Output: log2 on the scale of the training data, or z-scores. For research, "
            "not for diagnosis. The network infers a gene from the company it keeps in the training data; it cannot "
            "know of other company (a tissue not seen, another platform, a gene knocked out).",
            "",
            "## Training data",
            "",
            f"`{made['data']['file']}`, SHA-256 `{made['data']['sha256']}`, made by `{made['data']['command']}` from:",
            "",
            *[f"- `{name}`, SHA-256 `{digest}`" for name, digest in made["data"]["sources"].items()],
            "",
            *_table(
                ["split", "profiles", "studies", ""],
                [
                    [split, f"{size['profiles']:,}", str(len(size["studies"])), _names(size["studies"])]
                    for split, size in splits.items()
                ],
            ),
            "",
            "## Network",
            "",
            f"{config.landmarks} → {hidden or 'no hidden layer'} → {config.targets}, {kind}, dropout "
            f"{config.dropout:g}, {parameters:,} parameters. Optimiser {made['protocol']['optimizer']}, loss "
            f"{made['protocol']['loss']}, learning rate {made['protocol']['learning_rate']:g}, batch "
            f"{made['protocol']['batch']}, {made['protocol']['epochs']} epochs of which the best on validation was "
            f"{made['best_epoch']}, seed {made['seed']}, on {made['devices']}.",
            "",
            "## Scores",
            "",
            "z-score MAE is in units of a gene's training SD, log2 MAE the same error in log2 units, R2 against the "
            "mean predictor. The validation split chose the epoch; the test split was scored once. *Overlap* are the "
            "targets that are landmarks too.",
            "",
            *_table(
                ["split", "predictor", "z-score MAE", "log2 MAE", "Pearson r", "R2", "z-score MAE without overlap"],
                [
                    _score_row(split, name, made["scores"][split][name])
                    for split in ("validation", "test")
                    for name in ("mean predictor", "ridge regression", "network")
                ],
            ),
            "",
            *_better_ridge(made["scores"]["test"]),
            "## Reliability",
            "",
            f"{well:,} of {config.targets:,} targets are *well inferred*: validation r of at least {LEAST_PEARSON:g} "
            "and R2 above 0. Every row of a prediction carries its gene's validation r, R2 and MAE.",
            "",
            "Intervals are split conformal, per gene, calibrated on the validation profiles. They hold what they "
            "promise for profiles like these; of the test profiles' values they hold:",
            "",
            *_table(
                ["interval", "share of the test values in it"],
                [
                    [f"{float(level):.0%}", f"{share:.1%}"]
                    for level, share in made["scores"]["test"]["coverage"].items()
                ],
            ),
            "",
            "A profile is *out of range* where it lies farther from the training data than 99 % of the validation "
            f"profiles do: at a distance above {model.reliability.farthest:.2f} in landmark space, where training "
            f"profiles have about 1. Of the test profiles {made['scores']['test']['out_of_range']:.1%} are.",
            "",
            "## Versions",
            "",
            ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
            "",
        ]
    )


def _size_of(train: dict[str, Any]) -> str:
    """How much it was trained on, and whether that is little."""
    profiles, studies = train["profiles"], len(train["studies"])
    size = f"Trained on {profiles:,} profiles of {studies} studies."
    if profiles >= FEW_PROFILES and studies >= FEW_STUDIES:
        return size
    return (
        f"{size} **That is little**: D-GEX was trained on 88,807 profiles. Expect the test errors below on new studies "
        "of similar samples and platforms, and larger ones elsewhere."
    )


def _better_ridge(scores: dict[str, Any]) -> list[str]:
    ridge, network = (scores[name]["zscore_mae"] for name in ("ridge regression", "network"))
    if network <= ridge:
        return []
    return [
        f"On these test profiles ridge regression has a lower error than the network ({ridge:.4f} to {network:.4f}).",
        "",
    ]


def _score_row(split: str, name: str, scores: dict[str, Any]) -> list[str]:
    fields = ("zscore_mae", "log2_mae", "pearson", "r2")
    shown = [f"{scores[field]:.4f}" if field in scores else "–" for field in fields]
    return [split, name, *shown, f"{scores['without_overlap']['zscore_mae']:.4f}"]


def _names(studies: list[str]) -> str:
    return ", ".join(studies[:30]) + (f" and {len(studies) - 30} more" if len(studies) > 30 else "")


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]
