"""The rivals against their formulas in float64, their first shapes, and the module around them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgex import parallel
from dgex.errors import DgexError
from dgex.rivals import RIVALS, Rival
from dgex.taaf import taaf


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def elu(z):
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def srelu(z, left, left_slope, right, right_slope):
    middle = np.where(z <= left, left + left_slope * (z - left), z)
    return np.where(z >= right, right + right_slope * (z - right), middle)


def pau(z, a, b):
    powers = z[..., None] ** np.arange(6)
    return (powers * a).sum(-1) / (1 + np.abs(powers[..., 1:5] * b).sum(-1))


# The papers' formulas, written out anew.
FORMS = {
    "prelu": lambda z, slope: np.maximum(z, 0) + slope * np.minimum(z, 0),
    "srelu": srelu,
    "abu": lambda z, w: (
        w[..., 0] * np.tanh(z) + w[..., 1] * elu(z) + w[..., 2] * np.maximum(z, 0) + w[..., 3] * z
        + w[..., 4] * z * sigmoid(z)
    ),
    "pau": pau,
    "swish": lambda z, slope: z * sigmoid(slope * z),
}  # fmt: skip

# Values of one unit that its parameters have, by name and in order.
SHAPES = {
    "prelu": {"slope": ()},
    "srelu": {"left_threshold": (), "left_slope": (), "right_threshold": (), "right_slope": ()},
    "abu": {"weight": (5,)},
    "pau": {"numerator": (6,), "denominator": (4,)},
    "swish": {"slope": ()},
}

Z = np.random.default_rng(0).normal(0, 2, (40, 7))


def drawn(name, units=(7,)):
    """Parameters that differ from unit to unit; SReLU's thresholds are in order."""
    rng = np.random.default_rng(1)
    parameters = [rng.normal(0, 1, units + shape) for shape in SHAPES[name].values()]
    if name == "srelu":
        parameters[0], parameters[2] = -np.abs(parameters[0]), np.abs(parameters[2])
    return parameters


def test_every_rival_has_a_form_here():
    assert {name: list(shapes) for name, shapes in SHAPES.items()} == {
        name: list(rival.initial) for name, rival in RIVALS.items()
    }


@pytest.mark.parametrize("units", [(7,), ()])
@pytest.mark.parametrize("name", FORMS)
def test_formula(name, units):
    parameters = drawn(name, units)
    with jax.enable_x64(True):
        result = jax.jit(RIVALS[name].function)(jnp.asarray(Z), *map(jnp.asarray, parameters))
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, FORMS[name](Z, *parameters), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FORMS)
def test_gradients_are_the_slopes_of_the_formula(name):
    rng = np.random.default_rng(2)
    arguments = [Z, *drawn(name)]
    cotangent = rng.normal(size=Z.shape)
    with jax.enable_x64(True):
        positions = range(len(arguments))
        gradient = jax.grad(lambda *a: jnp.sum(cotangent * RIVALS[name].function(*a)), positions)
        gradients = jax.jit(gradient)(*map(jnp.asarray, arguments))
    for position, gradient in enumerate(gradients):
        direction, step = rng.normal(size=arguments[position].shape), 1e-6
        below, above = (
            np.sum(cotangent * FORMS[name](*(a + sign * direction if k == position else a
                                             for k, a in enumerate(arguments))))
            for sign in (-step, step)
        )  # fmt: skip
        np.testing.assert_allclose(
            np.sum(np.asarray(gradient) * direction), (above - below) / (2 * step), rtol=1e-5, atol=1e-5
        )


def test_hand_computed():
    with jax.enable_x64(True):
        z = jnp.array([-2.0, 0.5, 3.0])
        f = {name: rival.function for name, rival in RIVALS.items()}
        np.testing.assert_allclose(f["prelu"](z, 0.25), [-0.5, 0.5, 3])
        np.testing.assert_allclose(f["srelu"](z, -1.0, 0.5, 1.0, 2.0), [-1.5, 0.5, 5])
        np.testing.assert_allclose(f["pau"](z, jnp.array([1.0, 2, 0, 0, 0, 1]), jnp.array([2.0, -1, 0, 0])),
                                   [-35 / 9, (2 + 1 / 32) / 2.25, 250 / 16])  # fmt: skip
        np.testing.assert_allclose(f["abu"](z, jnp.array([0.0, 0, 2, -1, 0])), [2, 0.5, 3])
        np.testing.assert_allclose(f["swish"](z, 0.0), [-1, 0.25, 1.5])


def test_pau_has_no_poles():
    z = jnp.linspace(-4, 4, 1001)
    # Without the absolute values, 1 - z^2 would be 0 at +-1, and 1 + z^3 at -1.
    for denominator in ([0.0, -1, 0, 0], [0.0, 0, 1, 0]):
        result = RIVALS["pau"].function(z, jnp.ones(6), jnp.asarray(denominator))
        assert np.abs(result).max() <= 4**6  # at most the numerator


