"""Lasso regression against closed forms and scikit-learn's coordinate descent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso

from dgex import parallel
from dgex.baselines import lasso
from dgex.baselines.lasso import duality_gap, finish, lasso_models, lasso_path, soft_threshold, solve
from dgex.baselines.sufficient_statistics import products
from dgex.batches import Samples
from dgex.errors import DgexError


def problem(samples, landmarks=20, targets=6):
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(landmarks, targets)) * (rng.random((landmarks, targets)) < 0.3)
    mixing = rng.normal(size=(landmarks, landmarks)) / 3 + np.eye(landmarks)

    def draw(n):
        x = rng.normal(0.5, 1, (n, landmarks)) @ mixing
        y = x @ weights + rng.normal(2, 1, (n, targets))
        return Samples(x.astype("f4"), y.astype("f4"), parallel.devices(2), n)

    return draw(samples), draw(30)


def scikit_learn(train, penalty):
    peer = Lasso(alpha=penalty, tol=1e-10, max_iter=100_000)
    return peer.fit(train.landmark.astype(np.float64), train.target.astype(np.float64))


def test_soft_threshold():
    found = soft_threshold(jnp.array([-3.0, -0.5, 0.0, 0.5, 3.0]), 1.0)
    np.testing.assert_array_equal(found, [-2, 0, 0, 0, 2])


def test_uncorrelated_landmarks_are_thresholded():
    # With x^T x / n = I each weight is its covariance with the target, moved towards zero by the penalty.
    cross = np.array([[2.0, -0.3], [-0.7, 0.05], [0.1, 1.0]], "f4")
    weights, share = jax.jit(solve)(
        jnp.eye(3), jnp.asarray(cross), jnp.array([10.0, 10.0]), 1.0, 0.25, jnp.zeros((3, 2)), jnp.float32(1e-6)
    )
    np.testing.assert_allclose(weights, [[1.75, -0.05], [-0.45, 0], [0, 0.75]], atol=1e-6)
    assert share <= 1e-6


@pytest.mark.parametrize("samples", [200, 15])
@pytest.mark.parametrize("penalty", [0.02, 0.2])
def test_lasso_matches_scikit_learn(samples, penalty):
    train, _ = problem(samples)
    ((value, model),) = lasso_models(products(train), [penalty])
    peer = scikit_learn(train, penalty)
    assert value == penalty
    np.testing.assert_allclose(model.weights, peer.coef_.T, atol=1e-6)
    np.testing.assert_array_equal(model.weights == 0, peer.coef_.T == 0)
    np.testing.assert_allclose(model.intercept, peer.intercept_, atol=1e-6)


def test_finish_solves_what_it_can_and_keeps_the_rest():
    # The first two landmarks are copies of each other. By hand: 1 - 0.25 of the third, and a system that is singular.
    gram = np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    cross = np.array([[0.1, 1.0], [0.1, 1.0], [1.0, 0.1]])
    start = np.array([[0.0, 0.3], [0.0, 0.4], [0.7, 0.0]])
    weights, exact = finish(gram, cross, 0.25, start)
    np.testing.assert_allclose(weights, [[0, 0.3], [0, 0.4], [0.75, 0]], rtol=1e-15)
    assert exact.tolist() == [True, False]


def test_finish_adds_and_drops_landmarks():
    gram, cross = np.eye(3), np.array([[2.0], [-0.7], [0.1]])
    start = np.array([[0.0], [0.0], [5.0]])
    weights, _ = finish(gram, cross, 0.25, start)
    np.testing.assert_allclose(weights, [[1.75], [-0.45], [0]], rtol=1e-15)


def test_duality_gap_is_that_of_its_definition():
    train, _ = problem(40)
    sums, penalty = products(train), 0.1
    weights = np.random.default_rng(0).normal(0, 0.1, sums.cross.shape)
    x, y = train.landmark - sums.landmark_mean, train.target - sums.target_mean
    residual = y - x @ weights
    primal = (residual**2).mean(0) / 2 + penalty * np.abs(weights).sum(0)
    dual_point = residual * np.minimum(1, penalty / np.abs(x.T @ residual / 40).max(0))
    dual = (y**2).mean(0) / 2 - ((y - dual_point) ** 2).mean(0) / 2
    arguments = (sums.centred_gram / 40, sums.centred_cross / 40, (y**2).mean(0), weights, penalty)
    found = jax.jit(duality_gap)(*(jnp.asarray(argument, jnp.float32) for argument in arguments))
    np.testing.assert_allclose(found, primal - dual, rtol=1e-4)
    assert (np.asarray(found) > 0).all()


def test_a_large_penalty_leaves_the_mean_predictor():
    train, _ = problem(50)
    sums = products(train)
    largest = np.abs(sums.centred_cross / 50).max()
    ((_, model),) = lasso_models(sums, [largest * 1.001])
    assert not model.weights.any()
    np.testing.assert_allclose(model.intercept, train.target.mean(0, dtype=np.float64), rtol=1e-6)


def test_penalty_is_chosen_on_validation():
    train, validation = problem(25)
    penalties = (1.0, 0.3, 0.1, 0.03, 0.01)
    model, errors = lasso_path(products(train), validation, penalties)
    scores = {
        p: np.abs(scikit_learn(train, p).predict(validation.landmark) - validation.target).mean() for p in penalties
    }
    assert errors == pytest.approx(scores, rel=1e-5)
    best = min(scores, key=scores.get)
    assert best == min(errors, key=errors.get) and best not in (penalties[0], penalties[-1])
    np.testing.assert_allclose(
        model.predict(validation.landmark), scikit_learn(train, best).predict(validation.landmark), atol=1e-4
    )


def test_an_unfinished_solution_is_refused(monkeypatch):
    train, _ = problem(15, landmarks=19)  # a shape of its own: what is compiled for it keeps this limit
    monkeypatch.setattr(lasso, "LIMIT", 40)
    monkeypatch.setattr(lasso, "TOLERANCES", (1e-8,))
    with pytest.raises(DgexError, match="penalty 1e-05 within 40 steps .* not 1e-08; use a larger penalty$"):
        list(lasso_models(products(train), [1e-5]))


def test_lifted_over_devices_it_is_the_same():
    train, _ = problem(60)
    sums = products(train)
    arrays = [sums.centred_gram / 60, sums.centred_cross / 60, train.target.var(0), np.float64(20)]
    arrays = [jnp.asarray(a, jnp.float32) for a in arrays]
    rest = jnp.float32(0.1), jnp.zeros(sums.cross.shape), jnp.float32(1e-4)
    expected, _ = jax.jit(solve)(*arrays, *rest)
    devices = parallel.devices(4)

    def mean_solution(gram, cross, tolerance):
        weights, _ = solve(gram, cross, *arrays[2:], *rest[:2], tolerance)
        return parallel.mean_over_devices(weights)

    found = parallel.lift(mean_solution, devices, shared=2)(*arrays[:2], jnp.full(4, rest[2]))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("penalty", [0.1, 0.03])
def test_on_the_compendium(compendium, penalty):
    train, validation = compendium
    chosen = np.linspace(0, train.target.shape[1] - 1, 40).astype(int)
    few = Samples(train.landmark, train.target[:, chosen], train.devices, train.block)
    ((_, model),) = lasso_models(products(few), [penalty])
    expected = scikit_learn(few, penalty).predict(validation.landmark.astype(np.float64))
    np.testing.assert_allclose(model.predict(validation.landmark), expected, atol=1e-5)


def test_what_is_called_exact_is_a_minimum():
    """From afar more landmarks seem to be needed than there are samples: equations as good as singular, with any
    solution up to 1e16.
    """
    random = np.random.default_rng(0)
    found = 0
    for _ in range(100):
        landmark, target = random.normal(size=(8, 20)), random.normal(size=(8, 3))
        landmark, target = landmark - landmark.mean(axis=0), target - target.mean(axis=0)
        gram, cross = landmark.T @ landmark / 8, landmark.T @ target / 8
        near = Lasso(0.02, tol=1e-4, max_iter=100_000, fit_intercept=False).fit(landmark, target).coef_.T
        start = near if random.random() < 0.5 else 0.1 * random.normal(size=near.shape)
        weights, exact = finish(gram, cross, 0.02, start)
        gradient = (cross - gram @ weights)[:, exact]
        np.testing.assert_array_less(np.abs(gradient), 0.02 + 1e-9)
        assert np.abs(weights).max() < 100
        found += exact.sum()
    assert found > 10
