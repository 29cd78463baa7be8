"""Writes the model card in Markdown: what a model is, its training data, its scores, and when not to trust it."""

import re
from typing import Any

from dgex.model import Model
from dgex.model.reliability import LEAST_PEARSON
from dgex.networks import NetworkConfig, layer_table

FEW_PROFILES, FEW_STUDIES = 10_000, 100
# YAML before the card, by which the Hugging Face Hub finds and shows a model; a licence is the publisher's to add.
METADATA = """---
library_name: dgex
pipeline_tag: tabular-regression
tags: [biology, genomics, gene-expression, transcriptomics]
---
"""


def model_card(model: Model) -> str:
    """Writes the card of a model from its configuration, provenance and reliability."""
    config, provenance = model.config, model.provenance
    splits = provenance["data"]["splits"]
    trained = _trained_on(provenance)
    overlap = int(model.reference.overlap.sum())
    well = int(model.reliability.well_inferred.sum())
    crossed = "folds" in provenance
    held = "out-of-fold" if crossed else "test"
    test = provenance["scores"][held]
    calibrated = splits["train"] if crossed else splits["validation"]
    by = "out-of-fold" if crossed else "validation"
    return METADATA + "\n".join(
        [
            f"# dgex model: {config.landmarks} landmark genes to {config.targets:,} target genes",
            "",
            f"Infers the expression of {config.targets:,} target genes from {config.landmarks} landmark genes "
            f"({overlap} genes are both). {_size_of(trained)}",
            "",
            "## Use",
            "",
            "    dgex predict plate.gct -m MODEL -o profile.gctx",
            "",
            "Input: expression of human samples, log2 or linear; each profile is brought to the training data's "
            "landmark quantiles on its own. Output: log2 on the scale of the training data, or z-scores. For research, "
            "not for diagnosis. The network infers a gene from the genes that it varies with in the training data; it "
            "cannot know where that is different (a tissue not seen, another platform, a gene knocked out).",
            "",
            "## Training data",
            "",
            f"`{provenance['data']['file']}`, SHA-256 `{provenance['data']['sha256']}`, made by "
            f"`{provenance['data']['command']}` from:",
            "",
            *[f"- `{name}`, SHA-256 `{digest}`" for name, digest in provenance["data"]["sources"].items()],
            "",
            *_table(
                ["split", "profiles", "studies", ""],
                [
                    [split, f"{size['profiles']:,}", str(len(size["studies"]) or "unknown"), _names(size["studies"])]
                    for split, size in splits.items()
                ],
            ),
            "",
            "## Network",
            "",
            *_network(config, provenance),
            "",
            "## Scores",
            "",
            "z-score MAE is in units of a gene's training SD, log2 MAE the same error in log2 units, R2 against the "
            f"mean predictor. {_how_scored(provenance)} *Overlap* means the targets that are landmarks too.",
            "",
            *_table(
                ["split", "predictor", "z-score MAE", "log2 MAE", "Pearson r", "R2", "z-score MAE without overlap"],
                [
                    _score_row(split, name, provenance["scores"][split][name])
                    for split in (provenance["scores"] if crossed else ("validation", "test"))
                    for name in ("mean predictor", "ridge regression", "network")
                ],
            ),
            "",
            *([] if crossed else _remarks(provenance)),
            "## Reliability",
            "",
            f"{well:,} of {config.targets:,} targets are *well inferred*: on the {by} studies r is at least "
            f"{LEAST_PEARSON:g} within studies (each study's means taken away) and R2 above 0."
            + (
                ""
                if crossed
                else f" On the test studies {_share(test['well_inferred'], 'flagged')} of these genes meet that again, "
                f"and {_share(test['well_inferred'], 'others')} of the others."
            ),
            "",
            "Intervals are a quantile of the gene times the expected error of the profile, calibrated on the "
            f"{by} profiles{'' if crossed else ', which chose the best epoch too'}. Profiles of new studies are less "
            f"like these than these are like each other. Of the {held} values there are",
            "",
            *_table(
                ["in the interval", "of all", "of the study with fewest", "of the study with most"],
                [
                    [f"{float(level):.0%}", *(f"{coverage[studies]:.1%}" for studies in ("all", "lowest", "highest"))]
                    for level, coverage in test["coverage"].items()
                ],
            ),
            "",
            *_range(model, test, held, by, calibrated),
            *(_by_study(provenance["by_study"]) if crossed else []),
            *_calibration(provenance.get("calibration", {}).get("errors", {})),
            *_calibrated(provenance.get("calibrated", {})),
            "## Versions",
            "",
            ", ".join(f"{name} {version}" for name, version in provenance["versions"].items()),
            "",
            *(["## Notes", "", provenance["note"], ""] if "note" in provenance else []),
        ]
    )


