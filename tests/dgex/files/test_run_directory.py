"""A folder is claimed once, given back only to the run that claimed it, and worked in by one process."""

import subprocess
import sys
from pathlib import Path

import pytest

from dgex.errors import DgexError
from dgex.files.run_directory import InUseError, claim, shared_use, sole_use

RUN = {"network": {"hidden": [3, 3]}, "seed": 0}


def test_a_new_folder_is_claimed_with_or_without_resume(tmp_path: Path) -> None:
    claim(tmp_path / "a" / "run.json", RUN, resume=False)
    claim(tmp_path / "b" / "run.json", RUN, resume=True)
    assert (tmp_path / "a" / "run.json").read_bytes() == (tmp_path / "b" / "run.json").read_bytes()


def test_the_same_run_must_ask_to_resume(tmp_path: Path) -> None:
    claim(tmp_path / "run.json", RUN, resume=False)
    with pytest.raises(DgexError, match="--resume"):
        claim(tmp_path / "run.json", RUN, resume=False)
    claim(tmp_path / "run.json", {"network": {"hidden": (3, 3)}, "seed": 0}, resume=True)  # tuples are JSON's lists


def test_another_run_is_told_what_differs(tmp_path: Path) -> None:
    claim(tmp_path / "run.json", RUN, resume=False)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(DgexError, match="differs in: seed"):
        claim(tmp_path / "run.json", {**RUN, "seed": 1}, resume=True)
    assert (tmp_path / "run.json").read_bytes() == before


@pytest.mark.parametrize("content", ["", "{", "3", '["a"]', "null"])
def test_a_file_that_names_no_run(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(DgexError, match="does not say what the folder holds"):
        claim(tmp_path / "run.json", RUN, resume=True)


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from dgex.errors import DgexError
from dgex.files.run_directory import sole_use
try:
    with sole_use(Path({str(tmp_path)!r})):
        print("in")
except DgexError as error:
    print(error)
"""

    def other_process() -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    with sole_use(tmp_path):
        assert "another process is training there" in other_process()
    assert other_process() == "in\n"


def test_a_folder_in_use_is_told_from_other_failures(tmp_path: Path) -> None:
    """Within one process too, and only while the other is at it."""
    with sole_use(tmp_path), pytest.raises(InUseError), sole_use(tmp_path):
        pass
    assert issubclass(InUseError, DgexError)
    with sole_use(tmp_path):
        pass


def test_several_may_share_a_folder_but_not_with_one_that_must_be_alone(tmp_path: Path) -> None:
    """A second open file is refused a lock as a second process is."""
    with shared_use(tmp_path, alone=False), shared_use(tmp_path, alone=False):
        with pytest.raises(InUseError, match="others are at work there"), shared_use(tmp_path, alone=True):
            pass
    with shared_use(tmp_path, alone=True):
        for alone in (False, True):
            with pytest.raises(InUseError), shared_use(tmp_path, alone=alone):
                pass
