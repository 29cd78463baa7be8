"""Signals end every command alike: with exit status 128 + N, soon, and with nothing half-written.

The campaigns (``pytest -m slow -s tests/dgex/test_signals.py``) send 25 signals at random moments to each of eight
commands, from the end of Python's start on (some come before), and kill each of five 10 times before it may come to its
end; they print a line on each command.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from dgex.signals import GRACE

ROOT = Path(__file__).parents[2]
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIGNALS_PER_COMMAND = 25
KILLS_PER_COMMAND = 10
SLACK = 5.0  # seconds that a busy machine may take longer
LONGEST = 12.0  # seconds into a command in which signals come


def start(arguments, folder, ignored=()):
    """A process that ignores these signals and no other that stops it, whatever this process was started to ignore.

    It inherits that from this process, and not by a ``preexec_fn``, which would have to fork: JAX warns of forks once
    it has been used in this process, by tests before these.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}
    before = {number: signal.signal(number, [signal.SIG_DFL, signal.SIG_IGN][number in ignored]) for number in STOPPING}
    try:
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)], cwd=folder, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


PROGRAM = """
import ctypes, os, signal, sys, time, weakref
from pathlib import Path
from dgex import console
from dgex.files.atomic import replacing

def kill(number=signal.SIGTERM):
    os.kill(os.getpid(), number)

def ready():
    print("ready", flush=True)
    time.sleep(30)

def in_a_callback():
    class Thing:
        pass
    thing = Thing()
    reference = weakref.ref(thing, lambda _: (kill(), time.sleep(30)))
    del thing

def half_written():
    with replacing(Path("a.txt")) as file, replacing(Path("b")) as folder:
        file.write_text("half")
        folder.mkdir()
        (folder / "c.txt").write_text("half")
        print("ready")  # flushed at the end
        kill()
        time.sleep(30)

def where_everything_is_caught():
    try:
        kill()
        time.sleep(30)
    except BaseException:
        print("caught")

def stuck():
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    with replacing(Path("a.txt")) as partial:
        partial.write_text("half")
        libc.pthread_mutex_init(mutex, None)
        libc.pthread_mutex_lock(mutex)
        print("ready", flush=True)
        libc.pthread_mutex_lock(mutex)  # for ever, and no bytecode is run

def after_the_work():
    import atexit
    atexit.register(lambda: (kill(), time.sleep(30)))

console.main(globals()[sys.argv[1]])
"""


def run_program(name, folder, send=None):
    """What stood on stdout and stderr, and the exit status; nothing is left in the folder."""
    with start(["-c", PROGRAM, name], folder) as process:
        if send:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(send)
        out, err = process.communicate(timeout=20)
    assert os.listdir(folder) == []
    return out, err, process.returncode


