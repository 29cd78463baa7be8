"""Passes over many profiles: block after block, several at once, results in order."""

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

# Profiles in a block. Fixed, so that neither the memory nor the number of workers changes the order of a sum, or how
# the output is laid out: the bytes are the same on any machine.
PROFILES = 256

RUNTIME = 400 * 2**20  # bytes: the interpreter, the libraries, ids, a block of the source
BYTES_PER_VALUE = 40  # of a block in work: float64 copies, ranks and masks of it


@dataclass(frozen=True)
class Resources:
    """What the work may take of the machine."""

    memory: float = 2.0  # GiB
    workers: int = os.cpu_count() or 1

    def workers_for(self, rows: int) -> int:
        """How many blocks of ``rows`` values a profile may be in work at once.

        Raises:
          DgexError: the memory does not hold even one.
        """
        block = PROFILES * rows * BYTES_PER_VALUE
        fitting = int((self.memory * 2**30 - RUNTIME) // block)
        if fitting < 1:
            needed = (RUNTIME + block) / 2**30
            raise DgexError(f"profiles of {rows} rows need {needed:.2f} GiB of memory; allow it with --memory")
        return min(self.workers, fitting)


@dataclass(frozen=True)
class Work:
    """How the work is done and shown, which changes nothing of its result."""

    resources: Resources = field(default_factory=Resources)
    steps: Steps = field(default_factory=Steps)


def blocks_of(positions: np.ndarray) -> Iterator[np.ndarray]:
    """``positions`` in pieces of ``PROFILES``."""
    for first in range(0, len(positions), PROFILES):
        yield positions[first : first + PROFILES]


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """``map`` on ``workers`` threads, with no more results than that waiting.

    Threads suffice: numpy lets go of the interpreter in what takes time here.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
