"""How a command ends: exit status and what stands on stderr."""

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Literal, get_type_hints

import pytest
import typer

from dgex import console
from dgex.errors import DgexError
from dgex.model.directory import read_card, save_model


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

    assert refused(app) == "error: a.gctx: holds GSM\\n1 twice; make the ids unique\n"


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        console.run(lambda: 1 / 0)


@pytest.fixture
def app():
    app = console.command_line("Divides.")

    @app.command()
    def divide(number: int, kind: Annotated[Literal["whole", "real"], typer.Option()] = "whole") -> None:
        if number == 0:
            raise DgexError("0: cannot divide by it; give another number")
        print(6 // number)

    @app.command()
    def pair(numbers: Annotated[tuple[int, int], typer.Option(min=1)]) -> None:
        print(*numbers)

    return app


@pytest.mark.parametrize(("arguments", "out"), [(["divide", "3"], "2\n"), (["pair", "--numbers", "1", "2"], "1 2\n")])
def test_typer_application(app, capsys, arguments, out):
    with pytest.raises(SystemExit) as stop:
        console.run(lambda: app(arguments))
    assert stop.value.code == 0
    assert capsys.readouterr() == (out, "")


@pytest.mark.parametrize("arguments", [["--help"], ["divide", "--help"]])
def test_help_is_no_error(app, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        console.run(lambda: app(arguments))
    captured = capsys.readouterr()
    assert stop.value.code == 0 and "Usage" in captured.out and captured.err == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing command"),
        (["divid"], "No such command 'divid'"),
        (["--what"], "No such option: --what"),
        (["divide"], "Missing argument"),
        (["divide", "x"], "number"),
        (["divide", "1", "2"], "Got unexpected extra argument"),
        (["divide", "1", "--kind"], "Option '--kind' requires an argument"),
        (["divide", "1", "--kind", "odd"], "'--kind'"),
        (["divide", "1", "--what"], "No such option: --what"),
        (["divide", "0"], "0: cannot divide by it; give another number"),
        (["pair"], "Missing option '--numbers'"),
        (["pair", "--numbers", "1"], "'--numbers'"),
        (["pair", "--numbers", "1", "0"], "'--numbers'"),
    ],
)
def test_wrong_usage_is_one_line(app, refused, arguments, said):
    line = refused(lambda: app(arguments))
    assert said in line
    assert line.endswith("--help`)\n") or arguments == ["divide", "0"]


MODULES = [
    "dgex", "dgex.networks", "data_prep", "experiments.compare", "experiments.study", "experiments.full_size",
    "benchmarks.stack", "benchmarks.predict", "benchmarks.prepare", "benchmarks.report",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_wrong_usage_of_every_program(module):
    done = subprocess.run([sys.executable, "-m", module, "--no-such-option"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: No such option: --no-such-option (see `python -m ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(console, "LINE_SECONDS", 0.05)
    monkeypatch.setattr(console, "_last_line", time.monotonic())


def test_progress_without_a_terminal_is_lines(often, capsys):
    """Also while the program is in one long call, and of what is being done at that moment."""
    started = time.monotonic()
    with console.progress("{task.fields[status]}") as bar:
        task = bar.add_task("trials", total=160, status="epoch 1")
        time.sleep(0.2)
        bar.update(task, completed=80, status="[epoch 2]\n")
        time.sleep(0.2)
    most = (time.monotonic() - started) / console.LINE_SECONDS + 1
    lines = capsys.readouterr().err.splitlines()
    assert 4 <= len(lines) <= most
    assert lines[0].startswith("trials 0/160 epoch 1 ") and lines[-1].startswith("trials 80/160 ")


def test_short_steps_one_after_another_are_told_of(often, capsys):
    started = time.monotonic()
    for step in range(20):
        with console.progress() as bar:
            bar.add_task(f"step {step}", total=1)
            time.sleep(0.02)
    most = (time.monotonic() - started) / console.LINE_SECONDS + 1  # a slow machine takes longer for the steps
    assert 3 <= len(capsys.readouterr().err.splitlines()) <= most


def test_progress_of_what_is_done_sooner_is_none(capsys):
    with console.progress() as bar:
        bar.add_task("quick", total=1)
    assert capsys.readouterr() == ("", "")


def test_an_error_is_the_last_line(often, capsys):
    def work():
        with console.progress() as bar:
            bar.add_task("reading", total=None)
            time.sleep(0.2)
            raise DgexError("a.h5: is damaged; prepare it again")

    with pytest.raises(SystemExit):
        console.run(work)
    *lines, last = capsys.readouterr().err.splitlines()
    assert last == "error: a.h5: is damaged; prepare it again"
    assert lines and all(line.startswith("reading 0/?") for line in lines)


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
    *(f"experiments.{name}" for name in ("compare", "study", "full_size")),
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
