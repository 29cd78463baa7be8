"""Times networks trained at once, as by ``dgex.stacked_training.fit_many``, and the same networks one after another.

    python -m benchmarks.stack

See benchmarks/README.md for what is measured and how.
"""

import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.train_step import environment, interleaved
from dgex import console, parallel
from dgex.batches import Samples, epoch_order, place
from dgex.errors import DgexError
from dgex.networks import PRESETS, NetworkConfig
from dgex.protocols import EXAMPLE
from dgex.stacked_training import stack, train_stack_epoch
from dgex.training import init_state, train_epoch

# Numbers of networks trained at once; 1 is training one after another.
COUNTS = (1, 3, 10)

EXAMPLE_TAAF = PRESETS["example-taaf"]
# A network and the number of steps in an epoch on a CPU, enough to be timed.
CASES: dict[str, tuple[NetworkConfig, int]] = {
    "small": (replace(EXAMPLE_TAAF, landmarks=200, hidden=(100,), targets=1000), 200),
    "example": (EXAMPLE_TAAF, 100),
    "wide": (replace(EXAMPLE_TAAF, landmarks=943, targets=9520), 20),
}


def training(config: NetworkConfig, count: int, samples: Samples) -> Callable[[], None]:
    """Makes a function that trains ``count`` networks for one epoch, with a seed for each of them."""
    states = [
        replace(init_state(config, EXAMPLE.optimizer, seed), learning_rate=jnp.float32(EXAMPLE.learning_rate))
        for seed in range(count)
    ]
    orders = [epoch_order(seed, 0, len(samples)) for seed in range(count)]
    # A single network has no leading axis for networks, as in ``fit_many``.
    state = parallel.replicate(stack(states) if count > 1 else states[0], samples.devices)
    order = np.stack(orders) if count > 1 else orders[0]
    advance = train_stack_epoch if count > 1 else train_epoch

    def run() -> None:
        nonlocal state
        state, loss, _ = advance(state, samples, config, EXAMPLE, order)
        if not np.isfinite(loss).all():
            raise DgexError("the loss is not finite; times of such steps are not valid")

    return run


def measure(config: NetworkConfig, steps: int, rounds: int) -> dict[int, list[float]]:
    """Measures the milliseconds per step and network in every round, by the number of networks trained at once."""
    rng = np.random.default_rng(0)
    landmark, target = (
        rng.standard_normal((steps * EXAMPLE.batch, genes), np.float32) for genes in (config.landmarks, config.targets)
    )
    samples = place(landmark, target, parallel.devices(1))
    seconds = interleaved({str(count): training(config, count, samples) for count in COUNTS}, rounds)
    return {count: [1e3 * second / steps / count for second in seconds[str(count)]] for count in COUNTS}


def times_as_fast(times: dict[int, list[float]], count: int) -> list[float]:
    """Divides the times one after another by those of ``count`` at once, within each round.

    So a slow phase of the machine affects both.
    """
    return [single / stacked for single, stacked in zip(times[1], times[count], strict=True)]


app = console.command_line(__doc__.splitlines()[0])


@app.command()
def main(
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is timed; medians are reported.")] = 5,
) -> None:
    """Times networks trained at once, and the same networks trained one after another."""
    out = Console(width=130)
    out.print(environment())
    table = Table("network", title=f"ms per step and network, medians of {rounds} rounds", title_justify="left")
    table.add_column("one after another", justify="right")
    for count in COUNTS[1:]:
        table.add_column(f"{count} at once", justify="right")
        table.add_column("times as fast (range)", justify="right", min_width=21)
    for name, (config, steps) in CASES.items():
        times = measure(config, steps if jax.default_backend() == "cpu" else 5 * steps, rounds)
        cells = [f"{statistics.median(times[1]):.3f}"]
        for count in COUNTS[1:]:
            ratios = times_as_fast(times, count)
            cells.append(f"{statistics.median(times[count]):.3f}")
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        table.add_row(f"{name}: {'-'.join(map(str, (config.landmarks, *config.hidden, config.targets)))}", *cells)
    out.print(table)


if __name__ == "__main__":
    console.main(app)
