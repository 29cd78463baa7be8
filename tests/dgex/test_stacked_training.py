"""Networks that train at once equal networks that train alone: another program, the same numbers."""

import itertools
from dataclasses import replace

import jax
import numpy as np
import pytest

from dgex import parallel, stacked_training
from dgex.baselines.linear import with_linear_path
from dgex.baselines.sufficient_statistics import products
from dgex.batches import Samples, place
from dgex.errors import DgexError
from dgex.log import read_log
from dgex.networks import NetworkConfig
from dgex.protocols import Plateau, Protocol
from dgex.stacked_training import fit_many
from dgex.training import fit, init_state

NETWORK = NetworkConfig(6, 4, (8,), "tanh", taaf="hidden", dropout=0.25)
NADAM = Protocol("keras_nadam", "mae", 3e-2, batch=16, epochs=8)
# A rate at which the monitored error rises now and then, and not in the same epochs for every seed.
PLATEAU = Protocol("dgex_sgd", "sse", 5e-2, batch=16, epochs=8, plateau=Plateau(0.5, 1e-3, monitor_samples=20))
SEEDS = (0, 2**31 + 7, 5, 3)


def samples(count, seed, devices, scale=1.0):
    landmark = np.random.default_rng(seed).normal(size=(count, 6))
    target = scale * np.tanh(landmark @ np.random.default_rng(42).normal(size=(6, 4)))
    return place(landmark.astype("f4"), target.astype("f4"), parallel.devices(devices))


def data(devices):
    """50 = 3 * 16 + 2 samples, and for validation half of the function, so that training passes the best network."""
    return samples(50, 0, devices), samples(23, 1, devices, scale=0.5)


@pytest.fixture(scope="module", params=[(3, NADAM), (1, PLATEAU)], ids=["three devices", "plateau"])
def trained(request):
    """The same seeds trained at once and one after another."""
    devices, protocol = request.param
    train, validation = data(devices)
    alone = [fit(NETWORK, protocol, train, validation, seed) for seed in SEEDS]
    return protocol, validation, fit_many(NETWORK, protocol, train, validation, SEEDS), alone


def test_parameters_and_logs(trained, assert_trees_close):
    protocol, _, together, alone = trained
    for result, expected in zip(together, alone, strict=True):
        assert_trees_close(result.params, expected.params, rtol=0, atol=1e-5)
        np.testing.assert_allclose(np.array(result.log), np.array(expected.log), rtol=1e-5)
        assert [row.epoch for row in result.log] == list(range(1, 9))
        assert result.best_epoch == expected.best_epoch
    kernels = [np.asarray(result.params["outputs"]["kernel"]) for result in together]
    assert all(np.abs(a - b).max() > 0.1 for a, b in itertools.combinations(kernels, 2))  # far more than 1e-5


def test_every_network_has_its_own_rates(trained):
    protocol, _, together, _ = trained
    rates = [tuple(row.learning_rate for row in result.log) for result in together]
    assert (len(set(rates)) > 1) == (protocol is not NADAM)
    for result in together if protocol.plateau else ():
        for (before, after), row in zip(itertools.pairwise(result.log), result.log[2:], strict=False):
            expected = after.learning_rate * (0.5 if after.monitor_mae > before.monitor_mae else 1)
            assert row.learning_rate == pytest.approx(expected)


def test_every_network_keeps_its_own_best_epoch(trained):
    _, validation, together, _ = trained
    assert len({result.best_epoch for result in together}) > 1
    for result in together:
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), result.params)
        four = params["H0_taaf"]
        inner = np.tanh(four["beta"] * (validation.landmark @ params["H0"]["kernel"]) + four["gamma"])
        prediction = (four["alpha"] * inner + four["delta"]) @ params["outputs"]["kernel"] + params["outputs"]["bias"]
        errors = [row.validation_mae for row in result.log]
        assert np.abs(prediction - validation.target).mean() == pytest.approx(min(errors), rel=1e-5)
        assert result.best_epoch == 1 + np.argmin(errors)


