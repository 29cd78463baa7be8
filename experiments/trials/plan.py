"""The size of a study: seeds, targets and epochs of the full and of the quick study."""

from dataclasses import dataclass, replace

from dgex.protocols import QUICK, Protocol


@dataclass(frozen=True)
class Plan:
    """Sets the size of a study.

    Attributes:
      protocol: how networks are trained.
      seeds: training seeds of every network.
      targets: number of targets in the main comparison; None for all.
      part_targets: number of targets in the ablation and the growth curves, drawn at random.
      ablation_by_study: whether the ablation uses the leave-studies-out folds; if not, it uses the split by sample.
      profiles: numbers of training profiles of the growth curves, besides all of them.
      widths: units of both hidden layers of the growth curves, besides 300.
    """

    protocol: Protocol
    seeds: tuple[int, ...]
    targets: int | None
    part_targets: int
    ablation_by_study: bool
    profiles: tuple[int, ...]
    widths: tuple[int, ...]


# With 200 epochs the whole study takes a night at most; the table of errors says how many networks are still improving
# at the end. A thousand targets take a third of the time of all targets, and leave the hidden layers, which the
# ablation is about, as they are.
FULL = Plan(
    protocol=replace(QUICK, epochs=200),
    seeds=(0, 1, 2),
    targets=None,
    part_targets=1000,
    ablation_by_study=True,
    profiles=(100, 200, 400),
    widths=(30, 100, 1000),
)

QUICK_STUDY = Plan(
    protocol=replace(QUICK, epochs=60),
    seeds=(0, 1, 2),
    targets=500,
    part_targets=500,
    ablation_by_study=False,
    profiles=(150,),
    widths=(100,),
)
