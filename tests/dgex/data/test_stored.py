"""Values that stay in the prepared file: what is read of them is what reading the whole file gives."""

import gzip
import json
import os
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest

from dgex.data import dataset as module
from dgex.data import dataset_writing
from dgex.data.dataset import SPLITS, Dataset, open_dataset, read_dataset
from dgex.data.dataset_writing import write_dataset
from dgex.data.genes import Genes
from dgex.data.normalization import fit_scaler
from dgex.data.platforms import Platforms, fit_offsets
from dgex.data.stored import Stored
from dgex.errors import DgexError

SAMPLES, LANDMARKS, TARGETS = 90, 5, 11
DEPTHS = {LANDMARKS: 16, TARGETS: 4}  # samples in a chunk of the file


def genes(letter, count):
    return Genes(*(tuple(f"{letter}{field}{i}" for i in range(count)) for field in ("ENSG", "symbol", "probe")))


@pytest.fixture(scope="module")
def dataset():
    """Three platforms in turn, splits at random, and missing values of four patterns."""
    random = np.random.default_rng(0)
    values = random.normal(8, 2, (SAMPLES, LANDMARKS + TARGETS)).astype(np.float32)
    split, platform = random.integers(0, 3, SAMPLES, np.uint8), np.arange(SAMPLES, dtype=np.uint8) % 3
    values[::7, 2] = values[::7, 9] = values[5:20, 14] = np.nan
    landmark, target = values[:, :LANDMARKS], values[:, LANDMARKS:]
    train = split == 0
    scalers = [fit_scaler(side[train & (platform == 0)]) for side in (landmark, target)]
    offsets = [
        fit_offsets(side[train], platform[train], scaler, 3)
        for side, scaler in zip((landmark, target), scalers, strict=True)
    ]
    provenance = {"seed": 0, "command": "", "sources": {}, "versions": {}, "preparation": {}}
    return Dataset(
        landmark=landmark,
        target=target,
        sample_id=tuple(f"GSM{i}" for i in range(SAMPLES)),
        study=tuple(f"GSE{i // 10}" for i in range(SAMPLES)),
        project=("",) * SAMPLES,
        platform=platform,
        split=split,
        landmark_genes=genes("L", LANDMARKS),
        target_genes=genes("T", TARGETS),
        landmark_scaler=scalers[0],
        target_scaler=scalers[1],
        quantiles=np.arange(8, dtype=np.float32),
        platforms=Platforms(("array", "beads", "rnaseq"), *offsets),
        provenance=provenance,
    )


@pytest.fixture
def path(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_writing, "_chunk_rows", DEPTHS.get)
    write_dataset(tmp_path / "prepared.h5", dataset)
    return tmp_path / "prepared.h5"


def same(found, expected):
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


def test_fields_are_those_of_the_whole_file(path):
    opened, read = open_dataset(path), read_dataset(path)
    for name in set(vars(read)) - {"landmark", "target"}:
        assert repr(getattr(opened, name)) == repr(getattr(read, name)), name
    assert (opened.landmark.depth, opened.target.depth) == (16, 4)
    same(opened.landmark[:], read.landmark)
    same(opened.target[:], read.target)
    assert np.isnan(read.target).any() and np.isnan(read.landmark).any()


@pytest.mark.parametrize("split", SPLITS)
def test_zscores_to_the_bit(path, split):
    for found, expected in zip(open_dataset(path).zscores(split), read_dataset(path).zscores(split), strict=True):
        same(found, expected)


@pytest.mark.parametrize("targets", [None, np.array([7, 2, 3])])
def test_any_samples_in_any_order(path, targets):
    chosen = np.random.default_rng(1).permutation(SAMPLES)[:50]
    read = read_dataset(path).zscores_of(chosen, targets)
    for found, expected in zip(open_dataset(path).zscores_of(chosen, targets), read, strict=True):
        assert isinstance(found, Stored) and isinstance(expected, np.ndarray)
        assert found.shape == expected.shape and len(found) == 50
        for index in (
            slice(None), slice(3, 20), slice(40, 99), slice(None, None, 7), np.array([4, 4, 0]), np.array([], int),
            chosen[:50] > 40, np.arange(20).reshape(4, 5),
        ):  # fmt: skip
            same(found[index], expected[index])


