"""Measures dgex on a GPU, all of it in one run: steps, an epoch, ten networks at once, and the accuracy of bfloat16.

    python -m benchmarks.gpu --data prepared.h5 -o gpu.json

It should take about eight minutes. See benchmarks/README.md for what is measured and how.
"""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import typer
from rich.console import Console

from benchmarks.peers import FUSED, Peer, installed
from benchmarks.stack import EXAMPLE_TAAF, times_as_fast
from benchmarks.stack import measure as measure_stack
from benchmarks.train_step import FLOOR_ROW, Case, DgexNetwork, environment, interleaved, measure, show, summary, write
from dgex import console, parallel
from dgex.batches import place
from dgex.data.dataset import SPLITS, read_dataset
from dgex.errors import DgexError
from dgex.networks import PRESETS, ComputeDtype, NetworkConfig, init_params
from dgex.protocols import EXAMPLE
from dgex.training import evaluate, fit, mean_error

DTYPES: tuple[ComputeDtype, ...] = ("float32", "bfloat16")  # float32 at the default precision, TF32 on NVIDIA's GPUs

FLOOR_GOAL = 1 / 1.3  # a step takes at most 1.3 times its floor,
PEER_GOAL = 1 / 0.7  # and 0.7 times as long as PyTorch's
ACCURACY_GOAL = 0.002  # z-score MAE

Results = dict[str, Any]


class Size(NamedTuple):
    """Holds how much is measured.

    Attributes:
      name: of the large network.
      network: the large network.
      steps: the number of steps in an epoch, for each batch.
      profiles: the number of profiles of the whole epoch, which has the first of these batches.
      example_steps: the number of steps in an epoch of the example networks.
      hidden: the hidden layers of the network whose accuracy is compared.
      epochs: how long that network is trained.
    """

    name: str
    network: NetworkConfig
    steps: dict[int, int]
    profiles: int
    example_steps: int
    hidden: tuple[int, ...]
    epochs: int


LARGE = PRESETS["dgex-3x9000"]
# D-GEX's training data have 88,807 profiles.
FULL = Size("dgex-3x9000", LARGE, {200: 40, 1000: 20, 5000: 4}, 88_807, 500, (300, 300), 100)
SMALL = Size("dgex-3x30", replace(LARGE, hidden=(30,) * 3, targets=50), {20: 3, 50: 2}, 95, 3, (10, 10), 2)


def accuracies(data: Path, size: Size, seeds: int = 3) -> Results:
    """Measures the test z-score MAE of a TAAF network for each seed, in float32 and in bfloat16."""
    dataset, devices = read_dataset(data), parallel.devices(1)
    train, validation, test = (place(*dataset.zscores(split), devices) for split in SPLITS)
    network = NetworkConfig(train.landmark.shape[1], train.target.shape[1], size.hidden, taaf="hidden", dropout=0.25)
    protocol = replace(EXAMPLE, epochs=size.epochs)
    results: Results = {}
    for dtype in DTYPES:
        config = replace(network, compute_dtype=dtype)
        fits = [fit(config, protocol, train, validation, seed) for seed in range(seeds)]
        results[dtype] = [mean_error(evaluate(result.params, test, config)) for result in fits]
        print(f"test z-score MAE in {dtype}, a seed each: " + ", ".join(f"{error:.4f}" for error in results[dtype]))
    results["difference"] = float(np.mean(np.subtract(results["bfloat16"], results["float32"])))
    verdict = "reached" if abs(results["difference"]) <= ACCURACY_GOAL else "missed"
    print(f"mean difference {results['difference']:+.4f}, goal {ACCURACY_GOAL} {verdict}\n")
    return results


def ten_at_once(size: Size, rounds: int) -> Results:
    """Measures the milliseconds a step and network of ten example networks at once, and of one after another."""
    times = measure_stack(EXAMPLE_TAAF, size.example_steps, rounds)
    one, ten, quotient = summary(times[1]), summary(times[10]), summary(times_as_fast(times, 10))
    print(
        f"example network: {one['median']:.3f} ms a step; ten at once {ten['median']:.3f} ms a step and network, "
        f"{quotient['median']:.2f} times as fast ({quotient['min']:.2f} to {quotient['max']:.2f})\n"
    )
    return {"one": one, "ten": ten, "times_as_fast": quotient}


