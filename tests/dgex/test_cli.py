"""The command ``dgex`` with real files: train, evaluate and info."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import pytest

from dgex import __version__
from dgex.cli import app
from dgex.data import dataset
from dgex.data.dataset import sha256_of
from dgex.data.dataset_writing import write_dataset
from dgex.model import fitting
from dgex.model.directory import load_model, read_card
from dgex.networks import NetworkConfig
from dgex.protocols import QUICK, RESIDUAL, Protocol

# Those of ``small_model``, but for the protocol.
TRAIN = ["--hidden", "16", "--taaf", "hidden", "--dropout", "0.1", "--epochs", "3", "--devices", "1"]


def dgex(*arguments: object) -> None:
    app([str(argument) for argument in arguments], standalone_mode=False)


def row_of(printed: str, split: str) -> list[str]:
    """The network's numbers in the printed table of scores."""
    lines = [line.split("│") for line in printed.splitlines() if line.startswith(f" {split}") and "network" in line]
    assert len(lines) == 1
    return [cell.strip() for cell in lines[0][2:]]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def trained(model_files) -> Path:
    dgex("train", model_files / "made-up.h5", "-o", model_files / "trained", *TRAIN)
    return model_files / "trained"


def test_train_makes_a_model(model_files, trained, small_data):
    model = load_model(trained)
    assert model.config.hidden == (16,) and model.config.taaf == "hidden"
    assert model.provenance["data"]["file"] == "made-up.h5"
    assert model.provenance["data"]["sha256"] == sha256_of(model_files / "made-up.h5")
    assert model.provenance["protocol"]["epochs"] == 3 and model.provenance["protocol"]["learning_rate"] == 1e-3
    assert model.reference.landmark_genes == small_data.landmark_genes
    assert "trained.training" not in names_in(model_files) and not [
        name for name in names_in(model_files) if "partial" in name
    ]


def test_train_says_what_it_made(model_files, tmp_path, capsys):
    dgex("train", model_files / "made-up.h5", "-o", tmp_path / "model", *TRAIN, "--seed", "7")
    printed, told = capsys.readouterr()
    assert told == ""  # no progress bar where there is no terminal
    provenance = load_model(tmp_path / "model").provenance
    assert provenance["seed"] == 7
    validation = provenance["scores"]["validation"]
    first, second, *_, last = printed.splitlines()
    assert {first, second} == {
        f"{name}: validation z-score MAE {validation[name]['zscore_mae']:.4f}"
        for name in ("ridge regression", "mean predictor")
    }
    for split in ("validation", "test"):
        (row,) = [
            line.split("│") for line in printed.splitlines() if line.startswith(f" {split}") and "network" in line
        ]
        assert row[2].strip() == f"{provenance['scores'][split]['network']['zscore_mae']:.4f}"
    assert last == (
        f"{tmp_path}/model: best epoch {provenance['best_epoch']} of 3; `dgex info {tmp_path}/model` has its card"
    )


@pytest.fixture
def asked_for(model_files, tmp_path, monkeypatch) -> Callable[..., tuple[NetworkConfig, Protocol]]:
    """Runs the command with some options, and gives the network and protocol that it would train."""

    class Asked(Exception):
        pass

    def train(dataset, data, config, protocol, *rest, **options):
        raise Asked(config, protocol)

    def ask(*options: str) -> tuple[NetworkConfig, Protocol]:
        with pytest.raises(Asked) as asked:
            dgex("train", model_files / "made-up.h5", "-o", tmp_path / "model", *options)
        return asked.value.args

    monkeypatch.setattr(fitting, "train_model", train)
    return ask


@pytest.mark.parametrize(
    ("hidden", "more", "rate", "init"),
    [("16", (), 5e-4, "dgex"), ("8,8", (), 3e-4, "dgex"), ("16", ("--init", "glorot"), 5e-4, "glorot")],
)
def test_train_takes_all_of_a_protocol(asked_for, hidden, more, rate, init):
    config, protocol = asked_for("--hidden", hidden, "--protocol", "dgex", *more)
    assert (config.init, protocol.loss, protocol.learning_rate) == (init, "sse", rate)


@pytest.mark.parametrize(
    ("options", "protocol", "rate"),
    [
        ((), QUICK, 1.0),
        (("--linear",), RESIDUAL, 0.1),
        (("--linear", "--linear-rate", "0.3"), RESIDUAL, 0.3),
        (("--kernel",), RESIDUAL, 0.0),
        (("--kernel", "--protocol", "quick"), QUICK, 0.0),
    ],
)
def test_what_is_usual_beside_a_linear_path(asked_for, options, protocol, rate):
    config, chosen = asked_for(*options)
    assert (chosen, config.linear_rate, config.linear) == (protocol, rate, bool(options))


