"""Sums over training samples from which every linear baseline is fitted: one pass over the data, on all devices.

Ten thousand regressions on the same landmarks need no sample twice. What they need is how landmarks go with landmarks
and with targets, ``[landmarks, landmarks + targets]`` however many samples there were.

A missing target (NaN) counts as 0, which for z-scores is the training mean: were it left out, every target would need
landmarks' products of its own.
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

# Rows of a step: enough for a matrix product to run at full rate, few enough to be copied to float64.
BATCH = 1024


@struct.dataclass
class Products:
    """Additive sums over samples, float64; x are landmarks and y targets, in any unit (z-scores here).

    On the host, where ``products`` leaves them, they are numpy arrays.
    """

    count: jax.Array  # []  number of samples
    landmark: jax.Array  # [landmarks]  sum of x
    target: jax.Array  # [targets]  sum of y
    target_squared: jax.Array  # [targets]  sum of y^2
    gram: jax.Array  # [landmarks, landmarks]  sum of x x^T
    cross: jax.Array  # [landmarks, targets]  sum of x y^T

    def __add__(self, other: "Products") -> "Products":
        # Each array's own sum: outside ``enable_x64`` jnp.add would round the host's float64 to float32.
        return jax.tree.map(operator.add, self, other)

    @property
    def landmark_mean(self) -> np.ndarray:
        """Mean of every landmark, ``[landmarks]``."""
        return np.asarray(self.landmark / self.count)

    @property
    def target_mean(self) -> np.ndarray:
        """Mean of every target, ``[targets]``."""
        return np.asarray(self.target / self.count)

    @property
    def centred_gram(self) -> np.ndarray:
        """``sum (x - mean x)(x - mean x)^T``, ``[landmarks, landmarks]``."""
        return np.asarray(self.gram) - np.outer(self.landmark, self.landmark_mean)

    @property
    def centred_cross(self) -> np.ndarray:
        """``sum (x - mean x)(y - mean y)^T``, ``[landmarks, targets]``."""
        return np.asarray(self.cross) - np.outer(self.landmark, self.target_mean)


def batch_products(landmark: Array, target: Array, weight: Array) -> Products:
    """Sums over the samples of a batch; to be traced where JAX has float64.

    Args:
      landmark, target: ``[samples, landmarks]`` and ``[samples, targets]``; a target may be NaN.
      weight: ``[samples]``, 1 for a sample and 0 for padding.
    """
    kept, x, y = (jnp.asarray(values, jnp.float64) for values in (weight, landmark, target))
    x, y = kept[:, None] * x, kept[:, None] * jnp.where(jnp.isnan(y), 0, y)
    gram, cross = (jnp.matmul(x.T, other, precision="highest") for other in (x, y))
    return Products(kept.sum(), x.sum(0), y.sum(0), (y * y).sum(0), gram, cross)


@functools.cache
def products_function(devices: tuple[jax.Device, ...]) -> Callable[..., Products]:
    """The compiled ``(landmark, target, batches) -> Products`` of a block on all devices."""

    def products_of(landmark: jax.Array, target: jax.Array, batches: Batches) -> Products:
        def step(sums: Products, batch: Batches) -> tuple[Products, None]:
            return sums + batch_products(landmark[batch.sample], target[batch.sample], batch.weight), None

        shapes = jax.eval_shape(batch_products, landmark, target, landmark[:, 0])
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        sums, _ = jax.lax.scan(step, zeros, batches)
        return parallel.sum_over_devices(sums)

    return parallel.lift(products_of, devices, shared=2)


def products(samples: Samples) -> Products:
    """The sums over all samples, on the host.

    Products and sums are float64, which JAX has on CPUs and GPUs where it is asked for; a TPU emulates it. In float32 a
    product rounds by as much as the smallest eigenvalues of ``gram`` differ from zero, and least squares would fit the
    rounding.

    Raises:
      DgexError: the samples are not float32; they would stay on the devices in float64, for all that use them later.
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
            # The block before is done and its memory free before the next is placed, while this one is in work.
            jax.block_until_ready(total)
            total = total + part
        return jax.device_get(total)
