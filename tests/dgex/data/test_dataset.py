"""The prepared file: what is written comes back, and nothing that contradicts itself is let in."""

import hashlib
import json
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from dgex.data.dataset import (
    SPLITS,
    Dataset,
    read_dataset,
    read_provenance,
    read_reference,
    sha256_of,
)
from dgex.data.dataset_writing import create_dataset, write_dataset
from dgex.data.genes import Genes
from dgex.data.missing import Missing
from dgex.data.normalization import fit_scaler
from dgex.data.platforms import Platforms
from dgex.errors import DgexError

SPLIT = np.array([0, 2, 0, 1, 0, 0, 2, 1], np.uint8)


def genes(first: int, count: int) -> Genes:
    numbers = range(first, first + count)
    return Genes(*(tuple(f"{letter}{i}" for i in numbers) for letter in ("ENSG", "symbol", "probe")))


@pytest.fixture
def dataset() -> Dataset:
    random = np.random.default_rng(0)
    landmark = random.normal(8, 2, (8, 3)).astype(np.float32)
    target = random.normal(8, 2, (8, 5)).astype(np.float32)
    return Dataset(
        landmark=landmark,
        target=target,
        sample_id=tuple("abcdefgh"),
        study=("GSE1",) * 6 + ("GSE2", "Müller"),
        project=("P",) * 6 + ("", ""),
        platform=np.zeros(8, np.uint8),
        split=SPLIT,
        landmark_genes=genes(0, 3),
        target_genes=genes(2, 5),
        landmark_scaler=fit_scaler(landmark[SPLIT == 0]),
        target_scaler=fit_scaler(target[SPLIT == 0]),
        quantiles=np.arange(8, dtype=np.float32),
        platforms=Platforms.single(3, 5),
        provenance={
            "seed": 3,
            "command": "prepare it",
            "sources": {"a.gctx": "00ff"},
            "versions": {"numpy": "2"},
            "preparation": {"split": "study", "missing": ["ENSG9"]},
        },
    )


@pytest.fixture
def path(dataset, tmp_path):
    write_dataset(tmp_path / "prepared.h5", dataset)
    return tmp_path / "prepared.h5"


def test_reads_back_what_was_written(dataset, path):
    read = read_dataset(path)
    for name in ("sample_id", "study", "landmark_genes", "target_genes", "provenance"):
        assert getattr(read, name) == getattr(dataset, name)
    for name, dtype in {"landmark": "f4", "target": "f4", "split": "u1", "quantiles": "f4"}.items():
        np.testing.assert_array_equal(getattr(read, name), getattr(dataset, name), strict=True)
        assert getattr(read, name).dtype == dtype
    np.testing.assert_array_equal(read.target_scaler.sd, dataset.target_scaler.sd)
    assert read.overlap.tolist() == [True, False, False, False, False]


def test_provenance_alone(dataset, path):
    assert read_provenance(path) == dataset.provenance
    with h5py.File(path, "r+") as file:  # nothing else is looked at
        del file["target"]
    assert read_provenance(path) == dataset.provenance


@pytest.mark.parametrize("name", ["preparation", "sources"])
def test_provenance_that_is_none(path, name):
    with h5py.File(path, "r+") as file:
        if name in file:
            file[name][()] = "[3]"
        else:
            del file.attrs[name]
    with pytest.raises(DgexError, match="has incomplete provenance"):
        read_provenance(path)


def test_layout_is_the_documented_one(path):
    with h5py.File(path) as file:
        assert file.attrs["schema_version"] == 4
        assert file["gene/target/ensembl"].asstr()[0] == "ENSG2"
        assert file["landmark"].shape == (8, 3) and file["scaler/landmark/mean"].shape == (3,)


