"""What a training may look at, and that a model's scores are those of its predictions, in numpy and float64."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import dgex
from dgex import parallel
from dgex.batches import place
from dgex.data.dataset import Dataset, read_dataset
from dgex.data.normalization import Scaler
from dgex.data.platforms import Platforms
from dgex.errors import DgexError
from dgex.model import Model
from dgex.model.evaluation import evaluate_model
from dgex.model.fitting import standardized, train_model
from dgex.model.reliability import LEVELS
from dgex.model.self_check import self_check
from dgex.networks import NetworkConfig, Params
from dgex.protocols import QUICK, Protocol
from dgex.training import fit

DATA = {"file": "made-up.h5", "sha256": "0123"}
NETWORK = NetworkConfig(24, 60, (16,), taaf="hidden", dropout=0.1)
PROTOCOL = Protocol("keras_nadam", "mae", 2e-2, batch=16, epochs=3)  # those of ``small_model``


def train(dataset: Dataset, directory: Path | None = None, devices: int = 1, **options) -> Model:
    return train_model(dataset, DATA, NETWORK, PROTOCOL, 0, parallel.devices(devices), directory, **options)


def evaluated(model: Model, dataset: Dataset) -> dict:
    return dict(evaluate_model(model, "other.h5", dataset, parallel.devices(1)))


def before_refit(dataset: Dataset, protocol: Protocol = PROTOCOL) -> Params:
    """The parameters that validation chose, of the network that was trained on the training profiles alone."""
    _, landmark, target = standardized(dataset, split_of(dataset, "train"))
    train, validation = (
        place(landmark[rows], target[rows], parallel.devices(1))
        for rows in (split_of(dataset, "train"), split_of(dataset, "validation"))
    )
    best = fit(NETWORK, protocol, train, validation, 0)
    return jax.tree.map(np.asarray, best.params)


@pytest.fixture(scope="module")
def chosen(small_data: Dataset, small_model: Model) -> Model:
    """``small_model`` before the refit: its reliability and validation scores are those of this one."""
    return replace(small_model, params=before_refit(small_data))


@pytest.fixture(scope="session")
def assert_same(assert_trees_close: Callable[..., None]) -> Callable[[Model, Model], None]:
    """Compares two models but for the provenance."""

    def compare(model: Model, other: Model) -> None:
        for part in ("params", "factors", "reliability", "reference"):
            assert_trees_close(*(_plain(getattr(each, part)) for each in (model, other)))

    return compare


def _plain(value):
    return {name: _plain(field) for name, field in vars(value).items()} if hasattr(value, "__dict__") else value


def split_of(dataset: Dataset, split: str) -> np.ndarray:
    return dataset.split == ("train", "validation", "test").index(split)


def inferred(model: Model, dataset: Dataset) -> np.ndarray:
    """Target z-scores of all samples, from their log2 landmarks: ranks, quantiles, z-scores, the network's formula."""
    ranks = dataset.landmark.argsort(axis=1).argsort(axis=1)
    scaler = model.reference.landmark_scaler
    zscores = (model.reference.quantiles.astype(np.float64)[ranks] - scaler.mean) / scaler.sd
    p = jax.tree.map(lambda leaf: leaf.astype(np.float64), model.params)
    taaf = p["H0_taaf"]
    logistic = 1 / (1 + np.exp(-taaf["beta"] * (zscores @ p["H0"]["kernel"]) - taaf["gamma"]))
    return (taaf["alpha"] * logistic + taaf["delta"]) @ p["outputs"]["kernel"] + p["outputs"]["bias"]


def errors(model: Model, dataset: Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Inferred minus measured, and measured z-scores, of a split."""
    rows, scaler = split_of(dataset, split), dataset.target_scaler
    measured = (dataset.target[rows].astype(np.float64) - scaler.mean) / scaler.sd
    return inferred(model, dataset)[rows] - measured, measured


def studies_of(dataset: Dataset, split: str) -> np.ndarray:
    return np.array(dataset.study)[split_of(dataset, split)]


def within_studies(inferred: np.ndarray, measured: np.ndarray, study: np.ndarray) -> np.ndarray:
    """Each gene's r, the means of the studies taken away."""
    own = np.eye(len(set(study)))[np.unique(study, return_inverse=True)[1]]
    centred = [values - own @ (np.linalg.pinv(own) @ values) for values in (inferred, measured)]
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(centred[0].T, centred[1].T, strict=True)])


