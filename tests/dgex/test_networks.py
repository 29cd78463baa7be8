"""The perceptron: parameter counts of the published tables, its formula, initialisation, dropout and dtypes."""

import functools
import json
import subprocess
import sys
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgex.dropout import random_bits
from dgex.errors import DgexError
from dgex.networks import PRESETS, NetworkConfig, forward, init_params, layer_table, take_targets
from dgex.taaf import PARAMETERS

jitted_init = jax.jit(init_params, static_argnums=0)
jitted_forward = jax.jit(forward, static_argnums=0)


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "dgex.networks", *arguments], capture_output=True, text=True)


# Layer by layer as the TAAF-D-GEX repository prints them.
CLASSICAL = [
    ("H0", "Dense 942 -> 300", "282,900"),
    ("H1", "Dense 300 -> 300", "90,300"),
    ("outputs", "Dense 300 -> 952", "286,552"),
]
ADAPTIVE = [
    ("H0", "Dense 942 -> 300", "282,600"),
    ("H0_taaf", "beta, gamma", "600"),
    ("H0_taaf", "alpha, delta", "600"),
    ("H1", "Dense 300 -> 300", "90,000"),
    ("H1_taaf", "beta, gamma", "600"),
    ("H1_taaf", "alpha, delta", "600"),
    ("outputs", "Dense 300 -> 952", "285,600"),
    ("outputs_taaf", "beta, gamma", "1,904"),
    ("outputs_taaf", "alpha, delta", "1,904"),
]


@pytest.mark.parametrize(
    ("preset", "layers", "total"),
    [("example-classical", CLASSICAL, "659,752"), ("example-taaf", ADAPTIVE, "664,408")],
)
def test_published_tables(preset, layers, total):
    printed = command(preset)
    assert (printed.returncode, printed.stderr) == (0, "")
    _, *rows, last = printed.stdout.splitlines()
    assert [(row.split()[0], " ".join(row.split()[1:-1]), row.split()[-1]) for row in rows] == layers
    assert last == f"Total params: {total}"


def test_unknown_preset():
    printed = command("example")
    assert (printed.returncode, printed.stdout) == (2, "")
    assert printed.stderr.startswith("error: unknown preset 'example'; known: example-classical, ")
    assert printed.stderr.count("\n") == 1


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("units", [3000, 6000, 9000])
def test_dgex_grid(layers, units):
    config = PRESETS[f"dgex-{layers}x{units}"]
    assert (config.activation, config.taaf, config.dropout, config.init) == ("tanh", "none", 0.1, "dgex")
    expected = 944 * units + (layers - 1) * (units + 1) * units + (units + 1) * 9520
    assert sum(count for _, _, count in layer_table(config)) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"landmarks": 0}, "at least one unit: 0 -> "),
        ({"targets": -1}, "at least one unit"),
        ({"hidden": (3, 0)}, "at least one unit"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), not 1.0"),
        ({"dropout": -0.1}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"activation": "sigmoidal"}, "unknown activation 'sigmoidal'; known: abu, elu, "),
        ({"activation": "pau", "taaf": "hidden"}, "pau is itself learnable; a TAAF needs one of elu, "),
        ({"taaf": "hidden", "learn": ("alpha", "slope")}, "cannot learn slope; choose from alpha, beta, gamma, delta"),
        ({"learn": ("alpha",)}, "but the network has no TAAF"),
        ({"taaf": "hidden", "share": "gene"}, "share must be one of unit, layer, network, not 'gene'"),
        ({"share": "layer"}, "share='layer' needs activations with parameters, but sigmoid has none"),
        ({"taaf": "hidden", "output_reach": 5.0}, "needs taaf='all'"),
        ({"taaf": "all", "output_reach": 0.0}, "output_reach must be positive and finite, not 0.0"),
        ({"taaf": "all", "output_reach": float("inf")}, "output_reach must be positive and finite, not inf"),
        ({"taaf": "output"}, "taaf must be one of none, hidden, all, not 'output'"),
        ({"hidden": (4, 4), "dropout": 0.1, "dropout_mask": "both"}, "dropout_mask must be one of layer, network"),
        ({"hidden": (4, 4), "dropout_mask": "network"}, "needs dropout, and several hidden layers of as many units"),
        ({"hidden": (4,), "dropout": 0.1, "dropout_mask": "network"}, "several hidden layers of as many units"),
        ({"hidden": (4, 5, 4), "dropout": 0.1, "dropout_mask": "network"}, "several hidden layers of as many units"),
        ({"init": "he"}, "init must be one of glorot, dgex"),
        ({"compute_dtype": "float16"}, "compute_dtype must be one of float32, bfloat16"),
        ({"matmul_precision": "tf32"}, "matmul_precision must be one of default, high, highest"),
    ],
)
def test_config_errors(fields, message):
    with pytest.raises(DgexError, match=message):
        NetworkConfig(**{"landmarks": 4, "targets": 3} | fields)