def whole_epochs(size: Size, rounds: int) -> Iterator[Results]:
    """Measures the seconds of an epoch over D-GEX's number of profiles, made up, for each dtype."""
    rng = np.random.default_rng(0)
    landmark, target = (
        rng.standard_normal((size.profiles, genes), np.float32)
        for genes in (size.network.landmarks, size.network.targets)
    )
    protocol = replace(EXAMPLE, batch=min(size.steps))
    for dtype in DTYPES:
        config = replace(size.network, compute_dtype=dtype)
        dgex = DgexNetwork(config, protocol, init_params(config, jax.random.key(0)), landmark, target)
        seconds = interleaved({"epoch": dgex.train_epoch}, rounds)["epoch"]
        where = "on the device" if len(dgex.samples) <= dgex.samples.block else "streamed"
        steps = -(-size.profiles // protocol.batch)
        print(
            f"{size.name}, {dtype}, batch {protocol.batch}: an epoch over {size.profiles:,} profiles, {where}, takes "
            f"{statistics.median(seconds):.2f} s, {1e3 * statistics.median(seconds) / steps:.3f} ms a step"
        )
        yield {"dtype": dtype, "batch": protocol.batch, "profiles": size.profiles, "samples": where} | {
            "seconds": summary(seconds)
        }
    print()


def cases(size: Size) -> list[Case]:
    """Lists the steps to time: of one network, by dtype and batch."""
    return [
        Case(
            size.name,
            replace(size.network, compute_dtype=dtype),
            replace(EXAMPLE, batch=batch),
            steps,
            {FLOOR_ROW: FLOOR_GOAL},
        )
        for dtype in DTYPES
        for batch, steps in size.steps.items()
    ]


def peers_on(backend: str) -> list[Peer]:
    """Lists PyTorch, if it is installed and can use the device; prints why not."""
    peers = installed([FUSED._replace(goal=PEER_GOAL)])
    if peers and backend != "cpu":
        # In a process of its own, because the CUDA libraries of PyTorch may not be those that JAX has loaded.
        finds_gpu = "import sys, torch; sys.exit(not torch.cuda.is_available())"
        if subprocess.run([sys.executable, "-c", finds_gpu]).returncode:
            print(f"{FUSED.name}: skipped, this PyTorch finds no GPU")
            return []
    return peers


app = console.command_line(__doc__.splitlines()[0])


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Prepared data set, for the accuracy of bfloat16.")],
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is timed; medians are reported.")] = 5,
    small: Annotated[
        bool,
        typer.Option("--small", help="Run through it with tiny networks, also on a CPU; the numbers mean nothing."),
    ] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write all numbers to this JSON file.")] = None,
) -> None:
    """Measures dgex on a GPU: steps, an epoch, ten networks at once, and the accuracy of bfloat16."""
    backend = jax.default_backend()
    if backend == "cpu" and not small:
        raise DgexError("JAX finds no GPU here; --small runs through the script on a CPU, to see that it works")
    size, out = SMALL if small else FULL, Console(width=130)
    results: Results = {"environment": environment(), "rounds": rounds, "small": small}
    out.print(results["environment"])

    def keep(name: str, value: Any) -> None:
        results[name] = value
        if output:
            write(results, output)  # after each part, in case a later one fails

    keep("accuracy", accuracies(data, size))
    keep("ten_networks", ten_at_once(size, rounds))
    peers = peers_on(backend)
    for case in cases(size):
        try:
            result = measure(case, peers, rounds)
        except DgexError as error:
            if not peers:
                raise
            print(f"{error}\nthe other cases are timed without it")
            peers = []
            result = measure(case, peers, rounds)
        show(result, out)
        keep("cases", [*results.get("cases", []), result])
    keep("epochs", list(whole_epochs(size, rounds)))


if __name__ == "__main__":
    console.main(app)
