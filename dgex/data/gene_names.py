"""Looks up the identifiers of human genes in NCBI Gene: Ensembl ids, Entrez id, current symbol and other symbols.

``gene_names.tsv.gz`` holds every gene of NCBI Gene with an Ensembl id, one a line, tab-separated: Ensembl ids joined by
commas, Entrez id, current symbol, and then other symbols (aliases and former ones), sorted by Ensembl id and Entrez id.
A symbol that is the current one of any gene is left out of the other symbols, since it means that gene.

It is made from org.Hs.eg.db 3.16.0 of Bioconductor (NCBI Gene of 12 September 2022, Ensembl of 28 June 2022), whose
data are NCBI's and in the public domain, by ``sqlite3 -tabs org.Hs.eg.sqlite "$SQL" | gzip -9n`` with this SQL:

    SELECT (SELECT group_concat(ensembl_id) FROM (SELECT DISTINCT ensembl_id FROM ensembl
              WHERE ensembl._id = gene_info._id ORDER BY 1)) AS ids,
           gene_id,
           symbol || coalesce(char(9) || (SELECT group_concat(alias_symbol, char(9)) FROM (SELECT DISTINCT alias_symbol
              FROM alias WHERE alias._id = gene_info._id AND alias_symbol NOT IN (SELECT symbol FROM gene_info)
              ORDER BY 1)), '')
    FROM gene_info JOIN genes USING (_id) WHERE ids IS NOT NULL ORDER BY ids, CAST(gene_id AS INTEGER);
"""

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from dgex.data.genes import Genes

Naming = Literal["Ensembl id", "probe set", "Entrez id", "symbol"]

# Names of one rank, and for each the numbers of the genes that it could mean.
Tier = dict[str, list[int]]
FOREIGN = -1  # stands for any gene that has no number, as it is not among those to be matched

# The dates that spreadsheet programs make of symbols, and the symbols of each: those that were official until 2020.
DATES: dict[str, list[str]] = {}
for _stem, _first, _last in (("MARCH", 1, 11), ("MARC", 1, 2), ("SEPT", 1, 14), ("SEP", 15, 15), ("DEC", 1, 1)):
    for _number in range(_first, _last + 1):
        DATES.setdefault(f"{_number}-{_stem[:3].title()}", []).append(f"{_stem}{_number}")


@dataclass(frozen=True)
class GeneNames:
    """Holds the identifiers that NCBI Gene has of one gene."""

    ensembl: tuple[str, ...]  # usually one; more where alternative assemblies have the gene too
    entrez: str
    symbols: tuple[str, ...]  # the current one first


def _lines() -> list[str]:
    """Reads the file: all human genes with an Ensembl id, one a line."""
    return gzip.decompress(files("dgex.data").joinpath("gene_names.tsv.gz").read_bytes()).decode().splitlines()


def _parsed(line: str) -> GeneNames:
    """Takes a line of the file apart."""
    ids, entrez, *symbols = line.split("\t")
    return GeneNames(tuple(ids.split(",")), entrez, tuple(symbols))


@cache
def read_names() -> tuple[GeneNames, ...]:
    """Reads all human genes with an Ensembl id, sorted by it. Several genes of NCBI's may share an Ensembl id."""
    return tuple(map(_parsed, _lines()))


@cache
def _lines_by_name() -> dict[str, str]:
    """Indexes the lines by every Ensembl id and every symbol; a name of several genes has all their lines.

    Nearly all genes are never asked for, and taking them apart would take most of the start-up time of a command.
    """
    index: dict[str, str] = {}
    for line in _lines():
        ids, _, *symbols = line.split("\t")
        for name in (*ids.split(","), *symbols):
            index[name] = f"{index[name]}\n{line}" if name in index else line
    return index


def _named(name: str) -> list[GeneNames]:
    """Looks up the genes with an Ensembl id or a symbol."""
    return [_parsed(line) for line in _lines_by_name().get(name, "").splitlines()]


