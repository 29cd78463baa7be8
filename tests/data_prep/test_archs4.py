"""ARCHS4 as a source: its download, and preparation of counts in its form."""

import gzip
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep import archs4 as module
from data_prep.__main__ import app
from data_prep.archs4 import archs4
from data_prep.choice import Choice
from data_prep.pipeline import Settings, prepare
from data_prep.simulate import Scale, simulate
from data_prep.simulate_archs4 import simulate_archs4
from dgex.data.dataset import read_dataset
from dgex.data.genes import Genes, gene_table_paths, write_gene_table
from dgex.errors import DgexError
from dgex.formats.expression import in_memory
from dgex.formats.opening import open_expression
from dgex.formats.table import write_table

SCALE = Scale(20, 60, overlap=9, rows=200, profiles=400, profiles_per_study=40, duplicates=0.14, archs4_genes=2500)
SAMPLES = 300


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """A folder with gene tables and a simulated file of 2,500 genes in two rows of chunks."""
    folder = tmp_path_factory.mktemp("archs4")
    _, *tables = simulate(SCALE, SCALE.profiles, 0)
    for path, genes in zip(gene_table_paths(folder), tables, strict=True):
        write_gene_table(path, genes)
    simulate_archs4(folder / "human_gene_v2.5.h5", SCALE, SAMPLES, 0, 2)
    return folder


