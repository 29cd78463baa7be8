"""Runs that are stopped, killed and resumed: one network, and three at once that share a checkpoint."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from dgex import parallel
from dgex.batches import place
from dgex.errors import DgexError
from dgex.log import read_log
from dgex.networks import NetworkConfig
from dgex.protocols import Protocol
from dgex.stacked_training import fit_many
from dgex.training import fit

NETWORK = NetworkConfig(6, 4, (8,), "tanh", taaf="hidden", dropout=0.1)
PROTOCOL = Protocol("keras_nadam", "mae", 3e-2, batch=16, epochs=12)


def samples(count, seed):
    rng = np.random.default_rng(seed)
    landmark, weights = rng.normal(size=(count, 6)), np.random.default_rng(42).normal(size=(6, 4))
    return place(landmark.astype("f4"), np.tanh(landmark @ weights).astype("f4"), parallel.devices(1))


@pytest.fixture(scope="module")
def train():
    return samples(50, 0)


@pytest.fixture(scope="module")
def validation():
    return samples(23, 1)


def folders(root, seeds):
    return [root / f"seed-{seed}" for seed in seeds]


@pytest.fixture(scope="module", params=[(0,), (3, 1, 4)], ids=["one", "three"])
def run(request, train, validation, tmp_path_factory):
    """The seeds of a whole run, its results, and its folders."""
    directories = folders(tmp_path_factory.mktemp("run"), request.param)
    fits = fit_many(NETWORK, PROTOCOL, train, validation, request.param, directories, checkpoint_seconds=0)
    return request.param, fits, directories


@pytest.fixture(scope="module")
def assert_same(assert_trees_close):
    """Compares two lists of fits, bit by bit."""

    def compare(fits, expected):
        for result, wanted in zip(fits, expected, strict=True):
            assert_trees_close(result.params, wanted.params)
            assert str(result.log) == str(wanted.log)  # as text, in which NaN equals NaN

    return compare


def test_folders_hold_what_they_should(run):
    seeds, fits, directories = run
    for number, (directory, result) in enumerate(zip(directories, fits, strict=True)):
        assert str(read_log(directory / "log.csv", 12)) == str(result.log)
        checkpoints = [] if number else ["checkpoints"]
        assert sorted(path.name for path in directory.iterdir()) == [*checkpoints, "fit.json", "lock", "log.csv"]


def test_writing_changes_nothing(run, train, validation, assert_same):
    seeds, fits, _ = run
    assert_same(fit_many(NETWORK, PROTOCOL, train, validation, seeds), fits)


class Stop(Exception):
    """Raised after an epoch, as an interrupt would be."""


@pytest.mark.parametrize("stop_after", [1, 5])
def test_stopped_and_resumed_equals_a_straight_run(run, train, validation, tmp_path, stop_after, assert_same):
    seeds, fits, directories = run
    again, resumed_epochs = folders(tmp_path, seeds), []

    def stop(rows, *_):
        if rows[0].epoch == stop_after:
            raise Stop

    with pytest.raises(Stop):
        fit_many(NETWORK, PROTOCOL, train, validation, seeds, again, on_epoch=stop, checkpoint_seconds=0)
    resumed = fit_many(
        NETWORK, PROTOCOL, train, validation, seeds, again, resume=True, checkpoint_seconds=0,
        on_epoch=lambda rows, *_: resumed_epochs.append(rows[0].epoch),
    )  # fmt: skip
    # No checkpoint is begun while one is being written, so the latest may be older than the stop.
    assert 1 < resumed_epochs[0] <= stop_after + 1 and resumed_epochs[-1] == 12
    assert_same(resumed, fits)
    for directory, straight in zip(again, directories, strict=True):
        assert (directory / "log.csv").read_bytes() == (straight / "log.csv").read_bytes()


def test_resuming_a_finished_run_trains_nothing(run, train, validation, assert_same):
    seeds, fits, directories = run

    def fail(*_):
        raise AssertionError("an epoch ran")

    again = fit_many(NETWORK, PROTOCOL, train, validation, seeds, directories, resume=True, on_epoch=fail)
    assert_same(again, fits)
    assert [result.best_epoch for result in again] == [result.best_epoch for result in fits]


DRIVER = """
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np

from dgex import parallel
from dgex.batches import place
from dgex.networks import NetworkConfig
from dgex.protocols import Protocol
from dgex.stacked_training import fit_many

folder, seeds = Path(sys.argv[1]), range(int(sys.argv[2]))
rng = np.random.default_rng(0)
landmark = rng.normal(size=(60, 6)).astype("f4")
target = np.tanh(landmark @ rng.normal(size=(6, 4))).astype("f4")
devices = parallel.devices(2)
train, validation = (place(landmark[rows], target[rows], devices) for rows in (slice(41), slice(41, None)))


def report(rows, *_):
    print(rows[0].epoch, flush=True)
    time.sleep(0.02)  # or an epoch would be over before any kill could hit it


