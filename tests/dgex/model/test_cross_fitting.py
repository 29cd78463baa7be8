"""Cross-fitted models: every study is left out once, and says how far predictions can be trusted."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from dgex import parallel
from dgex.baselines.linear import PENALTIES
from dgex.cli import app
from dgex.data.dataset import read_dataset
from dgex.data.dataset_writing import write_dataset
from dgex.data.normalization import fit_scaler
from dgex.data.platforms import Platforms
from dgex.errors import DgexError
from dgex.model.card import model_card
from dgex.model.cross_fitting import cross_fit, fold_files
from dgex.model.directory import load_model, save_model
from dgex.model.fitting import standardized
from dgex.networks import NetworkConfig
from dgex.protocols import Protocol

PROTOCOL = Protocol("keras_nadam", "mae", 1e-3, batch=16, epochs=2)
DATA = {"file": "3 folds of studies", "sha256": "00"}


@pytest.fixture(scope="module")
def folder(small_data, tmp_path_factory):
    """Makes three folds of the made-up data set's six studies, two of which are test studies in each."""
    folder = tmp_path_factory.mktemp("folds")
    number = np.unique(small_data.study, return_inverse=True)[1]
    for fold in (1, 2, 3):
        split = np.where(number // 2 == fold - 1, 2, np.where(number // 2 == fold % 3, 1, 0)).astype(np.uint8)
        scalers = {
            f"{side}_scaler": fit_scaler(vars(small_data)[side][split == 0]) for side in ("landmark", "target")
        }  # fmt: skip
        provenance = small_data.provenance | {"preparation": {"fold": [fold, 3]}}
        write_dataset(folder / f"fold-{fold}.h5", replace(small_data, split=split, provenance=provenance, **scalers))
    return folder


@pytest.fixture(scope="module")
def config(small_data):
    return NetworkConfig(
        small_data.landmark.shape[1], small_data.target.shape[1], (4,), taaf="hidden", linear=True, linear_rate=0.1
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted(folder, config, tmp_path_factory):
    folds = []
    run = tmp_path_factory.mktemp("run")
    model = cross_fit(
        fold_files(folder), DATA, config, PROTOCOL, 0, parallel.devices(1), run,
        on_fold=lambda number, fold: folds.append(fold),
    )  # fmt: skip
    return model, folds, run


def test_every_profile_is_inferred_once_by_a_network_without_its_study(fitted, small_data):
    model, folds, _ = fitted
    assert [sorted(set(fold.study)) for fold in folds] == [["GSE1", "GSE2"], ["GSE3", "GSE4"], ["GSE5", "GSE6"]]
    assert sum(len(fold.inferred) for fold in folds) == len(small_data.sample_id)
    scores = model.provenance["scores"]["out-of-fold"]
    errors = np.concatenate([np.abs(fold.inferred - fold.target) for fold in folds])
    assert scores["network"]["zscore_mae"] == pytest.approx(errors.mean(), rel=1e-5)
    assert scores["profiles"] == len(small_data.sample_id)
    # Five factors and little noise: a linear path infers these genes, and the mean predictor cannot.
    assert scores["network"]["zscore_mae"] < 0.7 * scores["mean predictor"]["zscore_mae"]


def test_the_model_keeps_where_all_profiles_lie_and_how_their_self_checks_went(fitted, small_data):
    model, folds, _ = fitted
    assert model.training_map.position.shape == (len(small_data.sample_id), 2)
    errors = np.concatenate([fold.self_check_error for fold in folds])
    np.testing.assert_array_equal(model.training_map.self_check_error, errors)
    assert len(model.training_map.self_check_pearson) == len(errors)


def test_reliability_is_of_all_studies_and_checked_on_the_other_folds(fitted):
    model, folds, _ = fitted
    errors = np.concatenate([np.abs(fold.inferred - fold.target) for fold in folds])
    np.testing.assert_allclose(model.reliability.zscore_mae, errors.mean(axis=0), rtol=1e-4)
    by_study = model.provenance["by_study"]
    assert sorted(by_study) == [f"GSE{number}" for number in range(1, 7)]
    own = folds[0].study == "GSE1"
    assert by_study["GSE1"]["true"] == pytest.approx(np.abs(folds[0].inferred - folds[0].target)[own].mean(), rel=1e-5)
    assert 0.5 < by_study["GSE1"]["coverage"]["0.9"] <= 1


def test_shipped_weights_are_fitted_to_every_profile(fitted, small_data):
    model, _, _ = fitted
    expected = small_data.target.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(model.reference.target_scaler.mean, expected, rtol=1e-5)
    assert model.provenance["data"]["splits"]["train"]["profiles"] == len(small_data.sample_id)


def test_a_stopped_run_goes_on_and_ends_with_the_same_weights(fitted, folder, config):
    model, _, run = fitted
    (run / "out-of-fold-3.npz").unlink()
    again = cross_fit(fold_files(folder), DATA, config, PROTOCOL, 0, parallel.devices(1), run, resume=True)
    np.testing.assert_array_equal(again.params["outputs"]["kernel"], model.params["outputs"]["kernel"])
    np.testing.assert_array_equal(again.reliability.quantile, model.reliability.quantile)
    with pytest.raises(DgexError):
        cross_fit(fold_files(folder), DATA, config, PROTOCOL, 1, parallel.devices(1), run, resume=True)


def test_the_model_is_saved_with_a_card_that_lists_every_study(fitted, tmp_path):
    model, _, _ = fitted
    save_model(tmp_path / "model", model)
    loaded = load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.params["linear"]["kernel"], model.params["linear"]["kernel"])
    card = model_card(loaded)
    assert "All scores are out of fold" in card and "| GSE6 | array | " in card


def ridge_error(landmark, target, split, penalty):
    """The validation MAE of ridge regression by hand."""
    x, y = landmark[split == 0].astype(np.float64), target[split == 0].astype(np.float64)
    centred = x - x.mean(0)
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ (y - y.mean(0)))
    inferred = (landmark[split == 1] - x.mean(0)) @ weights + y.mean(0)
    return np.abs(inferred - target[split == 1]).mean()


