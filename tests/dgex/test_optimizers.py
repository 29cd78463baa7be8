"""The optimisers against plain numpy loops written from their published formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dgex.errors import DgexError
from dgex.optimizers import keras_nadam, optimizer, scale_by_keras_nadam

STEPS = 50


@pytest.fixture(scope="module")
def gradients():
    """Every step's gradient of a network's tree, float32, of sizes that differ by orders of magnitude."""
    rng = np.random.default_rng(0)
    shapes = {"H0": {"kernel": (4, 3)}, "H0_taaf": {"alpha": (3,)}, "outputs": {"kernel": (3, 2), "bias": (2,)}}
    scale = np.exp(rng.normal(0, 3, STEPS))
    return [
        {
            layer: {name: (scale[t] * rng.normal(size=shape)).astype(np.float32) for name, shape in leaves.items()}
            for layer, leaves in shapes.items()
        }
        for t in range(STEPS)
    ]


def run(transform, gradients, rates):
    """Parameters after every step, from zero."""
    params = jax.tree.map(jnp.zeros_like, gradients[0])
    state, update = transform.init(params), jax.jit(transform.update)
    history = []
    for gradient, rate in zip(gradients, rates, strict=True):
        updates, state = update(gradient, state, params, learning_rate=jnp.float32(rate))
        params = optax.apply_updates(params, updates)
        history.append(params)
    return history


def assert_follows(history, gradients, leaf_loop, rtol):
    """Every leaf, every step, against ``leaf_loop(path, gradients [steps, ...]) -> parameters [steps, ...]``."""
    for layer, leaves in gradients[0].items():
        for name in leaves:
            expected = leaf_loop((layer, name), [tree[layer][name].astype(np.float64) for tree in gradients])
            actual = np.stack([tree[layer][name] for tree in history])
            np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def test_keras_nadam(gradients):
    rate, b1, b2 = 5e-4, 0.9, 0.999

    def mu(t):
        return b1 * (1 - 0.5 * 0.96 ** (0.004 * t))

    def loop(_, gradients):
        p = m = v = np.zeros_like(gradients[0])
        history = []
        for t, g in enumerate(gradients, 1):
            product = np.prod([mu(i) for i in range(1, t + 1)])
            g_hat = g / (1 - product)
            m = b1 * m + (1 - b1) * g
            m_hat = m / (1 - product * mu(t + 1))
            v = b2 * v + (1 - b2) * g**2
            v_hat = v / (1 - b2**t)
            p = p - rate * ((1 - mu(t)) * g_hat + mu(t + 1) * m_hat) / (np.sqrt(v_hat) + 1e-7)
            history.append(p)
        return np.stack(history)

    assert_follows(run(keras_nadam(), gradients, [rate] * STEPS), gradients, loop, rtol=1e-6)


def test_keras_nadam_first_step():
    """mu_1 = 0.45007..., so whatever the gradient's size the step is the rate times 1 + 0.1 mu_2 / (1 - mu_1 mu_2)."""
    gradient = {"H0": {"kernel": np.array([3e-3, -40.0], np.float32)}}
    (params,) = run(keras_nadam(), [gradient], [0.1])
    mu1, mu2 = 0.9 * (1 - 0.5 * 0.96**0.004), 0.9 * (1 - 0.5 * 0.96**0.008)
    assert mu1 == pytest.approx(0.4500735, abs=1e-7)
    step = 0.1 * (1 + 0.1 * mu2 / (1 - mu1 * mu2))
    assert step == pytest.approx(0.1056452, abs=1e-7)
    # eps beside the gradients; nothing else is off by more than float32 is.
    np.testing.assert_allclose(params["H0"]["kernel"], [-step / (1 + 1e-7 / 3e-3), step], rtol=3e-7)


def test_keras_nadam_epsilon():
    gradient = {"H0": {"kernel": np.array([1e-7], np.float32)}}
    (params,) = run(keras_nadam(), [gradient], [0.1])
    np.testing.assert_allclose(params["H0"]["kernel"], [-0.1056452 / 2], rtol=1e-4)


def test_keras_nadam_state_is_float32_and_its_own_memory():
    params = {"H0": {"kernel": jnp.zeros((2, 2), jnp.float32)}}
    state = scale_by_keras_nadam().init(params)
    assert [leaf.dtype for leaf in jax.tree.leaves(state)] == [np.int32, np.float32, np.float32, np.float32]
    pointers = {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((state.mu, state.nu))}
    assert len(pointers) == 2  # or the state could not be donated


def test_dgex_sgd(gradients):
    rates = [3e-4] * 20 + [9e-5] * 30

    def loop(path, gradients):
        factor = 3 if path == ("outputs", "kernel") else 1
        p = velocity = np.zeros_like(gradients[0])
        history = []
        for g, rate in zip(gradients, rates, strict=True):
            velocity = 0.5 * velocity - rate * factor * g
            p = p + velocity
            history.append(p)
        return np.stack(history)

    assert_follows(run(optimizer("dgex_sgd"), gradients, rates), gradients, loop, rtol=2e-6)


def test_dgex_sgd_factor_is_for_the_kernels_after_the_first_layer():
    layers = {"H0": ["kernel", "bias"], "H1": ["kernel", "bias"], "H1_taaf": ["alpha"], "outputs": ["kernel", "bias"]}
    ones = {layer: {name: np.ones(1, np.float32) for name in names} for layer, names in layers.items()}
    (params,) = run(optimizer("dgex_sgd"), [ones], [0.5])
    moved = {(layer, name) for layer, leaves in params.items() for name, leaf in leaves.items() if leaf == -1.5}
    assert moved == {("H1", "kernel"), ("outputs", "kernel")}
    assert sorted(float(leaf[0]) for leaf in jax.tree.leaves(params)) == [-1.5] * 2 + [-0.5] * 5


def test_sgd(gradients):
    rates = np.geomspace(1, 1e-3, STEPS)

    def loop(_, gradients):
        return np.cumsum([-rate * g for rate, g in zip(rates, gradients, strict=True)], axis=0)

    assert_follows(run(optimizer("sgd"), gradients, rates), gradients, loop, rtol=2e-6)


def test_unknown_optimizer():
    with pytest.raises(DgexError, match="unknown optimiser 'adam'; known: keras_nadam, dgex_sgd, sgd"):
        optimizer("adam")
