"""The memory that a process may use: the machine's, or a control group's limit."""

import os
from pathlib import Path

import pytest

from dgex.files import memory
from dgex.files.memory import machine_memory

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("line", "limits", "expected"),
    [
        ("0::/job/step", {"job/memory.max": "9000", "job/step/memory.max": "max"}, 9000),  # a parent's counts too
        ("0::/job/step", {"job/memory.max": "9000", "job/step/memory.max": "7000"}, 7000),
        ("0::/../other", {"memory.max": "5000"}, 5000),  # in a container
        ("4:cpu,memory:/job", {"memory/job/memory.limit_in_bytes": "6000"}, 6000),
        ("4:cpu:/job", {"memory/job/memory.limit_in_bytes": "6000"}, MACHINE),
        ("4:memory:/job", {"memory/job/memory.limit_in_bytes": "9223372036854771712"}, MACHINE),  # no limit
        ("0::/", {}, MACHINE),
    ],
)
def test_the_lowest_limit_counts(
    line: str, limits: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cgroup").write_text(f"{line}\n")
    for name, limit in limits.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{limit}\n")
    monkeypatch.setattr(memory, "GROUPS_OF_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    assert machine_memory() == expected


def test_without_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "GROUPS_OF_PROCESS", tmp_path / "absent")
    assert machine_memory() == MACHINE
