"""Trains a model on a prepared data set, with the training loop that the experiments use too.

A network is trained twice: on the training profiles, where validation chooses the number of epochs (and before that the
penalty of the linear path), and then on training and validation profiles together, for so many epochs (*refit*).
"""

import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dgex.baselines.closed_form import choose_penalty, closed_form, errors_by_penalty
from dgex.baselines.linear import ridge, ridge_path
from dgex.baselines.sufficient_statistics import products
from dgex.batches import Samples, check_devices, place
from dgex.data.dataset import SPLITS, Dataset, Reference
from dgex.data.normalization import Scaler, fit_quantiles, fit_scaler, to_quantiles
from dgex.data.platforms import Platforms, fit_offsets, standardize_by_platform
from dgex.errors import DgexError
from dgex.log import Epoch
from dgex.model import TIES, Model
from dgex.model.evaluation import Scores, infer, rows_of_splits, scores_of, size_of, trust_of
from dgex.model.imputation import complete, fit_factors
from dgex.model.reliability import measure
from dgex.model.self_check import correlations, median_pearson, self_check
from dgex.model.training_map import training_map
from dgex.networks import NetworkConfig, Params
from dgex.protocols import Protocol
from dgex.training import fit
from dgex.version import __version__

STAGES = ("choose", "refit")  # folders in a run directory

