"""How files spell the names of genes: with versions, two names in one, or as a spreadsheet program's dates.

Portals write ``ENSG00000000003.10_2`` (GENCODE lifted to another assembly), ``ENSG00000002586.20_PAR_Y``, ``7105.0``
(Entrez ids that were floats once), ``TSPAN6 (7105)`` (DepMap), ``TSPAN6|7105`` (TCGA) or ``ENSG00000000003.15_TSPAN6``.
Spreadsheet programs make 9-Sep, Sep-09 or 2021-09-09 00:00:00 of SEPT9.
"""

import re
from collections.abc import Iterator, Set

SUFFIX = r"(?:\.[0-9]+)?(?:_[0-9]+|_PAR_Y)*"  # version, lift and copy on Y
ENSEMBL = rf"ENS[A-Z]*[0-9]{{10,11}}{SUFFIX}"
PAIR = re.compile(rf"(?!{ENSEMBL}\Z)(?:(.+?) ?\(([^()]+)\)|([^|]+)\|([^|]+)|({ENSEMBL})[_:-](.+)|(.+)[_:-]({ENSEMBL}))")
DATE = re.compile(r"([0-9]{1,2})-([A-Za-z]{3})|([A-Za-z]{3})-([0-9]{1,2})|[0-9]{4}-([0-9]{2})-([0-9]{2})(?: 00:00:00)?")
MONTHS = {"03": "Mar", "09": "Sep", "12": "Dec"}


def names_in(text: str, known: Set[str], ensembl: Set[str]) -> Iterator[str]:
    """Finds the known names that a text stands for, which is none itself; of ``known`` some are ``ensembl`` ids.

    Of two names in one each is found that is known. Two of one kind, such as two symbols, are those of two genes, and
    neither is.
    """
    pair = "|" in text or "ENS" in text or text.endswith(")")
    for part in _parts(text) if pair else (text,):
        # Millions of samples have to be looked at, too: what costs most comes last.
        if part in known:
            yield part
        elif (name := part.partition(".")[0].partition("_")[0]) in ensembl:
            if re.fullmatch(SUFFIX, suffix := part.removeprefix(name)):
                yield name + "_PAR_Y" * ("_PAR_Y" in suffix)
        elif part.endswith(".0"):
            if (name := part.removesuffix(".0")).isdecimal() and name in known:
                yield name
        elif "-" in part and (match := DATE.fullmatch(part)) and (name := _date(match)) in known:
            yield name


def _parts(text: str) -> tuple[str, ...]:
    """The two names in a text, none where they are of one kind; or the text, where it is one name."""
    match = PAIR.fullmatch(text)
    if not match:
        return (text,)
    first, second = (part for part in match.groups() if part)
    return (first, second) if _kind(first) != _kind(second) else ()


def _kind(name: str) -> str:
    if name.removesuffix(".0").isdecimal():
        return "number"
    return "Ensembl id" if re.fullmatch(ENSEMBL, name) else "symbol"


def _date(match: re.Match[str]) -> str:
    """The date as ``dgex.data.gene_names.DATES`` has it: 9-Sep."""
    day, month = match[1] or match[4] or match[6], match[2] or match[3] or MONTHS.get(match[5], "")
    return f"{int(day)}-{month.title()}"
