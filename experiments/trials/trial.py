"""A trial: one model, trained on one prepared file from one seed, and its errors on the held-out samples.

``experiments.trials.running`` runs it, and its result is an ``experiments.trials.outcome``.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from dgex.protocols import Protocol
from experiments.trials.models import ModelSpec


@dataclass(frozen=True)
class Trial:
    """Specifies a trial: everything besides the data that decides its numbers.

    Attributes:
      source: name of the prepared file.
      model: the model to train.
      protocol: how a network is trained; None for a baseline.
      seed: seed of the parameters, the data order and dropout; 0 for a baseline.
      targets: number of targets, drawn at random once for all trials; None for all, negative for so many others, as in
        ``random_subset``.
      profiles: number of training profiles, drawn in the same way (``random_subset``); None for all. With fewer
        profiles, studies or platforms a network trains for as many steps as with all of them, not for as many epochs.
      studies: number of training studies, drawn in the same way; None for all.
      platform: the platform whose training and validation samples alone are used; None for all. The test samples are
        those of all platforms.
      refit: whether the model is fitted once more, to training and validation samples together, with the epoch, the
        penalty or the number of neighbours that the same trial without this has chosen on validation.
    """

    source: str
    model: ModelSpec
    protocol: Protocol | None
    seed: int = 0
    targets: int | None = None
    profiles: int | None = None
    studies: int | None = None
    platform: str | None = None
    refit: bool = False

    @property
    def variant(self) -> ModelSpec:
        """Names the model by how it is trained here, so that a model and its refit are two models of a table."""
        name, label = self.model.name, self.model.label
        if self.platform:
            name, label = f"{name}_{self.platform}", f"{label}, {self.platform} alone"
        if self.refit:
            name, label = f"{name}_refit", f"{label}, refitted"
        return replace(self.model, name=name, label=label)

    @property
    def folder(self) -> Path:
        """Names the trial's run directory, relative to the study's folder."""
        targets = "all" if self.targets is None else f"{'other-' if self.targets < 0 else ''}{abs(self.targets)}"
        size = f"{targets}-targets-{self.profiles or 'all'}-profiles-{self.studies or 'all'}-studies"
        return Path("trials", self.source, size, self.variant.name, f"seed-{self.seed}")
