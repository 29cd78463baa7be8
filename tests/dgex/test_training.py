"""Training: one step by hand, a loop of steps, the best epoch, the plateau rule."""

import itertools
import math
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgex import parallel, stacked_training, training
from dgex.batches import Samples, place
from dgex.errors import DgexError
from dgex.log import read_log
from dgex.metrics import finalize
from dgex.networks import PRESETS, NetworkConfig
from dgex.protocols import DGEX, Plateau, Protocol
from dgex.stacked_training import fit_many
from dgex.training import evaluate, fit, init_state, make_train_step
from dgex.training_result import DivergedError

NETWORK = NetworkConfig(6, 4, (8,), "tanh", taaf="hidden", dropout=0.1)
PROTOCOL = Protocol("keras_nadam", "mae", 3e-2, batch=16, epochs=12)


def arrays(samples, scale=1.0, seed=0):
    """Landmarks and a saturating function of them."""
    weights = np.random.default_rng(42).normal(size=(6, 4))
    landmark = np.random.default_rng(seed).normal(size=(samples, 6))
    return landmark.astype("f4"), (scale * np.tanh(landmark @ weights)).astype("f4")


def forward(params, landmark):
    """NETWORK's prediction in numpy float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    four = params["H0_taaf"]
    hidden = four["alpha"] * np.tanh(four["beta"] * (landmark @ params["H0"]["kernel"]) + four["gamma"]) + four["delta"]
    return hidden @ params["outputs"]["kernel"] + params["outputs"]["bias"]


@pytest.fixture(scope="module")
def train():
    return place(*arrays(50), parallel.devices(1))


@pytest.fixture(scope="module")
def validation():
    """Half of the training function, so that training passes the best network on its way."""
    return place(*arrays(23, scale=0.5, seed=1), parallel.devices(1))


@pytest.fixture(scope="module")
def run(train, validation, tmp_path_factory):
    """A whole run, and its folder."""
    directory = tmp_path_factory.mktemp("run") / "fit"
    return fit(NETWORK, PROTOCOL, train, validation, 0, directory, checkpoint_seconds=0), directory


# Derivatives of the loss by the prediction, for 5 samples of 2 genes.
SLOPES = {
    "mae": lambda error: np.sign(error) / (5 * 2),
    "mse": lambda error: 2 * error / (5 * 2),
    "sse": lambda error: 2 * error / 5,
}
LOSSES = {"mae": lambda error: np.abs(error).mean(), "mse": lambda error: (error**2).mean(),
          "sse": lambda error: (error**2).sum(1).mean()}  # fmt: skip


@pytest.mark.parametrize("loss", SLOPES)
def test_one_step_of_a_linear_network(loss):
    """p - rate * x^T slope, with two rows of padding that must not count."""
    rng = np.random.default_rng(0)
    state = init_state(NetworkConfig(3, 2, ()), "sgd", 0).replace(learning_rate=jnp.float32(0.1))
    x, y = rng.normal(size=(7, 3)).astype("f4"), rng.normal(size=(7, 2)).astype("f4")
    x[5:] = 1e3
    weight = np.array([1, 1, 1, 1, 1, 0, 0], "f4")
    step = jax.jit(make_train_step(NetworkConfig(3, 2, ()), "sgd", loss))
    after, metrics = step(state, x, y, np.arange(7, dtype=np.int32), weight)

    kernel, bias = (np.asarray(state.params["outputs"][name], np.float64) for name in ("kernel", "bias"))
    error = x[:5] @ kernel + bias - y[:5]
    slope = SLOPES[loss](error)
    np.testing.assert_allclose(after.params["outputs"]["kernel"], kernel - 0.1 * x[:5].T @ slope, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.params["outputs"]["bias"], bias - 0.1 * slope.sum(0), rtol=1e-5, atol=1e-6)
    assert metrics["loss"] == pytest.approx(LOSSES[loss](error), rel=1e-5)
    assert metrics["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert metrics["count"] == 5
    assert (int(after.step), int(after.seed), after.learning_rate) == (1, 0, np.float32(0.1))


def test_full_size_step_without_memory():
    """943 -> 9000 x 3 -> 9520 under the D-GEX protocol, 257 million parameters: shapes and dtypes only."""
    config = PRESETS["dgex-3x9000"]
    state = jax.eval_shape(lambda: init_state(config, DGEX.optimizer, 0))
    batch = [
        jax.ShapeDtypeStruct(shape, dtype)
        for shape, dtype in [((200, 943), "f4"), ((200, 9520), "f4"), ((200,), "i4"), ((200,), "f4")]
    ]
    after, metrics = jax.eval_shape(make_train_step(config, DGEX.optimizer, DGEX.loss), state, *batch)
    assert after == state
    assert {leaf.dtype for leaf in jax.tree.leaves(after.params)} == {np.dtype(np.float32)}
    assert sum(leaf.size for leaf in jax.tree.leaves(after.params)) == 944 * 9000 + 2 * 9001 * 9000 + 9001 * 9520
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in metrics.items()} == {
        name: ((), np.float32) for name in ("loss", "mae", "count")
    }


def test_dropout_follows_seed_step_and_row():
    config = NetworkConfig(3, 2, (16,), dropout=0.5)
    initial = jax.jit(init_state, static_argnums=(0, 1))(config, "sgd", 0)
    step = jax.jit(make_train_step(config, "sgd", "mse"))
    x, y, ones = np.ones((4, 3), "f4"), np.zeros((4, 2), "f4"), np.ones(4, "f4")

    def loss(seed=0, done=0, row=(0, 1, 2, 3)):
        state = initial.replace(seed=jnp.uint32(seed), step=jnp.int32(done))
        return float(step(state, x, y, np.array(row, np.int32), ones)[1]["loss"])

    assert loss() == loss()
    assert loss() == pytest.approx(loss(row=(2, 0, 3, 1)), rel=1e-6)  # equal samples: the masks only change places
    assert len({loss(), loss(seed=1), loss(done=1), loss(row=(4, 5, 6, 7))}) == 4


def test_loss_falls(run):
    result, _ = run
    losses = [row.train_loss for row in result.log]
    assert len(losses) == 12
    assert losses[-1] < 0.5 * losses[0]
    assert all(math.isnan(row.monitor_mae) and row.learning_rate == 3e-2 for row in result.log)
    assert [row.train_mae for row in result.log] == losses  # the loss is the MAE


def test_best_epoch_is_returned(run, validation):
    result, _ = run
    errors = [row.validation_mae for row in result.log]
    assert 1 < result.best_epoch < len(errors)
    after = errors[result.best_epoch - 1 :]
    assert after != sorted(after)  # the error falls again later, but not as low
    assert result.best_epoch == 1 + np.argmin(errors)
    mae = np.abs(forward(result.params, validation.landmark) - validation.target).mean()
    assert mae == pytest.approx(min(errors), rel=1e-5)
    assert all(abs(mae / error - 1) > 1e-4 for error in errors if error != min(errors))


def test_loss_of_the_first_epoch_is_the_mean_over_samples(train, validation):
    """With a rate too small to change anything every step has the initial parameters; 50 = 3 * 16 + 2."""
    config, protocol = replace(NETWORK, dropout=0.0), replace(PROTOCOL, learning_rate=1e-12, loss="mse", epochs=1)
    (row,) = fit(config, protocol, train, validation, 0).log
    error = forward(init_state(config, "sgd", 0).params, train.landmark) - train.target
    assert row.train_loss == pytest.approx((error**2).mean(), rel=1e-5)
    assert row.train_mae == pytest.approx(np.abs(error).mean(), rel=1e-5)


def test_fit_is_a_loop_of_steps(train, assert_trees_close):
    """Written out with the step alone, in the order that seed and epoch draw."""
    protocol = Protocol("sgd", "mse", 0.1, batch=16, epochs=2)
    result = fit(NETWORK, protocol, train, train, 5)
    assert result.best_epoch == 2  # so it returns the last parameters
    state = init_state(NETWORK, "sgd", 5).replace(learning_rate=jnp.float32(0.1))
    step = jax.jit(make_train_step(NETWORK, "sgd", "mse"))
    for epoch in range(2):
        order = np.random.default_rng([5, epoch]).permutation(50)
        for first in range(0, 50, 16):
            chosen = order[first : first + 16]
            row, weight = np.arange(len(chosen), dtype=np.int32), np.ones(len(chosen), "f4")
            state, _ = jax.block_until_ready(step(state, train.landmark[chosen], train.target[chosen], row, weight))
    assert_trees_close(result.params, state.params, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("devices", "batch"), [(1, 8), (3, 8), (4, 2)])
def test_evaluation_covers_every_sample_once(run, validation, devices, batch):
    result, _ = run
    samples = place(validation.landmark, validation.target, parallel.devices(devices))
    sums = jax.block_until_ready(evaluate(result.params, samples, NETWORK, batch))
    prediction = forward(result.params, samples.landmark)
    np.testing.assert_array_equal(sums.count, 23)
    scores = finalize(sums)
    np.testing.assert_allclose(scores.mae, np.abs(prediction - samples.target).mean(0), rtol=1e-5)
    expected = [np.corrcoef(prediction[:, gene], samples.target[:, gene])[0, 1] for gene in range(4)]
    np.testing.assert_allclose(scores.pearson, expected, rtol=1e-5)


def test_same_seed_same_bits(run, train, validation, assert_trees_close):
    result, _ = run
    again = fit(NETWORK, PROTOCOL, train, validation, 0)
    assert_trees_close(again.params, result.params)
    assert str(again.log) == str(result.log)
    other = fit(NETWORK, replace(PROTOCOL, epochs=1), train, validation, 1)
    assert other.log[0].train_loss != result.log[0].train_loss


@pytest.mark.parametrize("block", [49, 20])
def test_streaming_trains_the_same_network(run, train, validation, block, assert_trees_close):
    result, _ = run
    streamed = Samples(train.landmark, train.target, train.devices, block)
    again = fit(NETWORK, PROTOCOL, streamed, validation, 0)
    assert_trees_close(again.params, result.params)
    assert str(again.log) == str(result.log)


def test_plateau_rule(train):
    """A rate so high that the error rises again and again. With validation on the monitor, the two columns agree."""
    config, plateau = replace(NETWORK, dropout=0.0), Plateau(0.5, 1e-5, monitor_samples=len(train))
    protocol = Protocol("dgex_sgd", "mae", 0.5, batch=16, epochs=12, plateau=plateau)
    log = fit(config, protocol, train, train, 0).log
    monitor = [row.monitor_mae for row in log]
    np.testing.assert_allclose(monitor, [row.validation_mae for row in log], rtol=1e-5)
    rates = [0.5]
    for before, after in itertools.pairwise(monitor):
        rates.append(rates[-1] * (0.5 if after > before else 1))
    # The rule acts from the epoch after the rise on.
    assert [row.learning_rate for row in log] == pytest.approx([0.5, *rates[:-1]])
    assert 2 <= sum(after < before for before, after in itertools.pairwise(rates[:-1])) < 10


def test_monitor_is_a_fixed_part_of_the_training_samples(train, validation):
    plateau = Plateau(monitor_samples=10)
    protocol = Protocol("dgex_sgd", "mae", 1e-12, batch=16, epochs=3, plateau=plateau)
    log = fit(NETWORK, protocol, train, validation, 0).log
    assert len({row.monitor_mae for row in log}) == 1  # nothing is learnt, so only the choice of samples could change
    errors = np.abs(forward(init_state(NETWORK, "sgd", 0).params, train.landmark) - train.target).mean(1)
    assert np.sort(errors)[:10].mean() < log[0].monitor_mae < np.sort(errors)[-10:].mean()


def test_non_finite_loss_names_the_epoch(train, validation, tmp_path):
    protocol = Protocol("sgd", "sse", 50.0, batch=16, epochs=30)
    config = NetworkConfig(6, 4, (8,), "relu")
    rows = []
    with pytest.raises(DivergedError) as stopped:
        fit(config, protocol, train, validation, 7, tmp_path, on_epoch=lambda row, *_: rows.append(row))
    assert f"not finite in epoch {len(rows) + 1} (seed 7, learning rate 50)" in str(stopped.value)
    assert str(read_log(tmp_path / "log.csv", len(rows))) == str(rows)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_what_training_had_before_it_diverged(train, validation, tmp_path, monkeypatch, seeds, assert_trees_close):
    """The fits of the three epochs before, as if no more had been asked for."""
    expected = fit_many(NETWORK, replace(PROTOCOL, epochs=3), train, validation, seeds)
    for module in (training, stacked_training):
        monkeypatch.setattr(module, "learning_rate", lambda protocol, maes: 3e-2 if len(maes) < 3 else 1e38)
    with pytest.raises(DivergedError, match="in epoch 4 ") as stopped:
        fit_many(NETWORK, PROTOCOL, train, validation, seeds)
    for found, fitted in zip(stopped.value.fits, expected, strict=True):
        assert len(found.log) == 3 and str(found.log) == str(fitted.log)
        assert_trees_close(found.params, fitted.params)


def test_nothing_before_it_diverged(train, validation, monkeypatch):
    monkeypatch.setattr(training, "learning_rate", lambda protocol, maes: 1e38)
    with pytest.raises(DivergedError) as stopped:
        fit(NETWORK, PROTOCOL, train, validation, 0)
    assert [found.log for found in stopped.value.fits] == [[]]


@pytest.mark.parametrize("resume", [False, True])
def test_checkpoints_of_nobody_are_not_taken_for_its_own(run, train, validation, tmp_path, resume):
    """What a killed removal of a finished run may leave; of several folders none is begun."""
    left = tmp_path / "1"
    shutil.copytree(run[1], left)
    (left / "fit.json").unlink()
    before = {path: path.read_bytes() for path in left.rglob("*") if path.is_file()}
    assert len(before) > 5
    for seeds, directories in ((0,), [left]), ((0, 1), [tmp_path / "0", left]):
        with pytest.raises(DgexError, match=f"^{left}: has checkpoints of an unknown run; delete it or move it away$"):
            fit_many(NETWORK, PROTOCOL, train, validation, seeds, directories, resume=resume)
    assert {path: path.read_bytes() for path in left.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "0").exists()
