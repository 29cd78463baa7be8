"""Text from files is made visible before it reaches a terminal: in errors, warnings and reports."""

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest

from data_prep.__main__ import app as data_prep
from dgex import console
from dgex.cli import app as dgex
from dgex.errors import DgexError, visible
from dgex.model.directory import load_model, save_model

HOSTILE = "GSM\x1b[2J\x1b]0;title\x07\n\u202e1\x9b\u2028!"
SHOWN = r"GSM\x1b[2J\x1b]0;title\x07\n\u202e1\x9b\u2028!"


def test_what_would_not_print_is_escaped_as_repr_does():
    assert visible(HOSTILE) == SHOWN == repr(HOSTILE)[1:-1]
    assert visible(visible(HOSTILE)) == SHOWN
    for text in ("", "α → β, 'x' \"y\"", "50 % of a\\b", "遺伝子", "[red]"):
        assert visible(text) == text
    assert visible("a\udcffb") == r"a\udcffb"  # an undecodable byte of a file's name


def test_errors_and_warnings(capsys, refused):
    def fail():
        raise DgexError(f"a.gct: holds {HOSTILE} twice")

    assert refused(fail) == f"error: a.gct: holds {SHOWN} twice\n"
    with pytest.raises(DgexError) as error:
        fail()
    assert str(error.value) == f"a.gct: holds {SHOWN} twice"
    console.warn(HOSTILE)
    assert capsys.readouterr() == ("", f"warning: {SHOWN}\n")


def test_reports_keep_their_lines(capsys):
    console.say(f"one\x1b[1m\n\n{3} three\t")
    assert capsys.readouterr() == ("one\\x1b[1m\n\n3 three\\t\n", "")


def run(app, *arguments) -> int:
    with pytest.raises(SystemExit) as stop:
        console.run(lambda: app([str(argument) for argument in arguments]))
    return stop.value.code


def test_names_of_a_hostile_file(model_files, small_data, tmp_path, capsys):
    """Ids of profiles and genes, a field and its entries: what ``inspect`` and ``predict`` tell of a file."""
    genes = [f"g{HOSTILE}", *small_data.landmark_genes.ensembl]
    values = np.hstack([np.ones((3, 1)), 20 - small_data.landmark[:3]]).astype(np.float32)  # high where others are low
    obs = pd.DataFrame({f"f{HOSTILE}": [1, 2, 3], "study_id": [HOSTILE] * 3}, [f"s{row}{HOSTILE}" for row in range(3)])
    path = tmp_path / "some.h5ad"
    anndata.AnnData(values, obs, pd.DataFrame(index=genes)).write_h5ad(path)
    assert run(data_prep, "inspect", path) == 0
    printed, told = capsys.readouterr()
    assert told == "" and SHOWN in printed and "\x1b" not in printed
    output = tmp_path / "out.csv"
    assert run(dgex, "predict", path, "-m", model_files / "model", "-o", output) == 0
    printed, told = capsys.readouterr()
    assert f"such as s0{SHOWN}, are out of range" in told
    assert run(dgex, "predict", path, "-m", model_files / "model", "-o", output, "--layer", HOSTILE) == 2
    assert "has no layer" in (line := capsys.readouterr().err) and line.count("\n") == 1 and line[:-1].isprintable()


def test_the_card_of_a_model(model_files, tmp_path, capsys):
    """Its file names and notes are someone else's."""
    model = load_model(model_files / "model")
    save_model(tmp_path / "model", replace(model, provenance=model.provenance | {"note": f"Of {HOSTILE}."}))
    assert run(dgex, "info", tmp_path / "model") == 0
    printed = capsys.readouterr().out
    assert r"Of GSM\x1b[2J\x1b]0;title\x07" in printed
    assert printed.replace("\n", "").isprintable()
