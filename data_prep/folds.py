"""Prepares leave-studies-out folds of a compendium, a split by sample, and cohorts mapped onto each of these files.

Each file is what ``prepare`` writes, byte for byte, and holds that command. The source is read again for each file, so
that writing all of them takes as long as those commands one by one.
"""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.blocks import Resources, Work
from data_prep.choice import Choice
from data_prep.pipeline import Settings, check_sources, prepare, prepare_onto
from data_prep.prepared import open_prepared
from data_prep.report import Report
from data_prep.split import check_fold
from dgex.data.dataset import SPLITS, sha256_of
from dgex.data.dataset_members import SCHEMA_VERSION
from dgex.data.genes import gene_table_paths
from dgex.errors import DgexError
from dgex.files.atomic import check_writable
from dgex.formats.expression import first_repeated

# The largest number of folds in which each fold of the default compendium's 21 studies has three studies or more (with
# seed 0). With seven folds, two studies are a fold each, and one study alone chooses the best epoch. docs/results.md
# uses seven nevertheless, because its intervals treat the folds as the independent observations.
FOLDS = 5


@dataclass(frozen=True)
class SplitFile:
    """Describes a prepared file of a compendium that is to be written."""

    output: Path
    sources: tuple[Path, ...]
    genes: Path  # folder of the gene tables
    settings: Settings
    layer: str | None = None  # of an h5ad source, the layer to read instead of X

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Lists the files that are read, and whose checksums the prepared file records."""
        return *self.sources, *gene_table_paths(self.genes)

    @property
    def command(self) -> str:
        """Spells the command that writes this file alone, without ``-o`` and without the paths of folders.

        So a file's bytes are the same on any machine and under any name.
        """
        settings = self.settings
        split = ["--split", settings.split, "--fractions", *map(str, settings.fractions)]
        if settings.fold:
            split = ["--fold", *map(str, settings.fold)]
        options = ["--genes", Path(os.path.realpath(self.genes)).name, *split, "--duplicates", settings.duplicates]
        options += [part for name in settings.platforms for part in ("--platform", name)]
        options += [part for name in settings.train_only for part in ("--train-only", name)]
        options += settings.choice.options if settings.choice else []
        return _command(self.sources, settings.legacy, self.layer, [*options, "--seed", str(settings.seed)])

    def recorded(self) -> dict[str, Any]:
        """Gives the settings as the file's ``preparation`` records them."""
        return asdict(self.settings)

    def write(self, work: Work) -> Report:
        """Prepares the file; errors as ``prepare``."""
        return prepare(self.sources, self.genes, self.output, self.settings, self.command, work, self.layer)


@dataclass(frozen=True)
class CohortFile:
    """Describes a prepared file of a cohort mapped onto another prepared file."""

    output: Path
    source: Path
    onto: Path
    legacy: bool = False
    layer: str | None = None  # of an h5ad source, the layer to read instead of X
    choice: Choice | None = None  # of the samples of an ARCHS4 file

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Lists the files that are read, and whose checksums the prepared file records."""
        return (self.source,)

    @property
    def command(self) -> str:
        """Spells the command that writes this file, as ``SplitFile.command`` does."""
        options = ["--onto", self.onto.name, *(self.choice.options if self.choice else [])]
        return _command((self.source,), self.legacy, self.layer, options)

    def recorded(self) -> dict[str, Any]:
        """Gives the settings as the file's ``preparation`` records them."""
        onto = sha256_of(self.onto) if self.onto.exists() else None
        return {"onto": onto, "legacy": self.legacy, "choice": self.choice and asdict(self.choice)}

    def write(self, work: Work) -> Report:
        """Prepares the file; errors as ``prepare_onto``."""
        return prepare_onto(
            self.onto, self.source, self.output, self.legacy, self.command, work, self.layer, self.choice
        )


@dataclass(frozen=True)
class Written:
    """Names a prepared file that now exists; ``str`` of it is the line that the command prints."""

    path: Path
    report: Report
    kept: bool  # whether it existed before

    def __str__(self) -> str:
        samples, studies = self.report.split_samples, self.report.split_studies
        splits = (f"{name} {samples[name]} ({studies[name]} studies)" for name in SPLITS if samples[name])
        return f"{self.path}: {'kept, ' * self.kept}{', '.join(splits)}"


