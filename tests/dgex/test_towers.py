"""Hidden layers in towers and in a checkerboard: dense layers with weights where their matrices have blocks, else 0."""

import functools
import json
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import block_diag

from dgex import parallel
from dgex.batches import Samples
from dgex.errors import DgexError
from dgex.model.directory import load_model, read_card, save_model
from dgex.model.fitting import train_model
from dgex.networks import NetworkConfig, forward, init_params, layer_table, take_targets
from dgex.protocols import Protocol
from dgex.towers import dealt, equal_units, tower_product
from dgex.training import fit

TOWERS, CHECKERBOARD = {"towers": 3}, {"towers": 3, "checkerboard": True}


def random_params(config):
    """Parameters that are random everywhere: the initial biases and TAAFs would hide where they stand."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(1)
    landmark = rng.normal(size=(90, 6)).astype(np.float32)
    target = np.tanh(landmark @ rng.normal(size=(6, 5))).astype(np.float32)
    devices = parallel.devices(1)
    return Samples(landmark[:60], target[:60], devices, 60), Samples(landmark[60:], target[60:], devices, 30)


def test_a_product_is_with_a_block_diagonal_matrix():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 4, 6)), rng.normal(size=(3, 2, 5))
    product = tower_product(jnp.float32(x), jnp.float32(kernel), "highest")
    np.testing.assert_allclose(product, x @ block_diag(*kernel), rtol=1e-5, atol=1e-6)


def test_cards_are_dealt_in_turn():
    """Of two towers of three the first gets every other unit, and three towers of two get one of each above."""
    np.testing.assert_array_equal(dealt(jnp.arange(6), 2), [0, 3, 1, 4, 2, 5])
    units = np.arange(12)
    hands = np.asarray(dealt(jnp.asarray(units), 3)).reshape(3, 4)
    for hand in hands:  # of four cards, from three towers: one or two of each
        assert set(np.bincount(hand // 4, minlength=3)) <= {1, 2}
    assert sorted(hands.ravel()) == list(units)


@pytest.mark.parametrize("fields", [TOWERS, CHECKERBOARD], ids=["towers", "checkerboard"])
@pytest.mark.parametrize("taaf", ["none", "hidden", "all"])
def test_formula(fields, taaf):
    config = NetworkConfig(4, 5, (6, 9, 12), taaf=taaf, matmul_precision="highest", **fields)
    params = random_params(config)
    landmark = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)

    def activation(z, name):
        f = 1 / (1 + np.exp(-(z if name + "_taaf" not in params else 0)))
        if name + "_taaf" in params:
            four = params[f"{name}_taaf"]
            return four["alpha"] / (1 + np.exp(-(four["beta"] * z + four["gamma"]))) + four["delta"]
        return f if name != "outputs" else z

    x = activation(landmark.astype(np.float64) @ params["H0"]["kernel"] + params["H0"].get("bias", 0), "H0")
    x = activation(x @ block_diag(*params["H1"]["kernel"]) + params["H1"].get("bias", 0), "H1")
    if "checkerboard" in fields:  # units 0, 3, 6 of three towers of three, then 1, 4, 7, then 2, 5, 8
        x = x[:, [0, 3, 6, 1, 4, 7, 2, 5, 8]]
    x = activation(x @ block_diag(*params["H2"]["kernel"]) + params["H2"].get("bias", 0), "H2")
    x = activation(x @ params["outputs"]["kernel"] + params["outputs"].get("bias", 0), "outputs")
    for name in ("H0", "H1", "H2"):
        assert ("bias" in params[name]) == (taaf == "none")
    np.testing.assert_allclose(forward(config, params, landmark), x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(forward(config, params, landmark[2]), x[2], rtol=1e-4, atol=1e-5)


def test_each_tower_depends_on_its_own_or_on_all():
    """Derivatives of the last hidden layer's units, read off linear networks whose output layer hands them through."""
    for fields, whole in ((TOWERS, False), (CHECKERBOARD, True)):
        config = NetworkConfig(9, 9, (9, 9, 9), "linear", **fields)
        params = random_params(config)
        params["H0"]["kernel"] = params["outputs"]["kernel"] = np.eye(9, dtype=np.float32)
        slopes = np.asarray(jax.jacobian(functools.partial(forward, config, params))(jnp.zeros(9)))
        expected = np.ones((9, 9)) if whole else block_diag(*[np.ones((3, 3))] * 3)
        np.testing.assert_array_equal(slopes != 0, expected)


