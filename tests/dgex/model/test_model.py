"""What a model does to landmarks before its network sees them."""

import numpy as np

from dgex import parallel
from dgex.batches import place
from dgex.data.normalization import standardize
from dgex.metrics import finalize
from dgex.training import evaluate


def test_inferred_are_the_targets_that_are_no_landmarks(small_model):
    assert small_model.inferred.tolist() == list(range(8, 60))


def test_profiles_take_the_landmark_quantiles(small_model):
    """Of any level and spread, one by one; ties are one value, the middle of the quantiles that they span."""
    quantiles = small_model.reference.quantiles
    order = np.random.default_rng(0).permutation(24)
    profiles = np.stack([3.0 * order, -0.5 * order, order.clip(10)]).astype(np.float32)
    normal = small_model.normalize(profiles)
    np.testing.assert_array_equal(normal[0], quantiles[order])
    np.testing.assert_array_equal(normal[1], quantiles[::-1][order])
    np.testing.assert_array_equal(normal[2], np.where(order <= 10, quantiles[5], quantiles[order]))
    np.testing.assert_array_equal(small_model.normalize(profiles[2:]), normal[2:])


def test_standardized_are_zscores_of_the_training_landmarks(small_model, small_data):
    zscores = small_model.standardize(small_data.landmark[small_data.split == 0])
    assert zscores.dtype == np.float32
    np.testing.assert_allclose(zscores.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(zscores.std(axis=0), 1, atol=1e-4)


def test_prediction_and_training_agree_on_what_the_input_is(small_model, small_data):
    """The engine that trains scores what ``standardize`` makes of the test profiles just as the provenance says."""
    rows = small_data.split == 2
    target = standardize(small_data.target[rows], small_data.target_scaler)
    samples = place(small_model.standardize(small_data.landmark[rows]), target, parallel.devices(1))
    scores = finalize(evaluate(small_model.params, samples, small_model.config))
    made = small_model.provenance["scores"]["test"]["network"]["zscore_mae"]
    np.testing.assert_allclose(scores.mae.mean(), made, rtol=1e-6)
