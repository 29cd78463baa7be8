"""Batches: which samples each step uses, the same for any number of devices and processes, and how they get there."""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np
from flax import struct

from dgex import parallel, processes
from dgex.data.stored import Matrix, Stored
from dgex.errors import DgexError


@struct.dataclass
class Batches:
    """Holds index batches into one block of samples, each array ``[devices, steps, per_device]``.

    A device's slice of a step holds consecutive rows of the global batch. Rows beyond the batch, and beyond the data in
    the last step, are padding with weight 0. Networks that train at once visit the samples in different orders but fill
    the same rows, so only ``sample`` has an axis for networks.
    """

    sample: jax.Array | np.ndarray  # i4  which sample of the block; [devices, networks, steps, per_device] for several
    row: jax.Array | np.ndarray  # i4  which row of the global batch; decides the sample's dropout mask
    weight: jax.Array | np.ndarray  # f4  1, or 0 for padding


# Samples that are shuffled together where data are read from a file: 270 MB with D-GEX's genes. The usual batches
# divide it, so that a block of whole batches is a window, and each chunk of the file is read once an epoch.
WINDOW = 6400


def epoch_order(seed: int, epoch: int, samples: int, chunk: np.ndarray | None = None) -> np.ndarray:
    """Draws the order in which an epoch visits the samples: a permutation ``[samples]``, equal for equal arguments.

    Args:
      seed: of the training.
      epoch: from 0.
      samples: how many.
      chunk: for samples that are read from a file, the chunk of the file that each lies in, ``[samples]``. The chunks
        are then shuffled, and the samples within windows of ``WINDOW`` of them: an order in which the file can be read.
        In a single window it is as random as without.
    """
    random = np.random.default_rng([seed, epoch])
    if chunk is None:
        return random.permutation(samples)
    parts = np.split(np.arange(samples), np.flatnonzero(np.diff(chunk)) + 1)
    order = np.concatenate([parts[number] for number in random.permutation(len(parts))])
    for first in range(0, samples, WINDOW):
        random.shuffle(order[first : first + WINDOW])
    return order


def check_devices(devices: int, batch: int) -> None:
    """Refuses more devices than a batch has samples.

    Args:
      devices: number of devices.
      batch: samples a step, over all devices together.

    Raises:
      DgexError: there are more.
    """
    if devices > batch:
        raise DgexError(f"{devices} devices cannot share a batch of {batch}; use fewer (--devices)")


def index_batches(order: np.ndarray, batch: int, devices: int) -> Batches:
    """Cuts an order of samples into global batches, and shards each over the devices.

    Args:
      order: sample indices ``[samples]``, or ``[networks, samples]``.
      batch: samples a step, over all devices together.
      devices: number of devices, which need not divide the batch.

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
    """Holds landmark and target z-scores of samples, in memory or in a file, and places them on the devices.

    Up to ``block`` samples are placed on every device once, as a whole copy, and stay there. More are streamed in
    blocks, in the order in which the epoch visits them, and each device gets those that it trains on: a process gathers
    no others. The next block is prefetched, that is gathered from memory or read while the devices work on the one
    before, as dispatch does not wait. The batches are the same either way.

    Attributes:
      landmark: f4 ``[samples, landmarks]``.
      target: f4 ``[samples, targets]``; missing values are NaN, and losses and scores leave them out.
      devices: the devices that get the samples.
      block: the number of samples that a device has room for.
      chunk: the chunk of the file that each sample lies in, int ``[samples]``; None for samples in memory.
    """

    landmark: Matrix
    target: Matrix
    devices: tuple[jax.Device, ...]
    block: int
    chunk: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.landmark)

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Draws the order of an epoch as ``epoch_order`` does; it depends on the data, not on the devices."""
        return epoch_order(seed, epoch, len(self), self.chunk)

    def take(self, chosen: np.ndarray) -> "Samples":
        """Selects samples by their indices ``[chosen]``, into memory."""
        return replace(self, landmark=self.landmark[chosen], target=self.target[chosen], chunk=None)

    @functools.cached_property
    def sha256(self) -> str:
        """Computes a digest of the values and, where it is not that of memory, of their order, in hexadecimal."""
        digest = hashlib.sha256()
        for values in (self.landmark, self.target):
            digest.update(repr(values.shape).encode())
            for first in range(0, len(values), WINDOW):
                digest.update(np.ascontiguousarray(values[first : first + WINDOW]).data)
        if self.chunk is not None:
            digest.update(repr(WINDOW).encode())
            digest.update(self.chunk.astype(np.int64).data)
        return digest.hexdigest()

    @functools.cached_property
    def _resident(self) -> tuple[jax.Array, jax.Array]:
        return parallel.place_copies((self.landmark[:], self.target[:]), self.devices)

    def blocks(self, order: np.ndarray, batch: int) -> Iterator[tuple[jax.Array, jax.Array, Batches]]:
        """Yields blocks of landmarks and targets with the index batches into them, until all samples were visited.

        All arrays have a leading axis of this process's devices, ``[devices, samples, genes]`` those of the blocks. A
        block that stays on the devices is shared by all networks. A streamed block holds the samples of every network
        one after another, because the same steps visit different samples in each.

        Args:
          order: the order of visits ``[samples]``, or ``[networks, samples]``.
          batch: samples a step, over all devices together.
        """
        if len(self) <= self.block:
            yield *self._resident, self._index_batches(order, batch)
            return
        samples = order.shape[-1]
        networks = order.size // samples
        # Two blocks are on the devices at a time: one in use, one prefetched.
        size = max(len(self.devices) * self.block // 2 // networks // batch, 1) * batch
        for start in range(0, samples, size):
            batches = self._index_batches(order[..., start : start + size], batch)
            chosen = batches.sample.reshape(len(batches.sample), -1)  # of each device
            block = parallel.place_shards((self.landmark[chosen], self.target[chosen]), self.devices)
            gathered = np.arange(chosen.shape[1], dtype=np.int32).reshape(batches.sample.shape[1:])
            yield *block, replace(batches, sample=np.broadcast_to(gathered, batches.sample.shape))

    def _index_batches(self, order: np.ndarray, batch: int) -> Batches:
        """Makes the index batches of this process's devices."""
        return parallel.shards(index_batches(order, batch, len(self.devices)), self.devices)


# Leaves room for a training, a validation and a test set, and for the network.
SHARE_OF_MEMORY = 0.25


def place(landmark: Matrix, target: Matrix, devices: tuple[jax.Device, ...]) -> Samples:
    """Makes ``Samples`` whose blocks take at most ``SHARE_OF_MEMORY`` of a device's memory.

    Where JAX does not report the size of the memory, as on CPUs, one block holds all samples. Of samples in a file a
    block is at most a window, whatever the number of devices.

    Args:
      landmark: f4 ``[samples, landmarks]``.
      target: f4 ``[samples, targets]``, NaN for missing values.
      devices: the devices that get the samples.
    """
    # Of several processes the first one's, for all must have the same blocks.
    limit = processes.from_first((parallel.local(devices)[0].memory_stats() or {}).get("bytes_limit"))
    bytes_per_sample = 4 * (landmark.shape[1] + target.shape[1])
    block = int(SHARE_OF_MEMORY * limit) // bytes_per_sample if limit else len(landmark)
    if isinstance(target, Stored):
        return Samples(landmark, target, devices, min(block, -(-2 * WINDOW // len(devices))), target.chunk)
    return Samples(landmark, target, devices, block)
