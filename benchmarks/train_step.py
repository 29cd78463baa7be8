"""Times training steps of dgex, of other frameworks, and of the matrix products and updates alone, in one run.

    python -m benchmarks.train_step -o train_step.json

See benchmarks/README.md for what is measured and how; ``benchmarks.report`` draws the file.
"""

import json
import math
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.peers import CHECKED, PEERS, Peer, check, installed, start, train_peer, weights_in_order
from benchmarks.rates import bytes_of_update, copies, flop_of_products, products_alone, square_products, update_alone
from dgex import console, parallel
from dgex.batches import epoch_order, index_batches, place
from dgex.errors import DgexError
from dgex.files.atomic import replacing
from dgex.networks import PRESETS, NetworkConfig, Params, forward, init_params
from dgex.protocols import DGEX, EXAMPLE, Protocol
from dgex.training import init_state, train_epoch

# A TAAF should take at most 5 % longer than its plain base function.
TAAF_GOAL = 1 / 1.05

DGEX_ROW, PLAIN_ROW, PRODUCTS_ROW = "dgex", "dgex, without TAAF", "matrix products alone"
FLOOR_ROW, SQUARE_ROW, COPY_ROW = "floor", "its FLOPs as square products", "its update's bytes as copies"

MEGABYTES, COPIES = 400, 10  # of the array that measures the copy rate, and how often it is copied

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "keras", "tensorflow-cpu", "torch")


class Case(NamedTuple):
    """Holds a network, its training protocol, and what is wanted of its timing.

    Attributes:
      preset: the name of the network.
      config: the network.
      protocol: how it is trained.
      steps: the number of steps in an epoch, enough to be timed.
      goals: the least times, as multiples of dgex's, that are wanted of rows; the floor is measured if it is here.
    """

    preset: str
    config: NetworkConfig
    protocol: Protocol
    steps: int
    goals: dict[str, float]

    @property
    def compared(self) -> bool:
        """Tells whether the peers train the case too: their optimiser is Nadam."""
        return self.protocol.optimizer == EXAMPLE.optimizer

    @property
    def title(self) -> str:
        """Names the case in tables and results."""
        config, protocol = self.config, self.protocol
        return (
            f"{self.preset}: batch {protocol.batch}, {protocol.loss}, {protocol.optimizer}, "
            f"{config.compute_dtype}, precision {config.matmul_precision}"
        )


def cases_for(backend: str) -> list[Case]:
    """Lists the cases to time, with more steps on a GPU than on CPUs; ``benchmarks.gpu`` has a GPU's own."""
    gpu = backend != "cpu"
    examples = [
        Case(preset, PRESETS[preset], EXAMPLE, 500 if gpu else 100, {PRODUCTS_ROW: 0.65})
        for preset in ("example-taaf", "example-classical")
    ]
    large = [
        Case("dgex-3x3000", PRESETS["dgex-3x3000"], protocol, 40 if gpu else 3, {PRODUCTS_ROW: 0.82})
        for protocol in (replace(EXAMPLE, batch=DGEX.batch), DGEX)
    ]
    return examples + large


class DgexNetwork:
    """Trains a network of dgex as ``dgex.training.fit`` does."""

    def __init__(
        self, config: NetworkConfig, protocol: Protocol, params: Params, landmark: np.ndarray, target: np.ndarray
    ) -> None:
        devices = parallel.devices(1)
        state = replace(
            init_state(config, protocol.optimizer, seed=0),
            params=params,
            learning_rate=jnp.float32(protocol.learning_rate),
        )
        self.config, self.protocol = config, protocol
        self.samples = place(landmark, target, devices)
        self.state = parallel.replicate(state, devices)
        self.epoch = 0

    def parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.state.params))

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        exact = replace(self.config, compute_dtype="float32", matmul_precision="highest")
        return np.asarray(forward(exact, self.state.params, jnp.asarray(landmark)))

    def order(self) -> np.ndarray:
        """Gives the order of the samples in the present epoch."""
        return epoch_order(0, self.epoch, len(self.samples))

    def train_epoch(self) -> None:
        self.state, loss, _ = train_epoch(self.state, self.samples, self.config, self.protocol, self.order())
        self.epoch += 1
        if not math.isfinite(loss):
            raise DgexError(f"the loss is not finite in epoch {self.epoch}; times of such steps are not valid")

    def host_work(self) -> None:
        """Does the work of the host before an epoch can begin on the device."""
        index_batches(self.order(), self.protocol.batch, 1)


