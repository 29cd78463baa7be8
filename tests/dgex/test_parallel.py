"""A step over several devices equals one device's step on the joined batch.

With SGD, whose step is proportional to the gradient: a sum in place of a mean, or a mean of the devices' means over
uneven parts, shows at once. Adam and Nadam divide the gradient's scale out and would hide it.
"""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgex import parallel
from dgex.batches import index_batches
from dgex.errors import DgexError
from dgex.networks import NetworkConfig
from dgex.stacked_training import stacked_epoch_function
from dgex.training import epoch_function, init_state, make_train_step

SAMPLES, BATCH, RATE = 10, 4, 0.3


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(SAMPLES, 6)).astype("f4"), rng.normal(size=(SAMPLES, 5)).astype("f4")


@pytest.fixture(scope="module", params=[0.0, 0.5], ids=["plain", "dropout"])
def joined(request, data):
    """The network, its first state, and its last and its metrics from plain jit on whole batches of 4, 4 and 2."""
    config = NetworkConfig(6, 5, (8, 7), taaf="hidden", dropout=request.param)
    step = jax.jit(make_train_step(config, "sgd", "mse"))
    first_state = jax.device_get(jax.jit(init_state, static_argnums=(0, 1))(config, "sgd", 3))
    state = first_state = first_state.replace(learning_rate=np.float32(RATE))
    metrics = []
    for first in range(0, SAMPLES, BATCH):
        landmark, target = (part[first : first + BATCH] for part in data)
        rows = np.arange(len(landmark), dtype=np.int32)
        state, scores = jax.block_until_ready(step(state, landmark, target, rows, np.ones(len(rows), "f4")))
        metrics.append(scores)
    return config, first_state, state, metrics


# 2 divides the batch; 3 leaves padding in every step; with 4, half of the devices have nothing in the last step.
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_equals_jit_on_the_joined_batch(joined, data, count, assert_trees_close):
    config, first_state, expected, expected_metrics = joined
    devices = parallel.devices(count)
    run = epoch_function(config, "sgd", "mse", devices)
    placed = parallel.replicate(first_state, devices), *parallel.place_copies(data, devices)
    state, metrics = jax.block_until_ready(run(*placed, index_batches(np.arange(SAMPLES), BATCH, count)))

    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), expected.params, first_state.params)
    assert min(jax.tree.leaves(moved)) > 1e-3
    assert_trees_close(state.params, expected.params, rtol=0, atol=1e-6)
    assert int(state.step) == 3
    for name in ("loss", "mae"):
        np.testing.assert_allclose(metrics[name], [scores[name] for scores in expected_metrics], rtol=1e-6)
    # What the metrics are weighted by over an epoch is proportional to the samples of the steps.
    np.testing.assert_allclose(metrics["count"] / metrics["count"].sum(), [0.4, 0.4, 0.2], rtol=1e-6)


def test_stack_equals_jit_on_the_batches_of_every_network(data, assert_trees_close, count=3):
    """Two networks, from other seeds, in other orders and at other rates, in one program."""
    config = NetworkConfig(6, 5, (8,), taaf="hidden", dropout=0.5)
    step = jax.jit(make_train_step(config, "sgd", "mse"))
    orders = np.stack([np.arange(SAMPLES), np.arange(SAMPLES)[::-1]])
    states = [init_state(config, "sgd", seed).replace(learning_rate=np.float32(RATE * seed)) for seed in (1, 2)]
    devices = parallel.devices(count)
    stack = parallel.replicate(jax.tree.map(lambda *leaves: np.stack(leaves), *states), devices)
    run = stacked_epoch_function(config, "sgd", "mse", devices)
    result, metrics = jax.block_until_ready(
        run(stack, *parallel.place_copies(data, devices), index_batches(orders, BATCH, count))
    )

    for network, (state, order) in enumerate(zip(states, orders, strict=True)):
        losses = []
        for first in range(0, SAMPLES, BATCH):
            chosen = order[first : first + BATCH]
            rows = np.arange(len(chosen), dtype=np.int32)
            batch = (data[0][chosen], data[1][chosen], rows, np.ones(len(rows), "f4"))
            state, scores = jax.block_until_ready(step(state, *batch))
            losses.append(scores["loss"])
        mine = jax.tree.map(lambda leaf, n=network: leaf[n], result)
        assert_trees_close(mine.params, state.params, rtol=0, atol=1e-6)
        assert (int(mine.step), int(mine.seed)) == (3, network + 1)
        np.testing.assert_allclose(metrics["loss"][network], losses, rtol=1e-6)


def test_collectives():
    devices = parallel.devices(4)
    values = np.array([[1.0, 2], [3, 4], [5, 6], [9, 8]], "f4")

    def collect(offset, mine):
        return parallel.mean_over_devices(mine + offset), parallel.sum_over_devices({"a": mine})

    mean, total = jax.block_until_ready(parallel.lift(collect, devices, shared=1)(jnp.float32(10), values))
    np.testing.assert_array_equal(mean, [14.5, 15])
    np.testing.assert_array_equal(total["a"], [18, 20])


def test_replicate_puts_the_whole_array_on_every_device():
    devices = parallel.devices(3)
    shared = parallel.replicate({"a": np.arange(4.0, dtype="f4")}, devices)["a"]
    assert shared.sharding.device_set == set(devices)
    assert [shard.data.tolist() for shard in shared.addressable_shards] == [[0, 1, 2, 3]] * 3


def test_place_copies_gives_every_device_the_whole_array():
    devices = parallel.devices(3)
    placed = parallel.place_copies({"a": np.arange(4.0, dtype="f4")}, devices)["a"]
    assert placed.sharding.device_set == set(devices)
    np.testing.assert_array_equal(placed, [[0, 1, 2, 3]] * 3)


def test_place_shards_gives_every_device_its_slice():
    devices = parallel.devices(2)
    placed = parallel.place_shards(np.arange(6.0, dtype="f4").reshape(2, 3), devices)
    assert {shard.device: shard.data.tolist() for shard in placed.addressable_shards} == {
        devices[0]: [[0, 1, 2]],
        devices[1]: [[3, 4, 5]],
    }


def test_devices():
    present = jax.local_devices()
    assert parallel.devices() == tuple(present)
    assert parallel.devices(2) == tuple(present[:2])


@pytest.mark.parametrize("count", [0, -1, 1000])
def test_devices_that_are_not_there(count):
    with pytest.raises(DgexError, match=f"{count} devices requested, but this process sees 4; choose 1 to 4"):
        parallel.devices(count)


def test_a_platform_that_is_not_there():
    code = "from dgex import console, parallel; console.run(parallel.devices)"
    environment = {**os.environ, "JAX_PLATFORMS": "cuda"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: JAX finds no device")
    assert "Traceback" not in done.stderr


def test_split_gives_the_result_of_every_device():
    devices = parallel.devices(4)
    values = np.arange(8, dtype="f4").reshape(4, 2)

    def collect(offset, mine):
        return mine + offset, parallel.sum_over_devices(mine)

    own, total = jax.block_until_ready(parallel.lift(collect, devices, shared=1, split=True)(jnp.float32(10), values))
    np.testing.assert_array_equal(own, values + 10)
    np.testing.assert_array_equal(total, [[12, 16]] * 4)
