"""Times ``dgex predict`` on a table of the L1000 compendium's size, and the network and the disk alone.

    python -m benchmarks.predict --profiles 1328098 --folder /where/there/is/room

See benchmarks/README.md for what is measured and how.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer

from benchmarks.train_step import environment
from dgex import console, parallel
from dgex.files.atomic import need_room
from dgex.formats.expression import Block, Expression, text_column
from dgex.formats.gctx import write_gctx
from dgex.inference import ROWS, inference_function
from dgex.model import Model
from dgex.model.directory import load_model
from dgex.networks import take_targets

L1000 = 1_328_098  # profiles
ROWS_OF_L1000 = 978
FIELDS = 10  # of text metadata of the samples
PIECE = 2**26  # bytes in a write when the disk's rate is measured

app = console.command_line(__doc__.splitlines()[0])


def random_blocks(model: Model, profiles: int) -> Iterator[Block]:
    """Draws log2 values: the landmarks with the training data's means and SDs, and some rows that no model uses."""
    scaler = model.reference.landmark_scaler
    rng = np.random.default_rng(0)
    for first in range(0, profiles, 8192):
        part = slice(first, min(first + 8192, profiles))
        values = rng.standard_normal((part.stop - first, ROWS_OF_L1000), np.float32)
        values[:, : len(scaler.mean)] = values[:, : len(scaler.mean)] * scaler.sd + scaler.mean
        yield part, slice(0, ROWS_OF_L1000), values


def write_input(path: Path, model: Model, profiles: int) -> None:
    """Writes a GCTX file of ``profiles`` random profiles with sample metadata."""
    genes = model.reference.landmark_genes.ensembl
    rows = (*genes, *(f"other_{number}" for number in range(ROWS_OF_L1000 - len(genes))))
    ids = tuple(f"sample_{number:07}" for number in range(profiles))
    metadata = {
        f"field_{field}": text_column([f"value {number % 1000} of field {field}" for number in range(profiles)])
        for field in range(FIELDS)
    }
    write_gctx(path, Expression(rows, ids, lambda most: random_blocks(model, profiles), {}, metadata))


def predict_rate(source: Path, output: Path, profiles: int) -> tuple[float, float]:
    """Measures the whole command: profiles per second, start-up and compilation included, and peak memory in GiB."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "dgex", "predict", source, "-o", output], check=True)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return profiles / seconds, peak


def network_rate(model: Model, seconds: float = 5) -> float:
    """Measures the compiled network alone, on values that are on the devices already: profiles per second."""
    devices = parallel.devices()
    config, params = take_targets(model.config, model.params, model.inferred)
    mean = np.zeros(config.targets, np.float32)
    run = inference_function(config, devices)
    shared = parallel.share((params, mean, mean + 1), devices)
    landmark = jax.numpy.zeros((len(devices), ROWS, config.landmarks))
    run(*shared, landmark).block_until_ready()
    calls, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        run(*shared, landmark).block_until_ready()
        calls += 1
    return calls * len(devices) * ROWS / (time.monotonic() - started)


def disk_rate(folder: Path, nbytes: int) -> float:
    """Measures plain writes to the disk of ``folder``, fsync included: bytes per second."""
    piece = np.random.default_rng(0).bytes(PIECE)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        started = time.monotonic()
        for _ in range(max(1, nbytes // PIECE)):
            file.write(piece)
        os.fsync(file.fileno())
        return max(1, nbytes // PIECE) * PIECE / (time.monotonic() - started)


@app.command()
def main(
    folder: Annotated[Path, typer.Option(help="Folder for the files, which are removed at the end.")],
    profiles: Annotated[int, typer.Option(min=1, help="How many profiles to predict.")] = L1000,
) -> None:
    """Times the command dgex predict, and the network and the disk alone, and prints their rates."""
    model = load_model()
    genes = model.config.landmarks + len(model.inferred)
    folder.mkdir(parents=True, exist_ok=True)
    need_room(folder, 4 * profiles * (genes + ROWS_OF_L1000))
    print(environment())
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        source, output = Path(scratch) / "in.gctx", Path(scratch) / "out.gctx"
        write_input(source, model, profiles)
        rate, peak = predict_rate(source, output, profiles)
        read, written = source.stat().st_size, output.stat().st_size
    network, disk = network_rate(model), disk_rate(folder, min(written, 2**34))
    per_disk = disk * profiles / written  # profiles per second that the disk can take
    for line in (
        f"{profiles:,} profiles: {ROWS_OF_L1000} rows in ({read / 1e9:.1f} GB), {genes:,} out ({written / 1e9:.1f} GB)",
        f"dgex predict: {profiles / rate:,.0f} s, {rate:,.0f} profiles/s, {rate / profiles * written / 1e6:,.0f} MB/s "
        f"written, peak memory {peak:.2f} GiB",
        f"network alone: {network:,.0f} profiles/s",
        f"disk alone: {per_disk:,.0f} profiles/s ({disk / 1e6:,.0f} MB/s)",
        f"share of the slower of these: {rate / min(network, per_disk):.0%}",
    ):
        print(line)


if __name__ == "__main__":
    console.main(app)
