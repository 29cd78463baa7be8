"""Training beside a linear path that does not learn: the network is trained on what the path leaves over.

Losses and errors depend on prediction - target alone. So a network beside a fixed path is trained like one without a
path, on targets less the path's predictions; these are then computed once instead of in every step, and the optimiser
has no state for the path.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from dgex.batches import Samples
from dgex.inference import Inference
from dgex.networks import COMPONENTS, KERNEL, LINEAR, NetworkConfig, Params, init_params
from dgex.training_result import DivergedError, Fit

# Trains a network without a path: configuration, training and validation samples, layers to start from -> results.
FitRest = Callable[[NetworkConfig, Samples, Samples | None, Params], list[Fit]]


def fit_beside(
    config: NetworkConfig, train: Samples, validation: Samples | None, start: Params | None, fit_rest: FitRest
) -> list[Fit]:
    """Trains networks beside a linear path that keeps its initial parameters.

    Args:
      config: a network with a linear path, whose ``linear_rate`` is 0.
      train: z-scores to train on.
      validation: z-scores to choose the best epoch by, or None.
      start: as in ``dgex.training.init_state``; the linear path is among them, or its layers are those of the seed 0.
      fit_rest: trains the rest.

    Returns:
      The results of ``fit_rest``, with the path's layers among their parameters.

    Raises:
      DivergedError: as ``fit_rest``, with the path in its results.
    """
    params = init_params(config, jax.random.key(0)) | (start or {})
    path = {layer: params[layer] for layer in (KERNEL, COMPONENTS, LINEAR) if layer in params}
    # Beside a path the output layer starts at 0, from any seed.
    outputs = {layer: params[layer] for layer in params if layer.startswith("outputs")}
    rest = outputs | {layer: values for layer, values in (start or {}).items() if layer not in path}
    alone = replace(config, linear=False, linear_rank=None, linear_rate=1.0, kernel=None)
    predict = _path(config, path, train.devices)

    def left_over(samples: Samples) -> Samples:
        target = _LeftOver(samples, predict)
        return replace(samples, target=target[:] if samples.chunk is None else target)

    def complete(fits: list[Fit]) -> list[Fit]:
        return [replace(each, params=each.params | path) for each in fits]

    try:
        return complete(fit_rest(alone, left_over(train), validation and left_over(validation), rest))
    except DivergedError as error:
        raise DivergedError(complete(error.fits), str(error)) from error


@dataclass(frozen=True)
class _LeftOver:
    """Holds targets less what the path predicts of them; this is computed of the samples that are taken by an index."""

    samples: Samples
    predict: Inference

    @property
    def shape(self) -> tuple[int, ...]:
        return self.samples.target.shape

    @property
    def dtype(self) -> np.dtype:
        return self.samples.target.dtype

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, chosen: Any) -> np.ndarray:
        landmark = self.samples.landmark[chosen]
        target = self.predict(landmark.reshape(-1, landmark.shape[-1])).reshape(*landmark.shape[:-1], -1)
        return np.subtract(self.samples.target[chosen], target, out=target)  # in place: it may fill much of the memory


def _path(config: NetworkConfig, path: Params, devices: tuple[jax.Device, ...]) -> Inference:
    """Predicts by the path alone: beside it stands the smallest network, whose output layer is 0 at first."""
    smallest = NetworkConfig(
        config.landmarks, config.targets, (1,), linear=True, linear_rank=config.linear_rank, linear_rate=0.0,
        kernel=config.kernel, compute_dtype=config.compute_dtype, matmul_precision=config.matmul_precision,
    )  # fmt: skip
    return Inference(smallest, init_params(smallest, jax.random.key(0)) | path, None, devices)