def interleaved(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Times each function in every round, in seconds; all run within a round, so that a busy minute affects all."""
    for run in work.values():  # the first run compiles
        run()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            start = perf_counter()
            run()
            seconds[name].append(perf_counter() - start)
    return seconds


def measure(case: Case, peers: list[Peer], rounds: int) -> dict[str, Any]:
    """Measures a case, and computes its ratios, in the form of the JSON file."""
    config, protocol, steps = case.config, case.protocol, case.steps
    rng = np.random.default_rng(0)
    landmark, target = (
        rng.standard_normal((steps * protocol.batch, genes), np.float32) for genes in (config.landmarks, config.targets)
    )

    def parameters(config: NetworkConfig) -> Params:
        # Moved from their initial values, so that the comparison of predictions notices two that are swapped.
        return jax.tree.map(
            lambda p: np.asarray(p) + 0.01 * rng.standard_normal(p.shape, np.float32),
            init_params(config, jax.random.key(0)),
        )

    params = parameters(config)
    dgex = DgexNetwork(config, protocol, params, landmark, target)
    prediction = dgex.predict(landmark[:CHECKED])  # before it is trained
    rows: dict[str, dict[str, Any]] = {}
    gflop = flop_of_products(config, protocol.batch) / 1e9
    update_bytes = bytes_of_update(protocol.optimizer, params)
    size, times = (1024, 4) if jax.default_backend() == "cpu" else (8192, 20)  # large enough for the full rate
    # How many steps some work is worth; the other work is that of an epoch's steps.
    steps_of = {
        SQUARE_ROW: times * 2 * size**3 / (1e9 * gflop),
        COPY_ROW: COPIES * 2 * MEGABYTES * 1e6 / update_bytes,
    }

    def add(work: dict[str, Callable[[], object]], goals: Mapping[str, float | None]) -> None:
        milliseconds = {
            name: [1e3 * second / steps_of.get(name, steps) for second in seconds]
            for name, seconds in interleaved({DGEX_ROW: dgex.train_epoch} | work, rounds).items()
        }
        if SQUARE_ROW in work:
            limits = zip(milliseconds[SQUARE_ROW], milliseconds[COPY_ROW], strict=True)
            milliseconds[FLOOR_ROW] = [max(limit) for limit in limits]
        for name, times in milliseconds.items():
            row = {
                "ms_per_step": summary(times),
                # Quotients are taken within a round, so that a slow phase of the machine affects both times.
                "times_dgex": summary([a / b for a, b in zip(times, milliseconds[DGEX_ROW], strict=True)]),
                "goal": goals.get(name),
            }
            rows.setdefault(name, row)

    work: dict[str, Callable[[], object]] = {
        "dgex's host work alone": dgex.host_work,
        PRODUCTS_ROW: products_alone(config, protocol.batch, steps),
        "update alone": update_alone(protocol.optimizer, params, steps),
    }
    if config.taaf != "none":
        plain = replace(config, taaf="none")
        work[PLAIN_ROW] = DgexNetwork(plain, protocol, parameters(plain), landmark, target).train_epoch
    if FLOOR_ROW in case.goals:
        work[SQUARE_ROW] = square_products(config, size, times)
        work[COPY_ROW] = copies(MEGABYTES, COPIES)
    add(work, {PLAIN_ROW: TAAF_GOAL} | case.goals)
    work.clear()  # frees their memory
    for peer in peers:
        with start(peer, config, protocol, weights_in_order(params), landmark, target) as connection:
            check(peer, connection, dgex.parameters(), prediction)
            add({peer.name: partial(train_peer, peer, connection)}, {peer.name: peer.goal})
    return {
        "title": case.title,
        "preset": case.preset,
        "compared": case.compared,
        "network": asdict(config),
        "protocol": asdict(protocol),
        "parameters": dgex.parameters(),
        "steps_per_epoch": steps,
        "gflop_per_step": gflop,
        "update_gb_per_step": update_bytes / 1e9,
        "gflop_per_second": 1e3 * gflop / rows[DGEX_ROW]["ms_per_step"]["median"],
        "rows": rows,
    }


def summary(values: list[float]) -> dict[str, Any]:
    """Gives the median, the range, and all values."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": values}


def show(case: dict[str, Any], out: Console) -> None:
    """Prints a case's table: its rows, the times as multiples of dgex's, and the least multiples that are the goal."""
    table = Table("", title=f"{case['title']}; {case['parameters']:,} parameters", title_justify="left")
    for heading in ("ms per step", "min to max", "times dgex's", "min to max", "goal"):
        table.add_column(heading, justify="right")
    for name, row in case["rows"].items():
        time, ratio, goal = row["ms_per_step"], row["times_dgex"], row["goal"]
        table.add_row(
            name,
            f"{time['median']:.3f}",
            f"{time['min']:.3f} to {time['max']:.3f}",
            f"{ratio['median']:.2f}",
            f"{ratio['min']:.2f} to {ratio['max']:.2f}",
            "" if goal is None else f"{goal:.2f} {'reached' if ratio['median'] >= goal else 'missed'}",
        )
    out.print(table)
    print(f"{case['gflop_per_second']:,.0f} GFLOP/s ({case['gflop_per_step']:.2f} GFLOP per step)\n")


def write(results: dict[str, Any], output: Path) -> None:
    """Writes all numbers to a JSON file."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as file:
        file.write_text(json.dumps(results, indent=1))


def environment(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Describes the backend, the device, the load and the versions of packages."""
    device = jax.devices()[0]
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "processor": processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "load_average_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": versions,
    }


def processor() -> str:
    """Gives the processor's name, where Linux tells it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


app = console.command_line(__doc__.splitlines()[0])


@app.command()
def main(
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is timed; medians are reported.")] = 5,
    only: Annotated[str, typer.Option(help="Run only the cases whose title contains this.")] = "",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write all numbers to this JSON file.")] = None,
) -> None:
    """Times training steps of dgex, of other frameworks, and of the matrix products and updates alone."""
    out = Console(width=130)
    results: dict[str, Any] = {"environment": environment(), "rounds": rounds, "cases": []}
    out.print(results["environment"])
    seconds = interleaved({"copy": copies(MEGABYTES, COPIES)}, rounds)["copy"]
    results["copy_gb_per_second"] = 2 * MEGABYTES * COPIES / 1e3 / statistics.median(seconds)
    out.print(f"copy: {results['copy_gb_per_second']:,.1f} GB/s, read and written\n")
    peers = installed(PEERS)
    for case in cases_for(jax.default_backend()):
        if only in case.title:
            # Their goals are those of the example networks.
            chosen = peers if case.protocol == EXAMPLE else [peer._replace(goal=None) for peer in peers]
            result = measure(case, chosen if case.compared else [], rounds)
            show(result, out)
            results["cases"].append(result)
    if output:
        write(results, output)


if __name__ == "__main__":
    console.main(app)
