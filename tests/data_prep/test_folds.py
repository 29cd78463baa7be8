"""The folder of a study: each file that which ``prepare`` makes alone, none mixed with another study's."""

import shlex
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep.__main__ import app
from data_prep.folds import FOLDS, files_of, prepare_folds
from data_prep.split import split_by_fold
from dgex.data.dataset import read_dataset, sha256_of
from dgex.data.genes import Genes, write_gene_table
from dgex.errors import DgexError
from dgex.formats.expression import in_memory
from dgex.formats.gctx import open_gctx, write_gctx
from dgex.formats.h5ad import to_anndata
from dgex.formats.opening import open_expression

LANDMARK = Genes(("ENSG0", "ENSG1", "ENSG2"), ("A", "B", "C"), ("p0", "p1", "p2"))
TARGET = Genes(("ENSG1", "ENSG4", "ENSG5"), ("B", "D", "E"), ("p3", "p4,p5", "p6"))
PREPARED = ["fold-1.h5", "fold-2.h5", "fold-3.h5", "sample.h5"]
COHORTS = ["fold-1.rna.h5", "fold-2.rna.h5", "fold-3.rna.h5", "sample.rna.h5"]


def write_arrays(path: Path, seed: int = 0, studies: int = 6) -> None:
    """Studies of four arrays."""
    random = np.random.default_rng(seed)
    values = random.normal(8, 2, 7) + random.normal(0, 1, (4 * studies, 7))
    names = [f"GSM{i}" for i in range(len(values))]
    study = np.repeat([f"GSE{i}" for i in range(studies)], 4)
    rows = [f"p{i}" for i in range(7)]
    write_gctx(path, in_memory(values.astype(np.float32), rows, names, sample_metadata={"study_id": study}))


def write_cohort(path: Path, last: float = 40) -> None:
    """RNA-seq of three samples, linear, without ENSG5."""
    counts = np.array([[0, 900, 33, 0], [5, 0, 70, 800], [0, 0, 0, last]], np.float32)
    rows = ["ENSG0.3", "ENSG1.1", "ENSG2.10", "ENSG4.2"]
    write_gctx(path, in_memory(counts, rows, ["RNA0", "RNA1", "RNA2"]))


def write_inputs(folder: Path) -> None:
    write_arrays(folder / "arrays.gctx")
    write_cohort(folder / "rna.gctx")
    (folder / "genes").mkdir()
    write_gene_table(folder / "genes" / "map_lm.txt", LANDMARK)
    write_gene_table(folder / "genes" / "map_tg.txt", TARGET)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """What an uninterrupted run leaves; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    write_inputs(folder)
    list(written_in(folder))
    return folder / "study"


def written_in(folder: Path) -> Iterator:
    cohorts = (folder / "rna.gctx",)
    return prepare_folds(folder / "arrays.gctx", folder / "genes", folder / "study", 3, cohorts)


def run_folds(*more: str, source: str = "arrays.gctx", number: str = "3"):
    arguments = ["folds", source, "--genes", "genes", "--folds", number, "-o", "study", *more]
    return lambda: app(arguments)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_file_is_what_its_command_makes_alone(folder, whole, capsys, monkeypatch):
    run_folds("--cohorts", "rna.gctx", "--memory", "1", "--workers", "1")()
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 8 and printed[0].startswith("study/fold-1.h5: train ")
    assert printed[-1] == "study/sample.rna.h5: test 3 (0 studies)"
    assert content(folder / "study") == content(whole)
    assert sorted(content(whole)) == sorted(PREPARED + COHORTS)
    (folder / "alone").mkdir()
    monkeypatch.chdir(folder / "alone")
    write_inputs(Path())
    for name in PREPARED + COHORTS:
        python, _, package, *arguments = shlex.split(read_dataset(whole / name).provenance["command"])
        assert (python, package) == ("python", "data_prep")
        app([*arguments, "-o", name])
        assert Path(name).read_bytes() == (whole / name).read_bytes()


def test_a_layer_of_the_source_can_be_taken(folder, whole, refused):
    """The folds hold the values that they hold where the layer is the source's matrix."""
    with open_expression(Path("arrays.gctx")) as table:
        adata = to_anndata(table)
    adata.layers["log"], adata.X = adata.X, None
    adata.write_h5ad("arrays.h5ad")
    assert "(--layer NAME)" in refused(run_folds(source="arrays.h5ad"))
    run_folds("--layer", "log", source="arrays.h5ad")()
    for name in PREPARED:
        ours, expected = read_dataset(folder / "study" / name), read_dataset(whole / name)
        np.testing.assert_array_equal(ours.target, expected.target)
        assert " --layer log " in ours.provenance["command"]


