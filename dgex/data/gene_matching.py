"""Finds a model's genes among the rows of an expression table.

Tables name genes by Ensembl id, probe set, Entrez id or symbol; in their ids or in a column of metadata; in rows or in
columns. ``match_genes`` tries them all and keeps the one that finds most. What it cannot tell for certain it leaves
out: a wrong value for a gene is worse than none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import DTypeLike

from dgex.data.gene_names import FOREIGN, Naming, Tier, namings
from dgex.data.gene_spelling import names_in
from dgex.data.genes import Genes
from dgex.errors import DgexError, visible
from dgex.formats.annotation import describes_genes
from dgex.formats.expression import Expression, is_text, pieces, unique_ids

Column = Sequence[str] | np.ndarray  # what may name the genes: ids, or a column of metadata

LEAST_FOUND = 0.01  # of the landmarks; a sample's age or dose is some gene's Entrez id too
REPEATED = 0.9  # what a found gene counts in a field that repeats names: two genes may have one symbol
SHOWN = 10  # names of a list in a report


@dataclass(frozen=True)
class GeneRows:
    """Where a source has its genes: which rows are averaged into which column."""

    naming: Naming  # of the source's rows
    members: np.ndarray  # int: rows, gene after gene
    count: np.ndarray  # int [genes]: how many of ``members`` belong to each gene; 0 where the source lacks it

    @property
    def starts(self) -> np.ndarray:
        """Where in ``members`` each gene with any begins."""
        return (np.cumsum(self.count) - self.count)[self.count > 0]

    def absent(self, unmeasured: np.ndarray) -> np.ndarray:
        """Which genes have no measured row: bool [profiles, rows] to bool [profiles, genes]."""
        result = np.ones((len(unmeasured), len(self.count)), bool)
        result[:, self.count > 0] = np.logical_and.reduceat(unmeasured[:, self.members], self.starts, axis=1)
        return result


def average(values: np.ndarray, genes: GeneRows, dtype: DTypeLike = np.float32) -> np.ndarray:
    """The mean of each gene's rows, over those measured in the profile.

    Args:
      values: log2 [samples, rows], NaN where not measured.
      dtype: of the result; the sums are in float64 anyway.

    Returns:
      [samples, genes]; NaN where the source has none of the gene's rows, or the profile measured none.
    """
    found = genes.count > 0
    result = np.full((len(values), len(found)), np.nan, dtype)
    if genes.count.max() == 1:
        result[:, found] = values[:, genes.members]
        return result
    by_gene = values[:, genes.members].astype(np.float64)
    unmeasured = np.isnan(by_gene)
    count = genes.count[found]
    if unmeasured.any():
        count = np.add.reduceat(~unmeasured, genes.starts, axis=1, dtype=np.int64)
        by_gene[unmeasured] = 0
    with np.errstate(invalid="ignore"):  # 0 / 0: a gene of which the profile measured nothing
        result[:, found] = np.add.reduceat(by_gene, genes.starts, axis=1) / count
    return result


@dataclass(frozen=True)
class Match:
    """Where a table has certain genes."""

    field: str | None  # the column of metadata that names the genes; None where their ids do
    transposed: bool  # whether the table has genes where it should have samples
    rows: GeneRows  # of the table, or of ``table.transposed()`` where ``transposed``
    missing: tuple[str, ...]  # genes without a row, the ambiguous ones included: "SYMBOL (Ensembl id)"
    ambiguous: tuple[str, ...]  # the same with the names that could mean them
    averaged: tuple[str, ...]  # genes that several rows have the symbol or Entrez id of: "SYMBOL (Ensembl id): 2 rows"
    unused: int  # rows that are no landmark's, after the same exchange
    called: str  # what was looked for: "landmarks"

    @property
    def naming(self) -> Naming:
        """How the table calls its genes."""
        return self.rows.naming

    @property
    def found(self) -> int:
        """How many of the genes have rows."""
        return int(np.count_nonzero(self.rows.count))

    @property
    def where(self) -> str:
        """What names the genes: "row ids", "column metadata gene"."""
        axis = "column" if self.transposed else "row"
        return f"{axis} ids" if self.field is None else f"{axis} metadata {self.field}"

    def report(self) -> str:
        """What was found, in a few plain lines."""
        axis = "column" if self.transposed else "row"
        lines = [
            f"{self.found:,} of {len(self.rows.count):,} {self.called} found by {self.naming} ({self.where}); "
            f"{self.unused:,} {axis}s unused"
        ]
        if self.missing:
            lines.append(f"{len(self.missing):,} missing: {_listed(self.missing)}")
        return "\n".join([*map(visible, lines), *self.remarks()])

    def remarks(self) -> list[str]:
        """What should be looked at, a line each: genes that names were not clear for, and averages."""
        lines = []
        if self.ambiguous:
            lines.append(f"{len(self.ambiguous):,} ambiguous, so missing: {_listed(self.ambiguous)}")
        if self.averaged:
            lines.append(f"{len(self.averaged):,} averaged over rows of one {self.naming}: {_listed(self.averaged)}")
        return list(map(visible, lines))


def match_genes(path: Path, expression: Expression, *tables: Genes, called: str = "landmarks") -> Match:
    """Finds the genes of ``tables``, one table after the other, by the naming, field and axis that give most of them.

    A gene may be in several tables, with other probe sets in each. A field in which one gene's symbol or Entrez id is
    repeated comes after one that tells these rows apart, unless that finds a tenth less. Of equals, Ensembl ids come
    before probe sets, Entrez ids and symbols; ids before metadata; rows before columns.

    - Ensembl ids count with or without version. Where Ensembl has retired a gene's id, its present one counts too.
    - Probe sets of a gene are averaged, and so are rows of one symbol or Entrez id, in ids or metadata.
    - Symbols: the table's own and the current one come first, then the same in capitals (C1ORF43; other differences of
      case are those between species), then aliases. An alias that is another gene's current symbol is none.
    - A gene is *ambiguous*, and none of its rows is used, where several rows have equal claim to it (two versions of an
      Ensembl id, two aliases), or where its one name is another gene's as well.

    ``dgex.data.gene_spelling`` says how all these may be written. Whatever else is repeated, empty or odd does no harm.

    Args:
      path: the table's file, for messages.
      called: what the genes are, for messages.

    Raises:
      DgexError: less than 1 % of the genes are recognised; or the samples, which are on the other axis, have no unique
        names.
    """
    known = [namings(genes) for genes in tables]
    best = max(_candidates(expression, tables, known, called), key=_standing)
    if best.found < max(1, LEAST_FOUND * len(best.rows.count)):
        raise DgexError(_unrecognised(path, expression, known[0], best))
    unique_ids(path, "sample", expression.row_id if best.transposed else expression.sample_id)
    return best


def _standing(match: Match) -> tuple[float, ...]:
    found = match.found * (REPEATED if match.averaged else 1)
    return found, -get_args(Naming).index(match.naming), match.field is None, not match.transposed


def _candidates(
    expression: Expression, tables: Sequence[Genes], known: Sequence[Mapping[Naming, list[Tier]]], called: str
) -> Iterator[Match]:
    """What every field of the file gives by every naming."""
    names = [name for genes in tables for name in zip(genes.symbol, genes.ensembl, strict=True)]
    labels = [f"{symbol} ({ensembl})" for symbol, ensembl in names]
    vocabulary = {
        naming: {name for tiers in known for tier in tiers[naming] for name in tier} for naming in get_args(Naming)
    }
    for transposed, field, column in _fields(expression):
        hits = _hits(column, vocabulary)
        for naming in get_args(Naming):
            if naming == "Entrez id" and _is_numbering(column):
                continue
            found = [_resolve(names[naming], hits, naming, len(own)) for own, names in zip(tables, known, strict=True)]
            rows, claims = (list(chain.from_iterable(part)) for part in zip(*found, strict=True))
            members = np.array(list(chain.from_iterable(rows)), int)
            genes = list(zip(labels, rows, claims, strict=True))
            yield Match(
                field=field,
                transposed=transposed,
                rows=GeneRows(naming, members, np.array([len(own) for own in rows])),
                missing=tuple(label for label, own, _ in genes if not own),
                ambiguous=tuple(f"{label}: {claim}" for label, _, claim in genes if claim),
                averaged=tuple(
                    f"{label}: {len(own)} rows" for label, own, _ in genes if len(own) > 1 and naming != "probe set"
                ),
                unused=len(column) - len(np.unique(members)),
                called=called,
            )


def _fields(expression: Expression) -> Iterator[tuple[bool, str | None, Column]]:
    """All that might name genes: whether it belongs to the samples, which column of metadata it is, and its entries."""
    axes = (expression.row_id, expression.row_metadata), (expression.sample_id, expression.sample_metadata)
    for transposed, (ids, metadata) in zip((False, True), axes, strict=True):
        yield transposed, None, ids
        for field, column in metadata.items():
            if (is_text(column) or column.dtype.kind in "iuf") and not describes_genes(field):
                yield transposed, field, column


def _texts(column: Column) -> Iterator[str]:
    """The entries as text without blanks around, a chunk at a time as there may be millions; "" for fractions, NaN."""
    if not isinstance(column, np.ndarray):
        yield from map(str.strip, column)
        return
    for where in pieces(len(column)):
        chunk = column[where]
        if chunk.dtype.kind == "f":
            yield from (f"{value:.0f}" if value.is_integer() else "" for value in chunk.tolist())
        else:
            yield from (str(entry).strip() for entry in chunk.tolist())


def _is_numbering(column: Column) -> bool:
    """Whether the entries count up, as row numbers do: most numbers up to 20,000 are genes' Entrez ids too."""
    ends = [end.removesuffix(".0") for part in (column[:1], column[-1:]) for end in _texts(part)]
    if not all(end.isdecimal() and len(end) < 10 for end in ends):
        return False
    return len(column) > 1 and int(ends[1]) - int(ends[0]) == len(column) - 1


