"""Reads and writes model directories, which stay readable when the libraries that made them have changed.

model.json              schema version, network configuration, provenance (data, protocol, seed, versions, scores)
weights.safetensors     the network's parameters by path: H0/kernel, H0_taaf/alpha, outputs/kernel, ...; f4, or f2 where
                        that loses nothing
reference.safetensors   scalers, quantiles of the landmarks and of all genes, landmark factors, per-gene reliability,
                        where training profiles lie; names as in ``ARRAYS``
genes.tsv               side (landmark, target), Ensembl id, symbol, probe sets; a gene a line, in the arrays' order
README.md               the model card, a description for people; begins with what the Hugging Face Hub reads of it
SHA256SUMS              checksums of all of these, in the form that ``sha256sum -c`` checks

The format is safetensors and not Orbax because a published model is read for years, and by other programs too.
A safetensors file is a header of JSON and raw arrays, cannot hold code, and has readers in many languages. Orbax's
layout depends on its version, and its checkpoints are for resuming a training.

Schema 1 had no quantiles of all genes. Up to schema 2 there was one platform, and half widths were the same for all
profiles: such models are still read, with the same expected error for every profile and none out of range. So are
those of schema 3 whose card is called MODEL_CARD.md, as all once were.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
import safetensors
import safetensors.numpy

from dgex.data.dataset import Reference
from dgex.data.genes import Genes
from dgex.data.intensity_scale import LIMITS
from dgex.data.normalization import SD_FLOOR, Scaler
from dgex.data.platforms import ARRAY, Platforms
from dgex.errors import DgexError
from dgex.files.atomic import check_path, check_writable, need_room, replacing
from dgex.formats.content import read_small
from dgex.formats.expression import first_repeated
from dgex.model import Model
from dgex.model.card import card_text, model_card
from dgex.model.half_precision import shortest
from dgex.model.imputation import Factors
from dgex.model.published import find_model
from dgex.model.reliability import LEVELS, Expectation, Reliability
from dgex.model.training_map import TrainingMap
from dgex.networks import NetworkConfig, Params, init_params

SCHEMA_VERSION = 3
READABLE = (1, 2, SCHEMA_VERSION)
CONFIG, WEIGHTS, ARRAYS_FILE, GENES, CARD = FILES = (
    "model.json", "weights.safetensors", "reference.safetensors", "genes.tsv", "README.md"
)  # fmt: skip
SUMS = "SHA256SUMS"
FORMER_CARD = "MODEL_CARD.md"
SIDES = ("landmark", "target")
COLUMNS = ("side", "ensembl", "symbol", "probes")

# Axes of the arrays beside the weights. Only the validation results of a target (NaN) and half widths (infinity) need
# not be finite.
ARRAYS: Mapping[str, tuple[str, ...]] = {
    "landmark/mean": ("landmarks",), "landmark/sd": ("landmarks",), "quantiles": ("landmarks",),
    "target/mean": ("targets",), "target/sd": ("targets",), "gene_quantiles": ("ranked",),
    "factors/loadings": ("landmarks", "factors"), "factors/noise": (),
    "reliability/pearson": ("targets",), "reliability/zscore_mae": ("targets",), "reliability/r2": ("targets",),
    "reliability/quantile": ("levels", "targets"), "expectation/intercept": (), "expectation/slope": (),
    "expectation/farthest": (), "expectation/reference_error": (),
    "expectation/least_pearson": (), "platform/landmark": ("platforms", "landmarks"),
    "platform/target": ("platforms", "targets"), "map/position": ("mapped", "axes"), "map/platform": ("mapped",),
    "map/self_check_error": ("checked",), "map/self_check_pearson": ("checked",),
}  # fmt: skip
NOT_FINITE = (
    "reliability/pearson", "reliability/r2", "reliability/zscore_mae", "reliability/quantile", "expectation/farthest",
    "expectation/reference_error", "map/self_check_pearson",
)  # fmt: skip
EXPECTATION = tuple(name.partition("/")[2] for name in ARRAYS if name.startswith("expectation/"))
SINCE_2 = {"gene_quantiles"}
MAP = {name for name in ARRAYS if name.startswith("map/")}  # all or none: models made before they were kept have none
ROUNDING = 1e-3  # log2; far above float32's
# Bounds of the arrays that must be finite: log2 values, z-scores, and SDs (1e-3 or more) and variances (1e-6 or more).
LARGEST, LEAST = 1e4, 1e-7
AGAIN = "fetch or make the model again"


def check_new(path: Path) -> None:
    """Refuses before a training a ``path`` that a model cannot be written to.

    Raises:
      DgexError: ``path`` exists already or cannot be written.
    """
    check_path(path)
    if path.exists():
        raise DgexError(f"{path}: exists already; choose another folder for the model, or move it away")
    check_writable(path)


def save_model(path: Path, model: Model) -> None:
    """Writes a model directory, whole or not at all; equal models give equal bytes.

    Raises:
      DgexError: ``path`` exists already or cannot be written, or the disk is full.
    """
    check_new(path)
    header = {
        "schema_version": SCHEMA_VERSION,
        "network": asdict(model.config),
        "platforms": model.reference.platforms.name,
        "provenance": model.provenance,
    }
    contents = {
        CONFIG: json.dumps(header, indent=1).encode(),
        WEIGHTS: safetensors.numpy.save(_flat(model.params)),
        ARRAYS_FILE: safetensors.numpy.save(_arrays(model)),
        GENES: _gene_lines(model.reference),
        CARD: model_card(model).encode(),
    }
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()]
    with replacing(path) as partial:
        partial.mkdir()
        need_room(partial, sum(map(len, contents.values())))
        for name, content in (contents | {SUMS: "".join(sums).encode()}).items():
            (partial / name).write_bytes(content)


def load_model(path: str | os.PathLike[str] | None = None) -> Model:
    """Reads a model directory and checks all of it; nothing in it is executed.

    Args:
      path: the model directory, or another name that ``dgex.model.published.find_model`` takes, such as
        "hf://owner/name"; None for the model that comes with the package.

    Raises:
      DgexError: a file is missing, damaged or altered, or of another schema version; or the model cannot be downloaded.

    Examples:
      >>> model = load_model()
      >>> model.config.landmarks, model.config.taaf
      (943, 'hidden')
    """
    folder, called, contents = _verified(path)
    config, provenance, platforms = _read_header(folder, contents[CONFIG])
    weights, arrays = (_read_arrays(folder, name, contents[name]) for name in (WEIGHTS, ARRAYS_FILE))
    genes = _read_genes(folder, contents[GENES])
    if platforms is None:
        platforms, arrays = (ARRAY,), _of_schema_3(folder, arrays, config)
    _check_arrays(folder, arrays, config, tuple(map(len, genes)), len(platforms))
    landmark, target = (Scaler(arrays[f"{side}/mean"], arrays[f"{side}/sd"]) for side in SIDES)
    expectation = Expectation(**{name: float(arrays[f"expectation/{name}"]) for name in EXPECTATION})
    offsets = Platforms(platforms, arrays["platform/landmark"], arrays["platform/target"])
    model = Model(
        config,
        _params(folder, config, weights),
        Reference(*genes, landmark, target, arrays["quantiles"], offsets),
        Factors(arrays["factors/loadings"], float(arrays["factors/noise"])),
        Reliability(**_fields(arrays, "reliability"), expectation=expectation),
        provenance,
        arrays.get("gene_quantiles"),
        TrainingMap(**_fields(arrays, "map") | {"platform": arrays["map/platform"].astype(int)})
        if "map/platform" in arrays
        else None,
    )
    model.source.update(name=called, sha256=hashlib.sha256(contents[SUMS]).hexdigest())
    return model


def read_card(path: str | os.PathLike[str] | None = None) -> str:
    """Reads the model card, without its metadata, after checking all checksums; errors as ``load_model``."""
    folder, _, contents = _verified(path)
    try:
        return card_text(contents[CARD].decode())
    except UnicodeDecodeError:
        _refuse(folder, f"{CARD} is not UTF-8 text")


def _verified(path: str | os.PathLike[str] | None) -> tuple[Path, str, dict[str, bytes]]:
    """Finds a model directory and checks every file against its checksum; a DgexError if one is wrong.

    Returns:
      The folder, what the model is called, and the contents of the files by name.
    """
    folder, called = find_model(path, (SUMS, *FILES, FORMER_CARD))
    if not (folder / SUMS).is_file():
        what = "there is no such directory" if not folder.exists() else f"is not a model directory, it has no {SUMS}"
        raise DgexError(f"{folder}: {what}; make a model with `dgex train`")
    contents = {SUMS: _content(folder, SUMS)}
    lines = contents[SUMS].decode("utf-8", "replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in FILES:
        stored = FORMER_CARD if name == CARD and CARD not in sums and FORMER_CARD in sums else name
        contents[name] = _content(folder, stored)
        if hashlib.sha256(contents[name]).hexdigest() != sums.get(stored):
            _refuse(folder, f"{stored} is not as it was written, its SHA-256 differs from {SUMS}")
    return folder, called, contents


def _content(folder: Path, name: str) -> bytes:
    """Reads a file of a model directory."""
    file = folder / name
    if file.exists() and not file.is_file():
        _refuse(folder, f"{name} is not a file")
    try:
        return file.read_bytes() if name in (WEIGHTS, ARRAYS_FILE) else read_small(file)
    except (OSError, MemoryError) as error:
        reason = error.strerror if isinstance(error, OSError) else "there is too little memory"
        raise DgexError(f"{folder}: {name} cannot be read ({reason}); {AGAIN}") from error


def _read_header(folder: Path, content: bytes) -> tuple[NetworkConfig, dict[str, Any], tuple[str, ...] | None]:
    """Reads the network's configuration, the provenance and the platforms' names, None up to schema 2."""
    try:
        header = dict(json.loads(content))
        version = header["schema_version"]
        if version in READABLE:
            platforms = None if version < SCHEMA_VERSION else tuple(map(str, header["platforms"]))
            if platforms is not None and (not platforms or first_repeated(platforms)):
                raise ValueError("there is no platform, or one twice")
            return NetworkConfig(**header["network"]), dict(header["provenance"]), platforms
    except (ValueError, KeyError, TypeError, RecursionError, DgexError) as error:
        _refuse(folder, f"{CONFIG} does not describe a model ({error})")
    raise DgexError(f"{folder}: has schema version {version}, this dgex reads up to {SCHEMA_VERSION}; {AGAIN}")


def _read_arrays(folder: Path, name: str, content: bytes) -> dict[str, np.ndarray]:
    """Reads the arrays of a safetensors file, by name."""
    try:
        return safetensors.numpy.load(content)
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        _refuse(folder, f"{name} is not safetensors ({error})")


def _fields(arrays: Mapping[str, np.ndarray], group: str) -> dict[str, np.ndarray]:
    """Selects the arrays of a group, by the part of their names behind it: "pearson" of "reliability/pearson"."""
    return {name.removeprefix(f"{group}/"): arrays[name] for name in ARRAYS if name.startswith(f"{group}/")}


def _flat(params: Params) -> dict[str, np.ndarray]:
    """Flattens the parameters to arrays by path: "H0/kernel". Those of half precision are float16, others float32."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {
        "/".join(key.key for key in path): shortest(np.ascontiguousarray(leaf, np.float32)) for path, leaf in leaves
    }