BASES = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh}


@pytest.mark.parametrize("activation", BASES)
@pytest.mark.parametrize("taaf", ["none", "hidden", "all"])
@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
def test_formula(activation, taaf, hidden):
    config = NetworkConfig(4, 3, hidden, activation, taaf=taaf)
    rng = np.random.default_rng(0)
    # Random everywhere: the initial biases and TAAFs would hide where they stand.
    params = jax.tree.map(
        lambda leaf: rng.normal(0, 1, leaf.shape).astype(np.float32),
        jax.eval_shape(jitted_init, config, jax.random.key(0)),
    )
    landmark = rng.normal(size=(8, 4)).astype(np.float32)

    x = landmark.astype(np.float64)
    for name in [*(f"H{layer}" for layer in range(len(hidden))), "outputs"]:
        adaptive = taaf == "all" or (taaf == "hidden" and name != "outputs")
        assert set(params[name]) == ({"kernel"} if adaptive else {"kernel", "bias"})
        z = x @ params[name]["kernel"]
        f = BASES[activation]
        if adaptive:
            four = params[f"{name}_taaf"]
            x = four["alpha"] * f(four["beta"] * z + four["gamma"]) + four["delta"]
        else:
            z = z + params[name]["bias"]
            x = z if name == "outputs" else f(z)
    np.testing.assert_allclose(jitted_forward(config, params, landmark), x, rtol=1e-4, atol=1e-5)
    # One profile alone gives the same row.
    np.testing.assert_allclose(forward(config, params, landmark[2]), x[2], rtol=1e-4, atol=1e-5)


def test_order_of_learn_does_not_matter():
    one, other = (NetworkConfig(4, 3, taaf="all", learn=learn) for learn in (("delta", "beta"), ["beta", "delta"]))
    assert one == other and hash(one) == hash(other) and one.learn == ("beta", "delta")


