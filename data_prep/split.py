"""Training, validation and test samples: drawn one by one, as the papers did, or study by study, as new data come."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from dgex.dataset import SPLITS
from dgex.errors import DgexError

Split = Literal["study", "sample"]
Fractions = tuple[float, float, float]

FRACTIONS: Fractions = (0.8, 0.1, 0.1)
ORDERS = 100


def split_by_sample(count: int, fractions: Fractions = FRACTIONS, seed: int = 0) -> np.ndarray:
    """Assigns samples to the splits in seeded random order.

    Returns:
      u1 [samples], positions in ``dgex.dataset.SPLITS``.

    Raises:
      DgexError: the fractions are no shares of a whole, or a split stays empty.
    """
    check_fractions(fractions)
    ends = np.round(np.cumsum(fractions)[:-1] * count).astype(int)
    split = np.zeros(count, np.uint8)
    for code, samples in enumerate(np.split(np.random.default_rng(seed).permutation(count), ends)):
        split[samples] = code
    return _filled(split, f"{count} samples")


def split_by_study(studies: Sequence[str], fractions: Fractions = FRACTIONS, seed: int = 0) -> np.ndarray:
    """Assigns whole studies to the splits, so that none is in two.

    In a random order of the studies, the first opens the training split, the second validation, the third test, and
    each other goes to the split furthest below its share of the samples. Of 100 such orders the one is taken whose
    split sizes come nearest to the fractions.

    Args:
      studies: each sample's study.

    Returns:
      u1 [samples], positions in ``dgex.dataset.SPLITS``.

    Raises:
      DgexError: the fractions are no shares of a whole, or there are fewer studies than splits.
    """
    check_fractions(fractions)
    sizes = Counter(studies)
    share = np.array(fractions) * len(studies)
    random = np.random.default_rng(seed)
    best, smallest = {}, np.inf
    for _ in range(ORDERS):
        room, assigned = share.copy(), {}
        for position, study in enumerate(random.permutation(sorted(sizes))):
            assigned[study] = position if position < len(SPLITS) else int(np.argmax(room))
            room[assigned[study]] -= sizes[study]
        if np.abs(room).sum() < smallest:
            best, smallest = assigned, np.abs(room).sum()
    return _filled(np.array([best[study] for study in studies], np.uint8), f"{len(sizes)} studies")


def check_fractions(fractions: Fractions) -> None:
    """Refuses what are not three shares of a whole.

    Raises:
      DgexError: one is not positive, or they do not sum to 1.
    """
    if not (min(fractions) > 0 and abs(sum(fractions) - 1) < 1e-6):  # so put, NaN is refused too
        raise DgexError(f"the shares of training, validation and test must be positive and sum to 1, not {fractions}")


def _filled(split: np.ndarray, what: str) -> np.ndarray:
    empty = [name for code, name in enumerate(SPLITS) if code not in split]
    if empty:
        raise DgexError(f"{what} are too few: none is left for {' and '.join(empty)}; use more, or the other --split")
    return split
