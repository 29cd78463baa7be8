"""Networks whose activations learn: which parameters there are, whose they are, their formula and gradients."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgex import parallel
from dgex.activations import BASES
from dgex.networks import NetworkConfig, forward, init_params, layer_table
from dgex.taaf import PARAMETERS

jitted_init = jax.jit(init_params, static_argnums=0)
jitted_forward = jax.jit(forward, static_argnums=0)

SUBSETS = [subset for size in range(5) for subset in itertools.combinations(PARAMETERS, size)]


def random_params(config):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(jitted_init, config, jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(0, 1, leaf.shape).astype(np.float32), shapes)


def shapes_of(config):
    tree = jax.eval_shape(jitted_init, config, jax.random.key(0))
    return {layer: {name: leaf.shape for name, leaf in leaves.items()} for layer, leaves in tree.items()}


@pytest.mark.parametrize("learn", SUBSETS)
def test_learnt_subset(learn):
    """A unit has its shift either way: gamma where it is learnt, the dense layer's bias where not."""
    config = NetworkConfig(942, 952, taaf="all", learn=learn)
    dense = {"kernel"} if "gamma" in learn else {"kernel", "bias"}
    for layer, units in (("H0", 300), ("H1", 300), ("outputs", 952)):
        assert set(shapes_of(config)[layer]) == dense
        assert shapes_of(config).get(f"{layer}_taaf", {}) == {name: (units,) for name in learn}
    each = len(learn) + ("gamma" not in learn)
    assert sum(count for _, _, count in layer_table(config)) == 282_600 + 90_000 + 285_600 + (300 + 300 + 952) * each

    params = random_params(config)
    landmark = np.random.default_rng(1).normal(size=(5, 942)).astype(np.float32)
    x = landmark.astype(np.float64)
    for layer in ("H0", "H1", "outputs"):
        four = {"alpha": 1, "beta": 1, "gamma": 0, "delta": 0} | params.get(f"{layer}_taaf", {})
        z = x @ params[layer]["kernel"] + params[layer].get("bias", 0)
        x = four["alpha"] / (1 + np.exp(-(four["beta"] * z + four["gamma"]))) + four["delta"]
    np.testing.assert_allclose(jitted_forward(config, params, landmark), x, rtol=1e-3, atol=1e-3)


def test_no_learnt_parameter_is_the_plain_network():
    plain, empty = NetworkConfig(4, 3), NetworkConfig(4, 3, taaf="hidden", learn=())
    params = random_params(plain)
    landmark = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_array_equal(jitted_forward(plain, params, landmark), jitted_forward(empty, params, landmark))


@pytest.mark.parametrize(
    ("fields", "owners"),
    [
        ({"taaf": "all", "share": "layer"}, ["H0_taaf", "H1_taaf", "outputs_taaf"]),
        ({"taaf": "all", "share": "network"}, ["hidden_taaf", "outputs_taaf"]),
        ({"taaf": "hidden", "share": "network"}, ["hidden_taaf"]),
    ],
)
def test_shared_taaf(fields, owners):
    """One gamma cannot stand in for the biases of many units, so the dense layers keep theirs."""
    config = NetworkConfig(942, 952, **fields)
    shapes = shapes_of(config)
    assert [name for name in shapes if name.endswith("_taaf")] == sorted(owners)
    assert all(shapes[owner] == dict.fromkeys(PARAMETERS, ()) for owner in owners)
    assert sum(count for _, _, count in layer_table(config)) == 659_752 + 4 * len(owners)

    params = random_params(config)
    x = landmark = np.random.default_rng(1).normal(size=(5, 942)).astype(np.float32)
    for layer in ("H0", "H1", "outputs"):
        x = x @ params[layer]["kernel"].astype(np.float64) + params[layer]["bias"]
        four = params.get(f"{layer}_taaf") or (layer != "outputs" and params["hidden_taaf"])
        if four:
            x = four["alpha"] / (1 + np.exp(-(four["beta"] * x + four["gamma"]))) + four["delta"]
    np.testing.assert_allclose(jitted_forward(config, params, landmark), x, rtol=1e-3, atol=1e-3)


@functools.partial(jax.jit, static_argnums=0)
def network_gradient(config, params, landmark):
    return jax.grad(lambda p: jnp.mean(forward(config, p, landmark) ** 2))(params)