def _params(folder: Path, config: NetworkConfig, weights: dict[str, np.ndarray]) -> Params:
    """Checks the weights and arranges them as the parameters of the network."""
    expected = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    shapes = {
        "/".join(key.key for key in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(expected)
    }
    if shapes != {name: values.shape for name, values in weights.items()}:
        _refuse(folder, f"{WEIGHTS} does not hold the network of {CONFIG}")
    for name, values in weights.items():
        if values.dtype not in (np.float16, np.float32) or not np.isfinite(values).all():
            _refuse(folder, f"{WEIGHTS}: {name} does not hold finite float32 or float16 numbers")
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: weights["/".join(key.key for key in path)].astype(np.float32), expected
    )


def _arrays(model: Model) -> dict[str, np.ndarray]:
    """Collects the arrays beside the weights as float32, in the order of ``ARRAYS``."""
    reference, reliability = model.reference, model.reliability
    arrays = {"quantiles": reference.quantiles, "factors/loadings": model.factors.loadings}
    arrays |= {"factors/noise": np.array(model.factors.noise)}
    arrays |= {f"landmark/{name}": values for name, values in vars(reference.landmark_scaler).items()}
    arrays |= {f"target/{name}": values for name, values in vars(reference.target_scaler).items()}
    arrays |= {f"reliability/{name}": values for name, values in vars(reliability).items() if name != "expectation"}
    arrays |= {f"expectation/{name}": np.array(value) for name, value in vars(reliability.expectation).items()}
    arrays |= {f"platform/{side}": vars(reference.platforms)[side] for side in SIDES}
    if model.gene_quantiles is not None:
        arrays["gene_quantiles"] = model.gene_quantiles
    if model.training_map is not None:
        arrays |= {f"map/{name}": values for name, values in vars(model.training_map).items()}
    return {
        name: np.ascontiguousarray(arrays[name], np.float32).reshape(np.shape(arrays[name]))
        for name in ARRAYS
        if name in arrays
    }


