"""Trains a model on folds of studies, so that every study says how far predictions can be trusted.

For every fold a network is trained without the fold's test studies, and infers these. All *out-of-fold* predictions
together calibrate what the model says of its errors, and the weights that ship are then fitted to all profiles. So no
study is lost to validation, and all of them calibrate.

The validation studies of all folds together choose the penalty of the linear path, which is one number; a fold's own
alone would choose it by chance. Those of each fold choose its number of epochs; with these the network is trained again
on training and validation studies together (*refit*) before it infers the test studies. The shipped weights take the
median of the folds' epochs and numbers of factors.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from dgex.baselines.closed_form import choose_penalty, errors_by_penalty
from dgex.baselines.linear import ridge, ridge_path
from dgex.baselines.sufficient_statistics import products
from dgex.batches import Samples, place
from dgex.data.dataset import SPLITS, read_dataset, read_provenance
from dgex.data.folds import MAKE_THEM, check_alike
from dgex.errors import DgexError
from dgex.files.atomic import replacing
from dgex.files.run_directory import claim
from dgex.log import Epoch
from dgex.model import Model
from dgex.model.calibration import errors_by_number, learn_shrinkage
from dgex.model.evaluation import Scores, infer, judge, scores_of, size_of
from dgex.model.fitting import standardized, train_and_refit, train_network, versions
from dgex.model.imputation import complete, factors_of, fit_factors
from dgex.model.reliability import Reliability, coverage, measure, profile_error
from dgex.model.self_check import correlations, median_pearson, self_check
from dgex.model.training_map import training_map
from dgex.networks import NetworkConfig
from dgex.protocols import Protocol


@dataclass(frozen=True)
class OutOfFold:
    """Holds what a fold's network inferred for the studies that it was not trained on.

    Attributes:
      inferred: z-scores of the network, f4 ``[profiles, targets]``.
      ridge: z-scores of ridge regression on the same profiles, refitted likewise, f4 ``[profiles, targets]``.
      target: measured z-scores, f4 ``[profiles, targets]``, NaN where missing.
      self_check_error: of each profile, f4 ``[profiles]``.
      self_check_pearson: of each profile, across its landmarks, f8 ``[profiles]``.
      study: the study of each profile, str ``[profiles]``.
      platform: the platform of each profile, str ``[profiles]``.
      pearson: median self-check r across the profiles of each study, f8 ``[studies]``.
      chosen: epochs and number of factors, f8 ``[2]``.
    """

    inferred: np.ndarray
    ridge: np.ndarray
    target: np.ndarray
    self_check_error: np.ndarray
    self_check_pearson: np.ndarray
    study: np.ndarray
    platform: np.ndarray
    pearson: np.ndarray
    chosen: np.ndarray


class Penalties(NamedTuple):
    """Holds the penalties that all folds have: of ridge regression, and of the network's linear path."""

    ridge: float
    path: float


def fold_files(folder: Path) -> list[Path]:
    """Lists the folds of studies in a folder, ``fold-K.h5``, in order.

    Raises:
      DgexError: a fold is missing, there are fewer than three, or they are not of the same data.
    """
    files = sorted(path for path in folder.glob("fold-*.h5") if "." not in path.stem)
    folds = [(read_provenance(path)["preparation"].get("fold"), path) for path in files]
    if len(folds) < 3 or [number for number, _ in folds] != [[k, len(folds)] for k in range(1, len(folds) + 1)]:
        raise DgexError(f"{folder}: holds no complete folds of studies; {MAKE_THEM}")
    check_alike(files)
    return files


