"""A comparison's files: tables, figures, and one HTML page that holds both and needs no network."""

import base64
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dgex.atomic import replacing
from dgex.dataset import Dataset
from dgex.networks import NetworkConfig
from dgex.training import Fit
from experiments import figures
from experiments.protocols import LABELS
from experiments.results import markdown, table, write_json

# Figures by file name, in the page's order, with their captions.
CAPTIONS = {
    "learning_curves": "Learning curves, mean over seeds with their range.",
    "gene_errors": "Test error of every target gene against the tanh network's, mean over seeds.",
    "taaf_parameters": "TAAF on the hidden layers: learnt parameters of all seeds.",
    "taaf_shapes": "TAAF on the hidden layers: learnt shapes of seed 0.",
    "taaf_output_parameters": "TAAF on the output layer too: learnt parameters of all seeds.",
    "taaf_output_shapes": "TAAF on the output layer too: learnt shapes of seed 0.",
}


def write_outputs(
    output: Path,
    results: Mapping[str, Any],
    dataset: Dataset,
    fits: Mapping[str, Sequence[Fit]],
    per_gene: Mapping[str, np.ndarray],
) -> None:
    """Writes the tables, the figures and the page into the results folder."""
    write_json(output / "results.json", results)
    rows = table(results)
    with replacing(output / "results.md") as partial:
        partial.write_text(markdown(rows), encoding="utf-8")
    with replacing(output / "genes.csv") as partial, partial.open("w", newline="") as file:
        genes = dataset.target_genes
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["ensembl", "symbol", "is_landmark", *(f"{name}_test_zscore_mae" for name in per_gene)])
        writer.writerows(zip(genes.ensembl, genes.symbol, dataset.overlap.astype(int), *per_gene.values(), strict=True))
    drawn = {
        "learning_curves": figures.learning_curves({name: [fit.log for fit in runs] for name, runs in fits.items()}),
        "gene_errors": figures.gene_errors(per_gene),
    }
    for name in ("taaf", "taaf_output"):
        params = [fit.params for fit in fits[name]]
        config = NetworkConfig(**results["networks"][name]["config"])
        drawn[f"{name}_parameters"] = figures.taaf_parameters(params, config, LABELS[name])
        drawn[f"{name}_shapes"] = figures.taaf_shapes(params[0], config, LABELS[name])
    for name, drawing in drawn.items():
        figures.save(drawing, output / "figures", name)
    _write_page(
        output / "report.html",
        title=f"tanh, sigmoid and TAAF on {results['data']['file']}",
        summary=_summary(results, per_gene),
        table=rows,
        drawings={CAPTIONS[name]: output / "figures" / f"{name}.svg" for name in CAPTIONS},
        facts=_facts(results),
    )


def _write_page(path: Path, *, drawings: Mapping[str, Path], **content: Any) -> None:
    """Fills the page template.

    Args:
      path: the page.
      drawings: SVG file by caption, in order.
      content: the template's other variables: ``title``, ``summary`` (lines of text), ``table`` (rows, header first),
        ``facts`` (text by name).
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    pictures = {caption: base64.b64encode(file.read_bytes()).decode() for caption, file in drawings.items()}
    page = environment.get_template("report.html.j2").render(figures=pictures, **content)
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _facts(results: Mapping[str, Any]) -> dict[str, str]:
    """What a reader needs to know of a results dictionary besides its table, as text by name."""
    data, source = results["data"], results["provenance"]
    splits: Sequence[str] = [
        f"{split} {count['samples']} samples of {count['studies']} studies" for split, count in data["splits"].items()
    ]
    return {
        "data": f"{data['file']}, sha256 {data['sha256']}",
        "genes": f"{data['landmarks']:,} landmarks, {data['targets']:,} targets, {data['overlap']:,} of them both",
        "splits": "; ".join(splits),
        "protocol": ", ".join(f"{key} {value}" for key, value in results["protocol"].items() if value),
        "software": ", ".join(f"{name} {version}" for name, version in source["packages"].items()),
        "source": f"dgex {source['dgex']}, commit {source['git_commit']}",
        "device": f"{source['devices']} x {source['device_kind']}, matmul precision {source['matmul_precision']}",
        "command": results["command"],
    }


def _summary(results: Mapping[str, Any], per_gene: Mapping[str, np.ndarray]) -> list[str]:
    """The page's first sentences."""
    networks = results["networks"]
    best = min(networks, key=lambda name: networks[name]["validation"]["zscore_mae"]["mean"])
    error = networks[best]["test"]["zscore_mae"]["mean"]
    ridge = results["baselines"]["ridge"]["test"]["zscore_mae"]["mean"]
    share = np.mean(per_gene[best] < per_gene["ridge"])
    return [
        f"The network with the lowest validation error, {LABELS[best]}, has a test z-score MAE of {error:.4f} (mean "
        f"over {len(results['seeds'])} seeds); ridge regression has {ridge:.4f}. The network's is below ridge "
        f"regression's in {share:.1%} of the target genes; genes are correlated, so the share is no test.",
        "Errors are on the test split, which was read once, after every epoch and penalty had been chosen on the "
        "validation split. The z-score MAE is in units of a gene's training SD; the log2 MAE is the same error times "
        "that SD. Figures without overlap leave out the targets that are landmark genes themselves.",
    ]
