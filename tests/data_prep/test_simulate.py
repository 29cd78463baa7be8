"""The simulator: the form of the real files, and what its docstring promises."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from data_prep.duplicates import keep_unique
from data_prep.simulate import simulate
from dgex.genes import overlap


@pytest.fixture(scope="module")
def simulated():
    return simulate(seed=0)


def test_form_and_scale(simulated):
    expression, landmark, target = simulated
    assert (len(expression.values), len(landmark), len(target)) == (2000, 200, 1000)
    assert expression.values.dtype == np.float32
    assert len(set(expression.row_id)) == len(expression.row_id) == expression.values.shape[1]
    assert len(set(expression.sample_id)) == 2000
    assert overlap(landmark, target).sum() == round(445 / 943 * 200)
    measured = expression.values[~np.isnan(expression.values)]
    assert 0 <= measured.min() and measured.max() < 16.1
    assert 4 < np.quantile(measured, 0.01) < np.quantile(measured, 0.99) < 15


def test_every_probe_set_belongs_to_one_gene(simulated):
    expression, landmark, target = simulated
    probes = ",".join(landmark.probes + target.probes).split(",")
    assert sorted(probes) == sorted(expression.row_id)
    assert all("," not in probe for probe in landmark.probes)
    assert 1.5 < np.mean([probe.count(",") + 1 for probe in target.probes]) < 1.8


def test_studies_are_uneven_but_none_is_tiny(simulated):
    _, sizes = np.unique(simulated[0].sample_metadata["study_id"], return_counts=True)
    assert len(sizes) == 20 and sizes.min() >= 6 and sizes.max() > 3 * np.median(sizes)


def test_planted_duplicates_are_all_there_is(simulated):
    assert keep_unique(simulated[0].values).sum() == 1900


def test_one_study_lacks_some_probe_sets(simulated):
    gaps = np.isnan(simulated[0].values)
    assert 0 < gaps.any(axis=0).mean() < 0.03
    assert 6 <= gaps.any(axis=1).sum() < 400


def test_probe_sets_of_a_gene_agree_and_studies_differ(simulated):
    expression, _, target = simulated
    column = {probe: i for i, probe in enumerate(expression.row_id)}
    pairs = [probes.split(",")[:2] for probes in target.probes if "," in probes]
    values = np.nan_to_num(expression.values)
    agreement = [spearmanr(values[:, column[a]], values[:, column[b]]).statistic for a, b in pairs[:50]]
    assert np.median(agreement) > 0.7
    study = expression.sample_metadata["study_id"]
    medians = [np.nanmedian(expression.values[study == name]) for name in np.unique(study)]
    assert np.ptp(medians) > 1


def test_the_seed_decides():
    first, again, other = (simulate(200, 20, 50, 5, seed=seed)[0].values for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()
