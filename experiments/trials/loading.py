"""A study's prepared file in memory: samples for training, and held-out samples for the end."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from dgex import console
from dgex.batches import Samples, place
from dgex.data.dataset import SPLITS, Dataset, read_dataset
from dgex.errors import DgexError
from experiments.trials.heldout import HeldOut
from experiments.trials.sources import Source

# Which targets and training profiles a part of the data set has: the same for every trial of every study.
SEED = 0


def part(of: int, number: int | None) -> np.ndarray:
    """The positions of ``number`` of ``of`` things, ascending; of two numbers the smaller's are among the larger's."""
    return np.arange(of) if number is None else np.sort(np.random.default_rng(SEED).permutation(of)[:number])


def measured_in_all(target: np.ndarray, study: Sequence[str]) -> np.ndarray:
    """Which genes at least half of the samples of every study of a cohort have, bool ``[genes]``.

    Args:
      target: z-scores ``[samples, genes]``, NaN where not measured.
      study: of each sample.
    """
    of = np.asarray(study)
    shares = [np.isnan(target[of == name]).mean(0) for name in np.unique(of)]
    return np.max(shares, axis=0) <= 0.5


def _read(path: Path) -> Dataset:
    dataset = read_dataset(path)
    for warning in dataset.warnings():
        console.warn(f"{path}: {warning}")
    return dataset


class Loaded:
    """One prepared file, read when it is first needed; what is asked for twice is made once."""

    def __init__(self, source: Source, devices: tuple[jax.Device, ...]) -> None:
        """Takes the prepared file with its cohorts, and where training samples go."""
        self.source = source
        self.devices = devices
        # None of these holds ``self``: what is kept goes at once when the object goes, and with it room for the next.
        self._placed: dict[tuple[str, int | None, int | None], Samples] = {}
        self._held: dict[int | None, list[HeldOut]] = {}

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The file's contents; errors as ``read_dataset``."""
        return _read(self.source.path)

    @functools.cached_property
    def _zscores(self) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
        return functools.cache(self.dataset.zscores)

    @property
    def profiles(self) -> int:
        """How many profiles the training split has."""
        return int((self.dataset.split == SPLITS.index("train")).sum())

    def samples(self, split: str, targets: int | None = None, profiles: int | None = None) -> Samples:
        """The samples of a split; with ``targets`` or ``profiles`` only so many of these, drawn at random."""
        key = split, targets, profiles
        if key not in self._placed:
            self._placed[key] = self._place(*key)
        return self._placed[key]

    def held_out(self, targets: int | None = None) -> list[HeldOut]:
        """The test split, and every cohort; with ``targets`` as in ``samples``.

        Raises:
          DgexError: as ``read_dataset``; a cohort has other genes.
        """
        if targets not in self._held:
            self._held[targets] = self._read_held_out(targets)
        return self._held[targets]

    def _place(self, split: str, targets: int | None, profiles: int | None) -> Samples:
        landmark, target = self._zscores(split)
        rows, columns = part(len(landmark), profiles), part(target.shape[1], targets)
        if profiles is None and targets is None:
            return place(landmark, target, self.devices)
        return place(landmark[rows], np.ascontiguousarray(target[np.ix_(rows, columns)]), self.devices)

    def _read_held_out(self, targets: int | None) -> list[HeldOut]:
        columns = part(len(self.dataset.target_genes.ensembl), targets)
        sets = []
        for name, path in {"test": None, **self.source.cohorts}.items():
            dataset = self.dataset if path is None else _read(path)
            if dataset.target_genes.ensembl != self.dataset.target_genes.ensembl:
                raise DgexError(f"{path}: has other target genes than {self.source.path.name}; prepare it again")
            landmark, target = dataset.zscores("test")
            chosen = np.ascontiguousarray(target[:, columns])
            study = tuple(np.asarray(dataset.study)[dataset.split == SPLITS.index("test")].tolist())
            measured = np.full(len(columns), True) if path is None else measured_in_all(chosen, study)
            sets.append(
                HeldOut(
                    name, landmark, chosen, study, self.dataset.target_scaler.sd[columns],
                    self.dataset.overlap[columns], measured,
                )
            )  # fmt: skip
        return sets
