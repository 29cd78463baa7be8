"""The linear path beside a network, its start at ridge regression, and refitting."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgex import parallel
from dgex.baselines.linear import ridge, with_linear_path
from dgex.baselines.sufficient_statistics import products
from dgex.batches import place
from dgex.errors import DgexError
from dgex.networks import NetworkConfig, forward, init_params, layer_table, take_targets
from dgex.protocols import Protocol
from dgex.training import fit

QUICK = Protocol("keras_nadam", "mse", 1e-2, batch=16, epochs=3)


@pytest.fixture(scope="module")
def samples():
    random = np.random.default_rng(0)
    landmark = random.normal(size=(64, 6)).astype(np.float32)
    target = np.tanh(landmark @ random.normal(size=(6, 4))).astype(np.float32)
    return place(landmark, target, parallel.devices(1))


@pytest.mark.parametrize(
    "settings",
    [{"activation": "tanh"}, {"taaf": "hidden"}, {"taaf": "all"}, {"taaf": "all", "output_reach": 0.9}],
    ids=["tanh", "hidden", "all", "reach"],
)
def test_a_network_starts_as_ridge_regression(samples, settings):
    config = NetworkConfig(6, 4, (8,), linear=True, **settings)
    params = init_params(config, jax.random.key(0)) | with_linear_path(config, products(samples), 3.0)
    x, y = samples.landmark.astype(np.float64), samples.target.astype(np.float64)
    centred = x - x.mean(0)
    weights = np.linalg.solve(centred.T @ centred + 3 * np.eye(6), centred.T @ (y - y.mean(0)))
    expected = centred @ weights + y.mean(0)
    np.testing.assert_allclose(forward(config, params, jnp.asarray(samples.landmark)), expected, atol=2e-5)


def test_all_components_are_the_full_matrix(samples):
    config = NetworkConfig(6, 4, (8,), linear=True, linear_rank=4)
    train = products(samples)
    path = with_linear_path(config, train, 3.0)
    assert path["linear_components"]["kernel"].shape == (6, 4) and path["linear"]["kernel"].shape == (4, 4)
    # The components are orthonormal, and those of the largest variance.
    components = path["linear_components"]["kernel"].astype(np.float64)
    np.testing.assert_allclose(components.T @ components, np.eye(4), atol=1e-6)
    variances = np.sort(np.linalg.svd(samples.landmark - samples.landmark.mean(0), compute_uv=False)) ** 2
    scores = (samples.landmark - samples.landmark.mean(0)) @ components
    np.testing.assert_allclose(np.sort((scores**2).sum(0)), variances[-4:], rtol=1e-4)
    full = ridge(train, 3.0).weights
    path = with_linear_path(NetworkConfig(6, 4, (8,), linear=True, linear_rank=6), train, 3.0)
    product = path["linear_components"]["kernel"] @ path["linear"]["kernel"]
    np.testing.assert_allclose(product, full, atol=1e-5)


def test_a_frozen_path_stays_and_the_network_learns(samples):
    config = NetworkConfig(6, 4, (8,), taaf="hidden", linear=True, linear_rate=0.0)
    start = with_linear_path(config, products(samples), 3.0)
    params = fit(config, QUICK, samples, samples, 0, start=start).params
    np.testing.assert_array_equal(params["linear"]["kernel"], start["linear"]["kernel"])
    assert np.abs(params["outputs"]["kernel"]).max() > 0
    moving = fit(NetworkConfig(6, 4, (8,), taaf="hidden", linear=True), QUICK, samples, samples, 0, start=start).params
    assert np.abs(moving["linear"]["kernel"] - start["linear"]["kernel"]).max() > 1e-3


def test_a_half_rate_takes_half_the_first_step(samples):
    one_step = Protocol("sgd", "mse", 0.1, batch=64, epochs=1)
    kernels = []
    for rate in (0.5, 1.0):
        config = NetworkConfig(6, 4, (8,), linear=True, linear_rate=rate)
        start = with_linear_path(config, products(samples), 3.0)
        moved = fit(config, one_step, samples, samples, 0, start=start).params["linear"]["kernel"]
        kernels.append(np.asarray(moved) - start["linear"]["kernel"])
    assert np.abs(kernels[1]).max() > 1e-4
    np.testing.assert_allclose(2 * kernels[0], kernels[1], rtol=1e-3, atol=1e-7)


def test_without_validation_the_last_epoch_is_kept(samples):
    result = fit(NetworkConfig(6, 4, (8,)), QUICK, samples, None, 0)
    validated = fit(NetworkConfig(6, 4, (8,)), QUICK, samples, samples, 0)
    assert result.best_epoch == 3 and np.isnan([row.validation_mae for row in result.log]).all()
    assert validated.best_epoch == 3  # the error falls with every epoch here, so that both are the last
    for one, other in zip(jax.tree.leaves(result.params), jax.tree.leaves(validated.params), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_refit_is_resumed_to_the_same_bits(samples, tmp_path):
    config = NetworkConfig(6, 4, (8,), linear=True)
    start = with_linear_path(config, products(samples), 3.0)

    class StoppedError(Exception):
        pass

    def stop(row, seconds):
        if row.epoch == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(config, QUICK, samples, None, 0, tmp_path, start=start, on_epoch=stop, checkpoint_seconds=0)
    resumed = fit(config, QUICK, samples, None, 0, tmp_path, start=start, resume=True)
    whole = fit(config, QUICK, samples, None, 0, start=start)
    for one, other in zip(jax.tree.leaves(resumed.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_array_equal(one, other)
    other_start = with_linear_path(config, products(samples), 30.0)
    with pytest.raises(DgexError):
        fit(config, QUICK, samples, None, 0, tmp_path, start=other_start, resume=True)


@pytest.mark.parametrize("rank", [None, 3])
def test_some_targets_alone_are_inferred_alike(rank):
    config = NetworkConfig(6, 4, (8,), linear=True, linear_rank=rank)
    params = init_params(config, jax.random.key(1))
    landmark = jax.random.normal(jax.random.key(2), (5, 6))
    some = np.array([0, 3])
    part = forward(*take_targets(config, params, some), landmark)
    np.testing.assert_allclose(part, forward(config, params, landmark)[:, some], rtol=1e-5)


def test_layers_are_listed():
    rows = {name: (kind, count) for name, kind, count in layer_table(NetworkConfig(6, 4, (8,), linear=True))}
    assert rows["linear"] == ("Dense 6 -> 4", 28)
    rows = {name: count for name, _, count in layer_table(NetworkConfig(6, 4, (8,), linear=True, linear_rank=2))}
    assert rows["linear_components"] == 12 and rows["linear"] == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": (), "linear": True}, "there are none"),
        ({"linear_rank": 3}, "needs linear=True"),
        ({"linear": True, "linear_rank": 7}, "linear_rank is 1 to 6"),
        ({"linear": True, "linear_rate": -1.0}, "must be 0 or more"),
    ],
)
def test_impossible_paths_are_refused(settings, message):
    with pytest.raises(DgexError, match=message):
        NetworkConfig(**{"landmarks": 6, "targets": 4, "hidden": (8,), **settings})


@pytest.mark.parametrize("settings", [{}, {"taaf": "all", "output_reach": 3.0}, {"linear_rank": 2}])
def test_a_frozen_path_is_one_that_hardly_moves(samples, assert_trees_close, settings):
    """Its predictions are subtracted from the targets once; a path that moves is computed in every step."""
    target = samples.target.copy()
    target[::7, 1] = np.nan
    gappy = place(samples.landmark, target, samples.devices)
    frozen = NetworkConfig(6, 4, (8,), **{"taaf": "hidden", "linear": True, "linear_rate": 0.0, **settings})
    start = with_linear_path(frozen, products(gappy), 3.0)
    results = [fit(replace(frozen, linear_rate=rate), QUICK, gappy, gappy, 0, start=start) for rate in (0.0, 1e-12)]
    assert_trees_close(results[0].params, results[1].params, rtol=0, atol=2e-5)
    errors = [[row.validation_mae for row in result.log] for result in results]
    np.testing.assert_allclose(*errors, rtol=1e-5)
    assert errors[0][0] != errors[0][-1]
