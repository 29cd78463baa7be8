"""TensorBoard event files say what the log says."""

import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from dgex.log import read_log


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
