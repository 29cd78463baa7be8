"""Which samples make up which step, for any number of devices and any size of block."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dgex import batches as batches_module
from dgex import parallel
from dgex.batches import Batches, Samples, epoch_order, index_batches, place
from dgex.data.stored import Stored
from dgex.errors import DgexError


def global_batches(batches):
    """The samples of every step in the order of their rows, whatever device they were dealt to."""
    steps = []
    for step in range(batches.sample.shape[1]):
        sample, row, weight = (np.ravel(part[:, step]) for part in (batches.sample, batches.row, batches.weight))
        assert set(weight) <= {0, 1}
        real = weight == 1
        assert np.array_equal(np.sort(row[real]), np.arange(real.sum()))
        steps.append(sample[real][np.argsort(row[real])].tolist())
    return steps


@pytest.mark.parametrize("devices", [1, 2, 3, 4])
@pytest.mark.parametrize(("samples", "batch"), [(20, 5), (23, 5), (3, 7), (8, 4), (1, 4)])
def test_same_global_batches_on_any_number_of_devices(samples, batch, devices):
    order = np.random.default_rng(0).permutation(samples)
    batches = index_batches(order, batch, devices)
    expected = [order[start : start + batch].tolist() for start in range(0, samples, batch)]
    assert global_batches(batches) == expected
    shape = (devices, len(expected), -(-batch // devices))
    assert {(part.shape, part.dtype.kind) for part in (batches.sample, batches.row)} == {(shape, "i")}
    assert batches.weight.shape == shape and batches.weight.dtype == np.float32
    assert batches.sample.max() < samples  # padding points at a real sample, so that it can be gathered


def of_network(batches, network):
    return Batches(batches.sample[:, network], batches.row, batches.weight)


def test_every_network_has_its_own_order():
    orders = np.stack([np.random.default_rng(seed).permutation(23) for seed in range(3)])
    batches = index_batches(orders, 5, 4)
    assert batches.sample.shape == (4, 3, 5, 2) and batches.row.shape == batches.weight.shape == (4, 5, 2)
    for network, order in enumerate(orders):
        expected = [order[start : start + 5].tolist() for start in range(0, 23, 5)]
        assert global_batches(of_network(batches, network)) == expected


def test_a_device_takes_consecutive_rows():
    batches = index_batches(np.arange(10), 6, 3)
    np.testing.assert_array_equal(batches.row[:, 0], [[0, 1], [2, 3], [4, 5]])


def test_more_devices_than_samples_in_a_batch():
    with pytest.raises(DgexError, match="4 devices cannot share a batch of 3; use fewer"):
        index_batches(np.arange(10), 3, 4)


def test_order_is_a_pure_function_of_seed_and_epoch():
    np.testing.assert_array_equal(epoch_order(3, 7, 500), epoch_order(3, 7, 500))
    orders = {(seed, epoch): epoch_order(seed, epoch, 500) for seed in range(3) for epoch in range(3)}
    for order in orders.values():
        np.testing.assert_array_equal(np.sort(order), np.arange(500))
    assert len({order.tobytes() for order in orders.values()}) == 9


CHUNK = np.repeat([0, 1, 3, 4, 5, 8], [16, 16, 5, 16, 16, 11])  # of 80 samples, as the training samples of a file


def test_order_in_memory_is_a_permutation_of_all():
    np.testing.assert_array_equal(epoch_order(3, 7, 500), np.random.default_rng([3, 7]).permutation(500))


@pytest.mark.parametrize("window", [1, 7, 32, 80, 1000])
def test_order_in_a_file_visits_every_sample_once(window, monkeypatch):
    monkeypatch.setattr(batches_module, "WINDOW", window)
    orders = {(seed, epoch): epoch_order(seed, epoch, 80, CHUNK) for seed in range(3) for epoch in range(3)}
    for (seed, epoch), order in orders.items():
        np.testing.assert_array_equal(np.sort(order), np.arange(80))
        np.testing.assert_array_equal(order, epoch_order(seed, epoch, 80, CHUNK))
    assert len({order.tobytes() for order in orders.values()}) == 9


def test_a_chunk_is_in_one_window_or_in_two_that_follow_each_other(monkeypatch):
    monkeypatch.setattr(batches_module, "WINDOW", 32)
    first_windows = set()
    for epoch in range(20):
        order = epoch_order(0, epoch, 80, CHUNK)
        windows = [set(CHUNK[order[first : first + 32]].tolist()) for first in range(0, 80, 32)]
        for chunk in set(CHUNK.tolist()):
            holding = [number for number, window in enumerate(windows) if chunk in window]
            assert len(holding) == 1 or (len(holding) == 2 and holding[1] == holding[0] + 1)
        assert sum(map(len, windows)) <= 6 + 2  # a window's end may cut a chunk
        first_windows.add(frozenset(windows[0]))
    assert len(first_windows) > 5


def test_a_sample_of_a_file_may_come_at_any_place():
    """In a single window every place is as likely as in a permutation: 0 to 79, mean 39.5, SD 23.1."""
    places = np.array([np.argsort(epoch_order(0, epoch, 80, CHUNK)) for epoch in range(2000)])
    error = 23.1 / np.sqrt(2000)
    assert np.abs(places.mean(axis=0) - 39.5).max() < 5 * error
    together = np.abs(places[:, 0] - places[:, 1]) == 1  # two samples of one chunk
    assert together.mean() == pytest.approx(2 / 80, abs=5 * np.sqrt(0.025 / 2000))


@pytest.mark.parametrize("devices", [1, 2, 3, 4])
def test_blocks_of_a_file_are_windows_whatever_the_number_of_devices(devices, monkeypatch):
    monkeypatch.setattr(batches_module, "WINDOW", 32)
    landmark, target = (Stored(None, "", 0, np.arange(80), genes, 16, None, None) for genes in (2, 3))
    samples = place(landmark, target, parallel.devices(devices))
    np.testing.assert_array_equal(samples.chunk, np.arange(80) // 16)
    np.testing.assert_array_equal(samples.order(1, 2), epoch_order(1, 2, 80, np.arange(80) // 16))
    values = np.arange(160, dtype="f4").reshape(80, 2), np.ones((80, 3), "f4")
    in_memory = replace(samples, landmark=values[0], target=values[1])
    blocks = list(in_memory.blocks(samples.order(1, 2), 8))
    rows = [sum(int(weight.sum()) for weight in batches.weight) for _, _, batches in blocks]
    assert rows == [32, 32, 16]


def values_of(block, batches):
    """The values of a block's samples in every global batch, whichever device they lie on, in the order of its rows."""
    devices = np.arange(len(batches.sample))[:, None, None]
    values = np.asarray(block)[devices, batches.sample]  # [devices, steps, per_device, genes]
    steps = []
    for step in range(values.shape[1]):
        real = batches.weight[:, step] == 1
        order = np.argsort(batches.row[:, step][real])
        steps.append(values[:, step][real][order].tolist())
    return steps


