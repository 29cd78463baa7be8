"""The multilayer perceptron from landmark to target genes: its frozen configuration, Linen module and presets.

``python -m dgex.networks PRESET`` prints a preset's layers and parameter counts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from dgex.activations import BASES, base_function
from dgex.arc_cosine import ArcCosine
from dgex.dropout import dropout
from dgex.errors import DgexError
from dgex.rivals import RIVALS, Rival
from dgex.taaf import PARAMETERS, TAAF, Share, spanning
from dgex.towers import TowerDense, dealt

Params = dict[str, Any]
Placement = Literal["none", "hidden", "all"]
Sharing = Literal["unit", "layer", "network"]
Mask = Literal["layer", "network"]
Init = Literal["glorot", "dgex"]
ComputeDtype = Literal["float32", "bfloat16"]
Precision = Literal["default", "high", "highest"]

LINEAR, COMPONENTS, KERNEL = "linear", "linear_components", "kernel"  # parameters of the linear path

MOST_LAYERS, MOST_UNITS = 100, 2**20


@dataclass(frozen=True)
class NetworkConfig:
    """Describes a network: equal configurations are the same network.

    The converse does not always hold. Most settings without effect are refused, but a TAAF with ``learn`` empty is the
    plain base function, for instance, and without hidden layers their activation does not matter.

    Every unit has exactly one shift inside the activation. In the paper this is gamma, and the dense layer has no bias.
    Where units do not learn a gamma each, because it is not in ``learn`` or is shared, the dense layer has a bias.
    Otherwise leaving gamma out would remove the bias as well, and the ablation would show what a network without biases
    loses. So with ``learn`` empty a TAAF is its base function in a plain layer.

    Attributes:
      landmarks: number of input genes.
      targets: number of output genes.
      hidden: units of each hidden layer, first layer first.
      activation: the activation of the hidden layers: a base function, a name of ``dgex.activations.BASES``; or a
        learnable activation that TAAF is compared with, a name of ``dgex.rivals.RIVALS``.
      taaf: where a TAAF of that base stands: "none" (the plain base function, linear output), "hidden" (linear output),
        or "all" (the output layer has a TAAF too).
      learn: which of TAAF's alpha, beta, gamma and delta are learnt; the others stay as they start, at 1, 1, 0 and 0.
      share: whether the parameters of a TAAF or another learnable activation belong to a "unit", a "layer", or the
        whole "network", that is to all its hidden layers together. In the last case a TAAF on the output layer, whose
        scale is that of the targets, has one set for that layer.
      output_reach: how far from 0 the output layer's TAAF reaches at first, in z-scores, that is in SDs of a gene's
        training values; it then starts as a linear layer does (``dgex.taaf.spanning``). None starts it as its base
        function, as in the paper, where targets are not standardised.
      linear: whether a linear path ``W x + b`` from the landmarks is added to the output, so that the hidden layers
        learn what is not linear. The output layer then starts at zero, so that the network starts as the linear path
        alone (``dgex.baselines.linear.with_linear_path`` starts that at ridge regression).
      linear_rank: the rank of W; None for a full matrix. ``with_linear_path`` uses so many principal components.
      linear_rate: the learning rate of the linear path, as a multiple of that of the other parameters; 0 freezes it.
      kernel: the number of profiles whose arc-cosine kernel (``dgex.arc_cosine``) with the landmarks the linear path
        takes in place of the landmarks; None for the landmarks themselves. ``dgex.baselines.closed_form`` sets it to
        the number of training profiles, and starts the path at kernel ridge regression, where it stays.
      dropout: share of each hidden layer's outputs dropped in training.
      dropout_mask: whether each hidden "layer" draws its own dropout mask, or the "network" draws one for all hidden
        layers, which must then have equally many units. The example of the TAAF repository does the latter, by giving
        both its dropout layers one seed; this changes its training MAE by 1 to 2 % and its test MAE by 0.5 %.
      init: "glorot" (Keras's default: Glorot uniform kernels, zero biases) or "dgex" (the same, but the output kernel
        uniform in +-1e-4; Chen et al. 2016).
      compute_dtype: dtype of the matrix products and their results; parameters and TAAF arithmetic are float32 anyway,
        and predictions are returned as float32.
      matmul_precision: precision of float32 products; "default" is TF32 on recent NVIDIA GPUs and bfloat16 on TPUs.
      towers: in how many towers the units of the hidden layers are (``dgex.towers``): from the second layer on, a unit
        has weights to the units of its own tower alone. 1 for whole layers.
      checkerboard: whether towers take the units of all towers below them, dealt out, rather than those of their own.

    Raises:
      DgexError: a field is out of its range.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> config = NetworkConfig(landmarks=4, targets=2, hidden=(8,), taaf="hidden")
      >>> params = init_params(config, jax.random.key(0))
      >>> forward(config, params, jnp.zeros((3, 4))).shape
      (3, 2)
      >>> for row in layer_table(config):
      ...     print(*row)
      H0 Dense 4 -> 8 32
      H0_taaf beta, gamma 16
      H0_taaf alpha, delta 16
      outputs Dense 8 -> 2 18
    """

    landmarks: int
    targets: int
    hidden: tuple[int, ...] = (300, 300)
    activation: str = "sigmoid"
    taaf: Placement = "none"
    learn: tuple[str, ...] = PARAMETERS
    share: Sharing = "unit"
    output_reach: float | None = None
    linear: bool = False
    linear_rank: int | None = None
    linear_rate: float = 1.0
    kernel: int | None = None
    dropout: float = 0.0
    dropout_mask: Mask = "layer"
    init: Init = "glorot"
    compute_dtype: ComputeDtype = "float32"
    matmul_precision: Precision = "default"
    towers: int = 1
    checkerboard: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))  # JSON has no tuples
        if unknown := set(self.learn) - set(PARAMETERS):
            raise DgexError(f"TAAF cannot learn {', '.join(sorted(unknown))}; choose from {', '.join(PARAMETERS)}")
        object.__setattr__(self, "learn", tuple(name for name in PARAMETERS if name in self.learn))
        if len(self.hidden) > MOST_LAYERS:
            raise DgexError(f"{len(self.hidden)} hidden layers are more than can be trained; use {MOST_LAYERS} at most")
        if not all(isinstance(units, int) for units in (self.landmarks, self.targets, *self.hidden)):
            raise DgexError(f"layers have whole units: {self.landmarks} -> {self.hidden} -> {self.targets}")
        if min(self.landmarks, self.targets, *self.hidden) < 1:
            raise DgexError(f"every layer needs at least one unit: {self.landmarks} -> {self.hidden} -> {self.targets}")
        if max(self.landmarks, self.targets, *self.hidden) > MOST_UNITS:
            raise DgexError(
                f"a layer has {MOST_UNITS:,} units at most: {self.landmarks} -> {self.hidden} -> {self.targets}"
            )
        if not isinstance(self.towers, int) or self.towers < 1 or any(units % self.towers for units in self.hidden):
            raise DgexError(f"towers are a whole number that divides {self.hidden}, the units, not {self.towers}")
        if not 0 <= self.dropout < 1:
            raise DgexError(f"dropout must lie in [0, 1), not {self.dropout}")
        if self.activation not in (*BASES, *RIVALS):
            known = ", ".join(sorted((*BASES, *RIVALS)))
            raise DgexError(f"unknown activation {self.activation!r}; known: {known}")
        for field, choices in (
            ("taaf", Placement),
            ("share", Sharing),
            ("dropout_mask", Mask),
            ("init", Init),
            ("compute_dtype", ComputeDtype),
            ("matmul_precision", Precision),
        ):
            if getattr(self, field) not in get_args(choices):
                raise DgexError(f"{field} must be one of {', '.join(get_args(choices))}, not {getattr(self, field)!r}")
        # Settings without effect are refused, so that few equal networks have unequal configurations.
        rival = self.activation in RIVALS
        if rival and self.taaf != "none":
            raise DgexError(f"{self.activation} is itself learnable; a TAAF needs one of {', '.join(sorted(BASES))}")
        if self.taaf == "none" and self.learn != PARAMETERS:
            raise DgexError("learn says which TAAF parameters are learnt, but the network has no TAAF")
        if self.taaf == "none" and not rival and self.share != "unit":
            raise DgexError(f"share={self.share!r} needs activations with parameters, but {self.activation} has none")
        if self.dropout_mask == "network" and not (self.dropout and len(self.hidden) > len(set(self.hidden)) == 1):
            raise DgexError("dropout_mask='network' needs dropout, and several hidden layers of as many units")
        if self.towers > 1 and len(self.hidden) < 2:
            raise DgexError("towers are between hidden layers, of which there must be two or more")
        if self.checkerboard and (self.towers == 1 or len(self.hidden) < 3):
            raise DgexError("a checkerboard has two towers or more, and three hidden layers or more")
        if self.linear and not self.hidden:
            raise DgexError("linear adds a linear path beside hidden layers, but there are none")
        if not self.linear and (self.linear_rank, self.linear_rate, self.kernel) != (None, 1.0, None):
            raise DgexError("linear_rank, linear_rate and kernel are those of a linear path, which needs linear=True")
        if self.kernel is not None and (self.kernel < 1 or self.linear_rate != 0):
            raise DgexError("a linear path on a kernel has 1 profile or more, and linear_rate=0: it is not trained")
        if self.linear_rank is not None and not 1 <= self.linear_rank <= self.landmarks:
            raise DgexError(f"linear_rank is 1 to {self.landmarks}, not {self.linear_rank}")
        if not 0 <= self.linear_rate < math.inf:
            raise DgexError(f"linear_rate must be 0 or more, and finite, not {self.linear_rate}")
        if self.output_reach is not None:
            if self.taaf != "all":
                raise DgexError("output_reach is that of a TAAF on the output layer, which needs taaf='all'")
            if not 0 < self.output_reach < math.inf:
                raise DgexError(f"output_reach must be positive and finite, not {self.output_reach}")

    @property
    def fixed_path(self) -> bool:
        """Tells whether there is a linear path that keeps its initial parameters."""
        return self.linear and self.linear_rate == 0

    @property
    def mask_units(self) -> int:
        """Returns how many units a profile's dropout masks have, all its masks together."""
        return self.hidden[0] if self.dropout_mask == "network" else sum(self.hidden)