@pytest.mark.parametrize("number", STOPPING)
def test_every_signal_has_its_status_and_no_traceback(tmp_path, number):
    assert run_program("ready", tmp_path, send=number) == ("", "", 128 + number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_long_call_is_not_waited_for(tmp_path, number):
    assert run_program("stuck", tmp_path, send=number) == ("", "", 128 + number)


@pytest.mark.parametrize("name", ["in_a_callback", "where_everything_is_caught", "after_the_work"])
def test_a_signal_is_not_lost(tmp_path, name):
    """As an exception would be, in a callback of C, in a library that catches all, and in Python's finalization."""
    assert run_program(name, tmp_path) == ("", "", 143)


def test_what_is_half_written_goes(tmp_path):
    assert run_program("half_written", tmp_path) == ("ready\n", "", 143)


@pytest.mark.parametrize("module", ["experiments.compare", "experiments.study", "benchmarks.predict"])
def test_an_interrupt_during_the_imports_is_not_lost(tmp_path, module):
    """As KeyboardInterrupt would be in JAX's callback for garbage collection."""
    with start(["-X", "importtime", "-m", module, "--help"], tmp_path) as process:
        while not process.stderr.readline().endswith(" jax._src.lib\n"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (-signal.SIGINT, "") and "KeyboardInterrupt" not in err


def test_what_nohup_ignores_stays_ignored(tmp_path):
    with start(["-c", PROGRAM, "ready"], tmp_path, ignored=[signal.SIGHUP]) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small compendium, prepared, its folds, and a model of it."""
    folder = tmp_path_factory.mktemp("signals")
    prepare = ["prepare", "raw/simulated.gctx", "--genes", "raw"]
    for arguments in (
        ["data_prep", "simulate", "--profiles", 600, "-o", "raw"],
        ["data_prep", *prepare, "-o", "prepared.h5"],
        ["data_prep", "folds", *prepare[1:], "--folds", 3, "-o", "folds"],
        ["dgex", "train", "prepared.h5", "--epochs", 3, "-o", "model"],
    ):
        with start(["-m", *arguments], folder) as process:
            _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    return folder


COMMANDS = {
    "train": "dgex train {0}/prepared.h5 --epochs 2000 --hidden 200 -o model",
    "evaluate": "dgex evaluate {0}/model {0}/prepared.h5",
    "predict": "dgex predict {0}/raw/simulated.gctx -m {0}/model -o profiles.h5ad",
    "simulate": "data_prep simulate -o raw",
    "prepare": "data_prep prepare {0}/raw/simulated.gctx --genes {0}/raw -o prepared.h5",
    "folds": "data_prep folds {0}/raw/simulated.gctx --genes {0}/raw --folds 3 -o folds",
    "compare": "experiments.compare --data {0}/prepared.h5 --seeds 1 -o results",
    "study": "experiments.study --data {0}/folds --quick -o results",
}


def files_in(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def seconds_of(arguments, folder):
    """How long a command takes, and ``LONGEST`` at most."""
    started = time.monotonic()
    with start(arguments, folder) as process:
        try:
            process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
    return time.monotonic() - started


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_signals_at_any_moment(files, tmp_path, name):
    arguments = ["-m", *COMMANDS[name].format(files).split()]
    draw = random.Random(name)
    begin, end = (seconds_of(arguments, tmp_path) for arguments in ([*arguments[:2], "--help"], arguments))
    end, whole = max(end, begin + 0.5), files_in(tmp_path)

    ends, slowest, sent, faults = Counter(), 0.0, 0, []
    while sent < SIGNALS_PER_COMMAND:
        folder = tmp_path / str(sum(ends.values()))
        folder.mkdir()
        number = STOPPING[sent % len(STOPPING)]
        with start(arguments, folder) as process:
            time.sleep(draw.uniform(0.7 * begin, end))
            late = process.poll() is not None
            process.send_signal(number)
            at = time.monotonic()
            out, err = process.communicate(timeout=60)
        took = time.monotonic() - at
        status = process.returncode
        if late:
            ends["ended before"] += 1
            right = status == 0 and files_in(folder) == whole
        elif status == -number:  # before the command began; a shell makes 128 + N of it
            ends["in Python's start"] += 1
            right = True
        elif status == 0:  # the system was taking the process away, and gives it no signal any more
            ends["as it ended"] += 1
            right = took < 0.2 and files_in(folder) == whole
        else:
            ends[str(status)] += 1
            right = status == 128 + number and len(err.splitlines()) <= 1
        sent += not late
        slowest = max(slowest, took)
        if not right or took > GRACE + SLACK or list(folder.rglob("*.partial")):
            faults.append(f"{name} after signal {number}: status {status} after {took:.1f} s, {err[-2000:]}")
            print(faults[-1], flush=True)
    print(f"\n{name}: {sent} signals after {begin:.1f} to {end:.1f} s, {dict(ends)}; slowest end {slowest:.2f} s")
    assert not faults


KILLED = {name: COMMANDS[name] for name in ("predict", "prepare", "folds")} | {
    "train": "dgex train {0}/prepared.h5 --epochs 60 --resume -o model",
    "compare": "experiments.compare --data {0}/prepared.h5 --seeds 1 --epochs 8 --resume -o results",
}


def contents_of(folder):
    """The bytes of all files but those that tell how long something took."""
    paths = [path for path in files_in(folder) if (folder / path).is_file() and path.name != "outcome.npz"]
    return {path: (folder / path).read_bytes() for path in paths}


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLED)
def test_kills_at_any_moment(files, tmp_path, name):
    """Of what a killed process was to write there is nothing or all, and the next goes on from there, to the same."""
    arguments = ["-m", *KILLED[name].format(files).split()]
    outputs, draw = [tmp_path / run for run in ("whole", "killed")], random.Random(name)
    for folder in outputs:
        folder.mkdir()
    started = time.monotonic()
    with start(arguments, outputs[0]) as process:
        _, err = process.communicate(timeout=300)
    took = min(time.monotonic() - started, LONGEST)
    assert process.returncode == 0, err
    whole = contents_of(outputs[0])

    kills, folder = 0, outputs[1]
    while kills < KILLS_PER_COMMAND:
        with start(arguments, folder) as process:
            time.sleep(draw.uniform(0.3, 1) * took)
            ended = process.poll() is not None
            process.kill()
            process.communicate()
        contents = contents_of(folder)
        for path, content in contents.items():
            assert path not in whole or path.name == "log.csv" or content == whole[path], path
        if ended:  # what went on from killed runs came to its end; again from the beginning
            assert contents == whole
            shutil.rmtree(folder)
            folder.mkdir()
        kills += not ended
    with start(arguments, outputs[1]) as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    print(f"\n{name}: {kills} kills within {took:.1f} s; {len(whole)} files as of a run that was not killed")
    assert contents_of(outputs[1]) == whole
