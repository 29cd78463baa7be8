"""The command ``dgex`` with real files: train, evaluate, info, predict; and bad input, which leaves nothing behind."""

import gzip
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from dgex import dataset, fitting
from dgex.cli import app
from dgex.dataset import sha256_of, write_dataset
from dgex.formats.gct import write_gct
from dgex.formats.gctx import write_gctx
from dgex.formats.matrix import in_memory
from dgex.formats.opening import open_expression
from dgex.formats.writing import WRITERS
from dgex.model_directory import load_model, read_card, save_model

# Those of ``small_model``, but for the protocol.
TRAIN = ["--hidden", "16", "--taaf", "hidden", "--dropout", "0.1", "--epochs", "3", "--devices", "1"]


def dgex(*arguments: object) -> None:
    app([str(argument) for argument in arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def folder(small_data, small_model, tmp_path_factory) -> Path:
    """A prepared file, a model, and a plate of its test profiles."""
    folder = tmp_path_factory.mktemp("files")
    write_dataset(folder / "made-up.h5", small_data)
    save_model(folder / "model", small_model)
    write_gct(folder / "plate.gct", plate_of(small_data))
    return folder


def plate_of(small_data):
    values = small_data.landmark[small_data.split == 2]
    names = [f"s{row}" for row in range(len(values))]
    told = {"drug": np.array(["a", "b"] * 30)}
    return in_memory(values, small_data.landmark_genes.ensembl, names, {}, told)


def row_of(printed: str, split: str) -> list[str]:
    """The network's numbers in the printed table of scores."""
    lines = [line.split("│") for line in printed.splitlines() if line.startswith(f" {split}") and "network" in line]
    assert len(lines) == 1
    return [cell.strip() for cell in lines[0][2:]]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def trained(folder) -> Path:
    dgex("train", folder / "made-up.h5", "-o", folder / "trained", *TRAIN)
    return folder / "trained"


def test_train_makes_a_model(folder, trained, small_data):
    model = load_model(trained)
    assert model.config.hidden == (16,) and model.config.taaf == "hidden"
    assert model.provenance["data"]["file"] == "made-up.h5"
    assert model.provenance["data"]["sha256"] == sha256_of(folder / "made-up.h5")
    assert model.provenance["protocol"]["epochs"] == 3 and model.provenance["protocol"]["learning_rate"] == 1e-3
    assert model.reference.landmark_genes == small_data.landmark_genes
    assert "trained.training" not in names_in(folder) and not [name for name in names_in(folder) if "partial" in name]


def test_train_says_what_it_made(folder, tmp_path, capsys):
    dgex("train", folder / "made-up.h5", "-o", tmp_path / "model", *TRAIN, "--seed", "7")
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


class Stop(Exception):
    """Raised after an epoch, as an interrupt would be."""


def test_a_stopped_training_goes_on_with_resume(folder, trained, tmp_path, monkeypatch, refused):
    shutil.copy(folder / "made-up.h5", tmp_path)
    arguments = ["train", tmp_path / "made-up.h5", "-o", tmp_path / "model", *TRAIN]
    fit = fitting.fit
    epochs = []

    def stopping(*given, on_epoch, **options):
        def stop(row, seconds):
            epochs.append(row.epoch)
            if row.epoch == 2 and epochs.count(2) == 1:
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
    (tmp_path / "other.training" / "fit.json").unlink()  # as if its removal had been killed
    for more in ([], ["--resume"]):
        said = refused(lambda more=more: dgex(*arguments[:3], tmp_path / "other", *TRAIN, *more))
        assert "other.training: has checkpoints of an unknown run; delete it or move it away" in said
        assert names_in(tmp_path / "other.training") == sorted({*names_in(run)} - {"fit.json"})
    shutil.rmtree(tmp_path / "other.training")
    dgex(*arguments, "--resume")
    assert epochs[0] == 1 and epochs[-1] == 3 and epochs.count(1) == 1
    assert names_in(tmp_path) == ["made-up.h5", "model"]
    for path in trained.iterdir():
        assert (tmp_path / "model" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--protocol", "slow"], "unknown protocol 'slow'; known: example, "),
        (["--hidden", "many"], "--hidden 'many': give whole numbers, such as 300 or 3000,3000,3000"),
        (["--hidden", "3.5"], "--hidden '3.5': give whole numbers"),
        (["--hidden", ""], "--hidden '': give whole numbers"),
        (["--hidden", "16,"], "--hidden '16,': give whole numbers"),
        (["--hidden", "16,0"], "every layer needs at least one unit"),
        (["--activation", "step"], "unknown activation 'step'"),
        (["--activation", "pau"], "is learnt already; a TAAF needs one of"),
        (["--dropout", "1"], "dropout must lie in"),
        (["--devices", "100"], "100 devices asked for"),
        (["--note", "none.txt"], "none.txt: cannot be read as a note ("),
        (["--note", "."], ".: cannot be read as a note ("),
    ],
)
def test_trainings_that_are_refused(folder, tmp_path, monkeypatch, refused, arguments, said):
    """Before the data are read, which may take minutes."""
    for name in ("read_dataset", "sha256_of"):
        monkeypatch.setattr(dataset, name, lambda path: pytest.fail("the data are read"))
    assert said in refused(lambda: dgex("train", folder / "made-up.h5", "-o", tmp_path / "model", *arguments))
    assert names_in(tmp_path) == []


def test_a_note_ends_the_card(folder, tmp_path, refused):
    """The card of a training is that of the one without, and the note."""
    note = tmp_path / "note.md"
    note.write_text("\nTrained on a *Sunday*, at 30 °C.\n\n\n")
    arguments = ["train", folder / "made-up.h5", *TRAIN]
    for name, more in (("plain", []), ("noted", ["--note", note])):
        dgex(*arguments, "-o", tmp_path / name, *more)
    plain, noted = (read_card(tmp_path / name) for name in ("plain", "noted"))
    assert noted == plain + "\n## Notes\n\nTrained on a *Sunday*, at 30 °C.\n"
    note.write_bytes("30 °C".encode("latin-1"))
    said = refused(lambda: dgex(*arguments, "-o", tmp_path / "other", "--note", note))
    assert "note.md: cannot be read as a note (not UTF-8 text)" in said
    assert names_in(tmp_path) == ["note.md", "noted", "plain"]


def test_what_others_put_beside_a_training_is_left(folder, tmp_path):
    run = tmp_path / "model.training"
    run.mkdir()
    (run / "notes.txt").write_text("mine")
    dgex("train", folder / "made-up.h5", "-o", tmp_path / "model", *TRAIN)
    assert names_in(tmp_path) == ["model", "model.training"]
    assert names_in(run) == ["notes.txt"] and (run / "notes.txt").read_text() == "mine"


def test_a_training_in_a_folder_that_is_a_link(folder, tmp_path):
    """To a larger disk, say: the link and what it leads to stay, without what training left."""
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "other.txt").write_text("mine")
    (tmp_path / "model.training").symlink_to("large")
    dgex("train", folder / "made-up.h5", "-o", tmp_path / "model", *TRAIN)
    assert names_in(tmp_path) == ["large", "model", "model.training"]
    assert (tmp_path / "model.training").is_symlink() and names_in(tmp_path / "large") == ["other.txt"]


