"""Passes over profiles: in order, bounded, and never beyond the memory."""

import threading
import time

import numpy as np
import pytest

from data_prep.blocks import PROFILES, Resources, blocks_of, in_order
from dgex.errors import DgexError


def test_blocks_cover_the_positions_in_order():
    positions = np.arange(3, 2 * PROFILES + 10)
    blocks = list(blocks_of(positions))
    assert [len(block) for block in blocks] == [PROFILES, PROFILES, 7]
    np.testing.assert_array_equal(np.concatenate(blocks), positions)


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_few_wait(workers):
    taken, lock = [], threading.Lock()

    def square(number: int) -> int:
        time.sleep(0.002 * (number % 3))  # so that later ones are done first
        return number**2

    def numbers():
        for number in range(20):
            with lock:
                taken.append(number)
            yield number

    for number, result in enumerate(in_order(square, numbers(), workers)):
        assert result == number**2
        assert len(taken) - number <= workers + 1


def test_an_error_in_a_worker_comes_out():
    def fail(number: int) -> int:
        raise DgexError("source: is broken")

    with pytest.raises(DgexError, match="is broken"):
        list(in_order(fail, range(5), 2))


def test_memory_decides_how_many_blocks_are_in_work():
    assert Resources(memory=64, workers=2).workers_for(16_687) == 2
    assert Resources(memory=2, workers=64).workers_for(22_268) < 10
    with pytest.raises(DgexError, match=r"profiles of 16687 rows need 0\.\d\d GiB of memory; allow it with --memory"):
        Resources(memory=0.4).workers_for(16_687)
    assert Resources(memory=2, workers=64).workers_for(22_268, 129_158) in range(4, 9)
    with pytest.raises(DgexError, match=r"1,000,000 profiles of 22268 rows need 2\.\d\d GiB of memory; allow it"):
        Resources(memory=2).workers_for(22_268, 1_000_000)
