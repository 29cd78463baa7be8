"""Takes part in a training by several processes: run by test_processes.py.

    python processes_worker.py FOLDER EPOCHS RESUME COORDINATOR PROCESSES --process PROCESS

A process of its own trains on as many devices as JAX_NUM_CPU_DEVICES says, of made-up data; FOLDER gets the run and at
the end params.npz. The environment decides what differs between processes: DATA_SEED, JOIN_SECONDS, PAUSE (seconds
after an epoch).
"""

import os
import sys
import time
from pathlib import Path

import jax
import numpy as np

from dgex import console, parallel, processes
from dgex.batches import place
from dgex.files.atomic import replacing
from dgex.networks import NetworkConfig
from dgex.protocols import Protocol
from dgex.training import fit

SAMPLES, BATCH = 75, 16  # the last batch has 11 samples, which no number of devices here divides
# A power of two, so that signs of errors that cancel out do so exactly: Nadam makes steps of what rounding leaves over,
# which depends on the number of devices.
TARGETS = 8


def work() -> None:
    """Joins, trains and keeps the result."""
    folder, epochs, resume, coordinator, count, _, index = sys.argv[1:]
    processes.JOIN_SECONDS = float(os.environ.get("JOIN_SECONDS", "60"))
    processes.join(None if coordinator == "-" else coordinator, *(None if n == "-" else int(n) for n in (count, index)))
    (place_of_work,) = processes.workplaces(Path(folder))
    rng = np.random.default_rng(int(os.environ.get("DATA_SEED", "0")))
    landmark = rng.normal(size=(SAMPLES, 6)).astype("f4")
    target = np.tanh(landmark @ rng.normal(size=(6, TARGETS))).astype("f4")
    devices = parallel.devices()
    train, validation = place(landmark, target, devices), place(landmark[:21], target[:21], devices)
    config = NetworkConfig(6, TARGETS, (8, 7), taaf="hidden", dropout=0.3)
    protocol = Protocol("keras_nadam", "mae", 1e-2, batch=BATCH, epochs=int(epochs))
    result = fit(
        config, protocol, train, validation, 3, place_of_work / "run", resume=resume == "resume", checkpoint_seconds=0,
        on_epoch=lambda row, seconds: time.sleep(float(os.environ.get("PAUSE", "0"))),
    )  # fmt: skip
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(result.params)}
    with replacing(place_of_work / "params.npz") as partial, partial.open("wb") as file:
        np.savez(file, **jax.device_get(leaves))
    print(f"done on {len(devices)} devices")


if __name__ == "__main__":
    console.run(work)
