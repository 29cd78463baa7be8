"""The training log keeps every bit, and a kill cannot spoil the rows before its checkpoint."""

import math

import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.log import Epoch, append_log, read_log, write_log

HEAD = "epoch,learning_rate,train_loss,train_mae,monitor_mae,validation_mae\n"


@pytest.fixture
def rows():
    values = np.random.default_rng(0).lognormal(0, 8, (4, 5))
    return [Epoch(epoch, *map(float, row)) for epoch, row in enumerate(values, 1)]


def test_round_trip_is_exact(tmp_path, rows):
    path = tmp_path / "log.csv"
    write_log(path, rows[:2])
    for row in rows[2:]:
        append_log(path, row)
    assert read_log(path, 4) == rows
    whole = tmp_path / "whole.csv"
    write_log(whole, rows)
    assert whole.read_bytes() == path.read_bytes()


def test_file_is_plain_csv(tmp_path):
    write_log(tmp_path / "log.csv", [Epoch(1, 0.1, 1 / 3, 2.0, math.nan, 1e-30)])
    assert (tmp_path / "log.csv").read_text() == HEAD + "1,0.1,0.3333333333333333,2.0,nan,1e-30\n"
    assert math.isnan(read_log(tmp_path / "log.csv", 1)[0].monitor_mae)


@pytest.mark.parametrize("torn", ["5", "5,0.1,0.2", "5,0.1,0.2,0.3,0.4,0.", "5,0.1,0.2,0.3,0.4,0.5\n6,x"])
def test_lines_after_the_checkpoint_are_not_looked_at(tmp_path, rows, torn):
    path = tmp_path / "log.csv"
    write_log(path, rows)
    path.write_text(path.read_text() + torn)
    assert read_log(path, 4) == rows
    assert read_log(path, 2) == rows[:2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        HEAD + "1,0.1,0.2,0.3,0.4,0.5\n",
        HEAD + "1,0.1,0.2,0.3,0.4,0.5\n3,0.1,0.2,0.3,0.4,0.5\n",
        HEAD + "1,0.1,0.2,0.3,0.4,0.5\n2,0.1,0.2\n",
        HEAD + "1,0.1,0.2,0.3,0.4,0.5\n2,0.1,0.2,0.3,0.4,0.5,0.6\n",
        HEAD + "1,0.1,0.2,0.3,0.4,0.5\n2,0.1,0.2,?,0.4,0.5\n",
        HEAD + "1,0.1,0.2,0.3,0.4,0.5\n\n",
        "\x89HDF",
    ],
)
def test_broken_log(tmp_path, text):
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(DgexError, match="log.csv: .*delete the folder.* and train again"):
        read_log(path, 2)


def test_missing_log(tmp_path):
    with pytest.raises(DgexError, match="log.csv: not a training log"):
        read_log(tmp_path / "log.csv", 2)
