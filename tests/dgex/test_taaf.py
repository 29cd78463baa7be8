"""TAAF against its formula in float64, and the shapes, dtypes and errors of the module around it."""

import json
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgex.activations import BASES, RANGES
from dgex.errors import DgexError
from dgex.taaf import PARAMETERS, TAAF, reach, spanning, taaf


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# A base function and its derivative.
CLOSED_FORMS = {
    "sigmoid": (sigmoid, lambda u: sigmoid(u) * (1 - sigmoid(u))),
    "tanh": (np.tanh, lambda u: 1 - np.tanh(u) ** 2),
    "softplus": (lambda u: np.logaddexp(0, u), sigmoid),
    "elu": (lambda u: np.where(u > 0, u, np.expm1(u)), lambda u: np.where(u > 0, 1, np.exp(u))),
    "linear": (lambda u: u, np.ones_like),
}


@pytest.fixture
def arguments():
    """z [7, 5] and the four [5], float64; every unit has its own."""
    rng = np.random.default_rng(0)
    return rng.normal(0, 2, (7, 5)), *rng.normal(0, 1, (4, 5))


@pytest.mark.parametrize("base", CLOSED_FORMS)
def test_formula(base, arguments):
    z, alpha, beta, gamma, delta = arguments
    with jax.enable_x64(True):
        result = taaf(*map(jnp.asarray, arguments), base)
    assert result.dtype == np.float64
    f, _ = CLOSED_FORMS[base]
    np.testing.assert_allclose(result, alpha * f(beta * z + gamma) + delta, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("base", CLOSED_FORMS)
def test_gradients(base, arguments):
    z, alpha, beta, gamma, _ = arguments
    cotangent = np.random.default_rng(1).normal(size=z.shape)
    with jax.enable_x64(True):
        gradients = jax.grad(lambda *a: jnp.sum(cotangent * taaf(*a, base)), range(5))(*map(jnp.asarray, arguments))
    f, df = CLOSED_FORMS[base]
    u = beta * z + gamma
    expected = (
        cotangent * alpha * beta * df(u),
        (cotangent * f(u)).sum(0),
        (cotangent * alpha * z * df(u)).sum(0),
        (cotangent * alpha * df(u)).sum(0),
        cotangent.sum(0),
    )
    for gradient, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-12, atol=1e-12)


def test_scalar_parameters_and_callable_base():
    z = np.linspace(-3, 3, 13)
    with jax.enable_x64(True):
        result = taaf(jnp.asarray(z), 2.0, 0.5, -1.0, 0.25, jnp.sin)
    np.testing.assert_allclose(result, 2 * np.sin(0.5 * z - 1) + 0.25, rtol=1e-13)


@pytest.mark.parametrize("share", ["unit", "layer"])
@pytest.mark.parametrize("base", [*CLOSED_FORMS, jnp.sin])
def test_starts_as_its_base(base, share):
    z = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
    result, variables = TAAF(base, share=share).init_with_output(jax.random.key(0), z)
    one, zero = jnp.ones(()), jnp.zeros(())
    base_alone = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "softplus": jax.nn.softplus, "elu": jax.nn.elu,
                  "linear": lambda u: u}.get(base, base)  # fmt: skip
    np.testing.assert_array_equal(result, base_alone(z))
    assert {name: float(leaf.mean()) for name, leaf in variables["params"].items()} == {
        "alpha": one, "beta": one, "gamma": zero, "delta": zero,
    }  # fmt: skip


@pytest.mark.parametrize(("share", "shape"), [("unit", (4,)), ("layer", ())])
def test_parameter_and_gradient_shapes(share, shape):
    module, z = TAAF("tanh", share=share), jnp.ones((2, 3, 4))
    params = module.init(jax.random.key(0), z)["params"]
    gradients = jax.grad(lambda p: module.apply({"params": p}, z).sum())(params)
    for tree in (params, gradients):
        assert {name: (leaf.shape, leaf.dtype) for name, leaf in tree.items()} == {
            name: (shape, np.float32) for name in PARAMETERS
        }
    assert module.apply({"params": params}, z).shape == z.shape


def test_shared_gradient_is_the_sum_over_units():
    z = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)

    def gradient(share):
        module = TAAF("tanh", share=share)
        variables = module.init(jax.random.key(0), z)
        return jax.grad(lambda v: jnp.sum(module.apply(v, z) ** 2))(variables)["params"]

    for name, leaf in gradient("unit").items():
        np.testing.assert_allclose(gradient("layer")[name], leaf.sum(), rtol=1e-5)


@pytest.mark.parametrize("learn", [(), ("alpha",), ("gamma", "beta"), PARAMETERS])
def test_learns_only_what_is_asked_for(learn):
    fixed = {"alpha": 1.7, "beta": 0.6, "gamma": -0.3, "delta": 0.2}
    inits = {f"{name}_init": nn.initializers.constant(value) for name, value in fixed.items()}
    z = np.linspace(-2, 2, 12).reshape(4, 3)
    result, variables = TAAF("tanh", learn, **inits).init_with_output(jax.random.key(0), jnp.asarray(z, jnp.float32))
    assert set(variables.get("params", {})) == set(learn)
    np.testing.assert_allclose(result, 1.7 * np.tanh(0.6 * z - 0.3) + 0.2, rtol=1e-6, atol=1e-6)


