"""Nearest genes and nearest samples against scikit-learn, and against distances measured one by one."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor, NearestNeighbors

from dgex import parallel
from dgex.baselines import neighbours
from dgex.baselines.neighbours import (
    NearestSamples,
    nearest_genes,
    nearest_genes_path,
    nearest_landmarks,
    nearest_profiles,
    nearest_samples_path,
)
from dgex.baselines.sufficient_statistics import products
from dgex.batches import Samples
from dgex.errors import DgexError
from dgex.metrics import finalize


def problem(samples=60, landmarks=12, targets=8, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(landmarks, targets)) * (rng.random((landmarks, targets)) < 0.3)

    def draw(n):
        x = rng.normal(0.5, 1, (n, landmarks))
        y = x @ weights + rng.normal(0, 0.5, (n, targets))
        return Samples(x.astype("f4"), y.astype("f4"), parallel.devices(2), n)

    return draw(samples), draw(40)


def test_order_of_landmarks_by_measured_distance():
    train, _ = problem()
    x, y = train.landmark.astype(np.float64), train.target.astype(np.float64)
    distance = np.sqrt(((x[:, :, None] - y[:, None, :]) ** 2).sum(0))
    np.testing.assert_array_equal(nearest_landmarks(products(train)), distance.argsort(axis=0))


def test_a_target_is_the_mean_of_its_nearest_landmarks():
    # Target 0 lies on landmark 2, near landmark 0; target 1 is the negative of landmark 1, so far from it.
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 4)).astype("f4")
    x[:, 0] = x[:, 2] + 0.1 * rng.normal(size=50)
    y = np.stack([x[:, 2], -x[:, 1]], axis=1)
    model = nearest_genes(products(Samples(x, y, parallel.devices(1), 50)), 2)
    new = np.array([[10.0, 20.0, 30.0, 40.0]], "f4")
    assert model.predict(new)[0, 0] == 20
    assert model.weights[1, 1] == 0
    np.testing.assert_array_equal(np.sort(model.weights, axis=0)[:, 1], [0, 0, 0.5, 0.5])


@pytest.mark.parametrize("k", [1, 3, 12])
def test_nearest_genes_match_scikit_learn(k):
    train, validation = problem()
    found = nearest_genes(products(train), k).predict(validation.landmark)
    # Genes are the points, training samples the coordinates.
    _, nearest = NearestNeighbors(n_neighbors=k).fit(train.landmark.T).kneighbors(np.nan_to_num(train.target.T))
    np.testing.assert_allclose(found, validation.landmark[:, nearest].mean(axis=2), rtol=1e-5, atol=1e-6)


def test_number_of_genes_is_chosen_on_validation():
    train, validation = problem(landmarks=30)
    model, errors = nearest_genes_path(products(train), validation, (1, 2, 4, 30))
    _, nearest = NearestNeighbors(n_neighbors=30).fit(train.landmark.T).kneighbors(np.nan_to_num(train.target.T))
    predicted = {k: validation.landmark[:, nearest[:, :k]].mean(axis=2) for k in (1, 2, 4, 30)}
    scores = {k: np.abs(value - validation.target).mean(dtype=np.float64) for k, value in predicted.items()}
    assert errors == pytest.approx(scores, rel=1e-5)
    best = min(scores, key=scores.get)
    np.testing.assert_allclose(model.predict(validation.landmark), predicted[best], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [1, 5, 60])
def test_nearest_samples_match_scikit_learn(monkeypatch, k):
    monkeypatch.setattr(neighbours, "BATCH", 17)  # does not divide the 40 samples
    train, validation = problem()
    model = NearestSamples(train, k)
    expected = KNeighborsRegressor(k).fit(train.landmark, train.target).predict(validation.landmark)
    found = model.predict(validation.landmark)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    error = expected - validation.target.astype(np.float64)
    scores = finalize(model.evaluate(validation))
    np.testing.assert_allclose(scores.mae, np.abs(error).mean(0), rtol=1e-5)
    np.testing.assert_allclose(scores.rmse, np.sqrt((error**2).mean(0)), rtol=1e-5)


def test_number_of_samples_is_chosen_on_validation(monkeypatch):
    monkeypatch.setattr(neighbours, "BATCH", 17)
    train, validation = problem()
    model, errors = nearest_samples_path(train, validation, (1, 3, 8, 60))
    scores = {}
    for k in (1, 3, 8, 60):
        peer = KNeighborsRegressor(k).fit(train.landmark, train.target).predict(validation.landmark)
        scores[k] = np.abs(peer - validation.target).mean(dtype=np.float64)
    assert errors == pytest.approx(scores, rel=1e-6)
    assert model.k == min(scores, key=scores.get)
    assert model.train is train


def test_a_profile_is_its_own_nearest():
    train, _ = problem()
    np.testing.assert_array_equal(nearest_profiles(train.landmark, train.landmark, 1)[:, 0], np.arange(60))


def test_near_identical_profiles_are_in_order():
    # Squared distances of 4e-4 to 4e-3 from a profile whose square is 10,000: the expansion in float32 errs by more.
    rng = np.random.default_rng(0)
    query = rng.normal(10, 1, (1, 100)).astype("f4")
    close = query + 1e-3 * np.linspace(2, 6, 20)[:, None] * rng.normal(size=(20, 100))
    train = np.concatenate([close, rng.normal(10, 1, (200, 100))]).astype("f4")[rng.permutation(220)]
    squared = ((train.astype("f8") - query) ** 2).sum(1)
    np.testing.assert_array_equal(nearest_profiles(train, query, 20)[0], np.argsort(squared)[:20])


def test_equal_profiles_are_in_order_of_their_index():
    train = np.repeat(np.eye(3, dtype="f4"), 4, axis=0)
    np.testing.assert_array_equal(nearest_profiles(train, train[4:5], 4), [[4, 5, 6, 7]])


def test_numbers_of_neighbours_that_there_are_not_are_left_out():
    train, validation = problem(samples=30)  # of 12 landmarks
    model, errors = nearest_samples_path(train, validation)
    assert list(errors) == [1, 2, 3, 5, 8, 12, 20, 30] and model.k in errors
    _, errors = nearest_genes_path(products(train), validation)
    assert list(errors) == [1, 2, 3, 5, 8, 12]
    for refused in ((31, 50), (0, 3)):
        with pytest.raises(DgexError, match=f"^{refused[0]} nearest neighbours"):
            nearest_samples_path(train, validation, refused)
    with pytest.raises(DgexError, match="^13 nearest neighbours .* 12 landmarks"):
        nearest_genes_path(products(train), validation, (13,))


def test_a_mae_that_is_not_finite_is_refused():
    train, validation = problem()
    train.target[:] = np.inf
    with pytest.raises(DgexError, match="^validation MAE is inf for candidate 1; "):
        nearest_samples_path(train, validation)


@pytest.mark.parametrize("k", [0, 61])
def test_neighbours_that_cannot_be_are_refused(k):
    train, validation = problem()
    with pytest.raises(DgexError, match=f"^{k} nearest neighbours .* 60 training samples; choose 1 to 60$"):
        NearestSamples(train, k).predict(validation.landmark)
    with pytest.raises(DgexError, match="12 landmarks"):
        nearest_genes(products(train), k)


def test_on_the_compendium(compendium):
    train, validation = compendium
    model = nearest_genes(products(train), 20)
    _, nearest = (
        NearestNeighbors(n_neighbors=20).fit(train.landmark.T.astype("f8")).kneighbors(np.nan_to_num(train.target.T))
    )
    expected = validation.landmark.astype(np.float64)[:, nearest].mean(axis=2)
    np.testing.assert_allclose(model.predict(validation.landmark), expected, atol=1e-4)

    peer = KNeighborsRegressor(8).fit(train.landmark.astype(np.float64), np.nan_to_num(train.target).astype(np.float64))
    expected = peer.predict(validation.landmark.astype(np.float64))
    np.testing.assert_allclose(NearestSamples(train, 8).predict(validation.landmark), expected, atol=1e-4)