def test_a_path_on_the_kernel_has_no_rate(model_files, tmp_path, refused):
    options = "-o", tmp_path / "model", "--kernel", "--linear-rate", "0.1"
    assert "it is not trained" in refused(partial(dgex, "train", model_files / "made-up.h5", *options))


class Stop(Exception):
    """Raised after an epoch, as an interrupt would be."""


def test_a_stopped_training_goes_on_with_resume(model_files, trained, tmp_path, monkeypatch, refused):
    shutil.copy(model_files / "made-up.h5", tmp_path)
    arguments = ["train", tmp_path / "made-up.h5", "-o", tmp_path / "model", *TRAIN]
    fit = fitting.fit
    epochs = []

    def stopping(*given, on_epoch, **options):
        stage = given[5].name

        def stop(row, seconds):
            epochs.append((stage, row.epoch))
            if row.epoch == 2 and epochs.count((stage, 2)) == 1:
                raise Stop
            on_epoch(row, seconds)

        return fit(*given, on_epoch=stop, **options)

    monkeypatch.setattr(fitting, "fit", stopping)
    with pytest.raises(Stop):
        dgex(*arguments)
    assert names_in(tmp_path) == ["made-up.h5", "model.training"]
    assert "holds a run already" in refused(lambda: dgex(*arguments))
    run = tmp_path / "model.training"
    shutil.copytree(run, tmp_path / "other.training")
    (tmp_path / "other.training" / "choose" / "fit.json").unlink()  # as if its removal had been killed
    for more in ([], ["--resume"]):
        said = refused(lambda more=more: dgex(*arguments[:3], tmp_path / "other", *TRAIN, *more))
        assert "other.training/choose: has checkpoints of an unknown run; delete it or move it away" in said
        assert names_in(tmp_path / "other.training" / "choose") == sorted({*names_in(run / "choose")} - {"fit.json"})
    shutil.rmtree(tmp_path / "other.training")
    with pytest.raises(Stop):
        dgex(*arguments, "--resume")
    assert names_in(run) == ["choose", "refit"]
    dgex(*arguments, "--resume")
    assert epochs[0] == ("choose", 1) and epochs[-1] == ("refit", 3)
    assert epochs.count(("choose", 1)) == epochs.count(("refit", 1)) == 1
    assert names_in(tmp_path) == ["made-up.h5", "model"]
    for path in trained.iterdir():
        assert (tmp_path / "model" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--protocol", "slow"], "unknown protocol 'slow'; known: example, "),
        (["--hidden", "many"], "--hidden 'many': give whole numbers, such as 3000,3000,3000, or none"),
        (["--hidden", "none", "--linear"], "linear adds a linear path beside hidden layers, but there are none"),
        (["--hidden", "3.5"], "--hidden '3.5': give whole numbers"),
        (["--hidden", ""], "--hidden '': give whole numbers"),
        (["--hidden", "16,"], "--hidden '16,': give whole numbers"),
        (["--hidden", "16,0"], "every layer needs at least one unit"),
        (["--activation", "step"], "unknown activation 'step'"),
        (["--activation", "pau"], "is itself learnable; a TAAF needs one of"),
        (["--dropout", "1"], "dropout must lie in"),
        (["--devices", "100"], "100 devices requested"),
        (["--note", "none.txt"], "none.txt: cannot be read as a note ("),
        (["--note", "."], ".: cannot be read as a note ("),
    ],
)
def test_trainings_that_are_refused(model_files, tmp_path, monkeypatch, refused, arguments, said):
    """Before the data are read, which may take minutes."""
    for name in ("read_dataset", "sha256_of"):
        monkeypatch.setattr(dataset, name, lambda path: pytest.fail("the data are read"))
    assert said in refused(lambda: dgex("train", model_files / "made-up.h5", "-o", tmp_path / "model", *arguments))
    assert names_in(tmp_path) == []


def test_a_note_ends_the_card(model_files, tmp_path, refused):
    """The card of a training is that of the one without, and the note."""
    note = tmp_path / "note.md"
    note.write_text("\nTrained on a *Sunday*, at 30 °C.\n\n\n")
    arguments = ["train", model_files / "made-up.h5", *TRAIN]
    for name, more in (("plain", []), ("noted", ["--note", note])):
        dgex(*arguments, "-o", tmp_path / name, *more)
    plain, noted = (read_card(tmp_path / name) for name in ("plain", "noted"))
    assert noted == plain + "\n## Notes\n\nTrained on a *Sunday*, at 30 °C.\n"
    note.write_bytes("30 °C".encode("latin-1"))
    said = refused(lambda: dgex(*arguments, "-o", tmp_path / "other", "--note", note))
    assert "note.md: cannot be read as a note (not UTF-8 text)" in said
    assert names_in(tmp_path) == ["note.md", "noted", "plain"]


