"""The steps of a long command: a progress bar for each, then how long it took and how much memory."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dgex.console import progress


class Steps:
    """Opens one progress bar after another and keeps what each step cost."""

    def __init__(self) -> None:
        self._costs: list[tuple[str, float, float]] = []

    @contextmanager
    def __call__(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """A step of ``total`` units of whatever; gives the function that says some more of them are done."""
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
    """The most memory the process has had resident, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