def test_quantiles_and_scaler_are_of_the_training_landmarks(small_data, small_model):
    ascending = np.sort(small_data.landmark[split_of(small_data, "train")].astype(np.float64), axis=1)
    quantiles = small_model.reference.quantiles
    np.testing.assert_allclose(quantiles, ascending.mean(axis=0), rtol=1e-6)
    ranks = small_data.landmark[split_of(small_data, "train")].argsort(axis=1).argsort(axis=1)
    normal = quantiles.astype(np.float64)[ranks]
    np.testing.assert_allclose(small_model.reference.landmark_scaler.mean, normal.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(small_model.reference.landmark_scaler.sd, normal.std(axis=0), rtol=1e-4, atol=1e-3)
    assert small_model.reference.target_scaler is small_data.target_scaler
    assert small_model.reference.landmark_genes is small_data.landmark_genes


def test_nothing_is_fitted_on_test_profiles(small_data, small_model, assert_same):
    test = split_of(small_data, "test")
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


def expected_error(model, data, split) -> np.ndarray:
    """The expected z-score MAE of each profile of a split."""
    error = self_check(model.standardize(data.landmark[split_of(data, split)]), model.factors)[1]
    return np.exp(model.reliability.expectation.intercept + model.reliability.expectation.slope * np.log(error))


def test_validation_does_not_know_the_network_that_was_trained_on_it(small_data):
    """With one epoch there is nothing to choose: the network before the refit is the same for any validation values."""
    validation = split_of(small_data, "validation")
    target = small_data.target.copy()
    target[validation] += 5
    short = replace(PROTOCOL, epochs=1)
    models = [
        train_model(data, DATA, NETWORK, short, 0, parallel.devices(1))
        for data in (small_data, replace(small_data, target=target))
    ]
    before = replace(models[0], params=before_refit(small_data, short))
    error, _ = errors(before, small_data, "validation")
    shift = 5 / small_data.target_scaler.sd
    for model, expected in zip(models, (np.abs(error), np.abs(error - shift)), strict=True):
        np.testing.assert_allclose(model.reliability.zscore_mae, expected.mean(axis=0), atol=1e-4)
    refitted = [model.params["outputs"]["bias"].mean() for model in models]
    assert refitted[0] + 0.03 < refitted[1]  # the refit knows them


def test_weights_are_refitted_to_training_and_validation_profiles(small_data, small_model, assert_trees_close):
    """From the same start, for as many epochs as validation chose, by the scaler of the training profiles."""
    best = small_model.provenance["best_epoch"]
    assert small_model.provenance["refit"] and best == 3
    _, landmark, target = standardized(small_data, split_of(small_data, "train"))
    both = ~split_of(small_data, "test")
    samples = place(landmark[both], target[both], parallel.devices(1))
    again = fit(NETWORK, replace(PROTOCOL, epochs=best), samples, None, 0)
    assert_trees_close(small_model.params, jax.tree.map(np.asarray, again.params))
    test = small_model.provenance["scores"]["test"]["network"]["zscore_mae"]
    assert (
        test
        < 0.95 * np.abs(errors(replace(small_model, params=before_refit(small_data)), small_data, "test")[0]).mean()
    )


def test_scores_are_those_of_the_predictions(small_data, small_model, chosen):
    sd, overlap = small_data.target_scaler.sd, np.arange(60) < 8
    for split, network in (("validation", chosen), ("test", small_model)):
        scores = small_model.provenance["scores"][split]
        error, measured = errors(network, small_data, split)
        assert len(error) == 60
        for name, wrong in (("network", error), ("mean predictor", -measured)):
            mae = np.abs(wrong).mean(axis=0)
            assert scores[name]["zscore_mae"] == pytest.approx(mae.mean(), abs=1e-5)
            assert scores[name]["log2_mae"] == pytest.approx((mae * sd).mean(), abs=1e-5)
            assert scores[name]["without_overlap"]["zscore_mae"] == pytest.approx(mae[~overlap].mean(), abs=1e-5)
        r2 = 1 - np.square(error).sum(axis=0) / np.square(measured).sum(axis=0)
        assert scores["network"]["r2"] == pytest.approx(r2.mean(), abs=1e-4)
        assert set(scores["mean predictor"]) == {"zscore_mae", "log2_mae", "without_overlap"}
        assert scores["network"]["zscore_mae"] < 0.8 * scores["mean predictor"]["zscore_mae"]
        study = studies_of(small_data, split)
        assert list(scores["coverage"]) == ["0.5", "0.8", "0.9", "0.95"]
        wide = expected_error(small_model, small_data, split)[:, None]
        for width, share in zip(small_model.reliability.quantile, scores["coverage"].values(), strict=True):
            inside = np.abs(error) <= width * wide + 1e-5  # a validation profile lies on each end
            by_study = [inside[study == name].mean() for name in set(study)]
            expected = {"all": inside.mean(), "lowest": min(by_study), "highest": max(by_study)}
            assert {name: share[name] for name in expected} == pytest.approx(expected, abs=2e-3)
            assert share["lowest"] < share["all"] < share["highest"]


def test_shares_of_genes_that_prove_well_inferred(small_data, small_model):
    """Of a model that thinks well of the odd genes alone, on test profiles whose every third gene is of another."""
    trusted, odd = small_model.reliability, np.arange(60) % 2 == 1
    assert trusted.well_inferred.all()
    doubting = replace(trusted, pearson=np.where(odd, trusted.pearson, 0))
    test, target = split_of(small_data, "test"), small_data.target.copy()
    target[np.ix_(test, np.arange(0, 60, 3))] = np.random.default_rng(0).permuted(target[test, ::3], axis=0)
    data = replace(small_data, target=target)
    found = evaluated(replace(small_model, reliability=doubting), data)["test"]["well_inferred"]
    error, measured = errors(small_model, data, "test")
    r = within_studies(error + measured, measured, studies_of(data, "test"))
    well = (r >= 0.5) & (np.square(error).sum(axis=0) < np.square(measured).sum(axis=0))
    assert 0.5 < well[odd].mean() < 0.9
    assert found == pytest.approx({"flagged": well[odd].mean(), "others": well[~odd].mean()})
    assert small_model.provenance["scores"]["validation"]["well_inferred"] == {"flagged": 1}  # there are no others


def test_reliability_is_that_of_the_validation_profiles(small_data, small_model, chosen):
    error, measured = errors(chosen, small_data, "validation")
    found = small_model.reliability
    np.testing.assert_allclose(found.zscore_mae, np.abs(error).mean(axis=0), atol=1e-5)
    study = studies_of(small_data, "validation")
    assert set(study) == {"GSE4", "GSE5"}
    np.testing.assert_allclose(found.pearson, within_studies(error + measured, measured, study), atol=1e-4)
    pooled = [np.corrcoef(gene)[0, 1] for gene in np.stack([error.T + measured.T, measured.T], axis=1)]
    assert np.abs(found.pearson - pooled).max() > 1e-3
    np.testing.assert_allclose(found.r2, 1 - np.square(error).sum(axis=0) / np.square(measured).sum(axis=0), atol=1e-4)
    relative = np.abs(error) / expected_error(small_model, small_data, "validation")[:, None]
    weight = np.array([1 / study.tolist().count(name) for name in study])  # both studies have half of it all
    for gene, quantile in zip(relative.T, found.quantile.T, strict=True):
        order = gene.argsort()
        reached = np.cumsum(weight[order]) / (2 + 2 / 60)
        wanted = [gene[order][reached >= level - 1e-9][0] for level in LEVELS]
        np.testing.assert_allclose(quantile, wanted, atol=1e-4)
    assert 30 < found.well_inferred.sum() <= 60
    assert small_model.provenance["scores"]["validation"]["out_of_range"] == 0  # of 60 profiles 1 % is none


def test_ridge_regression_is_told_first(small_data, small_model):
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


def test_evaluating_on_the_training_data_gives_the_scores_in_the_provenance(small_data, small_model, chosen):
    scores = evaluated(small_model, small_data)
    assert list(scores) == ["train", "validation", "test"]
    assert (
        scores["validation"]["network"]["zscore_mae"]
        < evaluated(chosen, small_data)["validation"]["network"]["zscore_mae"]
    )
    scores["validation"] = evaluated(chosen, small_data)["validation"]
    for split in ("validation", "test"):
        made = small_model.provenance["scores"][split]
        assert {name: scores[split][name] for name in made if name in scores[split]} == {
            name: value for name, value in made.items() if name != "ridge regression"
        }
        assert scores[split]["targets"] == 60
    mae = np.abs(errors(small_model, small_data, "train")[0]).mean()
    assert scores["train"]["network"]["zscore_mae"] == pytest.approx(mae, abs=1e-5)
    assert (scores["test"]["profiles"], scores["test"]["studies"]) == (60, ["GSE5", "GSE6"])


def test_devices_agree(small_data, small_model, assert_trees_close):
    other = train(small_data, devices=3)
    assert other.provenance["devices"] == "3 x cpu"
    assert_trees_close(other.params, small_model.params, rtol=1e-7, atol=5e-4)  # Nadam magnifies rounding
    scores = [dict(evaluate_model(small_model, "it", small_data, parallel.devices(count))) for count in (1, 4)]
    assert scores[0]["test"]["coverage"] == scores[1]["test"]["coverage"]
    assert scores[0]["test"]["network"]["zscore_mae"] == pytest.approx(scores[1]["test"]["network"]["zscore_mae"])


class Stop(Exception):
    """Raised after an epoch, as an interrupt would be."""


@pytest.mark.parametrize("at", ["choosing", "refit"])
def test_resuming_gives_the_same_model(small_data, small_model, tmp_path, assert_same, at):
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


def cohort_of(dataset: Dataset) -> Dataset:
    """As a cohort that was mapped onto the data set: its test samples, by its scaler."""
    rows = split_of(dataset, "test")
    return replace(
        dataset,
        landmark=dataset.landmark[rows],
        target=dataset.target[rows],
        sample_id=tuple(np.array(dataset.sample_id)[rows]),
        study=("COHORT",) * rows.sum(),
        split=dataset.split[rows],
        platform=dataset.platform[rows],
        project=("",) * rows.sum(),
        provenance=dataset.provenance | {"preparation": {"onto": "0123"}},
    )


def test_a_cohort_has_test_profiles_alone(small_data, small_model):
    """What is said of studies is said of this one."""
    scores = evaluated(small_model, cohort_of(small_data))
    whole = evaluated(small_model, small_data)["test"]
    assert list(scores) == ["test"] and scores["test"]["studies"] == ["COHORT"]
    by_study = ("studies", "coverage", "well_inferred")
    assert {name: whole[name] for name in whole if name not in by_study} == {
        name: found for name, found in scores["test"].items() if name not in by_study
    }
    for level, share in scores["test"]["coverage"].items():
        same = pytest.approx(whole["coverage"][level]["all"])
        assert share == {"all": same, "lowest": same, "highest": same, "by_study": {"COHORT": same}}


def test_splits_are_scored_as_they_are_asked_for(small_data, small_model):
    """A command tells how far it is."""
    scores = evaluate_model(small_model, "other.h5", small_data, parallel.devices(1))
    assert next(scores)[0] == "train" and next(scores)[0] == "validation"
    assert [split for split, _ in scores] == ["test"]


def test_targets_that_a_cohort_lacks_are_not_scored(small_data, small_model):
    lacking = np.isin(np.arange(60), [2, 30, 59])
    cohort = cohort_of(small_data)
    target = cohort.target.copy()
    target[:, lacking] = np.nan
    scores = evaluated(small_model, replace(cohort, target=target))["test"]
    error, measured = errors(small_model, cohort, "test")
    assert (scores["targets"], scores["missing"]) == (57, 0)
    assert scores["network"]["zscore_mae"] == pytest.approx(np.abs(error[:, ~lacking]).mean(), abs=1e-5)
    assert scores["mean predictor"]["zscore_mae"] == pytest.approx(np.abs(measured[:, ~lacking]).mean(), abs=1e-5)
    wide = expected_error(small_model, cohort, "test")[:, None]
    share = (np.abs(error[:, ~lacking]) <= small_model.reliability.quantile[2, ~lacking] * wide).mean()
    assert scores["coverage"]["0.9"]["all"] == pytest.approx(share, abs=1e-3)
    others = ~lacking & (np.arange(60) >= 8)
    without = scores["network"]["without_overlap"]["zscore_mae"]
    assert without == pytest.approx(np.abs(error[:, others]).mean(), abs=1e-5)


def test_values_that_are_missing_are_not_scored(small_data, small_model):
    """A gene's errors are those of the profiles that have it; a study that lacks it says nothing of it."""
    cohort = cohort_of(small_data)
    cohort = replace(cohort, study=("A",) * 40 + ("B",) * 20)
    target = cohort.target.copy()
    target[:40, 20] = target[::2, 30] = np.nan
    scores = evaluated(small_model, replace(cohort, target=target))["test"]
    error, measured = errors(small_model, replace(cohort, target=target), "test")
    assert (scores["targets"], scores["missing"]) == (60, 40 + 30)
    assert scores["network"]["zscore_mae"] == pytest.approx(np.nanmean(np.abs(error), axis=0).mean(), abs=1e-5)
    assert scores["mean predictor"]["zscore_mae"] == pytest.approx(np.nanmean(np.abs(measured), axis=0).mean())
    wide = expected_error(small_model, cohort, "test")[:, None]
    inside = (np.abs(error) <= small_model.reliability.quantile[2] * wide).sum() / (60 * 60 - 70)
    assert scores["coverage"]["0.9"]["all"] == pytest.approx(inside, abs=1e-3)


@pytest.mark.filterwarnings("ignore:.*lack landmarks", "ignore:.*out of range")
def test_a_missing_landmark_is_what_predictions_take_it_for(small_data, small_model):
    cohort = cohort_of(small_data)
    landmark = cohort.landmark.copy()
    landmark[:, 3] = np.nan
    scores = evaluated(small_model, replace(cohort, landmark=landmark))["test"]
    predicted = dgex.predict(small_model, landmark, input_scale="log2", output_scale="zscore", all_targets=True)[:, 24:]
    _, measured = errors(small_model, cohort, "test")
    assert scores["network"]["zscore_mae"] == pytest.approx(np.abs(predicted - measured).mean(), abs=1e-5)


def test_missing_targets_teach_nothing(small_data):
    """A network that never sees a gene keeps the bias it began with; what is not missing trains as before."""
    target = small_data.target.copy()
    target[np.ix_(~split_of(small_data, "test"), [5])] = np.nan
    target[np.ix_(split_of(small_data, "validation"), [6])] = np.nan
    model = train(replace(small_data, target=target))
    assert model.params["outputs"]["bias"][5] == 0 and (np.delete(model.params["outputs"]["bias"], 5) != 0).all()
    lacking = [5, 6]
    assert (
        np.isnan(model.reliability.zscore_mae[lacking]).all() and np.isinf(model.reliability.quantile[:, lacking]).all()
    )
    assert np.isfinite(np.delete(model.reliability.zscore_mae, lacking)).all()
    assert model.provenance["scores"]["validation"]["network"]["zscore_mae"] < 1.5


def test_a_cohort_is_not_trained_on(small_data):
    with pytest.raises(DgexError, match="made-up.h5: has no train samples, it was mapped onto another"):
        train(cohort_of(small_data))


def test_a_legacy_file_is_not_trained_on(small_data, tmp_path):
    """The originals' quantiles and SDs are of all samples, so no test split of theirs is one."""
    preparation = {"split": "study", "legacy": True}
    legacy = replace(small_data, provenance=small_data.provenance | {"preparation": preparation})
    with pytest.raises(DgexError, match="^made-up.h5: was prepared with --legacy, .*; prepare it without$"):
        train(legacy, tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: {"landmark_genes": data.landmark_genes.take(np.arange(24)[::-1])}, "has other genes"),
        (lambda data: {"target_genes": replace(data.target_genes, symbol=("X",) * 60)}, "has other genes"),
        (lambda data: {"target_scaler": Scaler(data.target_scaler.mean, data.target_scaler.sd * 2)}, "standardised"),
        (lambda data: {"target_scaler": Scaler(data.target_scaler.mean + 1, data.target_scaler.sd)}, "standardised"),
    ],
)
def test_other_data_are_refused(small_data, small_model, change, said):
    with pytest.raises(DgexError, match=rf"^other.h5: .*{said}.*--onto"):
        evaluated(small_model, replace(small_data, **change(small_data)))


