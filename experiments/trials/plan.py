"""The size of a study: seeds, targets and epochs of the full and of the quick study."""

from dataclasses import dataclass, replace

from dgex.protocols import QUICK, RESIDUAL, Protocol
from experiments.trials.models import ModelSpec


@dataclass(frozen=True)
class Plan:
    """Sets the size of a study.

    Attributes:
      protocol: how networks are trained.
      residual: how networks with a linear path are trained, which start from ridge regression.
      seeds: training seeds of every network.
      folds: how many of the leave-studies-out folds are used; None for all.
      targets: number of targets, drawn at random; None for all.
      ablation_by_study: whether the ablation uses the leave-studies-out folds; if not, it uses the split by sample.
      profiles: numbers of training profiles of the growth curves, besides all of them.
      studies: numbers of training studies of the growth curves, besides all of them.
      widths: units of both hidden layers of the growth curves, besides 300.
    """

    protocol: Protocol
    residual: Protocol
    seeds: tuple[int, ...]
    folds: int | None
    targets: int | None
    ablation_by_study: bool
    profiles: tuple[int, ...]
    studies: tuple[int, ...]
    widths: tuple[int, ...]

    def protocol_of(self, model: ModelSpec) -> Protocol | None:
        """Returns how a model is trained; None for a baseline."""
        if model.network is None:
            return None
        return self.residual if model.network.get("linear") else self.protocol

    def seeds_of(self, model: ModelSpec) -> tuple[int, ...]:
        """Returns the training seeds of a model; a baseline has one."""
        return self.seeds if model.seeded else (0,)


# On the enlarged compendium a hundred epochs have as many steps as 200 on its arrays alone; the table of errors says
# how many networks are still improving at the end. Five hundred targets take less time than all of them, and leave the
# hidden layers, which the questions are about, as they are; with one number of them the questions share trials.
FULL = Plan(
    protocol=replace(QUICK, epochs=100),
    residual=RESIDUAL,
    seeds=(0, 1, 2),
    folds=None,
    targets=500,
    ablation_by_study=True,
    profiles=(100, 400),
    studies=(5, 10, 15, 20),
    widths=(30, 100, 1000),
)

# Five folds are the fewest that give an interval.
QUICK_STUDY = Plan(
    protocol=replace(QUICK, epochs=10),
    residual=replace(RESIDUAL, epochs=6),
    seeds=(0, 1, 2),
    folds=5,
    targets=300,
    ablation_by_study=False,
    profiles=(150,),
    studies=(8,),
    widths=(100,),
)
