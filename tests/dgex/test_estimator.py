"""The scikit-learn regressor: scikit-learn's own checks, units, reproducibility, pipelines, and real data."""

import importlib
import pickle
import sys

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from dgex.errors import DgexError
from dgex.estimator import TAAFRegressor
from dgex.inference import ROWS
from dgex.protocols import LOSSES

# Of scikit-learn's checks; most others compile a network of another shape each, a minute together on a busy machine.
ALWAYS = (
    "check_dict_unchanged",
    "check_estimators_nan_inf",
    "check_estimators_pickle",
    "check_estimators_unfitted",
    "check_fit2d_1sample",
    "check_fit_idempotent",
    "check_methods_subset_invariance",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_regressor_multioutput",
    "check_regressors_train",
    "check_set_params",
)


def checks():
    for _, check in estimator_checks_generator(TAAFRegressor()):
        name = check.func.__name__
        yield pytest.param(check, id=name, marks=() if name in ALWAYS else pytest.mark.slow)


@pytest.mark.parametrize("check", list(checks()))
def test_scikit_learn_checks(check):
    check(TAAFRegressor())


def problem(samples=100):
    """Three features in units of their own; two targets, one of them no linear function of the features."""
    random = np.random.default_rng(0)
    x = random.normal([0, 1e3, -1e-3], [1, 50, 1e-4], (samples, 3))
    z = (x - [0, 1e3, -1e-3]) / [1, 50, 1e-4]
    return x, np.stack([z @ [1, 2, -1], 1e4 + 100 * z[:, 0] ** 2], axis=1)


def quick(**settings):
    return TAAFRegressor(**{"hidden": (32,), "learning_rate": 1e-2, "epochs": 30, "random_state": 0, **settings})


@pytest.fixture(scope="module")
def fitted():
    return quick().fit(*problem())


def test_it_learns_what_no_linear_model_can():
    x, y = problem(200)
    train, new = slice(0, 100), slice(100, 200)
    model = quick(epochs=200).fit(x[train], y[train])
    assert Ridge().fit(x[train], y[train, 1]).score(x[new], y[new, 1]) < 0.1
    of_each = 1 - np.sum((model.predict(x[new]) - y[new]) ** 2, 0) / np.sum((y[new] - y[new].mean(0)) ** 2, 0)
    assert of_each.min() > 0.6
    assert model.score(x[new], y[new]) == pytest.approx(of_each.mean())


@pytest.mark.parametrize("offset", [0, 2.0**20])
def test_units_do_not_matter(fitted, offset):
    x, y = problem()
    other = quick().fit(x * 1024, y / 4096 + offset)  # powers of two: exact
    expected = fitted.predict(x) / 4096 + offset
    np.testing.assert_allclose(other.predict(x * 1024), expected, rtol=0 if offset else 1e-12, atol=1e-6 * bool(offset))


def test_one_target_alone_is_a_vector():
    x, y = problem()
    column, vector = quick().fit(x, y[:, :1]), quick().fit(x, y[:, 0])
    assert column.predict(x).shape == (100, 1)
    np.testing.assert_array_equal(vector.predict(x), column.predict(x)[:, 0])


def test_held_out_samples_choose_the_epoch_and_nothing_else():
    x, y = problem()
    model = quick(validation_fraction=0.3).fit(x, y)
    assert model.feature_scaler_.n_samples_seen_ == model.target_scaler_.n_samples_seen_ == 70
    errors = [row.validation_mae for row in model.log_]
    assert len(errors) == 30 and model.best_epoch_ == 1 + int(np.argmin(errors))
    # The parameters are those of that epoch: stopped there, training gives the same.
    stopped = quick(validation_fraction=0.3, epochs=model.best_epoch_).fit(x, y)
    np.testing.assert_array_equal(stopped.predict(x), model.predict(x))


def test_a_random_state_makes_it_reproducible(fitted):
    x, y = problem()
    np.testing.assert_array_equal(clone(fitted).fit(x, y).predict(x), fitted.predict(x))
    assert not np.array_equal(quick(random_state=1).fit(x, y).predict(x), fitted.predict(x))


def test_rows_do_not_depend_on_each_other(fitted):
    x, _ = problem(2 * ROWS + 3)
    together = fitted.predict(x)
    np.testing.assert_array_equal(together, np.concatenate([fitted.predict(row[None]) for row in x]))


def test_pickle(fitted):
    x, _ = problem()
    copy = pickle.loads(pickle.dumps(fitted))
    assert all(type(leaf) is np.ndarray for layer in copy.params_.values() for leaf in layer.values())
    np.testing.assert_array_equal(copy.predict(x), fitted.predict(x))


@pytest.mark.parametrize(
    ("taaf", "expected"),
    [
        ("none", {"H0", "outputs"}),
        ("hidden", {"H0", "H0_taaf", "outputs"}),
        ("all", {"H0", "H0_taaf", "outputs", "outputs_taaf"}),
    ],
)
def test_where_taafs_stand(taaf, expected):
    assert set(quick(taaf=taaf, epochs=1).fit(*problem()).params_) == expected


def test_in_a_pipeline():
    x, y = problem(200)
    pipeline = make_pipeline(MinMaxScaler(), quick())
    assert cross_val_score(pipeline, x, y, cv=2, error_score="raise").min() > 0.5
    search = GridSearchCV(pipeline, {"taafregressor__epochs": [1, 30]}, cv=2, error_score="raise").fit(x, y)
    assert search.best_params_ == {"taafregressor__epochs": 30}


def test_scikit_learn_set_to_data_frames(fitted):
    x, y = problem()
    with sklearn.config_context(transform_output="pandas"):
        np.testing.assert_array_equal(quick().fit(x, y).predict(x), fitted.predict(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "step"}, "unknown activation 'step'"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"learning_rate": 1e30}, "the loss is not finite in epoch .* use a lower learning rate"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(DgexError, match=message):
        quick(**settings).fit(*problem())


def test_without_scikit_learn(monkeypatch):
    monkeypatch.delitem(sys.modules, "dgex.estimator")
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(ImportError, match=r'needs scikit-learn.*pip install "dgex\[sklearn\]"'):
        importlib.import_module("dgex.estimator")


def test_on_the_compendium(compendium):
    """943 landmarks to 200 genes: far from the mean predictor, and near ridge regression at its best penalty."""
    train, validation = compendium

    def error(model):
        # scikit-learn's regressors take no gaps.
        prediction = model.fit(train.landmark, np.nan_to_num(train.target)).predict(validation.landmark)
        return float(LOSSES["mae"](prediction, validation.target).mean())

    network = error(TAAFRegressor((300,), dropout=0.5, epochs=60, random_state=0))
    ridge = error(Ridge(alpha=1000))  # of powers of ten the best on these very samples
    assert network < 0.9 * error(DummyRegressor(strategy="mean"))
    assert network < 1.1 * ridge
