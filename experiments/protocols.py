"""Which networks a protocol trains, and their size: the frozen settings of the comparison."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dgex.errors import DgexError
from dgex.networks import NetworkConfig, Precision
from dgex.protocols import PROTOCOLS, Protocol

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

# The size that goes with each protocol, as fields of NetworkConfig.
_EXAMPLE: Mapping[str, Any] = {"hidden": (300, 300), "dropout": 0.25, "init": "glorot"}
_SIZES: Mapping[str, Mapping[str, Any]] = {
    "quick": _EXAMPLE,
    "example": _EXAMPLE,
    "example-scheduled": _EXAMPLE,
    "dgex": {"hidden": (3000, 3000, 3000), "dropout": 0.1, "init": "dgex"},
    "dgex-one-layer": {"hidden": (3000,), "dropout": 0.1, "init": "dgex"},
}


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
    if protocol not in PROTOCOLS:
        raise DgexError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    chosen = PROTOCOLS[protocol]
    networks = {
        name: NetworkConfig(landmarks, targets, matmul_precision=matmul_precision, **_SIZES[protocol], **fields)
        for name, fields in NETWORKS.items()
    }
    return Comparison(replace(chosen, epochs=epochs or chosen.epochs), networks, tuple(range(seeds)))
