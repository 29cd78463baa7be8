"""Specifications of the models that are compared: fields of a network's configuration, or the fit of a baseline."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dgex.baselines.kernel import arc_cosine_path
from dgex.baselines.lasso import lasso_path
from dgex.baselines.linear import LinearModel, least_squares, mean_predictor, ridge_path
from dgex.baselines.neighbours import nearest_genes_path, nearest_samples_path
from dgex.baselines.sufficient_statistics import Products, products
from dgex.batches import Samples
from dgex.networks import NetworkConfig
from dgex.taaf import reach

# Maps z-scores of landmarks [samples, landmarks] to those of targets [samples, targets].
Predictor = Callable[[np.ndarray], np.ndarray]
# A fitted baseline, and the validation z-score MAE of every candidate it was chosen from, by its hyperparameter.
FittedBaseline = tuple[Predictor, dict[float, float]]

# Number of training profiles from which the range of the targets is taken.
RANGE_PROFILES = 2000


@dataclass(frozen=True)
class ModelSpec:
    """Specifies a model to train and compare, where ``dgex.model.Model`` is a trained one.

    Attributes:
      name: name in paths and results.
      label: name in tables and figures.
      network: fields of ``NetworkConfig`` without the numbers of genes; None for a baseline, whose ``name`` is one of
        ``BASELINES``.
      covered_fraction: fraction of the training target values that the initial TAAF of the output layer covers; it sets
        the network's ``output_reach``.
    """

    name: str
    label: str
    network: Mapping[str, Any] | None = None
    covered_fraction: float | None = None

    @property
    def seeded(self) -> bool:
        """Tells whether training depends on a seed."""
        return self.network is not None

    def config(self, train: Samples) -> NetworkConfig:
        """Makes the network's configuration for these training samples.

        Raises:
          ValueError: the model is a baseline.
        """
        if self.network is None:
            raise ValueError(f"{self.name} is no network")
        config = NetworkConfig(train.landmark.shape[1], train.target.shape[1], **self.network)
        if self.covered_fraction is None:
            return config
        every = -(-len(train) // RANGE_PROFILES)  # evenly spaced, since the first profiles are of a few studies only
        target = train.target[::every]
        return replace(config, output_reach=reach(target[~np.isnan(target)], self.covered_fraction))


def _without_choice(fit: Callable[[Products], LinearModel]) -> Callable[[Samples, Samples], FittedBaseline]:
    """Makes a baseline of a linear model that has no hyperparameter."""
    return lambda train, validation: (fit(products(train)).predict, {})


def _chosen_on_validation(
    fit_path: Callable[[Products, Samples], tuple[LinearModel, dict[float, float]]],
) -> Callable[[Samples, Samples], FittedBaseline]:
    """Makes a baseline of a linear model whose hyperparameter is chosen on the validation samples."""

    def fit(train: Samples, validation: Samples) -> FittedBaseline:
        model, errors = fit_path(products(train), validation)
        return model.predict, errors

    return fit


def _nearest_samples(train: Samples, validation: Samples) -> FittedBaseline:
    """Fits the nearest samples, whose number is chosen on the validation samples."""
    model, errors = nearest_samples_path(train, validation)
    return model.predict, errors


def _arc_cosine(train: Samples, validation: Samples) -> FittedBaseline:
    """Fits the arc-cosine kernel, whose penalty is chosen on the validation samples."""
    model, errors = arc_cosine_path(train, validation)
    return model.predict, errors


# Each is fitted to the training samples, with the hyperparameter (penalty or number of neighbours) that has the lowest
# validation z-score MAE.
BASELINES: Mapping[str, Callable[[Samples, Samples], FittedBaseline]] = {
    "mean": _without_choice(mean_predictor),
    "least_squares": _without_choice(least_squares),
    "ridge": _chosen_on_validation(ridge_path),
    "lasso": _chosen_on_validation(lasso_path),
    "nearest_genes": _chosen_on_validation(nearest_genes_path),
    "nearest_samples": _nearest_samples,
    "arc_cosine": _arc_cosine,
}
