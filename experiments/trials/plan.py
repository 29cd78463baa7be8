"""How much of a study to do: the frozen sizes of the full and of the quick one."""

from dataclasses import dataclass, replace

from dgex.protocols import QUICK, Protocol


@dataclass(frozen=True)
class Plan:
    """A study's size.

    Attributes:
      protocol: how networks are trained.
      seeds: of every network.
      targets: how many targets the main comparison has; None for all.
      part_targets: how many the ablation and growth have, drawn at random.
      ablation_by_study: whether the ablation leaves studies out; if not, it has the split by sample alone.
      profiles: numbers of training profiles to grow through, besides all of them.
      widths: units of both hidden layers to grow through, besides 300.
    """

    protocol: Protocol
    seeds: tuple[int, ...]
    targets: int | None
    part_targets: int
    ablation_by_study: bool
    profiles: tuple[int, ...]
    widths: tuple[int, ...]


# 200 epochs, since all of it then takes a night at most; the table of errors says how many networks are still improving
# by then. A thousand targets cost a third of all of them and leave the hidden layers, which the ablation is about, as
# they are.
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
