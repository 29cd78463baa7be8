"""The models of the study by name: networks as fields of their configuration, and baselines as what fits them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dgex.baselines.lasso import lasso_path
from dgex.baselines.linear import LinearModel, least_squares, mean_predictor, ridge_path
from dgex.baselines.neighbours import nearest_genes_path, nearest_samples_path
from dgex.baselines.sufficient_statistics import Products, products
from dgex.batches import Samples
from dgex.networks import NetworkConfig
from dgex.taaf import reach

# z-scores of landmarks [samples, landmarks] to those of targets [samples, targets].
Predictor = Callable[[np.ndarray], np.ndarray]
# A fitted baseline, and the validation MAE of every candidate it was chosen from.
Fitted = tuple[Predictor, dict[float, float]]

# Training profiles that tell how far the targets reach.
REACH_PROFILES = 2000


@dataclass(frozen=True)
class Model:
    """One of the models compared.

    Attributes:
      name: in paths and results.
      label: in tables and figures.
      network: fields of ``NetworkConfig`` but for the numbers of genes; None for a baseline, a name of ``BASELINES``.
      reach_share: share of the training targets that the output layer's TAAF covers at first; it sets the network's
        ``output_reach``.
    """

    name: str
    label: str
    network: Mapping[str, Any] | None = None
    reach_share: float | None = None

    @property
    def seeded(self) -> bool:
        """Whether training depends on a seed."""
        return self.network is not None

    def config(self, train: Samples) -> NetworkConfig:
        """The network for these training samples; for networks only."""
        if self.network is None:
            raise ValueError(f"{self.name} is no network")
        config = NetworkConfig(train.landmark.shape[1], train.target.shape[1], **self.network)
        if self.reach_share is None:
            return config
        every = -(-len(train) // REACH_PROFILES)  # evenly spaced: the first ones are a few studies
        target = train.target[::every]
        return replace(config, output_reach=reach(target[~np.isnan(target)], self.reach_share))


def _linear(fit: Callable[[Products], LinearModel]) -> Callable[[Samples, Samples], Fitted]:
    return lambda train, validation: (fit(products(train)).predict, {})


def _chosen(
    path: Callable[[Products, Samples], tuple[LinearModel, dict[float, float]]],
) -> Callable[[Samples, Samples], Fitted]:
    def fit(train: Samples, validation: Samples) -> Fitted:
        model, errors = path(products(train), validation)
        return model.predict, errors

    return fit


def _nearest_samples(train: Samples, validation: Samples) -> Fitted:
    model, errors = nearest_samples_path(train, validation)
    return model.predict, errors


# From training and validation samples; the penalty or number of neighbours with the lowest validation z-score MAE.
BASELINES: Mapping[str, Callable[[Samples, Samples], Fitted]] = {
    "mean": _linear(mean_predictor),
    "least_squares": _linear(least_squares),
    "ridge": _chosen(ridge_path),
    "lasso": _chosen(lasso_path),
    "nearest_genes": _chosen(nearest_genes_path),
    "nearest_samples": _nearest_samples,
}
