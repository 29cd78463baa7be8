"""Units of values: by whole numbers, sums of a million, floors, and names as portals give their files."""

import numpy as np
import pytest

from dgex.data.intensity_scale import SMALL_OFFSET, intensity_scale, to_log2, value_ranges
from dgex.data.units import unit_of

RANDOM = np.random.default_rng(0)
ABUNDANCE = np.exp2(RANDOM.normal(2, 3, 500) + RANDOM.normal(0, 0.7, (12, 500))) * (RANDOM.random((12, 500)) > 0.05)
TPM = 1e6 * ABUNDANCE / ABUNDANCE.sum(axis=1, keepdims=True)
COUNTS = RANDOM.poisson(TPM)


def taken_as(values: np.ndarray, name: str = "table.tsv") -> tuple[str, str]:
    """The scale and the unit of a whole table."""
    values = values.astype(np.float32)
    ranges = value_ranges(values)
    scale = intensity_scale("a", [f"s{i}" for i in range(len(values))], ranges, values.__getitem__)
    total = np.median((np.exp2(to_log2(values, scale).astype(np.float64)) - 1).sum(axis=1))
    return scale, unit_of(name, scale, ranges, float(total))


@pytest.mark.parametrize(
    ("values", "name", "scale", "unit"),
    [
        (COUNTS, "gene_reads_v10_whole_blood.gct.gz", "linear", "counts, as they are whole numbers"),
        (COUNTS, "tpm.csv", "linear", "counts, as they are whole numbers"),  # numbers tell more than names
        (COUNTS * 98, "sra.gene_sums.SRP123456.G026.gz", "linear", "sums of base coverage (recount3), which are"),
        (TPM, "GTEx_Analysis_2017-06-05_v8_RNASeQCv1.1.9_gene_tpm.gct.gz", "linear", "TPM, by the name of the file"),
        (TPM * 0.6, "genes.fpkm_table", "linear", "RPKM, by the name of the file"),
        (TPM * 0.6, "GTEx_RNASeq_RPKM.gctx", "linear", "RPKM, by the name of the file"),
        (COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e6, "cpm.csv", "linear", "CPM, by the name of the file"),
        (TPM, "table.tsv", "linear", "TPM or CPM, as a profile sums to a million"),
        (TPM * 0.6, "table.tsv", "linear", ""),
        (np.log2(TPM + 1), "OmicsExpressionProteinCodingGenesTPMLogp1.csv", "log2", "log2(TPM + 1), by the name"),
        (np.log2(TPM + 1), "table.tsv", "log2", "log2(TPM or CPM + 1), as a profile sums to a million"),
        (np.log2(COUNTS + 1), "HiSeqV2.gz", "log2", "log2(TPM or CPM + 1)"),
        (np.log2(COUNTS * 3.3 + 1), "HiSeqV2.gz", "log2", "log2(x + 1), as none is below 0"),
        (np.log2(TPM * 3 + 0.5), "HiSeqV2.gz", "log2", ""),
        (np.log2(TPM + 0.001), "TcgaTargetGtex_rsem_gene_tpm.gz", SMALL_OFFSET, "log2(TPM + 0.001), by the name"),
        (np.log2(TPM * 0.6 + 0.001), "table.tsv", SMALL_OFFSET, "log2(x + 0.001), as none is below -9.9658"),
        (np.log2(TPM[:2] + 0.001), "table.tsv", SMALL_OFFSET, "log2(TPM or CPM + 0.001), as a profile sums to"),
    ],
)
def test_scale_and_unit(values, name, scale, unit):
    found = taken_as(np.round(values, 4), name)
    assert found[0] == scale
    assert found[1].startswith(unit) if unit else not found[1]


def test_log2_with_a_small_offset_becomes_log2_of_x_and_one():
    for_user = np.round(np.log2(TPM + 0.001), 4).astype(np.float32)
    np.testing.assert_allclose(to_log2(for_user, SMALL_OFFSET), np.log2(TPM + 1), atol=1e-4)
    assert to_log2(for_user, SMALL_OFFSET)[TPM == 0].max() < 1e-4


@pytest.mark.parametrize("floor", [-9.9, -9.97, -3.3])
def test_other_floors_are_no_such_offset(floor):
    values = np.maximum(RANDOM.normal(6, 3, 500) + RANDOM.normal(0, 0.5, (12, 500)), -3)
    values[:, 0] = floor
    assert taken_as(values)[0] == "log2"
