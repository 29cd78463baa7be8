"""Which rows of real tables are the landmarks, and of what public programs and portals write."""

from dataclasses import replace

import numpy as np
import pytest

from dgex.data.gene_matching import average, match_genes
from dgex.formats.opening import open_expression

PATH = "table.csv"
PLATE = "l1000/LJP009_A375_24H_X1_B20_QNORM_n371x978.gct.gz"
COMPENDIUM = "geo/geo_compendium_n704x16687.gctx"
RNA_SEQ = "geo/rnaseq_cohorts_n661x10018.gctx"


@pytest.fixture(scope="module")
def plate(shared):
    with open_expression(shared / "data" / PLATE) as expression:
        return expression


@pytest.mark.parametrize(
    ("file", "naming", "unused"),
    [(PLATE, "probe set", 35), (COMPENDIUM, "probe set", 16_687 - 943), (RNA_SEQ, "Ensembl id", 10_018 - 943)],
)
def test_real_tables_have_all_landmarks_either_way_round(shared, landmark_genes, file, naming, unused):
    with open_expression(shared / "data" / file) as expression:
        for transposed, given in enumerate((expression, expression.transposed())):
            match = match_genes(PATH, given, landmark_genes)
            assert (match.naming, match.field, match.transposed) == (naming, None, bool(transposed))
            assert match.missing == match.ambiguous == () and match.unused == unused
            names = getattr(landmark_genes, "probes" if naming == "probe set" else "ensembl")
            assert tuple(expression.row_id[row] for row in match.rows.members) == names  # one row each


def test_a_real_plate_has_the_same_rows_by_every_naming(landmark_genes, plate):
    expected = match_genes(PATH, plate, landmark_genes).rows
    nameless = tuple(f"row {number} of none" for number in range(978))
    for field, naming in (("pr_gene_id", "Entrez id"), ("pr_gene_symbol", "symbol")):
        only = replace(plate, row_id=nameless, row_metadata={field: plate.row_metadata[field]})
        match = match_genes(PATH, only, landmark_genes)
        assert (match.naming, match.field, match.unused) == (naming, field, 35)
        np.testing.assert_array_equal(match.rows.members, expected.members)
        np.testing.assert_array_equal(match.rows.count, expected.count)


# What public programs and portals write, cut from the plate's six first profiles; see the folder's README.
CASES = {
    "cbio_dup.txt": ("Entrez id", "Entrez_Gene_Id"),
    "cbio_empty.txt": ("Entrez id", "Entrez_Gene_Id"),
    "depmap.csv": ("Entrez id", None),
    "tcga_rsem.txt": ("Entrez id", None),
    "entrez_float_samples.csv": ("Entrez id", None),
    "dup_symbol.csv": ("symbol", None),
    "tenx_dup.h5ad": ("Ensembl id", "gene_ids"),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(shared, landmark_genes, plate, name):
    if name.endswith(".h5ad"):
        pytest.importorskip("anndata")
    expected = plate.load()[:300:50, [plate.row_id.index(probe) for probe in landmark_genes.probes]]
    with open_expression(shared / "data" / "cases" / name) as given:
        match = match_genes(PATH, given, landmark_genes)
        values = (given.transposed() if match.transposed else given).load()
    assert (match.naming, match.field) == CASES[name]
    found = average(values if values.max() < 32 else np.log2(values + 1), match.rows)
    if name == "dup_symbol.csv":  # whose ATF1 stands twice, the second time with 1 more
        assert match.averaged == ("ATF1 (ENSG00000123268): 2 rows",)
        expected[:, landmark_genes.symbol.index("ATF1")] += 0.5
    if name == "tenx_dup.h5ad":  # whose DDR1 has its id on another assembly
        assert match.missing == ("DDR1 (ENSG00000204580)",)
        expected[:, landmark_genes.symbol.index("DDR1")] = np.nan
    else:
        assert match.missing == ()
    np.testing.assert_allclose(found, expected, atol=0.1 if name == "tenx_dup.h5ad" else 1e-3)  # which has whole counts
