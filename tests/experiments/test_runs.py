"""Runs at once or in turn, and TensorBoard event files that say what the log says."""

import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from dgex import parallel
from dgex.batches import place
from dgex.log import read_log
from dgex.networks import PRESETS, NetworkConfig
from dgex.protocols import DGEX, EXAMPLE, Protocol
from experiments import runs
from experiments.runs import networks_at_once, train_all


def events(path: Path) -> list[Event]:
    """The records of an event file: length (u8), its checksum (u4), the event, its checksum (u4)."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def test_event_files(compared: Path) -> None:
    run = compared / "runs/taaf/seed-1"
    (path,) = (run / "events").iterdir()
    values = {(value.tag, event.step): value.simple_value for event in events(path) for value in event.summary.value}
    assert not any(tag == "monitor_mae" for tag, _ in values)  # undefined without a plateau rule
    for row in read_log(run / "log.csv", 3):
        assert values["validation_mae", row.epoch] == pytest.approx(row.validation_mae, rel=1e-6)
        assert values["train_loss", row.epoch] == pytest.approx(row.train_loss, rel=1e-6)


# 4 bytes a number. The example network with Nadam: 664,408 parameters, two moments each, and 5 scalars (seed, step and
# rate; Nadam's own step and momentum product). With D-GEX's SGD: one velocity each, and 3 scalars.
EXAMPLE_BYTES, SGD_BYTES = 4 * (3 * 664_408 + 5), 4 * (2 * 664_408 + 3)


@pytest.mark.parametrize(
    ("platform", "stats", "protocol", "networks"),
    [
        ("cpu", None, EXAMPLE, 1),
        ("cpu", {"bytes_limit": 10**12}, EXAMPLE, 1),
        ("gpu", {}, EXAMPLE, 1),
        ("gpu", {"bytes_limit": 5 * 10 * EXAMPLE_BYTES}, EXAMPLE, 10),
        ("gpu", {"bytes_limit": 5 * 10 * EXAMPLE_BYTES - 5}, EXAMPLE, 9),
        ("gpu", {"bytes_limit": 5 * 10 * SGD_BYTES}, DGEX, 10),
        ("gpu", {"bytes_limit": 1000}, EXAMPLE, 1),
    ],
)
def test_as_many_at_once_as_fit_a_fifth_of_the_memory(platform: str, stats: dict, protocol: Protocol, networks: int):
    device = SimpleNamespace(platform=platform, memory_stats=lambda: stats)
    assert networks_at_once(PRESETS["example-taaf"], protocol, device) == networks  # type: ignore[arg-type]


def test_at_once_or_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five seeds by twos, as on a GPU with room for two: the same numbers and the same folders."""
    rng = np.random.default_rng(0)
    landmark = rng.normal(size=(40, 5)).astype("f4")
    target = np.tanh(landmark @ rng.normal(size=(5, 3))).astype("f4")
    samples = [place(landmark[rows], target[rows], parallel.devices(1)) for rows in (slice(30), slice(30, None))]
    networks = {"tanh": NetworkConfig(5, 3, (4,), "tanh", dropout=0.1)}
    protocol = Protocol("keras_nadam", "mae", 1e-2, batch=8, epochs=2)

    in_turn = train_all(networks, range(5), protocol, *samples, tmp_path / "in turn")
    monkeypatch.setattr(runs, "networks_at_once", lambda *_: 2)
    at_once = train_all(networks, range(5), protocol, *samples, tmp_path / "at once", tensorboard=True)
    for seed, (mine, alone) in enumerate(zip(at_once["tanh"], in_turn["tanh"], strict=True)):
        np.testing.assert_allclose(np.array(mine.log), np.array(alone.log), rtol=1e-5)
        folder = tmp_path / "at once/tanh" / f"seed-{seed}"
        assert str(read_log(folder / "log.csv", 2)) == str(mine.log)
        assert (folder / "checkpoints").exists() == (seed in (0, 2, 4))
        (path,) = (folder / "events").iterdir()
        losses = [value.simple_value for event in events(path) for value in event.summary.value
                  if value.tag == "train_loss"]  # fmt: skip
        assert losses == pytest.approx([row.train_loss for row in mine.log], rel=1e-6)
