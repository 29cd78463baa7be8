"""What training takes: against the published counts, counts by hand, and what JAX holds."""

import gc
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import jax
import numpy as np
import pytest

from dgex import parallel
from dgex.batches import Samples, epoch_order, index_batches, place
from dgex.dataset import Shape, read_shape
from dgex.networks import PRESETS, NetworkConfig
from dgex.protocols import DGEX, EXAMPLE, Plateau, Protocol
from dgex.training import epoch_function, fit, init_state
from experiments.trials import estimate as module
from experiments.trials.estimate import Estimate, estimate, matmul_rate, measure
from experiments.trials.models import Model
from experiments.trials.trial import Trial

SMALL = NetworkConfig(3, 5, (4,))
PROTOCOL = Protocol("sgd", "mse", 1e-3, batch=2, epochs=2)


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        ("example-classical", 659_752),
        ("example-taaf", 664_408),
        ("dgex-1x3000", 944 * 3000 + 3001 * 9520),
        ("dgex-3x9000-dropout25", 944 * 9000 + 2 * 9001 * 9000 + 9001 * 9520),
    ],
)
def test_parameters(preset: str, parameters: int) -> None:
    assert estimate(PRESETS[preset], EXAMPLE, 1, 1).parameters == parameters


def test_operations_counted_by_hand() -> None:
    found = estimate(SMALL, PROTOCOL, train=5, validation=3)
    outputs = 2 * (3 * 4 + 4 * 5) * 2  # multiplications and additions of 2 samples
    of_inputs = 2 * (4 * 5) * 2  # the hidden layer's gradient alone
    step = outputs + outputs + of_inputs
    evaluation = 2 * (3 * 4 + 4 * 5) * 256  # one batch, filled up
    assert found.steps == 2 * 3  # the third step of an epoch has one sample, and is as large
    assert found.flop == 2 * (3 * step + evaluation)


def test_operations_of_the_monitor() -> None:
    found = estimate(SMALL, replace(PROTOCOL, plateau=Plateau(monitor_samples=300)), train=1000, validation=3)
    step = 2 * 2 * (32 + 32 + 20)
    assert found.flop == 2 * (500 * step + 2 * 32 * (256 + 2 * 256))


def test_time_at_a_rate() -> None:
    assert Estimate(0, 0, 3_000, 0, 0, 0).seconds(1_000) == pytest.approx(4)


def test_a_resumed_run_holds_two_states() -> None:
    assert Estimate(0, 0, 0, checkpoint_bytes=10, data_bytes=5, work_bytes=4).device_bytes == 25
    assert Estimate(0, 0, 0, checkpoint_bytes=10, data_bytes=5, work_bytes=40).device_bytes == 55


CONFIG = NetworkConfig(60, 200, (400,), dropout=0.1)


def samples(number: int) -> Samples:
    rng = np.random.default_rng(number)
    landmark, target = (rng.standard_normal((number, genes), np.float32) for genes in (60, 200))
    return place(landmark, target, parallel.devices(1))


@pytest.mark.parametrize("protocol", [replace(DGEX, plateau=Plateau(monitor_samples=100)), EXAMPLE])
def test_bytes_are_those_that_training_holds(protocol: Protocol) -> None:
    def live() -> int:
        gc.collect()
        return sum(array.nbytes for array in jax.live_arrays())

    before, held = live(), []
    fit(CONFIG, replace(protocol, epochs=1), samples(700), samples(300), 0, on_epoch=lambda *_: held.append(live()))
    found = estimate(CONFIG, protocol, 700, 300)
    assert held[0] - before == pytest.approx(found.checkpoint_bytes + found.data_bytes, rel=0.02)


def allocated(config: NetworkConfig, batch: int) -> int:
    """What XLA takes for an epoch of one step besides its arguments."""
    state = jax.eval_shape(lambda: init_state(config, "keras_nadam", 0))
    block = [jax.ShapeDtypeStruct((batch, genes), "f4") for genes in (config.landmarks, config.targets)]
    batches = index_batches(epoch_order(0, 0, batch), batch, 1)
    epoch: Any = epoch_function(config, "keras_nadam", "mae", parallel.devices(1), False)
    return epoch.lower(state, *block, batches).compile().memory_analysis().temp_size_in_bytes


# Parameters outweigh the batch; then its targets and its hidden units outweigh the rest.
@pytest.mark.parametrize(
    ("landmarks", "hidden", "targets", "batch"),
    [(60, 400, 200, 20), (10, 10, 600, 5000), (10, 450, 20, 5000)],
)
def test_work_is_what_xla_allocates_for_taafs(landmarks: int, hidden: int, targets: int, batch: int) -> None:
    config = NetworkConfig(landmarks, targets, (hidden,), taaf="all", dropout=0.1)
    work = estimate(config, replace(EXAMPLE, batch=batch), batch, 1).work_bytes
    assert 0.75 * work < allocated(config, batch) < work