@pytest.fixture
def folder(simulated, tmp_path, monkeypatch) -> Path:
    shutil.copytree(simulated, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_simulated_file_has_the_published_layout(simulated):
    with h5py.File(simulated / "human_gene_v2.5.h5") as file:
        matrix = file["data/expression"]
        assert (matrix.shape, matrix.dtype, matrix.chunks) == ((2500, SAMPLES), np.uint32, (2000, 1))
        assert (matrix.compression, matrix.maxshape) == ("gzip", (2500, None))
        total = matrix[:].sum(axis=0)
        is_cell = file["meta/samples/singlecellprobability"][:] > 0.5
        assert 0.05 < is_cell.mean() < 0.6
        assert np.median(total[~is_cell]) > 1e7 and total[is_cell].max() < 1e6
        assert np.median((matrix[:, is_cell] > 0).mean(axis=0)) < 0.1
        assert any("," in series for series in file["meta/samples/series_id"].asstr())


def test_the_seed_decides_not_the_workers(simulated, tmp_path):
    for name, seed, workers in (("same.h5", 0, 1), ("other.h5", 1, 1)):
        simulate_archs4(tmp_path / name, SCALE, 40, seed, workers)
    with (
        h5py.File(simulated / "human_gene_v2.5.h5") as first,
        h5py.File(tmp_path / "same.h5") as same,
        h5py.File(tmp_path / "other.h5") as other,
    ):
        assert same["meta/genes/ensembl_gene"][:].tolist() == first["meta/genes/ensembl_gene"][:].tolist()
        assert same["meta/genes/ensembl_gene"][:].tolist() != other["meta/genes/ensembl_gene"][:].tolist()


def test_counts_become_log2_of_counts_per_million_of_all_genes(folder):
    """Also of those in no table, which the scratch file does not keep."""
    settings = Settings("study", choice=Choice(samples=110, per_study=30, seed=2), seed=2)
    report = prepare(folder / "human_gene_v2.5.h5", folder, folder / "out.h5", settings, "prepare")
    dataset = read_dataset(folder / "out.h5")
    with h5py.File("human_gene_v2.5.h5") as file:
        counts = file["data/expression"][:].T.astype(np.float64)
        place = {name: row for row, name in enumerate(file["meta/genes/ensembl_gene"].asstr())}
        names = file["meta/samples/geo_accession"].asstr()[:].tolist()
    samples = [names.index(name) for name in dataset.sample_id]
    total = counts[samples].sum(axis=1, keepdims=True)
    genes = [place[name] for name in (*dataset.landmark_genes.ensembl, *dataset.target_genes.ensembl)]
    log2 = np.log2(1e6 * counts[np.ix_(samples, genes)] / total + 1)
    training = dataset.split == 0
    np.testing.assert_allclose(dataset.quantiles, np.sort(log2[training], axis=1).mean(axis=0), rtol=1e-5, atol=1e-6)
    assert total.min() >= 1e6 and len(report.incomplete_removed) > 0
    assert report.samples_read == 110 == len(samples) + len(report.incomplete_removed)
    assert (report.kind, report.scale, report.naming) == ("ARCHS4", "counts", "Ensembl id")
    assert "110 of 300 samples chosen" in str(report) and "fewer than 1,000,000 reads" in str(report)
    assert "counts, converted to log2(counts per million + 1)" in str(report) and "origin" in str(report)


def test_studies_that_share_a_series_are_in_one_split(folder):
    prepare(folder / "human_gene_v2.5.h5", folder, folder / "out.h5", Settings(), "prepare")
    dataset = read_dataset(folder / "out.h5")
    with h5py.File("human_gene_v2.5.h5") as file:
        series = dict(
            zip(file["meta/samples/geo_accession"].asstr(), file["meta/samples/series_id"].asstr(), strict=True)
        )
    splits: dict[str, set[int]] = {}
    for sample, split in zip(dataset.sample_id, dataset.split.tolist(), strict=True):
        for name in series[sample].split(","):
            splits.setdefault(name, set()).add(split)
    assert all(len(found) == 1 for found in splits.values()) and len(splits) >= 3


def test_the_command_chooses_and_records_it(folder, capsys):
    options = ["--genes", ".", "-o", "out.h5", "--keep", "title contains bulk", "--samples", "120", "--min-reads", "0"]
    app(["prepare", "human_gene_v2.5.h5", *options, "--split", "sample", "--seed", "7"])
    assert "120 of 300 samples chosen" in capsys.readouterr().out
    provenance = read_dataset(folder / "out.h5").provenance
    assert "--keep 'title contains bulk' --samples 120 --min-reads 0 --seed 7" in provenance["command"]
    wanted = {"keep": "title contains bulk", "samples": 120, "per_study": 100, "min_reads": 0, "seed": 7}
    assert provenance["preparation"]["choice"] == wanted


def test_a_cohort_may_be_an_archs4_file(folder, capsys):
    simulate_archs4(folder / "other.h5", SCALE, 60, 1, 2)
    with h5py.File(folder / "other.h5", "r+") as file:
        names = file["meta/samples/geo_accession"]
        names[:] = [f"GSM9{i}" for i in range(len(names))]
    app(["prepare", "human_gene_v2.5.h5", "--genes", ".", "-o", "out.h5"])
    app(["prepare", "other.h5", "--onto", "out.h5", "-o", "cohort.h5", "--samples", "20"])
    assert "20 of 60 samples chosen" in capsys.readouterr().out
    cohort = read_dataset(folder / "cohort.h5").provenance
    assert cohort["command"].endswith("--onto out.h5 --samples 20")


def test_counts_of_a_table_are_treated_alike(folder):
    """Library sizes differ by a factor of 30; without them the reference would be that of the deepest samples."""
    random = np.random.default_rng(0)
    names = tuple(f"ENSG{i}" for i in range(20))
    for path, part in zip(gene_table_paths(folder), (slice(0, 8), slice(8, 20)), strict=True):
        write_gene_table(path, Genes(names[part], names[part], names[part]))
    rate = np.exp(random.normal(5, 1, 20) + random.normal(0, 0.2, (30, 20))) * np.repeat([1, 5, 30], 10)[:, None]
    counts = random.poisson(rate).astype(np.float32)
    write_table(folder / "counts.csv", in_memory(counts, names, [f"s{i}" for i in range(30)]))
    report = prepare(folder / "counts.csv", folder, folder / "out.h5", Settings("sample"), "prepare")
    dataset = read_dataset(folder / "out.h5")
    log2 = np.log2(1e6 * counts.astype(np.float64) / counts.sum(axis=1, keepdims=True, dtype=np.float64) + 1)
    wanted = np.sort(log2[dataset.split == 0], axis=1).mean(axis=0)
    np.testing.assert_allclose(dataset.quantiles, wanted, rtol=1e-5)
    assert report.scale == "counts"


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        (
            "human_gene_v2.5.h5",
            ["--keep", "tissue = liver"],
            "its samples have no field tissue; --keep knows study",
        ),
        ("human_gene_v2.5.h5", ["--keep", "title = none"], "no sample fulfils singlecellprobability < 0.5 and title ="),
        ("human_gene_v2.5.h5", ["--keep", "eval(x)"], "--keep: 'eval(x)' is no condition"),
        ("human_gene_v2.5.h5", ["--min-reads", "999999999"], "none of the chosen samples has 999,999,999 reads"),
        (
            "table.csv",
            ["--samples", "3"],
            "table.csv: --keep, --samples, --per-study and --min-reads choose",
        ),
    ],
)
def test_bad_input(folder, refused, source, options, said):
    with open_expression(folder / "human_gene_v2.5.h5", choose=lambda fields: np.arange(30)) as table:
        write_table(folder / "table.csv", table)
    split = ["--split", "sample"]
    assert said in refused(lambda: app(["prepare", source, "--genes", ".", "-o", "out.h5", *split, *options]))
    assert not (folder / "out.h5").exists()


