"""A model's scores and reliability: those of its predictions, in numpy and float64.

Of validation profiles they are those of the network that was trained without them, of test profiles those of the model.
"""

from dataclasses import replace

import jax
import numpy as np
import pytest

import dgex
from dgex import parallel
from dgex.batches import place
from dgex.data.dataset import Dataset
from dgex.data.normalization import Scaler
from dgex.errors import DgexError
from dgex.model import Model
from dgex.model.evaluation import evaluate_model
from dgex.model.fitting import standardized, train_model
from dgex.model.reliability import LEVELS
from dgex.model.self_check import self_check
from dgex.networks import NetworkConfig, Params
from dgex.protocols import Protocol
from dgex.training import fit


def evaluated(model: Model, dataset: Dataset) -> dict:
    return dict(evaluate_model(model, "other.h5", dataset, parallel.devices(1)))


def split_of(dataset: Dataset, split: str) -> np.ndarray:
    return dataset.split == ("train", "validation", "test").index(split)


def before_refit(dataset: Dataset, network: NetworkConfig, protocol: Protocol) -> Params:
    """The parameters that validation chose, of the network that was trained on the training profiles alone."""
    _, landmark, target = standardized(dataset, split_of(dataset, "train"))
    train, validation = (
        place(landmark[rows], target[rows], parallel.devices(1))
        for rows in (split_of(dataset, "train"), split_of(dataset, "validation"))
    )
    best = fit(network, protocol, train, validation, 0)
    return jax.tree.map(np.asarray, best.params)


@pytest.fixture(scope="module")
def chosen(small_data: Dataset, small_model: Model, small_protocol: Protocol) -> Model:
    """``small_model`` before the refit: its reliability and validation scores are those of this one."""
    return replace(small_model, params=before_refit(small_data, small_model.config, small_protocol))


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


def expected_error(model, data, split) -> np.ndarray:
    """The expected z-score MAE of each profile of a split."""
    error = self_check(model.standardize(data.landmark[split_of(data, split)]), model.factors)[1]
    return np.exp(model.reliability.expectation.intercept + model.reliability.expectation.slope * np.log(error))


def test_validation_does_not_know_the_network_that_was_trained_on_it(small_data, small_model, small_protocol):
    """With one epoch there is nothing to choose: the network before the refit is the same for any validation values."""
    validation = split_of(small_data, "validation")
    target = small_data.target.copy()
    target[validation] += 5
    short = replace(small_protocol, epochs=1)
    models = [
        train_model(data, {"file": "made-up.h5"}, small_model.config, short, 0, parallel.devices(1))
        for data in (small_data, replace(small_data, target=target))
    ]
    before = replace(models[0], params=before_refit(small_data, small_model.config, short))
    error, _ = errors(before, small_data, "validation")
    shift = 5 / small_data.target_scaler.sd
    for model, expected in zip(models, (np.abs(error), np.abs(error - shift)), strict=True):
        np.testing.assert_allclose(model.reliability.zscore_mae, expected.mean(axis=0), atol=1e-4)
    refitted = [model.params["outputs"]["bias"].mean() for model in models]
    assert refitted[0] + 0.03 < refitted[1]  # the refit knows them


def test_weights_are_refitted_to_training_and_validation_profiles(
    small_data, small_model, small_protocol, chosen, assert_trees_close
):
    """From the same start, for as many epochs as validation chose, by the scaler of the training profiles."""
    best = small_model.provenance["best_epoch"]
    assert small_model.provenance["refit"] and best == 3
    _, landmark, target = standardized(small_data, split_of(small_data, "train"))
    both = ~split_of(small_data, "test")
    samples = place(landmark[both], target[both], parallel.devices(1))
    again = fit(small_model.config, replace(small_protocol, epochs=best), samples, None, 0)
    assert_trees_close(small_model.params, jax.tree.map(np.asarray, again.params))
    test = small_model.provenance["scores"]["test"]["network"]["zscore_mae"]
    assert test < 0.95 * np.abs(errors(chosen, small_data, "test")[0]).mean()


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


def test_a_cohort_has_test_profiles_alone(small_data, small_model, small_cohort):
    """What is said of studies is said of this one."""
    scores = evaluated(small_model, small_cohort)
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


def test_targets_that_a_cohort_lacks_are_not_scored(small_data, small_model, small_cohort):
    lacking = np.isin(np.arange(60), [2, 30, 59])
    target = small_cohort.target.copy()
    target[:, lacking] = np.nan
    scores = evaluated(small_model, replace(small_cohort, target=target))["test"]
    error, measured = errors(small_model, small_cohort, "test")
    assert (scores["targets"], scores["missing"]) == (57, 0)
    assert scores["network"]["zscore_mae"] == pytest.approx(np.abs(error[:, ~lacking]).mean(), abs=1e-5)
    assert scores["mean predictor"]["zscore_mae"] == pytest.approx(np.abs(measured[:, ~lacking]).mean(), abs=1e-5)
    wide = expected_error(small_model, small_cohort, "test")[:, None]
    share = (np.abs(error[:, ~lacking]) <= small_model.reliability.quantile[2, ~lacking] * wide).mean()
    assert scores["coverage"]["0.9"]["all"] == pytest.approx(share, abs=1e-3)
    others = ~lacking & (np.arange(60) >= 8)
    without = scores["network"]["without_overlap"]["zscore_mae"]
    assert without == pytest.approx(np.abs(error[:, others]).mean(), abs=1e-5)


def test_values_that_are_missing_are_not_scored(small_data, small_model, small_cohort):
    """A gene's errors are those of the profiles that have it; a study that lacks it says nothing of it."""
    cohort = replace(small_cohort, study=("A",) * 40 + ("B",) * 20)
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
def test_a_missing_landmark_is_what_predictions_take_it_for(small_data, small_model, small_cohort):
    landmark = small_cohort.landmark.copy()
    landmark[:, 3] = np.nan
    scores = evaluated(small_model, replace(small_cohort, landmark=landmark))["test"]
    predicted = dgex.predict(small_model, landmark, input_scale="log2", output_scale="zscore", all_targets=True)[:, 24:]
    _, measured = errors(small_model, small_cohort, "test")
    assert scores["network"]["zscore_mae"] == pytest.approx(np.abs(predicted - measured).mean(), abs=1e-5)


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


def test_absurd_weights_are_not_scored(small_data, small_model):
    params = jax.tree.map(np.array, small_model.params)
    params["outputs"]["bias"][20] = 1e9
    with pytest.raises(DgexError, match="^made-up.h5: the model infers 1e.09 .z-score. of ENSG.* for GSM0"):
        dict(evaluate_model(replace(small_model, params=params), "made-up.h5", small_data, parallel.devices(1)))
