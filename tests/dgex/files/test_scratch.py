"""The scratch matrix: what was written comes back, by rows, and nothing stays."""

import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.files.scratch import Scratch


def test_pieces_of_any_shape_come_back_by_rows(tmp_path):
    values = np.random.default_rng(0).normal(size=(9, 7)).astype(np.float32)
    with Scratch(tmp_path, (9, 7)) as scratch:
        scratch.write(slice(0, 4), slice(0, 7), values[:4])
        scratch.write(slice(4, 9), slice(0, 3), values[4:, :3])
        scratch.write(slice(4, 9), slice(3, 7), values[4:, 3:])
        for rows in ([0, 1, 2], [1, 4, 5, 8], [3], []):
            np.testing.assert_array_equal(scratch.read(np.array(rows, int)), values[rows])
        assert not list(tmp_path.iterdir())  # nothing a killed process could leave


def test_a_file_cut_short_is_noticed(tmp_path):
    with Scratch(tmp_path, (4, 2)) as scratch:
        scratch.write(slice(0, 4), slice(0, 2), np.ones((4, 2)))
        scratch._file.truncate(20)
        with pytest.raises(EOFError):
            scratch.read(np.array([1, 2]))


def test_room_is_looked_for(tmp_path):
    with pytest.raises(DgexError, match="make room"):
        Scratch(tmp_path, (10**9, 10**6))
