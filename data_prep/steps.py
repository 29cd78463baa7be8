"""Shows the steps of a long command: a progress bar for each, and at the end their times and peak memory."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dgex.console import progress


class Steps:
    """Opens one progress bar after another, and records the time and memory of each step."""

    def __init__(self) -> None:
        self._costs: list[tuple[str, float, float]] = []

    @contextmanager
    def __call__(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Times a step of ``total`` units; gives a function to call with the number of units just done."""
        start = time.perf_counter()
        with progress() as bar:
            task = bar.add_task(name, total=total)
            yield lambda done: bar.advance(task, done)
        self._costs.append((name, time.perf_counter() - start, _peak_memory()))

    def __str__(self) -> str:
        lines = [f"{'step':<20}{'seconds':>8}{'peak MiB so far':>17}"]
        lines += [f"{name:<20}{seconds:>8.1f}{peak / 2**20:>17.0f}" for name, seconds, peak in self._costs]
        return "\n".join(lines)


def _peak_memory() -> int:
    """Reads the peak resident memory of the process, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