def cross_fit(
    files: Sequence[Path],
    data: Mapping[str, str],
    config: NetworkConfig,
    protocol: Protocol,
    seed: int,
    devices: tuple[jax.Device, ...],
    directory: Path,
    *,
    resume: bool = False,
    on_epoch: Callable[[str, Epoch], None] = lambda stage, row: None,
    on_fold: Callable[[int, OutOfFold], None] = lambda number, fold: None,
) -> Model:
    """Trains a model on folds of studies; see the module's docstring.

    Args:
      files: the prepared files, one a fold, as ``fold_files`` lists them.
      data: "file" and "sha256" of the folds, for the provenance.
      config: configuration of a network with a linear path, or without hidden layers, which is ridge regression.
      protocol: as in ``dgex.training.fit``; ``epochs`` are the most.
      seed: as in ``dgex.training.fit``.
      devices: the devices to train on.
      directory: the run directory, with a folder and a file of predictions for each fold.
      resume: whether to go on with what is in ``directory``.
      on_epoch: is called after every epoch with what is trained.
      on_fold: is called after every fold with its number, counted from 1.

    Raises:
      DgexError: as ``fit``.
    """
    identity = {"data": dict(data), "network": asdict(config), "protocol": asdict(protocol), "seed": seed}
    claim(directory / "cross-fit.json", identity, resume)
    penalties = _choose_penalties(files, config, devices, directory / "penalties.json")
    folds = []
    for number, path in enumerate(files, 1):
        kept = directory / f"out-of-fold-{number}.npz"
        if not kept.exists():
            run = directory / f"fold-{number}"
            fold = _fit_fold(path, config, protocol, penalties, seed, devices, run, resume, on_epoch)
            with replacing(kept) as temporary, temporary.open("wb") as file:
                np.savez(file, **vars(fold))
        with np.load(kept) as values:
            folds.append(OutOfFold(**values))
        on_fold(number, folds[-1])
    whole, reliability = _joined(folds), _reliability(folds)
    epochs, factors = np.median([fold.chosen for fold in folds], axis=0)
    dataset = read_dataset(files[0])
    every = np.full(len(dataset.split), True)
    reference, landmark, target = standardized(dataset, every)
    samples, shipped = place(np.nan_to_num(landmark), target, devices), replace(protocol, epochs=round(epochs))
    network, _ = train_network(
        config, shipped, penalties.path, samples, None, seed, directory / "all", resume,
        lambda row, seconds: on_epoch("all studies", row),
    )  # fmt: skip
    distribution = factors_of(samples.landmark[:], round(factors))
    shown = training_map(landmark, dataset.platform, distribution, whole.self_check_error, whole.self_check_pearson)
    model = Model(*network, reference, distribution, reliability, {}, dataset.quantiles, shown)
    provenance = {
        "data": {
            **data,
            **{key: dataset.provenance[key] for key in ("command", "sources")},
            "splits": {"train": size_of(dataset.study)},
        },
        "protocol": asdict(protocol),
        "seed": seed,
        "best_epoch": shipped.epochs,
        "penalty": penalties.path,
        "folds": [dict(zip(("epochs", "factors"), fold.chosen.tolist(), strict=True)) for fold in folds],
        "scores": _scores(model, whole),
        "by_study": by_study(folds),
        "calibration": _calibration(whole),
        "versions": versions(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
    }
    return replace(model, provenance=provenance)


def _fit_fold(
    path: Path,
    config: NetworkConfig,
    protocol: Protocol,
    penalties: Penalties,
    seed: int,
    devices: tuple[jax.Device, ...],
    directory: Path,
    resume: bool,
    on_epoch: Callable[[str, Epoch], None],
) -> OutOfFold:
    """Trains without the test studies of a fold, first to choose and then on all other studies, and infers them."""
    dataset = read_dataset(path)
    train, validation, test = (dataset.split == code for code in range(len(SPLITS)))
    _, landmark, target = standardized(dataset, train)
    training, validating, both = (
        _samples(landmark, target, rows, devices) for rows in (train, validation, train | validation)
    )
    _, network, epochs = train_and_refit(
        config, protocol, penalties.path, training, validating, both, seed, directory, resume,
        lambda stage, row: on_epoch(f"{path.stem}, {stage}", row),
    )  # fmt: skip
    factors = fit_factors(np.nan_to_num(landmark[train]), np.nan_to_num(landmark[validation]))
    hidden, error = self_check(landmark[test], factors)
    filled, _ = complete(landmark[test], factors)
    study = np.asarray(dataset.study, dtype=str)[test]
    platform = np.asarray(dataset.platforms.name, dtype=str)[dataset.platform[test]]
    pearson = [
        median_pearson(landmark[test][study == each], hidden[study == each]) for each in np.unique(study)
    ]  # fmt: skip
    return OutOfFold(
        infer(*network, filled, devices),
        ridge(products(both), penalties.ridge).predict(filled),
        target[test],
        error,
        correlations(landmark[test], hidden, 1),
        study,
        platform,
        np.array(pearson),
        np.array([epochs, factors.loadings.shape[1]], np.float64),
    )


def _choose_penalties(
    files: Sequence[Path], config: NetworkConfig, devices: tuple[jax.Device, ...], kept: Path
) -> Penalties:
    """Chooses the penalties on the validation studies of all folds, or reads the choice that ``kept`` has."""
    if not kept.exists():
        by_ridge, by_path = [], []
        for path in files:
            dataset = read_dataset(path)
            train, validation = (dataset.split == code for code in (0, 1))
            _, landmark, target = standardized(dataset, train)
            samples = [_samples(landmark, target, rows, devices) for rows in (train, validation)]
            by_ridge.append(ridge_path(products(samples[0]), samples[1])[1])
            by_path.append(by_ridge[-1] if config.kernel is None else errors_by_penalty(config, *samples))
        chosen = Penalties(choose_penalty(*by_ridge), choose_penalty(*by_path))
        with replacing(kept) as temporary:
            temporary.write_text(json.dumps(chosen._asdict()))
    return Penalties(**json.loads(kept.read_text()))


def _samples(landmark: np.ndarray, target: np.ndarray, rows: np.ndarray, devices: tuple[jax.Device, ...]) -> Samples:
    """Puts some samples on the devices; a missing landmark is 0, the training mean."""
    return place(np.nan_to_num(landmark[rows]), target[rows], devices)


def _joined(folds: Sequence[OutOfFold]) -> OutOfFold:
    """Puts the predictions of several folds together; ``chosen`` is of no meaning then."""
    return OutOfFold(*(np.concatenate([vars(fold)[name] for fold in folds]) for name in vars(folds[0])))


def _reliability(folds: Sequence[OutOfFold]) -> Reliability:
    """Measures reliability on the predictions of several folds."""
    fold = _joined(folds)
    return measure(fold.inferred, fold.target, fold.study.tolist(), fold.self_check_error, fold.pearson.tolist())


def by_study(folds: Sequence[OutOfFold]) -> dict[str, Scores]:
    """Measures what intervals and expected errors are worth on every study, calibrated on the *other* folds alone.

    Returns:
      For each study "platform", "profiles", "coverage" by level, and the means of "expected" and "true" z-score MAE and
      that of "ridge".
    """
    result: dict[str, Scores] = {}
    for number, fold in enumerate(folds):
        others = _reliability([other for place, other in enumerate(folds) if place != number])
        error, expected = fold.inferred - fold.target, others.expectation.expect(fold.self_check_error)
        for name in np.unique(fold.study).tolist():
            rows = fold.study == name
            shares = coverage(error[rows], others.quantile, expected[rows], [name] * int(rows.sum()))
            result[name] = {
                "platform": str(fold.platform[rows][0]),
                "profiles": int(rows.sum()),
                "coverage": {level: share["all"] for level, share in shares.items()},
                "expected": float(expected[rows].mean()),
                "true": float(np.nanmean(profile_error(error[rows]))),
                "ridge": float(np.nanmean(profile_error(fold.ridge[rows] - fold.target[rows]))),
            }
    return result


def _calibration(fold: OutOfFold) -> Scores:
    """Learns how far to shrink a laboratory's own offsets, and measures what 0, 1, 2 and 5 of its profiles give.

    Returns:
      "shrinkage", and "errors", the z-score MAE by platform and number of profiles; empty where no study has two
      profiles, or those of a study share no residuals.
    """
    residual = fold.target - fold.inferred
    names, code = np.unique(fold.platform, return_inverse=True)
    if np.unique(fold.study, return_counts=True)[1].max() < 2:
        return {}
    shrinkage = learn_shrinkage(residual, fold.study)
    if not np.isfinite(shrinkage):
        return {}
    errors = errors_by_number(residual, fold.study, code, shrinkage)
    by_number = {
        str(names[platform]): {str(number): error for number, error in row.items()} for platform, row in errors.items()
    }
    return {"shrinkage": shrinkage, "errors": by_number}


def _scores(model: Model, fold: OutOfFold) -> dict[str, Scores]:
    """Scores all out-of-fold predictions, and those of each platform."""
    groups = {"out-of-fold": np.full(len(fold.study), True)}
    names = np.unique(fold.platform).tolist()
    groups |= {f"out-of-fold, {name}": fold.platform == name for name in names} if len(names) > 1 else {}
    scores = {}
    for name, rows in groups.items():
        judged = judge(
            model, fold.inferred[rows], fold.target[rows], fold.self_check_error[rows], fold.study[rows].tolist()
        )
        linear = scores_of(model.reference, fold.target[rows], {"ridge regression": fold.ridge[rows]})
        scores[name] = judged | {"ridge regression": linear["ridge regression"]}
    return scores