class Perceptron(nn.Module):
    """Maps landmark z-scores ``[..., landmarks]`` to target z-scores ``[..., targets]``, float32."""

    config: NetworkConfig

    @nn.compact
    def __call__(self, landmark: jax.Array, dropout_bits: jax.Array | None = None) -> jax.Array:
        """Predicts targets; with random bits ``[..., config.mask_units]``, dropout is applied to hidden outputs."""
        config = self.config
        adaptive = config.taaf != "none"
        # Linen shares parameters between the calls of one instance.
        shared = self._activation("hidden") if config.share == "network" else None
        first = 0  # of the layer's random bits
        x = landmark
        for layer, units in enumerate(config.hidden):
            x = dealt(x, config.towers) if config.checkerboard and layer > 1 else x
            x = self._dense(x, units, f"H{layer}", adaptive, towers=config.towers if layer else 1)
            x = (shared or self._activation(f"H{layer}"))(x)
            if dropout_bits is not None:
                x = dropout(x, dropout_bits[..., first : first + units], config.dropout)
                first += units if config.dropout_mask == "layer" else 0
        adaptive = config.taaf == "all"
        x = self._dense(x, config.targets, "outputs", adaptive).astype(jnp.float32)
        x = self._taaf("outputs")(x) if adaptive else x
        return x + self._linear_path(landmark) if config.linear else x

    def _linear_path(self, landmark: jax.Array) -> jax.Array:
        """Computes the linear path's part of the output, float32 ``[..., targets]``."""
        config = self.config
        if config.kernel is not None:
            landmark = ArcCosine(config.kernel, name=KERNEL)(landmark)
        if config.linear_rank is not None:
            landmark = self._dense(landmark, config.linear_rank, COMPONENTS, adaptive=False, bias=False)
        return self._dense(landmark, config.targets, LINEAR, adaptive=False).astype(jnp.float32)

    def _activation(self, owner: str) -> Callable[[jax.Array], jax.Array]:
        config = self.config
        if config.activation in RIVALS:
            return Rival(config.activation, self._share, name=f"{owner}_{config.activation}")
        return base_function(config.activation) if config.taaf == "none" else self._taaf(owner)

    def _taaf(self, owner: str) -> TAAF:
        config = self.config
        constants = map(nn.initializers.constant, initial_taaf(config, owner).values())
        return TAAF(config.activation, config.learn, self._share, *constants, name=f"{owner}_taaf")

    @property
    def _share(self) -> Share:
        """Returns how a module shares its parameters; it cannot know whether several layers call it."""
        return "unit" if self.config.share == "unit" else "layer"

    def _dense(
        self, x: jax.Array, units: int, name: str, adaptive: bool, bias: bool = True, towers: int = 1
    ) -> jax.Array:
        config = self.config
        bias = bias and not (adaptive and "gamma" in config.learn and config.share == "unit")  # gamma is one
        if towers > 1:
            dtype = jnp.dtype(config.compute_dtype)
            return TowerDense(units, towers, bias, dtype, config.matmul_precision, name=name)(x)
        kernel_init = nn.initializers.glorot_uniform()
        if name == "outputs" and config.linear:
            kernel_init = nn.initializers.zeros
        elif name == "outputs" and config.init == "dgex":
            kernel_init = symmetric_uniform(1e-4)
        return nn.Dense(
            units,
            use_bias=bias,
            dtype=jnp.dtype(config.compute_dtype),
            precision=config.matmul_precision,
            kernel_init=kernel_init,
            name=name,
        )(x)


