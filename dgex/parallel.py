"""Data parallelism over the devices of all processes: ``pmap``, the name of its axis, and the collectives.

A lifted function runs once on every device. Its *shared* arguments (such as the state) are replicated, the same on all
devices. Its other arguments (data and batches) are sharded along a leading axis of devices, one slice each. Its result
is replicated as well, which the collectives below ensure, or with *split* sharded. So the state has no device axis, and
one device runs the same code as eight. No other file uses ``pmap`` or its axis.

Where several processes train together (``dgex.processes``), ``devices`` are those of all of them, in one order. Each
process calls the same functions with the same shared arguments, and has the slices of its own devices alone: every
array that it holds is its own. Only the collectives cross from one process to another.

``pmap`` is ``jit(shard_map)`` underneath and in maintenance. Its successor is ``jax.jit`` on arrays placed with
``NamedSharding``, of which ``replicate`` is a first piece; changing over would touch this file alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dgex.errors import DgexError

AXIS = "devices"

Tree = TypeVar("Tree")


def devices(count: int | None = None) -> tuple[jax.Device, ...]:
    """Returns the first ``count`` devices, by default all, of all processes that train together.

    Args:
      count: how many devices; several processes always use all that they have.

    Raises:
      DgexError: there are fewer, or JAX cannot start.
    """
    try:
        present = jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter if JAX_PLATFORMS names a platform not installed
        raise DgexError("JAX finds no device; check its installation and JAX_PLATFORMS") from error
    if count not in (None, len(present)) and jax.process_count() > 1:
        raise DgexError(f"--devices {count}: several processes use all of their {len(present)} devices; leave it out")
    if count is not None and not 1 <= count <= len(present):
        raise DgexError(f"{count} devices requested, but this process sees {len(present)}; choose 1 to {len(present)}")
    return tuple(present[:count])


def local(over: Sequence[jax.Device]) -> tuple[jax.Device, ...]:
    """Returns those of the devices that are this process's own."""
    return tuple(device for device in over if device.process_index == jax.process_index())


def mean_over_devices(tree: Tree) -> Tree:
    """Averages every array of a tree over the devices; only inside a lifted function.

    One device has nothing to exchange. There XLA would still copy every gradient, and let the whole update wait for it.
    """
    return tree if jax.lax.axis_size(AXIS) == 1 else jax.lax.pmean(tree, AXIS)


def sum_over_devices(tree: Tree) -> Tree:
    """Sums every array of a tree over the devices; only inside a lifted function."""
    return jax.lax.psum(tree, AXIS)


def replicate(tree: Any, over: Sequence[jax.Device]) -> Any:
    """Replicates every array of a tree: places a whole copy on each device, so that later calls transfer nothing.

    Args:
      tree: arrays of any structure.
      over: the devices; a process places the copies of its own.
    """
    return jax.device_put(tree, NamedSharding(Mesh(local(over), (AXIS,)), PartitionSpec()))


def shards(tree: Tree, over: Sequence[jax.Device]) -> Tree:
    """Takes the slices of this process's devices from every array of a tree.

    Args:
      tree: arrays on the host with a leading axis of all devices.
      over: the devices.
    """
    own = [position for position, device in enumerate(over) if device in local(over)]
    # Processes are given their devices in turn, so a slice does without a copy.
    return jax.tree.map(lambda array: array[own[0] : own[-1] + 1], tree)


def place_shards(tree: Any, over: Sequence[jax.Device]) -> Any:
    """Places the slices of this process's devices, one on each, so that later calls transfer nothing.

    Args:
      tree: arrays on the host with a leading axis of this process's devices, as ``shards`` gives them.
      over: the devices.
    """
    return jax.device_put(tree, NamedSharding(Mesh(local(over), (AXIS,)), PartitionSpec(AXIS)))


def place_copies(tree: Any, over: Sequence[jax.Device]) -> Any:
    """Places a whole copy on each device like ``place_shards``: the leading axis of devices holds equal slices."""
    sharding = NamedSharding(Mesh(local(over), (AXIS,)), PartitionSpec(AXIS))

    def copies(array: Any) -> jax.Array:
        shape = (len(local(over)), *array.shape)
        return jax.make_array_from_callback(shape, sharding, lambda index: array[None])

    return jax.tree.map(copies, tree)


def from_first_process(tree: Tree, over: Sequence[jax.Device]) -> Tree:
    """Gives every process the arrays of process 0, bit for bit; one that trains alone keeps its own.

    Args:
      tree: arrays of four bytes a value, of the same shapes on every process.
      over: the devices, on which the result is replicated.
    """
    if jax.process_count() == 1:
        return tree

    def of_first(tree: Tree, first: jax.Array) -> Tree:
        # A sum in which all but one are 0; of integers, for -0.0 + 0.0 is another number.
        def send(value: jax.Array) -> jax.Array:
            bits = jax.lax.bitcast_convert_type(value, jnp.uint32)
            return jax.lax.bitcast_convert_type(jax.lax.psum(first * bits, AXIS), value.dtype)

        return jax.tree.map(send, tree)

    first = np.zeros(len(over), np.uint32)
    first[0] = 1
    return lift(of_first, over)(tree, shards(first, over))


def lift(
    function: Callable,
    over: Sequence[jax.Device],
    *,
    shared: int = 1,
    sharded: int = 1,
    donate: bool = False,
    split: bool = False,
) -> Callable:
    """Compiles ``function(*shared_arguments, *sharded_arguments)`` to run on all the devices at once.

    Args:
      function: the function to compile. It may call the collectives of this file; without ``split`` its result must be
        the same on every device.
      over: the devices.
      shared: how many leading arguments are replicated, that is the same for all devices.
      sharded: how many arguments after them have a slice for each device.
      donate: whether the first argument's memory may be reused for the result.
      split: whether the result is sharded too.

    Returns:
      A function whose sharded arguments, and with ``split`` the result, have a leading axis of this process's devices.
    """
    return jax.pmap(
        function,
        axis_name=AXIS,
        in_axes=(None,) * shared + (0,) * sharded,
        out_axes=0 if split else None,
        devices=list(over),
        donate_argnums=(0,) if donate else (),
    )
