"""The linear path on the arc-cosine kernel: it is kernel ridge regression, it stays so, and it can have a low rank."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgex import parallel
from dgex.arc_cosine import arc_cosine
from dgex.baselines.closed_form import choose_penalty, closed_form, errors_by_penalty
from dgex.batches import Samples, place
from dgex.errors import DgexError
from dgex.networks import NetworkConfig, forward, init_params, layer_table, take_targets
from dgex.protocols import Protocol
from dgex.training import fit


@pytest.fixture(scope="module")
def samples() -> Samples:
    random = np.random.default_rng(0)
    landmark = random.normal(size=(48, 6)).astype(np.float32)
    target = np.tanh(landmark @ random.normal(size=(6, 9))).astype(np.float32)
    return place(landmark, target, parallel.devices(1))


def config(**settings) -> NetworkConfig:
    return NetworkConfig(6, 9, (4,), taaf="hidden", linear=True, linear_rate=0.0, kernel=1, **settings)


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Order 1 of Cho & Saul, one pair at a time."""
    lengths = np.sqrt((x**2).sum(1))[:, None] * np.sqrt((y**2).sum(1))
    angle = np.arccos(np.clip(x @ y.T / lengths, -1, 1))
    return lengths / np.pi * (np.sin(angle) + (np.pi - angle) * np.cos(angle))


def by_hand(samples: Samples, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """The predictions of the training samples, less the mean, and the mean."""
    x, y = samples.landmark.astype(np.float64), samples.target.astype(np.float64)
    gram = kernel(x, x)
    return gram @ np.linalg.solve(gram + penalty * np.eye(len(x)), y - y.mean(0)), y.mean(0)


def test_the_kernel_is_the_mean_over_relu_units() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(2, 3, 6))
    weights = random.normal(size=(6, 400_000))
    mean = 2 * np.maximum(x @ weights, 0) @ np.maximum(y @ weights, 0).T / weights.shape[1]
    np.testing.assert_allclose(arc_cosine(jnp.float32(x), jnp.float32(y)), mean, atol=0.05)


def test_profiles_of_zeros_have_the_kernel_zero() -> None:
    profiles = jnp.array([[0.0, 0.0], [3.0, 4.0]], jnp.float32)
    np.testing.assert_allclose(arc_cosine(profiles, profiles), [[0, 0], [0, 25]], atol=1e-5)


def test_a_network_starts_as_kernel_ridge_regression(samples: Samples) -> None:
    network, start = closed_form(config(), samples, 3.0)
    assert network.kernel == 48
    params = init_params(network, jax.random.key(0)) | start
    fitted, mean = by_hand(samples, 3.0)
    np.testing.assert_allclose(forward(network, params, jnp.asarray(samples.landmark)), fitted + mean, atol=2e-5)


def test_a_low_rank_keeps_the_largest_part(samples: Samples) -> None:
    """By the singular value decomposition of the training predictions (Eckart & Young)."""
    network, start = closed_form(config(linear_rank=3), samples, 3.0)
    params = init_params(network, jax.random.key(0)) | start
    fitted, mean = by_hand(samples, 3.0)
    left, singular, right = np.linalg.svd(fitted, full_matrices=False)
    expected = (left[:, :3] * singular[:3]) @ right[:3] + mean
    np.testing.assert_allclose(forward(network, params, jnp.asarray(samples.landmark)), expected, atol=2e-5)
    rows = {name: kind for name, kind, _ in layer_table(network)}
    assert rows["kernel"] == "profiles" and rows["linear_components"] == "Dense 48 -> 3"


def test_no_more_rank_than_profiles() -> None:
    random = np.random.default_rng(2)
    landmark, target = random.normal(size=(4, 6)).astype(np.float32), random.normal(size=(4, 9)).astype(np.float32)
    few = place(landmark, target, parallel.devices(1))
    network, start = closed_form(config(linear_rank=6), few, 0.5)
    assert network.linear_rank == 4 == len(start["linear"]["kernel"])
    fitted, mean = by_hand(few, 0.5)
    params = init_params(network, jax.random.key(0)) | start
    np.testing.assert_allclose(forward(network, params, jnp.asarray(landmark)), fitted + mean, atol=2e-5)


def test_training_leaves_the_path_as_it_is(samples: Samples) -> None:
    network, start = closed_form(config(), samples, 3.0)
    trained = fit(
        network, Protocol("keras_nadam", "mse", 1e-2, batch=16, epochs=2), samples, None, 0, start=start
    ).params
    for layer in start:
        for name, values in start[layer].items():
            np.testing.assert_array_equal(trained[layer][name], values)
    assert np.isfinite(trained["outputs"]["kernel"]).all() and np.abs(trained["outputs"]["kernel"]).max() > 0


def test_some_targets_alone(samples: Samples) -> None:
    network, start = closed_form(config(linear_rank=4), samples, 3.0)
    params = init_params(network, jax.random.key(0)) | start
    x, some = jnp.asarray(samples.landmark[:5]), np.array([7, 0, 3])
    np.testing.assert_allclose(
        forward(*take_targets(network, params, some), x), forward(network, params, x)[:, some], atol=1e-6
    )


def test_the_penalty_of_the_lowest_error(samples: Samples) -> None:
    """Validation samples that are the training samples want the least penalty; the mean wants the greatest."""
    assert choose_penalty(errors_by_penalty(config(), samples, samples)) == 30
    mean = place(samples.landmark, np.broadcast_to(samples.target.mean(0), (48, 9)).copy(), parallel.devices(1))
    assert choose_penalty(errors_by_penalty(config(), samples, mean)) == 3000


def test_the_penalty_of_the_lowest_mean_error() -> None:
    assert choose_penalty({1.0: 0.5, 2.0: 0.1, 3.0: 0.2}, {1.0: 0.3, 2.0: 0.9, 3.0: 0.3}) == 3


@pytest.mark.parametrize("settings", [{"linear": False}, {"linear_rate": 0.1}, {"kernel": 0}])
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    fields: dict[str, object] = {"hidden": (4,), "linear": True, "linear_rate": 0.0, "kernel": 3}
    with pytest.raises(DgexError, match="kernel"):
        NetworkConfig(6, 9, **(fields | settings))  # type: ignore[arg-type]