def test_a_training_where_no_folder_can_be(folder, tmp_path, refused):
    (tmp_path / "a.training").symlink_to("nowhere")
    (tmp_path / "b.training").write_text("mine")
    for name in "ab":
        line = refused(partial(dgex, "train", folder / "made-up.h5", "-o", tmp_path / name, *TRAIN))
        assert f"{name}.training" in line and "cannot be written" in line
    assert names_in(tmp_path) == ["a.training", "b.training"] and (tmp_path / "b.training").read_text() == "mine"


def test_train_does_not_write_over(folder, tmp_path, refused):
    (tmp_path / "model").mkdir()
    for output in (folder / "model", folder / "plate.gct", tmp_path / "model"):
        before = names_in(folder)
        command = partial(dgex, "train", folder / "made-up.h5", "-o", output)
        assert "is there already" in refused(command)
        assert names_in(folder) == before and names_in(tmp_path) == ["model"]


def test_train_on_what_is_no_prepared_file(folder, tmp_path, refused):
    for source in (folder / "none.h5", folder / "plate.gct", folder):
        assert str(source) in refused(partial(dgex, "train", source, "-o", tmp_path / "model"))
    assert names_in(tmp_path) == []


def test_evaluate(folder, small_model, capsys):
    dgex("evaluate", folder / "model", folder / "made-up.h5", "--devices", 1)
    printed = capsys.readouterr().out
    for split in ("validation", "test"):
        scores = small_model.provenance["scores"][split]
        (row,) = [
            line.split("│") for line in printed.splitlines() if line.startswith(f" {split}") and "network" in line
        ]
        means = [scores["network"][field] for field in ("zscore_mae", "log2_mae", "pearson", "r2")]
        without = scores["network"]["without_overlap"]["zscore_mae"]
        assert row_of(printed, split) == [f"{value:.4f}" for value in (*means, without)]
    assert "train: trained the network, and says too much of new profiles\n" in printed
    assert "validation: chose the epoch and calibrated intervals and range, and says too much" in printed
    share, others = scores["coverage"]["0.5"], scores["coverage"]["0.8"]
    assert (
        f"test, of the values: {share['all']:.1%} in the 50% interval ({share['lowest']:.1%} to {share['highest']:.1%} "
        f"by study), {others['all']:.1%} in the 80% interval ("
    ) in printed
    flagged = scores["well_inferred"]["flagged"]
    assert (
        f"test, genes well inferred here: {flagged:.1%} of flagged; profiles out of range: {scores['out_of_range']:.1%}"
    ) in printed


