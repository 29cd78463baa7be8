"""What a training may look at, what it says of itself, and that it goes on where it was stopped."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dgex import parallel
from dgex.data.dataset import Dataset, read_dataset
from dgex.data.normalization import Scaler
from dgex.data.platforms import Platforms
from dgex.errors import DgexError
from dgex.model import Model
from dgex.model.evaluation import evaluate_model
from dgex.model.fitting import train_model
from dgex.model.reliability import LEVELS
from dgex.networks import NetworkConfig
from dgex.protocols import QUICK, Protocol

DATA = {"file": "made-up.h5", "sha256": "0123"}


@pytest.fixture(scope="module")
def train(small_model: Model, small_protocol: Protocol) -> Callable[..., Model]:
    """Trains as ``small_model`` was trained."""

    def train(dataset: Dataset, directory: Path | None = None, devices: int = 1, **options) -> Model:
        on = parallel.devices(devices)
        return train_model(dataset, DATA, small_model.config, small_protocol, 0, on, directory, **options)

    return train


@pytest.fixture(scope="module")
def assert_same(assert_trees_close: Callable[..., None]) -> Callable[[Model, Model], None]:
    """Compares two models but for the provenance."""

    def compare(model: Model, other: Model) -> None:
        for part in ("params", "factors", "reliability", "reference"):
            assert_trees_close(*(_plain(getattr(each, part)) for each in (model, other)))

    return compare


def _plain(value):
    return {name: _plain(field) for name, field in vars(value).items()} if hasattr(value, "__dict__") else value


def test_quantiles_and_scaler_are_of_the_training_landmarks(small_data, small_model):
    ascending = np.sort(small_data.landmark[small_data.split == 0].astype(np.float64), axis=1)
    quantiles = small_model.reference.quantiles
    np.testing.assert_allclose(quantiles, ascending.mean(axis=0), rtol=1e-6)
    ranks = small_data.landmark[small_data.split == 0].argsort(axis=1).argsort(axis=1)
    normal = quantiles.astype(np.float64)[ranks]
    np.testing.assert_allclose(small_model.reference.landmark_scaler.mean, normal.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(small_model.reference.landmark_scaler.sd, normal.std(axis=0), rtol=1e-4, atol=1e-3)
    assert small_model.reference.target_scaler is small_data.target_scaler
    assert small_model.reference.landmark_genes is small_data.landmark_genes


def test_nothing_is_fitted_on_test_profiles(small_data, small_model, assert_same, train):
    test = small_data.split == 2
    random = np.random.default_rng(1)
    landmark, target = small_data.landmark.copy(), small_data.target.copy()
    landmark[test] = random.normal(5, 3, landmark[test].shape)
    target[test] = random.normal(-3, 9, target[test].shape)
    other = train(replace(small_data, landmark=landmark, target=target))
    assert_same(other, small_model)
    scores = [model.provenance["scores"] for model in (small_model, other)]
    assert scores[0]["validation"] == scores[1]["validation"]
    assert scores[0]["test"]["coverage"]["0.9"]["all"] > 0.8 > scores[1]["test"]["coverage"]["0.9"]["all"]
    assert scores[0]["test"]["network"]["zscore_mae"] + 1 < scores[1]["test"]["network"]["zscore_mae"]


def test_ridge_regression_is_told_first(small_data, small_model, train):
    told = []
    train(small_data, on_ridge=told.append, on_epoch=lambda stage, row: told.append(f"{stage} {row.epoch}"))
    assert [each if isinstance(each, str) else sorted(each) for each in told] == [
        ["mean predictor", "ridge regression"],
        *(f"{stage} {epoch}" for stage in ("choosing", "refit") for epoch in (1, 2, 3)),
    ]
    validation = small_model.provenance["scores"]["validation"]
    assert told[0] == {name: validation[name] for name in told[0]}
    assert told[0]["ridge regression"]["zscore_mae"] < 0.6 * told[0]["mean predictor"]["zscore_mae"]


def test_provenance(small_data, small_model):
    made = small_model.provenance
    assert made["data"] == DATA | {
        "command": "prepare made-up.gctx",
        "sources": {"made-up.gctx": "00ff"},
        "splits": {
            "train": {"profiles": 120, "studies": ["GSE1", "GSE2", "GSE3"]},
            "validation": {"profiles": 60, "studies": ["GSE4", "GSE5"]},
            "test": {"profiles": 60, "studies": ["GSE5", "GSE6"]},
        },
    }
    assert made["protocol"] == {
        "optimizer": "keras_nadam", "loss": "mae", "learning_rate": 2e-2, "batch": 16, "epochs": 3, "drops": (),
        "plateau": None,
    }  # fmt: skip
    assert made["seed"] == 0 and 1 <= made["best_epoch"] <= 3 and made["devices"] == "1 x cpu"
    assert {"dgex", "python", "jax", "flax", "optax", "numpy"} == set(made["versions"])


def test_devices_agree(small_data, small_model, assert_trees_close, train):
    other = train(small_data, devices=3)
    assert other.provenance["devices"] == "3 x cpu"
    assert_trees_close(other.params, small_model.params, rtol=1e-7, atol=5e-4)  # Nadam magnifies rounding
    scores = [dict(evaluate_model(small_model, "it", small_data, parallel.devices(count))) for count in (1, 4)]
    assert scores[0]["test"]["coverage"] == scores[1]["test"]["coverage"]
    assert scores[0]["test"]["network"]["zscore_mae"] == pytest.approx(scores[1]["test"]["network"]["zscore_mae"])


class Stop(Exception):
    """Raised after an epoch, as an interrupt would be."""


@pytest.mark.parametrize("at", ["choosing", "refit"])
def test_resuming_gives_the_same_model(small_data, small_model, tmp_path, assert_same, at, train):
    def stop(stage, row):
        if (stage, row.epoch) == (at, 2):
            raise Stop

    with pytest.raises(Stop):
        train(small_data, tmp_path / "run", on_epoch=stop)
    with pytest.raises(DgexError, match="holds a run already"):
        train(small_data, tmp_path / "run")
    epochs = []
    resumed = train(
        small_data, tmp_path / "run", resume=True, on_epoch=lambda stage, row: epochs.append((stage, row.epoch))
    )
    assert epochs[-1] == ("refit", 3) and [stage for stage, _ in epochs].count(at) < 3
    assert ("choosing", 1) not in epochs and (at, 3) in epochs
    assert_same(resumed, small_model)
    assert resumed.provenance == small_model.provenance


def test_missing_targets_teach_nothing(small_data, train):
    """A network that never sees a gene keeps the bias it began with; what is not missing trains as before."""
    target = small_data.target.copy()
    target[np.ix_(small_data.split != 2, [5])] = np.nan
    target[np.ix_(small_data.split == 1, [6])] = np.nan
    model = train(replace(small_data, target=target))
    assert model.params["outputs"]["bias"][5] == 0 and (np.delete(model.params["outputs"]["bias"], 5) != 0).all()
    lacking = [5, 6]
    assert (
        np.isnan(model.reliability.zscore_mae[lacking]).all() and np.isinf(model.reliability.quantile[:, lacking]).all()
    )
    assert np.isfinite(np.delete(model.reliability.zscore_mae, lacking)).all()
    assert model.provenance["scores"]["validation"]["network"]["zscore_mae"] < 1.5


def test_a_cohort_is_not_trained_on(small_cohort, train):
    with pytest.raises(DgexError, match="made-up.h5: has no train samples, it was mapped onto another"):
        train(small_cohort)


def test_a_legacy_file_is_not_trained_on(small_data, tmp_path, train):
    """The originals' quantiles and SDs are of all samples, so no test split of theirs is one."""
    preparation = {"split": "study", "legacy": True}
    legacy = replace(small_data, provenance=small_data.provenance | {"preparation": preparation})
    with pytest.raises(DgexError, match="^made-up.h5: was prepared with --legacy, .*; prepare it without$"):
        train(legacy, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_intervals_that_few_validation_profiles_do_not_give(small_data, train):
    """Ten profiles calibrate up to 0.9: the scores hold no others, and no infinity that JSON does not have."""
    kept = np.flatnonzero(small_data.split != 1)
    kept = np.sort(np.append(kept, np.flatnonzero(small_data.split == 1)[:10]))
    arrays = {name: getattr(small_data, name)[kept] for name in ("landmark", "target", "platform", "split")}
    texts = {name: tuple(np.array(getattr(small_data, name))[kept]) for name in ("sample_id", "study", "project")}
    few = replace(small_data, **arrays, **texts)
    model = train(few)
    assert np.isfinite(model.reliability.quantile).all(axis=1).tolist() == [True, True, True, False]
    assert list(model.provenance["scores"]["test"]["coverage"]) == ["0.5", "0.8", "0.9"]


@pytest.mark.slow
def test_the_real_compendium(prepared_compendium):
    """A few epochs beat the mean predictor on studies never seen, for landmarks on their own quantiles."""
    whole = read_dataset(prepared_compendium)
    some = np.arange(0, 9520, 24)
    scaler = Scaler(whole.target_scaler.mean[some], whole.target_scaler.sd[some])
    genes = whole.target_genes.take(some)
    dataset = replace(
        whole,
        target=whole.target[:, some],
        target_genes=genes,
        target_scaler=scaler,
        platforms=Platforms.single(943, len(some)),
    )
    network = NetworkConfig(943, len(some), (30,), "tanh", taaf="hidden")
    model = train_model(dataset, DATA, network, replace(QUICK, epochs=8), 0, parallel.devices(2))
    assert model.reference.quantiles.shape == (943,) and model.reliability.quantile.shape == (4, len(some))
    scores = model.provenance["scores"]
    assert scores["test"]["network"]["zscore_mae"] < 0.95 * scores["test"]["mean predictor"]["zscore_mae"]
    # Of the studies that calibrated the intervals, each counted once, hardly more values than asked for are in them.
    own = [np.mean([*share["by_study"].values()]) for share in scores["validation"]["coverage"].values()]
    np.testing.assert_allclose(own, LEVELS, atol=0.03)
    share = scores["test"]["coverage"]["0.9"]  # studies never seen: told as it is
    assert 0.3 < share["lowest"] < share["all"] < share["highest"] <= 1
    well = scores["test"]["well_inferred"]
    assert well["others"] < well["flagged"] < 1
