"""Which networks a protocol trains, and their size: the frozen settings of the comparison."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dgex.networks import NetworkConfig, Precision
from dgex.protocols import Protocol, named_protocol

# The networks compared, as fields of NetworkConfig: the original's tanh, the sigmoid that replaced it, and TAAF of that
# sigmoid on the hidden layers alone and on the output layer too. Going from "sigmoid" to "taaf" changes one thing.
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "tanh": {"activation": "tanh"},
    "sigmoid": {"activation": "sigmoid"},
    "taaf": {"activation": "sigmoid", "taaf": "hidden"},
    "taaf_output": {"activation": "sigmoid", "taaf": "all"},
}

LABELS: Mapping[str, str] = {
    "mean": "mean predictor",
    "ridge": "ridge regression",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "taaf": "TAAF",
    "taaf_output": "TAAF, output too",
}

# The example's size, and that of the networks that D-GEX's protocol is for, as fields of NetworkConfig.
_EXAMPLE: Mapping[str, Any] = {"hidden": (300, 300), "dropout": 0.25}
_SIZES: Mapping[str, Mapping[str, Any]] = {"dgex": {"hidden": (3000, 3000, 3000), "dropout": 0.1}}


@dataclass(frozen=True)
class Comparison:
    """Everything that decides the numbers of a comparison, but for the data."""

    protocol: Protocol
    networks: dict[str, NetworkConfig]
    seeds: tuple[int, ...]


def comparison(
    protocol: str,
    landmarks: int,
    targets: int,
    seeds: int,
    epochs: int | None = None,
    matmul_precision: Precision = "default",
) -> Comparison:
    """The comparison under a named protocol: all of ``NETWORKS``, with seeds 0, 1, ...

    Args:
      protocol: a name of ``dgex.protocols.PROTOCOLS``.
      landmarks, targets: sizes of the data set.
      seeds: how many.
      epochs: instead of the protocol's own number.
      matmul_precision: as in ``NetworkConfig``.

    Raises:
      DgexError: no protocol has that name.
    """
    size = _SIZES.get(protocol, _EXAMPLE)
    chosen, init = named_protocol(protocol, len(size["hidden"]), epochs)
    networks = {
        name: NetworkConfig(landmarks, targets, matmul_precision=matmul_precision, init=init, **size, **fields)
        for name, fields in NETWORKS.items()
    }
    return Comparison(chosen, networks, tuple(range(seeds)))
