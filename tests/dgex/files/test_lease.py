"""A lease keeps out processes of other hosts, and falls to them when its holder gives no sign any more."""

import os
import queue
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dgex.files import lease as module
from dgex.files.atomic import remove_partials
from dgex.files.lease import NAME, SECONDS, LeaseError, lease


def leave_behind(folder, host, process, age):
    """A lease as a process left it so many seconds ago."""
    path = folder / NAME
    path.write_text(f"{host} {process}")
    then = time.time() - age
    os.utime(path, (then, then))


def test_is_there_while_it_is_held(tmp_path):
    with lease(tmp_path):
        assert (tmp_path / NAME).read_text() == f"{socket.gethostname()} {os.getpid()}"
    assert not list(tmp_path.iterdir())


def test_of_another_host_keeps_out(tmp_path):
    leave_behind(tmp_path, "node7", 1, SECONDS / 2)
    with pytest.raises(LeaseError, match="a process on node7 is training there, and was 60 s ago; .* for 60 s more"):
        with lease(tmp_path):
            pass
    assert (tmp_path / NAME).read_text() == "node7 1"


def test_of_another_host_without_a_sign_is_taken_over(tmp_path):
    leave_behind(tmp_path, "node7", 1, SECONDS + 5)
    with lease(tmp_path):
        assert (tmp_path / NAME).read_text().startswith(socket.gethostname())
    assert not list(tmp_path.iterdir())


def test_of_a_killed_process_of_this_host_is_taken_over_at_once(tmp_path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    leave_behind(tmp_path, socket.gethostname(), int(ended.stdout), 0)
    with lease(tmp_path):
        pass


def test_of_a_living_process_of_this_host_keeps_out(tmp_path):
    """Where the file system has no locks, a lease is all there is."""
    leave_behind(tmp_path, socket.gethostname(), os.getppid(), 0)
    with pytest.raises(LeaseError), lease(tmp_path):
        pass


def test_is_kept_fresh(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT", 0.02)
    with lease(tmp_path):
        then = time.time() - 1000
        os.utime(tmp_path / NAME, (then, then))
        deadline = time.monotonic() + 10
        while (tmp_path / NAME).stat().st_mtime < then + 500:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_lost_to_another_host_is_noticed_and_not_removed(tmp_path, monkeypatch):
    """It stood still for so long that another host took over."""
    monkeypatch.setattr(module, "BEAT", 0.02)
    lost = queue.SimpleQueue()
    with lease(tmp_path, lost.put):
        (tmp_path / NAME).write_text("node7 1")
        assert "another host has taken over" in lost.get(timeout=10)
        remove_partials()  # as when the process ends now
    assert (tmp_path / NAME).read_text() == "node7 1"


def test_of_many_who_take_over_one_succeeds(tmp_path):
    """Each in a process of its own, at once, again and again."""
    code = f"""
import socket, sys, time
from pathlib import Path
from dgex.files.lease import LeaseError, lease
socket.gethostname = lambda: sys.argv[1]
folder = Path({str(tmp_path)!r})
sys.stdin.read(1)
try:
    with lease(folder):
        (folder / f"held-{{sys.argv[1]}}").touch()
        time.sleep(1)
except LeaseError:
    pass
"""
    leave_behind(tmp_path, "node7", 1, SECONDS + 5)
    racers = [
        subprocess.Popen([sys.executable, "-c", code, f"host{number}"], stdin=subprocess.PIPE, text=True)
        for number in range(6)
    ]
    time.sleep(1)  # until all of them wait for the signal
    with ThreadPoolExecutor(len(racers)) as pool:
        list(pool.map(lambda racer: racer.communicate("x"), racers))
    assert [racer.returncode for racer in racers] == [0] * len(racers)
    assert len(list(tmp_path.glob("held-*"))) == 1


def test_goes_with_a_process_that_is_ended_in_order(tmp_path):
    """By a signal, which ends it where it is: the next host need not wait."""
    with lease(tmp_path):
        remove_partials()
        assert not (tmp_path / NAME).exists()