def test_configuration_survives_json():
    config = NetworkConfig(4, 3, (5,), taaf="all", learn=("beta", "delta"), share="layer", output_reach=5.0)
    assert NetworkConfig(**json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize("init", ["glorot", "dgex"])
def test_initial_ranges(init):
    params = jitted_init(NetworkConfig(40, 30, (60, 50), "tanh", init=init), jax.random.key(0))
    for name, (inputs, units) in {"H0": (40, 60), "H1": (60, 50), "outputs": (50, 30)}.items():
        bound = 1e-4 if (init, name) == ("dgex", "outputs") else np.sqrt(6 / (inputs + units))
        kernel = np.asarray(params[name]["kernel"], np.float64)
        assert 0.98 * bound < np.abs(kernel).max() <= bound * (1 + 1e-6)
        assert abs(kernel.std() / (bound / np.sqrt(3)) - 1) < 0.05  # uniform, not merely inside
        np.testing.assert_array_equal(params[name]["bias"], 0)


def test_init_follows_the_key():
    config = NetworkConfig(4, 3, (5,))
    one, again, other = (jitted_init(config, jax.random.key(seed))["H0"]["kernel"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.any(one == other)


def bits(seed, rows, units):
    return random_bits(jnp.uint32(seed), jnp.int32(0), jnp.arange(rows), units)


def test_dropout_falls_on_hidden_outputs_in_training_only():
    rate, units = 0.25, 4000
    config = NetworkConfig(2, units, (units,), "tanh", dropout=rate)
    # The output layer hands the hidden layer's outputs, tanh(1), through.
    params = {
        "H0": {"kernel": jnp.zeros((2, units)), "bias": jnp.ones(units)},
        "outputs": {"kernel": jnp.eye(units), "bias": jnp.zeros(units)},
    }
    landmark = jnp.ones((1, 2))
    kept = np.tanh(1) / (1 - rate)
    np.testing.assert_allclose(jitted_forward(config, params, landmark), np.tanh(1), rtol=1e-6)
    trained = np.asarray(jitted_forward(config, params, landmark, bits(0, 1, units)))
    dropped = trained == 0
    np.testing.assert_allclose(trained[~dropped], kept, rtol=1e-6)
    assert abs(dropped.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / units)
    assert np.any(dropped != (np.asarray(jitted_forward(config, params, landmark, bits(1, 1, units))) == 0))


@pytest.mark.parametrize(("mask", "kept"), [("layer", 0.75**2), ("network", 0.75)])
def test_layers_draw_their_masks_or_share_one(mask, kept):
    units = 4000
    config = NetworkConfig(2, units, (units, units), "tanh", dropout=0.25, dropout_mask=mask)
    through = {"kernel": jnp.eye(units), "bias": jnp.zeros(units)}
    params = {"H0": {"kernel": jnp.zeros((2, units)), "bias": jnp.ones(units)}, "H1": through, "outputs": through}
    trained = np.asarray(jitted_forward(config, params, jnp.ones((1, 2)), bits(0, 1, config.mask_units)))
    np.testing.assert_allclose(trained[trained != 0], np.tanh(np.tanh(1) / 0.75) / 0.75, rtol=1e-6)
    assert abs((trained != 0).mean() - kept) < 5 * np.sqrt(kept * (1 - kept) / units)
    other = np.asarray(jitted_forward(config, params, jnp.ones((1, 2)), bits(1, 1, config.mask_units)))
    assert np.any((other == 0) != (trained == 0))
    np.testing.assert_allclose(jitted_forward(config, params, jnp.ones((1, 2))), np.tanh(np.tanh(1)), rtol=1e-6)


def test_inputs_and_outputs_are_never_dropped():
    config = NetworkConfig(6, 4, (), dropout=0.9)
    params = jitted_init(config, jax.random.key(0))
    landmark = jnp.ones((3, 6))
    np.testing.assert_array_equal(
        jitted_forward(config, params, landmark, bits(1, 3, config.mask_units)),
        jitted_forward(config, params, landmark),
    )


def test_bfloat16_compute_keeps_float32_parameters_and_result():
    fields = {"landmarks": 50, "targets": 20, "hidden": (40, 40), "taaf": "all"}
    params = jitted_init(NetworkConfig(**fields, compute_dtype="bfloat16"), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    landmark = jnp.asarray(np.random.default_rng(0).normal(size=(30, 50)), jnp.float32)
    exact, rounded = (
        jitted_forward(NetworkConfig(**fields, compute_dtype=dtype), params, landmark)
        for dtype in ("float32", "bfloat16")
    )
    assert rounded.dtype == np.float32
    # Three layers of values near 0.5, each rounded to 8 bits: close, but not equal.
    assert 1e-5 < np.abs(rounded - exact).max() < 0.02


@pytest.mark.parametrize("precision", ["high", "highest"])
def test_matmul_precision_reaches_every_product(precision):
    config = NetworkConfig(4, 3, (5, 5), matmul_precision=precision)
    params = jax.eval_shape(jitted_init, config, jax.random.key(0))
    program = str(jax.make_jaxpr(forward, static_argnums=0)(config, params, jnp.ones((2, 4))))
    assert program.count(f"Precision.{precision.upper()}") == 2 * program.count("dot_general") == 6


VARIANTS = [
    {},
    {"activation": "prelu"},
    *(
        {"taaf": taaf, "share": share, "learn": learn}
        for taaf in ("hidden", "all")
        for share in ("unit", "layer", "network")
        for learn in (PARAMETERS, ("alpha", "delta"))
    ),
    {"taaf": "all", "output_reach": 5.0},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: "-".join(map(str, variant.values())) or "none")
def test_some_targets_are_columns_of_the_whole_network(variant):
    """Here a hidden layer has as many units as there are targets; its parameters stay whole."""
    config = NetworkConfig(6, 8, (8,), dropout=0.5, **variant)
    random = np.random.default_rng(0)
    fresh = init_params(config, jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.float32(leaf + 0.1 * random.normal(size=leaf.shape)), fresh)
    landmark = random.normal(size=(4, 6)).astype(np.float32)
    whole = forward(config, params, landmark)
    for chosen in ([6, 1, 2], [3]):
        fewer, taken = take_targets(config, params, np.array(chosen))
        assert fewer.targets == len(chosen) and fewer.hidden == config.hidden
        shapes = jax.eval_shape(functools.partial(init_params, fewer), jax.random.key(0))
        assert jax.tree.map(np.shape, taken) == jax.tree.map(np.shape, shapes)
        np.testing.assert_allclose(forward(fewer, taken, landmark), whole[:, np.array(chosen)], atol=1e-6)
