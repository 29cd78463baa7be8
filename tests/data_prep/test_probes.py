"""Finding and averaging the rows of genes, against pandas and hand-computed gaps."""

import numpy as np
import pandas as pd

from data_prep.probes import average, find_rows, repeated_gene
from dgex.genes import Genes

NAN = np.nan
LANDMARK = Genes(("ENSG1", "ENSG2"), ("A", "B"), ("b_at,d_at", "nowhere_at"))
TARGET = Genes(("ENSG3", "ENSG1"), ("C", "A"), ("a_at,nowhere2_at", "e_at"))


def test_arrays_are_found_by_probe_set():
    found = find_rows(("a_at", "b_at", "c_at", "d_at", "e_at"), LANDMARK, TARGET)
    assert found.naming == "probe set"
    assert found.members.tolist() == [1, 3, 0, 4] and found.count.tolist() == [2, 0, 1, 1]


def test_rna_seq_is_found_by_gene_with_or_without_version():
    for names in (("ENSG3.7", "ENSG1.12", "x"), ("ENSG3", "ENSG1", "x")):
        found = find_rows(names, LANDMARK, TARGET)
        assert found.naming == "Ensembl id"
        assert found.members.tolist() == [1, 0, 1] and found.count.tolist() == [1, 0, 1, 1]


def test_a_gene_in_two_versions_is_noticed():
    assert repeated_gene(("ENSG1.1", "ENSG2.1", "ENSG1.2"), LANDMARK.ensembl) == "ENSG1"
    assert repeated_gene(("ENSG1.1", "ENSG11"), LANDMARK.ensembl) is None
    assert repeated_gene(("AC1.1", "AC1.2"), LANDMARK.ensembl) is None  # clones, of no table


def test_only_measured_rows_count():
    found = find_rows(("b_at", "d_at", "a_at", "e_at"), LANDMARK, TARGET)
    values = np.array([[2, 4, 1, 5], [NAN, 4, 1, NAN], [NAN, NAN, NAN, NAN]], np.float32)
    expected = [[3, NAN, 1, 5], [4, NAN, 1, NAN], [NAN] * 4]
    result = average(values, found)
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(found.absent(np.isnan(values)), np.isnan(expected))


def test_agrees_with_pandas():
    random = np.random.default_rng(0)
    values = random.normal(8, 2, (20, 60))
    values[random.random(values.shape) < 0.3] = NAN
    gene = random.integers(15, size=60)
    expected = pd.DataFrame(values).T.groupby(gene).mean().T
    rows = [",".join(f"p{row}" for row in np.flatnonzero(gene == number)) for number in expected.columns]
    genes = Genes(tuple(map(str, expected.columns)), tuple(rows), tuple(rows))
    landmark, target = genes.take(np.arange(5)), genes.take(np.arange(5, len(genes)))
    found = find_rows(tuple(f"p{row}" for row in range(60)), landmark, target)
    np.testing.assert_allclose(average(values, found), expected, rtol=1e-6)