def test_pau_starts_from_the_published_coefficients():
    assert dict(RIVALS["pau"].initial) == {
        "numerator": (0.02979246, 0.61837738, 2.32335207, 3.05202660, 1.48548002, 0.25103717),
        "denominator": (1.14201226, 4.39322834, 0.87154450, 0.34720652),
    }
    z = np.linspace(-3, 3, 2001)
    a, b = map(jnp.asarray, RIVALS["pau"].initial.values())
    error = np.abs(RIVALS["pau"].function(jnp.asarray(z), a, b) - np.where(z > 0, z, 0.01 * z)).max()
    assert error < 0.03
    # A denominator of the other form, 1 + |sum_k b_k z^k|, does not fit.
    powers = z[:, None] ** np.arange(6)
    other = powers @ a / (1 + np.abs(powers[:, 1:5] @ b))
    assert np.abs(other - np.where(z > 0, z, 0.01 * z)).max() > 0.06


FIRST = {
    "prelu": lambda z: np.where(z > 0, z, 0.25 * z),
    "srelu": lambda z: np.where(z > 0, z, 0.2 * z),
    "abu": lambda z: (np.tanh(z) + elu(z) + np.maximum(z, 0) + z + z * sigmoid(z)) / 5,
    "pau": lambda z: np.where(z > 0, z, 0.01 * z),
    "swish": lambda z: z * sigmoid(z),
}


@pytest.mark.parametrize("share", ["unit", "layer"])
@pytest.mark.parametrize("name", FIRST)
def test_first_shape(name, share):
    z = np.linspace(-3, 3, 84).reshape(12, 7)
    result, _ = jax.jit(Rival(name, share).init_with_output)(jax.random.key(0), jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(result, FIRST[name](z), rtol=1e-6, atol=0.03 if name == "pau" else 1e-6)


@pytest.mark.parametrize(("share", "axes"), [("unit", (4,)), ("layer", ())])
@pytest.mark.parametrize("name", SHAPES)
def test_parameter_and_gradient_shapes(name, share, axes):
    module, z = Rival(name, share), jnp.ones((2, 3, 4))
    params = jax.jit(module.init)(jax.random.key(0), z)["params"]
    gradients = jax.jit(jax.grad(lambda p: module.apply({"params": p}, z).sum()))(params)
    for tree in (params, gradients):
        assert {key: (leaf.shape, leaf.dtype) for key, leaf in tree.items()} == {
            key: (axes + shape, np.float32) for key, shape in SHAPES[name].items()
        }
    assert module.apply({"params": params}, z).shape == z.shape


@pytest.mark.parametrize("name", SHAPES)
def test_shared_gradient_is_the_sum_over_units(name):
    z = jnp.asarray(Z, jnp.float32)

    def gradient(share):
        module = Rival(name, share)
        variables = jax.jit(module.init)(jax.random.key(0), z)
        return jax.jit(jax.grad(lambda v: jnp.sum(module.apply(v, z) ** 2)))(variables)["params"]

    layer = gradient("layer")
    for key, leaf in gradient("unit").items():
        np.testing.assert_allclose(layer[key], leaf.sum(0), rtol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_bfloat16_input_is_computed_in_float32(name):
    z = jnp.asarray(np.random.default_rng(0).normal(0, 2, (64, 7)), jnp.bfloat16)
    parameters = [parameter.astype(np.float32) for parameter in drawn(name)]
    result = jax.jit(Rival(name).apply)({"params": dict(zip(SHAPES[name], parameters, strict=True))}, z)
    assert result.dtype == jnp.bfloat16
    exact = FORMS[name](np.asarray(z, np.float64), *(parameter.astype(np.float64) for parameter in parameters))
    np.testing.assert_allclose(np.asarray(result, np.float64), exact, rtol=2**-8, atol=1e-5)


def test_swish_is_a_taaf_with_tied_parameters():
    slope = np.array([0.3, 1.0, 1.7, 2.0, 0.5, 4.0, 1.1])
    with jax.enable_x64(True):
        z = jnp.asarray(Z)
        np.testing.assert_allclose(
            RIVALS["swish"].function(z, slope), taaf(z, 1 / slope, slope, 0, 0, "silu"), rtol=1e-12
        )


@pytest.mark.parametrize("name", SHAPES)
def test_devices_average_to_the_gradient_of_the_whole_batch(name, assert_trees_close):
    module, z = Rival(name), np.asarray(Z, np.float32)
    params = jax.jit(module.init)(jax.random.key(0), z)

    def gradient(params, z):
        return jax.grad(lambda p: jnp.mean(module.apply(p, z) ** 2))(params)

    over = parallel.devices(4)
    lifted = parallel.lift(lambda p, z: parallel.mean_over_devices(gradient(p, z)), over, shared=1)
    result = jax.block_until_ready(lifted(parallel.replicate(params, over), z.reshape(4, 10, 7)))
    assert_trees_close(result, jax.jit(gradient)(params, z), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Rival("relu"), "unknown learnable activation 'relu'; known: abu, pau, prelu, srelu, swish"),
        (Rival("prelu", share="network"), "not 'network'"),
    ],
)
def test_errors(module, message):
    with pytest.raises(DgexError, match=message):
        module.init(jax.random.key(0), jnp.zeros((1, 2)))


def test_integer_input_is_refused():
    with pytest.raises(TypeError, match="int32"):
        Rival("prelu").init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
