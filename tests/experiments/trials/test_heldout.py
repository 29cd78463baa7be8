"""Errors on held-out samples against numpy in float64 on the same predictions."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.trials.heldout import BATCH, MEASURES, HeldOut, HeldOutErrors, gene_scores, is_test, score

SAMPLES, GENES = BATCH + 45, 9
STUDIES = np.array(["GSE9", "", "GSE10"])[np.random.default_rng(1).integers(3, size=SAMPLES)]


def held_out(measured: np.ndarray, seed: int = 0) -> HeldOut:
    random = np.random.default_rng(seed)
    target = random.normal(0, 1, (SAMPLES, GENES)).astype(np.float32)
    landmark = target[:, :4] + random.normal(0, 1, (SAMPLES, 4)).astype(np.float32)
    sd = random.uniform(0.2, 2, GENES).astype(np.float32)
    return HeldOut("test", landmark, target, tuple(STUDIES.tolist()), sd, np.arange(GENES) % 3 == 0, measured)


def predict(landmark: np.ndarray) -> np.ndarray:
    assert len(landmark) <= BATCH
    return np.pad(0.6 * landmark, ((0, 0), (2, 3))) + np.float32(0.01)


MEASURED = np.arange(GENES) != 4


@pytest.fixture(scope="module")
def held() -> HeldOut:
    return held_out(MEASURED)


@pytest.fixture(scope="module")
def scores(held: HeldOut) -> HeldOutErrors:
    return score(predict, held)


@pytest.fixture(scope="module")
def pair(held: HeldOut) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets of the measured genes, float64."""
    predicted = np.pad(0.6 * held.landmark.astype(float), ((0, 0), (2, 3))) + 0.01
    return predicted[:, MEASURED], held.target[:, MEASURED].astype(float)


def test_samples_errors_in_every_measure(
    held: HeldOut, scores: HeldOutErrors, pair: tuple[np.ndarray, np.ndarray]
) -> None:
    error, sd = np.abs(pair[0] - pair[1]), held.sd[MEASURED].astype(float)
    alone = ~held.overlap[MEASURED]
    expected = {
        "z-score MAE": error.mean(1),
        "z-score MAE without overlap": error[:, alone].mean(1),
        "log2 MAE": (error * sd).mean(1),
        "log2 MAE without overlap": (error * sd)[:, alone].mean(1),
    }
    assert MEASURES == tuple(expected)
    np.testing.assert_allclose(scores.sample, list(expected.values()), rtol=1e-5)
    assert scores.sample.dtype == np.float64


def test_genes_errors_in_every_study(scores: HeldOutErrors, pair: tuple[np.ndarray, np.ndarray]) -> None:
    error = np.abs(pair[0] - pair[1])
    expected = [error[name == STUDIES].mean(0) for name in ("", "GSE10", "GSE9")]  # as text sorts
    np.testing.assert_allclose(scores.gene, expected, rtol=1e-5)
    assert scores.study.tolist() == STUDIES.tolist()


def test_correlation_and_r2(scores: HeldOutErrors, pair: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, target = pair
    of_genes = gene_scores(scores.sums)
    np.testing.assert_allclose(of_genes.mae, np.abs(predicted - target).mean(0), rtol=1e-5)
    np.testing.assert_allclose(of_genes.rmse, np.sqrt(((predicted - target) ** 2).mean(0)), rtol=1e-5)
    r2 = 1 - ((predicted - target) ** 2).sum(0) / (target**2).sum(0)
    np.testing.assert_allclose(of_genes.r2, r2, rtol=1e-4, atol=1e-6)
    varies = np.ptp(predicted, axis=0) > 0
    assert 0 < varies.sum() < len(varies)
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(predicted.T[varies], target.T[varies], strict=True)]
    np.testing.assert_allclose(of_genes.pearson[varies], expected, rtol=1e-4)
    assert np.isnan(of_genes.pearson[~varies]).all()


def test_values_that_are_not_measured_count_nowhere(held: HeldOut, pair: tuple[np.ndarray, np.ndarray]) -> None:
    """A study that lacks a gene has no error there, and a sample's is the mean over what it has."""
    lacking = np.zeros((SAMPLES, GENES), bool)
    lacking[STUDIES == "GSE9", 2] = True
    lacking[::3, 7] = True
    found = score(predict, replace(held, target=np.where(lacking, np.nan, held.target)))
    error = np.where(lacking[:, MEASURED], np.nan, np.abs(pair[0] - pair[1]))
    sd, alone = held.sd[MEASURED].astype(float), ~held.overlap[MEASURED]
    expected = [np.nanmean(values, axis=1) for values in (error, error[:, alone], error * sd, (error * sd)[:, alone])]
    np.testing.assert_allclose(found.sample, expected, rtol=1e-5)
    assert np.argwhere(np.isnan(found.gene)).tolist() == [[2, 2]]  # studies as text sorts
    np.testing.assert_allclose(found.gene[:2], [np.nanmean(error[STUDIES == name], axis=0) for name in ("", "GSE10")])
    np.testing.assert_allclose(gene_scores(found.sums).mae, np.nanmean(error, axis=0), rtol=1e-5)


def test_sums_add_up_over_parts(held: HeldOut, scores: HeldOutErrors) -> None:
    """As the test splits of folds do."""
    parts = [
        replace(held, landmark=held.landmark[rows], target=held.target[rows], study=held.study[rows])
        for rows in (slice(0, 100), slice(100, None))
    ]
    first, second = (score(predict, one) for one in parts)
    np.testing.assert_allclose(first.sums + second.sums, scores.sums, rtol=1e-5, atol=1e-4)


def test_genes_that_are_not_measured_count_nowhere(scores: HeldOutErrors) -> None:
    other = held_out(MEASURED)
    other.target[:, ~MEASURED] = 1e6
    again = score(predict, other)
    for name in ("sample", "gene", "sums"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scores, name))
    assert scores.gene.shape[1] == len(scores.sd) == len(scores.overlap) == GENES - 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [("test", True), ("test on array", True), ("test on rnaseq", True), ("rna", False), ("testis", False)],
)
def test_parts_of_the_test_split_are_no_cohorts(name: str, expected: bool) -> None:
    assert is_test(name) == expected