def test_provenance_names_the_part_of_each_file(whole):
    tested = []
    for number, name in enumerate(PREPARED[:3], 1):
        fold = read_dataset(whole / name)
        assert fold.provenance["preparation"]["fold"] == [number, 3]
        tested += np.array(fold.sample_id)[fold.split == 2].tolist()
    assert sorted(tested) == sorted(f"GSM{i}" for i in range(24))
    sample = read_dataset(whole / "sample.h5")
    assert sample.provenance["preparation"]["fold"] is None
    assert sample.provenance["preparation"]["split"] == "sample"
    assert np.bincount(sample.split).tolist() == [19, 3, 2]  # 0.8, 0.1 and 0.1 of 24
    for name, cohort in zip(PREPARED, COHORTS, strict=True):
        mapped = read_dataset(whole / cohort)
        assert mapped.provenance["preparation"]["onto"] == sha256_of(whole / name)
        assert mapped.sample_id == ("RNA0", "RNA1", "RNA2") and (mapped.split == 2).all()


@pytest.mark.parametrize("done", [1, 2, 5, 8])
def test_an_interrupted_run_is_finished_and_nothing_is_written_twice(folder, whole, done):
    first = list(islice(written_in(folder), done))
    assert not any(written.kept for written in first) and len(content(folder / "study")) == done
    before = {written.path: written.path.stat().st_mtime_ns for written in first}
    again = list(written_in(folder))
    assert [written.path for written in again if written.kept] == list(before)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert content(folder / "study") == content(whole)
    assert [str(written).replace("kept, ", "") for written in again[:done]] == [str(written) for written in first]


def test_a_cohort_can_be_added_later(folder, whole):
    run_folds()()
    assert sorted(content(folder / "study")) == PREPARED
    list(written_in(folder))
    assert content(folder / "study") == content(whole)


def test_another_seed_gives_other_splits(folder, whole):
    run_folds("--seed", "1")()
    for name in PREPARED:
        other = read_dataset(folder / "study" / name)
        assert other.provenance["seed"] == other.provenance["preparation"]["seed"] == 1
        assert (other.split != read_dataset(whole / name).split).any()


def set_sources(path: Path) -> None:
    """As if the file were of another source of the same name."""
    with h5py.File(path, "r+") as file:
        file.attrs["sources"] = file.attrs["sources"].replace('"arrays.gctx": "', '"arrays.gctx": "0')