def test_without_hidden_layers_it_is_ridge_regression(folder, small_data, tmp_path, capsys):
    """The penalty has the lowest error on the validation studies of all folds; the weights are fitted to everything."""
    app(["train", str(folder), "-o", str(tmp_path / "ridge"), "--hidden", "none"], standalone_mode=False)
    made = load_model(tmp_path / "ridge")
    errors = np.zeros(len(PENALTIES))
    for fold in (1, 2, 3):
        data = read_dataset(folder / f"fold-{fold}.h5")
        landmark, target = standardized(data, data.split == 0)[1:]
        errors += [ridge_error(landmark, target, data.split, penalty) for penalty in PENALTIES]
    penalty = made.provenance["penalty"]
    assert penalty == PENALTIES[errors.argmin()] and set(made.params) == {"outputs"}
    x = made.standardize(small_data.landmark).astype(np.float64)
    y = small_data.target.astype(np.float64) - small_data.target.mean(axis=0, dtype=np.float64)
    y /= small_data.target.std(axis=0, dtype=np.float64)
    centred = x - x.mean(axis=0)
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ y)
    np.testing.assert_allclose(made.params["outputs"]["kernel"], weights, atol=1e-4)
    scores = made.provenance["scores"]["out-of-fold"]
    assert scores["network"]["zscore_mae"] == pytest.approx(scores["ridge regression"]["zscore_mae"], rel=1e-6)
    assert f"ridge regression, penalty {penalty:g}; `dgex info" in capsys.readouterr().out
    assert "chosen on the validation studies of all folds; 1,500 parameters" in model_card(made)
    assert [path.name for path in tmp_path.iterdir()] == ["ridge"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"provenance": {"sources": {"source.gctx": "00"}}}, "different sources; make the folder with"),
        ({"provenance": {"seed": 7}}, "different seed; make the folder with"),
        ({"platforms": "rnaseq"}, "different platforms; make the folder with"),
    ],
)
def test_folds_of_other_data_are_refused(folder, small_data, tmp_path, fields, said):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    third = read_dataset(folder / "fold-3.h5")
    if "provenance" in fields:
        fields = {"provenance": third.provenance | fields["provenance"]}
    else:
        sizes = third.landmark.shape[1], third.target.shape[1]
        fields = {"platforms": Platforms.single(*sizes, fields["platforms"])}
    write_dataset(tmp_path / "fold-3.h5", replace(third, **fields))
    with pytest.raises(DgexError, match=f"fold-3.h5: does not belong with fold-1.h5: {said}"):
        fold_files(tmp_path)


def test_incomplete_folds_are_refused(folder, tmp_path):
    for number in (1, 3):
        (tmp_path / f"fold-{number}.h5").write_bytes((folder / f"fold-{number}.h5").read_bytes())
    with pytest.raises(DgexError, match="holds no complete folds of studies; make the folder with"):
        fold_files(tmp_path)