def test_evaluate_on_other_genes(folder, small_data, tmp_path, refused):
    other = replace(small_data, target_genes=replace(small_data.target_genes, symbol=("X",) * 60))
    write_dataset(tmp_path / "other.h5", other)
    line = refused(lambda: dgex("evaluate", folder / "model", tmp_path / "other.h5"))
    assert f"{tmp_path}/other.h5: has other genes than the model" in line


def test_info(folder, tmp_path, capsys, refused):
    dgex("info", folder / "model")
    assert capsys.readouterr().out == (folder / "model" / "MODEL_CARD.md").read_text()
    assert "there is no such directory" in refused(lambda: dgex("info", tmp_path / "none"))


@pytest.mark.parametrize("extension", WRITERS)
def test_predict_writes_what_the_model_gives(folder, small_data, small_model, tmp_path, extension, capsys):
    output = tmp_path / f"profile{extension}"
    dgex("predict", folder / "plate.gct", "-m", folder / "model", "-o", output, "--interval", 0.9, "--devices", 1)
    wanted = small_model.predict(small_data.landmark[:1])[0]  # any one, for the number of rows
    with open_expression(output) as found:
        found = found.transposed() if found.shape[0] == len(wanted) else found  # Parquet has samples in lines
        values = found.load() if found.shape == (60, 76) else found.transposed().load()
    with open_expression(folder / "plate.gct") as plate:
        profiles = plate.load()
    expected = small_model.predict(profiles[:1])  # told on its own, so the same to the last bit
    np.testing.assert_array_equal(values[:1], expected)
    printed, told = capsys.readouterr()
    assert "24 of 24 landmarks found by Ensembl id (row ids); 0 rows unused" in printed
    assert "taken as log2" in printed
    assert f"{output}: 60 profiles of 76 genes, log2, in " in printed.splitlines()[-1]
    assert told == "" or told.startswith("warning: ")


def test_predict_keeps_metadata_and_tells_more(folder, small_model, tmp_path):
    output = tmp_path / "profile.gctx"
    arguments = ["--output-scale", "zscore", "--all-targets", "--interval", "0.5", "--input-scale", "log2"]
    dgex("predict", folder / "plate.gct", "-m", folder / "model", "-o", output, *arguments)
    with open_expression(output) as found:
        assert found.shape == (60, 84)
        assert found.sample_metadata["drug"].tolist() == ["a", "b"] * 30
        assert np.isfinite(found.sample_metadata["distance"]).all()
        assert set(found.sample_metadata) >= {"out_of_range", "landmarks_imputed"}
        width = found.row_metadata["interval_50_half_width"]
        np.testing.assert_array_equal(width[24:], small_model.reliability.half_width[0])
        assert found.row_id[24] == "ENSG90000000000:inferred"