def prepare_folds(
    sources: Path | Sequence[Path],
    genes: Path,
    folder: Path,
    folds: int = FOLDS,
    cohorts: tuple[Path, ...] = (),
    seed: int = 0,
    resources: Resources | None = None,
    layer: str | None = None,
    platforms: tuple[str, ...] = (),
    train_only: tuple[str, ...] = (),
    choice: Choice | None = None,
) -> Iterator[Written]:
    """Writes the leave-studies-out folds, a split by sample and the mapped cohorts to ``folder``, one after the other.

    ``fold-K.h5`` has the K-th of ``folds`` folds of studies as its test split, ``sample.h5`` is split by sample, and
    ``fold-K.NAME.h5`` and ``sample.NAME.h5`` are the cohort file NAME mapped onto them. Existing files equal to
    what would be written are kept; no file is replaced.

    Args:
      sources: the compendium, one or several expression tables.
      genes: folder of the gene tables.
      folder: where the prepared files go.
      folds: how many folds of studies, at least 3.
      cohorts: expression tables to map onto each of the other files.
      seed: of all splits, so that every study is in the test split of one fold.
      resources: memory and cores to use.
      layer: of an h5ad source, the layer to read instead of X; cohorts are read as they are.
      platforms: of the sources, see ``Settings``.
      train_only: platforms that are neither validated nor tested on.
      choice: of the samples of ARCHS4 sources, see ``Settings``; cohorts are read as they are.

    Yields:
      Each file as soon as it is complete, in the order of ``files_of``.

    Raises:
      DgexError: as ``prepare`` and ``prepare_onto``; two cohorts have one name; or the folder holds a prepared file
        that is none of these, or differs from what would be written. Faults in the content of a cohort, or too few
        genes in a later fold, are noticed only after earlier files are written; those files are valid and stay.
    """
    files = files_of(sources, genes, folder, folds, cohorts, seed, layer, platforms, train_only, choice)
    check_writable(files[0].output)  # prepare checks this too, but here it comes before the checksums, which take long
    if unexpected := sorted(set(folder.glob("*.h5")) - {file.output for file in files}):
        raise DgexError(
            f"{unexpected[0]}: is none of the files of these folds and cohorts; move it away, or choose another folder"
        )
    checksums = {path: sha256_of(path) for path in sorted({path for file in files for path in file.inputs})}
    existing = {file.output: _report_of(file, checksums) for file in files if file.output.exists()}
    for file in files:
        report = existing.get(file.output)
        yield Written(file.output, report or file.write(Work(resources or Resources())), report is not None)


def files_of(
    sources: Path | Sequence[Path],
    genes: Path,
    folder: Path,
    folds: int,
    cohorts: tuple[Path, ...],
    seed: int,
    layer: str | None = None,
    platforms: tuple[str, ...] = (),
    train_only: tuple[str, ...] = (),
    choice: Choice | None = None,
) -> list[SplitFile | CohortFile]:
    """Lists the files that ``prepare_folds`` writes, in that order.

    Args:
      sources: the compendium, one or several expression tables.
      genes: folder of the gene tables.
      folder: where the prepared files go.
      folds: how many folds of studies.
      cohorts: expression tables to map onto each of the other files.
      seed: of all splits.
      layer: of an h5ad source, the layer to read instead of X.
      platforms: of the sources, see ``Settings``.
      train_only: platforms that are neither validated nor tested on.
      choice: of the samples of ARCHS4 sources, see ``Settings``.

    Raises:
      DgexError: there are fewer than three folds, or two cohorts have one name.
    """
    check_fold((1, folds))
    sources = (sources,) if isinstance(sources, Path) else tuple(sources)
    check_sources(sources, platforms)
    common = Settings(seed=seed, platforms=platforms, train_only=train_only, choice=choice)
    # The folds come first, so that a source with too few studies for them is refused before anything is written.
    settings = {
        f"fold-{number:0{len(str(folds))}}": replace(common, fold=(number, folds)) for number in range(1, folds + 1)
    }
    settings["sample"] = replace(common, split="sample")
    names = [Path(cohort.name.removesuffix(".gz")).stem for cohort in cohorts]
    if repeated := first_repeated(names):
        raise DgexError(f"{repeated}: two cohorts have this name, and so would their prepared files; rename one")
    files: list[SplitFile | CohortFile] = []
    for split, split_settings in settings.items():
        prepared = SplitFile(folder / f"{split}.h5", sources, genes, split_settings, layer)
        mapped = (
            CohortFile(folder / f"{split}.{name}.h5", cohort, prepared.output)
            for name, cohort in zip(names, cohorts, strict=True)
        )
        files += [prepared, *mapped]
    return files


def _report_of(file: SplitFile | CohortFile, checksums: dict[Path, str]) -> Report:
    """Reads the report of an existing file; raises DgexError if the file differs from what would be written."""
    with open_prepared(file.output) as (_, existing):
        actual = existing.preparation | {
            "schema": existing.schema,
            "command": existing.command,
            "sources": existing.sources,
        }
    expected = file.recorded() | {
        "schema": SCHEMA_VERSION,
        "command": file.command,
        "sources": {path.name: checksums[path] for path in file.inputs},
    }
    differs = [name for name, value in json.loads(json.dumps(expected)).items() if actual.get(name) != value]
    if differs or existing.report is None:
        raise DgexError(
            f"{file.output}: exists and differs from what would be written, in: {', '.join(differs or ['report'])}; "
            "move it away, or choose another folder"
        )
    return existing.report


def _command(sources: tuple[Path, ...], legacy: bool, layer: str | None, options: list[str]) -> str:
    """Joins a ``prepare`` command from its options, quoted for a shell."""
    start = ["python", "-m", "data_prep", "prepare", *(source.name for source in sources), *["--legacy"] * legacy]
    return shlex.join(start + (["--layer", layer] if layer else []) + options)
