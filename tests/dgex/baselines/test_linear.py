"""The baselines against the mean and scikit-learn, on small problems and on the real compendium."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from dgex import parallel
from dgex.baselines.linear import PENALTIES, LinearModel, choose, least_squares, mean_predictor, ridge, ridge_path
from dgex.baselines.sufficient_statistics import products
from dgex.batches import Samples
from dgex.errors import DgexError


def problem(samples, landmarks=12, targets=5):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(landmarks, targets))

    def draw(n):
        x = rng.normal(0.5, 1, (n, landmarks))
        y = x @ weights + rng.normal(2, 3, (n, targets))
        return Samples(x.astype("f4"), y.astype("f4"), parallel.devices(2), n)

    return draw(samples), draw(40)


def fitted(peer, train):
    """scikit-learn's model, fitted in float64, as a linear model."""
    peer.fit(train.landmark.astype(np.float64), np.nan_to_num(train.target).astype(np.float64))
    return LinearModel(peer.coef_.T, peer.intercept_)


def mae(model, samples):
    return np.abs(samples.landmark.astype(np.float64) @ model.weights + model.intercept - samples.target).mean()


def test_mean_predictor():
    train, validation = problem(30)
    predicted = mean_predictor(products(train)).predict(validation.landmark)
    np.testing.assert_allclose(predicted, np.tile(train.target.astype(np.float64).mean(0), (40, 1)), rtol=1e-6)
    assert predicted.dtype == np.float32


# Fewer samples than landmarks leave x^T x singular; scikit-learn too takes the weights of least norm then.
@pytest.mark.parametrize("samples", [60, 13, 12, 8, 2])
def test_least_squares_matches_scikit_learn(samples):
    train, _ = problem(samples)
    model, peer = least_squares(products(train)), fitted(LinearRegression(), train)
    np.testing.assert_allclose(model.weights, peer.weights, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(model.intercept, peer.intercept, rtol=1e-7, atol=1e-8)


def test_least_squares_of_equal_landmarks_shares_the_weight():
    train, _ = problem(60)
    twice = Samples(np.hstack([train.landmark, train.landmark[:, :1]]), train.target, train.devices, train.block)
    one, two = least_squares(products(train)).weights, least_squares(products(twice)).weights
    np.testing.assert_allclose(two[1:-1], one[1:], rtol=1e-7)
    np.testing.assert_allclose(two[[0, -1]], np.tile(one[0] / 2, (2, 1)), rtol=1e-7)


@pytest.mark.parametrize("samples", [60, 8])
@pytest.mark.parametrize("penalty", [0.1, 10.0, 1000.0])
def test_ridge_matches_scikit_learn(samples, penalty):
    train, validation = problem(samples)
    model, peer = ridge(products(train), penalty), fitted(Ridge(alpha=penalty), train)
    np.testing.assert_allclose(model.weights, peer.weights, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.intercept, peer.intercept, rtol=1e-8)
    path, errors = ridge_path(products(train), validation, [penalty])
    np.testing.assert_array_equal(path.weights, model.weights)
    assert errors == pytest.approx({penalty: mae(peer, validation)}, rel=1e-5)


def test_penalty_is_chosen_on_validation():
    train, validation = problem(15)
    model, errors = ridge_path(products(train), validation)
    assert tuple(errors) == PENALTIES
    peers = {penalty: fitted(Ridge(alpha=penalty), train) for penalty in PENALTIES}
    scores = {penalty: mae(peer, validation) for penalty, peer in peers.items()}
    assert errors == pytest.approx(scores, rel=1e-4)
    best = min(scores, key=scores.get)
    assert best not in (PENALTIES[0], PENALTIES[-1])
    np.testing.assert_allclose(model.weights, peers[best].weights, rtol=1e-6)


def test_the_first_of_equal_candidates_is_chosen():
    _, validation = problem(20)
    bad, good, same = (LinearModel(np.zeros((12, 5)), np.full(5, value)) for value in (1e3, 2.0, 2.0))
    model, errors = choose([(1.0, bad), (2.0, good), (3.0, same)], validation)
    assert model is good
    expected = [np.abs(validation.target - value).mean(dtype=np.float64) for value in (1e3, 2.0, 2.0)]
    assert list(errors) == [1.0, 2.0, 3.0]
    np.testing.assert_allclose(list(errors.values()), expected, rtol=1e-5)


@pytest.mark.parametrize("first", [True, False])
def test_a_candidate_without_a_finite_mae_is_refused(first):
    _, validation = problem(20)
    models = [LinearModel(np.zeros((12, 5)), np.full(5, intercept)) for intercept in (np.nan, 2.0)]
    candidates = list(zip((1.0, 2.0), models, strict=True))
    with pytest.raises(DgexError, match="^validation MAE is nan for candidate 1; "):
        choose(candidates if first else candidates[::-1], validation)


def test_the_data_stay_as_they_were():
    train, validation = problem(20)
    before = train.sha256, validation.sha256
    sums = products(train)
    copy = sums.gram.copy(), sums.cross.copy()
    least_squares(sums)
    ridge_path(sums, validation)
    assert before == tuple(
        Samples(part.landmark, part.target, part.devices, part.block).sha256 for part in (train, validation)
    )
    np.testing.assert_array_equal(sums.gram, copy[0])
    np.testing.assert_array_equal(sums.cross, copy[1])


@pytest.mark.parametrize(
    ("fit", "peer"),
    [(least_squares, LinearRegression()), (lambda sums: ridge(sums, 300.0), Ridge(alpha=300.0))],
    ids=["least squares", "ridge"],
)
def test_on_the_compendium(compendium, fit, peer):
    train, validation = compendium
    assert len(train) < train.landmark.shape[1]
    model, expected = fit(products(train)), fitted(peer, train)
    np.testing.assert_allclose(model.weights, expected.weights, atol=1e-8)
    landmark = validation.landmark.astype(np.float64)
    np.testing.assert_allclose(
        model.predict(validation.landmark), landmark @ expected.weights + expected.intercept, atol=1e-4
    )
