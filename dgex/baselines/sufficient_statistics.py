"""Computes the sufficient statistics of all linear baselines in one pass over the training samples, on all devices.

Ten thousand regressions on the same landmarks need each sample only once. They are fitted from the sums of products of
landmarks with landmarks and with targets, ``[landmarks, landmarks + targets]`` whatever the number of samples.

A missing target (NaN) counts as 0, which for z-scores is the training mean: if it were left out, every target would
need its own products of landmarks.
"""

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dgex import parallel
from dgex.batches import Batches, Samples
from dgex.errors import DgexError
from dgex.metrics import Array

# Samples of a step: enough for a matrix product to run at full rate, few enough to be copied to float64.
BATCH = 1024


@struct.dataclass
class Products:
    """Holds sufficient statistics, additive float64 sums over samples of landmarks x and targets y in any unit.

    dgex uses them for z-scores. On the host, where ``products`` leaves them, they are numpy arrays.
    """

    count: jax.Array  # []  number of samples
    landmark: jax.Array  # [landmarks]  sum of x
    target: jax.Array  # [targets]  sum of y
    target_squared: jax.Array  # [targets]  sum of y^2
    gram: jax.Array  # [landmarks, landmarks]  sum of x x^T
    cross: jax.Array  # [landmarks, targets]  sum of x y^T

    def __add__(self, other: "Products") -> "Products":
        """Adds the sums of two sets of samples."""
        # operator.add lets numpy add arrays on the host; outside ``enable_x64`` jnp.add would round them to float32.
        return jax.tree.map(operator.add, self, other)

    @property
    def landmark_mean(self) -> np.ndarray:
        """Computes the mean of every landmark, ``[landmarks]``."""
        return np.asarray(self.landmark / self.count)

    @property
    def target_mean(self) -> np.ndarray:
        """Computes the mean of every target, ``[targets]``."""
        return np.asarray(self.target / self.count)

    @property
    def centred_gram(self) -> np.ndarray:
        """Computes ``sum (x - mean x)(x - mean x)^T``, ``[landmarks, landmarks]``."""
        return np.asarray(self.gram) - np.outer(self.landmark, self.landmark_mean)

    @property
    def centred_cross(self) -> np.ndarray:
        """Computes ``sum (x - mean x)(y - mean y)^T``, ``[landmarks, targets]``."""
        return np.asarray(self.cross) - np.outer(self.landmark, self.target_mean)


def batch_products(landmark: Array, target: Array, weight: Array) -> Products:
    """Computes the sums over the samples of a batch; to be traced while 64-bit types are enabled in JAX.

    Args:
      landmark: ``[samples, landmarks]``.
      target: ``[samples, targets]``, NaN where missing.
      weight: ``[samples]``, 1 for a sample and 0 for padding.
    """
    kept, x, y = (jnp.asarray(values, jnp.float64) for values in (weight, landmark, target))
    x, y = kept[:, None] * x, kept[:, None] * jnp.where(jnp.isnan(y), 0, y)
    gram, cross = (jnp.matmul(x.T, other, precision="highest") for other in (x, y))
    return Products(kept.sum(), x.sum(0), y.sum(0), (y * y).sum(0), gram, cross)


@functools.cache
def products_function(devices: tuple[jax.Device, ...]) -> Callable[..., Products]:
    """Compiles the function ``(landmark, target, batches) -> Products`` for a block of samples on all devices."""

    def products_of(landmark: jax.Array, target: jax.Array, batches: Batches) -> Products:
        def step(sums: Products, batch: Batches) -> tuple[Products, None]:
            return sums + batch_products(landmark[batch.sample], target[batch.sample], batch.weight), None

        shapes = jax.eval_shape(batch_products, landmark, target, landmark[:, 0])
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        sums, _ = jax.lax.scan(step, zeros, batches)
        return parallel.sum_over_devices(sums)

    return parallel.lift(products_of, devices, shared=0, sharded=3)


def products(samples: Samples) -> Products:
    """Computes the sums over all samples, and leaves them on the host.

    Products and sums are float64, which JAX supports on CPUs and GPUs when it is enabled; a TPU emulates it. In float32
    a product rounds by as much as the smallest eigenvalues of ``gram`` differ from zero, and least squares would fit
    the rounding errors.

    Raises:
      DgexError: the samples are not float32; they would stay on the devices in float64 for all later users.
    """
    for values in (samples.landmark, samples.target):
        if values.dtype != np.float32:
            raise DgexError(f"samples are {values.dtype}; give them as float32")
    with jax.enable_x64(True):
        run = products_function(samples.devices)
        batch = max(BATCH, len(samples.devices))
        parts = (run(*block) for block in samples.blocks(np.arange(len(samples)), batch))
        total = next(parts)
        for part in parts:
            # Waits until the block before is done, so that its memory is free when the next one is placed; meanwhile
            # the devices work on this one.
            jax.block_until_ready(total)
            total = total + part
        return jax.device_get(total)
