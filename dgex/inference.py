"""A network's predictions for any number of profiles, on all devices."""

import functools
from collections.abc import Callable

import jax
import numpy as np

from dgex import parallel
from dgex.networks import NetworkConfig, Params, predict
from dgex.normalization import Scaler

# Profiles that a device predicts at once, the last ones filled up with zeros. Always as many, since products of another
# shape may be added up in another order: a profile's last bits would depend on how many others came with it.
ROWS = 256
PROFILES = 1024  # of a block on the host: 40 MB of whole profiles


@functools.cache
def inference_function(config: NetworkConfig, devices: tuple[jax.Device, ...]) -> Callable[..., jax.Array]:
    """The compiled ``(params, mean, sd, landmark) -> sd * prediction + mean`` on all devices.

    Landmarks are z-scores ``[devices, ROWS, landmarks]``, the result is ``[devices, ROWS, targets]``.
    """

    def infer(params: Params, mean: jax.Array, sd: jax.Array, landmark: jax.Array) -> jax.Array:
        return predict(config, params, landmark) * sd[None] + mean[None]

    return parallel.lift(infer, devices, shared=3, split=True)


def inference(
    config: NetworkConfig, params: Params, scaler: Scaler | None, devices: tuple[jax.Device, ...]
) -> Callable[[np.ndarray], Callable[[np.ndarray], None]]:
    """A function that starts to infer the targets of landmark z-scores ``[profiles, landmarks]``, and gives another.

    That one waits for the devices, which meanwhile work while the caller makes the next block ready, and fills a
    float32 array ``[profiles, targets]``.

    Args:
      config, params: the network.
      scaler: of its targets, if these are wanted in log2 and not as z-scores.
      devices: to deal the profiles out over.
    """
    run = inference_function(config, devices)
    mean = np.zeros(config.targets, np.float32) if scaler is None else scaler.mean
    sd = np.ones(config.targets, np.float32) if scaler is None else scaler.sd
    placed = parallel.share((params, mean, sd), devices)
    step = len(devices) * ROWS

    def start(landmark: np.ndarray) -> Callable[[np.ndarray], None]:
        padded = np.zeros((-(-len(landmark) // step) * step, config.landmarks), np.float32)
        padded[: len(landmark)] = landmark
        parts = [run(*placed, part) for part in padded.reshape(-1, len(devices), ROWS, config.landmarks)]

        def finish(targets: np.ndarray) -> None:
            for first, part in zip(range(0, len(targets), step), parts, strict=True):
                rows = targets[first : first + step]
                rows[:] = np.asarray(part).reshape(step, -1)[: len(rows)]

        return finish

    return start
