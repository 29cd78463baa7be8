"""Arc-cosine kernel ridge regression against random features, closed forms and plain linear systems."""

import numpy as np
import pytest

from dgex import parallel
from dgex.baselines import kernel
from dgex.baselines.kernel import PENALTIES, arc_cosine, arc_cosine_path, arc_cosine_ridge
from dgex.batches import Samples
from dgex.errors import DgexError


def samples_of(x, y):
    return Samples(np.asarray(x, "f4"), np.asarray(y, "f4"), parallel.devices(1), len(x))


def problem(seed=0):
    """Targets of rectified sums of 6 landmarks, and noise."""
    rng = np.random.default_rng(seed)
    weights, out = rng.normal(size=(6, 10)), rng.normal(size=(10, 4))

    def draw(n):
        x = rng.normal(0.2, 1, (n, 6))
        return samples_of(x, np.maximum(x @ weights, 0) @ out + rng.normal(3, 2, (n, 4)))

    return draw(50), draw(40)


def peer_kernel(x, y):
    """The kernel pair by pair, as Cho and Saul write it."""
    result = np.empty((len(x), len(y)))
    for i, a in enumerate(np.asarray(x, "f8")):
        for j, b in enumerate(np.asarray(y, "f8")):
            t = np.arccos(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))
            result[i, j] = np.sqrt((a @ a) * (b @ b)) / np.pi * (np.sin(t) + (np.pi - t) * np.cos(t))
    return result


def peer_prediction(train, penalty, landmark):
    """The solution of the whole linear system, in numpy."""
    target = np.nan_to_num(train.target.astype("f8"))
    matrix = peer_kernel(train.landmark, train.landmark) + penalty * np.eye(len(target))
    weights = np.linalg.solve(matrix, target - target.mean(0))
    return target.mean(0) + peer_kernel(landmark, train.landmark) @ weights


def test_random_relu_features_converge_to_the_kernel():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(3, 5)), rng.normal(size=(4, 5))
    features = rng.normal(size=(5, 200_000))
    relu_x, relu_y = np.maximum(x @ features, 0), np.maximum(y @ features, 0)
    terms = 2 * relu_x[:, None] * relu_y
    standard_error = terms.std(axis=2) / np.sqrt(features.shape[1])
    assert standard_error.max() < 0.05
    assert (np.abs(terms.mean(axis=2) - arc_cosine(x, y)) < 4 * standard_error).all()


def test_kernel_of_equal_opposite_orthogonal_and_zero_profiles():
    x = np.array([[3.0, 0.0], [0.0, 0.0]])
    y = np.array([[3.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(arc_cosine(x, y), [[9, 0, 6 / np.pi, 0], [0, 0, 0, 0]], rtol=1e-14, atol=1e-14)


def test_two_opposite_profiles_in_closed_form():
    # K is the identity, so the weights are +-d / (1 + penalty), d half the difference of the targets. At an angle t
    # from the first, k(t) - k(pi - t) = cos t: the prediction is mean + d |x| cos t / (1 + penalty).
    model = arc_cosine_ridge(samples_of([[1, 0], [-1, 0]], [[7], [3]]), 3.0)
    angle = np.array([0, 0.4, np.pi / 2, 2.5, np.pi])
    new = 1.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = model.predict(new)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], 5 + 2 * 1.5 * np.cos(angle) / 4, rtol=1e-6)


@pytest.mark.parametrize("penalty", [0.1, 30.0])
def test_solution_of_the_linear_system(monkeypatch, penalty):
    monkeypatch.setattr(kernel, "BATCH", 17)  # divides neither the 50 nor the 40 samples
    train, validation = problem()
    found = arc_cosine_ridge(train, penalty).predict(validation.landmark)
    np.testing.assert_allclose(found, peer_prediction(train, penalty, validation.landmark), rtol=1e-5, atol=1e-5)


def test_a_missing_target_counts_as_zero_and_leaves_the_others_as_they_are():
    train, validation = problem()
    full = arc_cosine_ridge(train, 1.0).predict(validation.landmark)
    train.target[[3, 8, 20], 1] = np.nan
    found = arc_cosine_ridge(train, 1.0).predict(validation.landmark)
    expected = peer_prediction(train, 1.0, validation.landmark)
    assert np.abs(expected - full)[:, 1].min() > 1e-4
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.delete(found, 1, axis=1), np.delete(full, 1, axis=1))


def test_the_penalty_is_chosen_on_validation_values_that_were_measured(monkeypatch):
    monkeypatch.setattr(kernel, "BATCH", 17)
    train, validation = problem()
    validation.target[:7, 2] = np.nan
    penalties = (0.01, 1.0, 10.0, 1e5)
    model, errors = arc_cosine_path(train, validation, penalties)
    predicted = {p: peer_prediction(train, p, validation.landmark) for p in penalties}
    scores = {p: np.nanmean(np.abs(value - validation.target)) for p, value in predicted.items()}
    assert errors == pytest.approx(scores, rel=1e-6)
    best = min(scores, key=scores.get)
    assert best in (1.0, 10.0)  # neither the first nor the last
    np.testing.assert_allclose(model.predict(validation.landmark), predicted[best], rtol=1e-5, atol=1e-5)


def test_too_many_profiles_are_refused(monkeypatch):
    train, validation = problem()
    monkeypatch.setattr(kernel, "LARGEST", 50)
    assert len(arc_cosine_ridge(train, 1.0).weights) == 50
    monkeypatch.setattr(kernel, "LARGEST", 49)
    with pytest.raises(DgexError, match="^50 training profiles are too many for .*; give at most 49, or use ridge"):
        arc_cosine_path(train, validation)


def test_a_mae_that_is_not_finite_is_refused():
    train, validation = problem()
    validation.target[0, 0] = np.inf
    with pytest.raises(DgexError, match="^validation MAE is inf for candidate 30; "):
        arc_cosine_path(train, validation)


def test_on_the_compendium(compendium):
    train, validation = compendium
    model, errors = arc_cosine_path(train, validation)
    assert list(errors) == list(PENALTIES)
    assert min(errors, key=errors.get) in (100.0, 300.0)
    x = train.landmark.astype("f8")
    gram, lengths = x @ x.T, np.linalg.norm(x, axis=1)
    angle = np.arccos(np.clip(gram / np.outer(lengths, lengths), -1, 1))
    matrix = np.outer(lengths, lengths) / np.pi * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
    target = np.nan_to_num(train.target.astype("f8"))
    penalty = min(errors, key=errors.get)
    fitted = target.mean(0) + matrix @ np.linalg.solve(matrix + penalty * np.eye(len(x)), target - target.mean(0))
    np.testing.assert_allclose(model.predict(train.landmark), fitted, atol=1e-4)
