"""From a prepared data set to a model, and what a model is worth on one: the engine of the experiments, put to use."""

import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

import dgex
from dgex.baselines import ridge_path
from dgex.batches import Samples, check_devices, place
from dgex.dataset import SPLITS, Dataset, Reference
from dgex.errors import DgexError
from dgex.factors import complete, fit_factors
from dgex.inference import Inference
from dgex.log import Epoch
from dgex.metrics import GeneScores, finalize, summarize
from dgex.model import TIES, Model
from dgex.networks import NetworkConfig, Params
from dgex.normalization import fit_quantiles, fit_scaler, standardize, to_quantiles
from dgex.products import products
from dgex.protocols import Protocol
from dgex.reliability import agreement, coverage, is_well_inferred, measure
from dgex.training import evaluate, fit

Scores = dict[str, Any]


def train_model(
    dataset: Dataset,
    data: Mapping[str, str],
    config: NetworkConfig,
    protocol: Protocol,
    seed: int,
    devices: tuple[jax.Device, ...],
    directory: Path | None = None,
    *,
    resume: bool = False,
    on_epoch: Callable[[Epoch, float], None] = lambda row, seconds: None,
    on_ridge: Callable[[Scores], None] = lambda scores: None,
) -> Model:
    """Trains a network on the training split and measures on the others what it is worth.

    Everything is fitted on the training split. The validation split chooses the best epoch, the number of factors and
    ridge regression's penalty, and calibrates the intervals; the test split is scored once, at the end.

    Args:
      dataset: with all three splits.
      data: "file" and "sha256" of it, for the provenance.
      config: the network, for as many genes as the data set has.
      protocol, seed, directory, resume, on_epoch: as in ``dgex.training.fit``.
      devices: to train on.
      on_ridge: called before training with the validation scores that there are by then: ridge regression's and the
        mean predictor's.

    Raises:
      DgexError: as ``fit``; the data set has no training samples, or was fitted on its test samples too.
    """
    preparation = dataset.provenance["preparation"]
    if "onto" in preparation:
        raise DgexError(f"{data['file']}: has no train samples, it was mapped onto another data set; train on that one")
    if preparation.get("legacy"):
        raise DgexError(
            f"{data['file']}: was prepared with --legacy, whose quantiles and scaler are fitted on the test samples "
            "too; prepare it without"
        )
    check_devices(len(devices), protocol.batch)
    train = dataset.split == SPLITS.index("train")
    quantiles = fit_quantiles(dataset.landmark[train])
    normal = to_quantiles(dataset.landmark, quantiles, TIES)
    scaler = fit_scaler(normal[train])
    reference = Reference(dataset.landmark_genes, dataset.target_genes, scaler, dataset.target_scaler, quantiles)

    def samples(split: str) -> Samples:
        rows = dataset.split == SPLITS.index(split)
        target = standardize(dataset.target[rows], reference.target_scaler)
        return place(standardize(normal[rows], scaler), target, devices)

    parts = {split: samples(split) for split in ("train", "validation")}
    ridge = ridge_path(products(parts["train"]), parts["validation"])[0].as_network()
    on_ridge(_scores(reference, parts["validation"], {"ridge regression": ridge}))
    best = fit(config, protocol, parts["train"], parts["validation"], seed, directory, resume=resume, on_epoch=on_epoch)
    params = jax.tree.map(np.asarray, jax.device_get(best.params))

    parts["test"] = samples("test")  # opened here, once, with every choice made
    provenance = {
        "data": {**data, **{key: dataset.provenance[key] for key in ("command", "sources")}, "splits": _sizes(dataset)},
        "protocol": asdict(protocol),
        "seed": seed,
        "best_epoch": best.best_epoch,
    }
    study = {split: _studies(dataset, split) for split in ("validation", "test")}
    return assess(config, params, reference, parts, study, ridge, provenance)


def assess(
    config: NetworkConfig,
    params: Params,
    reference: Reference,
    parts: Mapping[str, Samples],
    study: Mapping[str, Sequence[str]],
    ridge: tuple[NetworkConfig, Params],
    provenance: Mapping[str, Any],
) -> Model:
    """Measures what a trained network is worth, and makes a model of it.

    Args:
      config, params: the network.
      reference: its genes and normalisation.
      parts: the samples of "train", "validation" and "test", z-scores. Validation chooses the number of factors and
        calibrates the intervals.
      study: of every sample of "validation" and "test".
      ridge: ridge regression, as a network.
      provenance: what the model's provenance holds besides scores, versions and devices.
    """
    validation = parts["validation"]
    factors = fit_factors(parts["train"].landmark, validation.landmark)
    distance = complete(validation.landmark, factors)[1]
    inferred = _infer(config, params, validation)
    reliability = measure(inferred, validation.target, study["validation"], distance)
    model = Model(config, params, reference, factors, reliability, {})
    networks = {"ridge regression": ridge, "network": (config, params)}
    devices = validation.devices
    return replace(
        model,
        provenance={
            **provenance,
            "scores": {
                split: _scores(reference, parts[split], networks) | _trust(model, parts[split], study[split])
                for split in ("validation", "test")
            },
            "versions": _versions(),
            "devices": f"{len(devices)} x {devices[0].device_kind}",
        },
    )