def test_streaming_trains_the_same_networks(assert_trees_close, block=30):
    """Blocks of 15 samples or, rounded to whole batches, 16 for each of the four networks."""
    train, validation = data(1)
    streamed = Samples(train.landmark, train.target, train.devices, block)
    resident, again = (fit_many(NETWORK, NADAM, part, validation, SEEDS) for part in (train, streamed))
    for result, expected in zip(again, resident, strict=True):
        assert_trees_close(result.params, expected.params, rtol=0, atol=1e-5)


def test_order_of_seeds_and_of_folders(tmp_path):
    train, validation = data(1)
    protocol = replace(NADAM, epochs=2)
    first, second = fit_many(NETWORK, protocol, train, validation, (5, 9), [tmp_path / "a", tmp_path / "b"])
    swapped = fit_many(NETWORK, protocol, train, validation, (9, 5))
    np.testing.assert_allclose(np.array(swapped[1].log), np.array(first.log), rtol=1e-5)
    assert str(read_log(tmp_path / "a/log.csv", 2)) == str(first.log)
    assert str(read_log(tmp_path / "b/log.csv", 2)) == str(second.log)


def test_non_finite_loss_of_one_network(tmp_path, monkeypatch):
    """The message names its seed; no network's log has the epoch."""

    def start(config, optimizer, seed, layers):
        state = init_state(config, optimizer, seed, layers)
        return state.replace(params=jax.tree.map(lambda leaf: leaf * (np.nan if seed == 6 else 1), state.params))

    monkeypatch.setattr(stacked_training, "init_state", start)
    with pytest.raises(DgexError, match=r"not finite in epoch 1 \(seed 6, learning rate 0.03\)"):
        fit_many(NETWORK, NADAM, *data(1), (4, 6, 8), [tmp_path / str(seed) for seed in (4, 6, 8)])
    for seed in (4, 6, 8):
        assert (tmp_path / str(seed) / "log.csv").read_text().count("\n") == 1  # the names of the columns


@pytest.mark.parametrize(("seeds", "folders"), [((4, 6), 1), ((), 0), ((4, 4), 0), ((4, 4), 2)])
def test_a_seed_and_a_folder_of_its_own_for_every_network(tmp_path, seeds, folders):
    with pytest.raises(DgexError, match="give every network a seed"):
        fit_many(NETWORK, NADAM, *data(1), seeds, [tmp_path / str(number) for number in range(folders)])
    assert not list(tmp_path.iterdir())


def test_folders_are_claimed_all_or_none(tmp_path):
    protocol = replace(NADAM, epochs=1)
    folders = [tmp_path / str(seed) for seed in (1, 2, 0)]
    fit_many(NETWORK, protocol, *data(1), (0,), folders[2:])
    with pytest.raises(DgexError, match="0: holds another run, which differs in: seed"):
        fit_many(NETWORK, protocol, *data(1), (1, 2, 0), folders, resume=True)
    assert [folder.exists() for folder in folders] == [False, False, True]


def test_a_linear_path_starts_alike_in_every_network(assert_trees_close, tmp_path):
    train, validation = data(1)
    network = replace(NETWORK, linear=True, linear_rate=0.0)  # so that the path stays where it starts
    protocol = replace(NADAM, epochs=2)
    start = with_linear_path(network, products(train), 3.0)
    folders = [tmp_path / "0", tmp_path / "5"]
    together = fit_many(network, protocol, train, validation, (0, 5), folders, start=start)
    for seed, result in zip((0, 5), together, strict=True):
        np.testing.assert_array_equal(result.params["linear"]["kernel"], start["linear"]["kernel"])
        alone = fit(network, protocol, train, validation, seed, start=start)
        assert_trees_close(result.params, alone.params, rtol=0, atol=1e-5)
    other = with_linear_path(network, products(train), 30.0)
    with pytest.raises(DgexError, match="differs in: samples"):
        fit_many(network, protocol, train, validation, (0, 5), folders, start=other, resume=True)