def test_intervals_that_few_validation_profiles_do_not_give(small_data):
    """Ten profiles calibrate up to 0.9: the scores hold no others, and no infinity that JSON does not have."""
    kept = np.flatnonzero(~split_of(small_data, "validation"))
    kept = np.sort(np.append(kept, np.flatnonzero(split_of(small_data, "validation"))[:10]))
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
    own = model.provenance["data"]["splits"]["validation"]["profiles"]
    shares = [np.ceil((own + 1) * level) / own for level in LEVELS]  # of the profiles that calibrated it
    covered = {split: [share["all"] for share in scores[split]["coverage"].values()] for split in scores}
    np.testing.assert_allclose(covered["validation"], shares, atol=1e-3)
    share = scores["test"]["coverage"]["0.9"]  # studies never seen: told as it is
    assert 0.3 < share["lowest"] < share["all"] < share["highest"] <= 1
    well = scores["test"]["well_inferred"]
    assert well["others"] < well["flagged"] < 1


def test_absurd_weights_are_not_scored(small_data, small_model):
    params = jax.tree.map(np.array, small_model.params)
    params["outputs"]["bias"][20] = 1e9
    with pytest.raises(DgexError, match="^made-up.h5: the model infers 1e.09 .z-score. of ENSG.* for GSM0"):
        dict(evaluate_model(replace(small_model, params=params), "made-up.h5", small_data, parallel.devices(1)))