def card_text(card: str) -> str:
    """Takes the metadata before a card away, which are not for people; cards written by former versions have none."""
    return re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)


_SPLIT = "The validation split chose the epoch; the test split was scored once."
_REFIT = (
    "The validation scores, and the reliability measured on validation, are those of the network before it was trained "
    "on validation too; the test split was scored once, after that."
)
_CROSSED = (
    "All scores are out of fold: every study was inferred by a network that was trained without it; the weights here "
    "were then fitted to all studies."
)


def _how_scored(provenance: dict[str, Any]) -> str:
    """Says which network the scores are of."""
    if "folds" in provenance:
        return _CROSSED
    return _REFIT if provenance.get("refit") else _SPLIT


def _by_study(studies: dict[str, Any]) -> list[str]:
    """Tables what intervals and expected errors are worth on each study, calibrated on the studies of other folds."""
    return [
        "On each study, calibrated on the studies of the other folds alone:",
        "",
        *_table(
            [
                "study",
                "platform",
                "profiles",
                "expected error",
                "true error",
                "ridge regression",
                "in the 90 % interval",
            ],
            [
                [
                    name,
                    study["platform"],
                    str(study["profiles"]),
                    *(f"{study[field]:.3f}" for field in ("expected", "true", "ridge")),
                    f"{study['coverage']['0.9']:.1%}" if "0.9" in study["coverage"] else "–",
                ]
                for name, study in studies.items()
            ],
        ),
        "",
    ]


def _network(config: NetworkConfig, provenance: dict[str, Any]) -> list[str]:
    """Describes the network and its training; without hidden layers that is ridge regression."""
    parameters, protocol = sum(count for *_, count in layer_table(config)), provenance["protocol"]
    if not config.hidden:
        chosen = "chosen on the validation studies of all folds" if "folds" in provenance else "of validation"
        return [
            f"{config.landmarks} → no hidden layer → {config.targets}: ridge regression in closed form, penalty "
            f"{provenance['penalty']:g}, {chosen}; {parameters:,} parameters."
        ]
    hidden = " → ".join(map(str, config.hidden))
    if config.towers > 1:
        hidden += f" in {config.towers} towers{', a checkerboard' if config.checkerboard else ''}"
    kind = config.activation if config.taaf == "none" else f"TAAF of {config.activation} ({config.taaf} layers)"
    return [
        f"{config.landmarks} → {hidden} → {config.targets}, {kind}, {_path(config)}dropout {config.dropout:g}, "
        f"{parameters:,} parameters. Initialisation {config.init}, optimiser {protocol['optimizer']}, loss "
        f"{protocol['loss']}, learning rate {protocol['learning_rate']:g}, batch {protocol['batch']}, "
        f"{_epochs(provenance)}, seed {provenance['seed']}, on {provenance['devices']}."
    ]


def _path(config: NetworkConfig) -> str:
    """Describes the linear path of a network that has one."""
    if not config.linear:
        return ""
    if config.kernel is not None:
        rank = "" if config.linear_rank is None else f" of rank {config.linear_rank}"
        return f"beside arc-cosine kernel ridge regression{rank} on {config.kernel:,} training profiles, "
    rank = "full rank" if config.linear_rank is None else f"rank {config.linear_rank}"
    return f"beside a linear path of {rank} that started at ridge regression (learning rate x {config.linear_rate:g}), "


def _epochs(provenance: dict[str, Any]) -> str:
    """Says how many epochs the network was trained for, and what chose them."""
    if "folds" in provenance:
        return f"{provenance['best_epoch']} epochs, the median of those that validation chose in the folds"
    if provenance.get("refit"):
        most = provenance["protocol"]["epochs"]
        return (
            f"{provenance['best_epoch']} epochs, of up to {most} the best on validation, for which it was then trained "
            "again on training and validation profiles together"
        )
    return f"{provenance['protocol']['epochs']} epochs of which the best on validation was {provenance['best_epoch']}"


def _trained_on(provenance: dict[str, Any]) -> dict[str, Any]:
    """Counts the profiles that the weights were fitted to, and lists their studies."""
    splits = provenance["data"]["splits"]
    parts = [splits[split] for split in (("train", "validation") if provenance.get("refit") else ("train",))]
    studies = sorted({study for part in parts for study in part["studies"]})
    return {"profiles": sum(part["profiles"] for part in parts), "studies": studies}


