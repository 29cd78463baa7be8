"""How much memory there is for a process."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GROUPS_OF_PROCESS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def machine_memory() -> int:
    """Returns this machine's memory in bytes, or what a container or a job (a Linux control group) may use of it."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits()])


def _limits() -> Iterator[int]:
    """Yields the memory limits of the control groups that the process is in, of both versions of the interface."""
    with suppress(OSError):
        for line in GROUPS_OF_PROCESS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            version_2 = controllers == ""
            if not version_2 and "memory" not in controllers.split(","):
                continue
            root, name = (GROUPS, "memory.max") if version_2 else (GROUPS / "memory", "memory.limit_in_bytes")
            group = root / path.lstrip("/")
            # In a container the path may be that of the host; its own group is then the root.
            for folder in (group, *group.parents):
                with suppress(OSError, ValueError):  # "max" where there is no limit
                    yield int((folder / name).read_text())
                if folder == root:
                    break
