"""The files of a study: every fold of a compendium's studies, a split by sample, and cohorts mapped onto each.

Each file is what ``prepare`` writes, byte for byte, and holds that command. Each reads its source anew, so
that all of them take as long as those commands one by one.
"""

import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.blocks import Resources, Work
from data_prep.pipeline import Settings, prepare, prepare_onto
from data_prep.prepared import open_prepared
from data_prep.report import Report
from data_prep.split import check_fold
from dgex.data.dataset import SCHEMA_VERSION, SPLITS, sha256_of
from dgex.data.genes import gene_table_paths
from dgex.errors import DgexError
from dgex.files.atomic import check_writable
from dgex.formats.expression import first_repeated

# The most in which each fold of the default compendium's 21 studies has three studies or more (with seed 0). With
# seven, two of its studies are a fold each, and one study alone chooses a best epoch; the study in
# docs/results.md takes seven for all that, as the folds are what its intervals count.
FOLDS = 5


@dataclass(frozen=True)
class SplitFile:
    """A prepared file of a compendium."""

    output: Path
    source: Path
    genes: Path  # folder of the gene tables
    settings: Settings
    layer: str | None = None  # of the source, instead of X

    @property
    def inputs(self) -> tuple[Path, ...]:
        return self.source, *gene_table_paths(self.genes)

    @property
    def command(self) -> str:
        """What makes this file alone, but for ``-o``; without folders, so that it tells nothing of the machine.

        A file's bytes are the same on any machine and under any name.
        """
        asked = self.settings
        split = ["--split", asked.split, "--fractions", *map(str, asked.fractions)]
        if asked.fold:
            split = ["--fold", *map(str, asked.fold)]
        options = ["--genes", Path(os.path.realpath(self.genes)).name, *split, "--duplicates", asked.duplicates]
        return _command(self.source, asked.legacy, self.layer, [*options, "--seed", str(asked.seed)])

    def recorded(self) -> dict[str, Any]:
        """What the file's ``preparation`` says of its settings."""
        return asdict(self.settings)

    def write(self, work: Work) -> Report:
        return prepare(self.source, self.genes, self.output, self.settings, self.command, work, self.layer)


@dataclass(frozen=True)
class CohortFile:
    """A cohort mapped onto a prepared file."""

    output: Path
    source: Path
    onto: Path
    legacy: bool = False
    layer: str | None = None  # of the source, instead of X

    @property
    def inputs(self) -> tuple[Path, ...]:
        return (self.source,)

    @property
    def command(self) -> str:
        return _command(self.source, self.legacy, self.layer, ["--onto", self.onto.name])

    def recorded(self) -> dict[str, Any]:
        return {"onto": sha256_of(self.onto) if self.onto.exists() else None, "legacy": self.legacy}

    def write(self, work: Work) -> Report:
        return prepare_onto(self.onto, self.source, self.output, self.legacy, self.command, work, self.layer)


@dataclass(frozen=True)
class Written:
    """A file that is there now."""

    path: Path
    report: Report
    kept: bool  # it was there before

    def __str__(self) -> str:
        samples, studies = self.report.split_samples, self.report.split_studies
        splits = (f"{name} {samples[name]} ({studies[name]} studies)" for name in SPLITS if samples[name])
        return f"{self.path}: {'kept, ' * self.kept}{', '.join(splits)}"


def prepare_folds(
    source: Path,
    genes: Path,
    folder: Path,
    folds: int = FOLDS,
    cohorts: tuple[Path, ...] = (),
    seed: int = 0,
    resources: Resources | None = None,
) -> Iterator[Written]:
    """Sees to it that ``folder`` holds the files of a study, and gives each of them once it does.

    ``fold-K.h5`` has the K-th of ``folds`` folds of studies as its test split, ``sample.h5`` is split by sample, and
    ``fold-K.NAME.h5`` and ``sample.NAME.h5`` are the cohort file NAME mapped onto them. Of files that are there already
    those that would be the same are kept; no file is replaced.

    Args:
      genes: folder of the gene tables.
      seed: of all splits, so that every study is in the test split of one fold.

    Raises:
      DgexError: as ``prepare`` and ``prepare_onto``; two cohorts have one name; or the folder holds a prepared file
        that would not be written, or would differ. Only what is wrong with the content of a cohort, or with the genes
        of a later fold, is noticed after earlier files are written; they stay, and are right.
    """
    files = files_of(source, genes, folder, folds, cohorts, seed)
    check_writable(files[0].output)  # as prepare finds out too, but before the inputs are read for their checksums
    if strangers := sorted(set(folder.glob("*.h5")) - {file.output for file in files}):
        raise DgexError(
            f"{strangers[0]}: is none of the files of these folds and cohorts; move it away, or choose another folder"
        )
    checksums = {path: sha256_of(path) for path in sorted({path for file in files for path in file.inputs})}
    found = {file.output: _report_of(file, checksums) for file in files if file.output.exists()}
    for file in files:
        report = found.get(file.output)
        yield Written(file.output, report or file.write(Work(resources or Resources())), report is not None)


def files_of(
    source: Path, genes: Path, folder: Path, folds: int, cohorts: tuple[Path, ...], seed: int
) -> list[SplitFile | CohortFile]:
    """All of them, in the order of writing; errors as far as ``prepare_folds``'s are about the arguments alone."""
    check_fold((1, folds))
    # The folds first: a source with too few studies for them is refused by the first, before anything is written.
    settings = {
        f"fold-{number:0{len(str(folds))}}": Settings(fold=(number, folds), seed=seed) for number in range(1, folds + 1)
    }
    settings["sample"] = Settings("sample", seed=seed)
    names = [Path(cohort.name.removesuffix(".gz")).stem for cohort in cohorts]
    if repeated := first_repeated(names):
        raise DgexError(f"{repeated}: two cohorts are called so, and their files would be too; rename one")
    files: list[SplitFile | CohortFile] = []
    for split, asked in settings.items():
        prepared = SplitFile(folder / f"{split}.h5", source, genes, asked)
        mapped = (
            CohortFile(folder / f"{split}.{name}.h5", cohort, prepared.output)
            for name, cohort in zip(names, cohorts, strict=True)
        )
        files += [prepared, *mapped]
    return files


def _report_of(file: SplitFile | CohortFile, checksums: dict[Path, str]) -> Report:
    """The report of a file that is there, if it is the one that would be written."""
    with open_prepared(file.output) as (_, found):
        held = found.preparation | {"schema": found.schema, "command": found.command, "sources": found.sources}
    asked = file.recorded() | {
        "schema": SCHEMA_VERSION,
        "command": file.command,
        "sources": {path.name: checksums[path] for path in file.inputs},
    }
    differs = [name for name, value in json.loads(json.dumps(asked)).items() if held.get(name) != value]
    if differs or found.report is None:
        raise DgexError(
            f"{file.output}: is there and differs from what would be written, in: {', '.join(differs or ['report'])}; "
            "move it away, or choose another folder"
        )
    return found.report


def _command(source: Path, legacy: bool, layer: str | None, options: list[str]) -> str:
    start = ["python", "-m", "data_prep", "prepare", source.name, *["--legacy"] * legacy]
    return shlex.join(start + (["--layer", layer] if layer else []) + options)
