"""Finds a model's genes among the rows of an expression table.

Tables identify genes by Ensembl id, probe set, Entrez id or symbol; in their ids or in a column of metadata; in rows or
in columns. ``match_genes`` tries all combinations and keeps the one that finds most genes. It leaves out genes that it
cannot identify for certain, because a wrong value for a gene is worse than a missing one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
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

LEAST_FOUND = 0.01  # share of the landmarks; a sample's age or dose is some gene's Entrez id too
REPEATED = 0.9  # weight of a found gene in a field that repeats names: two genes may have one symbol
SHOWN = 10  # names of a list in a report


@dataclass(frozen=True)
class GeneRows:
    """Maps genes to rows of a table: the rows that are averaged into each gene."""

    naming: Naming  # the kind of name by which the rows were identified
    members: np.ndarray  # int: rows, gene after gene
    count: np.ndarray  # int [genes]: how many of ``members`` belong to each gene; 0 where the table lacks it

    @property
    def starts(self) -> np.ndarray:
        """Computes where in ``members`` the rows of each gene that has any begin."""
        return (np.cumsum(self.count) - self.count)[self.count > 0]

    def absent(self, unmeasured: np.ndarray) -> np.ndarray:
        """Tells which genes have no measured row.

        Args:
          unmeasured: which values are missing, bool [profiles, rows].

        Returns:
          bool [profiles, genes].
        """
        result = np.ones((len(unmeasured), len(self.count)), bool)
        result[:, self.count > 0] = np.logical_and.reduceat(unmeasured[:, self.members], self.starts, axis=1)
        return result


def average(values: np.ndarray, genes: GeneRows, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Averages the rows of each gene, over those that are measured in the profile.

    Args:
      values: log2 [samples, rows], NaN where missing.
      genes: the rows of each gene.
      dtype: the element type of the result; the sums are in float64 in any case.

    Returns:
      [samples, genes]; NaN where the table has no row of the gene, or the profile no value in its rows.
    """
    present = genes.count > 0
    result = np.full((len(values), len(present)), np.nan, dtype)
    if genes.count.max() == 1:
        result[:, present] = values[:, genes.members]
        return result
    by_gene = values[:, genes.members].astype(np.float64)
    unmeasured = np.isnan(by_gene)
    count = genes.count[present]
    if unmeasured.any():
        count = np.add.reduceat(~unmeasured, genes.starts, axis=1, dtype=np.int64)
        by_gene[unmeasured] = 0
    with np.errstate(invalid="ignore"):  # 0 / 0: a gene of which the profile has no value
        result[:, present] = np.add.reduceat(by_gene, genes.starts, axis=1) / count
    return result


@dataclass(frozen=True)
class Match:
    """Describes where and by which names certain genes were found in a table."""

    field: str | None  # the column of metadata that names the genes; None where the ids do
    transposed: bool  # whether the table has genes where it should have samples
    rows: GeneRows  # of the table, or of ``table.transposed()`` where ``transposed``
    missing: tuple[str, ...]  # genes without a row, the ambiguous ones included: "SYMBOL (Ensembl id)"
    ambiguous: tuple[str, ...]  # the same with the names that could mean them
    averaged: tuple[str, ...]  # genes that several rows have the symbol or Entrez id of: "SYMBOL (Ensembl id): 2 rows"
    unused: int  # rows that belong to none of the genes, counted on the same axis as ``rows``
    called: str  # what messages call the genes: "landmarks"

    @property
    def naming(self) -> Naming:
        """Gives the kind of name by which the table identifies its genes."""
        return self.rows.naming

    @property
    def found(self) -> int:
        """Counts the genes that have rows."""
        return int(np.count_nonzero(self.rows.count))

    @property
    def where(self) -> str:
        """Names the part of the table that identifies the genes: "row ids", "column metadata gene"."""
        axis = "column" if self.transposed else "row"
        return f"{axis} ids" if self.field is None else f"{axis} metadata {self.field}"

    def report(self) -> str:
        """Reports in a few lines how many genes were found, and which are missing, ambiguous or averaged."""
        axis = "column" if self.transposed else "row"
        lines = [
            f"{self.found:,} of {len(self.rows.count):,} {self.called} found by {self.naming} ({self.where}); "
            f"{self.unused:,} {axis}s unused"
        ]
        if self.missing:
            lines.append(f"{len(self.missing):,} missing: {_listed(self.missing)}")
        return "\n".join([*map(visible, lines), *self.remarks()])

    def remarks(self) -> list[str]:
        """Lists, a line each, what the user should check: ambiguous genes and averages over several rows."""
        lines = []
        if self.ambiguous:
            lines.append(f"{len(self.ambiguous):,} ambiguous, so missing: {_listed(self.ambiguous)}")
        if self.averaged:
            lines.append(f"{len(self.averaged):,} averaged over rows of one {self.naming}: {_listed(self.averaged)}")
        return list(map(visible, lines))