def test_equal_data_give_equal_bytes(dataset, path, tmp_path):
    write_dataset(tmp_path / "again.h5", dataset)
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_a_file_written_in_pieces_is_the_same(dataset, path, tmp_path):
    with create_dataset(tmp_path / "pieces.h5", 8, 3, 5) as writer:
        values = np.hstack([dataset.landmark, dataset.target])
        for rows in (slice(0, 3), slice(3, 8)):
            writer.write(rows, values[rows])
        np.testing.assert_array_equal(writer.read(slice(2, 5)), values[2:5])
        missing = Missing.among(values)
        of_samples = dataset.sample_id, dataset.study, dataset.project, dataset.platform, dataset.split
        writer.finish(dataset, *of_samples, missing, dataset.provenance)
    assert (tmp_path / "pieces.h5").read_bytes() == path.read_bytes()


def test_long_lists_and_histograms_find_room(dataset, tmp_path):
    removed = [f"GSM{number}" for number in range(20_000)]  # more than an HDF5 attribute holds
    provenance = dataset.provenance | {"preparation": {"duplicates_removed": removed}}
    before = {"GSE1": np.arange(220, dtype="u8"), "GSE2": np.ones(220, "u8")}
    with create_dataset(tmp_path / "long.h5", 8, 3, 5) as writer:
        values = np.hstack([dataset.landmark, dataset.target])
        writer.write(slice(0, 8), values)
        missing = Missing.among(values)
        writer.finish(
            dataset,
            dataset.sample_id,
            dataset.study,
            dataset.project,
            dataset.platform,
            dataset.split,
            missing,
            provenance,
            before,
        )
    assert read_dataset(tmp_path / "long.h5").provenance["preparation"]["duplicates_removed"] == removed
    with h5py.File(tmp_path / "long.h5") as file:
        assert file["before/study"].asstr()[:].tolist() == ["GSE1", "GSE2"]
        np.testing.assert_array_equal(file["before/counts"], [before["GSE1"], before["GSE2"]])


@pytest.fixture
def gaps(dataset) -> Dataset:
    """Two samples without the same genes of either side, and one without another."""
    landmark, target = dataset.landmark.copy(), dataset.target.copy()
    landmark[[1, 4], 0] = target[[1, 4], 3] = target[6, 4] = np.nan
    train = dataset.split == 0
    return replace(
        dataset, landmark=landmark, target=target, landmark_scaler=fit_scaler(landmark[train]),
        target_scaler=fit_scaler(target[train]),
    )  # fmt: skip


def test_missing_values_come_back(gaps, tmp_path):
    """The file has the training mean in their place, which an input keeps; what is a target stays unknown."""
    write_dataset(tmp_path / "gaps.h5", gaps)
    with h5py.File(tmp_path / "gaps.h5") as file:
        assert file["missing/patterns"].shape == (3, 1)
        assert file["missing/pattern"][()].tolist() == [0, 2, 0, 0, 2, 0, 1, 0]
        assert np.unpackbits(file["missing/patterns"][2]).tolist() == [1, 0, 0, 0, 0, 0, 1, 0]  # 3 landmarks, 5 targets
        assert file["target"][4, 3] == gaps.target_scaler.mean[3]
        assert file["target"][4, 3] == pytest.approx(gaps.target[[0, 2, 5], 3].mean(), rel=1e-6)
    read = read_dataset(tmp_path / "gaps.h5")
    np.testing.assert_array_equal(read.landmark, gaps.landmark)
    np.testing.assert_array_equal(read.target, gaps.target)
    assert read.warnings() == []
    landmark, target = read.zscores("test")
    assert np.isfinite(landmark).all() and np.argwhere(np.isnan(target)).tolist() == [[0, 3], [1, 4]]
    assert read.zscores("train")[0][2, 0] == 0


def make_old(path, **preparation):
    with h5py.File(path, "r+") as file:
        del file["missing"]
        file.attrs["schema_version"] = 2
        file["preparation"][()] = json.dumps(preparation)


