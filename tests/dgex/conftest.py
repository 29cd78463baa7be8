"""Real expression data for the baselines: probe sets of the compendium as z-scores, split by study."""

from pathlib import Path

import numpy as np
import pytest

from dgex import parallel
from dgex.batches import Samples
from dgex.formats.gctx import open_gctx
from dgex.genes import read_gene_tables

TARGETS = 200


@pytest.fixture(scope="session")
def compendium(shared: Path) -> tuple[Samples, Samples]:
    """Training and validation samples of different studies: 943 landmarks, more than samples, and 200 targets."""
    genes = read_gene_tables(shared / "data" / "genes")
    with open_gctx(next((shared / "data" / "geo").glob("geo_compendium_*.gctx"))) as expression:
        values, study = expression.load(), expression.sample_metadata["study_id"]
        row = {probe: column for column, probe in enumerate(expression.row_id)}
    landmark, target = ([row[probes.split(",")[0]] for probes in side.probes] for side in genes)
    validation = np.isin(study, ["GSE1145", "GSE4107", "GSE55235"])
    measured = ~np.isnan(values).any(axis=1)
    train = measured & ~validation
    mean, sd = values[train].mean(axis=0), values[train].std(axis=0)
    zscores = (values - mean) / sd

    def samples(rows: np.ndarray) -> Samples:
        x, y = (np.ascontiguousarray(zscores[rows][:, kept]) for kept in (landmark, target[:: len(target) // TARGETS]))
        return Samples(x, y[:, :TARGETS], parallel.devices(2), len(x))

    return samples(train), samples(measured & validation)
