"""Tables as public portals publish them are prepared alike, and a series of an unknown platform is refused."""

import gzip

import numpy as np

from data_prep.__main__ import app
from data_prep.pipeline import Settings, prepare
from dgex.data.dataset import read_dataset
from dgex.data.genes import Genes, write_gene_table


def test_tables_of_public_portals(tmp_path, published):
    """One experiment in every layout: values are those of its TPM, or of its counts, and the report says the unit."""
    random = np.random.default_rng(0)
    genes = [f"ENSG{i:011d}" for i in range(60)]
    symbols = [f"GENE{i}" for i in range(60)]
    for name, part in (("map_lm.txt", slice(0, 20)), ("map_tg.txt", slice(20, 50))):
        probes = tuple(f"{symbol}_at" for symbol in symbols[part])
        write_gene_table(tmp_path / name, Genes(tuple(genes[part]), tuple(symbols[part]), probes))
    tpm = np.exp2(random.normal(5, 2, (60, 1)) + random.normal(0, 0.5, (60, 24))) * (random.random((60, 24)) > 0.02)
    tpm *= 1e6 / tpm.sum(axis=0)
    counts = random.poisson(tpm / 10 * random.uniform(0.5, 2, 24))
    wanted = {"TPM": np.log2(tpm[:50] + 1).T, "counts": np.log2(1e6 * counts / counts.sum(axis=0) + 1)[:50].T}
    for name, scale in published(tmp_path, genes, symbols, tpm, counts).items():
        report = prepare(tmp_path / name, tmp_path, tmp_path / "out.h5", Settings("sample"), command="prepare")
        dataset = read_dataset(tmp_path / "out.h5")
        log2 = wanted["counts" if scale == "counts" else "TPM"]
        if "norm_count" in name:
            log2 = np.log2(counts[:50] + 1).T
        quantiles = np.sort(log2[dataset.split == 0], axis=1).mean(axis=0)
        np.testing.assert_allclose(dataset.quantiles, quantiles, atol=2e-3, err_msg=name)
        assert dataset.sample_id == tuple(f"S-{i}" for i in range(24)), name
        assert report.scale == scale, name
        unit = "coverage" if "gene_sums" in name else "TPM" if "tpm" in name.lower() else "counts"
        assert unit in " ".join([report.scale, *report.remarks]), name


def test_a_series_of_an_unknown_platform_is_refused(shared, tmp_path, refused):
    content = gzip.decompress((shared / "data" / "geo" / "GSE3268_series_matrix.txt.gz").read_bytes())
    (tmp_path / "GSE3268_series_matrix.txt").write_bytes(content.replace(b'"GPL96"', b'"GPL999"'))
    arguments = [str(tmp_path / "GSE3268_series_matrix.txt"), "--genes", str(shared / "data" / "genes")]
    line = refused(lambda: app(["prepare", *arguments, "--split", "sample", "-o", str(tmp_path / "out.h5")]))
    assert "is of unknown platform GPL999, known are GPL96 (HG-U133A)" in line