def test_the_schema_without_gaps_is_still_read(gaps, tmp_path):
    """With one word that they cannot be told, where there are any."""
    path = tmp_path / "old.h5"
    write_dataset(path, gaps)
    make_old(path, gaps_filled=5)
    read = read_dataset(path)
    assert np.isfinite(read.target).all() and read.target[4, 3] == gaps.target_scaler.mean[3]
    (warning,) = read.warnings()
    assert warning.startswith("5 missing values cannot be told from measured ones, ") and "prepare it again" in warning
    make_old_again = {"gaps_filled": 0}
    with h5py.File(path, "r+") as file:
        file["preparation"][()] = json.dumps(make_old_again)
    assert read_dataset(path).warnings() == []


def test_whole_genes_are_known_to_be_missing_from_old_cohorts(gaps, tmp_path):
    path = tmp_path / "old.h5"
    write_dataset(path, gaps)
    make_old(path, onto="00", landmarks_missing=["ENSG1"], targets_missing=["ENSG3", "ENSG6"], gaps_filled=8 * 3 + 2)
    read = read_dataset(path)
    assert np.isnan(read.landmark).all(axis=0).tolist() == [False, True, False]
    assert np.isnan(read.target).all(axis=0).tolist() == [False, True, False, False, True]
    assert np.isnan(read.target).sum() == 16 and read.warnings()[0].startswith("2 missing values")


def test_the_reference_is_read_without_the_profiles(dataset, path):
    with h5py.File(path, "r+") as file:
        del file["landmark"], file["target"]
    reference = read_reference(path)
    assert reference.target_genes == dataset.target_genes
    np.testing.assert_array_equal(reference.quantiles, dataset.quantiles)
    np.testing.assert_array_equal(reference.landmark_scaler.mean, dataset.landmark_scaler.mean)


def test_a_mapped_cohort_has_test_samples_alone_and_another_scaler(dataset, tmp_path):
    provenance = dataset.provenance | {"preparation": {"onto": "00ff"}}
    cohort = replace(dataset, split=np.full(8, 2, np.uint8), provenance=provenance)
    write_dataset(tmp_path / "cohort.h5", cohort)
    assert (read_dataset(tmp_path / "cohort.h5").split == 2).all()


def test_legacy_files_are_held_to_the_originals_scaler(dataset, tmp_path, refused):
    provenance = dataset.provenance | {"preparation": {"legacy": True}}
    legacy = replace(
        dataset,
        landmark_scaler=fit_scaler(dataset.landmark, legacy=True),
        target_scaler=fit_scaler(dataset.target, legacy=True),
        provenance=provenance,
    )
    write_dataset(tmp_path / "legacy.h5", legacy)
    assert read_dataset(tmp_path / "legacy.h5").provenance["preparation"] == {"legacy": True}
    write_dataset(tmp_path / "mixed.h5", replace(dataset, provenance=provenance))
    assert "is not that of the samples" in refused(lambda: read_dataset(tmp_path / "mixed.h5"))


@pytest.mark.parametrize("split", SPLITS)
def test_zscores_use_the_training_mean_and_sd(dataset, split):
    rows = SPLIT == SPLITS.index(split)
    for values, scores in zip((dataset.landmark, dataset.target), dataset.zscores(split), strict=True):
        wide = values.astype(np.float64)
        training = wide[SPLIT == 0]
        np.testing.assert_allclose(scores, ((wide - training.mean(0)) / training.std(0))[rows], atol=1e-5)
        assert scores.dtype == np.float32 and scores.flags.c_contiguous


def test_sha256_is_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def put(name, values):
    """A damage: a member of the file replaced."""

    def damage(file):
        del file[name]
        if values is not None:
            file[name] = values

    return damage


def poke(name, index, value):
    """A damage: one element of a member changed."""

    def damage(file):
        file[name][index] = value

    return damage


