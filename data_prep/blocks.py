"""Processes many profiles in blocks, several blocks at once, and gives the results in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from data_prep.steps import Steps
from dgex.errors import DgexError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Profiles in a block. The number is fixed, so that neither the memory nor the number of workers changes the order of
# a sum or the layout of the output: the bytes are the same on any machine.
PROFILES = 256

RUNTIME = 400 * 2**20  # bytes of the interpreter, the libraries, the ids and a block of the source
BYTES_PER_PROFILE = 2000  # ids, and what near-duplicates are found by: measured from 20,000 to 60,000 profiles
BYTES_PER_VALUE = 40  # of a block while it is processed: its float64 copies, ranks and masks


@dataclass(frozen=True)
class Resources:
    """Limits the memory and the cores that preparation may use."""

    memory: float = 2.0  # GiB
    workers: int = os.cpu_count() or 1

    def workers_for(self, rows: int, profiles: int = 0) -> int:
        """Computes how many blocks may be processed at once, with ``rows`` values in a profile.

        Args:
          rows: values in a profile.
          profiles: the number of all profiles, where something is kept of each meanwhile.

        Raises:
          DgexError: the memory does not suffice for one block.
        """
        block, kept = PROFILES * rows * BYTES_PER_VALUE, RUNTIME + profiles * BYTES_PER_PROFILE
        fitting = int((self.memory * 2**30 - kept) // block)
        if fitting < 1:
            what = f"{profiles:,} profiles" if profiles else "profiles"
            needed = (kept + block) / 2**30
            raise DgexError(f"{what} of {rows} rows need {needed:.2f} GiB of memory; allow it with --memory")
        return min(self.workers, fitting)


@dataclass(frozen=True)
class Work:
    """Holds the resources and the progress display of a preparation; neither changes its result."""

    resources: Resources = field(default_factory=Resources)
    steps: Steps = field(default_factory=Steps)


def blocks_of(positions: np.ndarray) -> Iterator[np.ndarray]:
    """Cuts ``positions`` into pieces of ``PROFILES``."""
    for first in range(0, len(positions), PROFILES):
        yield positions[first : first + PROFILES]


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Maps ``function`` over ``items`` on ``workers`` threads, with at most ``workers`` results waiting.

    Threads suffice, since numpy releases the interpreter lock in the operations that take time here.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