def _of_schema_3(folder: Path, arrays: dict[str, np.ndarray], config: NetworkConfig) -> dict[str, np.ndarray]:
    """Converts the arrays of a model of schema 1 or 2, whose half widths are the same for every profile.

    The expected error of every profile is the mean error of the validation profiles, and the half widths are divided
    by it. The distance beyond which a profile was out of range means nothing to the self-check, so none is.
    """
    old = ("reliability/half_width", "reliability/farthest")
    if any(name not in arrays for name in (*old, "reliability/zscore_mae")):
        _refuse(folder, f"{ARRAYS_FILE} does not hold the arrays of a model")
    error = arrays["reliability/zscore_mae"].astype(np.float64)
    mean = np.float32(error[error > 0].mean()) if (error > 0).any() else np.float32(1)
    single = Platforms.single(config.landmarks, config.targets)
    numbers = Expectation(float(np.log(mean)), 0.0, np.inf, np.nan, 0.0)
    return (
        {name: values for name, values in arrays.items() if name not in old}
        | {"reliability/quantile": arrays[old[0]] / mean}
        | {f"expectation/{name}": np.array(value, np.float32) for name, value in vars(numbers).items()}
        | {"platform/landmark": single.landmark, "platform/target": single.target}
    )


def _check_arrays(
    folder: Path, arrays: dict[str, np.ndarray], config: NetworkConfig, genes: tuple[int, ...], platforms: int
) -> None:
    """Refuses arrays that do not fit the network or each other, or whose numbers a trained model cannot have.

    Args:
      folder: the model directory, for messages.
      arrays: the arrays beside the weights, by name.
      config: configuration of the network.
      genes: the number of landmarks and the number of targets in genes.tsv.
      platforms: the number of platforms in model.json.
    """
    if genes != (config.landmarks, config.targets):
        _refuse(
            folder,
            f"{GENES} has {genes[0]} landmarks and {genes[1]} targets, the network has {config.landmarks} and "
            f"{config.targets}",
        )
    if not ARRAYS.keys() - SINCE_2 - MAP <= arrays.keys() <= ARRAYS.keys() or len(MAP & arrays.keys()) % len(MAP):
        _refuse(folder, f"{ARRAYS_FILE} does not hold the arrays of a model")
    loadings = arrays["factors/loadings"]
    lengths = {"landmarks": config.landmarks, "targets": config.targets, "levels": len(LEVELS)}
    lengths["platforms"] = platforms
    lengths["factors"] = loadings.shape[-1] if loadings.ndim else 0
    lengths["ranked"] = arrays.get("gene_quantiles", loadings).size
    lengths["axes"] = 2
    lengths["mapped"], lengths["checked"] = (
        arrays.get(name, loadings).size for name in ("map/platform", "map/self_check_error")
    )
    for name, values in arrays.items():
        axes = ARRAYS[name]
        if values.dtype != np.float32 or values.shape != tuple(lengths[axis] for axis in axes):
            _refuse(folder, f"{ARRAYS_FILE}: {name} is {values.dtype} {values.shape}, not float32 [{', '.join(axes)}]")
        if name not in NOT_FINITE and not (np.abs(values) <= LARGEST).all():
            _refuse(folder, f"{ARRAYS_FILE}: {name} holds numbers that are not finite, or beyond {LARGEST:g}")
    # The training landmarks were normalised to the quantiles, and standardised before the factors were fitted.
    quantiles, mean, sd = arrays["quantiles"], arrays["landmark/mean"], arrays["landmark/sd"]
    least, most = LIMITS["log2"]
    if not least <= quantiles[0] <= quantiles[-1] <= most:
        _refuse(folder, f"{ARRAYS_FILE}: quantiles are not log2 values")
    within = (quantiles[0] - ROUNDING <= mean) & (mean <= quantiles[-1] + ROUNDING)
    if not (within & (sd <= quantiles[-1] - quantiles[0] + ROUNDING) & (sd >= SD_FLOOR / 2)).all():
        _refuse(folder, f"{ARRAYS_FILE}: landmark/mean or landmark/sd does not fit the quantiles")
    if max(np.abs(loadings).max(initial=0), arrays["factors/noise"]) > LIMITS["zscore"][1]:
        _refuse(folder, f"{ARRAYS_FILE}: the factors do not fit z-scores")
    # Beyond this the matrix for imputing missing landmarks cannot be inverted.
    if np.square(loadings, dtype=np.float64).sum() > 1e12 * arrays["factors/noise"]:
        _refuse(folder, f"{ARRAYS_FILE}: factors/loadings are too large, or factors/noise is too small")
    if not np.isin(arrays.get("map/platform", 0), np.arange(platforms)).all():
        _refuse(folder, f"{ARRAYS_FILE}: map/platform is none of the platforms")
    positive = ("landmark/sd", "target/sd", "factors/noise")
    for name in ("reliability/quantile", "expectation/slope", "expectation/farthest"):
        if not (arrays[name] >= 0).all():
            _refuse(folder, f"{ARRAYS_FILE}: {name} is negative or NaN")
    references = [arrays[name] for name in ("quantiles", "gene_quantiles") if name in arrays]
    ascending = all(len(values) and (np.diff(values) >= 0).all() for values in references)
    if not all((arrays[name] >= LEAST).all() for name in positive) or not ascending:
        _refuse(folder, f"{ARRAYS_FILE} holds an SD or variance that is not positive, or quantiles out of order")