def attribute(name, value):
    def damage(file):
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (attribute("schema_version", 1), "schema version 1"),
        (attribute("schema_version", None), "not a prepared data set"),
        (attribute("sources", None), "provenance"),
        (attribute("versions", "{"), "provenance"),
        (put("preparation", "3"), "provenance"),
        (put("preparation", None), "no /preparation"),
        (put("scaler/target/sd", None), "no /scaler/target/sd"),
        (put("target", np.zeros((8, 4), "f4")), "/gene/target/ensembl has shape (5,)"),
        (put("target", np.zeros((7, 5), "f4")), "/target has shape (7, 5)"),
        (put("landmark", np.zeros(8, "f4")), "/landmark has shape (8,)"),
        (put("landmark", np.zeros((8, 3))), "/landmark holds f8"),
        (put("split", np.zeros(8, "f4")), "/split holds f4"),
        (put("sample/id", np.arange(8)), "/sample/id holds i8"),
        (poke("target", (2, 1), np.nan), "/target holds NaN"),
        (poke("landmark", (2, 1), np.inf), "/landmark holds NaN or infinite"),
        (poke("scaler/landmark/mean", 0, np.nan), "/scaler/landmark/mean holds NaN"),
        (put("missing/pattern", None), "no /missing/pattern"),
        (poke("missing/pattern", 3, 1), "/missing does not fit its 8 genes"),
        (put("missing/patterns", np.zeros((1, 2), "u1")), "/missing does not fit its 8 genes"),
        (put("missing/pattern", np.zeros(7, "u4")), "/missing/pattern has shape (7,)"),
        (poke("sample/id", 3, "a"), "/sample/id holds a twice"),
        (poke("gene/target/ensembl", 1, "ENSG2"), "/gene/target/ensembl holds ENSG2 twice"),
        (poke("split", 0, 3), "/split holds other values"),
        (poke("split", np.array([3, 7]), 0), "no validation samples"),
        (poke("quantiles", 2, -1), "/quantiles are not ascending"),
        (poke("scaler/target/sd", 4, 0), "/scaler/target/sd is not positive"),
        (poke("scaler/target/sd", 4, 5), "/scaler/target is not that of the training samples"),
        (poke("scaler/landmark/mean", 0, 5), "/scaler/landmark is not that of the training samples"),
    ],
)
def test_damaged_files_are_refused(path, refused, damage, complaint):
    with h5py.File(path, "r+") as file:
        damage(file)
    line = refused(lambda: read_dataset(path))
    assert str(path) in line and complaint in line


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"id,sample\n", "not an HDF5 file"),
        (b"#1.3\n2\t3\t0\t0\n", "GCT text"),
    ],
)
def test_other_files_are_refused(tmp_path, refused, content, complaint):
    path = tmp_path / "prepared.h5"
    if content is not None:
        path.write_bytes(content)
    assert complaint in refused(lambda: read_dataset(path))


def test_a_gctx_file_is_told_apart(shared, refused):
    path = shared / "data" / "gct" / "mini_gctoo_for_testing.gctx"
    assert "is a GCTX file" in refused(lambda: read_dataset(path))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_truncated_files_are_refused(path, refused, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "truncated or damaged" in refused(lambda: read_dataset(path))


def test_a_flipped_value_is_noticed(path, dataset, refused):
    content = path.read_bytes()
    path.write_bytes(content.replace(dataset.target.tobytes()[:16], b"0123456789abcdef"))
    assert "truncated or damaged" in refused(lambda: read_dataset(path))


def test_a_full_disk_is_noticed_beforehand(tmp_path, dataset, refused, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=2**20))
    assert "the disk has 1 MiB left" in refused(lambda: write_dataset(tmp_path / "prepared.h5", dataset))
    assert not list(tmp_path.iterdir())


def test_nothing_stays_where_writing_fails(tmp_path, dataset, refused):
    with pytest.raises(KeyError):
        write_dataset(tmp_path / "prepared.h5", replace(dataset, provenance={}))
    (tmp_path / "prepared.h5").mkdir()
    assert "cannot be written" in refused(lambda: write_dataset(tmp_path / "prepared.h5", dataset))
    assert [entry.name for entry in tmp_path.iterdir()] == ["prepared.h5"]