def epoch_of(blocks):
    """The landmarks and targets of every global batch of an epoch."""
    steps = []
    for landmark, target, batches in blocks:
        steps += zip(values_of(landmark, batches), values_of(target, batches), strict=True)
    return steps


@pytest.mark.parametrize("devices", [1, 2, 3])
@pytest.mark.parametrize(("block", "blocks"), [(23, (1, 1, 1)), (22, (3, 2, 1)), (10, (5, 3, 2)), (3, (5, 5, 5))])
def test_streamed_blocks_give_the_same_batches(block, blocks, devices):
    """Of 23 samples, as many as two blocks of every device hold; a device holds its own part of them."""
    rng = np.random.default_rng(0)
    landmark, target = rng.normal(size=(23, 2)).astype("f4"), rng.normal(size=(23, 3)).astype("f4")
    order, batch = rng.permutation(23), 5
    placed = list(Samples(landmark, target, parallel.devices(devices), block).blocks(order, batch))
    chosen = [order[start : start + batch] for start in range(0, 23, batch)]
    assert epoch_of(placed) == [(landmark[rows].tolist(), target[rows].tolist()) for rows in chosen]
    assert len(placed) == blocks[devices - 1]
    per_device = -(-batch // devices)
    assert all(x.shape[:2] == y.shape[:2] for x, y, _ in placed)
    assert all(len(x) == devices and x.shape[1] <= max(block, per_device) for x, _, _ in placed)


@pytest.mark.parametrize(("block", "blocks"), [(23, 1), (22, 3), (40, 1)])
def test_blocks_for_several_networks(block, blocks):
    """A resident block is common to all; a streamed one holds samples of each of two networks."""
    rng = np.random.default_rng(0)
    landmark, target = rng.normal(size=(23, 2)).astype("f4"), rng.normal(size=(23, 3)).astype("f4")
    orders = np.stack([rng.permutation(23) for _ in range(2)])
    placed = list(Samples(landmark, target, parallel.devices(2), block).blocks(orders, 5))
    assert len(placed) == blocks
    assert all(x.shape[:2] == y.shape[:2] and x.shape[1] <= block + 2 for x, y, _ in placed)
    for network, order in enumerate(orders):
        steps = epoch_of((x, y, of_network(batches, network)) for x, y, batches in placed)
        chosen = [order[start : start + 5] for start in range(0, 23, 5)]
        assert steps == [(landmark[rows].tolist(), target[rows].tolist()) for rows in chosen]


def test_resident_block_is_placed_once():
    samples = place(np.ones((4, 2), "f4"), np.ones((4, 3), "f4"), parallel.devices(2))
    (first,), (second,) = (list(samples.blocks(np.arange(4), 2)) for _ in range(2))
    assert first[0] is second[0] and first[1] is second[1]
    assert first[0].sharding.device_set == set(parallel.devices(2))


def test_take():
    samples = place(np.arange(8, dtype="f4").reshape(4, 2), np.arange(4, dtype="f4")[:, None], parallel.devices(1))
    assert len(samples) == 4
    taken = samples.take(np.array([3, 1]))
    assert (taken.landmark.tolist(), taken.target.tolist()) == ([[6, 7], [2, 3]], [[3], [1]])


@pytest.mark.parametrize(("stats", "block"), [(None, 50), ({}, 50), ({"bytes_limit": 8000}, 100)])
def test_block_is_a_share_of_the_memory(stats, block):
    """25 % of 8000 bytes, at 2 + 3 values of 4 bytes a sample."""
    device = SimpleNamespace(memory_stats=lambda: stats, process_index=0)
    assert place(np.ones((50, 2), "f4"), np.ones((50, 3), "f4"), (device,)).block == block
