"""A refit: the model of training and validation samples with what the choice has chosen, by hand and after a stop."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dgex.baselines import kernel
from dgex.baselines.linear import PENALTIES
from dgex.errors import DgexError
from dgex.files.run_directory import InUseError, sole_use
from dgex.networks import forward
from dgex.protocols import RESIDUAL
from dgex.training import init_state
from experiments.trials import running
from experiments.trials.loading import Loaded, random_subset
from experiments.trials.models import ModelSpec
from experiments.trials.outcome import Outcome, identity, is_done, read, write
from experiments.trials.running import run
from experiments.trials.sources import Sources, find_sources
from experiments.trials.trial import Trial

RIDGE = Trial("fold-1", ModelSpec("ridge", "ridge regression"), None, targets=12)
PLAIN = {"hidden": (4,), "activation": "sigmoid", "taaf": "hidden", "dropout": 0.25}
LINEAR = {**PLAIN, "linear": True, "linear_rate": 0.1}
NETWORK = Trial("fold-1", ModelSpec("small", "small", LINEAR), replace(RESIDUAL, batch=32, epochs=4), 3, targets=12)
BESIDE_KERNEL = {**PLAIN, "linear": True, "linear_rate": 0.0, "kernel": 1}
COLUMNS = random_subset(40, 12)


@pytest.fixture(scope="module")
def loaded(sources: Sources) -> Loaded:
    return Loaded(sources.folds[0], tuple(jax.devices()[:1]))


def refit_of(trial: Trial) -> Trial:
    return replace(trial, refit=True)


def joined(data: Loaded, platform: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Training samples, then validation samples, of a platform or all, float64."""
    dataset = data.dataset
    parts = []
    for code, split in enumerate(("train", "validation")):
        kept = slice(None) if platform is None else dataset.platform[dataset.split == code] == platform
        parts.append([values[kept] for values in dataset.zscores(split)])
    landmark, target = (np.concatenate(side).astype(float) for side in zip(*parts, strict=True))
    return landmark, target[:, COLUMNS]


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights and intercept in closed form."""
    centred = x - x.mean(0)
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ (y - y.mean(0)))
    return weights, y.mean(0) - x.mean(0) @ weights


def kernel_ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> Callable[[np.ndarray], np.ndarray]:
    """Arc-cosine kernel ridge regression in closed form."""

    def products(a: np.ndarray) -> np.ndarray:
        lengths = np.sqrt((a**2).sum(1))[:, None] * np.sqrt((x**2).sum(1))
        angle = np.arccos(np.clip(a @ x.T / lengths, -1, 1))
        return lengths / np.pi * (np.sin(angle) + (np.pi - angle) * np.cos(angle))

    weights = np.linalg.solve(products(x) + penalty * np.eye(len(x)), y - y.mean(0))
    return lambda landmark: products(landmark.astype(float)) @ weights + y.mean(0)


def hidden_part(params: Any, landmark: np.ndarray) -> np.ndarray:
    """What the one hidden layer, a TAAF of sigmoid, adds to the linear path."""
    hidden, taaf = params["H0"], params["H0_taaf"]
    z = landmark @ hidden["kernel"] * taaf["beta"] + taaf["gamma"]
    activated = taaf["alpha"] / (1 + np.exp(-z)) + taaf["delta"]
    return activated @ params["outputs"]["kernel"] + params["outputs"]["bias"]


def expect_test_errors(data: Loaded, found: Outcome, predict: Callable[[np.ndarray], np.ndarray]) -> None:
    landmark, target = data.dataset.zscores("test")
    error = np.abs(predict(landmark) - target[:, COLUMNS])
    np.testing.assert_allclose(found.held_out_errors["test"].sample[0], error.mean(1), rtol=1e-3)


def test_ridge_is_fitted_to_both_splits_with_the_penalty_of_the_choice(loaded: Loaded, tmp_path: Path) -> None:
    """The choice is made first where it is missing."""
    run(refit_of(RIDGE), loaded, tmp_path)
    choice, found = (read(trial, loaded.source.identity, tmp_path) for trial in (RIDGE, refit_of(RIDGE)))
    assert found.chosen == choice.chosen and found.validation_mae == choice.validation_mae
    weights, intercept = ridge(*joined(loaded), choice.chosen)
    expect_test_errors(loaded, found, lambda landmark: landmark @ weights + intercept)
    # Training samples alone give other errors.
    assert np.abs(found.held_out_errors["test"].sample[0] / choice.held_out_errors["test"].sample[0] - 1).max() > 0.01


def test_ridge_of_one_platform(two_platforms: Path, tmp_path: Path) -> None:
    """Its penalty is chosen by the validation samples of that platform, and it is scored on all."""
    data = Loaded(find_sources(two_platforms).folds[0], tuple(jax.devices()[:1]))
    trial = replace(RIDGE, platform="rnaseq")
    run(refit_of(trial), data, tmp_path)
    choice, found = (read(one, data.source.identity, tmp_path) for one in (trial, refit_of(trial)))
    of = [data.dataset.platform[data.dataset.split == split] == 1 for split in (0, 1)]
    (x, y), (x_validation, y_validation) = (data.dataset.zscores(split) for split in ("train", "validation"))
    x, y = x[of[0]].astype(float), y[of[0]][:, COLUMNS].astype(float)

    def validation(penalty: float) -> float:
        weights, intercept = ridge(x, y, penalty)
        return np.abs(x_validation[of[1]] @ weights + intercept - y_validation[of[1]][:, COLUMNS]).mean()

    errors = {penalty: validation(penalty) for penalty in PENALTIES}
    assert choice.chosen == min(errors, key=lambda penalty: errors[penalty])
    assert choice.validation_mae == pytest.approx(min(errors.values()), rel=1e-4)
    weights, intercept = ridge(*joined(data, 1), choice.chosen)
    expect_test_errors(data, found, lambda landmark: landmark @ weights + intercept)
    assert set(found.held_out_errors) == {"test", "test on array", "test on rnaseq"}


@pytest.fixture(scope="module")
def choice(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("choice")
    run(NETWORK, loaded, folder)
    return read(NETWORK, loaded.source.identity, folder)


@pytest.fixture
def planted(loaded: Loaded, choice: Outcome, tmp_path: Path) -> Outcome:
    """A choice of the second epoch and of another penalty, in place of the network's own, written to ``tmp_path``."""
    planted = replace(choice, best_epoch=2, chosen=PENALTIES[5], validation_mae=0.125)
    assert choice.chosen != planted.chosen
    (tmp_path / NETWORK.folder).mkdir(parents=True)
    write(tmp_path / NETWORK.folder / "outcome.npz", planted, identity(NETWORK, loaded.source.identity))
    return planted


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What ``fit`` was called with, and what came out."""
    calls: list[dict[str, Any]] = []
    original = running.fit

    def spied(config, protocol, train, validation, *rest, start=None, **options) -> Any:
        call = {"config": config, "epochs": protocol.epochs, "train": train, "validation": validation, "start": start}
        calls.append(call)
        call["fit"] = original(config, protocol, train, validation, *rest, start=start, **options)
        return call["fit"]

    monkeypatch.setattr(running, "fit", spied)
    return calls


def test_a_network_is_trained_on_both_splits_for_the_chosen_epochs(
    loaded: Loaded, planted: Outcome, fits: list[dict[str, Any]], tmp_path: Path
) -> None:
    epochs = []
    run(refit_of(NETWORK), loaded, tmp_path, lambda row, seconds: epochs.append(row.epoch))
    (call,) = fits
    assert epochs == [1, 2] and call["epochs"] == 2 and call["validation"] is None
    x, y = joined(loaded)
    np.testing.assert_array_equal(call["train"].landmark, x.astype(np.float32))
    np.testing.assert_array_equal(call["train"].target, y.astype(np.float32))
    weights, intercept = ridge(x, y, PENALTIES[5])
    np.testing.assert_allclose(call["start"]["linear"]["kernel"], weights, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(call["start"]["linear"]["bias"], intercept, rtol=1e-3, atol=1e-5)
    found = read(refit_of(NETWORK), loaded.source.identity, tmp_path)
    assert (found.best_epoch, found.chosen, found.validation_mae) == (2, PENALTIES[5], 0.125)
    # A curve of the protocol's four epochs, without a validation error, and without the epochs after the chosen one.
    assert found.curve.shape == (2, 4) and np.isnan(found.curve[1]).all()
    assert np.isfinite(found.curve[0]).tolist() == [True, True, False, False]
    params = jax.device_get(call["fit"].params)  # after the last epoch

    def predict(landmark: np.ndarray) -> np.ndarray:
        path = landmark @ params["linear"]["kernel"] + params["linear"]["bias"]
        return path + hidden_part(params, landmark)

    expect_test_errors(loaded, found, predict)
    assert read(NETWORK, loaded.source.identity, tmp_path).best_epoch == 2  # the choice is left as it was


def test_a_network_beside_the_kernel(loaded: Loaded, fits: list[dict[str, Any]], tmp_path: Path) -> None:
    """It starts at kernel ridge regression on all its training profiles, of a refit those of both splits."""
    trial = replace(NETWORK, model=ModelSpec("small_kernel", "small with the kernel", BESIDE_KERNEL))
    run(refit_of(trial), loaded, tmp_path)
    choice, found = (read(one, loaded.source.identity, tmp_path) for one in (trial, refit_of(trial)))
    x, y = (values.astype(float) for values in loaded.dataset.zscores("train"))
    y = y[:, COLUMNS]
    landmark, target = loaded.dataset.zscores("validation")
    errors = {
        penalty: np.abs(kernel_ridge(x, y, penalty)(landmark) - target[:, COLUMNS]).mean()
        for penalty in kernel.PENALTIES
    }
    assert choice.chosen == found.chosen == min(errors, key=lambda penalty: errors[penalty])
    both = joined(loaded)
    assert len(both[0]) == len(x) + len(landmark)
    for call, (profiles, values) in zip(fits, ((x, y), both), strict=True):
        assert call["config"].kernel == len(profiles)
        np.testing.assert_array_equal(call["start"]["kernel"]["profiles"], profiles.astype(np.float32))
        params = init_state(call["config"], RESIDUAL.optimizer, 3, call["start"]).params
        np.testing.assert_allclose(
            forward(call["config"], params, landmark), kernel_ridge(profiles, values, choice.chosen)(landmark),
            rtol=1e-3, atol=1e-4,
        )  # fmt: skip
    # Training has changed the hidden layer alone.
    params = jax.device_get(fits[1]["fit"].params)
    assert np.abs(params["outputs"]["kernel"]).max() > 0
    started = kernel_ridge(*both, choice.chosen)
    expect_test_errors(loaded, found, lambda landmark: started(landmark) + hidden_part(params, landmark))


def test_a_missing_choice_is_trained_first(loaded: Loaded, fits: list[dict[str, Any]], tmp_path: Path) -> None:
    """On 40 profiles there are two batches for three: six epochs, more than the protocol's four."""
    trial = replace(NETWORK, profiles=40)
    run(refit_of(trial), loaded, tmp_path)
    choice, found = (read(one, loaded.source.identity, tmp_path) for one in (trial, refit_of(trial)))
    assert choice.curve.shape == found.curve.shape == (2, 6)
    assert [call["epochs"] for call in fits] == [6, choice.best_epoch]
    assert fits[0]["validation"] is not None and fits[1]["validation"] is None
    assert [len(call["fit"].log) for call in fits] == [6, choice.best_epoch]
    assert found.best_epoch == choice.best_epoch == 1 + int(np.argmin(choice.curve[1]))


