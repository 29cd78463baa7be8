"""Several processes on one host train as one does, and stop together when one is gone.

The campaign (``pytest -m slow -s tests/dgex/test_processes.py``) kills each process in turn at random moments.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dgex.log import read_log
from dgex.processes import is_alone, is_first, join

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("processes_worker.py")
EPOCHS = 30
KILLS = 20


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(folder, index="-", count="-", coordinator="-", *, devices=1, epochs=EPOCHS, resume=False, **environment):
    """One process of the worker; environment variables in lower case."""
    variables = {name.upper(): str(value) for name, value in environment.items()}
    variables |= {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    arguments = [folder, epochs, "resume" if resume else "-", coordinator, count, "--process", index]
    return subprocess.Popen(
        [sys.executable, str(WORKER), *map(str, arguments)], env=os.environ | variables,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def start_all(folder, count, **options):
    """All processes of a training, which begin with a port that was free a moment ago."""
    coordinator = f"127.0.0.1:{free_port()}"
    return [start(folder, index, count, coordinator, **options) for index in range(count)]


def ends_of(processes, seconds=120):
    """Exit status, stdout and stderr of each process."""
    outputs = [process.communicate(timeout=seconds) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def result_of(folder):
    with np.load(folder / "params.npz") as params:
        return dict(params), read_log(folder / "run/log.csv", EPOCHS)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a training by two processes with two devices each."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    ends = ends_of(start_all(folder, 2, devices=2))
    assert [status for status, _, _ in ends] == [0, 0], ends
    assert [output for _, output, _ in ends][0].splitlines()[-1] == "done on 4 devices"
    return folder


def test_two_processes_train_as_one_does(undisturbed, tmp_path):
    """On as many devices: the same batches, dropout and losses, in uneven last batches too."""
    ((status, _, errors),) = ends_of([start(tmp_path / "one", devices=4)])
    assert status == 0, errors
    (alone, log), (together, other_log) = result_of(tmp_path / "one"), result_of(undisturbed)
    assert len(log) == len(other_log) == EPOCHS
    np.testing.assert_allclose(
        [(row.train_loss, row.validation_mae) for row in other_log],
        [(row.train_loss, row.validation_mae) for row in log],
        rtol=0, atol=1e-6,
    )  # fmt: skip
    assert together.keys() == alone.keys()
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, rtol=0, atol=1e-5, err_msg=name)
    assert log[-1].train_loss < log[0].train_loss / 1.5


def test_only_process_0_leaves_anything(undisturbed):
    assert sorted(path.name for path in undisturbed.iterdir()) == ["params.npz", "run"]
    kept = sorted(path.name for path in (undisturbed / "run/checkpoints").iterdir())
    assert kept == [str(EPOCHS - 1), str(EPOCHS)]


@pytest.mark.parametrize(("count", "devices"), [(1, 3), pytest.param(3, 1, marks=pytest.mark.slow)])
def test_checkpoints_restore_onto_other_processes_and_devices(undisturbed, tmp_path, count, devices):
    """Two processes train half of the epochs; one or three go on as these would have, up to rounding."""
    folder = tmp_path / "out"
    processes = start_all(folder, 2, pause=0.05)
    wait_for_rows(folder, 8)
    for process in processes:
        process.kill()
    ends_of(processes)
    resumed = [start(folder, devices=devices, resume=True)] if count == 1 else start_all(folder, count, resume=True)
    assert [status for status, _, _ in ends_of(resumed)] == [0] * count
    (_, log), (_, expected) = result_of(folder), result_of(undisturbed)
    np.testing.assert_allclose(
        [row.validation_mae for row in log], [row.validation_mae for row in expected], rtol=0, atol=1e-6
    )


def wait_for_rows(folder, rows, seconds=60):
    """Waits until a log has so many rows."""
    log, deadline = folder / "run/log.csv", time.monotonic() + seconds
    while not (log.exists() and len(log.read_text().splitlines()) > rows):
        assert time.monotonic() < deadline, "no rows"
        time.sleep(0.01)


def kill_and_resume(folder, victim, wait, expected):
    """Kills one of two processes: the other one stops with a line, and both go on to the bits of an undisturbed run."""
    processes = start_all(folder, 2, devices=2, pause=0.02)
    wait(processes)
    processes[victim].send_signal(signal.SIGKILL)
    started = time.monotonic()
    ends = ends_of(processes)
    took = time.monotonic() - started
    status, _, errors = ends[1 - victim]
    assert ends[victim][0] == -signal.SIGKILL and status == 2 and took < 60
    line = errors.splitlines()[-1]
    assert line.startswith(f"error: process {victim} of 2 has stopped, so all do"), errors
    ends = ends_of(start_all(folder, 2, devices=2, resume=True))
    assert [status for status, _, _ in ends] == [0, 0], ends
    assert (folder / "run/log.csv").read_bytes() == (expected / "run/log.csv").read_bytes()
    (params, _), (wanted, _) = result_of(folder), result_of(expected)
    assert all(params[name].tobytes() == values.tobytes() for name, values in wanted.items())
    return took


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_an_undisturbed_run(undisturbed, tmp_path, victim):
    kill_and_resume(tmp_path / "out", victim, lambda processes: wait_for_rows(tmp_path / "out", 6), undisturbed)


@pytest.mark.slow
def test_killed_at_any_moment(undisturbed, tmp_path):
    """Each process in turn, from the roll call to the last epochs."""
    draw, times = random.Random(0), []
    for number in range(KILLS):
        folder = tmp_path / str(number)

        def wait(processes, number=number, folder=folder):
            if number % 4 == 3:
                time.sleep(draw.uniform(2.5, 4))  # while they meet and JAX starts
            else:
                wait_for_rows(folder, draw.randrange(EPOCHS - 5))
                time.sleep(draw.uniform(0, 0.05))

        times.append(kill_and_resume(folder, number % 2, wait, undisturbed))
    print(f"{KILLS} kills: the other process had stopped after {min(times):.1f} to {max(times):.1f} s")


def refusals(ends):
    """The exit statuses and last lines of processes that were refused."""
    assert all("Traceback" not in errors for _, _, errors in ends), ends
    return [(status, errors.splitlines()[-1]) for status, _, errors in ends]


def test_other_data(tmp_path):
    coordinator = f"127.0.0.1:{free_port()}"
    processes = [start(tmp_path / "out", index, 2, coordinator, data_seed=index) for index in range(2)]
    for status, line in refusals(ends_of(processes)):
        assert status == 2
        assert "settings or data of the training: process 1 differs from process 0" in line


def test_other_number_of_devices(tmp_path):
    coordinator = f"127.0.0.1:{free_port()}"
    processes = [start(tmp_path / "out", index, 2, coordinator, devices=1 + index) for index in range(2)]
    for status, line in refusals(ends_of(processes)):
        assert status == 2 and "number of devices: process 1 differs from process 0" in line


def test_another_command(tmp_path):
    coordinator = f"127.0.0.1:{free_port()}"
    processes = [start(tmp_path / "out", index, 2, coordinator, epochs=5 + index) for index in range(2)]
    for status, line in refusals(ends_of(processes)):
        assert status == 2 and "process 1 has command" in line and "start all alike" in line


def test_started_twice(tmp_path):
    """The second one is refused; the others, which still wait for the third, say so in the end."""
    coordinator = f"127.0.0.1:{free_port()}"
    processes = [start(tmp_path / "out", index, 3, coordinator, join_seconds=8) for index in (0, 1, 1)]
    ends = refusals(ends_of(processes))
    lines = [line for status, line in ends if status == 2]
    assert len(lines) == 3
    assert sum("process 1 of 3 has been started already" in line for line in lines) == 1
    assert sum("process 2 of 3 did not come within 8 s" in line for line in lines) == 2


def test_process_0_started_twice(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ((status, line),) = refusals(ends_of([start(tmp_path / "out", 0, 2, f"127.0.0.1:{port}")]))
    assert status == 2 and f"port {port}: cannot be used" in line


def test_nobody_answers(tmp_path):
    port = free_port()
    ((status, line),) = refusals(ends_of([start(tmp_path / "out", 1, 2, f"127.0.0.1:{port}", join_seconds=1)]))
    assert status == 2 and f"127.0.0.1:{port}: no process 0 answers within" in line


def test_something_else_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connection.recv(2**16)

        threading.Thread(target=greet, daemon=True).start()
        port = server.getsockname()[1]
        ((status, line),) = refusals(ends_of([start(tmp_path / "out", 1, 2, f"127.0.0.1:{port}")]))
    assert status == 2 and "does not answer as process 0 of this program" in line


@pytest.mark.parametrize(
    ("coordinator", "count", "index", "problem"),
    [
        ("host", 2, 0, "give the host of process 0 and a free port, as HOST:PORT"),
        ("host:0", 2, 0, "give the host of process 0 and a free port, as HOST:PORT"),
        (None, 2, 0, "give --coordinator HOST:PORT, --processes and --process together"),
        ("host:99", 2, None, "give --coordinator HOST:PORT, --processes and --process together"),
        ("auto", 2, 0, "give --coordinator HOST:PORT, --processes and --process together"),
        ("host:99", 2, 2, "--process 2: processes are counted from 0, so that 2 end with 1"),
    ],
)
def test_places_that_do_not_fit(refused, coordinator, count, index, problem):
    assert problem in refused(lambda: join(coordinator, count, index))


def test_one_process_needs_no_other():
    join("localhost:1", 1, 0)
    join(None, None, None)
    assert is_alone() and is_first()