@pytest.mark.parametrize("activation", ["tanh", "abu"])
def test_gradient_of_the_shared_set_is_the_sum_over_layers(activation):
    fields = {"landmarks": 4, "targets": 3, "hidden": (6, 5), "activation": activation}
    fields |= {"taaf": "hidden"} if activation == "tanh" else {}
    kind = "taaf" if activation == "tanh" else activation
    params = random_params(NetworkConfig(**fields, share="network"))
    landmark = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
    together = network_gradient(NetworkConfig(**fields, share="network"), params, landmark)
    apart = dict(params)
    apart[f"H0_{kind}"] = apart[f"H1_{kind}"] = apart.pop(f"hidden_{kind}")
    layers = network_gradient(NetworkConfig(**fields, share="layer"), apart, landmark)
    for name, leaf in together[f"hidden_{kind}"].items():
        np.testing.assert_allclose(leaf, layers[f"H0_{kind}"][name] + layers[f"H1_{kind}"][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "values", "kind"),
    [
        ("prelu", 1, "slope"),
        ("srelu", 4, "left_slope, left_threshold, right_slope, right_threshold"),
        ("abu", 5, "weight"),
        ("pau", 10, "denominator, numerator"),
        ("swish", 1, "slope"),
    ],
)
def test_rivals_add_their_parameters_to_the_classical_network(activation, values, kind):
    config = NetworkConfig(942, 952, activation=activation)
    assert layer_table(config) == [
        ("H0", "Dense 942 -> 300", 282_900),
        (f"H0_{activation}", kind, 300 * values),
        ("H1", "Dense 300 -> 300", 90_300),
        (f"H1_{activation}", kind, 300 * values),
        ("outputs", "Dense 300 -> 952", 286_552),
    ]


def test_rival_formula():
    config = NetworkConfig(4, 3, (6, 5), "prelu")
    params = random_params(config)
    x = landmark = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
    for layer in ("H0", "H1", "outputs"):
        x = x @ params[layer]["kernel"].astype(np.float64) + params[layer]["bias"]
        if layer != "outputs":
            x = np.maximum(x, 0) + params[f"{layer}_prelu"]["slope"] * np.minimum(x, 0)
    np.testing.assert_allclose(jitted_forward(config, params, landmark), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("learn", [PARAMETERS, ("beta",)])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_output_reach_starts_as_a_linear_output(activation, learn):
    linear = NetworkConfig(40, 30, (), activation)
    spanning = NetworkConfig(40, 30, (), activation, taaf="all", learn=learn, output_reach=5.0)
    key = jax.random.key(0)
    # Small outputs, where the two agree to first order.
    landmark = 0.01 * np.random.default_rng(1).normal(size=(50, 40)).astype(np.float32)
    wanted = jitted_forward(linear, jitted_init(linear, key), landmark)
    found = jitted_forward(spanning, jitted_init(spanning, key), landmark)
    assert 0.02 < np.abs(wanted).max() < 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_output_reach_sets_the_output_taaf_alone():
    params = jitted_init(NetworkConfig(4, 3, taaf="all", output_reach=5.0), jax.random.key(0))
    for owner, four in (("H0", (1, 1, 0, 0)), ("H1", (1, 1, 0, 0)), ("outputs", (10, 0.4, 0, -5))):
        for name, value in zip(PARAMETERS, four, strict=True):
            np.testing.assert_allclose(params[f"{owner}_taaf"][name], value, rtol=1e-6)
    plain = jitted_init(NetworkConfig(4, 3, taaf="all"), jax.random.key(0))
    np.testing.assert_array_equal(plain["outputs"]["kernel"], params["outputs"]["kernel"])


@pytest.mark.parametrize("base", BASES)
def test_output_reach_under_the_transformations_of_a_training_step(base, assert_trees_close):
    config = NetworkConfig(4, 3, (), base, taaf="all", learn=("gamma", "delta"), output_reach=5.0)
    params = jitted_init(config, jax.random.key(0))
    landmark = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)

    @jax.jit
    def profile_by_profile(params, landmark):
        def summed(params):
            return jnp.mean(jax.vmap(lambda profile: forward(config, params, profile))(landmark) ** 2)

        return jax.lax.scan(lambda carry, _: (carry, jax.grad(summed)(params)), 0, jnp.arange(1))[1]

    found, wanted = profile_by_profile(params, landmark), network_gradient(config, params, landmark)
    assert_trees_close(jax.tree.map(lambda leaf: leaf[0], found), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {"taaf": "all", "learn": ("alpha", "delta"), "output_reach": 5.0},
        {"taaf": "all", "share": "network"},
        {"activation": "pau", "share": "layer"},
    ],
)
def test_devices_average_to_the_gradient_of_the_whole_batch(fields, assert_trees_close):
    config = NetworkConfig(4, 3, (6, 5), **fields)
    params = jitted_init(config, jax.random.key(0))
    landmark = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
    over = parallel.devices(4)
    lifted = parallel.lift(
        lambda p, part: parallel.mean_over_devices(network_gradient(config, p, part)), over, shared=1
    )
    found = jax.block_until_ready(lifted(parallel.replicate(params, over), landmark.reshape(4, 4, 4)))
    wanted = network_gradient(config, params, landmark)
    assert_trees_close(found, wanted, rtol=1e-4, atol=1e-6)
