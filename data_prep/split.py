"""Splits samples into training, validation and test: sample by sample, as in the papers, or by whole studies."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from dgex.data.dataset import SPLITS
from dgex.errors import DgexError

Split = Literal["study", "sample"]
Fractions = tuple[float, float, float]
Fold = tuple[int, int]  # number of the fold, counted from 1, and number of folds

FRACTIONS: Fractions = (0.8, 0.1, 0.1)
ORDERS = 100  # random orders of the studies that are tried


def split_by_sample(count: int, fractions: Fractions = FRACTIONS, seed: int = 0) -> np.ndarray:
    """Assigns samples to the splits in seeded random order.

    Args:
      count: number of samples.
      fractions: of training, validation and test.
      seed: of the order.

    Returns:
      u1 [samples], positions in ``dgex.data.dataset.SPLITS``.

    Raises:
      DgexError: the fractions are not positive or do not sum to 1, or a split stays empty.
    """
    check_fractions(fractions)
    ends = np.round(np.cumsum(fractions)[:-1] * count).astype(int)
    split = np.zeros(count, np.uint8)
    for code, samples in enumerate(np.split(np.random.default_rng(seed).permutation(count), ends)):
        split[samples] = code
    return _filled(split, f"{count} samples")


def split_by_study(studies: Sequence[str], fractions: Fractions = FRACTIONS, seed: int = 0) -> np.ndarray:
    """Assigns whole studies to the splits, so that no study is in two splits.

    In a random order of the studies, the first goes to training, the second to validation, the third to test, and each
    further one to the split that is furthest below its share of the samples. Of 100 such orders, the one is chosen
    whose split sizes are nearest to the fractions.

    Args:
      studies: each sample's study.
      fractions: of training, validation and test.
      seed: of the orders.

    Returns:
      u1 [samples], positions in ``dgex.data.dataset.SPLITS``.

    Raises:
      DgexError: the fractions are not positive or do not sum to 1, or there are fewer studies than splits.
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
    """Divides studies into leave-studies-out folds; one fold is the test split, the next (or the first) validation.

    With the same seed, every study is in the test split of exactly one fold. In a random order, each study goes to the
    smallest fold; of 100 orders, the one is chosen whose largest fold is smallest.

    Args:
      studies: each sample's study.
      fold: the number of the test fold, counted from 1, and the number of folds.
      seed: of the orders.

    Returns:
      u1 [samples], positions in ``dgex.data.dataset.SPLITS``.

    Raises:
      DgexError: there are fewer than three folds, fewer studies than folds, or no fold of this number.
    """
    check_fold(fold)
    number, folds = fold
    sizes = Counter(studies)
    if len(sizes) < folds:
        advice = "use fewer folds" if len(sizes) >= len(SPLITS) else "add studies"
        raise DgexError(f"{len(sizes)} studies are too few for {folds} folds; {advice}")
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


def split_by_platform(
    groups: Sequence[str],
    platform: np.ndarray,
    names: Sequence[str],
    train_only: Sequence[str],
    divide: Callable[[list[str]], np.ndarray],
    whole: bool,
) -> np.ndarray:
    """Splits the samples of each platform on their own, so that another platform changes nothing of the first's split.

    Args:
      groups: the project, or else the study, of each sample.
      platform: the platform of each sample, int [samples].
      names: of the platforms.
      train_only: names of the platforms whose samples are all for training.
      divide: assigns samples of some groups to splits.
      whole: whether ``divide`` keeps groups whole. Then one in several platforms goes where the first of these puts it.

    Returns:
      u1 [samples], positions in ``dgex.data.dataset.SPLITS``.

    Raises:
      DgexError: ``divide`` fails; a group is in a platform for training only and in another; or a platform has no
        training sample.
    """
    label, split = np.array(groups, str), np.zeros(len(groups), np.uint8)
    assigned: dict[str, int] = {}
    aside = np.isin(np.array(names, str), list(train_only))[platform]
    if whole and (both := np.intersect1d(label[aside], label[~aside])).size:
        raise DgexError(f"{both[0]} is of a platform for training only and of another; remove it from one of them")
    for code, name in enumerate(names):
        members = np.flatnonzero((platform == code) & ~aside)
        known = np.isin(label[members], list(assigned)) if whole else np.zeros(len(members), bool)
        split[members[known]] = [assigned[group] for group in label[members[known]].tolist()]
        new = members[~known]
        if len(new):
            try:
                split[new] = divide(label[new].tolist())
            except DgexError as error:
                raise DgexError(f"platform {name}: {error}" if len(names) > 1 else str(error)) from error
            assigned |= dict(zip(label[new].tolist(), split[new].tolist(), strict=True))
        if not (split[platform == code] == SPLITS.index("train")).any():
            raise DgexError(f"platform {name}: has no training profile; use more studies of it")
    return _filled(split, f"{len(set(groups))} studies")


def check_fold(fold: Fold) -> None:
    """Checks a fold: raises DgexError if there are fewer than three folds, or no fold of this number."""
    number, folds = fold
    if folds < len(SPLITS):
        raise DgexError(f"{folds} folds are too few for training, validation and test; use 3 or more")
    if not 1 <= number <= folds:
        raise DgexError(f"there is no fold {number} of {folds}; choose 1 to {folds}")


def check_fractions(fractions: Fractions) -> None:
    """Checks the fractions: raises DgexError if one is not positive, or if they do not sum to 1."""
    if not (min(fractions) > 0 and abs(sum(fractions) - 1) < 1e-6):  # negated, so that NaN is refused too
        raise DgexError(f"the shares of training, validation and test must be positive and sum to 1, not {fractions}")


def _filled(split: np.ndarray, units: str) -> np.ndarray:
    """Gives ``split`` back; raises DgexError if a split is empty, where ``units`` says what is too few."""
    empty = [name for code, name in enumerate(SPLITS) if code not in split]
    if empty:
        raise DgexError(f"{units} are too few: none is left for {' and '.join(empty)}; use more, or the other --split")
    return split
