"""Builds a compendium from GEO: series matrices by accession, in log2, with one list of probe sets, in one GCTX file.

https://ftp.ncbi.nlm.nih.gov/geo/README.txt describes where GEO keeps its files.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import Progress

from data_prep.platforms import PLATFORMS, check_platforms
from data_prep.report import CONVERTED
from data_prep.steps import Steps
from dgex.console import progress
from dgex.data.dataset import sha256_of
from dgex.data.genes import gene_table_paths, read_gene_tables
from dgex.data.intensity_scale import intensity_scale, to_log2, value_ranges
from dgex.errors import DgexError
from dgex.files.atomic import check_writable
from dgex.files.download import LIMITS, Limits, NotThere, download_with_bar, find_flaw
from dgex.files.scratch import Scratch
from dgex.formats.content import read_small
from dgex.formats.expression import BLOCK, Block, Expression, first_repeated
from dgex.formats.gctx import write_gctx
from dgex.formats.missing_values import tally, without_stand_ins
from dgex.formats.series_matrix import open_series_matrix

COMPENDIUM = Path(__file__).with_name("compendium.txt")  # the accession list that comes with the project
SERIES = "https://ftp.ncbi.nlm.nih.gov/geo/series"
GENE_TABLES = "https://raw.githubusercontent.com/uci-cbcl/D-GEX/384b2e705f34d91f66644f24043d271b6579bf9a"
GENE_TABLE_SHA256 = (
    "7c0be34e103786c43fe5e471a86e278877cfaa2cf0245b3513681ebe883558db",  # landmarks
    "a238c8ee0f3200063455ef3275162e347881d447649189d4dc2c6203ff8a1a99",  # targets
)

LEAST_FOUND = 0.9  # of the wanted probe sets; a source with fewer has other row names, or only a part of its rows


@dataclass(frozen=True)
class Accession:
    """Holds a line of an accession list."""

    series: str  # GSE...
    platform: str | None  # GPL...
    sha256: str | None  # of the series matrix file

    @property
    def files(self) -> list[str]:
        """Lists the names that the matrix may have on GEO; the platform is part of it where the series has several."""
        names = [self.series] + ([f"{self.series}-{self.platform}"] if self.platform else [])
        return [f"{name}_series_matrix.txt.gz" for name in names]


@dataclass(frozen=True)
class Series:
    """Describes what was read from a series; ``str`` of it is the line that the command prints."""

    series: str
    platform: str
    arrays: int
    scale: str  # of the source: "linear" or "log2"
    missing: int  # how many of the wanted probe sets the source lacks
    taken_as_missing: str  # how many of which values; "" where there are none
    sha256: str  # of the source

    def __str__(self) -> str:
        scale = CONVERTED.get(self.scale, f"{self.scale}, unchanged")
        taken_as_missing = f"{self.taken_as_missing} taken as missing, " if self.taken_as_missing else ""
        return (
            f"{self.series}: {self.arrays} arrays of {self.platform} ({PLATFORMS[self.platform]}), {scale}, "
            f"{self.missing} probe sets missing, {taken_as_missing}SHA-256 {self.sha256}"
        )


@dataclass(frozen=True)
class _Source:
    """Pairs a series of the list with its opened series matrix."""

    accession: Accession
    path: Path
    table: Expression


def geo(
    accessions: Path, genes_dir: Path, output: Path, cache: Path, mirror: str = SERIES, limits: Limits = LIMITS
) -> list[Series]:
    """Writes the series of a list to one GCTX file: log2, rows are the gene tables' probe sets in the tables' order.

    Sample metadata are study_id, platform_id, title, source_scale and source_sha256. Probe sets that a series lacks are
    NaN in its arrays. Studies are not normalised with each other. Equal series matrices give equal bytes. One series at
    a time is in memory, with 65 KB an array for D-GEX's tables.

    Args:
      accessions: list of series, see ``read_accessions``.
      genes_dir: folder of the gene tables.
      output: the GCTX file to write.
      cache: folder of series matrices; those that are not in it are downloaded to it.
      mirror: web address to use instead of https://ftp.ncbi.nlm.nih.gov/geo/series.
      limits: of each download.

    Returns:
      What was read, by series, in the list's order.

    Raises:
      DgexError: the list or a gene table is unusable; a series cannot be downloaded, is damaged, is not the one listed,
        is not of one known platform and one scale, holds changes instead of intensities, or has too few of the probe
        sets; two series share an array; the output cannot be written.
    """
    check_writable(output, accessions, *gene_table_paths(genes_dir))
    listed = read_accessions(accessions)
    check_writable(output, *(cache / name for accession in listed for name in accession.files))
    names = [probes.split(",") for genes in read_gene_tables(genes_dir) for probes in genes.probes]
    wanted = list(dict.fromkeys(probe for probes in names for probe in probes))
    with progress() as bars:
        paths = [_obtain(accession, cache, mirror, limits, bars) for accession in listed]

    steps = Steps()
    with ExitStack() as stack:
        sources = []
        with steps("checking series", len(listed)) as advance:
            for accession, path in zip(listed, paths, strict=True):
                table = without_stand_ins(stack.enter_context(open_series_matrix(path)))
                sources.append(_Source(accession, path, table))
                _check(sources[-1], wanted)
                advance(1)
        _check_distinct(sources)

        sample_id = tuple(name for source in sources for name in source.table.sample_id)
        output.parent.mkdir(parents=True, exist_ok=True)
        scratch = stack.enter_context(Scratch(output.parent, (len(sample_id), len(wanted))))
        series: list[Series] = []
        with steps("reading arrays", len(sample_id)) as advance:
            first = 0
            for source in sources:
                values, scale = _read(source, wanted)
                scratch.write(slice(first, first + len(values)), slice(0, len(wanted)), values)
                first += len(values)
                series.append(_summary(source, wanted, scale))
                advance(len(values))

        with steps("writing arrays", len(sample_id)) as advance:

            def blocks(most: int) -> Iterator[Block]:
                size = max(1, most // len(wanted))
                for first in range(0, len(sample_id), size):
                    arrays = np.arange(first, min(first + size, len(sample_id)))
                    yield slice(first, first + len(arrays)), slice(0, len(wanted)), scratch.read(arrays)
                    advance(len(arrays))

            metadata = {
                name: np.concatenate([source.table.sample_metadata[name] for source in sources])
                for name in ("study_id", "platform_id", "title")
            }
            sizes = [each.arrays for each in series]
            metadata["source_scale"] = np.repeat([each.scale for each in series], sizes)
            metadata["source_sha256"] = np.repeat([each.sha256 for each in series], sizes)
            write_gctx(output, Expression(tuple(wanted), sample_id, blocks, sample_metadata=metadata))
    return series


def read_accessions(path: Path) -> list[Accession]:
    """Reads a list of GEO series, one a line, such as ``GSE14520 GPL571 sha256:...``; only the accession is required.

    The platform is needed where the series has several; ``#`` starts a comment.

    Raises:
      DgexError: the file is missing, not text, or lists nothing; a line is malformed, or lists a series again.
    """
    try:
        lines = read_small(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DgexError(f"{path}: cannot be read as a list of accessions ({reason})") from error
    line_of: dict[str, int] = {}
    listed = []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = re.fullmatch(r"(GSE\d+)(?:\s+(GPL\d+))?(?:\s+sha256:([0-9a-f]{64}))?", text)
        if match is None:
            raise DgexError(
                f"{path}, line {number}: expected a series, and if wanted its platform and checksum, as in 'GSE994' or "
                f"'GSE14520 GPL571 sha256:...', found {text!r}"
            )
        accession = Accession(*match.groups())
        name = " ".join(filter(None, (accession.series, accession.platform)))
        if name in line_of:
            raise DgexError(f"{path}, line {number}: {name} is in line {line_of[name]} already; remove one of them")
        line_of[name] = number
        listed.append(accession)
    if not listed:
        raise DgexError(f"{path}: lists no series; write one accession a line, such as GSE994")
    return listed


def gene_tables(folder: Path, mirror: str = GENE_TABLES, limits: Limits = LIMITS) -> None:
    """Downloads D-GEX's gene tables as they are published (github.com/uci-cbcl/D-GEX); errors as ``download``."""
    with progress() as bars:
        for path, sha256 in zip(gene_table_paths(folder), GENE_TABLE_SHA256, strict=True):
            download_with_bar(bars, f"{mirror.rstrip('/')}/{path.name}", path, sha256, limits)


