"""The TAAF-D-GEX repository's own example, rerun: its four data files, two networks, 600 epochs, its table.

    python -m experiments.compare --authors-example example_data -o results/NAME

The folder is the original's ``example_data/``: landmark (lm) and target (tg) tables, train and test, as pandas wrote
them. The original has no validation set. It takes the minimum over epochs of the error *on the test set*, which is
optimistic; so is the table printed here, and it says so. Its classical network has sigmoid hidden layers and a linear
output; its TAAF network has TAAFs on the hidden and on the output layer, two changes at once.

Cost on 2 CPU cores: 1.0 to 1.2 ms a step of 64 samples (``python -m benchmarks.train_step``), and the test set once an
epoch.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from dgex.atomic import replacing
from dgex.baselines import mean_predictor, ridge
from dgex.batches import check_devices, place
from dgex.dataset import sha256_of
from dgex.errors import DgexError
from dgex.formats.pandas_hdf import read_pandas_hdf
from dgex.identity import claim
from dgex.networks import PRESETS, Precision
from dgex.products import products
from dgex.protocols import EXAMPLE
from experiments import figures
from experiments.protocols import LABELS
from experiments.results import markdown, provenance, write_json
from experiments.runs import train_all

NETWORKS = {"taaf_output": PRESETS["example-taaf"], "sigmoid": PRESETS["example-classical"]}
TITLES = {"taaf_output": "TAAF", "sigmoid": "classical"}
# Minimum MAE over epochs on (train, test), from the original README.
PUBLISHED = {"taaf_output": (0.17866, 0.19068), "sigmoid": (0.19045, 0.20115)}
SEED = 42
RIDGE_PENALTY = 1.0  # fixed: there is no validation set to choose it on


def run(
    folder: Path,
    output: Path,
    devices: tuple[jax.Device, ...],
    epochs: int | None = None,
    matmul_precision: Precision = "default",
    *,
    resume: bool = False,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Trains both networks as the original does and prints its table beside the published figures.

    Args:
      folder: with the four files ``ddf_{lm,tg}_dataset_small_example_{train,test}.h5``.
      output: gets results.json, results.md, figures/ and the runs.
      devices: to train on.
      epochs: instead of the original's 600.
      matmul_precision: as in ``NetworkConfig``.
      resume: whether to continue what ``output`` holds.
      tensorboard: whether to write event files too.

    Returns:
      What results.json holds.

    Raises:
      DgexError: a file is missing, not what pandas wrote or not finite, or the four do not fit together.
    """
    files = {
        (kind, split): folder / f"ddf_{kind}_dataset_small_example_{split}.h5"
        for kind in ("lm", "tg")
        for split in ("train", "test")
    }
    frames = {key: read_pandas_hdf(path) for key, path in files.items()}
    for key, path in files.items():
        if not np.isfinite(frames[key][0]).all():
            raise DgexError(f"{path}: holds NaN or infinite values; fetch it again")
    for kind in ("lm", "tg"):
        if not np.array_equal(frames[kind, "train"][2], frames[kind, "test"][2]):
            raise DgexError(f"{folder}: the {kind} files of train and test have different genes; fetch them again")
    for split in ("train", "test"):
        if not np.array_equal(frames["lm", split][1], frames["tg", split][1]):
            raise DgexError(f"{folder}: the lm and tg files of {split} have different samples; fetch them again")
    values = {key: np.ascontiguousarray(frame[0], np.float32) for key, frame in frames.items()}

    landmarks, targets = (values[kind, "train"].shape[1] for kind in ("lm", "tg"))
    networks = {
        name: replace(config, landmarks=landmarks, targets=targets, matmul_precision=matmul_precision)
        for name, config in NETWORKS.items()
    }
    protocol = replace(EXAMPLE, epochs=epochs or EXAMPLE.epochs)
    check_devices(len(devices), protocol.batch)
    identity = {
        "data": {path.name: sha256_of(path) for path in files.values()},
        "protocol": asdict(protocol),
        "networks": {name: asdict(config) for name, config in networks.items()},
    }
    claim(output / "compare.json", identity, resume)

    train = place(values["lm", "train"], values["tg", "train"], devices)
    test = place(values["lm", "test"], values["tg", "test"], devices)
    screen = Console(highlight=False)
    sums = products(train)
    baselines = {
        name: float(np.abs(model.predict(test.landmark) - test.target).mean())
        for name, model in {"mean": mean_predictor(sums), "ridge": ridge(sums, RIDGE_PENALTY)}.items()
    }
    for name, error in baselines.items():
        screen.print(f"{LABELS[name]}: test MAE {error:.5f}")
    fits = train_all(networks, (SEED,), protocol, train, test, output / "runs", tensorboard)
    # ``fit`` calls what chooses the epoch validation; here that is the test set, as in the original.
    minima = {
        name: (min(row.train_mae for row in fit.log), min(row.validation_mae for row in fit.log))
        for name, (fit,) in fits.items()
    }
    results = {
        **identity,
        "seed": SEED,
        "minimum_over_epochs_mae": {
            name: dict(zip(("train", "test"), pair, strict=True)) for name, pair in minima.items()
        },
        "published": {name: dict(zip(("train", "test"), pair, strict=True)) for name, pair in PUBLISHED.items()},
        "baselines_test_mae": baselines,
        "provenance": provenance(devices, matmul_precision),
    }
    write_json(output / "results.json", results)
    curves = figures.learning_curves(
        {name: [fit.log for fit in runs] for name, runs in fits.items()},
        held_out="test",
        unit="MAE, scale of the files",
    )
    figures.save(curves, output / "figures", "learning_curves")
    text = (
        f"Minimum over {protocol.epochs} epochs, taken on the test set as the original README does (optimistic), on "
        f"the scale of its files:\n\n{markdown(_table(minima))}"
    )
    with replacing(output / "results.md") as partial:
        partial.write_text(text, encoding="utf-8")
    screen.print(text, soft_wrap=True, end="")
    return results


def _table(minima: Mapping[str, tuple[float, float]]) -> list[list[str]]:
    header = ["Network", "min. MAE (train)", "published", "min. MAE (test)", "published"]
    return [
        header,
        *(
            [TITLES[name], f"{train:.5f}", f"{PUBLISHED[name][0]:.5f}", f"{test:.5f}", f"{PUBLISHED[name][1]:.5f}"]
            for name, (train, test) in minima.items()
        ),
    ]