def _gene_lines(reference: Reference) -> bytes:
    """Writes the content of genes.tsv."""
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    for side, genes in zip(SIDES, (reference.landmark_genes, reference.target_genes), strict=True):
        writer.writerows((side, *gene) for gene in zip(genes.ensembl, genes.symbol, genes.probes, strict=True))
    return lines.getvalue().encode()


def _read_genes(folder: Path, content: bytes) -> tuple[Genes, Genes]:
    """Reads the landmark and the target genes from the content of genes.tsv."""
    try:
        header, *lines = csv.reader(io.StringIO(content.decode(), newline=""), delimiter="\t", strict=True)
    except (ValueError, csv.Error) as error:
        _refuse(folder, f"{GENES} is not a table ({error})")
    if tuple(header) != COLUMNS or any(len(line) != len(COLUMNS) or line[0] not in SIDES for line in lines):
        _refuse(folder, f"{GENES} is not a table of {', '.join(COLUMNS)}")
    genes = []
    for side in SIDES:
        rows = [line[1:] for line in lines if line[0] == side]
        if not rows or first_repeated([row[0] for row in rows]):
            _refuse(folder, f"{GENES} has no {side} gene, or has one twice")
        genes.append(Genes(*map(tuple, zip(*rows, strict=True))))
    return genes[0], genes[1]


def _refuse(folder: Path, problem: str) -> NoReturn:
    """Raises the error that a model directory has a problem and is to be fetched or made again."""
    raise DgexError(f"{folder}: {problem}; {AGAIN}")