def match_genes(label: str, expression: Expression, *tables: Genes, called: str = "landmarks") -> Match:
    """Finds genes in an expression table by the kind of name, field and axis that identify most of them.

    A gene may be in several gene tables, with other probe sets in each. A field that repeats a gene's symbol or Entrez
    id ranks below one that tells these rows apart, unless the latter finds a tenth fewer genes. Where several identify
    equally many genes, Ensembl ids rank before probe sets, Entrez ids and symbols; ids before metadata; rows before
    columns.

    - Ensembl ids count with or without version. Where Ensembl has retired a gene's id, the present id counts too.
    - Probe sets of a gene are averaged, and so are rows of one symbol or Entrez id, in ids or metadata.
    - Symbols: that of the gene table and the current one come first, then the same in capitals (C1ORF43; other
      differences of case are differences between species), then aliases. A name that is another gene's current symbol
      is no alias.
    - A gene is *ambiguous*, and none of its rows is used, where several rows match it equally well (two versions of an
      Ensembl id, two aliases), or where its only name is another gene's as well.

    ``dgex.data.gene_spelling`` documents how names may be spelt. Other entries that are repeated, empty or odd are
    ignored.

    Args:
      label: what messages call the table, such as the path of its file.
      expression: the table to search.
      *tables: the genes to find, one gene table after the other.
      called: what messages call the genes.

    Raises:
      DgexError: fewer than 1 % of the genes are recognised; or the samples, which are on the other axis, have no unique
        names.
    """
    known = [namings(genes) for genes in tables]
    best = max(_candidates(expression, tables, known, called), key=_rank)
    if best.found < max(1, LEAST_FOUND * len(best.rows.count)):
        raise DgexError(_unrecognised(label, expression, known[0], best))
    unique_ids(label, "sample", expression.row_id if best.transposed else expression.sample_id)
    return best


def _rank(match: Match) -> tuple[float, ...]:
    """Ranks a match: by the number of genes, then by kind of name, field and axis; the best has the largest rank."""
    genes = match.found * (REPEATED if match.averaged else 1)
    return genes, -get_args(Naming).index(match.naming), match.field is None, not match.transposed


def _candidates(
    expression: Expression, tables: Sequence[Genes], known: Sequence[Mapping[Naming, list[Tier]]], called: str
) -> Iterator[Match]:
    """Matches the genes by every combination of field and kind of name."""
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
            # Most fields of samples name no gene. The first combination is the best of those that find none.
            first = naming == get_args(Naming)[0] and field is None and not transposed
            if hits.keys().isdisjoint(vocabulary[naming]) and not first:
                continue
            resolved = [_resolve(tiers[naming], hits, naming, len(t)) for t, tiers in zip(tables, known, strict=True)]
            rows, claims = (list(chain.from_iterable(part)) for part in zip(*resolved, strict=True))
            members = np.array(list(chain.from_iterable(rows)), int)
            genes = list(zip(labels, rows, claims, strict=True))
            yield Match(
                field=field,
                transposed=transposed,
                rows=GeneRows(naming, members, np.array([len(gene_rows) for gene_rows in rows])),
                missing=tuple(label for label, gene_rows, _ in genes if not gene_rows),
                ambiguous=tuple(f"{label}: {claim}" for label, _, claim in genes if claim),
                averaged=tuple(
                    f"{label}: {len(gene_rows)} rows"
                    for label, gene_rows, _ in genes
                    if len(gene_rows) > 1 and naming != "probe set"
                ),
                unused=len(column) - len(np.unique(members)),
                called=called,
            )