def test_work_is_more_than_enough_for_others() -> None:
    config = NetworkConfig(10, 20, (150, 150, 150), "tanh")
    assert allocated(config, 2000) < estimate(config, replace(EXAMPLE, batch=2000), 2000, 1).work_bytes


def test_data_that_do_not_fit_stay_in_part() -> None:
    memory = 4 * 4 * 8 * 100  # a quarter of it has room for 100 samples of 3 + 5 genes
    device = SimpleNamespace(memory_stats=lambda: {"bytes_limit": memory})
    block = place(np.zeros((400, 3)), np.zeros((400, 5)), (device,)).block
    assert block == 100
    found = estimate(SMALL, replace(PROTOCOL, plateau=Plateau(monitor_samples=60)), 400, 30, memory=memory)
    assert found.data_bytes == 4 * 8 * (block + 30 + 60)


def test_devices_share_a_batch() -> None:
    one, four = (estimate(SMALL, replace(PROTOCOL, batch=200), 400, 30, devices) for devices in (1, 4))
    of_sample = 4 * (3 + 4 * 5 + 6 * 4)
    assert one.work_bytes - four.work_bytes == 150 * of_sample
    assert one.flop == four.flop


def test_rate_is_of_products_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds() -> Iterator[int]:
        yield from range(100)

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=seconds().__next__))
    # Begun at 0 and looked at after 1, 2 and 3 seconds; over at 4. The largest kernel is [7, 11].
    rate = matmul_rate(NetworkConfig(3, 11, (7,)), 5, parallel.devices(2), seconds=2.5)
    assert rate == 3 * (3 * 2 * (6 * 7 * 11)) / 4  # 3 times 3 products, of 3 rows on each device


def test_rate_of_this_machine() -> None:
    assert 1e6 < matmul_rate(NetworkConfig(64, 64, (64,)), 64, parallel.devices(1), seconds=0.01) < 1e15


def test_shape_is_read_without_the_profiles(prepared: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.h5"
    shutil.copy(prepared, path)
    with h5py.File(path, "r+") as file:
        split, study = file["split"][:], file["sample/study"].asstr()[:]
        for name, genes in (("landmark", 10**9), ("target", 10**10)):  # more than any memory holds
            del file[name]
            file.create_dataset(name, (len(split), genes), "f4", chunks=(1, 1024))
    shape = read_shape(path)
    assert (shape.landmarks, shape.targets) == (10**9, 10**10)
    assert shape.samples == {"train": sum(split == 0), "validation": sum(split == 1), "test": sum(split == 2)}
    pairs = set(zip(split.tolist(), study, strict=True))
    assert shape.studies == {
        name: sum(pair[0] == code for pair in pairs) for code, name in enumerate(("train", "validation", "test"))
    }


def test_needs_of_an_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: dict[tuple[int, ...], float] = {(4,): 1e3, (8,): 1e6}
    measured = []

    def rate(config: NetworkConfig, batch: int, devices: object) -> float:
        measured.append((config.hidden, batch))
        return rates[config.hidden]

    monkeypatch.setattr(module, "matmul_rate", rate)
    networks = [Model(f"{units}-{kind}", "", {"hidden": (units,), "activation": kind})
                for units in (4, 8) for kind in ("tanh", "sigmoid")]  # fmt: skip
    trials = [Trial("file", model, PROTOCOL, seed) for model in networks for seed in (0, 1)]
    trials.append(Trial("file", Model("mean", ""), None))
    for trial in trials[:3]:  # both of the first network, one of the second
        (tmp_path / trial.folder).mkdir(parents=True)
        (tmp_path / trial.folder / "outcome.npz").touch()
    samples = {"train": 50, "validation": 7, "test": 11}
    shape = Shape(3, 5, samples, studies={"train": 9, "validation": 3, "test": 6})
    needs = measure(trials, shape, parallel.devices(2), tmp_path)

    assert measured == [((4,), 2), ((8,), 2)]  # once for products of the same size
    assert [(network.model.name, network.left) for network in needs.networks] == [
        ("4-tanh", 0), ("4-sigmoid", 1), ("8-tanh", 2), ("8-sigmoid", 2),
    ]  # fmt: skip
    small, large = (estimate(NetworkConfig(3, 5, (units,)), PROTOCOL, 50, 7, 2) for units in (4, 8))
    assert needs.flop == small.flop + 4 * large.flop
    assert needs.seconds == pytest.approx((small.flop / 1e3 + 4 * large.flop / 1e6) / 0.75)
    assert needs.device == large.device_bytes
    values = 4 * (50 + 7 + 11) * (3 + 5)
    assert needs.host == 2 * values + large.checkpoint_bytes + 2 * large.device_bytes
    # Four errors a sample and eight sums a gene in float64, an error a study and gene in float32; six trials are left.
    assert needs.disk == 2 * large.checkpoint_bytes + 6 * (8 * (4 * 11 + 8 * 5) + 4 * 6 * 5)
    assert needs.disk_free is not None
    assert measure(trials, shape, parallel.devices(2), None).disk_free is None
