"""Which samples make up which step, the same for any number of devices; and how they reach the devices."""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np
from flax import struct

from dgex import parallel
from dgex.errors import DgexError


@struct.dataclass
class Batches:
    """Index batches of one block, each array ``[devices, steps, per_device]``.

    A device's slice of a step holds consecutive rows of the global batch. Rows beyond the batch, and beyond the data in
    the last step, are padding: weight 0. Networks that train at once see the samples in different orders but fill the
    same rows, so only ``sample`` has an axis for them.
    """

    sample: jax.Array | np.ndarray  # i4  which sample of the block; [devices, networks, steps, per_device] for several
    row: jax.Array | np.ndarray  # i4  which row of the global batch; names the sample's dropout mask
    weight: jax.Array | np.ndarray  # f4  1, or 0 for padding


def epoch_order(seed: int, epoch: int, samples: int) -> np.ndarray:
    """The order in which an epoch visits the samples, a permutation ``[samples]`` that only its arguments decide."""
    return np.random.default_rng([seed, epoch]).permutation(samples)


def check_devices(devices: int, batch: int) -> None:
    """Refuses more devices than a batch has samples.

    Raises:
      DgexError: there are more.
    """
    if devices > batch:
        raise DgexError(f"{devices} devices cannot share a batch of {batch}; use fewer (--devices)")


def index_batches(order: np.ndarray, batch: int, devices: int) -> Batches:
    """Cuts an order into global batches of ``batch`` samples and deals each out over the devices.

    Args:
      order: sample indices ``[samples]``, or ``[networks, samples]``.
      batch: samples a step, over all devices together.
      devices: number of devices; need not divide the batch.

    Raises:
      DgexError: more devices than samples in a batch.
    """
    check_devices(devices, batch)
    *networks, samples = order.shape
    steps = -(-samples // batch)
    per_device = -(-batch // devices)
    sample = np.zeros((*networks, steps, devices * per_device), np.int32)
    weight = np.zeros((steps, devices * per_device), np.float32)
    step, row = np.divmod(np.arange(samples), batch)
    sample[..., step, row] = order
    weight[step, row] = 1
    rows = np.broadcast_to(np.arange(devices * per_device, dtype=np.int32), weight.shape)

    def deal(array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array.reshape(*array.shape[:-1], devices, per_device), -2, 0)

    return Batches(deal(sample), deal(rows), deal(weight))


@dataclass(frozen=True)
class Samples:
    """Landmark and target z-scores of some samples, and how they reach the devices.

    If they fit, all samples are placed on every device once and stay there. Otherwise an epoch streams them in blocks,
    in the order the epoch visits them; the next block is gathered while the devices work on the one before, as dispatch
    does not wait. The batches are the same either way.

    Attributes:
      landmark: f4 ``[samples, landmarks]``.
      target: f4 ``[samples, targets]``, NaN where not measured; losses and scores leave these out.
      devices: where to place them.
      block: samples of a block; whole data sets up to this size stay on the devices.
    """

    landmark: np.ndarray
    target: np.ndarray
    devices: tuple[jax.Device, ...]
    block: int

    def __len__(self) -> int:
        return len(self.landmark)

    def take(self, chosen: np.ndarray) -> "Samples":
        """Some of the samples, by index."""
        return replace(self, landmark=self.landmark[chosen], target=self.target[chosen])

    @functools.cached_property
    def sha256(self) -> str:
        """A fingerprint of the values."""
        digest = hashlib.sha256()
        for values in (self.landmark, self.target):
            digest.update(repr(values.shape).encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    @functools.cached_property
    def _resident(self) -> tuple[jax.Array, jax.Array]:
        return parallel.share((self.landmark, self.target), self.devices)

    def blocks(self, order: np.ndarray, batch: int) -> Iterator[tuple[jax.Array, jax.Array, Batches]]:
        """Landmark block, target block and the index batches into them, until all of ``order`` has had its turn.

        ``order`` is ``[samples]``, or ``[networks, samples]``. In a resident block all networks look up their samples;
        to a streamed one, whose steps are different samples for each of them, every network brings its own.
        """
        if len(self) <= self.block:
            yield *self._resident, index_batches(order, batch, len(self.devices))
            return
        samples = order.shape[-1]
        networks = order.size // samples
        # Two blocks at a time: one in work, one on its way.
        size = max(self.block // 2 // networks // batch, 1) * batch
        for start in range(0, samples, size):
            chosen = order[..., start : start + size]
            placed = parallel.share((self.landmark[chosen.ravel()], self.target[chosen.ravel()]), self.devices)
            yield *placed, index_batches(np.arange(chosen.size).reshape(chosen.shape), batch, len(self.devices))


# Leaves room for a training, a validation and a test set, and for the network.
SHARE_OF_MEMORY = 0.25


def place(landmark: np.ndarray, target: np.ndarray, devices: tuple[jax.Device, ...]) -> Samples:
    """Samples that take at most a share of a device's memory, where JAX tells its size (it does not on CPU)."""
    limit = (devices[0].memory_stats() or {}).get("bytes_limit")
    bytes_per_sample = 4 * (landmark.shape[1] + target.shape[1])
    block = int(SHARE_OF_MEMORY * limit) // bytes_per_sample if limit else len(landmark)
    return Samples(landmark, target, devices, block)
