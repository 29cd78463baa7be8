"""Real expression data for the baselines, as z-scores; and a small made-up data set with a model trained on it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from dgex import parallel
from dgex.batches import Samples
from dgex.data.dataset import Dataset, read_dataset
from dgex.data.dataset_writing import write_dataset
from dgex.data.genes import Genes, read_gene_table
from dgex.data.normalization import fit_scaler
from dgex.data.platforms import Platforms
from dgex.formats.expression import Expression, in_memory
from dgex.formats.gct import write_gct
from dgex.model import Model
from dgex.model.directory import save_model
from dgex.model.fitting import train_model
from dgex.model.prediction import Prediction, Request, predict_table
from dgex.networks import NetworkConfig
from dgex.protocols import Protocol

LANDMARKS, TARGETS, BOTH = 24, 60, 8
SPLIT_SIZES = (120, 60, 60)
SMALL_NETWORK = NetworkConfig(LANDMARKS, TARGETS, (16,), taaf="hidden", dropout=0.1)
SMALL_PROTOCOL = Protocol("keras_nadam", "mae", 2e-2, batch=16, epochs=3)


@pytest.fixture(scope="session")
def compendium(prepared_compendium: Path) -> tuple[Samples, Samples]:
    """Training and validation samples of different studies: 943 landmarks, more than samples, and 200 targets."""
    dataset = read_dataset(prepared_compendium)
    targets = np.linspace(0, dataset.target.shape[1] - 1, 200).astype(int)

    def samples(split: str) -> Samples:
        landmark, target = dataset.zscores(split)
        return Samples(landmark, np.ascontiguousarray(target[:, targets]), parallel.devices(2), len(landmark))

    return samples("train"), samples("validation")


@pytest.fixture(scope="session")
def landmark_genes(shared: Path) -> Genes:
    """The 943 real landmarks."""
    return read_gene_table(shared / "data" / "genes" / "map_lm.txt")


def made_up_genes(numbers: Sequence[int], probe: int) -> Genes:
    """Names of the form that the real ones have, which no real gene bears; the odd ones have two probe sets."""
    return Genes(
        tuple(f"ENSG{90_000_000_000 + number}" for number in numbers),
        tuple(f"MADEUP{number}" for number in numbers),
        tuple(f"{probe + number}_at" + f",{probe + number}_s_at" * (number % 2) for number in numbers),
    )


@pytest.fixture(scope="session")
def small_data() -> Dataset:
    """Six studies of 24 landmarks and 60 targets, of which the first 8 of either are the same genes; of five factors.

    Genes have levels of their own, as all intensities do, and a noise that no network can infer.
    """
    random = np.random.default_rng(5)
    samples, genes = sum(SPLIT_SIZES), LANDMARKS + TARGETS - BOTH
    factors = random.normal(size=(samples, 5)) @ random.normal(size=(5, genes))
    values = random.normal(9, 2, genes) + 0.5 * factors + 0.3 * random.normal(size=(samples, genes))
    landmark = values[:, :LANDMARKS].astype(np.float32)
    target = np.hstack([landmark[:, :BOTH] + 0.1, values[:, LANDMARKS:]]).astype(np.float32)
    split = np.repeat(np.arange(3, dtype=np.uint8), SPLIT_SIZES)
    return Dataset(
        landmark=landmark,
        target=target,
        sample_id=tuple(f"GSM{number}" for number in range(samples)),
        study=tuple(f"GSE{1 + 6 * number // samples}" for number in range(samples)),
        project=("",) * samples,
        platform=np.zeros(samples, np.uint8),
        split=split,
        landmark_genes=made_up_genes(range(LANDMARKS), 900_000),
        target_genes=made_up_genes((*range(BOTH), *range(LANDMARKS, genes)), 910_000),
        landmark_scaler=fit_scaler(landmark[split == 0]),
        target_scaler=fit_scaler(target[split == 0]),
        quantiles=np.sort(values[:, :20].mean(axis=0)).astype(np.float32),
        platforms=Platforms.single(LANDMARKS, target.shape[1]),
        provenance={
            "seed": 0,
            "command": "prepare made-up.gctx",
            "sources": {"made-up.gctx": "00ff"},
            "versions": {"numpy": "2"},
            "preparation": {"split": "study"},
        },
    )


@pytest.fixture(scope="session")
def small_cohort(small_data: Dataset) -> Dataset:
    """As a cohort that was mapped onto the data set: its test samples, by its scaler."""
    rows = small_data.split == 2
    return replace(
        small_data,
        landmark=small_data.landmark[rows],
        target=small_data.target[rows],
        sample_id=tuple(np.array(small_data.sample_id)[rows]),
        study=("COHORT",) * rows.sum(),
        split=small_data.split[rows],
        platform=small_data.platform[rows],
        project=("",) * rows.sum(),
        provenance=small_data.provenance | {"preparation": {"onto": "0123"}},
    )


@pytest.fixture(scope="session")
def small_protocol() -> Protocol:
    """That of ``small_model``."""
    return SMALL_PROTOCOL


@pytest.fixture(scope="session")
def small_model(small_data: Dataset) -> Model:
    """Trained for a moment, enough to be better than the mean predictor."""
    data = {"file": "made-up.h5", "sha256": "0123"}
    return train_model(small_data, data, SMALL_NETWORK, SMALL_PROTOCOL, 0, parallel.devices(1))


@pytest.fixture(scope="session")
def landmark(small_data: Dataset) -> np.ndarray:
    """log2 landmarks of the 60 test profiles."""
    return small_data.landmark[small_data.split == 2]


@pytest.fixture(scope="session")
def table_of(small_data: Dataset) -> Callable[[ArrayLike], Expression]:
    """Profiles [profiles, landmarks] as an expression table, of samples s0, s1, ..."""

    def table_of(values: ArrayLike) -> Expression:
        names = [f"s{row}" for row in range(len(values))]
        return in_memory(np.asarray(values, np.float32), small_data.landmark_genes.ensembl, names)

    return table_of


@pytest.fixture(scope="session")
def small_plate(landmark: np.ndarray, table_of: Callable[[ArrayLike], Expression]) -> Expression:
    """The landmarks of the test profiles, as an expression table."""
    return replace(table_of(landmark), sample_metadata={"drug": np.array(["a", "b"] * 30)})


@pytest.fixture(scope="session")
def predicted() -> Callable[..., tuple[Prediction, np.ndarray]]:
    """The prediction for a table called plate.gct, and its values."""

    def predicted(model: Model, table: Expression, devices: int = 1, **request) -> tuple[Prediction, np.ndarray]:
        asked, on = Request(**request), parallel.devices(devices)
        with predict_table(model, "plate.gct", table, asked, on, Path(".")) as prediction:
            return prediction, prediction.expression.load()

    return predicted


@pytest.fixture(scope="session")
def model_files(
    small_data: Dataset, small_model: Model, small_plate: Expression, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder of made-up.h5, a prepared file, model, trained on it, and plate.gct, its test profiles."""
    folder = tmp_path_factory.mktemp("files")
    write_dataset(folder / "made-up.h5", small_data)
    save_model(folder / "model", small_model)
    write_gct(folder / "plate.gct", small_plate)
    return folder
