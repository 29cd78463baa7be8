"""From fitted networks and baselines to ``results.json``: scores of every split on both scales, and where they come
from.

The file's fields are described in docs/results-format.md.
"""

import functools
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

import dgex
from dgex.atomic import replacing
from dgex.dataset import SPLITS, Dataset
from dgex.metrics import GeneScores, summarize
from dgex.training import Fit
from experiments.protocols import LABELS, Comparison

SCHEMA_VERSION = 1

Scores = dict[str, Any]


def split_scores(scores: GeneScores, sd: np.ndarray, overlap: np.ndarray) -> Scores:
    """Means over all targets, and under "without_overlap" over those that are not landmark genes too."""
    return {**summarize(scores, sd), "without_overlap": summarize(scores, sd, ~overlap)}


def over_seeds(runs: Sequence[Scores]) -> Scores:
    """Turns each figure of like-built dictionaries into {"mean", "sd", "seeds"}; the SD of a single run is null."""
    return {
        key: over_seeds([run[key] for run in runs])
        if isinstance(value, Mapping)
        else {
            "mean": float(np.mean([run[key] for run in runs])),
            "sd": float(np.std([run[key] for run in runs], ddof=1)) if len(runs) > 1 else None,
            "seeds": [run[key] for run in runs],
        }
        for key, value in runs[0].items()
    }


def taaf_summary(params: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Minimum, quartiles and maximum of every TAAF layer's learnt parameters; all equal where units share one."""
    return {
        layer: {name: np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist() for name, values in learnt.items()}
        for layer, learnt in params.items()
        if layer.endswith("_taaf")
    }


def collect(
    dataset: Dataset,
    plan: Comparison,
    fits: Mapping[str, Sequence[Fit]],
    scores: Mapping[str, Sequence[Mapping[str, GeneScores]]],
) -> dict[str, Any]:
    """What results.json says of networks, baselines and data, but for the data file's name and the provenance.

    Args:
      dataset: the data.
      plan: what was trained.
      fits: by network, one a seed.
      scores: scores by split, by network or baseline, one a seed (a baseline has one).
    """
    sd, overlap = dataset.target_scaler.sd, dataset.overlap

    def by_split(name: str) -> dict[str, Any]:
        return {split: over_seeds([split_scores(run[split], sd, overlap) for run in scores[name]]) for split in SPLITS}

    networks: dict[str, Any] = {}
    for name, runs in fits.items():
        networks[name] = {
            "config": asdict(plan.networks[name]),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(runs[0].params)),
            "best_epoch": over_seeds([{"epoch": fit.best_epoch} for fit in runs])["epoch"],
            **by_split(name),
            "taaf_parameters": [taaf_summary(fit.params) for fit in runs],
        }
    counts = {
        split: {
            "samples": int((dataset.split == number).sum()),
            "studies": len(
                {study for study, of in zip(dataset.study, dataset.split, strict=True) if of == number} - {""}
            ),
        }
        for number, split in enumerate(SPLITS)
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "baselines": {name: by_split(name) for name in scores if name not in fits},
        "networks": networks,
        "protocol": asdict(plan.protocol),
        "seeds": list(plan.seeds),
        "data": {
            "landmarks": dataset.landmark.shape[1],
            "targets": dataset.target.shape[1],
            "overlap": int(overlap.sum()),
            "splits": counts,
            "provenance": dataset.provenance,
        },
    }


def provenance(devices: Sequence[jax.Device], matmul_precision: str) -> dict[str, Any]:
    """What the numbers depend on besides data and configuration."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "h5py")
    return {
        "dgex": dgex.__version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "platform": platform.platform(),
        "device_kind": devices[0].device_kind,
        "devices": len(devices),
        "matmul_precision": matmul_precision,
    }


@functools.cache
def git_commit() -> str | None:
    """The commit of the source tree, with "-dirty" if it was changed since; null for an installed package."""
    source = Path(__file__).parent.parent
    if not (source / ".git").exists():  # nor may the commit be that of a repository around an installed package
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            cwd=source,
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return described.stdout.strip() or None


def table(results: Mapping[str, Any]) -> list[list[str]]:
    """The comparison as rows of text, header first: baselines, then networks; figures as mean ± SD over seeds."""
    header = [
        "network", "parameters", "best epoch", "validation z-score MAE", "test z-score MAE",
        "test z-score MAE, without overlap", "test log2 MAE", "test log2 MAE, without overlap", "test Pearson r",
    ]  # fmt: skip
    rows = [header]
    for name, entry in {**results["baselines"], **results["networks"]}.items():
        test = entry["test"]
        epochs = entry.get("best_epoch", {}).get("seeds")
        rows.append(
            [
                LABELS[name],
                f"{entry['parameters']:,}" if "parameters" in entry else "",
                "/".join(str(epoch) for epoch in epochs) if epochs else "",
                *map(
                    figure,
                    (
                        entry["validation"]["zscore_mae"], test["zscore_mae"], test["without_overlap"]["zscore_mae"],
                        test["log2_mae"], test["without_overlap"]["log2_mae"], test["pearson"],
                    ),
                ),
            ]
        )  # fmt: skip
    return rows


def figure(value: Mapping[str, Any]) -> str:
    """``0.4012 ± 0.0010``; the mean alone where there is no SD, a dash where the mean is undefined."""
    if np.isnan(value["mean"]):
        return "–"
    return f"{value['mean']:.4f}" + (f" ± {value['sd']:.4f}" if value["sd"] is not None else "")


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, header first, as a Markdown table."""
    header, *body = rows
    lines = [header, ["---"] * len(header), *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes the file whole or not at all; an undefined number (NaN) becomes null."""
    text = json.dumps(_nan_to_none(value), indent=1, allow_nan=False)
    with replacing(path) as partial:
        partial.write_text(text + "\n")


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
