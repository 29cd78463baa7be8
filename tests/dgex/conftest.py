"""Real expression data for the baselines, as z-scores."""

from pathlib import Path

import numpy as np
import pytest

from dgex import parallel
from dgex.batches import Samples
from dgex.dataset import read_dataset


@pytest.fixture(scope="session")
def compendium(prepared_compendium: Path) -> tuple[Samples, Samples]:
    """Training and validation samples of different studies: 943 landmarks, more than samples, and 200 targets."""
    dataset = read_dataset(prepared_compendium)
    targets = np.linspace(0, dataset.target.shape[1] - 1, 200).astype(int)

    def samples(split: str) -> Samples:
        landmark, target = dataset.zscores(split)
        return Samples(landmark, np.ascontiguousarray(target[:, targets]), parallel.devices(2), len(landmark))

    return samples("train"), samples("validation")