def _obtain(accession: Accession, cache: Path, mirror: str, limits: Limits, bars: Progress) -> Path:
    """Finds the series matrix in ``cache``, or downloads it to that folder."""
    paths = [cache / name for name in accession.files]
    for path in paths:
        if path.exists():
            if flaw := find_flaw(path, accession.sha256):
                raise DgexError(f"{path}: {flaw}; delete it to have it downloaded again")
            return path
    folder = f"{mirror.rstrip('/')}/{re.sub('[0-9]{1,3}$', 'nnn', accession.series)}/{accession.series}/matrix"
    for path in paths:
        try:
            check = partial(_check_series, accession)
            download_with_bar(bars, f"{folder}/{path.name}", path, accession.sha256, limits, check)
            return path
        except NotThere:
            continue
    raise DgexError(
        f"{folder}: has no {' and no '.join(accession.files)}; check the accession, and add the platform "
        f"if the series has several, as in '{accession.series} GPL570'"
    )


def _check_series(accession: Accession, path: Path) -> None:
    """Raises DgexError if a file is not a complete series matrix of the series."""
    with open_series_matrix(path) as table:
        studies = set(table.sample_metadata["study_id"].tolist())
    if studies != {accession.series}:
        raise DgexError(f"{path}: is of {_named(studies)}, not of {accession.series}; try another mirror")