@pytest.fixture
def release(simulated, server):
    """The server has the file, whole or from the byte that is asked for; every first answer breaks off halfway."""
    data = (simulated / "human_gene_v2.5.h5").read_bytes()

    def answer(handler, begin, upto=None):
        if begin:
            handler.head(
                206, Content_Length=len(data) - begin, Content_Range=f"bytes {begin}-{len(data) - 1}/{len(data)}"
            )
        else:
            handler.head(200, Content_Length=len(data))
        handler.body(data[begin:upto])

    server.answers = [lambda handler, begin: answer(handler, begin, len(data) // 2), answer]
    server.mirror = server.url.rpartition("/")[0]
    server.data = data
    return server


def test_the_download_goes_on_where_it_broke_off(release, tmp_path, monkeypatch):
    monkeypatch.setattr("dgex.files.download.time.sleep", lambda seconds: None)
    monkeypatch.setattr("dgex.files.download.FIRST_WAIT", 0)
    monkeypatch.setattr(module, "CHECKSUMS", {})
    output = tmp_path / "human.h5"
    assert archs4(output, mirror=release.mirror) == f"{output}: human gene counts of ARCHS4 2.5, whole"
    assert output.read_bytes() == release.data
    assert release.ranges == [None, f"bytes={len(release.data) // 2}-"]
    archs4(output, mirror=release.mirror)
    assert len(release.ranges) == 2  # the file that is there is kept


def test_room_is_looked_for_before_the_first_byte(release, tmp_path, refused, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("dgex.files.atomic.shutil.disk_usage", lambda folder: usage._replace(free=2**24))
    line = refused(lambda: app(["archs4", "-o", f"{tmp_path}/human.h5", "--mirror", release.mirror]))
    assert "needs 1" in line and "the disk has 16 MiB left; make room" in line
    assert not list(tmp_path.iterdir())


def test_what_is_no_release_or_another_file_is_refused(release, tmp_path, refused, monkeypatch):
    assert "--release: is a version such as 2.5" in refused(
        lambda: app(["archs4", "-o", "x.h5", "--release", "latest"])
    )
    monkeypatch.setattr(module, "CHECKSUMS", {"2.5": "0" * 40})
    (tmp_path / "human.h5").write_bytes(release.data)
    with pytest.raises(DgexError, match="human.h5: has SHA-1 .*, not 0000.*; delete it to have it downloaded again"):
        archs4(tmp_path / "human.h5")
    (tmp_path / "text.h5").write_bytes(gzip.compress(b"#1.2\n1\t1\nName\tDescription\ts\na\tA\t1\n"))
    monkeypatch.setattr(module, "CHECKSUMS", {})
    with pytest.raises(DgexError, match=r"text.h5: is GCT 1.2, not ARCHS4; check the mirror"):
        archs4(tmp_path / "text.h5")
