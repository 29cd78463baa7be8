"""Training protocols as frozen data: initialisation, optimiser, loss, learning-rate schedule, batch size and epochs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from dgex.errors import DgexError
from dgex.networks import Init
from dgex.optimizers import optimizer


def _error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Computes prediction - target, or 0 where the target is a missing value (NaN), which then has no gradient."""
    return jnp.where(jnp.isnan(target), 0, prediction - target)


# Profile losses: predictions and targets [samples, genes] -> [samples]. Means are over all genes, so that a value has
# the same weight however many others are missing in its profile.
LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "mae": lambda prediction, target: jnp.mean(jnp.abs(_error(prediction, target)), axis=-1),
    "mse": lambda prediction, target: jnp.mean(_error(prediction, target) ** 2, axis=-1),
    "sse": lambda prediction, target: jnp.sum(_error(prediction, target) ** 2, axis=-1),
}


@dataclass(frozen=True)
class Plateau:
    """Lowers the learning rate whenever the MAE on fixed training samples rises from one epoch to the next.

    Attributes:
      factor: what the rate is multiplied by.
      floor: the rate below which this rule does not go.
      monitor_samples: the number of training samples whose MAE is monitored.
    """

    factor: float = 0.9
    floor: float = 1e-5
    monitor_samples: int = 5000


@dataclass(frozen=True)
class Protocol:
    """Describes how a network is trained.

    Attributes:
      optimizer: a name of ``dgex.optimizers.OPTIMIZERS``.
      loss: "mae" or "mse", means over genes and samples, or "sse", the squared error summed over genes, mean over
        samples.
      learning_rate: the rate of the first epoch.
      batch: samples a step, over all devices together.
      epochs: passes over the training data.
      drops: a schedule of pairs (epoch, factor): from that epoch (counted from 0) until the next pair's, the rate is
        ``learning_rate * factor``.
      plateau: a rule that lowers the rate when the error on some training samples rises; None for no such rule.

    Raises:
      DgexError: a field is out of its range.
    """

    optimizer: str
    loss: str
    learning_rate: float
    batch: int
    epochs: int
    drops: tuple[tuple[int, float], ...] = ()
    plateau: Plateau | None = None

    def __post_init__(self) -> None:
        optimizer(self.optimizer)
        if self.loss not in LOSSES:
            raise DgexError(f"unknown loss {self.loss!r}; known: {', '.join(LOSSES)}")
        if not self.learning_rate > 0:
            raise DgexError(f"the learning rate must be positive, not {self.learning_rate}")
        if min(self.batch, self.epochs) < 1:
            raise DgexError(f"batch and epochs must be at least 1, not {self.batch} and {self.epochs}")


def learning_rate(protocol: Protocol, monitor: Sequence[float]) -> float:
    """Computes the learning rate of the next epoch.

    Args:
      protocol: the training protocol.
      monitor: the MAE on the plateau rule's training samples after each epoch so far; NaN without that rule.
    """
    rate = protocol.learning_rate
    for epoch, factor in protocol.drops:
        if len(monitor) >= epoch:
            rate = protocol.learning_rate * factor
    if protocol.plateau:
        for before, after in zip(monitor, monitor[1:], strict=False):
            if after > before:
                rate = min(rate, max(rate * protocol.plateau.factor, protocol.plateau.floor))
    return rate


# The TAAF-D-GEX repository's example: Keras 2's Nadam at a constant rate; its schedule is in the code but not used.
EXAMPLE = Protocol("keras_nadam", "mae", 5e-4, batch=64, epochs=600)
EXAMPLE_SCHEDULED = replace(EXAMPLE, drops=((401, 1e-1), (476, 1e-2), (551, 1e-3), (576, 5e-4)))

# D-GEX with two or three hidden layers, and with one. pylearn2's linear output layer sums the squared error over the
# targets, so these rates go with "sse"; with a mean over genes they would be too small by the number of targets. The
# original trains two networks of 4,760 targets; one of 9,520 adds the gradients of both halves in its hidden layers.
DGEX = Protocol("dgex_sgd", "sse", 3e-4, batch=200, epochs=200, plateau=Plateau())
DGEX_ONE_LAYER = replace(DGEX, learning_rate=5e-4)

# For the default run: EXAMPLE at twice the rate and half the epochs. On the GEO compendium split by sample, tanh and
# sigmoid networks (not TAAF's) then come within 0.002 of the validation error of ``--protocol example --epochs 400``.
QUICK = replace(EXAMPLE, learning_rate=1e-3, epochs=300)

# For networks with a linear path: these start at ridge regression, so few epochs are enough. The loss stays the
# absolute error: on the validation samples of eight folds it was better than the squared error, which ridge regression
# minimises, beside a path on the landmarks (0.572 against 0.575) and beside the kernel (0.5653 against 0.5658).
RESIDUAL = replace(EXAMPLE, epochs=40)


@dataclass(frozen=True)
class Preset:
    """Holds what a protocol's name stands for.

    Attributes:
      protocol: the protocol of networks with two hidden layers or more.
      shallow: the protocol of networks with fewer hidden layers, if it differs.
      init: the initialisation of the network, as in ``NetworkConfig``.
    """

    protocol: Protocol
    shallow: Protocol | None = None
    init: Init = "glorot"


PROTOCOLS: dict[str, Preset] = {
    "example": Preset(EXAMPLE),
    "example-scheduled": Preset(EXAMPLE_SCHEDULED),
    "dgex": Preset(DGEX, DGEX_ONE_LAYER, "dgex"),
    "quick": Preset(QUICK),
    "residual": Preset(RESIDUAL),
}


def named_protocol(name: str, layers: int, epochs: int | None = None) -> tuple[Protocol, Init]:
    """Looks up a protocol by its name, and the initialisation that belongs to it.

    Args:
      name: one of ``PROTOCOLS``.
      layers: how many hidden layers the network has.
      epochs: the number of epochs, if not the protocol's.

    Returns:
      The protocol, and the ``init`` of ``NetworkConfig``.

    Raises:
      DgexError: no protocol has that name, or ``epochs`` is less than 1.
    """
    if name not in PROTOCOLS:
        raise DgexError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    preset = PROTOCOLS[name]
    chosen = preset.shallow if preset.shallow and layers < 2 else preset.protocol
    return (chosen if epochs is None else replace(chosen, epochs=epochs)), preset.init