fits = fit_many(
    NetworkConfig(6, 4, (8,), taaf="all", dropout=0.1), Protocol("keras_nadam", "mae", 1e-2, batch=16, epochs=20),
    train, validation, seeds, [folder / str(seed) for seed in seeds], resume=True, checkpoint_seconds=0,
    on_epoch=report,
)
np.savez(folder / "params.npz", *jax.tree.leaves([result.params for result in fits]))
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """Starts or goes on with a run of 20 epochs in a folder, in a process of its own."""
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.py").write_text(DRIVER)
    # The processes compile the same programs; the cache keeps the second and later ones from doing it again.
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def start(directory, networks):
        command = [sys.executable, folder / "driver.py", directory, str(networks)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    return start


@pytest.mark.parametrize(("networks", "kills"), [(1, [(8, 0.01)]), (3, [(1, 0.0), (12, 0.03)])])
def test_killed_and_resumed_equals_an_unkilled_run(driver, tmp_path, networks, kills):
    """SIGKILL at several moments of one run: after a few rows of the log, at any point of a checkpoint's writing."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    with driver(straight, networks) as process:
        epochs = [int(line) for line in process.stdout]
    assert (process.returncode, epochs) == (0, list(range(1, 21)))

    log = killed / "0/log.csv"
    for rows, delay in kills:
        with driver(killed, networks) as process:
            while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > rows):
                time.sleep(0.002)
            time.sleep(delay)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not (killed / "params.npz").exists()
    with driver(killed, networks) as process:
        epochs = [int(line) for line in process.stdout]
    assert process.returncode == 0
    assert epochs == list(range(epochs[0], 21)) and epochs[0] > 1  # it went on, and did not begin again

    for seed in range(networks):
        assert (killed / f"{seed}/log.csv").read_bytes() == (straight / f"{seed}/log.csv").read_bytes()
    with np.load(killed / "params.npz") as params, np.load(straight / "params.npz") as expected:
        assert len(expected.files) == 10 * networks
        for name in expected.files:
            np.testing.assert_array_equal(params[name], expected[name])


def test_a_run_is_not_overwritten(run, train, validation):
    seeds, _, directories = run
    before = [(directory / "log.csv").read_bytes() for directory in directories]
    with pytest.raises(DgexError, match="holds a run already; .*--resume"):
        fit_many(NETWORK, PROTOCOL, train, validation, seeds, directories)
    assert [(directory / "log.csv").read_bytes() for directory in directories] == before


@pytest.mark.parametrize(
    ("network", "protocol", "differs"),
    [
        (replace(NETWORK, hidden=(9,)), PROTOCOL, "network"),
        (NETWORK, replace(PROTOCOL, learning_rate=1e-3), "protocol"),
    ],
)
def test_another_run_is_not_resumed(run, train, validation, network, protocol, differs):
    seeds, _, directories = run
    before = (directories[0] / "log.csv").read_bytes()
    with pytest.raises(DgexError, match=rf"another run.*\b{differs}\b.*choose another folder"):
        fit_many(network, protocol, train, validation, seeds, directories, resume=True)
    assert (directories[0] / "log.csv").read_bytes() == before


@pytest.mark.parametrize("seeds", [(5,), (3, 1), (3, 1, 4, 5)])
def test_other_seeds_are_not_resumed(run, train, validation, tmp_path, seeds):
    """Not even some of the same: their checkpoint is one, and their bits depend on all that are trained at once."""
    _, _, directories = run
    asked = [*directories, *folders(tmp_path, seeds)][: len(seeds)]
    with pytest.raises(DgexError, match=r"another run.*\bseed\b"):
        fit_many(NETWORK, PROTOCOL, train, validation, seeds, asked, resume=True)


def test_other_samples_are_not_resumed_on(run, train, validation):
    seeds, _, directories = run
    with pytest.raises(DgexError, match=r"another run.*\bsamples\b"):
        fit_many(NETWORK, PROTOCOL, train.take(np.arange(49)), validation, seeds, directories, resume=True)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_log_shorter_than_the_checkpoint(train, validation, tmp_path, seeds):
    protocol, directories = replace(PROTOCOL, epochs=2), folders(tmp_path, seeds)
    fit_many(NETWORK, protocol, train, validation, seeds, directories)
    path = directories[-1] / "log.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(DgexError, match="does not reach its checkpoint's epoch 2; delete .* all seeds"):
        fit_many(NETWORK, protocol, train, validation, seeds, directories, resume=True)


def test_a_lost_folder_of_several(train, validation, tmp_path, assert_same):
    """With the first folder the checkpoint is lost, and all networks begin again; the others cannot be made anew."""
    protocol, directories = replace(PROTOCOL, epochs=2), folders(tmp_path, (0, 1))
    fits = fit_many(NETWORK, protocol, train, validation, (0, 1), directories)
    for path in directories[1].iterdir():
        path.unlink()
    with pytest.raises(DgexError, match="seed-1/log.csv: not a training log .* delete the folder, with those of all"):
        fit_many(NETWORK, protocol, train, validation, (0, 1), directories, resume=True)
    directories[0].rename(tmp_path / "lost")
    assert_same(fit_many(NETWORK, protocol, train, validation, (0, 1), directories, resume=True), fits)


def test_damaged_checkpoint(train, validation, tmp_path):
    protocol = replace(PROTOCOL, epochs=1)
    fit(NETWORK, protocol, train, validation, 0, tmp_path)
    for path in (tmp_path / "checkpoints").rglob("*"):
        if path.is_file() and path.name != "SHA256SUMS":
            path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(DgexError, match="checkpoints: the checkpoint of epoch 1 cannot be read"):
        fit(NETWORK, protocol, train, validation, 0, tmp_path, resume=True)


def test_threads_end_with_the_run(train, validation, tmp_path):
    """Every save has one, which ends only if its result is asked for."""
    before = threading.active_count()
    for seed in range(4):
        fit(NETWORK, PROTOCOL, train, validation, seed, tmp_path / str(seed), checkpoint_seconds=0)
    assert threading.active_count() <= before