def _check(source: _Source, wanted: Sequence[str]) -> None:
    """Refuses a series matrix of another series or platform than listed, or with too few of the wanted probe sets."""
    accession, path = source.accession, source.path
    studies, platforms = (set(source.table.sample_metadata[name].tolist()) for name in ("study_id", "platform_id"))
    if studies != {accession.series}:
        raise DgexError(f"{path}: is of {_named(studies)}, not of {accession.series}; delete it to have it replaced")
    platform = accession.platform or min(platforms)
    if platforms != {platform}:
        raise DgexError(f"{path}: its arrays are of {_named(platforms)}, not of {platform} alone; correct the list")
    check_platforms(path, platforms)
    used = set(wanted)
    if repeated := first_repeated([name for name in source.table.row_id if name in used]):
        raise DgexError(f"{path}: holds the row {repeated} twice; take the series off the list")
    absent = used.difference(source.table.row_id)
    if len(wanted) - len(absent) < LEAST_FOUND * len(wanted):
        raise DgexError(
            f"{path}: lacks {len(absent)} of the {len(wanted)} probe sets of the gene tables, such as {min(absent)}; "
            f"its rows are named like {source.table.row_id[0]}; take the series off the list, or use other gene tables"
        )


def _check_distinct(sources: Sequence[_Source]) -> None:
    """Refuses a series that is listed twice, and an array that is in two series."""
    path_of: dict[str, Path] = {}
    for source in sources:
        for name in source.table.sample_id:
            if path_of.get(name) == source.path:
                raise DgexError(f"{source.path}: is listed twice; take {source.accession.series} off the list once")
            if name in path_of:
                raise DgexError(f"{source.path}: array {name} is in {path_of[name]} too; take one of them off the list")
            path_of[name] = source.path


def _read(source: _Source, wanted: Sequence[str]) -> tuple[np.ndarray, str]:
    """Reads the wanted probe sets of a series: float32 log2 [arrays, wanted], and the scale of the source."""
    column_of = {name: column for column, name in enumerate(wanted)}
    column = np.array([column_of.get(name, -1) for name in source.table.row_id])
    values = np.full((len(source.table.sample_id), len(wanted)), np.nan, np.float32)
    for arrays, rows, block in source.table.blocks(BLOCK):
        used = column[rows] >= 0
        values[arrays, column[rows][used]] = block[:, used]
    scale = intensity_scale(str(source.path), source.table.sample_id, value_ranges(values), values.__getitem__)
    return to_log2(values, scale), scale


def _summary(source: _Source, wanted: Sequence[str], scale: str) -> Series:
    """Summarises what was read from a series."""
    return Series(
        series=source.accession.series,
        platform=str(source.table.sample_metadata["platform_id"][0]),
        arrays=len(source.table.sample_id),
        scale=scale,
        missing=len(set(wanted).difference(source.table.row_id)),
        taken_as_missing=tally(source.table.stand_ins),
        sha256=sha256_of(source.path),
    )


def _named(names: set[str]) -> str:
    """Joins names for a message."""
    return ", ".join(sorted(names))
