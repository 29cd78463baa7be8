"""The prepared files that experiments train on: a single one, or a study's folder of leave-studies-out folds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dgex.data.dataset import read_provenance, sha256_of
from dgex.data.folds import MAKE_THEM, check_alike
from dgex.data.genes import gene_table_paths
from dgex.errors import DgexError
from experiments.trials.heldout import is_test


@dataclass(frozen=True)
class Source:
    """Names a prepared file to train on, and the cohorts that were mapped onto it.

    Attributes:
      path: the file.
      sha256: checksum of the file.
      cohorts: prepared file by cohort name; these hold test samples only.
      cohort_sha256: checksum of the prepared file by cohort name.
    """

    path: Path
    sha256: str
    cohorts: dict[str, Path]
    cohort_sha256: dict[str, str]

    @property
    def name(self) -> str:
        """Names the source after its file, without the ending."""
        return self.path.stem

    @property
    def identity(self) -> dict[str, Any]:
        """Identifies the data by their checksums."""
        return {"sha256": self.sha256, "cohorts": self.cohort_sha256}


def single_source(path: Path, cohorts: Sequence[Path] = ()) -> Source:
    """Checks a prepared file that is used alone, and cohorts that were mapped onto it, named after their files.

    Raises:
      DgexError: it was mapped onto another file, so there is nothing to train on; a cohort was not mapped onto it, or
        has the name of another, or of the test split; or as ``read_provenance``.
    """
    if "onto" in read_provenance(path)["preparation"]:
        raise DgexError(f"{path}: has no train samples, it was mapped onto another data set; train on that one")
    sha256 = sha256_of(path)
    by_name: dict[str, Path] = {}
    for cohort in cohorts:
        if read_provenance(cohort)["preparation"].get("onto") != sha256:
            raise DgexError(f"{cohort}: was not mapped onto {path}; use python -m data_prep prepare --onto {path}")
        if is_test(cohort.stem) or by_name.setdefault(cohort.stem, cohort) != cohort:
            raise DgexError(f"{cohort}: is the second held-out set called {cohort.stem}; rename the file")
    return Source(path, sha256, by_name, {name: sha256_of(cohort) for name, cohort in by_name.items()})


def origin_of(path: Path) -> list[str]:
    """Says in sentences what the sources of a prepared file say of their own origin, such as that they are simulated.

    Raises:
      DgexError: as ``read_provenance``.
    """
    return [f"Origin of the data: {text}." for text in read_provenance(path)["preparation"].get("origin", [])[:10]]


@dataclass(frozen=True)
class Sources:
    """Holds the prepared files of a study.

    Attributes:
      folds: leave-studies-out folds; together they leave every study out once.
      by_sample: the file that is split sample by sample, as in the papers; None if the folder has no such file.
      raw: names of the expression files that all were prepared from.
    """

    folds: tuple[Source, ...]
    by_sample: Source | None
    raw: str

    def __iter__(self) -> Iterator[Source]:
        """Yields the folds, then the file that is split by sample."""
        return iter((*self.folds, *([self.by_sample] if self.by_sample else [])))

    def first(self, folds: int | None) -> "Sources":
        """Leaves out the folds after the first ``folds``; None leaves out none."""
        return replace(self, folds=self.folds[:folds])

    @property
    def identity(self) -> dict[str, Any]:
        """Identifies the data by the checksums of the files, by file name."""
        return {source.name: source.identity for source in self}


def find_sources(folder: Path) -> Sources:
    """Finds the folds, the split by sample and the cohorts in a folder of prepared files.

    Raises:
      DgexError: there are none, one is of no use to a study, a fold is missing, or files do not belong together.
    """
    files = sorted(folder.glob("*.h5"))
    if not files:
        raise DgexError(f"{folder}: holds no prepared files (*.h5); {MAKE_THEM}")
    provenance = {path: read_provenance(path) for path in files}
    mapped = {
        path: origin["preparation"]["onto"] for path, origin in provenance.items() if "onto" in origin["preparation"]
    }
    trained = {path: origin for path, origin in provenance.items() if path not in mapped}
    sha256 = {path: sha256_of(path) for path in files}
    # Cohort files by the checksum of the file that they were mapped onto, and by the cohort's name.
    cohorts_onto: dict[str, dict[str, Path]] = {sha256[path]: {} for path in trained}
    for path, onto in mapped.items():
        if onto not in cohorts_onto:
            raise DgexError(f"{path}: is mapped onto a file that is not in the folder; {MAKE_THEM}")
        name, _ = _cohort(provenance[path])
        if is_test(name):
            raise DgexError(f"{path}: its cohort is called {name}, as the test split is; rename the cohort's file")
        if cohorts_onto[onto].setdefault(name, path) != path:
            raise DgexError(f"{path}: is a second cohort {name} of one split; keep one of them in the folder")

    def source(path: Path) -> Source:
        cohorts = cohorts_onto[sha256[path]]
        return Source(path, sha256[path], cohorts, {name: sha256[cohort] for name, cohort in cohorts.items()})

    # Fold k of n is (k, n); a file that is no fold has an empty tuple.
    numbers = {path: tuple(origin["preparation"].get("fold") or ()) for path, origin in trained.items()}
    by_sample = [path for path, number in numbers.items() if not number]
    folds = sorted((path for path, number in numbers.items() if number), key=lambda path: numbers[path])
    for path in by_sample:
        if trained[path]["preparation"].get("split") != "sample":
            raise DgexError(f"{path}: is a single split by study, but a study needs folds; {MAKE_THEM}")
    if len(by_sample) > 1:
        raise DgexError(f"{by_sample[1]}: is a second split by sample; keep one of them in the folder")
    if len(folds) < 2 or [numbers[path] for path in folds] != [(k, len(folds)) for k in range(1, len(folds) + 1)]:
        present = ", ".join("{} of {}".format(*numbers[path]) for path in folds) or "none"
        raise DgexError(f"{folder}: a study needs every fold once, found: {present}; {MAKE_THEM}")
    check_alike(list(trained))
    sources = Sources(tuple(map(source, folds)), source(by_sample[0]) if by_sample else None, _raw(trained[folds[0]]))
    cohorts = [sorted(_cohort(provenance[path]) for path in each.cohorts.values()) for each in sources]
    if any(names != cohorts[0] for names in cohorts):
        raise DgexError(f"{folder}: not every split has the same cohorts mapped onto it; {MAKE_THEM}")
    return sources


def _raw(provenance: dict[str, Any]) -> str:
    """Names the expression files: the sources that are no gene tables."""
    tables = {path.name for path in gene_table_paths(Path())}
    return ", ".join(name for name in provenance["sources"] if name not in tables)


def _cohort(provenance: dict[str, Any]) -> tuple[str, str]:
    """Returns a cohort's name, and the checksum of the file that it was prepared from."""
    ((name, sha256),) = provenance["sources"].items()
    return Path(name.removesuffix(".gz")).stem, sha256