def test_a_killed_refit_goes_on(loaded: Loaded, planted: Outcome, fits: list[dict[str, Any]], tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def killed(row, seconds):
        raise Killed

    with pytest.raises(Killed):
        run(refit_of(NETWORK), loaded, tmp_path, killed)
    assert is_done(NETWORK, tmp_path) and not is_done(refit_of(NETWORK), tmp_path)
    run(refit_of(NETWORK), loaded, tmp_path)
    assert [call["epochs"] for call in fits] == [2, 2]  # the choice is not trained again
    other = tmp_path / "other"
    (other / NETWORK.folder).mkdir(parents=True)
    write(other / NETWORK.folder / "outcome.npz", planted, identity(NETWORK, loaded.source.identity))
    run(refit_of(NETWORK), loaded, other)
    stopped, through = (read(refit_of(NETWORK), loaded.source.identity, folder) for folder in (tmp_path, other))
    np.testing.assert_array_equal(stopped.curve, through.curve)
    np.testing.assert_array_equal(
        stopped.held_out_errors["test"].sample, through.held_out_errors["test"].sample, strict=True
    )


def test_a_refit_whose_choice_another_process_makes_is_left_alone(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / RIDGE.folder).mkdir(parents=True)
    with sole_use(tmp_path / RIDGE.folder), pytest.raises(InUseError):
        run(refit_of(RIDGE), loaded, tmp_path)
    assert not is_done(refit_of(RIDGE), tmp_path)


@pytest.mark.parametrize(
    ("field", "value"), [("refit", True), ("platform", "array"), ("studies", 3)], ids=["refit", "platform", "studies"]
)
def test_variants_are_trials_of_their_own(loaded: Loaded, tmp_path: Path, field: str, value: Any) -> None:
    """Of another folder and another identity."""
    run(RIDGE, loaded, tmp_path)
    other = replace(RIDGE, **{field: value})
    assert other.folder != RIDGE.folder
    (tmp_path / other.folder).mkdir(parents=True)
    (tmp_path / other.folder / "outcome.npz").write_bytes((tmp_path / RIDGE.folder / "outcome.npz").read_bytes())
    with pytest.raises(DgexError, match=f"is of another trial, which differs in: {field};"):
        read(other, loaded.source.identity, tmp_path)


def test_folders_name_what_differs() -> None:
    every = replace(NETWORK, profiles=40, studies=3, platform="rnaseq", refit=True)
    assert every.folder == Path("trials/fold-1/12-targets-40-profiles-3-studies/small_rnaseq_refit/seed-3")
    assert RIDGE.folder == Path("trials/fold-1/12-targets-all-profiles-all-studies/ridge/seed-0")
    assert every.variant.label == "small, rnaseq alone, refitted" and every.variant.network == LINEAR
