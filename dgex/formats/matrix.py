"""What every reader of expression tables gives."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Expression:
    """Profiles as they came from a file: nothing matched, normalised or filled in.

    Metadata columns are one-dimensional arrays by name. A missing entry is NaN among numbers and "" among strings.
    """

    values: np.ndarray  # f4 [samples, rows], NaN where not measured
    row_id: tuple[str, ...]  # probe sets or genes, unique
    sample_id: tuple[str, ...]  # unique
    row_metadata: dict[str, np.ndarray] = field(default_factory=dict)
    sample_metadata: dict[str, np.ndarray] = field(default_factory=dict)


def first_repeated(ids: Sequence[str]) -> str | None:
    """The first of ``ids`` that occurs again, if any."""
    return next((name for name, count in Counter(ids).items() if count > 1), None)
