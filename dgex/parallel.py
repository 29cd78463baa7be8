"""Data parallelism over the devices of one process: ``pmap``, the name of its axis, and the collectives.

A lifted function runs once on every device. Its *shared* arguments (the state, the data block) are replicated, the same
on all devices. Its last argument is sharded along the leading axis, one slice a device. Its result is replicated as
well, which the collectives below ensure, or with *split* sharded like the last argument. So the state has no device
axis, and one device runs the same code as eight. No other file uses ``pmap`` or its axis.

``pmap`` is ``jit(shard_map)`` underneath and in maintenance. Its successor is ``jax.jit`` on arrays placed with
``NamedSharding``, of which ``replicate`` is a first piece; changing over would touch this file alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dgex.errors import DgexError

AXIS = "devices"

Tree = TypeVar("Tree")


def devices(count: int | None = None) -> tuple[jax.Device, ...]:
    """Returns the first ``count`` devices of this process, by default all of them.

    Args:
      count: how many devices.

    Raises:
      DgexError: there are fewer, or JAX cannot start.
    """
    try:
        present = jax.local_devices()
    except (RuntimeError, AssertionError) as error:  # the latter if JAX_PLATFORMS names a platform not installed
        raise DgexError("JAX finds no device; check its installation and JAX_PLATFORMS") from error
    if count is not None and not 1 <= count <= len(present):
        raise DgexError(f"{count} devices requested, but this process sees {len(present)}; choose 1 to {len(present)}")
    return tuple(present[:count])


def mean_over_devices(tree: Tree) -> Tree:
    """Averages every array of a tree over the devices; only inside a lifted function."""
    return jax.lax.pmean(tree, AXIS)


def sum_over_devices(tree: Tree) -> Tree:
    """Sums every array of a tree over the devices; only inside a lifted function."""
    return jax.lax.psum(tree, AXIS)


def replicate(tree: Any, over: Sequence[jax.Device]) -> Any:
    """Replicates every array of a tree: places a whole copy on each device, so that later calls transfer nothing.

    Args:
      tree: arrays of any structure.
      over: the devices.
    """
    return jax.device_put(tree, NamedSharding(Mesh(list(over), (AXIS,)), PartitionSpec()))


def lift(
    function: Callable, over: Sequence[jax.Device], *, shared: int, donate: bool = False, split: bool = False
) -> Callable:
    """Compiles ``function(*shared_arguments, split_argument)`` to run on all the devices at once.

    Args:
      function: the function to compile. It may call the collectives of this file; without ``split`` its result must be
        the same on every device.
      over: the devices.
      shared: how many leading arguments are replicated, that is the same for all devices.
      donate: whether the first argument's memory may be reused for the result.
      split: whether the result is sharded like the last argument.

    Returns:
      A function whose last argument, and with ``split`` the result, has a leading axis of ``len(over)``.
    """
    return jax.pmap(
        function,
        axis_name=AXIS,
        in_axes=(None,) * shared + (0,),
        out_axes=0 if split else None,
        devices=list(over),
        donate_argnums=(0,) if donate else (),
    )
