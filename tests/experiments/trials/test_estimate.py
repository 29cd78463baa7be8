"""What training takes: adding up by hand, and what JAX holds."""

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
import pytest

from dgex import parallel
from dgex.batches import Samples, place
from dgex.data.dataset import Shape, read_shape
from dgex.networks import NetworkConfig
from dgex.protocols import DGEX, EXAMPLE, Plateau, Protocol
from dgex.training import fit
from experiments.trials import estimate as module
from experiments.trials.estimate import Cost, announce, estimate, measure
from experiments.trials.models import ModelSpec
from experiments.trials.trial import Trial

PROTOCOL = Protocol("sgd", "mse", 1e-3, batch=2, epochs=3)
SHAPE = Shape(3, 5, {"train": 51, "validation": 7, "test": 11}, {"train": 9, "validation": 3, "test": 6}, {})
MODELS = [
    ModelSpec(f"{units}-{dropout}", "", {"hidden": (units,), "dropout": dropout})
    for units in (4, 8)
    for dropout in (0.1, 0)
]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The layers of the networks that were timed: a step takes a tenth of a second a unit."""
    layers: list[tuple[int, ...]] = []

    def cost(config: NetworkConfig, protocol: Protocol, devices: object) -> Cost:
        layers.append(config.hidden)
        return Cost(config.hidden[0] / 10, 0.01, 1000)

    monkeypatch.setattr(module, "measure", cost)
    return layers


def trials(protocol: Protocol = PROTOCOL) -> list[Trial]:
    networks = [Trial("file", model, protocol, seed) for model in MODELS for seed in (0, 1)]
    return [Trial("file", ModelSpec("mean", ""), None), *networks]


def test_adding_up_by_hand(measured: list[tuple[int, ...]]) -> None:
    found = estimate(trials(), SHAPE, parallel.devices(1), None)
    assert measured == [(4,), (8,)]  # dropout makes no other network
    assert [(each.model.name, each.left) for each in found] == [(model.name, 2) for model in MODELS]
    small = found[0]
    assert small.parameters == 4 * 4 + 5 * 5
    assert small.steps == 3 * 26  # the last step of an epoch has one sample
    assert small.seconds == pytest.approx(3 * (26 * 0.4 + 7 * 0.01))
    assert small.checkpoint_bytes == 4 * (2 * 41) + 3 * 4  # no moments; seed, step and rate
    assert small.device_bytes == 4 * 8 * (51 + 7) + small.checkpoint_bytes + 1000


def test_a_resumed_run_holds_two_states(measured: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure", lambda *_: Cost(1.0, 1.0, 10))
    small = estimate(trials(), SHAPE, parallel.devices(1), None)[0]
    assert small.device_bytes == 4 * 8 * (51 + 7) + 2 * small.checkpoint_bytes


def test_monitor_samples_are_evaluated_too(measured: list[tuple[int, ...]]) -> None:
    protocol = replace(PROTOCOL, plateau=Plateau(monitor_samples=30))
    found = estimate(trials(protocol), SHAPE, parallel.devices(1), None)[0]
    assert found.seconds == pytest.approx(3 * (26 * 0.4 + (7 + 30) * 0.01))


def test_what_is_done_is_not_left(measured: list[tuple[int, ...]], tmp_path: Path) -> None:
    for trial in trials()[:4]:  # the mean, both of the first network, one of the second
        (tmp_path / trial.folder).mkdir(parents=True)
        (tmp_path / trial.folder / "outcome.npz").touch()
    found = estimate(trials(), SHAPE, parallel.devices(1), tmp_path)
    assert [each.left for each in found] == [0, 1, 2, 2]


def test_announced(measured: list[tuple[int, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    devices = parallel.devices(1)
    announce(estimate(trials(), SHAPE, devices, None), SHAPE, devices, None)
    printed = capsys.readouterr().out
    assert "51 training and 7 validation samples, 3 -> 5 genes; 1 x cpu" in printed
    hours = 2 * sum(3 * (26 * units / 10 + 0.07) for units in (4, 4, 8, 8)) / 3600
    assert f"left to train: 8 networks, {hours:.2g} hours in one process" in printed
    assert "warning" not in printed


def test_warns_of_too_little_room(
    measured: list[tuple[int, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Small:
        """A GPU with room for the first two networks."""

        platform, device_kind, process_index = "gpu", "small", 0
        memory_stats = staticmethod(lambda: {"bytes_limit": 4 * 8 * (51 + 7) + 1000 + 400})

    monkeypatch.setattr(module, "machine_memory", lambda: 10)
    monkeypatch.setattr(module, "_disk_free", lambda folder: 9)
    found = estimate(trials(), SHAPE, parallel.devices(1), None)
    announce(found, SHAPE, (Small(),), tmp_path)  # type: ignore[arg-type]
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert [word in line for word, line in zip(("8-0.1, 8-0", "memory", "disk"), warnings, strict=True)] == [True] * 3


CONFIG = NetworkConfig(60, 200, (400,), dropout=0.1)


def samples(number: int) -> Samples:
    rng = np.random.default_rng(number)
    landmark, target = (rng.standard_normal((number, genes), np.float32) for genes in (60, 200))
    return place(landmark, target, parallel.devices(1))


@pytest.mark.parametrize("protocol", [replace(DGEX, plateau=Plateau(monitor_samples=100)), EXAMPLE])
def test_bytes_are_those_that_training_holds(protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    def live() -> int:
        gc.collect()
        return sum(array.nbytes for array in jax.live_arrays())

    monkeypatch.setattr(module, "measure", lambda *_: Cost(1.0, 1.0, 0))
    before, held = live(), []
    fit(CONFIG, replace(protocol, epochs=1), samples(700), samples(300), 0, on_epoch=lambda *_: held.append(live()))
    shape = Shape(60, 200, {"train": 700, "validation": 300, "test": 0}, {}, {})
    network = ModelSpec("one", "", {"hidden": (400,), "dropout": 0.1})
    (found,) = estimate([Trial("file", network, protocol)], shape, parallel.devices(1), None)
    # Beside these it counts a second state, which is there while a run is resumed.
    assert held[0] - before == pytest.approx(found.device_bytes - found.checkpoint_bytes, rel=0.02)


def test_real_steps_take_time_and_memory() -> None:
    small, large = (
        measure(NetworkConfig(20, 30, (units,), dropout=0.1), EXAMPLE, parallel.devices(2)) for units in (5, 2000)
    )
    assert 0 < small.step < large.step
    assert 0 < small.evaluation < large.evaluation
    assert large.step_bytes > 4 * 2000 * (20 + 30) > small.step_bytes > 0


def test_shape_is_read_without_the_profiles(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(prepared) as file:
        split, study = file["split"][:], file["sample/study"].asstr()[:]
        landmarks, targets = (file[name].shape[1] for name in ("landmark", "target"))
    read = h5py.Dataset.__getitem__

    def guarded(dataset: h5py.Dataset, *arguments: Any) -> Any:
        assert dataset.name not in ("/landmark", "/target")
        return read(dataset, *arguments)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", guarded)
    shape = read_shape(prepared)
    assert (shape.landmarks, shape.targets) == (landmarks, targets)
    assert shape.samples == {"train": sum(split == 0), "validation": sum(split == 1), "test": sum(split == 2)}
    pairs = set(zip(split.tolist(), study, strict=True))
    assert shape.studies == {
        name: sum(pair[0] == code for pair in pairs) for code, name in enumerate(("train", "validation", "test"))
    }
