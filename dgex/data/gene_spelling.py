"""Recognises gene identifiers however a file spells them: with versions, in pairs, or as a spreadsheet's dates.

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
    """Finds the known names that a text stands for without being one of them itself.

    A text that joins two names of different kinds, such as symbol and Entrez id, stands for each of them that is known.
    Two names of one kind, such as two symbols, belong to two genes, so the text stands for neither.

    Args:
      text: an entry of a table.
      known: the names to recognise.
      ensembl: those of the known names that are Ensembl ids.
    """
    pair = "|" in text or "ENS" in text or text.endswith(")")
    for part in _parts(text) if pair else (text,):
        # Names of samples pass through here too, perhaps by the million, so the costly tests come last.
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
    """Splits a text into its two names, or into none where both are of one kind; gives back a text that is one name."""
    match = PAIR.fullmatch(text)
    if not match:
        return (text,)
    first, second = (part for part in match.groups() if part)
    return (first, second) if _kind(first) != _kind(second) else ()


def _kind(name: str) -> str:
    """Tells an Ensembl id and a number (an Entrez id) from a symbol."""
    if name.removesuffix(".0").isdecimal():
        return "number"
    return "Ensembl id" if re.fullmatch(ENSEMBL, name) else "symbol"


def _date(match: re.Match[str]) -> str:
    """Writes a date as ``dgex.data.gene_names.DATES`` has it: 9-Sep."""
    day, month = match[1] or match[4] or match[6], match[2] or match[3] or MONTHS.get(match[5], "")
    return f"{int(day)}-{month.title()}"