def initial_taaf(config: NetworkConfig, owner: str) -> dict[str, ArrayLike]:
    """Returns the initial alpha, beta, gamma and delta of a TAAF by name, learnt or not.

    Beside a linear path the TAAF of the output layer starts at 0 where its input is 0.

    Args:
      config: the network.
      owner: the layer of the TAAF: "H0", "H1", ..., "hidden" (all hidden layers together), or "outputs".
    """
    reach = config.output_reach if owner == "outputs" else None
    values: tuple[ArrayLike, ...] = (1, 1, 0, 0) if reach is None else spanning(config.activation, reach)
    if owner == "outputs" and config.linear and reach is None:
        values = (1, 1, 0, -float(base_function(config.activation)(jnp.float32(0))))
    return dict(zip(PARAMETERS, values, strict=True))


def symmetric_uniform(bound: float) -> jax.nn.initializers.Initializer:
    """Makes an initialiser that draws uniformly from ``[-bound, bound)``."""

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound, out_sharding=out_sharding)

    return init


def forward(
    config: NetworkConfig, params: Params, landmark: jax.Array, dropout_bits: jax.Array | None = None
) -> jax.Array:
    """Computes target z-scores from landmark z-scores: the forward pass of the network.

    Args:
      config: the network.
      params: its parameters.
      landmark: z-scores ``[..., landmarks]``.
      dropout_bits: random bits of ``dgex.dropout``, ``u2 [..., config.mask_units]``, as in training; without them no
        dropout is applied.

    Returns:
      float32 z-scores ``[..., targets]``.
    """
    return jnp.asarray(Perceptron(config).apply({"params": params}, landmark, dropout_bits))


