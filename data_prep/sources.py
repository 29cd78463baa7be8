"""Pools several sources, so that their profiles are chosen, split and normalised together.

Each source is staged by itself, with its own names of genes and its own scale. The profiles of a pool are numbered
source after source. Near-duplicates are sought among all profiles whose rows are named alike, over the union of their
rows; a row that a source lacks is missing there.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from data_prep.staging import Staged
from dgex.data.missing import Missing
from dgex.data.platforms import ARRAY
from dgex.errors import DgexError

RNA_SEQ = "rnaseq"
MOST_PLATFORMS = 255  # which a byte can tell apart


def platform_of(staged: Staged, chosen: str | None = None) -> list[str]:
    """Names the platform of each profile of a source.

    Args:
      staged: the source.
      chosen: the platform of all its profiles, if the user names one.

    Returns:
      Names [samples]: the chosen one; else the sample metadata ``platform``; else "array" where the rows are probe
      sets, "rnaseq" where they are genes.
    """
    if chosen is not None:
        return [chosen] * len(staged.sample_id)
    default = ARRAY if staged.match.naming == "probe set" else RNA_SEQ
    return [name or default for name in staged.platform.tolist()]


@dataclass(frozen=True)
class Pool:
    """Holds staged sources and the platforms of their profiles, which are referred to by ascending positions."""

    sources: tuple[Staged, ...]
    platforms: tuple[str, ...]  # the reference first
    platform: np.ndarray  # u1 [samples], positions in ``platforms``

    @property
    def starts(self) -> np.ndarray:
        """Gives the position of each source's first profile, and the number of all: int [sources + 1]."""
        return np.cumsum([0, *(len(source.sample_id) for source in self.sources)])

    @property
    def rows(self) -> int:
        """Counts the rows of the source that has most."""
        return max(source.rows for source in self.sources)

    @property
    def sample_id(self) -> np.ndarray:
        """Gives the names of the profiles: str [samples]."""
        return np.concatenate([source.sample_id for source in self.sources])

    @property
    def study(self) -> np.ndarray:
        """Gives the studies of the profiles, "" where unknown: str [samples]."""
        return np.concatenate([source.study for source in self.sources])

    @property
    def project(self) -> np.ndarray:
        """Gives the projects of the profiles, "" where unknown: str [samples]."""
        return np.concatenate([source.project for source in self.sources])

    def parts(self, profiles: np.ndarray) -> Iterator[tuple[Staged, np.ndarray]]:
        """Gives each source that has some of ``profiles``, and their positions in it."""
        starts = self.starts
        for source, first, end in zip(self.sources, starts, starts[1:], strict=False):
            inside = profiles[(profiles >= first) & (profiles < end)]
            if len(inside):
                yield source, inside - first

    def genes(self, profiles: np.ndarray, dtype: DTypeLike = np.float32) -> np.ndarray:
        """Reads profiles and averages them by gene, landmarks and then targets: log2 [profiles, genes]."""
        return np.concatenate([source.genes(inside, dtype) for source, inside in self.parts(profiles)])

    def missing_per_gene(self, profiles: np.ndarray) -> np.ndarray:
        """Counts how many of ``profiles`` lack each gene: int [genes]."""
        genes = len(self.sources[0].match.rows.count)
        return sum((source.missing_per_gene(inside) for source, inside in self.parts(profiles)), np.zeros(genes, int))

    def missing_per_profile(self, genes: np.ndarray) -> np.ndarray:
        """Counts how many of ``genes``, bool [genes], each profile lacks: int [samples]."""
        return np.concatenate([source.missing_per_profile(genes) for source in self.sources])

    def missing(self, profiles: np.ndarray, genes: np.ndarray) -> Missing:
        """Collects the missing values of ``profiles`` in ``genes``, bool [genes]."""
        found = [source.missing(inside, genes) for source, inside in self.parts(profiles)]
        first = np.cumsum([0, *(len(each.patterns) for each in found)])
        return Missing(
            np.concatenate([each.patterns for each in found]),
            np.concatenate([each.pattern + start for each, start in zip(found, first, strict=False)]),
        )

    def is_complete(self) -> np.ndarray:
        """Finds the profiles that lack few of the genes that their own source has: see ``Staged.is_complete``."""
        return np.concatenate([source.is_complete() for source in self.sources])

    def by_naming(self) -> Iterator["NamedAlike"]:
        """Gives the sources whose rows are named alike, in the order of the first of each."""
        namings = [source.match.naming for source in self.sources]
        starts = self.starts
        for naming in dict.fromkeys(namings):
            numbers = [number for number, other in enumerate(namings) if other == naming]
            profiles = [np.arange(starts[number], starts[number + 1]) for number in numbers]
            yield NamedAlike(self, np.concatenate(profiles), columns_of([self.sources[number] for number in numbers]))