def test_what_others_put_beside_a_training_is_left(model_files, tmp_path):
    run = tmp_path / "model.training"
    run.mkdir()
    (run / "notes.txt").write_text("mine")
    dgex("train", model_files / "made-up.h5", "-o", tmp_path / "model", *TRAIN)
    assert names_in(tmp_path) == ["model", "model.training"]
    assert names_in(run) == ["notes.txt"] and (run / "notes.txt").read_text() == "mine"


def test_a_training_in_a_folder_that_is_a_link(model_files, tmp_path):
    """To a larger disk, say: the link and what it leads to stay, without what training left."""
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "other.txt").write_text("mine")
    (tmp_path / "model.training").symlink_to("large")
    dgex("train", model_files / "made-up.h5", "-o", tmp_path / "model", *TRAIN)
    assert names_in(tmp_path) == ["large", "model", "model.training"]
    assert (tmp_path / "model.training").is_symlink() and names_in(tmp_path / "large") == ["other.txt"]


def test_a_training_where_no_folder_can_be(model_files, tmp_path, refused):
    (tmp_path / "a.training").symlink_to("nowhere")
    (tmp_path / "b.training").write_text("mine")
    for name in "ab":
        line = refused(partial(dgex, "train", model_files / "made-up.h5", "-o", tmp_path / name, *TRAIN))
        assert f"{name}.training" in line and "cannot be written" in line
    assert names_in(tmp_path) == ["a.training", "b.training"] and (tmp_path / "b.training").read_text() == "mine"


def test_train_does_not_write_over(model_files, tmp_path, refused):
    (tmp_path / "model").mkdir()
    for output in (model_files / "model", model_files / "plate.gct", tmp_path / "model"):
        before = names_in(model_files)
        command = partial(dgex, "train", model_files / "made-up.h5", "-o", output)
        assert "exists already" in refused(command)
        assert names_in(model_files) == before and names_in(tmp_path) == ["model"]


def test_train_on_what_is_no_prepared_file(model_files, tmp_path, refused):
    for source in (model_files / "none.h5", model_files / "plate.gct", model_files):
        assert str(source) in refused(partial(dgex, "train", source, "-o", tmp_path / "model"))
    assert names_in(tmp_path) == []


def test_evaluate(model_files, small_model, capsys):
    dgex("evaluate", model_files / "model", model_files / "made-up.h5", "--devices", 1)
    printed = capsys.readouterr().out
    scores = small_model.provenance["scores"]["test"]
    means = [scores["network"][field] for field in ("zscore_mae", "log2_mae", "pearson", "r2")]
    without = scores["network"]["without_overlap"]["zscore_mae"]
    assert row_of(printed, "test") == [f"{value:.4f}" for value in (*means, without)]
    assert "train: trained the network, so its scores are too good for new profiles\n" in printed
    assert (
        "validation: chose the epoch and calibrated intervals and range, and then trained the network, so its scores "
        "are too good for new profiles\n"
    ) in printed
    share, others = scores["coverage"]["0.5"], scores["coverage"]["0.8"]
    assert (
        f"test, of the values: {share['all']:.1%} in the 50% interval ({share['lowest']:.1%} to {share['highest']:.1%} "
        f"by study), {others['all']:.1%} in the 80% interval ("
    ) in printed
    flagged = scores["well_inferred"]["flagged"]
    assert (
        f"test, genes well inferred here: {flagged:.1%} of flagged; profiles out of range: {scores['out_of_range']:.1%}"
    ) in printed


def test_older_prepared_files_are_read_with_a_word_on_their_gaps(model_files, small_data, tmp_path, capsys):
    provenance = small_data.provenance | {"preparation": {"split": "study", "gaps_filled": 7}}
    write_dataset(tmp_path / "old.h5", replace(small_data, provenance=provenance))
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        del file["missing"]
        file.attrs["schema_version"] = 2
    dgex("evaluate", model_files / "model", tmp_path / "old.h5")
    old = capsys.readouterr()
    assert old.err.startswith(f"warning: {tmp_path}/old.h5: 7 missing values cannot be told from measured ones, ")
    dgex("evaluate", model_files / "model", model_files / "made-up.h5")
    assert old.out == capsys.readouterr().out


def test_evaluate_on_other_genes(model_files, small_data, tmp_path, refused):
    other = replace(small_data, target_genes=replace(small_data.target_genes, symbol=("X",) * 60))
    write_dataset(tmp_path / "other.h5", other)
    line = refused(lambda: dgex("evaluate", model_files / "model", tmp_path / "other.h5"))
    assert f"{tmp_path}/other.h5: has other genes than the model" in line


def test_info(model_files, tmp_path, capsys, refused):
    dgex("info", model_files / "model")
    assert capsys.readouterr().out == read_card(model_files / "model")
    assert "there is no such directory" in refused(lambda: dgex("info", tmp_path / "none"))


def test_version(capsys):
    dgex("--version")
    assert capsys.readouterr().out == f"dgex {__version__}\n"
