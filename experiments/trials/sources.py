"""The prepared files of a study: one folder of them, each of which says itself what it is for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgex.data.dataset import read_provenance, read_reference, sha256_of
from dgex.data.genes import gene_table_paths
from dgex.errors import DgexError

MAKE_THEM = "make the folder with `python -m data_prep folds`"


@dataclass(frozen=True)
class Source:
    """A prepared file to train on, and the cohorts that were mapped onto it.

    Attributes:
      path: the file.
      sha256: of the file.
      cohorts: prepared file by cohort name; they hold test samples only.
      cohort_sha256: of these, by the same names.
    """

    path: Path
    sha256: str
    cohorts: dict[str, Path]
    cohort_sha256: dict[str, str]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def identity(self) -> dict[str, Any]:
        """What tells these data from others."""
        return {"sha256": self.sha256, "cohorts": self.cohort_sha256}


def single_source(path: Path) -> Source:
    """One prepared file, without cohorts.

    Raises:
      DgexError: it was mapped onto another file, so there is nothing to train on; or as ``read_provenance``.
    """
    if "onto" in read_provenance(path)["preparation"]:
        raise DgexError(f"{path}: has no train samples, it was mapped onto another data set; train on that one")
    return Source(path, sha256_of(path), {}, {})


@dataclass(frozen=True)
class Sources:
    """A study's data.

    Attributes:
      folds: leave some studies out each, and together all of them once.
      by_sample: split sample by sample, as in the papers; None if the folder has no such file.
      raw: the name of the file that all were prepared from.
    """

    folds: tuple[Source, ...]
    by_sample: Source | None
    raw: str

    def __iter__(self) -> Iterator[Source]:
        return iter((*self.folds, *([self.by_sample] if self.by_sample else [])))

    @property
    def identity(self) -> dict[str, Any]:
        """What tells these data from others: checksums by file name."""
        return {source.name: source.identity for source in self}


def find_sources(folder: Path) -> Sources:
    """Looks through a folder of prepared files.

    Raises:
      DgexError: there are none, one is of no use to a study, a fold is missing, or files do not belong together.
    """
    files = sorted(folder.glob("*.h5"))
    if not files:
        raise DgexError(f"{folder}: holds no prepared files (*.h5); {MAKE_THEM}")
    provenance = {path: read_provenance(path) for path in files}
    mapped = {
        path: found["preparation"]["onto"] for path, found in provenance.items() if "onto" in found["preparation"]
    }
    trained = {path: found for path, found in provenance.items() if path not in mapped}
    sha256 = {path: sha256_of(path) for path in files}
    onto_split: dict[str, dict[str, Path]] = {sha256[path]: {} for path in trained}  # and by the cohort's name
    for path, onto in mapped.items():
        if onto not in onto_split:
            raise DgexError(f"{path}: is mapped onto a file that is not in the folder; {MAKE_THEM}")
        name, _ = _cohort(provenance[path])
        if name == "test":
            raise DgexError(f"{path}: its cohort is called test, as the test split is; rename the cohort's file")
        if onto_split[onto].setdefault(name, path) != path:
            raise DgexError(f"{path}: is a second cohort {name} of one split; keep one of them in the folder")

    def source(path: Path) -> Source:
        cohorts = onto_split[sha256[path]]
        return Source(path, sha256[path], cohorts, {name: sha256[cohort] for name, cohort in cohorts.items()})

    numbers = {path: tuple(found["preparation"].get("fold") or ()) for path, found in trained.items()}  # (k, n)
    by_sample = [path for path, number in numbers.items() if not number]
    folds = sorted((path for path, number in numbers.items() if number), key=lambda path: numbers[path])
    for path in by_sample:
        if trained[path]["preparation"].get("split") != "sample":
            raise DgexError(f"{path}: is one split by study, of which a study needs folds; {MAKE_THEM}")
    if len(by_sample) > 1:
        raise DgexError(f"{by_sample[1]}: is a second split by sample; keep one of them in the folder")
    if len(folds) < 2 or [numbers[path] for path in folds] != [(k, len(folds)) for k in range(1, len(folds) + 1)]:
        found = ", ".join("{} of {}".format(*numbers[path]) for path in folds) or "none"
        raise DgexError(f"{folder}: a study needs every fold of studies once, found: {found}; {MAKE_THEM}")
    _check_alike(trained)
    sources = Sources(tuple(map(source, folds)), source(by_sample[0]) if by_sample else None, _raw(trained[folds[0]]))
    cohorts = [sorted(_cohort(provenance[path]) for path in each.cohorts.values()) for each in sources]
    if any(those != cohorts[0] for those in cohorts):
        raise DgexError(f"{folder}: not every split has the same cohorts mapped onto it; {MAKE_THEM}")
    return sources


def _raw(provenance: dict[str, Any]) -> str:
    """The name of the expression table; the first of the sources that is no gene table."""
    tables = {path.name for path in gene_table_paths(Path())}
    return next(name for name in provenance["sources"] if name not in tables)


def _cohort(provenance: dict[str, Any]) -> tuple[str, str]:
    """A cohort's name, and the checksum of the file that it was prepared from."""
    ((name, sha256),) = provenance["sources"].items()
    return Path(name.removesuffix(".gz")).stem, sha256


def _check_alike(trained: dict[Path, dict[str, Any]]) -> None:
    """Refuses files of other sources, seeds of the folds, or genes: their errors could not be put together."""
    first = next(iter(trained))
    genes = read_reference(first).target_genes.ensembl
    for path, found in trained.items():
        for what, same in (
            ("sources", set(found["sources"].values()) == set(trained[first]["sources"].values())),
            ("seed", found["seed"] == trained[first]["seed"]),
            ("target genes", read_reference(path).target_genes.ensembl == genes),
        ):
            if not same:
                raise DgexError(f"{path}: does not belong with {first.name}: other {what}; {MAKE_THEM}")
