"""Starts a network's linear path at the closed form of ridge regression, on the landmarks or on a kernel of them."""

from collections.abc import Mapping
from dataclasses import replace

from dgex.baselines.kernel import arc_cosine_path, with_kernel_path
from dgex.baselines.linear import ridge_path, with_linear_path
from dgex.baselines.sufficient_statistics import products
from dgex.batches import Samples
from dgex.networks import NetworkConfig, Params


def errors_by_penalty(config: NetworkConfig, train: Samples, validation: Samples) -> dict[float, float]:
    """Computes the validation z-score MAE of the linear path's start for every penalty.

    Args:
      config: a network with a linear path; without one its ``kernel`` is None, and the errors are ridge regression's.
      train: the training samples.
      validation: the samples to score.
    """
    if config.kernel is None:
        return ridge_path(products(train), validation)[1]
    return arc_cosine_path(train, validation)[1]


def choose_penalty(*errors: Mapping[float, float]) -> float:
    """Chooses the penalty with the lowest mean of the errors, each of them a ``errors_by_penalty``."""
    return min(errors[0], key=lambda penalty: sum(each[penalty] for each in errors))


def closed_form(config: NetworkConfig, train: Samples, penalty: float) -> tuple[NetworkConfig, Params]:
    """Fits the linear path of a network.

    Args:
      config: a network with a linear path.
      train: the training samples.
      penalty: as in ``dgex.baselines.linear.ridge``, or on the kernel as in ``dgex.baselines.kernel.arc_cosine_ridge``.

    Returns:
      The configuration, whose ``kernel``, if it has one, is the number of training samples, and its rank no more; and
      the layers of the path, float32, ``start`` of ``dgex.training.fit``.
    """
    if config.kernel is None:
        return config, with_linear_path(config, products(train), penalty)
    rank = config.linear_rank and min(config.linear_rank, len(train))
    config = replace(config, kernel=len(train), linear_rank=rank)
    return config, with_kernel_path(config, train, penalty)
