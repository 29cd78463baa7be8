"""A TAAF network as a scikit-learn regressor, for pipelines and cross-validation on any table of numbers.

This module needs scikit-learn, the extra ``sklearn``. The network, its training and the choice of the best epoch are
those of ``dgex.training``. The parameters are kept as numpy arrays, so that a fitted regressor can be copied and
pickled.
"""

from typing import Self

import jax
import numpy as np
from numpy.typing import ArrayLike

from dgex import parallel
from dgex.batches import place
from dgex.inference import Inference
from dgex.networks import NetworkConfig, Placement
from dgex.protocols import Protocol
from dgex.training import fit

try:
    from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError('needs scikit-learn 1.6 or newer; install it: pip install "dgex[sklearn]"') from error


class TAAFRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Regresses one target or many on features by a perceptron with TAAF, a learnable activation.

    Features and targets are standardised inside, and predictions are in the targets' units. A random share of the
    samples is held out as a validation set for early stopping: the parameters of the epoch with the least mean absolute
    error are kept. Where samples belong together (arrays of a study) that choice is optimistic. The squared error is
    minimised, by Nadam at a constant rate, on JAX's first device.

    Args:
      hidden: units of each hidden layer, first layer first.
      activation: the hidden layers' base function, a name of ``dgex.activations.BASES``, or without TAAF also a
        learnable activation, a name of ``dgex.rivals.RIVALS``.
      taaf: where a TAAF of that base stands: "hidden", "all" (on the output layer too), or "none".
      dropout: share of each hidden layer's outputs dropped in training.
      learning_rate: learning rate of Nadam.
      batch: samples a step.
      epochs: passes over the training samples.
      validation_fraction: share of the samples held out for validation, between 0 and 1.
      random_state: an int makes ``fit`` reproducible: it decides the validation set, initial parameters, order and
        dropout.

    Attributes:
      config_: the ``NetworkConfig``.
      params_: the parameters after the best epoch, numpy float32.
      log_: the training log, a row an epoch (``dgex.log.Epoch``), with errors in SDs of a target.
      best_epoch_: the best epoch, counted from 1.
      feature_scaler_: ``StandardScaler`` of the features, fitted to the training samples.
      target_scaler_: ``StandardScaler`` of the targets, fitted to the training samples.
      n_features_in_: number of features.
      feature_names_in_: names of the features, where ``X`` had some.

    Examples:
      >>> X = np.random.default_rng(0).normal(size=(200, 3))
      >>> y = np.tanh(X @ [1, -1, 2])
      >>> model = TAAFRegressor(hidden=(16,), dropout=0, learning_rate=1e-2, epochs=40, random_state=0).fit(X, y)
      >>> model.predict(X[:2]).shape
      (2,)
      >>> model.score(X, y) > 0.95
      True
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (100,),
        *,
        activation: str = "tanh",
        taaf: Placement = "hidden",
        dropout: float = 0.1,
        learning_rate: float = 1e-3,
        batch: int = 32,
        epochs: int = 200,
        validation_fraction: float = 0.1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        """Keeps the settings as they are; ``fit`` checks them."""
        self.hidden = hidden
        self.activation = activation
        self.taaf = taaf
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.batch = batch
        self.epochs = epochs
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Trains a network.

        Args:
          X: features ``[samples, features]``, finite, of two samples or more.
          y: targets ``[samples]`` or ``[samples, targets]``, finite.

        Raises:
          ValueError: X or y does not have such a shape, or is not finite.
          DgexError: a setting is out of its range, or the loss is not finite, which a lower learning rate prevents.
        """
        features, targets = validate_data(self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=2)
        self.one_target_ = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        random = check_random_state(self.random_state)
        chosen = train_test_split(np.arange(len(targets)), test_size=self.validation_fraction, random_state=random)
        # Scikit-learn may be set to return other containers, but arrays are needed here.
        self.feature_scaler_, self.target_scaler_ = (
            StandardScaler().set_output(transform="default").fit(values[chosen[0]]) for values in (features, targets)
        )
        train, validation = (
            place(
                self.feature_scaler_.transform(features[rows]).astype(np.float32),
                self.target_scaler_.transform(targets[rows]).astype(np.float32),
                parallel.devices(1),
            )
            for rows in chosen
        )
        self.config_ = NetworkConfig(
            features.shape[1], targets.shape[1], self.hidden, self.activation, self.taaf, dropout=self.dropout
        )
        protocol = Protocol("keras_nadam", "mse", self.learning_rate, self.batch, self.epochs)
        result = fit(self.config_, protocol, train, validation, int(random.randint(2**31)))
        self.params_, self.log_, self.best_epoch_ = jax.device_get(result.params), result.log, result.best_epoch
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predicts targets; the prediction for a row does not depend on the other rows.

        Args:
          X: features ``[samples, features]``, finite.

        Returns:
          float64 ``[samples]`` or ``[samples, targets]``, like the y of ``fit``.
        """
        check_is_fitted(self)
        features = self.feature_scaler_.transform(validate_data(self, X, reset=False))
        standardized = Inference(self.config_, self.params_, None, parallel.devices(1))(features)
        prediction = self.target_scaler_.inverse_transform(standardized.astype(np.float64))
        return prediction[:, 0] if self.one_target_ else prediction
