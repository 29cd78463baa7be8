"""Training, validation and test samples: drawn one by one, as the papers did, or study by study, as new data come."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from dgex.data.dataset import SPLITS
from dgex.errors import DgexError

Split = Literal["study", "sample"]
Fractions = tuple[float, float, float]
Fold = tuple[int, int]  # which, counted from 1, of how many

FRACTIONS: Fractions = (0.8, 0.1, 0.1)
ORDERS = 100


def split_by_sample(count: int, fractions: Fractions = FRACTIONS, seed: int = 0) -> np.ndarray:
    """Assigns samples to the splits in seeded random order.

    Returns:
      u1 [samples], positions in ``dgex.data.dataset.SPLITS``.

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
      u1 [samples], positions in ``dgex.data.dataset.SPLITS``.

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


def split_by_fold(studies: Sequence[str], fold: Fold, seed: int = 0) -> np.ndarray:
    """Assigns whole studies to folds: the asked one is the test split, the next (or the first) validation.

    With the same seed, every study is in the test split of one of the folds. The studies go in random order each to
    the smallest fold; of 100 orders the one is taken whose largest fold is smallest.

    Args:
      studies: each sample's study.
      fold: which one, counted from 1, and how many there are.

    Returns:
      u1 [samples], positions in ``dgex.data.dataset.SPLITS``.

    Raises:
      DgexError: there are fewer than three folds or fewer studies than folds, or the asked fold is none of them.
    """
    check_fold(fold)
    number, folds = fold
    sizes = Counter(studies)
    if len(sizes) < folds:
        raise DgexError(f"{len(sizes)} studies are too few for {folds} folds; use fewer folds")
    random = np.random.default_rng(seed)
    best, smallest = {}, np.inf
    for _ in range(ORDERS):
        filled, assigned = np.zeros(folds), {}
        for position, study in enumerate(random.permutation(sorted(sizes))):
            assigned[study] = position if position < folds else int(np.argmin(filled))
            filled[assigned[study]] += sizes[study]
        if filled.max() < smallest:
            best, smallest = assigned, filled.max()
    code = np.zeros(folds, np.uint8)
    code[[number - 1, number % folds]] = SPLITS.index("test"), SPLITS.index("validation")
    return code[[best[study] for study in studies]]


def check_fold(fold: Fold) -> None:
    """Refuses what is no fold: DgexError if there are fewer than three, or the asked one is none of them."""
    number, folds = fold
    if folds < len(SPLITS):
        raise DgexError(f"{folds} folds are too few for training, validation and test; use 3 or more")
    if not 1 <= number <= folds:
        raise DgexError(f"there is no fold {number} of {folds}; choose 1 to {folds}")


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
