"""Prints a model's scores as a table, with what intervals and the self-check are worth below it."""

import math
import shutil

from dgex import console

OUT_OF_FOLD = "out-of-fold"


def print_scores(scores: dict[str, dict], refitted: bool = False) -> None:
    """Prints a model's scores: a table with a row for each split and predictor, and lines about coverage below it.

    Args:
      scores: by split or other group of profiles, as ``dgex.model.evaluation`` gives them.
      refitted: whether the network that was scored was trained on the validation profiles too.
    """
    from rich.console import Console
    from rich.table import Table

    # The coverage on these splits is not shown: the intervals and the range were calibrated on them.
    roles = {"train": "trained the network", "validation": "chose the epoch and calibrated intervals and range"}
    if refitted:
        roles["validation"] += ", and then trained the network"
    fields = {"z-score MAE": "zscore_mae", "log2 MAE": "log2_mae", "Pearson r": "pearson", "R2": "r2"}
    table = Table("profiles", "predictor", *fields, "z-score MAE without overlap", show_edge=False)
    lines = []
    for split, split_scores in scores.items():
        against = split_scores.get("against")
        other = {f"against: {against['name']}": against} if against else {}
        for name in ("mean predictor", "ridge regression", "network", *other):
            if means := (split_scores | other).get(name):
                cells = [f"{means[field]:.4f}" if field in means else "–" for field in fields.values()]
                table.add_row(split, name, *cells, f"{means['without_overlap'].get('zscore_mae', math.nan):.4f}")
        if against:
            lines.extend(_paired(split, against))
        if split_scores.get("missing"):
            targets, missing = split_scores["targets"], split_scores["missing"]
            values = split_scores["profiles"] * targets
            lines.append(
                f"{split}: of {values:,} values of {targets:,} targets {missing:,} were not measured and are not scored"
            )
        if split in roles:
            lines.append(f"{split}: {roles[split]}, so its scores are too good for new profiles")
            continue
        covered = (
            f"{share['all']:.1%} in the {float(level):.0%} interval ({share['lowest']:.1%} to {share['highest']:.1%} "
            "by study)"
            for level, share in split_scores["coverage"].items()
        )
        lines.append(f"{split}, of the values: {', '.join(covered)}")
        out_of_range = f"profiles out of range: {split_scores['out_of_range']:.1%}"
        if split.startswith(OUT_OF_FOLD):
            lines.append(
                f"{split}: calibrated intervals and range, which the card checks on one fold at a time; {out_of_range}"
            )
        else:
            well = ", ".join(f"{share:.1%} of {name}" for name, share in split_scores["well_inferred"].items())
            lines.append(f"{split}, genes well inferred here: {well}; {out_of_range}")
        over = f", r = {split_scores['expected_r']:.2f} over profiles" if "expected_r" in split_scores else ""
        lines.append(
            f"{split}, z-score MAE of the profiles: expected {split_scores['expected_error']:.3f}, true "
            f"{split_scores['true_error']:.3f}{over}; self-check error {split_scores['self_check_error']:.3f}"
        )
    screen = Console(width=max(100, shutil.get_terminal_size().columns), highlight=False)
    screen.print(table)
    console.say("\n".join(lines))


def _paired(split: str, against: dict) -> list[str]:
    """Words the comparison with another model: how many studies it is worse on, and the errors on each."""
    studies, name = against["by_study"], against["name"]
    differences = [study["model"] - study["other"] for study in studies.values()]
    lower = sum(difference < 0 for difference in differences)
    return [
        f"{split}, z-score MAE against {name}: lower in {lower} of {len(studies)} studies "
        f"({lower / len(studies):.0%}), by study {sum(differences) / len(studies):+.4f} on average",
        *(
            f"  {study or 'unknown study'}: {row['model']:.4f}, {name} {row['other']:.4f}, "
            f"{row['model'] - row['other']:+.4f} ({row['profiles']:,} profiles)"
            for study, row in studies.items()
        ),
    ]
