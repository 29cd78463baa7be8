"""Finding the rows of both gene tables."""

from data_prep.probes import find_rows, repeated_gene
from dgex.genes import Genes

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
