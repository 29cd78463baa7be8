"""The baselines against the mean and scikit-learn's ridge regression."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from dgex.baselines import PENALTIES, mean_predictor, ridge_path


def problem(samples, landmarks=12, targets=5):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(landmarks, targets))

    def draw(n):
        x = rng.normal(0.5, 1, (n, landmarks))
        return x.astype("f4"), (x @ weights + rng.normal(2, 3, (n, targets))).astype("f4")

    return draw(samples), draw(40)


def test_mean_predictor():
    (x, y), (unseen, _) = problem(30)
    predicted = mean_predictor(x, y).predict(unseen)
    np.testing.assert_allclose(predicted, np.tile(y.astype(np.float64).mean(0), (40, 1)), rtol=1e-6)
    assert predicted.dtype == np.float32


# Fewer samples than landmarks leave x^T x singular.
@pytest.mark.parametrize("samples", [60, 8])
@pytest.mark.parametrize("penalty", [0.1, 10.0, 1000.0])
def test_ridge_is_scikit_learn_s(samples, penalty):
    train, validation = problem(samples)
    model, errors = ridge_path(train, validation, [penalty])
    peer = Ridge(alpha=penalty).fit(*(part.astype(np.float64) for part in train))
    np.testing.assert_allclose(model.weights, peer.coef_.T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.intercept, peer.intercept_, rtol=1e-8)
    predicted = peer.predict(validation[0].astype(np.float64))
    assert errors == pytest.approx({penalty: np.abs(predicted - validation[1]).mean()}, rel=1e-9)
    np.testing.assert_allclose(model.predict(validation[0]), predicted, rtol=1e-5, atol=1e-5)


def test_penalty_is_chosen_on_validation():
    train, validation = problem(15)
    model, errors = ridge_path(train, validation)
    assert tuple(errors) == PENALTIES
    peers = {penalty: Ridge(alpha=penalty).fit(*train) for penalty in PENALTIES}
    scores = {penalty: np.abs(peer.predict(validation[0]) - validation[1]).mean() for penalty, peer in peers.items()}
    assert errors == pytest.approx(scores, rel=1e-4)
    best = min(scores, key=scores.get)
    assert best not in (PENALTIES[0], PENALTIES[-1])
    np.testing.assert_allclose(model.weights, peers[best].coef_.T, rtol=1e-3, atol=1e-4)


def test_the_data_stay_as_they_were():
    train, validation = problem(20)
    before = [part.copy() for part in (*train, *validation)]
    ridge_path(train, validation)
    for part, copy in zip((*train, *validation), before, strict=True):
        np.testing.assert_array_equal(part, copy)
