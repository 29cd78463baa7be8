"""Specifications of the models that are compared: fields of a network's configuration, or the fit of a baseline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dgex.baselines import kernel, lasso, linear, neighbours
from dgex.baselines.linear import LinearModel, least_squares, mean_predictor
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
        if config.kernel is not None:
            config = replace(config, kernel=len(train))
        if self.covered_fraction is None:
            return config
        every = -(-len(train) // RANGE_PROFILES)  # evenly spaced, since the first profiles are of a few studies only
        target = train.target[::every]
        return replace(config, output_reach=reach(target[~np.isnan(target)], self.covered_fraction))


# Fits a baseline to the training samples. The hyperparameter is the given one; without that, the one with the lowest
# z-score MAE on the validation samples.
Fit = Callable[[Samples, Samples, float | None], FittedBaseline]


def _without_choice(fit: Callable[[Products], LinearModel]) -> Fit:
    """Makes a baseline of a linear model that has no hyperparameter."""
    return lambda train, validation, given: (fit(products(train)).predict, {})


def _chosen_among(candidates: Sequence[float], fit_path: Callable[..., Any], data: Callable[[Samples], Any]) -> Fit:
    """Makes a baseline of a path of models, one for each candidate hyperparameter.

    Args:
      candidates: penalties, or numbers of neighbours.
      fit_path: fits the path to training data, validation samples and candidates; returns the best model, and the
        error of each candidate.
      data: makes the training data of the training samples.
    """

    def fit(train: Samples, validation: Samples, given: float | None) -> FittedBaseline:
        chosen = candidates if given is None else [type(candidates[0])(given)]
        model, errors = fit_path(data(train), validation, chosen)
        return model.predict, errors

    return fit


BASELINES: Mapping[str, Fit] = {
    "mean": _without_choice(mean_predictor),
    "least_squares": _without_choice(least_squares),
    "ridge": _chosen_among(linear.PENALTIES, linear.ridge_path, products),
    "lasso": _chosen_among(lasso.PENALTIES, lasso.lasso_path, products),
    "nearest_genes": _chosen_among(neighbours.NEIGHBOURS, neighbours.nearest_genes_path, products),
    "nearest_samples": _chosen_among(neighbours.NEIGHBOURS, neighbours.nearest_samples_path, lambda train: train),
    "arc_cosine": _chosen_among(kernel.PENALTIES, kernel.arc_cosine_path, lambda train: train),
}
