"""What human genes are called: Ensembl ids, Entrez id, symbol and other symbols, as NCBI Gene has them.

``gene_names.tsv.gz`` holds every gene of NCBI Gene with an Ensembl id, one a line, tab-separated: Ensembl ids joined by
commas, Entrez id, current symbol, and then other symbols (aliases and former ones), sorted by Ensembl id and Entrez id.
A symbol that is now the current one of any gene is left out of the other symbols: it means that gene.

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

# Names, and for each the numbers of the genes that it could mean.
Tier = dict[str, list[int]]
FOREIGN = -1  # any gene of which there is no number

# The dates that spreadsheet programs make of symbols, and which symbols: those that were official until 2020.
DATES: dict[str, list[str]] = {}
for _stem, _first, _last in (("MARCH", 1, 11), ("MARC", 1, 2), ("SEPT", 1, 14), ("SEP", 15, 15), ("DEC", 1, 1)):
    for _number in range(_first, _last + 1):
        DATES.setdefault(f"{_number}-{_stem[:3].title()}", []).append(f"{_stem}{_number}")


@dataclass(frozen=True)
class GeneNames:
    """A gene as NCBI Gene knows it."""

    ensembl: tuple[str, ...]  # usually one; more where alternative assemblies have the gene too
    entrez: str
    symbols: tuple[str, ...]  # the current one first


@cache
def read_names() -> tuple[GeneNames, ...]:
    """All human genes with an Ensembl id, sorted by it. A gene of Ensembl may be several of NCBI's."""
    content = gzip.decompress(files("dgex.data").joinpath("gene_names.tsv.gz").read_bytes()).decode()
    lines = (line.split("\t") for line in content.splitlines())
    return tuple(GeneNames(tuple(ids.split(",")), entrez, tuple(symbols)) for ids, entrez, *symbols in lines)


@cache
def _by_name() -> dict[str, list[GeneNames]]:
    """The genes of every Ensembl id and every symbol."""
    result: dict[str, list[GeneNames]] = {}
    for gene in read_names():
        for name in (*gene.ensembl, *gene.symbols):
            result.setdefault(name, []).append(gene)
    return result


def names_of(genes: Genes) -> list[GeneNames | None]:
    """What NCBI calls each of ``genes``; None where it does not know the gene.

    Where an Ensembl id is several genes of NCBI's (a read-through, an antisense transcript), it is the one with the
    gene's symbol. An id that Ensembl has retired is looked up by the symbol.
    """

    def look_up(ensembl: str, symbol: str) -> GeneNames | None:
        if own := _by_name().get(ensembl):
            return next((gene for gene in own if symbol in gene.symbols), own[0])
        # Only human ids: other species' genes may share the symbol.
        bearers = _by_name().get(symbol, []) if ensembl.startswith("ENSG") else []
        return bearers[0] if len(bearers) == 1 else None

    return [look_up(ensembl, symbol) for ensembl, symbol in zip(genes.ensembl, genes.symbol, strict=True)]


def namings(genes: Genes) -> dict[Naming, list[Tier]]:
    """What ``genes`` may be called, by the kind of name; of a kind, the names with the best claim first.

    - Ensembl ids: the genes' own, then the present ones of those that Ensembl has retired, then those of a gene's copy
      on Y where GENCODE lists the pseudoautosomal regions twice (ENSG00000002586_PAR_Y, formerly ENSGR0000002586).
    - Probe sets and Entrez ids.
    - Symbols: the genes' own and the current ones, then these in capitals (C1ORF43; other differences of case are those
      between species), then all others. An own symbol that is now another gene's current one ranks with these. A date
      ranks with the symbol that a spreadsheet program took for it, and is ambiguous where it took two (1-Mar).

    A name is only in the first tier that has a claim to it. Symbols but the first say so where they are also those of
    genes not in ``genes``: the number ``FOREIGN`` stands for them.
    """
    known = names_of(genes)
    own = {gene.entrez for gene in known if gene}

    def others(name: str) -> list[GeneNames]:
        return [gene for gene in _by_name().get(name, []) if gene.entrez not in own]

    retired, entrez, main, further = [], [], [], []
    for ensembl, symbol, gene in zip(genes.ensembl, genes.symbol, known, strict=True):
        now = gene or GeneNames((), "", (symbol,))
        retired.append(now.ensembl if ensembl not in now.ensembl else ())
        entrez.append({now.entrez})
        taken = any(other.symbols[0] == symbol for other in _by_name().get(symbol, []))
        main.append({now.symbols[0]} if taken else {now.symbols[0], symbol})
        further.append({symbol, *now.symbols})
    symbols = _tiers(main, [{name.upper() for name in names} for names in main], further)
    for tier in symbols[1:]:
        for name, numbers in tier.items():
            if others(name):
                numbers.append(FOREIGN)
    for tier in symbols:
        for date, taken_for_it in DATES.items():
            if numbers := [number for name in taken_for_it for number in tier.get(name, ())]:
                tier[date] = numbers + [FOREIGN] * (len(taken_for_it) > 1)
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
    tiers: list[Tier] = []
    for level in levels:
        tier: Tier = {}
        for number, names in enumerate(level):
            for name in names:
                if name and not any(name in earlier for earlier in tiers):
                    tier.setdefault(name, []).append(number)
        tiers.append(tier)
    return tiers