Network = tuple[NetworkConfig, Params]


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
    on_epoch: Callable[[str, Epoch], None] = lambda stage, row: None,
    on_ridge: Callable[[Scores], None] = lambda scores: None,
) -> Model:
    """Trains a network on the training and validation splits and scores it on the test split.

    Normalisation and factors are fitted on the training split. The validation split chooses the number of epochs, the
    number of factors and the penalty of ridge regression. The reliability, intervals included, is that of the network
    so chosen on validation, which it was not trained on. The weights that the model keeps are refitted to both splits;
    with these the test split is scored once, at the end, as is ridge regression refitted likewise.

    Missing targets count neither in the loss nor in the scores; ridge regression takes them for 0, the training mean.
    A missing landmark is 0 (the training mean) during training, and is imputed as in predictions when scores are
    computed.

    Args:
      dataset: a data set with all three splits.
      data: "file" and "sha256" of the data set, for the provenance.
      config: configuration of the network, for as many genes as the data set has.
      protocol: as in ``dgex.training.fit``.
      seed: as in ``dgex.training.fit``.
      devices: the devices to train on.
      directory: as in ``dgex.training.fit``.
      resume: as in ``dgex.training.fit``.
      on_epoch: is called after every epoch with what is trained.
      on_ridge: is called before training with the validation scores of ridge regression and the mean predictor.

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
    reference, every_landmark, every_target = standardized(dataset, dataset.split == SPLITS.index("train"))
    study = np.asarray(dataset.study)
    rows = rows_of_splits(dataset)
    landmark = {split: every_landmark[chosen] for split, chosen in rows.items()}
    target = {split: every_target[chosen] for split, chosen in rows.items()}

    def samples(*splits: str) -> Samples:
        chosen = np.isin(dataset.split, [SPLITS.index(split) for split in splits])
        return place(np.nan_to_num(every_landmark[chosen]), every_target[chosen], devices)

    training, validation, both = samples("train"), samples("validation"), samples("train", "validation")
    linear, errors = ridge_path(products(training), validation)
    ridge_penalty = penalty = choose_penalty(errors)
    if config.kernel is not None:
        penalty = choose_penalty(errors_by_penalty(config, training, validation))
    by_ridge = infer(*linear.as_network(), validation.landmark[:], devices)
    on_ridge(scores_of(reference, validation.target[:], {"ridge regression": by_ridge}))
    chosen, refitted, epochs = train_and_refit(
        config, protocol, penalty, training, validation, both, seed, directory, resume, on_epoch
    )
    networks = {
        "validation": {"ridge regression": linear.as_network(), "network": chosen},
        "test": {"ridge regression": ridge(products(both), ridge_penalty).as_network(), "network": refitted},
    }

    provenance = {
        "data": {**data, **{key: dataset.provenance[key] for key in ("command", "sources")}, "splits": _sizes(dataset)},
        "protocol": asdict(protocol),
        "seed": seed,
        "best_epoch": epochs,
        "penalty": penalty,
        "refit": True,
    }
    studies = {split: study[chosen].tolist() for split, chosen in rows.items()}
    platform = dataset.platform[rows["train"]]
    return assess(
        networks, reference, dataset.quantiles, landmark, target, studies, provenance, devices, platform
    )  # fmt: skip


def train_and_refit(
    config: NetworkConfig,
    protocol: Protocol,
    penalty: float,
    training: Samples,
    validation: Samples,
    both: Samples,
    seed: int,
    directory: Path | None,
    resume: bool,
    on_epoch: Callable[[str, Epoch], None],
) -> tuple[Network, Network, int]:
    """Trains a network to choose the number of epochs, and again on all profiles for that many.

    Args:
      config: as in ``train_network``.
      protocol: as in ``train_network``; ``epochs`` are the most.
      penalty: as in ``train_network``.
      training: z-scores to train on at first.
      validation: z-scores to choose the number of epochs by.
      both: z-scores to train on in the end.
      seed: as in ``train_network``.
      directory: the run directory, which has a folder for each training; without it nothing is written.
      resume: as in ``train_network``.
      on_epoch: is called after every epoch with "choosing" or "refit".

    Returns:
      The networks before and after the refit, and the number of epochs.

    Raises:
      DgexError: as ``dgex.training.fit``.
    """
    choose, refit = (directory and directory / stage for stage in STAGES)
    chosen, epochs = train_network(
        config, protocol, penalty, training, validation, seed, choose, resume,
        lambda row, seconds: on_epoch("choosing", row),
    )  # fmt: skip
    refitted, _ = train_network(
        config, replace(protocol, epochs=epochs), penalty, both, None, seed, refit, resume,
        lambda row, seconds: on_epoch("refit", row),
    )  # fmt: skip
    return chosen, refitted, epochs


def train_network(
    config: NetworkConfig,
    protocol: Protocol,
    penalty: float,
    training: Samples,
    validation: Samples | None,
    seed: int,
    directory: Path | None,
    resume: bool,
    on_epoch: Callable[[Epoch, float], None],
) -> tuple[Network, int]:
    """Trains a network, a linear path from its closed form; without hidden layers it *is* ridge regression.

    Args:
      config: configuration of the network.
      protocol: as in ``dgex.training.fit``.
      penalty: of ridge regression, or of the linear path, as in ``dgex.baselines.closed_form.closed_form``.
      training: z-scores to train on.
      validation: as in ``dgex.training.fit``.
      seed: as in ``dgex.training.fit``.
      directory: as in ``dgex.training.fit``.
      resume: as in ``dgex.training.fit``.
      on_epoch: as in ``dgex.training.fit``.

    Returns:
      The network, with the parameters of the best epoch on the host, without validation of the last; and the number of
      that epoch, 1 for ridge regression, which is fitted in closed form.

    Raises:
      DgexError: as ``dgex.training.fit``.
    """
    if not config.hidden:
        return (config, ridge(products(training), penalty).as_network()[1]), 1
    start = None
    if config.linear:
        config, start = closed_form(config, training, penalty)
    best = fit(config, protocol, training, validation, seed, directory, start=start, resume=resume, on_epoch=on_epoch)
    return (config, jax.tree.map(np.asarray, jax.device_get(best.params))), best.best_epoch


def standardized(dataset: Dataset, fitted: np.ndarray) -> tuple[Reference, np.ndarray, np.ndarray]:
    """Computes the z-scores of all samples as a model does, whose landmarks are normalised among themselves.

    Args:
      dataset: a prepared data set.
      fitted: the samples that normalisation is fitted to, bool ``[samples]``: those that the network is trained on.

    Returns:
      The model's reference, and z-scores of landmarks ``[samples, landmarks]`` and targets ``[samples, targets]``, NaN
      where missing.
    """
    first = fitted & (dataset.platform == 0)
    quantiles = fit_quantiles(dataset.landmark[first])
    normal = to_quantiles(dataset.landmark[:], quantiles, TIES)
    count = len(dataset.platforms.name)

    def fit_to(values: np.ndarray) -> tuple[Scaler, np.ndarray]:
        scaler = fit_scaler(values[first])
        return scaler, fit_offsets(values[fitted], dataset.platform[fitted], scaler, count)

    landmark_scaler, landmark_offsets = fit_to(normal)
    if np.array_equal(fitted, dataset.split == SPLITS.index("train")):
        # That of the prepared file, to the bit: ``evaluate`` knows a model's data by it.
        target_scaler, target_offsets = dataset.target_scaler, dataset.platforms.target
    else:
        target_scaler, target_offsets = fit_to(dataset.target[:])
    platforms = Platforms(dataset.platforms.name, landmark_offsets, target_offsets)
    genes = dataset.landmark_genes, dataset.target_genes
    reference = Reference(*genes, landmark_scaler, target_scaler, quantiles, platforms)
    landmark = standardize_by_platform(normal, landmark_scaler, landmark_offsets, dataset.platform)
    target = standardize_by_platform(dataset.target[:], target_scaler, target_offsets, dataset.platform)
    return reference, landmark, target


def assess(
    networks: Mapping[str, Mapping[str, Network]],
    reference: Reference,
    gene_quantiles: np.ndarray | None,
    landmark: Mapping[str, np.ndarray],
    target: Mapping[str, np.ndarray],
    study: Mapping[str, Sequence[str]],
    provenance: Mapping[str, Any],
    devices: tuple[jax.Device, ...],
    platform: np.ndarray | None = None,
) -> Model:
    """Scores a trained network, measures its reliability, and makes a model of it.

    Validation chooses the number of factors and calibrates the prediction intervals. The test split is scored here,
    once, after all choices have been made.

    Args:
      networks: "network" and "ridge regression", a network too, to score on "validation" and on "test"; the model keeps
        the latter.
      reference: as in ``Model``.
      gene_quantiles: as in ``Model``.
      landmark: z-scores of "train", "validation" and "test", ``[profiles, landmarks]``, NaN where missing.
      target: z-scores of "validation" and "test", ``[profiles, targets]``, NaN where missing.
      study: the study of every profile of "validation" and "test".
      provenance: the model's provenance but for scores, versions and devices.
      devices: the devices to work on.
      platform: the platform of every profile of "train"; None if all are of the first.
    """
    factors = fit_factors(np.nan_to_num(landmark["train"]), np.nan_to_num(landmark["validation"]))
    scored = {split: complete(landmark[split], factors) for split in ("validation", "test")}
    inferred = {
        split: {name: infer(*network, scored[split][0], devices) for name, network in by_name.items()}
        for split, by_name in networks.items()
    }
    checked = {split: self_check(landmark[split], factors) for split in scored}
    validation = np.asarray(study["validation"])
    pearson = [
        median_pearson(landmark["validation"][validation == name], checked["validation"][0][validation == name])
        for name in np.unique(validation)
    ]
    reliability = measure(
        inferred["validation"]["network"], target["validation"], study["validation"], checked["validation"][1], pearson
    )
    hidden, error = checked["validation"]
    codes = np.zeros(len(landmark["train"]), int) if platform is None else platform
    pearson_by_profile = correlations(landmark["validation"], hidden, 1)
    shown = training_map(landmark["train"], codes, factors, error, pearson_by_profile)
    model = Model(*networks["test"]["network"], reference, factors, reliability, {}, gene_quantiles, shown)

    def scores(split: str) -> Scores:
        trust = trust_of(model, inferred[split]["network"], target[split], checked[split][1], study[split])
        return scores_of(reference, target[split], inferred[split]) | trust

    results = {
        "scores": {split: scores(split) for split in scored},
        "versions": versions(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
    }
    return replace(model, provenance={**provenance, **results})


def _sizes(dataset: Dataset) -> dict[str, Scores]:
    """Counts the profiles of each split that has any, and lists their studies."""
    study = np.array(dataset.study)
    return {split: size_of(study[rows].tolist()) for split, rows in rows_of_splits(dataset).items()}


def versions() -> dict[str, str]:
    """Lists the versions of dgex, Python and the packages that scores depend on."""
    packages = ("jax", "flax", "optax", "numpy")
    installed = {name: importlib.metadata.version(name) for name in packages}
    return {"dgex": __version__, "python": platform.python_version(), **installed}
