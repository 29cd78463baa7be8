"""Loading of a prepared file: samples for training, and held-out samples for scoring."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from dgex import console, processes
from dgex.batches import Samples, place
from dgex.data.dataset import SPLITS, Dataset, Shape, open_dataset, read_dataset, read_shape
from dgex.data.stored import Matrix
from dgex.errors import DgexError
from dgex.files.memory import machine_memory
from experiments.trials.heldout import TEST, HeldOut, test_on
from experiments.trials.sources import Source

Result = TypeVar("Result")

# Seed of the random subsets of targets and training profiles, which are the same for every trial of every study.
SEED = 0


def random_subset(total: int, number: int | None) -> np.ndarray:
    """Draws ``number`` of the positions 0 to ``total`` - 1 at random, in ascending order; None takes all of them.

    Subsets are nested: a smaller one is part of every larger one. A negative number draws from the other end of the
    same random order, so that n and n - ``total`` are two parts of the whole.
    """
    if number is None:
        return np.arange(total)
    order = np.random.default_rng(SEED).permutation(total)
    return np.sort(order[number:] if number < 0 else order[:number])


def part_of(
    study: np.ndarray, names: np.ndarray, profiles: int | None, studies: int | None, platform: str | None
) -> np.ndarray:
    """Selects a part of the samples: those of a platform, of some of their studies, some of these.

    Args:
      study: study of each sample, str ``[samples]``.
      names: platform of each sample, str ``[samples]``.
      profiles: how many samples, drawn by ``random_subset``; None for all.
      studies: of how many studies, drawn so too; None for all.
      platform: of which platform; None for all.

    Returns:
      Positions of the samples, ascending.
    """
    rows = np.arange(len(study)) if platform is None else np.flatnonzero(names == platform)
    if studies is not None:
        known = np.unique(study[rows])
        rows = rows[np.isin(study[rows], known[random_subset(len(known), studies)])]
    return rows[random_subset(len(rows), profiles)]


def measured_in_all(target: Matrix, study: Sequence[str]) -> np.ndarray:
    """Selects the genes that at least half of the samples of every study of a cohort have, bool ``[genes]``.

    Args:
      target: z-scores ``[samples, genes]``, NaN where not measured.
      study: study of each sample.
    """
    studies = np.asarray(study)
    missing = [np.isnan(target[studies == name]).mean(0) for name in np.unique(studies)]
    return np.max(missing, axis=0) <= 0.5


def most_memory(memory: float | None) -> float:
    """Returns how many bytes of data may be held in memory: ``memory`` GiB, or half of this machine's."""
    return machine_memory() / 2 if memory is None else memory * 2**30


def held_bytes(shape: Shape) -> int:
    """Computes how many bytes a data set takes in memory: its values, and their z-scores."""
    return 8 * sum(shape.samples.values()) * (shape.landmarks + shape.targets)


def _read(path: Path, memory: float | None) -> Dataset:
    """Reads a prepared file, or opens one that is too large to be held in memory; prints its warnings."""
    needed, most = held_bytes(read_shape(path)), most_memory(memory)
    streamed = processes.from_first(needed > most)  # hosts may differ in memory, and the two ways in their orders
    if streamed:
        console.warn(
            f"{path}: takes {needed / 2**30:.2f} GiB in memory, where {most / 2**30:.2f} GiB may be used; so it is "
            "read from the file again and again, in an order that suits the file"
        )
    dataset = open_dataset(path) if streamed else read_dataset(path)
    for warning in dataset.warnings():
        console.warn(f"{path}: {warning}")
    return dataset


