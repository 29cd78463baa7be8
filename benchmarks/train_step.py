"""Times training steps of dgex, of other frameworks, and of the matrix products and updates alone, in one run.

    python -m benchmarks.train_step -o results.json

See benchmarks/README.md for what is measured and how.
"""

import json
import math
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
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

from benchmarks.peers import Peer, installed_peers
from benchmarks.rates import copies, flop_of_products, products_alone, update_alone
from dgex import console, parallel
from dgex.batches import epoch_order, index_batches, place
from dgex.errors import DgexError
from dgex.files.atomic import replacing
from dgex.networks import PRESETS, ComputeDtype, NetworkConfig, Params, Precision, init_params, predict
from dgex.protocols import DGEX, EXAMPLE, Protocol
from dgex.training import init_state, train_epoch

# The share of the rate of the matrix products alone that dgex should reach with D-GEX's networks.
SHARE_GOAL = 0.75

# Dtype and precision of the matrix products, for D-GEX's networks. On CPUs only the first pair is used, because there
# "highest" is the same and bfloat16 is not faster.
PRECISIONS: tuple[tuple[ComputeDtype, Precision], ...] = (
    ("float32", "default"),
    ("float32", "highest"),
    ("bfloat16", "default"),
)

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "keras", "tensorflow-cpu", "torch")


class Case(NamedTuple):
    """Holds a network, its training protocol, and the number of steps in an epoch, enough to be timed."""

    preset: str
    config: NetworkConfig
    protocol: Protocol
    steps: int

    @property
    def title(self) -> str:
        """Names the case in tables and results."""
        config, protocol = self.config, self.protocol
        return (
            f"{self.preset}: batch {protocol.batch}, {protocol.loss}, {protocol.optimizer}, "
            f"{config.compute_dtype}, precision {config.matmul_precision}"
        )


def cases_for(backend: str) -> list[Case]:
    """Lists the cases to time; on a GPU these include larger D-GEX networks and more precisions than on CPUs."""
    gpu = backend != "cpu"
    examples = [
        Case(preset, PRESETS[preset], EXAMPLE, 500 if gpu else 100) for preset in ("example-taaf", "example-classical")
    ]
    large = [
        Case(preset, replace(PRESETS[preset], compute_dtype=dtype, matmul_precision=precision), protocol, 40)
        for preset in ("dgex-3x3000", "dgex-3x9000")[: 1 + gpu]
        for dtype, precision in PRECISIONS[: None if gpu else 1]
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
        self.state = parallel.share(state, devices)
        self.epoch = 0

    def parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.state.params))

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        return np.asarray(predict(self.config, self.state.params, jnp.asarray(landmark)))

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
    """Measures a case, and computes its rates, in the form of results.json."""
    config, protocol, steps = case.config, case.protocol, case.steps
    rng = np.random.default_rng(0)
    landmark, target = (
        rng.standard_normal((steps * protocol.batch, genes), np.float32) for genes in (config.landmarks, config.targets)
    )
    # The parameters are moved from their initial values, so that the comparison below notices two that are swapped.
    params = jax.tree.map(
        lambda p: np.asarray(p) + 0.01 * rng.standard_normal(p.shape, np.float32),
        init_params(config, jax.random.key(0)),
    )
    dgex = DgexNetwork(config, protocol, params, landmark, target)
    others = {peer.name: peer.make(config, protocol, params, landmark, target) for peer in peers}
    for name, other in others.items():
        difference = np.abs(other.predict(landmark[:100]) - dgex.predict(landmark[:100])).max()
        if other.parameters() != dgex.parameters() or difference > 1e-5:
            raise DgexError(
                f"{name}: computes another function than dgex, with {other.parameters():,} parameters and a difference "
                f"of {difference:.1e}; its network must be corrected before it is timed"
            )

    work: dict[str, Callable[[], object]] = {"dgex": dgex.train_epoch}
    work |= {name: other.train_epoch for name, other in others.items()}
    work |= {
        "dgex's host work alone": dgex.host_work,
        "matrix products alone": products_alone(config, protocol.batch, steps),
        "update alone": update_alone(protocol.optimizer, params, steps),
    }
    milliseconds = {
        name: [1e3 * second / steps for second in seconds] for name, seconds in interleaved(work, rounds).items()
    }
    median = {name: statistics.median(times) for name, times in milliseconds.items()}
    gflop = flop_of_products(config, protocol.batch) / 1e9
    return {
        "title": case.title,
        "network": asdict(config),
        "protocol": asdict(protocol),
        "parameters": dgex.parameters(),
        "steps_per_epoch": steps,
        "ms_per_step": {
            name: {"median": median[name], "min": min(times), "max": max(times), "rounds": times}
            for name, times in milliseconds.items()
        },
        "gflop_per_step": gflop,
        "gflop_per_second": 1e3 * gflop / median["dgex"],
        "matmul_gflop_per_second": 1e3 * gflop / median["matrix products alone"],
        "share_of_matmul_rate": median["matrix products alone"] / median["dgex"],
        "times_as_fast_as": {
            peer.name: {"is": median[peer.name] / median["dgex"], "goal": peer.goal} for peer in peers
        },
    }


