"""Inference: a network's predictions for any number of profiles, on all devices."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from dgex import parallel
from dgex.data.normalization import Scaler
from dgex.networks import NetworkConfig, Params, forward

# Profiles that a device predicts at once; the last ones are padded with zeros. The number is fixed because matrix
# products of another shape may be summed in another order, and a profile's last bits would depend on how many others
# are predicted with it.
ROWS = 256
PROFILES = 1024  # in a block on the host: 40 MB of whole profiles


@functools.cache
def inference_function(config: NetworkConfig, devices: tuple[jax.Device, ...]) -> Callable[..., jax.Array]:
    """Compiles ``(params, mean, sd, landmark) -> sd * prediction + mean`` for all devices.

    Landmarks are z-scores ``[devices, ROWS, landmarks]``, and the result is ``[devices, ROWS, targets]``.
    """

    def infer(params: Params, mean: jax.Array, sd: jax.Array, landmark: jax.Array) -> jax.Array:
        return forward(config, params, landmark) * sd[None] + mean[None]

    return parallel.lift(infer, devices, shared=3, split=True)


class Inference:
    """Infers targets ``[profiles, targets]``, f4, from landmark z-scores, with parameters replicated on the devices."""

    def __init__(
        self, config: NetworkConfig, params: Params, scaler: Scaler | None, devices: tuple[jax.Device, ...]
    ) -> None:
        """Replicates the parameters on the devices.

        Args:
          config: the network.
          params: its parameters.
          scaler: mean and SD of the targets, for results in log2; None for z-scores.
          devices: the devices over which the profiles are sharded; those of other processes, which infer for
            themselves, are left out.
        """
        devices = parallel.local(devices)
        mean = np.zeros(config.targets, np.float32) if scaler is None else scaler.mean
        sd = np.ones(config.targets, np.float32) if scaler is None else scaler.sd
        self._targets = config.targets
        self._shape = (len(devices), ROWS, config.landmarks)
        self._run = inference_function(config, devices)
        self._placed: tuple[Any, ...] = parallel.replicate((params, mean, sd), devices)

    def start(self, landmark: np.ndarray) -> list[jax.Array]:
        """Starts to infer a block, and does not wait, so that the caller can prefetch the next block.

        Args:
          landmark: z-scores ``[profiles, landmarks]``.

        Returns:
          The arrays that ``finish`` waits for.
        """
        devices, rows, genes = self._shape
        step = devices * rows
        padded = np.zeros((-(-len(landmark) // step) * step, genes), np.float32)
        padded[: len(landmark)] = landmark
        return [self._run(*self._placed, part) for part in padded.reshape(-1, *self._shape)]

    def finish(self, started: Sequence[jax.Array], targets: np.ndarray) -> None:
        """Waits for the devices, and copies their results into ``targets``.

        Args:
          started: the value that ``start`` returned.
          targets: a float32 array ``[profiles, targets]``, which is filled.
        """
        step = self._shape[0] * self._shape[1]
        for first, part in zip(range(0, len(targets), step), started, strict=True):
            rows = targets[first : first + step]
            rows[:] = np.asarray(part).reshape(step, -1)[: len(rows)]

    def __call__(self, landmark: np.ndarray) -> np.ndarray:
        """Infers the targets of landmark z-scores ``[profiles, landmarks]``, block by block."""
        targets = np.empty((len(landmark), self._targets), np.float32)
        for first in range(0, len(landmark), PROFILES):
            rows = slice(first, first + PROFILES)
            self.finish(self.start(landmark[rows]), targets[rows])
        return targets
