"""ARCHS4: files of its layout, in chunks of any shape; what is read of them; files that are not its human counts."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.formats.archs4 import joined_series
from dgex.formats.opening import open_expression

COUNTS = np.random.default_rng(0).poisson(5, (23, 17)).astype(np.uint32)  # genes x samples
GENES = [f"ENSG{i:011d}" for i in range(23)]


def write_archs4(path: Path, counts: np.ndarray = COUNTS, chunks: tuple[int, int] | None = (5, 1), **changes) -> Path:
    """A file with the members of version 2.5; ``changes`` replaces some, with "__" for "/", or leaves out None."""
    genes, samples = counts.shape
    members = {
        "meta/genes/ensembl_gene": [f"ENSG{i:011d}" for i in range(genes)],
        "meta/genes/symbol": [f"GENE{i}" for i in range(genes)],
        "meta/info/version": "2.5",
        "meta/samples/geo_accession": [f"GSM{i}" for i in range(samples)],
        "meta/samples/series_id": ["GSE7", "GSE7,GSE9", "GSE8"] + ["GSE8"] * (samples - 3),
        "meta/samples/singlecellprobability": np.linspace(0, 1, samples),
        "meta/samples/extract_protocol_ch1": ["a paragraph"] * samples,
    } | {name.replace("__", "/"): value for name, value in changes.items()}
    with h5py.File(path, "w") as file:
        compression = "gzip" if chunks else None
        file.create_dataset("data/expression", data=counts, chunks=chunks, compression=compression)
        for name, value in members.items():
            if value is not None:
                file[name] = value
    return path


@pytest.fixture
def path(tmp_path) -> Path:
    return write_archs4(tmp_path / "human_gene_v2.5.h5")


def test_reads_counts_and_what_is_known(path):
    with open_expression(path) as table:
        np.testing.assert_array_equal(table.load(), COUNTS.T.astype(np.float32), strict=True)
        assert (table.kind, list(table.row_id), table.sample_id[:2]) == ("ARCHS4", GENES, ("GSM0", "GSM1"))
        assert table.row_metadata["symbol"].tolist() == [f"GENE{i}" for i in range(23)]
        assert set(table.sample_metadata) == {"study_id", "singlecellprobability"}  # and no paragraphs
        assert table.sample_metadata["study_id"].tolist() == ["GSE7", "GSE7", *["GSE8"] * 15]
        np.testing.assert_array_equal(table.sample_metadata["singlecellprobability"], np.linspace(0, 1, 17))


@pytest.mark.parametrize("chunks", [(5, 1), (7, 3), (23, 17), (4, 16), None])
@pytest.mark.parametrize("chosen", [range(17), [0, 3, 4, 9, 16], [5]])
@pytest.mark.parametrize("most", [1, 10, 23, 60, 10**6])
def test_any_chunks_any_samples_any_blocks(tmp_path, chunks, chosen, most):
    path = write_archs4(tmp_path / "a.h5", chunks=chunks)
    found = np.full((len(chosen), 23), np.nan)
    with open_expression(path, choose=lambda fields: np.array(chosen)) as table:
        assert table.sample_id == tuple(f"GSM{i}" for i in chosen)
        assert table.sample_metadata["study_id"].tolist() == ["GSE7" if i < 2 else "GSE8" for i in chosen]
        for samples, rows, values in table.blocks(most):
            assert np.isnan(found[samples, rows]).all(), "read twice"
            found[samples, rows] = values
    np.testing.assert_array_equal(found, COUNTS.T[list(chosen)])


def test_only_the_chosen_samples_are_read(path):
    """Damage elsewhere does not matter, which shows that the rest of the 45 GiB is left alone."""
    with h5py.File(path) as file:
        place = file["data/expression"].id.get_chunk_info_by_coord((0, 4))
    data = bytearray(path.read_bytes())
    data[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
    path.write_bytes(data)
    with open_expression(path, choose=lambda fields: np.array([3, 5])) as table:
        np.testing.assert_array_equal(table.load(), COUNTS.T[[3, 5]])
    with open_expression(path, choose=lambda fields: np.array([4])) as table, pytest.raises(DgexError, match="damaged"):
        table.load()


def test_earlier_names_and_symbols_alone(tmp_path):
    earlier = {"meta__genes__ensembl_gene": None, "meta__info__version": None}
    with open_expression(write_archs4(tmp_path / "a.h5", meta__genes__ensembl_gene_id=GENES, **earlier)) as table:
        assert list(table.row_id) == GENES
    symbols = {"meta__genes__symbol": None, "meta__genes__gene_symbol": ["A"] * 23}
    with open_expression(write_archs4(tmp_path / "b.h5", **earlier, **symbols)) as table:
        assert table.row_id == ("A",) * 23


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"meta__info__version": "1.11"}, "is not of version 2 but 1.11"),
        ({"meta__samples__geo_accession": None, "meta__Sample_geo_accession": ["GSM0"] * 17}, "is not of version 2"),
        ({"meta__transcripts__ensembl_id": ["ENST0"] * 23}, "holds transcripts"),
        ({"meta__genes__ensembl_gene": [f"ENSMUSG{i:011d}" for i in range(23)]}, "of mouse"),
        ({"meta__genes__ensembl_gene": None, "meta__samples__organism_ch1": ["Mus musculus"] * 17}, "of mouse"),
        ({"meta__genes__ensembl_gene": None, "meta__genes__symbol": None, "meta__genes__x": ["A"]}, "has none of"),
        ({"meta__samples__geo_accession": ["GSM0"] * 16}, "geo_accession has 16 entries, and /data/expression 17"),
        ({"meta__samples__title": ["one"]}, "title has 1 entries, and /data/expression 17"),
        ({"meta__genes__ensembl_gene": ["ENSG0"] * 17}, "ensembl_gene has 17 entries, and /data/expression 23"),
        ({"counts": COUNTS / 7}, "is (23, 17) of float64, not the counts of genes x samples"),
        ({"counts": COUNTS[:, :0], "chunks": None, "meta__samples__series_id": []}, "is (23, 0)"),
    ],
)
def test_other_files_are_refused(tmp_path, changes, said):
    path = write_archs4(tmp_path / "a.h5", **changes)
    with pytest.raises(DgexError) as error, open_expression(path):
        pass
    assert said in str(error.value) and str(error.value).endswith("human_gene_v2.5.h5 or newer")


def test_samples_that_share_a_series_are_of_one_study():
    series = ["GSE30", "GSE30,GSE4", "GSE5,GSE6", "GSE6, GSE100", "GSE100,GSE12", "", "GSE4", "GSE7"]
    assert joined_series(series) == ["GSE4", "GSE4", "GSE5", "GSE5", "GSE5", "", "GSE4", "GSE7"]
    assert joined_series(["GSE1,GSE2", "GSE3,GSE4", "GSE2,GSE3"]) == ["GSE1"] * 3
