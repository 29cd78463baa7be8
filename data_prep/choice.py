"""Chooses samples of a large file by what it says of them: a condition, a cap per study, a number, a seed."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dgex.errors import DgexError, visible
from dgex.formats.expression import is_text

SINGLE_CELL = "singlecellprobability"
BULK = [(SINGLE_CELL, "<", "0.5")]  # ARCHS4's own threshold
CONDITION = re.compile(
    r"""\s*(?P<field>\w+)\s*(?P<operator><=|>=|!=|==?|<|>|\bcontains\b)
    \s*(?:"(?P<quoted>[^"]*)"|(?P<bare>[^"]+?))\s*(?:(?P<more>\band\b)|$)""",
    re.VERBOSE,
)
COMPARISONS: Mapping[str, Callable[[Any, Any], np.ndarray]] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "=": np.equal, "==": np.equal,
    "!=": np.not_equal,
}  # fmt: skip
OF_TEXTS = "=", "==", "!=", "contains"

Condition = tuple[str, str, str]  # field, operator, value
Fields = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Choice:
    """Says which samples of an ARCHS4 file are prepared.

    Attributes:
      keep: conditions on fields of the samples, see ``parse``. ``BULK`` is one more, unless they name that field.
      samples: how many to choose at random of those that fulfil them; None for all.
      per_study: how many of a study, at most, so that the few studies of thousands do not outweigh the others.
      min_reads: how many reads a sample needs, summed over the file's genes.
      seed: of the random choices.

    Raises:
      DgexError: ``keep`` is malformed, or a number is below 1 (``min_reads``: below 0).
    """

    keep: str = ""
    samples: int | None = None
    per_study: int = 100
    min_reads: int = 1_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the options."""
        parse(self.keep)
        for option, number, least in (
            ("--samples", self.samples, 1),
            ("--per-study", self.per_study, 1),
            ("--min-reads", self.min_reads, 0),
        ):
            if number is not None and number < least:
                raise DgexError(f"{option}: is a number of {least} or more, not {number}")

    @property
    def options(self) -> list[str]:
        """Spells the options of the command that differ from the defaults, without the seed."""
        chosen, default = asdict(self), asdict(Choice())
        return [
            part
            for name in ("keep", "samples", "per_study", "min_reads")
            if chosen[name] != default[name]
            for part in (f"--{name.replace('_', '-')}", str(chosen[name]))
        ]

    def choose(self, label: str, fields: Fields) -> tuple[np.ndarray, str]:
        """Chooses samples: those that fulfil the conditions, up to the cap of each study, then as many as wanted.

        The samples of a study that exceed the cap are left out at random, and the samples wanted are drawn at random
        from those that remain. Equal fields and seeds give equal choices.

        Args:
          label: what messages call the file.
          fields: the fields of all its samples, by name, "study_id" among them.

        Returns:
          Ascending positions, int [chosen], and a line that says what was chosen.

        Raises:
          DgexError: the file has no field of a condition, or one of another kind; no sample is left.
        """
        if "study_id" not in fields:
            raise DgexError(f"{label}: has no series_id of its samples; check how it was made")
        conditions = parse(self.keep)
        if SINGLE_CELL in fields and SINGLE_CELL not in [field for field, _, _ in conditions]:
            conditions = BULK + conditions
        kept = np.flatnonzero(fulfilled(label, fields, conditions))
        if not len(kept):
            raise DgexError(f"{label}: no sample fulfils {_spelt(conditions)}; change --keep")
        random = np.random.default_rng(self.seed)
        order = random.permutation(kept)
        of_study: Counter[str] = Counter()
        capped = []
        for sample, study in zip(order.tolist(), fields["study_id"][order].tolist(), strict=True):
            of_study[study] += 1
            if of_study[study] <= self.per_study:
                capped.append(sample)
        # In a new order: in the first, what the cap leaves of a large study comes early.
        chosen = np.sort(random.permutation(capped)[: self.samples])
        drawn = f", of which {len(chosen):,} are drawn with seed {self.seed}" if len(chosen) < len(capped) else ""
        return chosen, (
            f"{len(chosen):,} of {len(fields['study_id']):,} samples chosen: {len(kept):,} fulfil "
            f"{_spelt(conditions)}, {len(capped):,} remain with at most {self.per_study} of a study (--per-study)"
            f"{drawn}"
        )


def parse(text: str) -> list[Condition]:
    """Parses conditions such as 'alignedreads >= 1e6 and source_name_ch1 contains liver'.

    A condition is FIELD OPERATOR VALUE, and several are joined by "and". Operators are < <= > >= = != and contains;
    "==" is "=". A value may be in double quotes.

    Args:
      text: the conditions.

    Returns:
      The field, the operator and the value of each; none of blank text.

    Raises:
      DgexError: they are malformed.
    """
    found: list[Condition] = []
    end = 0
    while match := CONDITION.match(text, end):
        quoted, bare = match["quoted"], match["bare"]
        found.append((match["field"], match["operator"], bare if quoted is None else quoted))
        end = match.end()
        if not match["more"]:
            return found
    if not text.strip():
        return []
    raise DgexError(
        f"--keep: {visible(text[end:])!r} is no condition; write FIELD < VALUE, with < <= > >= = != or contains, "
        'several joined by "and"'
    )


def fulfilled(label: str, fields: Fields, conditions: list[Condition]) -> np.ndarray:
    """Tells which samples fulfil all conditions: bool [samples].

    Texts are compared whole by = and !=, case included; ``contains`` finds a part of them, whatever its case. A sample
    of unknown value fulfils no condition on a number but !=.

    Args:
      label: what messages call the file.
      fields: the fields of its samples, by name.
      conditions: as ``parse`` gives them.

    Raises:
      DgexError: there is no such field, or it holds numbers where the condition is on texts, or
        the other way round.
    """
    result = np.ones(len(fields["geo_accession"]), bool)
    for field, operator, value in conditions:
        if field not in fields:
            raise DgexError(f"{label}: its samples have no field {visible(field)}; --keep knows {', '.join(fields)}")
        column = fields[field]
        if is_text(column):
            if operator not in OF_TEXTS:
                raise DgexError(f"{label}: {field} holds texts; compare them by {', '.join(OF_TEXTS)} in --keep")
            holds = _of_texts(column, operator, value)
        else:
            try:
                holds = COMPARISONS[operator](column, float(value))
            except (KeyError, ValueError) as error:
                raise DgexError(
                    f"{label}: {field} holds numbers; compare it with one in --keep, not by {operator} {value!r}"
                ) from error
        result &= holds
    return result


def _spelt(conditions: list[Condition]) -> str:
    """Spells conditions for a message."""
    return visible(" and ".join(map(" ".join, conditions))) or "no condition"


def _of_texts(column: np.ndarray, operator: str, value: str) -> np.ndarray:
    """Compares texts [samples] with one: bool [samples]."""
    if operator != "contains":
        return (column == value) != (operator == "!=")
    sought = value.casefold()
    return np.fromiter((sought in text.casefold() for text in column.tolist()), bool, len(column))
