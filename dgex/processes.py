"""Several processes that train together, on one host or many, as one program on all of their devices.

    COMMAND --coordinator HOST:PORT --processes 2 --process 0      (on HOST)
    COMMAND --coordinator HOST:PORT --processes 2 --process 1      (on another host, or on the same one)

Every process runs the same command from the beginning to the end and takes part in every step
(``dgex.parallel``). Process 0 alone has the output folder: it keeps logs, checkpoints and results. Each of the others
works in a private folder, a copy of what process 0 has at the start, which is removed at the end. So whatever a
command decides by what it finds in its folder, all processes decide alike, and the hosts need no folder in common.

``jax.distributed`` connects the devices. Beside that, every process has one TCP connection to process 0, made before,
because JAX alone waits minutes for a process that does not come and aborts with a stack trace when one has died.
Through it processes are counted and compared, hear at once when another one stops, and then stop too.
"""

import contextlib
import ctypes
import functools
import json
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dgex.errors import DgexError, visible
from dgex.files import tree_copy
from dgex.files.atomic import private_folder
from dgex.links import ANSWER_SECONDS, Link, LinkError, connect, listen
from dgex.signals import end
from dgex.version import __version__

JOIN_SECONDS = 120.0  # that processes wait for one another at the start; schedulers start them within less
GRACE = 3.0  # seconds that a process has to say itself what is wrong, before it stops because another one did
AUTO = "auto"


@dataclass(frozen=True)
class Group:
    """Holds this process's place among several, and its links: process 0's to all others, another's to process 0."""

    index: int
    count: int
    links: dict[int, Link]


_group: Group | None = None
_leaving = threading.Event()


def is_first() -> bool:
    """Tells whether this is process 0, as a process that trains alone is."""
    return _group is None or _group.index == 0