def test_two_predictions_give_equal_bytes(folder, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        dgex("predict", folder / "plate.gct", "-m", folder / "model", "-o", tmp_path / name / "profile.gctx")
    assert (tmp_path / "a/profile.gctx").read_bytes() == (tmp_path / "b/profile.gctx").read_bytes()


def test_predict_warns_on_stderr(folder, small_data, tmp_path, capsys):
    table = plate_of(small_data)
    shuffled = np.random.default_rng(0).permuted(table.load()[:, 2:], axis=1)
    write_gctx(tmp_path / "in.gctx", in_memory(shuffled, table.row_id[2:], table.sample_id))
    dgex("predict", tmp_path / "in.gctx", "-m", folder / "model", "-o", tmp_path / "out.csv", "--input-scale", "log2")
    printed, told = capsys.readouterr()
    assert "2 missing: MADEUP0 (ENSG90000000000); MADEUP1 (ENSG90000000001)" in printed
    imputed, strangers = told.splitlines()
    assert imputed.startswith("warning: 60 of 60 profiles lack landmarks (up to 2)")
    assert strangers.startswith("warning: ") and "are out of range" in strangers


def frame_of(small_data) -> pd.DataFrame:
    table = plate_of(small_data)
    return pd.DataFrame(table.load().T, table.row_id, table.sample_id)


def text_of(frame: pd.DataFrame, **options) -> str:
    return frame.to_csv(None, index_label="id", **options)


def many(frame: pd.DataFrame) -> pd.DataFrame:
    """1,560 profiles, of which the last is wrong: seen when the first are written."""
    repeated = pd.concat([frame.add_suffix(f"-{number}") for number in range(26)], axis=1)
    repeated.iloc[:, -1] = 5.0
    return repeated


BAD = {
    "counts as log2": (lambda f: text_of(np.exp2(f)), ["--input-scale", "log2"], "counts or linear, not log2"),
    "centred": (lambda f: text_of(f.sub(f.mean(axis=1), axis=0)), [], "centred gene by gene"),
    "log2 as z-scores": (text_of, ["--input-scale", "zscore"], "are no z-scores"),
    "an all-zero profile": (lambda f: text_of(f.assign(s3=0.0)), [], "s3 has one value throughout"),
    "all zero": (lambda f: text_of(f * 0), [], "every profile has one value throughout"),
    "an empty profile": (lambda f: text_of(f.assign(s3=np.nan)), [], "s3 has no value of any landmark"),
    "nothing but NaN": (lambda f: text_of(f * np.nan), [], "has no value of any gene"),
    "a late profile": (lambda f: text_of(many(f)), [], "s59-25 has one value throughout"),
    "too few landmarks": (lambda f: text_of(f[5:]), [], "every profile lacks 5 of the 24 landmarks"),
    "no landmark": (lambda f: text_of(f.set_axis([f"x{n}" for n in range(24)])), [], "are not recognised"),
    "a gene twice": (lambda f: text_of(pd.concat([f, f[:1]])), [], "ENSG90000000000"),
    "a sample twice": (lambda f: text_of(f).replace("s1,", "s0,", 1), [], "s0"),
    "decimal commas": (lambda f: text_of(f, sep="\t", decimal=","), [], "comma"),
    "semicolons": (lambda f: text_of(f, sep=";", decimal=","), [], "separated by semicolons"),
    "infinity": (lambda f: text_of(f.assign(s3=np.inf)), [], "holds an infinite value"),
    "a word": (lambda f: text_of(f).replace(",", ",oops", 70).replace("oops", "", 69), [], "oops"),
    "no lines": (lambda f: text_of(f[:0]), [], "empty"),
    "nothing": (lambda f: "", [], "is empty"),
    "a cut line": (lambda f: text_of(f)[:-80], [], "has 53 fields where 61 belong"),
    "no table": (lambda f: "\0\1\2", [], "no known format"),
    "a level that is not kept": (text_of, ["--interval", "0.7"], "interval 0.7: is not kept; choose from 0.5, 0.8"),
    "a share of landmarks": (text_of, ["--max-missing", "1.5"], "max_missing is a share of the landmarks"),
    "too many devices": (text_of, ["--devices", "100"], "100 devices asked for"),
}


@pytest.mark.parametrize("extension", [".gctx", ".csv.gz"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input(folder, small_data, tmp_path, refused, case, extension):
    make, more, said = BAD[case]
    (tmp_path / "in.csv").write_text(make(frame_of(small_data)))
    output = tmp_path / f"out{extension}"
    line = refused(lambda: dgex("predict", tmp_path / "in.csv", "-m", folder / "model", "-o", output, *more))
    assert said in line
    assert names_in(tmp_path) == ["in.csv"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.gctx", lambda gct: gct, "GCT text under the name of a GCTX file; rename it to .gct"),
        ("in.gct", lambda gct: gct[: len(gct) // 2], "in.gct"),
        ("in.gct.gz", lambda gct: gzip.compress(gct)[:-200], "in.gct.gz"),
        ("in.gct", lambda gct: gct.replace(b"24\t60", b"0\t60", 1), "is empty"),
    ],
)
def test_bad_gct(folder, tmp_path, refused, name, content, said):
    (tmp_path / name).write_bytes(content((folder / "plate.gct").read_bytes()))
    output = tmp_path / "out.gctx"
    assert said in refused(lambda: dgex("predict", tmp_path / name, "-m", folder / "model", "-o", output))
    assert names_in(tmp_path) == [name]


def test_a_transposed_table_is_read_as_it_is(folder, small_data, tmp_path, capsys):
    """A table of genes in columns is none that is wrong."""
    frame_of(small_data).T.to_csv(tmp_path / "in.tsv", sep="\t", index_label="sample")
    for source, name in ((folder / "plate.gct", "a.gctx"), (tmp_path / "in.tsv", "b.gctx")):
        dgex("predict", source, "-m", folder / "model", "-o", tmp_path / name)
    assert "found by Ensembl id (column ids); 0 columns unused" in capsys.readouterr().out
    with h5py.File(tmp_path / "a.gctx") as a, h5py.File(tmp_path / "b.gctx") as b:
        np.testing.assert_array_equal(a["0/DATA/0/matrix"], b["0/DATA/0/matrix"])


def test_anndata_in_and_out(folder, small_data, tmp_path):
    given = anndata.AnnData(frame_of(small_data).T)
    given.obs["tissue"] = "liver"
    given.write_h5ad(tmp_path / "in.h5ad")
    dgex("predict", tmp_path / "in.h5ad", "-m", folder / "model", "-o", tmp_path / "out.h5ad")
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert found.shape == (60, 76) and set(found.obs["tissue"]) == {"liver"}
    assert found.obs["distance"].notna().all()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("out.xlsx", "unknown extension"),
        ("out", "unknown extension"),
        ("folder.csv", "cannot be written"),
        ("in.gct", "is read to make this output"),
        ("in.gct/out.csv", "cannot be written"),
    ],
)
def test_outputs_that_are_refused(folder, tmp_path, refused, output, said):
    shutil.copy(folder / "plate.gct", tmp_path / "in.gct")
    (tmp_path / "folder.csv").mkdir()
    before = (tmp_path / "in.gct").read_bytes()
    line = refused(lambda: dgex("predict", tmp_path / "in.gct", "-m", folder / "model", "-o", tmp_path / output))
    assert said in line and output in line
    assert names_in(tmp_path) == ["folder.csv", "in.gct"] and (tmp_path / "in.gct").read_bytes() == before


def test_a_failed_prediction_leaves_the_old_output(folder, small_data, tmp_path, refused):
    (tmp_path / "in.csv").write_text(text_of(many(frame_of(small_data))))
    (tmp_path / "out.gctx").write_text("old")
    refused(lambda: dgex("predict", tmp_path / "in.csv", "-m", folder / "model", "-o", tmp_path / "out.gctx"))
    assert (tmp_path / "out.gctx").read_text() == "old" and names_in(tmp_path) == ["in.csv", "out.gctx"]


def test_inputs_that_are_not_there(folder, tmp_path, refused):
    output = tmp_path / "out.gctx"
    for table, model, named in (
        (tmp_path / "none.gct", folder / "model", "none.gct"),
        (tmp_path, folder / "model", str(tmp_path)),
        (folder / "plate.gct", tmp_path / "none", "none: there is no such directory"),
        (folder / "plate.gct", folder, "is no model directory"),
    ):
        assert named in refused(partial(dgex, "predict", table, "-m", model, "-o", output))
    assert names_in(tmp_path) == []


def test_an_altered_model(folder, tmp_path, refused):
    shutil.copytree(folder / "model", tmp_path / "model")
    weights = bytearray((tmp_path / "model/weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model/weights.safetensors").write_bytes(weights)
    arguments = ["-m", tmp_path / "model", "-o", tmp_path / "out.gctx"]
    assert "weights.safetensors is not as it was written" in refused(
        lambda: dgex("predict", folder / "plate.gct", *arguments)
    )
    assert names_in(tmp_path) == ["model"]


@pytest.mark.parametrize("extension", [".gctx", ".gct", ".csv", ".h5ad"])  # of Parquet nobody knows the size before
def test_a_full_disk(folder, tmp_path, monkeypatch, refused, extension):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=2**20))
    output = tmp_path / f"out{extension}"
    line = refused(lambda: dgex("predict", folder / "plate.gct", "-m", folder / "model", "-o", output))
    assert "make room" in line
    assert names_in(tmp_path) == []