def test_every_chunk_is_read_once(path, monkeypatch):
    read, parts = Stored._read, []

    def count(self, member, rows):
        parts.append((self.name, set((rows // self.depth).tolist())))
        return read(self, member, rows)

    monkeypatch.setattr(Stored, "_read", count)
    _, target = open_dataset(path).zscores_of(np.arange(SAMPLES))
    parts.clear()
    target[np.random.default_rng(0).permutation(SAMPLES)]
    assert sorted(parts) == [("target", {chunk}) for chunk in range(-(-SAMPLES // 4))]
    np.testing.assert_array_equal(target.chunk, np.arange(SAMPLES) // 4)


def overwrite(path, name, where, value):
    """Changes a value as HDF5 does, with its checksum."""
    with h5py.File(path, "r+") as file:
        file[name][where] = value


@pytest.mark.parametrize("name", ["landmark", "target"])
def test_opening_checks_all_values(path, refused, name):
    overwrite(path, name, (77, 2), np.inf)
    assert f"/{name} holds NaN or infinite values" in refused(lambda: open_dataset(path))


def test_opening_checks_the_scaler(path, refused):
    overwrite(path, "scaler/target/mean", 3, 1.0)
    assert "/scaler/target is not that of the training samples" in refused(lambda: open_dataset(path))


def test_a_flipped_bit_is_noticed_by_its_checksum(path, refused):
    with h5py.File(path) as file:
        offset = file["target"].id.get_chunk_info(20).byte_offset
    with path.open("r+b") as file:
        file.seek(offset + 9)
        file.write(b"\x7f")
    line = refused(lambda: open_dataset(path))
    assert line.startswith(f"error: {path}: is truncated or damaged")


def test_a_file_that_changes_between_two_reads(path, tmp_path, refused):
    _, target = open_dataset(path).zscores_of(np.arange(SAMPLES))
    before = target[:8]
    overwrite(path, "target", (3, 3), 2.0)
    line = refused(lambda: target[:8])
    assert line == f"error: {path}: has changed while it was in use; leave it as it is, and start again\n"
    assert np.isfinite(before[3, 3])


def test_a_file_that_changes_during_a_read(path, refused, monkeypatch):
    """The values are thrown away, as some may be of the new file."""
    _, target = open_dataset(path).zscores_of(np.arange(SAMPLES))
    read = Stored._read

    def change(self, member, rows):
        values = read(self, member, rows)
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        return values

    monkeypatch.setattr(Stored, "_read", change)
    assert "has changed while it was in use" in refused(lambda: target[:8])


def test_a_file_that_is_replaced_or_removed(path, tmp_path, refused):
    shutil.copy2(path, tmp_path / "other.h5")
    _, target = open_dataset(path).zscores_of(np.arange(SAMPLES))
    os.replace(tmp_path / "other.h5", path)  # equal bytes, but nobody knows that
    assert "has changed while it was in use" in refused(lambda: target[:8])
    path.unlink()
    assert "No such file" in refused(lambda: target[:8])


def test_a_gzipped_file_is_to_be_unpacked(path, refused):
    packed = path.with_name("packed.h5.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert f"{packed}: is gzipped, and too large to be held in memory; unpack it" in refused(
        lambda: open_dataset(packed)
    )
    assert len(read_dataset(packed).split) == SAMPLES


def test_missing_values_of_an_old_file_are_counted_without_reading_it(path, dataset):
    filled = int(np.isnan(dataset.landmark).sum() + np.isnan(dataset.target).sum())
    with h5py.File(path, "r+") as file:
        file["preparation"][()] = json.dumps({"gaps_filled": filled + 2})
    (warning,) = open_dataset(path).warnings()
    assert warning == read_dataset(path).warnings()[0] and warning.startswith("2 missing values cannot be told")


def test_a_file_larger_than_the_memory_is_refused_with_what_reads_it(path, refused, monkeypatch):
    nbytes = 4 * SAMPLES * (LANDMARKS + TARGETS)
    monkeypatch.setattr(module, "machine_memory", lambda: nbytes)
    read_dataset(path)
    monkeypatch.setattr(module, "machine_memory", lambda: nbytes - 1)
    line = refused(lambda: read_dataset(path))
    assert line.startswith(f"error: {path}: has 0.0 GiB of values, and this machine") and "experiments.compare" in line
    open_dataset(path)


def test_legacy_files_are_held_to_the_originals_scaler(dataset, tmp_path, refused):
    """Which is fitted to all samples of the first platform."""
    scalers = [fit_scaler(side[dataset.platform == 0], legacy=True) for side in (dataset.landmark, dataset.target)]
    provenance = dataset.provenance | {"preparation": {"legacy": True}}
    changed = replace(dataset, landmark_scaler=scalers[0], target_scaler=scalers[1], provenance=provenance)
    write_dataset(tmp_path / "legacy.h5", changed)
    open_dataset(tmp_path / "legacy.h5")
    write_dataset(tmp_path / "not.h5", replace(dataset, provenance=provenance))
    assert "is not that of the samples" in refused(lambda: open_dataset(tmp_path / "not.h5"))


def test_a_file_without_chunks(path):
    """As another program may write it."""
    with h5py.File(path, "r+") as file:
        values = file["target"][()]
        del file["target"]
        file.create_dataset("target", data=values)
    opened = open_dataset(path)
    assert opened.target.depth == 1
    same(opened.zscores("test")[1], read_dataset(path).zscores("test")[1])


def test_errors_of_reads_are_dgex_errors(path):
    target = open_dataset(path).target
    with path.open("r+b") as file:
        file.truncate(3000)
    with pytest.raises(DgexError):
        target[:]