def names_of(genes: Genes) -> list[GeneNames | None]:
    """Looks up NCBI's identifiers of each of ``genes``; None for a gene that NCBI does not know.

    Where several genes of NCBI's share an Ensembl id (a read-through, an antisense transcript), the one with the gene's
    symbol is taken. A gene whose id Ensembl has retired is looked up by its symbol.
    """

    def look_up(ensembl: str, symbol: str) -> GeneNames | None:
        if candidates := _named(ensembl):
            return next((gene for gene in candidates if symbol in gene.symbols), candidates[0])
        # Only human ids: other species' genes may share the symbol.
        bearers = _named(symbol) if ensembl.startswith("ENSG") else []
        return bearers[0] if len(bearers) == 1 else None

    return [look_up(ensembl, symbol) for ensembl, symbol in zip(genes.ensembl, genes.symbol, strict=True)]


def namings(genes: Genes) -> dict[Naming, list[Tier]]:
    """Lists the names that ``genes`` may have in a table, by kind of name, and within a kind by rank, best first.

    - Ensembl ids: those of ``genes``, then the present ids of genes whose id Ensembl has retired, then those of a
      gene's copy on Y where GENCODE lists the pseudoautosomal regions twice (ENSG00000002586_PAR_Y, formerly
      ENSGR0000002586).
    - Probe sets and Entrez ids, each of one rank.
    - Symbols: those of ``genes`` and the current ones, then the same in capitals (C1ORF43; other differences of case
      are differences between species), then all other symbols, among them a symbol of ``genes`` that is now the current
      one of another gene. A date ranks with the symbol that a spreadsheet program mistook for it, and is ambiguous
      where that may be either of two (1-Mar).

    A name is only in the first tier that it qualifies for. Where a symbol beyond the first tier also belongs to a gene
    that is not in ``genes``, the number ``FOREIGN`` is among its numbers.
    """
    known = names_of(genes)
    known_entrez = {gene.entrez for gene in known if gene}

    def others(name: str) -> list[GeneNames]:
        return [gene for gene in _named(name) if gene.entrez not in known_entrez]

    retired, entrez, main, further = [], [], [], []
    for ensembl, symbol, gene in zip(genes.ensembl, genes.symbol, known, strict=True):
        current = gene or GeneNames((), "", (symbol,))
        retired.append(current.ensembl if ensembl not in current.ensembl else ())
        entrez.append({current.entrez})
        taken = any(other.symbols[0] == symbol for other in _named(symbol))
        main.append({current.symbols[0]} if taken else {current.symbols[0], symbol})
        further.append({symbol, *current.symbols})
    symbols = _tiers(main, [{name.upper() for name in names} for names in main], further)
    for tier in symbols[1:]:
        for name, numbers in tier.items():
            if others(name):
                numbers.append(FOREIGN)
    for tier in symbols:
        for date, date_symbols in DATES.items():
            if numbers := [number for name in date_symbols for number in tier.get(name, ())]:
                tier[date] = numbers + [FOREIGN] * (len(date_symbols) > 1)
    # D-GEX's targets have some of the old ids on Y beside the gene itself.
    present = [
        {name.replace("ENSGR", "ENSG0", 1) + "_PAR_Y"} if name.startswith("ENSGR") else set() for name in genes.ensembl
    ]
    on_y = [{f"{name}_PAR_Y", name.replace("ENSG0", "ENSGR", 1)} for name in genes.ensembl]
    return {
        "Ensembl id": _tiers([{name} for name in genes.ensembl], retired, present, on_y),
        "probe set": _tiers([names.split(",") for names in genes.probes]),
        "Entrez id": _tiers(entrez),
        "symbol": symbols,
    }


def _tiers(*levels: Sequence[Iterable[str]]) -> list[Tier]:
    """Makes a tier of each level, which has each gene's names, without the names of the levels before it."""
    tiers: list[Tier] = []
    for level in levels:
        tier: Tier = {}
        for number, names in enumerate(level):
            for name in names:
                if name and not any(name in earlier for earlier in tiers):
                    tier.setdefault(name, []).append(number)
        tiers.append(tier)
    return tiers
