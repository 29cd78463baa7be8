"""Predictions of any number of profiles on any number of devices, against the network's formula in float64."""

import jax
import numpy as np
import pytest

from dgex import parallel
from dgex.data.normalization import Scaler
from dgex.inference import ROWS, Inference
from dgex.networks import NetworkConfig, init_params

CONFIG = NetworkConfig(7, 5, (9,), "tanh", taaf="hidden", dropout=0.5)
SCALER = Scaler(np.linspace(4, 9, 5, dtype=np.float32), np.linspace(0.5, 2, 5, dtype=np.float32))


@pytest.fixture(scope="module")
def params():
    fresh = init_params(CONFIG, jax.random.key(0))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: np.float32(leaf + 0.1 * random.normal(size=leaf.shape)), fresh)


@pytest.fixture(scope="module")
def landmark():
    return np.random.default_rng(1).normal(size=(2 * ROWS * 4 + 3, 7)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(params, landmark):
    """alpha tanh(beta W'x + gamma) + delta, and the linear output layer."""
    p = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
    taaf = p["H0_taaf"]
    hidden = taaf["alpha"] * np.tanh(taaf["beta"] * (landmark @ p["H0"]["kernel"]) + taaf["gamma"]) + taaf["delta"]
    return hidden @ p["outputs"]["kernel"] + p["outputs"]["bias"]


def infer(params, landmark, scaler=None, devices=1):
    return Inference(CONFIG, params, scaler, parallel.devices(devices))(landmark)


@pytest.mark.parametrize("profiles", [1, 2, ROWS, ROWS + 1, 1023, 1025, 2051])
@pytest.mark.parametrize("devices", [1, 3])
def test_any_number_of_profiles(params, landmark, expected, profiles, devices):
    assert profiles <= len(landmark)
    result = infer(params, landmark[:profiles], devices=devices)
    np.testing.assert_allclose(result, expected[:profiles], atol=2e-6)


def test_in_log2(params, landmark, expected):
    result = infer(params, landmark[:50], SCALER)
    np.testing.assert_allclose(result, expected[:50] * SCALER.sd + SCALER.mean, atol=5e-6)


def test_devices_agree(params, landmark):
    """To the last bit: a device works on as many profiles whatever the number of devices."""
    one = infer(params, landmark, SCALER)
    for devices in (3, 4):
        np.testing.assert_array_equal(infer(params, landmark, SCALER, devices), one)


def test_a_profile_does_not_depend_on_its_company(params, landmark):
    whole = infer(params, landmark)
    np.testing.assert_array_equal(infer(params, landmark[::-1])[::-1], whole)
    for row in (0, 300, 2050):
        np.testing.assert_array_equal(infer(params, landmark[row : row + 1])[0], whole[row])


def test_many_blocks_may_wait(params, landmark):
    """What one block gives is not what a later one gave, whichever is asked for first."""
    network = Inference(CONFIG, params, None, parallel.devices(2))
    blocks = [landmark[:10], landmark[10:700], landmark[700:701]]
    waiting = [network.start(block) for block in blocks]
    found = [np.empty((len(block), 5), np.float32) for block in blocks]
    for number in (2, 0, 1):
        network.finish(waiting[number], found[number])
    np.testing.assert_array_equal(np.vstack(found), infer(params, landmark[:701]))


def test_fills_a_part_of_a_larger_array(params, landmark):
    rows = np.full((20, 9), 7, np.float32)
    network = Inference(CONFIG, params, None, parallel.devices(2))
    network.finish(network.start(landmark[:20]), rows[:, 3:8])
    np.testing.assert_array_equal(rows[:, 3:8], infer(params, landmark[:20]))
    assert (rows[:, [0, 1, 2, 8]] == 7).all()