def test_initialisers_see_the_layer():
    z = jnp.zeros((2, 500))
    params = TAAF(alpha_init=nn.initializers.normal(0.1)).init(jax.random.key(0), z)["params"]
    assert len(np.unique(params["alpha"])) == 500
    assert abs(params["alpha"].std() - 0.1) < 0.02
    np.testing.assert_array_equal(params["beta"], np.ones(500))


# By hand: alpha and gamma from the base's range, beta and delta from o'(0) = 1 and o(0) = 0.
SPANNING = {
    ("sigmoid", 5): (10, 4 / 10, 0, -5),
    ("tanh", 5): (5, 1 / 5, 0, 0),
    ("hard_tanh", 0.5): (0.5, 2, 0, 0),
    ("relu", 4): (1, 1, 4, -4),
    ("elu", 4): (1, 1, 4, -4),
    ("softplus", 3): (1, 1 + np.exp(-3), 3, -np.log1p(np.exp(3))),
    ("linear", 7): (1, 1, 0, 0),
}


@pytest.mark.parametrize(("base", "reach"), SPANNING)
def test_spanning_by_hand(base, reach):
    np.testing.assert_allclose(spanning(base, reach), SPANNING[base, reach], rtol=1e-6)


@pytest.mark.parametrize("reach", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("base", BASES)
def test_spanning_starts_as_a_linear_unit_that_covers_the_reach(base, reach):
    with jax.enable_x64(True):
        four = spanning(base, reach)
        value, slope = jax.value_and_grad(lambda z: taaf(z, *four, base))(0.0)
        low, high = (float(four[0] * end + four[3]) for end in RANGES[base])
    np.testing.assert_allclose([value, slope], [0, 1], rtol=1e-12, atol=1e-12)
    assert low <= -reach * (1 - 1e-12) and high >= reach * (1 - 1e-12)


def test_spanning_unknown_base():
    with pytest.raises(DgexError, match="unknown activation 'sine'"):
        spanning("sine", 1.0)


@pytest.mark.parametrize(("share", "expected"), [(0.999, 1998), (0.5, 1000), (0.5001, 1001), (1, 2000)])
def test_reach_is_the_least_that_covers_the_share(share, expected):
    target = np.random.default_rng(0).permutation(np.arange(1, 2001)).reshape(50, 40).astype(np.float32)
    target[::2] *= -1
    found = reach(target, share)
    assert type(found) is float and found == expected
    assert reach(jnp.asarray(target), share) == expected


def test_reach_of_normal_values():
    target = np.random.default_rng(0).normal(size=(1000, 500)).astype(np.float32)
    assert reach(target) == pytest.approx(3.2905, abs=0.03)  # 99.9 % of a normal distribution lies within 3.2905 SD


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.zeros((0, 5)), "no target values"),
        (np.zeros((5, 0)), "no target values"),
        (np.array([[0, np.nan], [np.inf, -1]]), "2 of 4 target z-scores are not finite"),
    ],
)
def test_reach_refuses(target, message):
    with pytest.raises(DgexError, match=message):
        reach(target)


def test_bfloat16_input_is_computed_in_float32():
    z = jnp.asarray(np.random.default_rng(0).normal(0, 3, (64, 32)), jnp.bfloat16)
    four = np.random.default_rng(1).normal(1, 0.3, (4, 32)).astype(np.float32)
    params = dict(zip(PARAMETERS, four, strict=True))
    result = TAAF("sigmoid").apply({"params": params}, z)
    assert result.dtype == jnp.bfloat16
    assert all(leaf.dtype == np.float32 for leaf in TAAF().init(jax.random.key(0), z)["params"].values())
    exact = params["alpha"] * sigmoid(params["beta"] * np.asarray(z, np.float64) + params["gamma"]) + params["delta"]
    # Rounding once to 8 bits is off by at most 2^-8 of the value; arithmetic in bfloat16 would be off by several.
    np.testing.assert_allclose(np.asarray(result, np.float64), exact, rtol=2**-8, atol=1e-6)


def test_float64_input_is_computed_in_float64():
    z = np.random.default_rng(0).normal(size=(8, 3))
    with jax.enable_x64(True):
        result, _ = TAAF("tanh").init_with_output(jax.random.key(0), jnp.asarray(z))
    np.testing.assert_allclose(result, np.tanh(z), rtol=1e-14)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (TAAF("sigmoidal"), "unknown activation 'sigmoidal'; known: .*sigmoid"),
        (TAAF(learn=("alpha", "slope")), "cannot learn slope"),
        (TAAF(share="network"), "not 'network'"),
    ],
)
def test_errors(module, message):
    with pytest.raises(DgexError, match=message):
        module.init(jax.random.key(0), jnp.zeros((1, 2)))


def test_integer_input_is_refused():
    with pytest.raises(TypeError, match="int32"):
        TAAF().init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))


def test_import_costs_what_flax_costs():
    script = """
import sys, json, jax, flax.linen
before = {name.partition(".")[0] for name in sys.modules}
import dgex.taaf
from jax._src import xla_bridge
after = {name.partition(".")[0] for name in sys.modules}
print(json.dumps([sorted(after - before), sorted(name for name in sys.modules if name.startswith("dgex")),
                  list(xla_bridge._backends)]))
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    added, own, backends = json.loads(output)
    assert added == ["dgex"]
    assert own == ["dgex", "dgex.activations", "dgex.errors", "dgex.taaf", "dgex.version"]
    assert backends == []
