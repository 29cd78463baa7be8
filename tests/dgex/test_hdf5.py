"""Making HDF5 files: the room is taken first, nothing of that shows in the file, and a full disk is one line."""

import os
import subprocess
import sys

import h5py
import numpy as np

from dgex.formats.hdf5 import create_hdf5


def test_the_reserved_room_is_given_back(tmp_path):
    values = np.arange(1000, dtype="f4")
    with create_hdf5(tmp_path / "reserved.h5", 10 * values.nbytes) as file:
        file["values"] = values
        (partial,) = tmp_path.iterdir()
        if hasattr(os, "posix_fallocate"):
            assert partial.stat().st_size > 10 * values.nbytes
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["values"] = values
    assert (tmp_path / "reserved.h5").read_bytes() == (tmp_path / "plain.h5").read_bytes()


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from dgex.console import run
from dgex.formats.gctx import write_gctx
from dgex.formats.matrix import in_memory
from dgex.scratch import Scratch
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
folder = Path(sys.argv[1])
if sys.argv[2] == "gctx":
    table = in_memory(np.ones((1000, 1000), "f4"), [str(i) for i in range(1000)], [str(i) for i in range(1000)])
    run(lambda: write_gctx(folder / "out.gctx", table))
else:
    run(lambda: Scratch(folder, (1000, 1000)).write(slice(0, 1000), slice(0, 1000), np.ones((1000, 1000), "f4")))
"""


def test_a_disk_that_fills_up_is_one_line(tmp_path):
    # A limit on the size of files stands in for the disk: it too is noticed only when a write fails.
    for what, complaint in (("gctx", "out.gctx: cannot be written ("), ("scratch", "has no scratch space (")):
        done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path, what], capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert complaint in done.stderr
        assert not list(tmp_path.iterdir())