class Loaded:
    """Loads a prepared file when it is first needed, and caches the samples that are made from it."""

    def __init__(self, source: Source, devices: tuple[jax.Device, ...], memory: float | None = None) -> None:
        """Takes the prepared file with its cohorts, and the devices to put training samples on.

        A file of more than ``memory`` GiB, by default half of this machine's, is not held in memory.
        """
        self.source = source
        self.devices = devices
        self.memory = memory
        # The caches hold no reference to ``self``: there is no cycle, so that deleting this object frees its memory at
        # once for the next file.
        self._placed: dict[tuple[Any, ...], Samples] = {}
        self._held_out: dict[int | None, list[HeldOut]] = {}
        self._computed: dict[tuple[Any, ...], Any] = {}

    @functools.cached_property
    def dataset(self) -> Dataset:
        """Reads or opens the file; raises errors as ``read_dataset`` does."""
        return _read(self.source.path, self.memory)

    @property
    def profiles(self) -> int:
        """Counts the profiles of the training split."""
        return int((self.dataset.split == SPLITS.index("train")).sum())

    def samples(
        self,
        split: str,
        targets: int | None = None,
        profiles: int | None = None,
        studies: int | None = None,
        platform: str | None = None,
    ) -> Samples:
        """Returns the samples of a split, or of "train and validation", on the devices.

        Args:
          split: the split, or both of these.
          targets: limits the targets to a random subset.
          profiles: limits the samples to a random subset.
          studies: limits the samples to those of a random subset of their studies.
          platform: limits the samples to those of a platform.
        """
        key = split, targets, profiles, studies, platform
        if key not in self._placed:
            self._placed[key] = self._place(*key)
        return self._placed[key]

    def held_out(self, targets: int | None = None) -> list[HeldOut]:
        """Returns the held-out samples of the test split, of each platform if there are several, and of every cohort.

        ``targets`` is as in ``samples``.

        Raises:
          DgexError: as ``read_dataset``; a cohort has other genes.
        """
        if targets not in self._held_out:
            self._held_out[targets] = self._read_held_out(targets)
        return self._held_out[targets]

    def once(self, key: tuple[Any, ...], compute: Callable[[], Result]) -> Result:
        """Returns what a trial computes from the samples, and is the same for others: the first one computes it.

        Args:
          key: names the result.
          compute: computes it, if no trial has yet.
        """
        if key not in self._computed:
            self._computed[key] = compute()
        return self._computed[key]

    def _place(
        self, split: str, targets: int | None, profiles: int | None, studies: int | None, platform: str | None
    ) -> Samples:
        """Puts the samples of ``samples`` on the devices."""
        dataset = self.dataset
        rows = np.concatenate([np.flatnonzero(dataset.split == SPLITS.index(each)) for each in split.split(" and ")])
        names = np.asarray(dataset.platforms.name, dtype=str)[dataset.platform[rows]]
        chosen = part_of(np.asarray(dataset.study, dtype=str)[rows], names, profiles, studies, platform)
        if not len(chosen):
            raise DgexError(f"{self.source.path}: has no {split} samples of the platform {platform!r}")
        return place(*dataset.zscores_of(rows[chosen], self._columns(targets)), self.devices)

    def _columns(self, targets: int | None) -> np.ndarray | None:
        """Draws the positions of so many targets; None for all."""
        return None if targets is None else random_subset(len(self.dataset.target_genes), targets)

    def _read_held_out(self, targets: int | None) -> list[HeldOut]:
        """Reads the samples of ``held_out``."""
        columns = random_subset(len(self.dataset.target_genes), targets)
        sd, overlap = self.dataset.target_scaler.sd[columns], self.dataset.overlap[columns]
        sets = []
        for name, path in {TEST: None, **self.source.cohorts}.items():
            dataset = self.dataset if path is None else _read(path, self.memory)
            if dataset.target_genes.ensembl != self.dataset.target_genes.ensembl:
                raise DgexError(f"{path}: has other target genes than {self.source.path.name}; prepare it again")
            test = dataset.split == SPLITS.index("test")
            parts = {name: test}
            if path is None and len(dataset.platforms.name) > 1:
                codes = np.unique(dataset.platform[test]).tolist()
                parts |= {test_on(dataset.platforms.name[code]): test & (dataset.platform == code) for code in codes}
            for part, chosen in parts.items():
                landmark, target = dataset.zscores_of(np.flatnonzero(chosen), self._columns(targets))
                study = tuple(np.asarray(dataset.study)[chosen].tolist())
                measured = np.full(len(columns), True) if path is None else measured_in_all(target, study)
                sets.append(HeldOut(part, landmark, target, study, sd, overlap, measured))
        return sets
