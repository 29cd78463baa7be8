"""Additive statistics against numpy float64 on the whole data."""

import jax.numpy as jnp
import numpy as np
import pytest

from dgex.metrics import GeneScores, empty_statistics, finalize, statistics, statistics_of, summarize

CONSTANT_TARGET, CONSTANT_PREDICTION, ZERO_TARGET = 3, 4, 5


@pytest.fixture(scope="module")
def data():
    """Prediction and target [211, 6], float32, the last three genes with something constant."""
    rng = np.random.default_rng(0)
    target = rng.normal(0.2, 1, (211, 6))
    prediction = 0.7 * target + rng.normal(0.1, 0.5, target.shape)
    target[:, CONSTANT_TARGET] = 0.7
    prediction[:, CONSTANT_PREDICTION] = -0.3
    target[:, ZERO_TARGET] = 0
    return prediction.astype(np.float32), target.astype(np.float32)


@pytest.fixture(scope="module")
def scores(data):
    """From batches of uneven size, each padded with rows that would spoil every score."""
    sums = empty_statistics(6)
    for prediction, target in zip(*(np.split(part, [100, 101, 164]) for part in data), strict=True):
        padding = np.full((3, 6), 1e6, np.float32)
        weight = np.append(np.ones(len(target), np.float32), np.zeros(3, np.float32))
        sums = sums + statistics(jnp.vstack([prediction, padding]), jnp.vstack([target, -padding]), jnp.asarray(weight))
    np.testing.assert_array_equal(sums.count, 211)
    return finalize(sums)


def test_errors(data, scores):
    prediction, target = (part.astype(np.float64) for part in data)
    np.testing.assert_allclose(scores.mae, np.abs(prediction - target).mean(0), rtol=1e-6)
    np.testing.assert_allclose(scores.rmse, np.sqrt(((prediction - target) ** 2).mean(0)), rtol=1e-6)


def test_pearson(data, scores):
    prediction, target = (part.astype(np.float64) for part in data)
    expected = [np.corrcoef(prediction[:, gene], target[:, gene])[0, 1] for gene in range(3)]
    np.testing.assert_allclose(scores.pearson[:3], expected, rtol=1e-5)
    assert np.isnan(scores.pearson[3:]).all()


def test_r2_is_against_the_training_mean(data, scores):
    prediction, target = (part.astype(np.float64) for part in data)
    genes = [0, 1, 2, CONSTANT_TARGET, CONSTANT_PREDICTION]
    # sklearn.metrics.r2_score with the training mean, z = 0, in place of the mean of these very samples.
    expected = 1 - ((prediction - target) ** 2).sum(0)[genes] / (target**2).sum(0)[genes]
    np.testing.assert_allclose(scores.r2[genes], expected, rtol=1e-5)
    assert np.isnan(scores.r2[ZERO_TARGET])


def test_perfect_and_mean_prediction():
    target = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    weight = np.ones(50, np.float32)
    perfect = finalize(statistics(jnp.asarray(target), jnp.asarray(target), weight))
    np.testing.assert_array_equal(perfect.mae, 0)
    np.testing.assert_array_equal(perfect.r2, 1)
    np.testing.assert_allclose(perfect.pearson, 1, rtol=1e-6)
    mean = finalize(statistics(jnp.zeros_like(target), jnp.asarray(target), weight))
    np.testing.assert_array_equal(mean.r2, 0)


@pytest.mark.parametrize("genes", [None, np.array([True, False, True, True, True])])
def test_summary(genes):
    columns = np.random.default_rng(0).uniform(0.1, 0.9, (4, 5))
    columns[2:, 3] = np.nan
    columns[:, 4] = np.nan  # of a gene that was not measured
    sd = np.array([0.5, 2.0, 1.5, 0.25, 1.0])
    summary = summarize(GeneScores(*columns, np.array([9, 9, 4, 9, 0])), sd, genes)
    kept = [0, 1, 2, 3] if genes is None else [0, 2, 3]
    defined = kept[:-1]
    expected = {
        "zscore_mae": columns[0, kept].mean(),
        "zscore_rmse": columns[1, kept].mean(),
        "log2_mae": np.mean([columns[0, gene] * sd[gene] for gene in kept]),
        "pearson": columns[2, defined].mean(),
        "r2": columns[3, defined].mean(),
    }
    assert summary == pytest.approx(expected, rel=1e-12)


def test_means_over_no_gene_are_nan():
    """The mean predictor has no correlation with anything, and a data set may have no overlap genes."""
    constant = GeneScores(np.array([0.5, 0.7]), np.array([0.6, 0.8]), np.full(2, np.nan), np.zeros(2), np.full(2, 7))
    summary = summarize(constant, np.ones(2))
    assert np.isnan(summary.pop("pearson"))
    assert summary == pytest.approx({"zscore_mae": 0.6, "zscore_rmse": 0.7, "log2_mae": 0.6, "r2": 0})
    assert np.isnan(list(summarize(constant, np.ones(2), np.zeros(2, bool)).values())).all()


def test_only_measured_targets_count():
    """Whatever was predicted for the others, each gene's scores are those of the samples that have it."""
    rng = np.random.default_rng(1)
    prediction, target = rng.normal(size=(2, 300, 4)).astype(np.float32)
    target[:250, 1] = np.nan
    target[::2, 2] = np.nan
    target[:, 3] = np.nan
    scores = finalize(statistics_of(prediction, target))
    assert scores.count.tolist() == [300, 50, 150, 0]
    for gene, rows in enumerate((slice(None), slice(250, None), slice(1, None, 2))):
        x, y = prediction[rows, gene].astype(np.float64), target[rows, gene].astype(np.float64)
        found = [values[gene] for values in (scores.mae, scores.rmse, scores.pearson, scores.r2)]
        expected = np.abs(x - y).mean(), np.sqrt(((x - y) ** 2).mean()), np.corrcoef(x, y)[0, 1]
        assert found == pytest.approx([*expected, 1 - ((x - y) ** 2).sum() / (y**2).sum()], rel=1e-4)
    assert np.isnan([scores.mae[3], scores.rmse[3], scores.pearson[3], scores.r2[3]]).all()
    assert scores.zscore_mae == pytest.approx(scores.mae[:3].mean())


def test_a_prediction_that_is_not_finite_is_no_missing_target():
    prediction = np.array([[1, np.nan], [2, 3]], np.float32)
    scores = finalize(statistics_of(prediction, np.ones((2, 2), np.float32)))
    assert scores.mae[0] == 0.5 and np.isnan(scores.zscore_mae)


def test_log2_mae_is_the_error_in_log2_units():
    rng = np.random.default_rng(0)
    mean, sd = rng.normal(8, 2, 5), rng.uniform(0.2, 2, 5)
    target, prediction = rng.normal(size=(2, 40, 5))
    scores = finalize(statistics(jnp.asarray(prediction), jnp.asarray(target), np.ones(40, np.float32)))
    in_log2 = np.abs((prediction * sd + mean) - (target * sd + mean)).mean()
    assert summarize(scores, sd)["log2_mae"] == pytest.approx(in_log2, rel=1e-5)