def test_layers_are_listed_with_their_towers():
    config = NetworkConfig(943, 9520, (3000, 3000, 3000), "sigmoid", taaf="hidden", towers=5)
    rows = layer_table(config)
    assert [row[1:] for row in rows if row[0] in ("H0", "H1", "outputs")] == [
        ("Dense 943 -> 3000", 943 * 3000),
        ("5 x Dense 600 -> 600", 3000 * 3000 // 5),
        ("Dense 3000 -> 9520", 3001 * 9520),
    ]


def test_towers_start_each_as_a_layer_of_its_own():
    params = init_params(NetworkConfig(4, 3, (60, 300), "tanh", towers=2), jax.random.key(0))
    kernel = np.asarray(params["H1"]["kernel"], np.float64)
    bound = np.sqrt(6 / (30 + 150))
    assert kernel.shape == (2, 30, 150) and 0.98 * bound < np.abs(kernel).max() <= bound * (1 + 1e-6)
    assert abs(kernel.std() / (bound / np.sqrt(3)) - 1) < 0.05
    np.testing.assert_array_equal(params["H1"]["bias"], np.zeros(300))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"towers": 0}, "towers are a whole number that divides"),
        ({"towers": 2.0}, "towers are a whole number that divides"),
        ({"towers": 4}, r"towers are a whole number that divides \(6, 6, 6\), the units, not 4"),
        ({"hidden": (6,), "towers": 3}, "between hidden layers, of which there must be two or more"),
        ({"hidden": (6, 6), **CHECKERBOARD}, "a checkerboard has two towers or more, and three hidden layers or more"),
        ({"checkerboard": True}, "a checkerboard has two towers or more"),
    ],
)
def test_impossible_towers_are_refused(fields, message):
    with pytest.raises(DgexError, match=message):
        NetworkConfig(**{"landmarks": 4, "targets": 3, "hidden": (6, 6, 6)} | fields)


def test_configuration_survives_json():
    config = NetworkConfig(4, 3, (6, 6, 6), **CHECKERBOARD)
    assert NetworkConfig(**json.loads(json.dumps(asdict(config)))) == config


def test_bfloat16_computes_near_float32():
    config = {"landmarks": 50, "targets": 20, "hidden": (42, 42, 42), **CHECKERBOARD}
    params = random_params(NetworkConfig(**config))
    landmark = np.random.default_rng(0).normal(size=(30, 50)).astype(np.float32)
    exact, rounded = (
        forward(NetworkConfig(**config, compute_dtype=dtype), params, landmark) for dtype in ("float32", "bfloat16")
    )
    assert rounded.dtype == np.float32 and 1e-5 < np.abs(rounded - exact).max() < 0.2


@pytest.mark.parametrize("precision", ["high", "highest"])
def test_matmul_precision_reaches_every_product(precision):
    config = NetworkConfig(4, 3, (6, 6, 6), matmul_precision=precision, **CHECKERBOARD)
    params = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    program = str(jax.make_jaxpr(forward, static_argnums=0)(config, params, jnp.ones((2, 4))))
    assert program.count(f"Precision.{precision.upper()}") == 2 * program.count("dot_general") == 8


def test_some_targets_are_columns_of_the_whole_network():
    """Here a tower has as many units as there are targets; its parameters stay whole."""
    config = NetworkConfig(6, 4, (12, 12, 12), taaf="all", **CHECKERBOARD)
    params, landmark = random_params(config), np.ones((2, 6), np.float32)
    fewer, taken = take_targets(config, params, np.array([3, 1]))
    np.testing.assert_allclose(forward(fewer, taken, landmark), forward(config, params, landmark)[:, [3, 1]], atol=1e-6)


@pytest.mark.parametrize("fields", [{}, {"linear": True, "linear_rate": 0.1}], ids=["plain", "skip"])
def test_a_checkerboard_is_trained(samples, fields):
    train, validation = samples
    config = NetworkConfig(6, 5, (12, 12, 12), taaf="hidden", **CHECKERBOARD, **fields)
    result = fit(config, Protocol("keras_nadam", "mae", 1e-2, batch=10, epochs=30), train, validation, seed=0)
    losses = [row.train_loss for row in result.log]
    assert losses[-1] < 0.7 * losses[0]
    before = init_params(config, jax.random.key(0))
    moved = jax.tree.map(lambda one, other: bool(np.any(one != other)), before["H2"], result.params["H2"])
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("towers", [2, 5, 8])
def test_equal_units_are_the_most_that_have_no_more_weights(layers, towers):
    whole = NetworkConfig(943, 500, (300, 300))

    def weights(config):
        shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
        return sum(layer["kernel"].size for layer in shapes.values())

    units = equal_units(943, 500, 300, 2, towers, layers)
    allowed, more = (
        weights(NetworkConfig(943, 500, (wide,) * layers, towers=towers)) for wide in (units, units + towers)
    )
    assert units % towers == 0 and allowed <= weights(whole) < more


def test_a_model_in_a_checkerboard_is_written_and_read(small_data, tmp_path, assert_trees_close):
    config = NetworkConfig(24, 60, (16, 16, 16), taaf="hidden", towers=4, checkerboard=True)
    made = {"file": "made-up.h5", "sha256": "0123"}
    protocol = Protocol("keras_nadam", "mae", 2e-2, batch=40, epochs=1)
    model = train_model(small_data, made, config, protocol, 0, parallel.devices(1))
    save_model(tmp_path / "model", model)
    loaded = load_model(tmp_path / "model")
    assert loaded.config == config
    assert_trees_close(loaded.params, model.params, rtol=0, strict=True)
    assert "24 → 16 → 16 → 16 in 4 towers, a checkerboard → 60" in read_card(tmp_path / "model")