def _hits(column: Column, vocabulary: Mapping[Naming, set[str]]) -> dict[str, list[int]]:
    """The known names in a column, however they are written, and the rows of each."""
    known, ensembl = set().union(*vocabulary.values()), vocabulary["Ensembl id"]
    hits: dict[str, list[int]] = {}
    for row, text in enumerate(_texts(column)):
        for name in (text,) if text in known else names_in(text, known, ensembl):
            hits.setdefault(name, []).append(row)
    return hits


def _resolve(
    tiers: list[Tier], hits: dict[str, list[int]], naming: Naming, genes: int
) -> tuple[list[list[int]], list[str]]:
    """The rows of each gene; and of each that is ambiguous the names that could mean it, "" of the others."""
    rows: list[list[int]] = [[] for _ in range(genes)]
    claims = [""] * genes
    for tier in tiers:
        named: dict[int, list[str]] = {}
        for name, owners in tier.items():
            if name in hits:
                for gene in owners:
                    named.setdefault(gene, []).append(name)
        for gene, names in named.items():
            if gene == FOREIGN or rows[gene] or claims[gene]:
                continue
            # Several rows of one symbol or Entrez id are an array's probes; of one Ensembl id they are its versions.
            once = naming != "Ensembl id" or len(hits[names[0]]) == 1
            if naming == "probe set" or (once and len(names) == len(tier[names[0]]) == 1):
                rows[gene] = [row for name in names for row in hits[name]]
            else:
                claims[gene] = ", ".join(_claim(name, len(hits[name]), len(tier[name])) for name in sorted(names))
    return rows, claims


def _claim(name: str, rows: int, genes: int) -> str:
    repeated = f" {rows} times" if rows > 1 else ""
    shared = ", also another gene's" if genes > 1 else ""
    return f"{name} ({(repeated + shared).strip(', ')})" if repeated or shared else name


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return "; ".join(names[:SHOWN]) + more


def _unrecognised(path: Path, expression: Expression, known: Mapping[Naming, list[Tier]], best: Match) -> str:
    def like(ids: Sequence[str]) -> str:
        return ", ".join(repr(name[:40]) for name in ids[:3])

    expected = " or ".join(f"{naming}s ({next(iter(tiers[0]))})" for naming, tiers in known.items() if tiers[0])
    total = f"{len(best.rows.count):,} {best.called}"
    found = f"only {best.found} of the {total} are" if best.found else f"the {best.called} are not"
    return (
        f"{path}: {found} recognised; its rows are named like {like(expression.row_id)}, its columns "
        f"like {like(expression.sample_id)}; name the genes in either, or in a column of metadata, by {expected}"
    )
