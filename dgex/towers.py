"""Hidden layers in towers and in a checkerboard, after Kunc and Klema (BMC Genomics 21(Suppl 5): 454, 2020).

The paper partitions a network into towers, so that it has more units for the same number of weights; its best network
is a checkerboard of five towers with a skip connection (MAE 0.128, where TAAF had 0.134). So much says its abstract,
which is all that this file follows. The details are chosen here:

- The first hidden layer takes all landmarks, and the output layer all units. Between hidden layers a unit has weights
  to the units of its own tower alone, units x units / towers in all.
- In a checkerboard the units of every tower are dealt out to all towers before each layer after the second, so that a
  tower takes an equal share of every tower below it. Before the second layer it would change nothing, since every unit
  of the first takes the same landmarks.
- The skip connection is the linear path from the landmarks to the output (``NetworkConfig.linear``).
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dgex.taaf import align


def tower_product(x: jax.Array, kernel: jax.Array, precision: Any = None) -> jax.Array:
    """Multiplies each tower's inputs by that tower's weights.

    Args:
      x: ``[..., inputs]``, tower after tower.
      kernel: ``[towers, inputs / towers, units / towers]``.
      precision: of the products, as ``jax.lax.Precision``.

    Returns:
      ``[..., units]``, tower after tower: x times the block-diagonal matrix of the kernel's blocks.
    """
    towers, inputs, units = kernel.shape
    blocks = x.reshape(*x.shape[:-1], towers, inputs)
    product = jnp.einsum("...ti,tiu->...tu", blocks, kernel, precision=precision)
    return product.reshape(*x.shape[:-1], towers * units)


def dealt(x: jax.Array, towers: int) -> jax.Array:
    """Deals the units ``[..., units]`` of every tower out to all towers in turn, as cards."""
    return x.reshape(*x.shape[:-1], towers, -1).swapaxes(-1, -2).reshape(x.shape)


class TowerDense(nn.Module):
    """Is a dense layer whose units have weights to the inputs of their own tower alone.

    Attributes:
      units: number of units, of all towers together.
      towers: number of towers, which divides the units and the inputs.
      use_bias: whether every unit has a bias.
      dtype: dtype of the products and the result; the parameters are float32.
      precision: precision of float32 products.
    """

    units: int
    towers: int
    use_bias: bool
    dtype: Any
    precision: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[..., inputs]`` to ``[..., units]``, tower after tower in both."""
        shape = (self.towers, x.shape[-1] // self.towers, self.units // self.towers)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(batch_axis=0), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.units,), jnp.float32) if self.use_bias else None
        product = tower_product(x.astype(self.dtype), jnp.asarray(kernel, self.dtype), self.precision)
        return product if bias is None else product + align(jnp.asarray(bias, self.dtype), product)


def equal_units(landmarks: int, targets: int, units: int, layers: int, towers: int, tower_layers: int) -> int:
    """Finds how wide hidden layers in towers may be, for at most as many weights as whole layers have.

    Biases and activations are not counted.

    Args:
      landmarks: number of input genes.
      targets: number of output genes.
      units: of each whole hidden layer.
      layers: how many whole hidden layers there are.
      towers: number of towers.
      tower_layers: how many hidden layers in towers there are.

    Returns:
      The units of each of these, divisible by the number of towers.
    """
    weights = (landmarks + targets) * units + (layers - 1) * units**2
    # (landmarks + targets) n + (tower_layers - 1) / towers n^2 = weights
    half, square = (landmarks + targets) / 2, (tower_layers - 1) / towers
    widest = weights / (half + math.sqrt(half**2 + square * weights))
    return int(widest) // towers * towers
