"""What a model does to landmarks before its network sees them, and what it does not believe of its network."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from dgex import parallel
from dgex.batches import place
from dgex.data.normalization import standardize
from dgex.errors import DgexError
from dgex.metrics import finalize
from dgex.model import Model
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


def altered(model, change) -> Model:
    """The model with other weights of its last layer."""
    params = jax.tree.map(np.array, model.params)
    change(params["outputs"])
    return replace(model, params=params)


@pytest.mark.parametrize("request_", [{}, {"output_scale": "zscore"}, {"all_targets": True}])
@pytest.mark.parametrize(
    ("change", "value"),
    [
        (lambda outputs: outputs["kernel"].__setitem__((slice(None), 20), 3e38), "(inf|-inf|nan)"),
        (lambda outputs: outputs["bias"].__setitem__(20, -1e6), r"-\S+"),
        (lambda outputs: outputs["kernel"].__imul__(1e4), r"-?\S+"),
    ],
)
def test_absurd_weights_are_refused(small_model, small_plate, request_, change, value, predicted):
    """Gene 20 is no landmark; with other weights any may come first."""
    said = rf"^plate.gct: the model infers {value} \((log2|z-score)\) of ENSG\d+ for s\d+, far beyond its training data"
    with pytest.raises(DgexError, match=said):
        predicted(altered(small_model, change), small_plate, **request_)


def test_what_is_believable(small_model):
    """The range of the training quantiles, and as much again to either side, in log2 and in z-scores."""
    least, most = small_model.believable
    quantiles = small_model.reference.quantiles
    assert least + most == pytest.approx(quantiles[0] + quantiles[-1])
    assert most - least == pytest.approx(3 * (quantiles[-1] - quantiles[0]))
    scaler, gene = small_model.reference.target_scaler, np.array([20])
    for limit, out in ((least, -0.01), (most, 0.01)):
        zscore = (np.array([[limit]]) - scaler.mean[gene]) / scaler.sd[gene]
        small_model.check_inferred("plate.gct", ["s"], np.array([[limit - out]]), gene, log2=True)
        small_model.check_inferred("plate.gct", ["s"], zscore - out, gene, log2=False)
        for values, log2 in ((np.array([[limit + out]]), True), (zscore + out, False)):
            with pytest.raises(DgexError, match="plate.gct: the model infers"):
                small_model.check_inferred("plate.gct", ["s"], values, gene, log2=log2)
