"""Data parallelism over the devices of one process: the only file that knows ``pmap``, the axis name and the
collectives.

A lifted function runs once on every device. What it is given as *shared* (the state, the data block) is the same on all
of them; the last argument is split along its leading axis, one slice a device. What it returns is equal on all devices,
which the collectives below see to, or, if it is asked for *split*, each device's own. So the state has no device axis,
and one device runs the same code as eight.

``pmap`` is ``jit(shard_map)`` underneath and in maintenance. Its successor is ``jax.jit`` on arrays placed with
``NamedSharding``, of which ``share`` is a first piece; changing over would touch this file alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dgex.errors import DgexError

AXIS = "devices"

Tree = TypeVar("Tree")


def devices(count: int | None = None) -> tuple[jax.Device, ...]:
    """The first ``count`` devices of this process, by default all of them.

    Raises:
      DgexError: there are fewer, or JAX cannot start.
    """
    try:
        present = jax.local_devices()
    except (RuntimeError, AssertionError) as error:  # the latter where JAX_PLATFORMS names what is not installed
        raise DgexError("JAX finds no device; check its installation and JAX_PLATFORMS") from error
    if count is not None and not 1 <= count <= len(present):
        raise DgexError(f"{count} devices asked for, but this process sees {len(present)}; choose 1 to {len(present)}")
    return tuple(present[:count])


def mean_over_devices(tree: Tree) -> Tree:
    """The mean over devices of every array of a tree; only inside a lifted function."""
    return jax.lax.pmean(tree, AXIS)


def sum_over_devices(tree: Tree) -> Tree:
    """The sum over devices of every array of a tree; only inside a lifted function."""
    return jax.lax.psum(tree, AXIS)


def share(tree: Any, over: Sequence[jax.Device]) -> Any:
    """Places a whole copy of every array of a tree on each device, once, so that later calls move nothing."""
    return jax.device_put(tree, NamedSharding(Mesh(list(over), (AXIS,)), PartitionSpec()))


def lift(
    function: Callable, over: Sequence[jax.Device], *, shared: int, donate: bool = False, split: bool = False
) -> Callable:
    """Compiles ``function(*shared arguments, split argument)`` to run on all the devices at once.

    Args:
      function: may call the collectives of this file; without ``split`` its result must be the same on every device.
      over: the devices.
      shared: how many leading arguments are the same for all devices.
      donate: whether the first argument's memory may be reused for the result.
      split: whether the result is split like the last argument.

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
