"""Times the limits of the machine: a training step's matrix products or update alone, square products, and copies."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from dgex.networks import NetworkConfig, Params
from dgex.optimizers import optimizer as named_optimizer


def flop_of_products(config: NetworkConfig, batch: int) -> int:
    """Counts the floating-point operations of a step's matrix products.

    Each weight takes one multiplication and one addition per sample in each of three products: output, gradient of the
    weights, gradient of the input. The first layer needs no gradient of its input.
    """
    sizes = (config.landmarks, *config.hidden, config.targets)
    weights = [inputs * units for inputs, units in zip(sizes, sizes[1:], strict=False)]
    return 2 * batch * (3 * sum(weights) - weights[0])


def products_alone(config: NetworkConfig, batch: int, steps: int) -> Callable[[], object]:
    """Makes a function that computes the matrix products of ``steps`` training steps and nothing else.

    Shapes, transpositions, dtype and precision are those of training. So this is the fair upper limit for a step of
    this network; the rate of large square matrices says little about products with 200 rows.
    """
    sizes = (config.landmarks, *config.hidden, config.targets)
    keys = iter(jax.random.split(jax.random.key(0), 2 * len(sizes)))
    normal = partial(jax.random.normal, dtype=jnp.dtype(config.compute_dtype))
    values = [normal(next(keys), (batch, size)) for size in sizes]
    kernels = [normal(next(keys), shape) for shape in zip(sizes, sizes[1:], strict=False)]
    dot = partial(jnp.dot, precision=config.matmul_precision)

    # The previous results are donated and overwritten, because allocating memory would take as long as the products.
    @partial(jax.jit, donate_argnums=0, keep_unused=True)
    def products(before: object, values: list[jax.Array], kernels: list[jax.Array]) -> object:
        outputs = [dot(x, kernel) for x, kernel in zip(values, kernels, strict=False)]
        weight_gradients = [dot(x.T, g) for x, g in zip(values, values[1:], strict=False)]
        input_gradients = [dot(g, kernel.T) for g, kernel in zip(values[2:], kernels[1:], strict=True)]
        return outputs, weight_gradients, input_gradients

    results = jax.eval_shape(products, None, values, kernels)
    results = jax.tree.map(lambda result: jnp.zeros(result.shape, result.dtype), results)

    def run() -> None:
        nonlocal results
        for _ in range(steps):
            results = products(results, values, kernels)
        jax.block_until_ready(results)

    return run


def bytes_of_update(optimizer: str, params: Params) -> int:
    """Counts the bytes of a step's parameters, gradients and moments, each of them read once and written once."""
    moments = jax.eval_shape(named_optimizer(optimizer).init, params)
    return 2 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((params, params, moments)))


def square_products(config: NetworkConfig, size: int, times: int) -> Callable[[], object]:
    """Makes a function that multiplies square matrices ``times`` times, in the network's dtype and precision."""
    keys = jax.random.split(jax.random.key(0), 2)
    a, b = (jax.random.normal(key, (size, size), jnp.dtype(config.compute_dtype)) for key in keys)

    @partial(jax.jit, donate_argnums=0, keep_unused=True)  # as in ``products_alone``
    def product(before: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.dot(a, b, precision=config.matmul_precision)

    result = jnp.zeros_like(a)

    def run() -> None:
        nonlocal result
        for _ in range(times):
            result = product(result, a, b)
        result.block_until_ready()

    return run


def update_alone(optimizer: str, params: Params, steps: int) -> Callable[[], object]:
    """Makes a function that computes the optimiser's updates of ``steps`` steps, in one compiled loop."""
    transform = named_optimizer(optimizer)
    gradients = jax.tree.map(lambda p: jnp.asarray(p) * 1e-3, params)
    state = jax.tree.map(jnp.copy, (params, transform.init(params)))

    @partial(jax.jit, donate_argnums=0)
    def updates(state: tuple, gradients: Params) -> tuple:
        def update(_: int, state: tuple) -> tuple:
            params, opt_state = state
            step, opt_state = transform.update(gradients, opt_state, params, learning_rate=jnp.float32(1e-6))
            return jax.tree.map(jnp.add, params, step), opt_state

        return jax.lax.fori_loop(0, steps, update, state)

    def run() -> None:
        nonlocal state
        state = jax.block_until_ready(updates(state, gradients))

    return run


def copies(megabytes: int, times: int) -> Callable[[], object]:
    """Makes a function that reads and writes an array of ``megabytes`` MB in place, ``times`` times."""
    negate = jax.jit(jnp.negative, donate_argnums=0)
    array = jnp.ones(megabytes * 1_000_000 // np.dtype(np.float32).itemsize, jnp.float32)

    def run() -> None:
        nonlocal array
        for _ in range(times):
            array = negate(array)
        array.block_until_ready()

    return run
