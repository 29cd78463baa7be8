"""A folder of prepared files says itself what each file is for; what does not belong together is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from dgex.data.dataset import sha256_of
from dgex.errors import DgexError
from experiments.trials.sources import find_sources, origin_of


@pytest.fixture
def folder(study_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(study_data, tmp_path / "data"))


def change(path: Path, of: str, **fields: Any) -> None:
    """Changes what a prepared file says of itself: its ``preparation``, or the attribute ``sources``."""
    with h5py.File(path, "r+") as file:
        if of == "preparation":
            found = json.loads(file[of].asstr()[()])
            del file[of]
            file.create_dataset(of, data=json.dumps({**found, **fields}), dtype=h5py.string_dtype())
        else:
            file.attrs[of] = json.dumps({**json.loads(file.attrs[of]), **fields})


def test_a_complete_folder(study_data: Path) -> None:
    sources = find_sources(study_data)
    assert [fold.name for fold in sources.folds] == [f"fold-{number}" for number in range(1, 6)]
    assert sources.by_sample is not None and sources.by_sample.name == "sample"
    assert [source.name for source in sources] == [*(fold.name for fold in sources.folds), "sample"]
    assert sources.raw == "source.gctx"
    for source in sources:
        assert source.cohorts == {"rna": study_data / f"{source.name}.rna.h5"}
        checksums = {"sha256": sha256_of(source.path), "cohorts": {"rna": sha256_of(source.cohorts["rna"])}}
        assert sources.identity[source.name] == checksums


def test_a_file_says_where_its_data_come_from(folder: Path) -> None:
    assert origin_of(folder / "fold-1.h5") == []
    change(folder / "fold-1.h5", "preparation", origin=["made up"])
    assert origin_of(folder / "fold-1.h5") == ["Origin of the data: made up."]


def test_files_are_known_by_what_they_say_not_by_their_names(folder: Path) -> None:
    (folder / "fold-2.h5").rename(folder / "a.h5")
    (folder / "fold-2.rna.h5").rename(folder / "z.h5")
    second = find_sources(folder).folds[1]
    assert second.name == "a" and second.cohorts == {"rna": folder / "z.h5"}


def test_folds_alone_are_enough(folder: Path) -> None:
    for path in {*folder.glob("sample*"), *folder.glob("*.rna.h5")}:
        path.unlink()
    sources = find_sources(folder)
    assert sources.by_sample is None and [fold.cohorts for fold in sources.folds] == [{}] * 5


def test_ten_folds_are_in_the_order_of_their_numbers(prepared: Path, tmp_path: Path) -> None:
    for number in range(1, 11):
        shutil.copy(prepared, tmp_path / f"{number}.h5")
        change(tmp_path / f"{number}.h5", "preparation", fold=[number, 10])
    assert [fold.name for fold in find_sources(tmp_path).folds] == [str(number) for number in range(1, 11)]


def no_files(folder: Path) -> None:
    shutil.rmtree(folder)


def a_fold_is_missing(folder: Path) -> None:
    for path in folder.glob("fold-3*"):
        path.unlink()


def a_fold_is_there_twice(folder: Path) -> None:
    shutil.copy(folder / "fold-3.h5", folder / "other.h5")


def no_folds(folder: Path) -> None:
    for path in folder.glob("fold-*"):
        path.unlink()


def folds_of_two_numbers(folder: Path) -> None:
    change(folder / "sample.h5", "preparation", fold=[1, 3])
    (folder / "sample.rna.h5").unlink()


def one_split_by_study(folder: Path) -> None:
    change(folder / "sample.h5", "preparation", split="study")
    (folder / "sample.rna.h5").unlink()


def two_splits_by_sample(folder: Path) -> None:
    shutil.copy(folder / "sample.h5", folder / "sample2.h5")


def two_seeds(folder: Path) -> None:
    (folder / "fold-4.rna.h5").unlink()
    with h5py.File(folder / "fold-4.h5", "r+") as file:
        file.attrs["seed"] = 7


def another_source(folder: Path) -> None:
    (folder / "fold-4.rna.h5").unlink()
    change(folder / "fold-4.h5", "sources", **{"source.gctx": "00"})


def other_genes(folder: Path) -> None:
    (folder / "fold-4.rna.h5").unlink()
    with h5py.File(folder / "fold-4.h5", "r+") as file:
        file["gene/target/ensembl"][0] = "ENSG00000000000"


def a_cohort_of_another_folder(folder: Path) -> None:
    change(folder / "fold-2.rna.h5", "preparation", onto="00")


def a_cohort_mapped_onto_a_cohort(folder: Path) -> None:
    change(folder / "fold-2.rna.h5", "preparation", onto=sha256_of(folder / "fold-1.rna.h5"))


def a_cohort_of_some_splits(folder: Path) -> None:
    (folder / "fold-5.rna.h5").unlink()


def another_version_of_the_cohort(folder: Path) -> None:
    change(folder / "fold-5.rna.h5", "sources", **{"rna.gctx": "00"})


def two_cohorts_of_one_name(folder: Path) -> None:
    shutil.copy(folder / "fold-2.rna.h5", folder / "fold-2.rna2.h5")


def a_cohort_called_test(folder: Path) -> None:
    path = folder / "fold-2.rna.h5"
    with h5py.File(path, "r+") as file:
        file.attrs["sources"] = json.dumps({"test.gctx": "00"})


def a_cohort_called_as_a_part_of_the_test(folder: Path) -> None:
    with h5py.File(folder / "fold-2.rna.h5", "r+") as file:
        file.attrs["sources"] = json.dumps({"test on rnaseq.gctx": "00"})


def no_prepared_file(folder: Path) -> None:
    (folder / "notes.h5").write_text("not HDF5")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_files, "holds no prepared files"),
        (a_fold_is_missing, "every fold once, found: 1 of 5, 2 of 5, 4 of 5, 5 of 5;"),
        (a_fold_is_there_twice, "every fold once, found: 1 of 5, 2 of 5, 3 of 5, 3 of 5,"),
        (no_folds, "found: none"),
        (folds_of_two_numbers, "found: 1 of 3, 1 of 5"),
        (one_split_by_study, "sample.h5: is a single split by study, but a study needs folds"),
        (two_splits_by_sample, "sample2.h5: is a second split by sample"),
        (two_seeds, "fold-4.h5: does not belong with fold-1.h5: different seed"),
        (another_source, "fold-4.h5: does not belong with fold-1.h5: different sources"),
        (other_genes, "fold-4.h5: does not belong with fold-1.h5: different target genes"),
        (a_cohort_of_another_folder, "fold-2.rna.h5: is mapped onto a file that is not in the folder"),
        (a_cohort_mapped_onto_a_cohort, "fold-2.rna.h5: is mapped onto a file that is not in the folder"),
        (a_cohort_of_some_splits, "not every split has the same cohorts"),
        (another_version_of_the_cohort, "not every split has the same cohorts"),
        (two_cohorts_of_one_name, "fold-2.rna2.h5: is a second cohort rna of one split"),
        (a_cohort_called_test, "fold-2.rna.h5: its cohort is called test"),
        (a_cohort_called_as_a_part_of_the_test, "fold-2.rna.h5: its cohort is called test on rnaseq, as"),
        (no_prepared_file, "notes.h5: "),
    ],
)
def test_a_folder_that_belongs_to_no_study(folder: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(folder)
    with pytest.raises(DgexError) as refused:
        find_sources(folder)
    assert said in str(refused.value) and "\n" not in str(refused.value)
