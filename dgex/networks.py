"""The multilayer perceptron from landmark to target genes: a frozen configuration, and the Linen module built from it.

``python -m dgex.networks PRESET`` prints a preset's layers and parameter counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from dgex.activations import base_function
from dgex.errors import DgexError
from dgex.taaf import TAAF

Params = dict[str, Any]
Placement = Literal["none", "hidden", "all"]
Init = Literal["glorot", "dgex"]
ComputeDtype = Literal["float32", "bfloat16"]
Precision = Literal["default", "high", "highest"]


@dataclass(frozen=True)
class NetworkConfig:
    """What a network is. Two networks are the same if and only if their configurations are equal.

    Attributes:
      landmarks: number of input genes.
      targets: number of output genes.
      hidden: units of each hidden layer, first layer first.
      activation: base function of the hidden layers, a name of ``dgex.activations.BASES``.
      taaf: where a TAAF of that base stands: "none" (the plain base, linear output), "hidden" (linear output), or "all"
        (the output layer has a TAAF too). A layer with TAAF has no bias of its own; gamma is the bias.
      dropout: share of each hidden layer's outputs dropped in training.
      init: "glorot" (Keras's default: Glorot uniform kernels, zero biases) or "dgex" (the same, but the output kernel
        uniform in +-1e-4; Chen et al. 2016).
      compute_dtype: dtype of the matrix products and their results; parameters and TAAF arithmetic are float32 anyway,
        and predictions are handed out as float32.
      matmul_precision: precision of float32 products; "default" is TF32 on recent NVIDIA GPUs and bfloat16 on TPUs.

    Raises:
      DgexError: a field is out of its range.
    """

    landmarks: int
    targets: int
    hidden: tuple[int, ...] = (300, 300)
    activation: str = "sigmoid"
    taaf: Placement = "none"
    dropout: float = 0.0
    init: Init = "glorot"
    compute_dtype: ComputeDtype = "float32"
    matmul_precision: Precision = "default"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))  # JSON has no tuples
        if not all(isinstance(units, int) for units in (self.landmarks, self.targets, *self.hidden)):
            raise DgexError(f"layers have whole units: {self.landmarks} -> {self.hidden} -> {self.targets}")
        if min(self.landmarks, self.targets, *self.hidden) < 1:
            raise DgexError(f"every layer needs at least one unit: {self.landmarks} -> {self.hidden} -> {self.targets}")
        if not 0 <= self.dropout < 1:
            raise DgexError(f"dropout must lie in [0, 1), not {self.dropout}")
        base_function(self.activation)
        for field, choices in (
            ("taaf", Placement),
            ("init", Init),
            ("compute_dtype", ComputeDtype),
            ("matmul_precision", Precision),
        ):
            if getattr(self, field) not in get_args(choices):
                raise DgexError(f"{field} must be one of {', '.join(get_args(choices))}, not {getattr(self, field)!r}")


class Perceptron(nn.Module):
    """Landmark z-scores ``[..., landmarks]`` to target z-scores ``[..., targets]``, float32."""

    config: NetworkConfig

    @nn.compact
    def __call__(self, landmark: jax.Array, *, train: bool = False) -> jax.Array:
        """Predicts; with ``train`` the hidden outputs are dropped out, from the rng stream "dropout"."""
        config = self.config
        base = base_function(config.activation)
        x = landmark
        for layer, units in enumerate(config.hidden):
            adaptive = config.taaf != "none"
            x = self._dense(x, units, f"H{layer}", use_bias=not adaptive)
            x = TAAF(config.activation, name=f"H{layer}_taaf")(x) if adaptive else base(x)
            x = nn.Dropout(config.dropout, deterministic=not train)(x)
        adaptive = config.taaf == "all"
        x = self._dense(x, config.targets, "outputs", use_bias=not adaptive).astype(jnp.float32)
        return TAAF(config.activation, name="outputs_taaf")(x) if adaptive else x

    def _dense(self, x: jax.Array, units: int, name: str, *, use_bias: bool) -> jax.Array:
        config = self.config
        small = config.init == "dgex" and name == "outputs"
        return nn.Dense(
            units,
            use_bias=use_bias,
            dtype=jnp.dtype(config.compute_dtype),
            precision=config.matmul_precision,
            kernel_init=symmetric_uniform(1e-4) if small else nn.initializers.glorot_uniform(),
            name=name,
        )(x)


def symmetric_uniform(bound: float) -> jax.nn.initializers.Initializer:
    """An initialiser uniform in ``[-bound, bound)``."""

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound, out_sharding=out_sharding)

    return init


def predict(
    config: NetworkConfig, params: Params, landmark: jax.Array, dropout_key: jax.Array | None = None
) -> jax.Array:
    """Target z-scores ``[..., targets]``, float32, from landmark z-scores ``[..., landmarks]``.

    With a key the hidden outputs are dropped out, as in training; without one the result is deterministic.
    """
    network = Perceptron(config)
    if dropout_key is None:
        return jnp.asarray(network.apply({"params": params}, landmark))
    return jnp.asarray(network.apply({"params": params}, landmark, train=True, rngs={"dropout": dropout_key}))


def init_params(config: NetworkConfig, key: jax.Array) -> Params:
    """Fresh float32 parameters, a plain nested dictionary ``{layer: {name: array}}``."""
    return Perceptron(config).init(key, jnp.zeros((1, config.landmarks), jnp.float32))["params"]


# The example networks of the TAAF-D-GEX repository, and D-GEX's grid (Chen et al. 2016), by default with 10 % dropout.
PRESETS: dict[str, NetworkConfig] = {
    "example-classical": NetworkConfig(942, 952, dropout=0.25),
    "example-taaf": NetworkConfig(942, 952, taaf="all", dropout=0.25),
} | {
    f"dgex-{layers}x{units}{suffix}": NetworkConfig(943, 9520, (units,) * layers, "tanh", dropout=dropout, init="dgex")
    for suffix, dropout in (("", 0.1), ("-dropout0", 0.0), ("-dropout25", 0.25))
    for layers in (1, 2, 3)
    for units in (3000, 6000, 9000)
}


def layer_table(config: NetworkConfig) -> list[tuple[str, str, int]]:
    """The network's layers as (name, what it is, number of parameters), input to output.

    A TAAF takes two rows, as in the original's table: beta and gamma before the base function, alpha and delta after
    it.
    """
    params = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    rows = []
    for name in [*(f"H{layer}" for layer in range(len(config.hidden))), "outputs"]:
        dense = params[name]
        inputs, units = dense["kernel"].shape
        rows.append((name, f"Dense {inputs} -> {units}", sum(leaf.size for leaf in dense.values())))
        if f"{name}_taaf" in params:
            four = params[f"{name}_taaf"]
            rows.append((f"{name}_taaf", "beta, gamma", four["beta"].size + four["gamma"].size))
            rows.append((f"{name}_taaf", "alpha, delta", four["alpha"].size + four["delta"].size))
    return rows


def main(preset: str) -> None:
    """Prints the layers and parameter counts of a preset network."""
    if preset not in PRESETS:
        raise DgexError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    rows = layer_table(PRESETS[preset])
    print(f"{'Layer':<14}{'Type':<22}{'Params':>12}")
    for name, kind, count in rows:
        print(f"{name:<14}{kind:<22}{count:>12,}")
    print(f"Total params: {sum(count for _, _, count in rows):,}")


if __name__ == "__main__":
    import typer

    from dgex import console

    console.run(lambda: typer.run(main))