def evaluate_model(
    model: Model, name: str, dataset: Dataset, devices: tuple[jax.Device, ...]
) -> Iterator[tuple[str, Scores]]:
    """A model's scores on every split of a prepared file; on train they are too good, on validation a bit.

    Args:
      name: of the file, for messages.
      dataset: the one that the model was trained on, or a cohort mapped onto that. Targets that a cohort lacks are not
        scored.
      devices: to work on.

    Yields:
      Split by split: "profiles", "studies" (their names), "targets" (how many are scored); "mean predictor" and
      "network", as ``dgex.metrics.summarize`` gives them, and without the overlap genes; "coverage" (as
      ``dgex.reliability.coverage``); "well_inferred", the share of targets that meet its criterion here, of those
      "flagged" and of the "others"; "out_of_range", the share of the profiles.

    Raises:
      DgexError: the file has other genes, or was normalised otherwise.
    """
    own = model.reference
    if (own.landmark_genes, own.target_genes) != (dataset.landmark_genes, dataset.target_genes):
        raise DgexError(f"{name}: has other genes than the model; prepare it with --onto the model's training data")
    if not _equal(own.target_scaler, dataset.target_scaler):
        raise DgexError(
            f"{name}: is standardised otherwise than the model's training data; prepare it with --onto those"
        )
    preparation = dataset.provenance["preparation"]
    lacking = preparation.get("targets_missing", ()) if "onto" in preparation else ()
    measured = ~np.isin(own.target_genes.ensembl, list(lacking))
    for split, size in _sizes(dataset).items():
        rows = dataset.split == SPLITS.index(split)
        target = standardize(dataset.target[rows], own.target_scaler)
        part = place(model.standardize(dataset.landmark[rows]), target, devices)
        scores = _scores(own, part, {"network": (model.config, model.params)}, measured)
        trust = _trust(model, part, _studies(dataset, split), measured)
        yield split, size | {"targets": int(measured.sum())} | scores | trust


def _scores(
    reference: Reference,
    part: Samples,
    networks: Mapping[str, tuple[NetworkConfig, Params]],
    measured: np.ndarray | None = None,
) -> Scores:
    """Means over all measured targets, and over those without the overlap, of networks and the mean predictor."""
    chosen = np.ones(part.target.shape[1], bool) if measured is None else measured
    mean = np.abs(part.target).mean(axis=0, dtype=np.float64)  # its prediction is z = 0
    nothing = np.full(len(mean), np.nan)
    per_gene = {"mean predictor": GeneScores(mean, nothing, nothing, nothing)}
    per_gene |= {name: finalize(evaluate(params, part, config)) for name, (config, params) in networks.items()}
    sd, overlap = reference.target_scaler.sd, reference.overlap
    return {
        name: {**_shown(scores, sd, chosen), "without_overlap": _shown(scores, sd, chosen & ~overlap)}
        for name, scores in per_gene.items()
    }


def _shown(scores: GeneScores, sd: np.ndarray, genes: np.ndarray) -> dict[str, float]:
    return {name: value for name, value in summarize(scores, sd, genes).items() if not np.isnan(value)}


def _trust(model: Model, part: Samples, study: Sequence[str], measured: np.ndarray | None = None) -> Scores:
    """What intervals, ``well_inferred`` and the range of the training data are worth here."""
    genes = slice(None) if measured is None else measured
    inferred, target = _infer(model.config, model.params, part)[:, genes], part.target[:, genes]
    half_width = model.reliability.half_width[:, genes]
    distance = complete(part.landmark, model.factors)[1]
    flagged = model.reliability.well_inferred[genes]
    well = is_well_inferred(*agreement(inferred, target, study))
    shares = {name: well[chosen] for name, chosen in (("flagged", flagged), ("others", ~flagged))}
    return {
        "coverage": coverage(inferred - target, half_width, study),
        "well_inferred": {name: float(own.mean()) for name, own in shares.items() if len(own)},
        "out_of_range": float((distance > model.reliability.farthest).mean()),
    }


def _infer(config: NetworkConfig, params: Params, part: Samples) -> np.ndarray:
    """z-scores ``[profiles, targets]``."""
    return Inference(config, params, None, part.devices)(part.landmark)


def _equal(one: object, other: object) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def _sizes(dataset: Dataset) -> dict[str, Scores]:
    """The splits that there are: how many profiles, of which studies."""
    study = np.array(dataset.study)
    rows = {split: dataset.split == code for code, split in enumerate(SPLITS)}
    return {
        split: {"profiles": int(own.sum()), "studies": sorted(set(study[own].tolist()) - {""})}
        for split, own in rows.items()
        if own.any()
    }


def _studies(dataset: Dataset, split: str) -> list[str]:
    """The study of each sample of a split."""
    code = SPLITS.index(split)
    return [study for study, of in zip(dataset.study, dataset.split, strict=True) if of == code]


def _versions() -> dict[str, str]:
    packages = ("jax", "flax", "optax", "numpy")
    installed = {name: importlib.metadata.version(name) for name in packages}
    return {"dgex": dgex.__version__, "python": platform.python_version(), **installed}