def write_stranger(path: Path) -> None:
    path.with_name("fold-4.h5").write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "more", "complaint"),
    [
        (None, ["--seed", "1"], "study/fold-1.h5: exists and differs from what would be written, in: seed, command;"),
        (
            None,
            ["--folds", "4"],
            "study/fold-1.h5: exists and differs from what would be written, in: fold, command;",
        ),
        (lambda: write_arrays(Path("arrays.gctx"), seed=1), [], "study/fold-1.h5: exists and differs"),
        (lambda: write_cohort(Path("rna.gctx"), last=50), [], "study/fold-1.rna.h5: exists and differs"),
        (lambda: write_gene_table(Path("genes/map_lm.txt"), LANDMARK.take(np.array([0, 1]))), [], "in: sources;"),
        (lambda: set_sources(Path("study/sample.h5")), [], "study/sample.h5: exists and differs"),
        (lambda: Path("study/fold-2.h5").unlink(), [], "study/fold-2.rna.h5: exists and differs"),
        (lambda: shutil.copy("study/fold-2.h5", "study/fold-1.h5"), [], "in: fold, command;"),
        (lambda: Path("study/sample.h5").write_bytes(b"half"), [], "study/sample.h5: is not an HDF5 file"),
        (lambda: shutil.copy("arrays.gctx", "study/sample.h5"), [], "study/sample.h5: is a GCTX file"),
        (lambda: write_stranger(Path("study/sample.h5")), [], "study/fold-4.h5: is none of the files of these folds"),
        (lambda: Path("rna.gctx").rename("other.gctx"), ["--cohorts", "other.gctx"], "fold-1.rna.h5: is none of"),
    ],
)
def test_other_files_are_neither_kept_nor_replaced(folder, whole, refused, spoil, more, complaint):
    shutil.copytree(whole, "study")
    if spoil:
        spoil()
    # So that a run that went on would have something to write.
    Path("study/sample.rna.h5").unlink()
    before = content(folder / "study")
    cohort = [] if "--cohorts" in more else ["--cohorts", "rna.gctx"]
    assert complaint in refused(run_folds(*cohort, *more))
    assert content(folder / "study") == before


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (run_folds(number="7"), "arrays.gctx: 6 studies are too few for 7 folds; use fewer folds"),
        (run_folds(number="0"), "0 folds are too few for training, validation and test; use 3 or more"),
        (run_folds(number="2"), "2 folds are too few for training, validation and test; use 3 or more"),
        (run_folds(source="nowhere.gctx"), "nowhere.gctx: cannot be read"),
        (run_folds("--genes", "."), "map_lm.txt: cannot be read"),
        (run_folds("--cohorts", "rna.gctx", "--cohorts", "nowhere.gctx"), "nowhere.gctx: cannot be read"),
        (run_folds("--cohorts", "rna.gctx", "--cohorts", "genes/rna.gct.gz"), "rna: two cohorts have this name"),
        (run_folds("-o", "rna.gctx"), "rna.gctx/fold-1.h5: cannot be written"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(folder, refused, command, complaint):
    before = sorted(folder.rglob("*"))
    assert complaint in refused(command)
    assert sorted(folder.rglob("*")) == before


def test_a_cohort_that_is_trained_on_is_refused(folder, whole, refused):
    line = refused(run_folds("--cohorts", "arrays.gctx"))
    assert "of its samples, such as GSM" in line and "are training samples of study/fold-1.h5" in line
    assert content(folder / "study") == {"fold-1.h5": (whole / "fold-1.h5").read_bytes()}


def test_names():
    cohorts = (Path("a/GSE1_series_matrix.txt.gz"), Path("b/GTEx.v1.gctx"))
    files = files_of(Path("arrays.gctx"), Path("genes"), Path("study"), 12, cohorts, seed=0)
    names = [file.output.name for file in files]
    assert names[:3] == ["fold-01.h5", "fold-01.GSE1_series_matrix.h5", "fold-01.GTEx.v1.h5"]
    assert names[-4:-2] == ["fold-12.GTEx.v1.h5", "sample.h5"] and len(names) == len(set(names)) == 39
    with pytest.raises(DgexError, match="GSE1: two cohorts have this name"):
        files_of(Path("arrays.gctx"), Path("genes"), Path("study"), 3, (Path("a/GSE1.gct"), Path("b/GSE1.gctx")), 0)


@pytest.mark.parametrize(("folds", "enough"), [(FOLDS, True), (FOLDS + 1, False)])
def test_the_usual_folds_of_the_real_compendium_have_three_studies_each(shared, folds, enough):
    with open_gctx(shared / "data" / "geo" / "geo_compendium_n704x16687.gctx") as compendium:
        study = compendium.sample_text("study_id")
    tested = [split_by_fold(study.tolist(), (number, folds)) == 2 for number in range(1, folds + 1)]
    assert (min(len(set(study[test])) for test in tested) >= 3) == enough