@dataclass(frozen=True)
class NamedAlike:
    """Holds the profiles of a pool whose rows are named alike, over the union of these rows."""

    pool: Pool
    profiles: np.ndarray  # int, positions in the pool
    columns: dict[int, np.ndarray]  # of each source, by its ``id``: where its rows are in the union, int [rows]

    @property
    def rows(self) -> int:
        """Counts the rows of the union."""
        return 1 + max(int(columns.max()) for columns in self.columns.values())

    def read(self, profiles: np.ndarray) -> np.ndarray:
        """Reads profiles of the pool: log2 [profiles, rows], NaN where not measured."""
        values = np.full((len(profiles), self.rows), np.nan, np.float32)
        first = 0
        for source, inside in self.pool.parts(profiles):
            values[first : first + len(inside), self.columns[id(source)]] = source.read(inside)
            first += len(inside)
        return values

    def usual_rows(self, profiles: np.ndarray) -> np.ndarray:
        """Finds the rows that at least half of ``profiles`` have, or else those that most have: bool [rows]."""
        missing = np.full(self.rows, len(profiles))
        for source, inside in self.pool.parts(profiles):
            missing[self.columns[id(source)]] -= len(inside) - source.missing_per_row(inside)
        return 2 * missing <= max(len(profiles), 2 * int(missing.min()))


def columns_of(sources: Sequence[Staged]) -> dict[int, np.ndarray]:
    """Finds the rows of sources in the union of their names; Ensembl ids count without their version.

    Returns:
      By the ``id`` of the source int [rows], positions in the union; the rows of the first source come first.
    """
    union: dict[tuple[str, int], int] = {}
    columns = {}
    for source in sources:
        seen: Counter[str] = Counter()
        place = np.empty(source.rows, int)
        for row, name in enumerate(source.row_id):
            key = name.partition(".")[0] if source.match.naming == "Ensembl id" else name
            place[row] = union.setdefault((key, seen[key]), len(union))
            seen[key] += 1
        columns[id(source)] = place
    return columns


def pooled(sources: Sequence[Staged], names: Sequence[str], known: tuple[str, ...] | None = None) -> Pool:
    """Pools sources.

    Args:
      sources: the sources.
      names: the platform of every profile.
      known: the platforms of an existing data set, of which an unknown one is taken as the reference.

    Returns:
      The pool; without ``known`` its platforms are in the order of their first profiles.

    Raises:
      DgexError: there are more than ``MOST_PLATFORMS``.
    """
    platforms = known or tuple(dict.fromkeys(names))
    if len(platforms) > MOST_PLATFORMS:
        raise DgexError(
            f"the sample field platform names {len(platforms)} platforms, such as {platforms[-1]}; name one a source "
            "with --platform"
        )
    code = {name: number for number, name in enumerate(platforms)}
    return Pool(tuple(sources), platforms, np.array([code.get(name, 0) for name in names], np.uint8))


def unrepeated(pool: Pool, profiles: np.ndarray) -> np.ndarray:
    """Tells which of ``profiles`` have no earlier one of the same name among them: bool [profiles]."""
    first = np.unique(pool.sample_id[profiles].astype(str), return_index=True)[1]
    return np.isin(np.arange(len(profiles)), first)