def _fields(expression: Expression) -> Iterator[tuple[bool, str | None, Column]]:
    """Lists the fields that may name genes: whether it belongs to the samples, its metadata column, and its entries."""
    axes = (expression.row_id, expression.row_metadata), (expression.sample_id, expression.sample_metadata)
    for transposed, (ids, metadata) in zip((False, True), axes, strict=True):
        yield transposed, None, ids
        for field, column in metadata.items():
            if (is_text(column) or column.dtype.kind in "iuf") and not describes_genes(field):
                yield transposed, field, column


def _texts(column: Column) -> Iterator[str]:
    """Gives the entries as stripped texts, chunk by chunk as there may be millions; "" for fractions and NaN."""
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
    """Tells whether the entries count up as row numbers do, since most numbers up to 20,000 are Entrez ids too."""
    ends = [end.removesuffix(".0") for part in (column[:1], column[-1:]) for end in _texts(part)]
    if not all(end.isdecimal() and len(end) < 10 for end in ends):
        return False
    return len(column) > 1 and int(ends[1]) - int(ends[0]) == len(column) - 1


def _hits(column: Column, vocabulary: Mapping[Naming, set[str]]) -> dict[str, list[int]]:
    """Finds the known names in a column, however they are spelt, and the rows of each."""
    known, ensembl = set().union(*vocabulary.values()), vocabulary["Ensembl id"]
    hits: dict[str, list[int]] = {}
    for row, text in enumerate(_texts(column)):
        for name in (text,) if text in known else names_in(text, known, ensembl):
            hits.setdefault(name, []).append(row)
    return hits


def _resolve(
    tiers: list[Tier], hits: dict[str, list[int]], naming: Naming, genes: int
) -> tuple[list[list[int]], list[str]]:
    """Assigns rows to genes.

    Args:
      tiers: the names of the genes, best first.
      hits: the rows of each name in the table.
      naming: the kind of the names.
      genes: how many genes there are.

    Returns:
      The rows of each gene; and for each ambiguous gene the names that could mean it, "" for the others.
    """
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
            # Several rows of one symbol or Entrez id are probes of an array; of one Ensembl id they are its versions.
            once = naming != "Ensembl id" or len(hits[names[0]]) == 1
            if naming == "probe set" or (once and len(names) == len(tier[names[0]]) == 1):
                rows[gene] = [row for name in names for row in hits[name]]
            else:
                claims[gene] = ", ".join(_claim(name, len(hits[name]), len(tier[name])) for name in sorted(names))
    return rows, claims


def _claim(name: str, rows: int, genes: int) -> str:
    """Describes why a name identifies no gene: how many rows and how many genes have it."""
    repeated = f" {rows} times" if rows > 1 else ""
    shared = ", also another gene's" if genes > 1 else ""
    return f"{name} ({(repeated + shared).strip(', ')})" if repeated or shared else name


def _listed(names: Sequence[str]) -> str:
    """Lists the first ``SHOWN`` names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return "; ".join(names[:SHOWN]) + more


def _unrecognised(label: str, expression: Expression, known: Mapping[Naming, list[Tier]], best: Match) -> str:
    """Words the error that too few genes were recognised, with the names found and the names expected."""

    def like(ids: Sequence[str]) -> str:
        return ", ".join(repr(name[:40]) for name in ids[:3])

    expected = " or ".join(f"{naming}s ({next(iter(tiers[0]))})" for naming, tiers in known.items() if tiers[0])
    total = f"{len(best.rows.count):,} {best.called}"
    extent = f"only {best.found} of the {total} are" if best.found else f"the {best.called} are not"
    return (
        f"{label}: {extent} recognised; its rows are named like {like(expression.row_id)}, its columns "
        f"like {like(expression.sample_id)}; name the genes in either, or in a column of metadata, by {expected}"
    )
