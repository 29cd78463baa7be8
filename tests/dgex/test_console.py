"""How a command ends: exit status and what stands on stderr."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from dgex import console
from dgex.errors import DgexError
from dgex.model_directory import read_card, save_model


def test_an_error_for_the_user_is_one_line(capsys):
    error = DgexError("a.h5: no [red]split[/red]; prepare it again " + "x" * 200)

    def app():
        raise error

    with pytest.raises(SystemExit) as stop:
        console.run(app)
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", f"error: {error}\n")


def test_line_breaks_in_names_do_not_make_lines(refused):
    def app():
        raise DgexError("a.gctx: holds GSM\n1 twice; make the ids unique")

    assert refused(app) == "error: a.gctx: holds GSM 1 twice; make the ids unique\n"


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        console.run(lambda: 1 / 0)


@pytest.mark.parametrize(("arguments", "status"), [(["3"], 0), (["x"], 2), ([], 2), (["0"], 2)])
def test_typer_application(capsys, arguments, status):
    app = console.command_line("Divides.")

    @app.command()
    def divide(number: int) -> None:
        if number == 0:
            raise DgexError("0: cannot divide by it; give another number")
        print(6 // number)

    with pytest.raises(SystemExit) as stop:
        console.run(lambda: app(arguments))
    assert stop.value.code == status
    captured = capsys.readouterr()
    assert captured.out == ("2\n" if status == 0 else captured.out)
    assert "Traceback" not in captured.err
    if arguments == ["0"]:
        assert captured.err == "error: 0: cannot divide by it; give another number\n"


def test_what_a_terminal_cannot_show_is_no_error(small_model, tmp_path):
    """A card has arrows, and file names may have anything, in an encoding that has neither."""
    save_model(tmp_path / "model", small_model)
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    card = read_card(tmp_path / "model")
    assert "→" in card
    for name, code, out, err in (
        ("model", 0, card, ""),
        ("modèle", 2, "", "error: mod?le: there is no such directory; make a model with `dgex train`\n"),
    ):
        command = [sys.executable, "-m", "dgex", "info", name]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr.decode()) == (code, out.encode("ascii", "replace"), err)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 8.00 PiB"), "there is too little memory (Unable to allocate 8.00 PiB); use"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "there is too little memory (RESOURCE_EXHAUSTED: Out of"),
        (RuntimeError("INTERNAL: Out of memory allocating"), "there is too little memory (INTERNAL: Out of memory"),
        (PermissionError(13, "Permission denied", "a/b"), "a/b: cannot be used (Permission denied); check the name"),
    ],
)
def test_what_a_machine_lacks_is_one_line(refused, error, said):
    def app():
        raise error

    assert said in refused(app)


MODULES = (
    "dgex.cli",
    "data_prep.__main__",
    *(f"experiments.{name}" for name in ("compare", "study", "dgex_grid", "paper_size")),
)
COMMANDS = [
    command.callback for module in MODULES for command in importlib.import_module(module).app.registered_commands
]


@pytest.mark.parametrize(
    ("path", "said"),
    [("x" * 256, "is too long"), ("x/" * 2001, "is too long"), ("caf\udce9.gct", "is no path in UTF-8; rename it")],
)
def test_every_command_refuses_paths_before_its_work(path, said):
    tried = 0
    for command in COMMANDS:
        for name, hint in get_type_hints(command).items():
            if "pathlib.Path" in str(hint):
                with pytest.raises(DgexError, match=said):
                    command(**{name: [Path(path)] if "list" in str(hint) else Path(path)})
                tried += 1
    assert tried >= 25