def show(result: dict[str, Any], out: Console) -> None:
    """Prints a case's table, and its ratios beside the goals."""
    steps = result["steps_per_epoch"]
    table = Table("", title=f"{result['title']}; {result['parameters']:,} parameters", title_justify="left")
    for heading in ("ms per step", "min to max", "steps/s", f"ms per epoch ({steps} steps)"):
        table.add_column(heading, justify="right")
    for name, time in result["ms_per_step"].items():
        median = time["median"]
        table.add_row(
            name,
            f"{median:.3f}",
            f"{time['min']:.3f} to {time['max']:.3f}",
            f"{1e3 / median:,.1f}",
            f"{steps * median:,.1f}",
        )
    out.print(table)
    for name, ratio in result["times_as_fast_as"].items():
        print(f"{ratio['is']:.2f} times as fast as {name} (goal: {ratio['goal']})")
    print(
        f"{result['gflop_per_second']:,.0f} GFLOP/s ({result['gflop_per_step']:.2f} GFLOP per step) is "
        f"{result['share_of_matmul_rate']:.1%} of the {result['matmul_gflop_per_second']:,.0f} GFLOP/s of its matrix "
        f"products alone (goal for D-GEX's networks: {SHARE_GOAL:.0%})\n"
    )


def environment() -> dict[str, Any]:
    """Describes the backend, the device, the load and the package versions."""
    device = jax.devices()[0]
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "cpus": len(os.sched_getaffinity(0)),
        "load_average_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": versions,
    }


app = console.command_line(__doc__.splitlines()[0])


@app.command()
def main(
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is timed; medians are reported.")] = 5,
    only: Annotated[str, typer.Option(help="Run only the cases whose title contains this.")] = "",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write all numbers to this JSON file.")] = None,
) -> None:
    """Times training steps of dgex, of other frameworks, and of the matrix products and updates alone."""
    out = Console(width=110)
    results: dict[str, Any] = {"environment": environment(), "rounds": rounds, "cases": []}
    out.print(results["environment"])
    gigabytes, times = 0.4, 10
    seconds = interleaved({"copy": copies(int(1000 * gigabytes), times)}, rounds)["copy"]
    results["copy_gb_per_second"] = 2 * gigabytes * times / statistics.median(seconds)
    out.print(f"copy: {results['copy_gb_per_second']:,.1f} GB/s, read and written\n")
    peers = installed_peers()
    for case in cases_for(jax.default_backend()):
        if only in case.title:
            result = measure(case, peers if case.protocol == EXAMPLE else [], rounds)
            show(result, out)
            results["cases"].append(result)
    if output:
        with replacing(output) as partial:
            partial.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    console.main(app)
