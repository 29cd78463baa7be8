"""A network's predictions for any number of profiles, on all devices, block by block."""

import functools
from collections.abc import Callable

import jax
import numpy as np

from dgex import parallel
from dgex.networks import NetworkConfig, Params, predict
from dgex.normalization import Scaler

# Profiles of a block: enough for matrix products at their full rate, and 40 MB of whole profiles.
PROFILES = 1024


@functools.cache
def inference_function(config: NetworkConfig, devices: tuple[jax.Device, ...]) -> Callable[..., jax.Array]:
    """The compiled ``(params, mean, sd, landmark) -> sd * prediction + mean`` on all devices.

    Landmarks are z-scores ``[devices, profiles, landmarks]``, the result is ``[devices, profiles, targets]``.
    """

    def infer(params: Params, mean: jax.Array, sd: jax.Array, landmark: jax.Array) -> jax.Array:
        return predict(config, params, landmark) * sd + mean

    return parallel.lift(infer, devices, shared=3, split=True)


def inference(
    config: NetworkConfig, params: Params, scaler: Scaler | None, devices: tuple[jax.Device, ...]
) -> Callable[[np.ndarray], Callable[[], np.ndarray]]:
    """A function from landmark z-scores ``[profiles, landmarks]`` to the *promise* of the targets.

    The devices work while the caller makes the next block ready; calling the promise waits for them and gives float32
    ``[profiles, targets]``.

    Args:
      config, params: the network.
      scaler: of its targets, if these are wanted in log2 and not as z-scores.
      devices: to deal the profiles out over.
    """
    run = inference_function(config, devices)
    mean = np.zeros(config.targets, np.float32) if scaler is None else scaler.mean
    sd = np.ones(config.targets, np.float32) if scaler is None else scaler.sd
    placed = parallel.share((params, mean, sd), devices)

    def dispatch(landmark: np.ndarray) -> Callable[[], np.ndarray]:
        profiles = len(landmark)
        # A power of two on each device, so that few shapes are compiled for.
        each = 1 << (-(-profiles // len(devices)) - 1).bit_length()
        padded = np.zeros((len(devices) * each, config.landmarks), np.float32)
        padded[:profiles] = landmark
        result = run(*placed, padded.reshape(len(devices), each, -1))
        return lambda: np.asarray(result).reshape(-1, config.targets)[:profiles]

    return dispatch
