"""Training on a prepared file that stays on the disk: what is trained in memory in the same order, to the bit."""

from dataclasses import replace

import numpy as np
import pytest

from dgex import batches, parallel
from dgex.baselines.linear import mean_absolute_error, mean_predictor, ridge_path, with_linear_path
from dgex.baselines.sufficient_statistics import products
from dgex.batches import place
from dgex.data import dataset_writing
from dgex.data.dataset import SPLITS, open_dataset, read_dataset
from dgex.data.dataset_writing import write_dataset
from dgex.networks import NetworkConfig
from dgex.protocols import Plateau, Protocol
from dgex.stacked_training import fit_many
from dgex.training import evaluate, fit, mean_error

NETWORK = NetworkConfig(24, 60, (16,), taaf="hidden", dropout=0.1)
PROTOCOL = Protocol("keras_nadam", "mae", 1e-2, batch=8, epochs=4)


@pytest.fixture(scope="module")
def path(small_data, tmp_path_factory):
    """A file in chunks of 4 samples, with missing values."""
    target = small_data.target.copy()
    target[180:200, 7] = np.nan
    path = tmp_path_factory.mktemp("streamed") / "prepared.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_writing, "_chunk_rows", lambda genes: 4)
        write_dataset(path, replace(small_data, target=target))
    return path


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 24)


def samples(dataset, split, devices=1):
    return place(*dataset.zscores_of(np.flatnonzero(dataset.split == SPLITS.index(split))), parallel.devices(devices))


def sets(path, devices=1):
    """Training and validation samples in the file; and both in memory, to be visited in the same order and blocks."""
    opened, read = open_dataset(path), read_dataset(path)
    stored = [samples(opened, split, devices) for split in ("train", "validation")]
    in_memory = [
        replace(samples(read, split, devices), block=one.block, chunk=one.chunk)
        for split, one in zip(("train", "validation"), stored, strict=True)
    ]
    assert all(len(one) > one.block for one in stored)  # or nothing would be streamed
    return stored, in_memory


@pytest.mark.parametrize("devices", [1, 3])
def test_one_network(path, devices, assert_trees_close):
    protocol = replace(PROTOCOL, plateau=Plateau(monitor_samples=40))
    found, expected = (fit(NETWORK, protocol, *each, seed=3) for each in sets(path, devices))
    assert_trees_close(found.params, expected.params)
    assert str(found.log) == str(expected.log)


def test_several_networks_at_once(path, assert_trees_close):
    found, expected = (fit_many(NETWORK, PROTOCOL, *each, seeds=(0, 4)) for each in sets(path))
    for one, other in zip(found, expected, strict=True):
        assert_trees_close(one.params, other.params)
        assert str(one.log) == str(other.log)


def test_beside_a_linear_path_that_does_not_learn(path, assert_trees_close):
    stored, in_memory = sets(path, devices=2)
    network = replace(NETWORK, linear=True, linear_rate=0.0)
    start = with_linear_path(network, products(in_memory[0]), 10.0)
    found, expected = (fit(network, PROTOCOL, *each, seed=3, start=start) for each in (stored, in_memory))
    assert_trees_close(found.params, expected.params)
    assert str(found.log) == str(expected.log)


class Stop(Exception):
    """Raised after an epoch, as an interrupt would be."""


def test_stopped_and_resumed_equals_a_straight_run(path, tmp_path, assert_trees_close):
    def stop(row, seconds):
        if row.epoch == 2:
            raise Stop

    straight = fit(NETWORK, PROTOCOL, *sets(path)[0], seed=3)
    with pytest.raises(Stop):
        fit(NETWORK, PROTOCOL, *sets(path)[0], 3, tmp_path / "run", on_epoch=stop, checkpoint_seconds=0)
    resumed = fit(NETWORK, PROTOCOL, *sets(path)[0], 3, tmp_path / "run", resume=True)
    assert_trees_close(resumed.params, straight.params)
    assert str(resumed.log) == str(straight.log)


def test_a_run_in_memory_is_another_one(path, tmp_path, refused):
    """As it visits the samples in another order."""
    fit(NETWORK, PROTOCOL, *sets(path)[0], 3, tmp_path / "run")
    read = read_dataset(path)
    alone = [samples(read, split) for split in ("train", "validation")]
    line = refused(lambda: fit(NETWORK, PROTOCOL, *alone, 3, tmp_path / "run", resume=True))
    assert "samples" in line
    stored, _ = sets(path)
    assert stored[0].sha256 == sets(path)[0][0].sha256 != alone[0].sha256


def test_linear_baselines(path):
    read = read_dataset(path)
    train, validation = (samples(read, split) for split in ("train", "validation"))
    stored, _ = sets(path)
    (model, errors), (expected, of_them) = (
        ridge_path(products(stored[0]), stored[1]),
        ridge_path(products(train), validation),
    )
    np.testing.assert_allclose(model.weights, expected.weights, rtol=1e-9)
    np.testing.assert_allclose(list(errors.values()), list(of_them.values()), rtol=1e-6)
    mean = mean_predictor(products(stored[0]))
    _, target = read.zscores("validation")
    by_hand = np.nanmean(np.abs(mean.intercept - target.astype(np.float64)))
    assert mean_absolute_error(mean.predict, stored[1]) == pytest.approx(by_hand, rel=1e-6)
    config, params = model.as_network()
    assert mean_error(evaluate(params, stored[1], config)) == pytest.approx(min(of_them.values()), rel=1e-5)