def _size_of(train: dict[str, Any]) -> str:
    """Says how large the training split is, and whether that is little."""
    profiles, studies = train["profiles"], len(train["studies"])
    size = f"Trained on {profiles:,} profiles of {studies or 'an unknown number of'} studies."
    if profiles >= FEW_PROFILES and studies >= FEW_STUDIES:
        return size
    return f"{size} **That is little**: D-GEX was trained on 88,807 profiles."


def _remarks(provenance: dict[str, Any]) -> list[str]:
    """Warns where the scores could mislead: a simpler model is better, or the test studies are not new."""
    splits, scores = provenance["data"]["splits"], provenance["scores"]["test"]
    test, train = set(splits["test"]["studies"]), set(_trained_on(provenance)["studies"])
    ridge, network = (scores[name]["zscore_mae"] for name in ("ridge regression", "network"))
    lines = []
    if ridge < network:
        lines += [f"On these test profiles ridge regression has a lower error ({ridge:.4f} to {network:.4f}).", ""]
    if test - train and not test & train:
        lines += [
            f"The network was trained on none of the {len(test)} test studies. Scores on other studies differ from "
            "these at least as much as the test scores differ from the validation scores; on other platforms and "
            "tissues they differ more.",
            "",
        ]
    else:
        lines += [
            "**The test profiles are not of new studies**: the network was trained on profiles of some of their "
            "studies, or their studies are unknown. On new studies errors are much larger.",
            "",
        ]
    return lines


def _range(model: Model, test: dict[str, Any], held: str, by: str, size: dict[str, Any]) -> list[str]:
    """Says when a profile is out of range; in models of schema 1 and 2 none is.

    Args:
      model: the model.
      test: the scores of the profiles that were held out.
      held: what these are called.
      by: what the profiles that calibrated are called.
      size: "profiles" and "studies" of those that calibrated.
    """
    expectation = model.reliability.expectation
    if expectation.farthest == float("inf"):
        return []
    return [
        f"A profile is *out of range* where its self-check error is larger than that of 99 % of the {by} "
        f"profiles: above {expectation.farthest:.2f} SD, where their median is {expectation.reference_error:.2f}. Of "
        f"the {held} profiles {test['out_of_range']:.1%} are. The {by} profiles are {size['profiles']:,} of "
        f"{len(size['studies']) or 'unknown'} studies: few studies make this a coarse measure.",
        "",
    ]


def _calibration(errors: dict[str, dict[str, float]]) -> list[str]:
    """Tables what a few whole profiles of a study give its other profiles, out of fold."""
    if not errors:
        return []
    numbers = list(next(iter(errors.values())))
    return [
        "Out-of-fold z-score MAE of a study's other profiles after `dgex calibrate` with so many of its whole profiles "
        "(mean over studies):",
        "",
        *_table(
            ["platform", *numbers],
            [[name, *(f"{error:.3f}" for error in row.values())] for name, row in errors.items()],
        ),
        "",
    ]


def _calibrated(entries: dict[str, Any]) -> list[str]:
    """Describes the platforms that calibration added; without any there is no section."""
    if not entries:
        return []
    digests = {name: f", SHA-256 `{entry['sha256']}`" if "sha256" in entry else "" for name, entry in entries.items()}
    return [
        "## Calibration",
        "",
        "Offsets of the targets were added for profiles of one's own. Scores, expected errors and intervals are those "
        "of the model before that.",
        "",
        *[
            f"- platform *{name}*: {entry['profiles']:,} profiles of `{entry['file']}`{digests[name]}, on top of "
            f"*{entry['base']}*; {entry['genes']:,} targets measured; shrunk by n / (n + {entry['shrinkage']:.3g})"
            for name, entry in entries.items()
        ],
        "",
    ]


def _share(shares: dict[str, float], name: str) -> str:
    """Formats a share in percent, or "none" where there is no such gene."""
    return f"{shares[name]:.0%}" if name in shares else "none"


def _score_row(split: str, name: str, scores: dict[str, Any]) -> list[str]:
    """Formats the scores of a predictor as a row of the table."""
    fields = ("zscore_mae", "log2_mae", "pearson", "r2")
    shown = [f"{scores[field]:.4f}" if field in scores else "–" for field in fields]
    return [split, name, *shown, f"{scores['without_overlap']['zscore_mae']:.4f}"]


def _names(studies: list[str]) -> str:
    """Lists the first 30 studies, and how many more there are."""
    return ", ".join(studies[:30]) + (f" and {len(studies) - 30} more" if len(studies) > 30 else "")


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Formats a table in Markdown, a line for each row."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]