def init_params(config: NetworkConfig, key: jax.Array) -> Params:
    """Initialises the parameters: a plain nested dictionary ``{layer: {name: array}}`` of float32 arrays."""
    return Perceptron(config).init(key, jnp.zeros((1, config.landmarks), jnp.float32))["params"]


def take_targets(config: NetworkConfig, params: Params, targets: np.ndarray) -> tuple[NetworkConfig, Params]:
    """Restricts a network to some of its outputs, so that no others are computed.

    Args:
      config: the network.
      params: its parameters.
      targets: the positions of the outputs to keep, int ``[kept]``.

    Returns:
      The configuration and the parameters of the smaller network.
    """

    def take(path: Any, leaf: np.ndarray) -> np.ndarray:
        per_target = path[0].key.startswith(("outputs", LINEAR)) and path[0].key != COMPONENTS
        per_target = per_target and leaf.shape[-1:] == (config.targets,)
        return leaf[..., targets] if per_target else leaf  # a TAAF that the layer shares has one of each parameter

    return replace(config, targets=len(targets)), jax.tree_util.tree_map_with_path(take, params)


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
    """Lists the network's layers as (name, kind, number of parameters), from input to output.

    A TAAF takes two rows, as in the original's table: beta and gamma before the base function, alpha and delta after
    it. An activation that all hidden layers share is listed after them.
    """
    params = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    rows = []
    for owner in [
        *(f"H{layer}" for layer in range(len(config.hidden))),
        "hidden",
        "outputs",
        KERNEL,
        COMPONENTS,
        LINEAR,
    ]:
        for part in ("", "_taaf", f"_{config.activation}"):
            leaves = params.get(owner + part, {})
            for group in (("beta", "gamma"), ("alpha", "delta")) if part == "_taaf" else (tuple(leaves),):
                if names := [name for name in group if name in leaves]:
                    kind = _dense_kind(leaves["kernel"].shape) if "kernel" in leaves else ", ".join(names)
                    rows.append((owner + part, kind, sum(leaves[name].size for name in names)))
    return rows


def _dense_kind(shape: tuple[int, ...]) -> str:
    """Describes a dense layer by the shape of its kernel, which has an axis of towers where there are some."""
    *towers, inputs, units = shape
    return "".join(f"{number} x " for number in towers) + f"Dense {inputs} -> {units}"


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
    from dgex import console

    app = console.command_line(help="Layers and parameter counts of a preset network.")
    app.command()(main)
    console.main(app)
