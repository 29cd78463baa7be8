"""Averaging probe sets, against pandas and hand-computed gaps."""

import numpy as np
import pandas as pd

from data_prep.probes import average_probes, find_probes
from dgex.genes import Genes

NAN = np.nan
GENES = Genes(("E1", "E2", "E3"), ("A", "B", "C"), probes=("b_at,d_at", "nowhere_at", "a_at,nowhere2_at"))


def test_rows_are_found_by_name():
    assert find_probes(("a_at", "b_at", "c_at", "d_at"), GENES) == [[1, 3], [], [0]]


def test_only_measured_probe_sets_count():
    values = np.array([[1, 2, 9, 4], [1, NAN, 9, 4], [NAN, NAN, 9, NAN]], np.float32)
    expected = [[3, NAN, 1], [4, NAN, 1], [NAN, NAN, NAN]]
    result = average_probes(values, [[1, 3], [], [0]])
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == np.float32


def test_a_source_of_other_rows_gives_only_gaps():
    assert np.isnan(average_probes(np.ones((2, 3)), [[], []])).all()


def test_agrees_with_pandas():
    random = np.random.default_rng(0)
    values = random.normal(8, 2, (20, 60))
    values[random.random(values.shape) < 0.3] = NAN
    gene = random.integers(15, size=60)
    expected = pd.DataFrame(values).T.groupby(gene).mean().T
    result = average_probes(values, [np.flatnonzero(gene == g).tolist() for g in expected.columns])
    np.testing.assert_allclose(result, expected, rtol=1e-6)