def join(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Joins the other processes, before JAX has started; without arguments the process trains alone.

    Args:
      coordinator: host and port of process 0, "HOST:PORT"; or "auto", if JAX finds out from Slurm, Open MPI, Kubernetes
        or a TPU slice who takes part.
      count: number of processes; None with "auto".
      index: which of them this one is, counted from 0; None with "auto".

    Raises:
      DgexError: the arguments do not fit together, the others cannot be reached or do not come, or they run another
        command or other versions.
    """
    if coordinator is None and count is None and index is None:
        return
    if coordinator == AUTO and count is None and index is None:
        _join_found()
        return
    if coordinator is None or coordinator == AUTO or count is None or index is None:
        raise DgexError("give --coordinator HOST:PORT, --processes and --process together, or --coordinator auto alone")
    host, separator, port = coordinator.rpartition(":")
    if not (host and separator and port.isdecimal() and 0 < int(port) < 2**16):
        raise DgexError(f"--coordinator {coordinator[:80]!r}: give the host of process 0 and a free port, as HOST:PORT")
    if not 0 <= index < count:
        raise DgexError(f"--process {index}: processes are counted from 0, so that {count} end with {count - 1}")
    if count == 1:
        return
    _call_roll(host.strip("[]"), int(port), count, index)
    address = from_first(_free_address(host))
    _start_jax(coordinator_address=address, num_processes=count, process_id=index)
    _connect_devices()


def from_first(value: Any) -> Any:
    """Returns the value that process 0 has, of JSON types, on every process."""
    if _group is None:
        return value
    if _group.index:
        return json.loads(_group.links[0].receive())
    message = json.dumps(value).encode()
    for link in _group.links.values():
        link.send(message)
    return json.loads(message)


def need_same(what: str, value: Any) -> None:
    """Checks that all processes have the same value.

    Args:
      what: names the value in the error message.
      value: the value, of JSON types.

    Raises:
      DgexError: they have not; on every process.
    """
    if _group is None:
        return
    mine = json.dumps(value, sort_keys=True).encode()
    if _group.index:
        _group.links[0].send(mine)
        others = []
    else:
        others = [index for index, link in sorted(_group.links.items()) if link.receive() != mine]
    if differing := from_first(others):
        raise DgexError(
            f"{what}: process {', '.join(map(str, differing))} differs from process 0; give all processes the same"
        )


def workplaces(*paths: Path) -> list[Path]:
    """Returns the output paths on process 0, and private ones with copies of what lies there on the others.

    Args:
      *paths: files or folders, which need not exist, in one folder.
    """
    if _group is None:
        return list(paths)
    if _group.index == 0:
        for path in paths:
            archive = tree_copy.pack(path)
            for link in _group.links.values():
                link.send(archive)
        return list(paths)
    private = private_folder("dgex")
    for _ in paths:
        tree_copy.unpack(_group.links[0].receive(), private)
    return [private / path.name for path in paths]


def leave() -> None:
    """Waits until all processes have come to their end, so that none stops while another one needs it."""
    if _group is None:
        return
    need_same("the end", None)
    _leaving.set()
    import jax

    jax.distributed.shutdown()


def stop(status: int) -> NoReturn:
    """Ends this process at once, for JAX would wait for the others at the interpreter's end; these will stop too."""
    _leaving.set()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    end(status)


def is_alone() -> bool:
    """Tells whether this process trains without others."""
    return _group is None


def await_verdict() -> None:
    """Gives the thread that watches the others time to end this process, if an error is due to one that stopped."""
    if _group is not None:
        time.sleep(2 * GRACE)


def _call_roll(host: str, port: int, count: int, index: int) -> None:
    """Connects every process with process 0, which compares what they are."""
    from importlib.metadata import version

    card = {
        "program": "dgex", "process": index, "command": _command(), "processes": count,
        "versions": {"dgex": __version__, "jax": version("jax"), "python": platform.python_version()},
    }  # fmt: skip
    deadline = time.monotonic() + JOIN_SECONDS
    if index:
        # Process 0 answers when all have come, and may have begun to wait only now.
        link = connect(host, port, deadline, JOIN_SECONDS + ANSWER_SECONDS)
        with _naming(f"{host}:{port}: does not answer as process 0 of this program; check --coordinator"):
            link.send(json.dumps(card).encode())
            answer = json.loads(link.receive())
        if answer["refused"]:
            raise DgexError(answer["refused"])
        _form(Group(index, count, {0: link}))
        return
    links: dict[int, Link] = {}
    problem: str | None = None
    with listen(host, port) as server:
        while len(links) < count - 1 and not problem:
            caller = server.accept(deadline)
            if caller is None:
                missing = [str(other) for other in range(1, count) if other not in links]
                problem = f"process {', '.join(missing)} of {count} did not come within {JOIN_SECONDS:.0f} s"
                break
            try:
                theirs = json.loads(caller.receive())
                other, fault = theirs["process"], _difference(card, theirs)
            except (LinkError, ValueError, TypeError, KeyError):
                caller.close()  # something else that knocked at the port
                continue
            if not fault and other in links:
                # Whoever came first goes on.
                caller.send(json.dumps({"refused": f"process {other} of {count} has been started already"}).encode())
                caller.close()
                continue
            links[other] = caller
            problem = fault
    for link in links.values():
        with contextlib.suppress(LinkError):
            link.send(json.dumps({"refused": problem}).encode())
    if problem:
        raise DgexError(problem)
    _form(Group(0, count, links))


def _difference(mine: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    """Words in what another process differs from process 0, or returns None if the two go together."""
    if theirs["program"] != mine["program"] or not 0 < theirs["process"] < mine["processes"]:
        return f"process {theirs['process']} was started for other processes; they are counted from 0 to N - 1"
    for name, wanted in {**mine["versions"], "--processes": mine["processes"], "command": mine["command"]}.items():
        found = {**theirs["versions"], "--processes": theirs["processes"], "command": theirs["command"]}[name]
        if found != wanted:
            return f"process {theirs['process']} has {name} {found}, process 0 has {wanted}; start all alike"
    return None


def _command() -> str:
    """Returns this process's command line but for its own number."""
    words, kept = sys.argv, []
    skip = False
    for word in [Path(words[0]).name, *words[1:]]:
        if skip or word.startswith("--process="):
            skip = False
        elif word == "--process":
            skip = True
        else:
            kept.append(word)
    return " ".join(kept)


def _join_found() -> None:
    """Joins the processes that JAX finds by itself."""
    try:
        _start_jax()
    except ValueError as error:
        raise DgexError(
            "--coordinator auto: JAX finds no Slurm, Open MPI, Kubernetes or TPU job; give --coordinator HOST:PORT, "
            "--processes and --process"
        ) from error
    import jax
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return
    # Process 0 tells the others where to call. A port that another program takes in between shows as an error.
    mine = _free_address(_own_address()).encode()
    with _stdout_to_stderr():
        letters = multihost_utils.broadcast_one_to_all(_letters(mine))
    host, _, port = bytes(letters).rstrip(b"\0").decode().rpartition(":")
    _call_roll(host, int(port), jax.process_count(), jax.process_index())
    _connect_devices()


def _own_address() -> str:
    """Finds the address by which other hosts reach this one; a name may be known here alone, as that of a pod is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation: nothing is sent, but a way out is chosen
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


def _letters(text: bytes) -> Any:
    """Pads a text to an array of fixed length, as all processes must broadcast arrays of one shape."""
    import numpy as np

    return np.frombuffer(text.ljust(256, b"\0"), np.uint8)


def _start_jax(**place: Any) -> None:
    """Starts ``jax.distributed`` with a place among the processes, or with the one that JAX finds."""
    import jax

    # JAX's notice of preemption would take SIGTERM away from ``dgex.signals``.
    with contextlib.suppress(AttributeError):
        jax.config.update("jax_enable_preemption_service", False)
    # The death of a process is dealt with here: JAX would abort the others with a stack trace.
    jax.config.update("jax_enable_recoverability", True)
    if place:
        place["cluster_detection_method"] = "deactivate"
    try:
        jax.distributed.initialize(**place, initialization_timeout=int(JOIN_SECONDS))
    except RuntimeError as error:
        raise DgexError(f"JAX cannot connect the processes ({str(error).splitlines()[0]})") from error


def _connect_devices() -> None:
    """Checks that the processes have equally many devices, and lets these exchange a first number."""
    import jax
    import numpy as np

    from dgex import parallel

    need_same("number of devices", [jax.local_device_count(), jax.local_devices()[0].device_kind])
    with _stdout_to_stderr():
        jax.block_until_ready(parallel.from_first_process(np.int32(0), parallel.devices()))
    if jax.default_backend() == "cpu" and not is_first():
        # Once connected, CPUs need JAX's service no more, whose end would abort this process with a stack trace.
        jax.distributed.shutdown()
    if not is_first():
        # The first process prints what all have to say.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for as long as the process lasts


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Turns what is printed on the process's stdout to its stderr: Gloo prints there when it connects."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C code has printed may still be on its way
        os.dup2(kept, 1)
        os.close(kept)


def _free_address(host: str) -> str:
    """Finds a port that is free on this host; only process 0's answer is used."""
    with socket.create_server(("", 0)) as server:
        return f"{host}:{server.getsockname()[1]}"


@contextlib.contextmanager
def _naming(problem: str) -> Iterator[None]:
    """Words what goes wrong on a link as one line."""
    try:
        yield
    except (LinkError, ValueError, TypeError, KeyError) as error:
        raise DgexError(problem) from error


def _form(group: Group) -> None:
    """Keeps the group, and watches its links."""
    global _group
    _group = group
    for other, link in group.links.items():
        link.watch(functools.partial(_stop_after, other))


def _stop_after(other: int, reason: str | None) -> None:
    """Ends this process because another one has stopped; ``reason`` is what process 0 says of a third."""
    if _leaving.is_set():
        return
    assert _group is not None
    problem = reason or (
        f"process {other} of {_group.count} has stopped, so all do; its own messages say why, and the same commands "
        "with --resume go on from the last checkpoint"
    )
    if _group.index == 0:
        for link in _group.links.values():
            with contextlib.suppress(LinkError):
                link.warn(problem)
    time.sleep(GRACE)
    if _leaving.is_set():
        return
    print(f"error: {visible(problem)}", file=sys.stderr, flush=True)
    end(2)
