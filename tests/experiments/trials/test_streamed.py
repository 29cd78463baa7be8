"""Trials on files that are not held in memory: what they are trained and scored on, and what is said of it."""

import re
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from dgex.data.stored import Stored
from experiments.trials import loading
from experiments.trials.loading import Loaded, held_bytes, most_memory
from experiments.trials.models import ModelSpec
from experiments.trials.outcome import Outcome, read
from experiments.trials.plan import Plan
from experiments.trials.running import run
from experiments.trials.sources import Source, find_sources
from experiments.trials.trial import Trial

RIDGE, MEAN = (Trial("fold-1", ModelSpec(name, name), None, targets=12) for name in ("ridge", "mean"))
REACH = ModelSpec("reach", "", {"hidden": (8,), "taaf": "all"}, covered_fraction=0.9)


@pytest.fixture(scope="module")
def source(two_platforms: Path) -> Source:
    return find_sources(two_platforms).folds[0]


@pytest.fixture(scope="module")
def in_memory(source: Source) -> Loaded:
    return Loaded(source, tuple(jax.devices()[:1]))


@pytest.fixture
def in_file(source: Source) -> Loaded:
    return Loaded(source, tuple(jax.devices()[:1]), memory=0)


@pytest.mark.parametrize("part", [("train",), ("validation", 12), ("train and validation", None, 40, None, "rnaseq")])
def test_samples_to_the_bit(in_file: Loaded, in_memory: Loaded, part: tuple) -> None:
    found, expected = in_file.samples(*part), in_memory.samples(*part)
    assert isinstance(found.target, Stored) and isinstance(expected.target, np.ndarray)
    np.testing.assert_array_equal(found.landmark[:], expected.landmark)
    np.testing.assert_array_equal(found.target[:], expected.target)


def test_held_out_samples_to_the_bit(in_file: Loaded, in_memory: Loaded) -> None:
    found, expected = in_file.held_out(12), in_memory.held_out(12)
    assert [held.name for held in found] == ["test", "test on array", "test on rnaseq"]
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one.target, Stored) and one.study == other.study
        np.testing.assert_array_equal(one.landmark[:], other.landmark)
        np.testing.assert_array_equal(one.target[:], other.target)
        np.testing.assert_array_equal(one.sd, other.sd)


def outcome(trial: Trial, data: Loaded, folder: Path) -> Outcome:
    run(trial, data, folder)
    return read(trial, data.source.identity, folder)


@pytest.mark.parametrize("trial", [RIDGE, MEAN, replace(RIDGE, refit=True)])
def test_baselines_are_those_of_memory(trial: Trial, in_file: Loaded, in_memory: Loaded, tmp_path: Path) -> None:
    found, expected = outcome(trial, in_file, tmp_path / "file"), outcome(trial, in_memory, tmp_path / "memory")
    assert found.chosen == expected.chosen
    assert found.validation_mae == pytest.approx(expected.validation_mae, rel=1e-6)
    for name, errors in expected.held_out_errors.items():
        np.testing.assert_allclose(found.held_out_errors[name].sample, errors.sample, rtol=1e-5)
    assert found.made == f"{expected.made}, data read from the file"


def test_a_network(in_file: Loaded, in_memory: Loaded, tmp_path: Path, tiny: Plan) -> None:
    """The small file is one chunk, so that even the order is that of memory."""
    trial = Trial("fold-1", REACH, tiny.protocol, 1, targets=12)
    found, expected = outcome(trial, in_file, tmp_path / "file"), outcome(trial, in_memory, tmp_path / "memory")
    assert found.output_reach == expected.output_reach is not None
    np.testing.assert_array_equal(found.curve, expected.curve)
    for name, errors in expected.held_out_errors.items():
        np.testing.assert_array_equal(found.held_out_errors[name].sample, errors.sample)


def test_the_size_decides(source: Source, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight bytes a value: as it is and as a z-score."""
    devices = tuple(jax.devices()[:1])
    samples, landmarks = Loaded(source, devices).dataset.landmark.shape
    needed = 8 * samples * (landmarks + 40)
    assert held_bytes(loading.read_shape(source.path)) == needed
    monkeypatch.setattr(loading, "machine_memory", lambda: 2 * needed)
    assert most_memory(None) == needed and most_memory(1.5) == 1.5 * 2**30
    assert isinstance(Loaded(source, devices).dataset.target, np.ndarray)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(loading, "machine_memory", lambda: 2 * needed - 2)
    assert isinstance(Loaded(source, devices).dataset.target, Stored)
    line = capsys.readouterr().err
    assert re.match(rf"warning: {re.escape(str(source.path))}: takes 0.00 GiB in memory, where 0.00 GiB may be", line)
    assert line.count("\n") == 1
    assert isinstance(Loaded(source, devices, memory=1).dataset.target, np.ndarray)
