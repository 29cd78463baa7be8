"""A small prepared data set, and one comparison run on it for all tests that look at its outputs."""

from pathlib import Path

import pytest

from data_prep import pipeline
from data_prep.simulate import Scale, simulate
from dgex.formats.gctx import write_gctx
from dgex.genes import write_gene_table
from experiments import compare


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    scale = Scale(15, 40, overlap=7, rows=150, profiles=150, profiles_per_study=18, duplicates=0.05)
    expression, landmark, target = simulate(scale, scale.profiles, seed=1)
    write_gctx(folder / "source.gctx", expression)
    write_gene_table(folder / "map_lm.txt", landmark)
    write_gene_table(folder / "map_tg.txt", target)
    pipeline.prepare(folder / "source.gctx", folder, folder / "prepared.h5", pipeline.Settings("sample"), "test")
    return folder / "prepared.h5"


@pytest.fixture(scope="session")
def compared(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of a comparison with 2 seeds, 3 epochs and event files, on one device."""
    output = tmp_path_factory.mktemp("compared")
    arguments = ["--data", prepared, "--seeds", 2, "--epochs", 3, "--devices", 1, "--tensorboard", "-o", output]
    compare.app([str(argument) for argument in arguments], standalone_mode=False)
    return output
