"""``dgex predict`` with real files; and bad input, which leaves nothing behind."""

import gzip
import hashlib
import json
import os
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from dgex import __version__
from dgex.cli import app
from dgex.formats.expression import in_memory
from dgex.formats.gctx import write_gctx
from dgex.formats.opening import open_expression
from dgex.formats.writing import WRITERS
from dgex.model.directory import load_model
from dgex.model.in_memory import predict

# Those of ``small_model``, but for the protocol.
TRAIN = ["--hidden", "16", "--taaf", "hidden", "--dropout", "0.1", "--epochs", "3", "--devices", "1"]


def dgex(*arguments: object) -> None:
    app([str(argument) for argument in arguments], standalone_mode=False)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("extension", WRITERS)
def test_predict_writes_what_the_model_gives(model_files, small_data, small_model, tmp_path, extension, capsys):
    output = tmp_path / f"profile{extension}"
    dgex(
        "predict",
        model_files / "plate.gct",
        "-m",
        model_files / "model",
        "-o",
        output,
        "--interval",
        0.9,
        "--devices",
        1,
    )
    wanted = predict(small_model, small_data.landmark[:1])[0]  # any one, for the number of rows
    with open_expression(output) as found:
        found = found.transposed() if found.shape[0] == len(wanted) else found  # Parquet has samples in lines
        values = found.load() if found.shape == (60, 76) else found.transposed().load()
    with open_expression(model_files / "plate.gct") as plate:
        profiles = plate.load()
    expected = predict(small_model, profiles[:1])  # told on its own, so the same to the last bit
    np.testing.assert_array_equal(values[:1], expected)
    printed, told = capsys.readouterr()
    assert "24 of 24 landmarks found by Ensembl id (row ids); 0 rows unused" in printed
    assert "taken as log2" in printed
    assert f"{output}: 60 profiles of 76 genes, log2, in " in printed.splitlines()[-1]
    assert told == "" or told.startswith("warning: ")


def test_predict_keeps_metadata_and_tells_more(model_files, small_model, tmp_path):
    output = tmp_path / "profile.gctx"
    arguments = ["--output-scale", "zscore", "--all-targets", "--interval", "0.5", "--input-scale", "log2"]
    dgex("predict", model_files / "plate.gct", "-m", model_files / "model", "-o", output, *arguments)
    with open_expression(output) as found:
        assert found.shape == (60, 84)
        assert found.sample_metadata["drug"].tolist() == ["a", "b"] * 30
        assert np.isfinite(found.sample_metadata["self_check_error"]).all()
        assert set(found.sample_metadata) >= {"out_of_range", "landmarks_imputed"}
        width = found.row_metadata["interval_50_per_expected_error"]
        np.testing.assert_array_equal(width[24:], small_model.reliability.quantile[0])
        assert found.row_id[24] == "ENSG90000000000:inferred"


@pytest.mark.parametrize("extension", WRITERS)
def test_two_predictions_give_equal_bytes_under_any_name(model_files, tmp_path, extension):
    for folder, name in (("a", "profile"), ("b", "another.name")):
        output = tmp_path / folder / f"{name}{extension}"
        dgex("predict", model_files / "plate.gct", "-m", model_files / "model", "-o", output)
    first, second = (
        {path.name.replace(name, ""): path.read_bytes() for path in (tmp_path / folder).iterdir()}
        for folder, name in (("a", "profile"), ("b", "another.name"))
    )
    assert first == second and extension in first


def test_an_output_says_what_made_it(model_files, tmp_path):
    output = tmp_path / "profile.gct"
    arguments = ["--output-scale", "zscore", "--max-missing", "0.1"]
    dgex("predict", model_files / "plate.gct", "-m", model_files / "model", "-o", output, *arguments)
    found = json.loads((tmp_path / "profile.gct.provenance.json").read_text())
    sums = (model_files / "model" / "SHA256SUMS").read_bytes()
    assert found == {
        "dgex": __version__,
        "model": {"name": "model", "sha256": hashlib.sha256(sums).hexdigest()},
        "input": {"name": "plate.gct", "scale": "log2"},
        "options": {
            "input_scale": "auto",
            "output_scale": "zscore",
            "all_targets": False,
            "max_missing": 0.1,
            "platform": "auto",
        },
    }
    assert str(tmp_path) not in output.read_text() and str(model_files) not in output.read_text()
    # Output is input again.
    dgex("predict", output, "-m", model_files / "model", "-o", tmp_path / "again.csv", "--input-scale", "zscore")
    assert json.loads((tmp_path / "again.csv.provenance.json").read_text())["input"]["name"] == "profile.gct"


def test_predict_warns_on_stderr(model_files, small_plate, tmp_path, capsys):
    table = small_plate
    shuffled = np.random.default_rng(0).permuted(table.load()[:, 2:], axis=1)
    write_gctx(tmp_path / "in.gctx", in_memory(shuffled, table.row_id[2:], table.sample_id))
    dgex(
        "predict",
        tmp_path / "in.gctx",
        "-m",
        model_files / "model",
        "-o",
        tmp_path / "out.csv",
        "--input-scale",
        "log2",
    )
    printed, told = capsys.readouterr()
    assert "2 missing: MADEUP0 (ENSG90000000000); MADEUP1 (ENSG90000000001)" in printed
    imputed, strangers, *rest = told.splitlines()
    assert imputed.startswith("warning: 60 of 60 profiles lack landmarks (up to 2)")
    assert strangers.startswith("warning: ") and "are out of range" in strangers
    assert rest[0].startswith("warning: well_inferred is left empty, since the self-check fails")
    assert "platform: array (60), which" in printed and "Hidden landmarks of these profiles are inferred" in printed


def frame_of(small_plate) -> pd.DataFrame:
    table = small_plate
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
    "log2 as z-scores": (text_of, ["--input-scale", "zscore"], "are not z-scores"),
    "an all-zero profile": (lambda f: text_of(f.assign(s3=0.0)), [], "s3 has one value throughout"),
    "all zero": (lambda f: text_of(f * 0), [], "every profile has one value throughout"),
    "an empty profile": (lambda f: text_of(f.assign(s3=np.nan)), [], "s3 has no value of any landmark"),
    "nothing but NaN": (lambda f: text_of(f * np.nan), [], "has no value of any gene"),
    "a late profile": (lambda f: text_of(many(f)), [], "s59-25 has one value throughout"),
    "too few landmarks": (lambda f: text_of(f[5:]), [], "every profile lacks 5 of the 24 landmarks"),
    "no landmark": (lambda f: text_of(f.set_axis([f"x{n}" for n in range(24)])), [], "are not recognised"),
    "a sample twice": (lambda f: text_of(f).replace("s1,", "s0,", 1), [], "s0"),
    "decimal commas": (lambda f: text_of(f, sep="\t", decimal=","), [], "comma"),
    "semicolons": (lambda f: text_of(f, sep=";", decimal=","), [], "separated by semicolons"),
    "infinity": (lambda f: text_of(f.assign(s3=np.inf)), [], "holds an infinite value"),
    "a word": (lambda f: text_of(f).replace(",", ",oops", 70).replace("oops", "", 69), [], "oops"),
    "no lines": (lambda f: text_of(f[:0]), [], "empty"),
    "nothing": (lambda f: "", [], "is empty"),
    "a cut line": (lambda f: text_of(f)[:-80], [], "has 53 fields where 61 belong"),
    "no table": (lambda f: "\0\1\2", [], "no known format"),
    "a level that is not available": (
        text_of,
        ["--interval", "0.7"],
        "interval 0.7: is not available; choose from 0.5",
    ),
    "a share of landmarks": (text_of, ["--max-missing", "1.5"], "max_missing is a share of the landmarks"),
    "too many devices": (text_of, ["--devices", "100"], "100 devices requested"),
}


@pytest.mark.parametrize("extension", [".gctx", ".csv.gz"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input(model_files, small_plate, tmp_path, refused, case, extension):
    make, more, said = BAD[case]
    (tmp_path / "in.csv").write_text(make(frame_of(small_plate)))
    output = tmp_path / f"out{extension}"
    line = refused(lambda: dgex("predict", tmp_path / "in.csv", "-m", model_files / "model", "-o", output, *more))
    assert said in line
    assert names_in(tmp_path) == ["in.csv"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.gctx", lambda gct: gct, "GCT text under the name of a GCTX file; rename it to .gct"),
        ("in.gct", lambda gct: gct[: len(gct) // 2], "in.gct"),
        ("in.gct.gz", lambda gct: gzip.compress(gct, mtime=0)[:-200], "in.gct.gz"),
        ("in.gct", lambda gct: gct.replace(b"24\t60", b"0\t60", 1), "is empty"),
    ],
)
def test_bad_gct(model_files, tmp_path, refused, name, content, said):
    (tmp_path / name).write_bytes(content((model_files / "plate.gct").read_bytes()))
    output = tmp_path / "out.gctx"
    assert said in refused(lambda: dgex("predict", tmp_path / name, "-m", model_files / "model", "-o", output))
    assert names_in(tmp_path) == [name]


def test_a_transposed_table_is_read_as_it_is(model_files, small_plate, tmp_path, capsys):
    """A table of genes in columns is none that is wrong."""
    frame_of(small_plate).T.to_csv(tmp_path / "in.tsv", sep="\t", index_label="sample")
    for source, name in ((model_files / "plate.gct", "a.gctx"), (tmp_path / "in.tsv", "b.gctx")):
        dgex("predict", source, "-m", model_files / "model", "-o", tmp_path / name)
    assert "found by Ensembl id (column ids); 0 columns unused" in capsys.readouterr().out
    with h5py.File(tmp_path / "a.gctx") as a, h5py.File(tmp_path / "b.gctx") as b:
        np.testing.assert_array_equal(a["0/DATA/0/matrix"], b["0/DATA/0/matrix"])


def test_anndata_in_and_out(model_files, small_plate, tmp_path):
    given = anndata.AnnData(frame_of(small_plate).T)
    given.obs["tissue"] = "liver"
    given.write_h5ad(tmp_path / "in.h5ad")
    dgex("predict", tmp_path / "in.h5ad", "-m", model_files / "model", "-o", tmp_path / "out.h5ad")
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert found.shape == (60, 76) and set(found.obs["tissue"]) == {"liver"}
    assert found.obs["self_check_error"].notna().all()


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
def test_outputs_that_are_refused(model_files, tmp_path, refused, output, said):
    shutil.copy(model_files / "plate.gct", tmp_path / "in.gct")
    (tmp_path / "folder.csv").mkdir()
    before = (tmp_path / "in.gct").read_bytes()
    line = refused(lambda: dgex("predict", tmp_path / "in.gct", "-m", model_files / "model", "-o", tmp_path / output))
    assert said in line and output in line
    assert names_in(tmp_path) == ["folder.csv", "in.gct"] and (tmp_path / "in.gct").read_bytes() == before


def test_a_failed_prediction_leaves_the_old_output(model_files, small_plate, tmp_path, refused):
    (tmp_path / "in.csv").write_text(text_of(many(frame_of(small_plate))))
    (tmp_path / "out.gctx").write_text("old")
    refused(lambda: dgex("predict", tmp_path / "in.csv", "-m", model_files / "model", "-o", tmp_path / "out.gctx"))
    assert (tmp_path / "out.gctx").read_text() == "old" and names_in(tmp_path) == ["in.csv", "out.gctx"]


def test_inputs_that_are_not_there(model_files, tmp_path, refused):
    output = tmp_path / "out.gctx"
    for table, model, named in (
        (tmp_path / "none.gct", model_files / "model", "none.gct"),
        (tmp_path, model_files / "model", str(tmp_path)),
        (model_files / "plate.gct", tmp_path / "none", "none: there is no such directory"),
        (model_files / "plate.gct", model_files, "is not a model directory"),
    ):
        assert named in refused(partial(dgex, "predict", table, "-m", model, "-o", output))
    assert names_in(tmp_path) == []


def test_an_altered_model(model_files, tmp_path, refused):
    shutil.copytree(model_files / "model", tmp_path / "model")
    weights = bytearray((tmp_path / "model/weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model/weights.safetensors").write_bytes(weights)
    arguments = ["-m", tmp_path / "model", "-o", tmp_path / "out.gctx"]
    assert "weights.safetensors is not as it was written" in refused(
        lambda: dgex("predict", model_files / "plate.gct", *arguments)
    )
    assert names_in(tmp_path) == ["model"]


@pytest.mark.parametrize("extension", [".gctx", ".gct", ".csv", ".h5ad"])  # of Parquet nobody knows the size before
def test_a_full_disk(model_files, tmp_path, monkeypatch, refused, extension):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=2**20))
    output = tmp_path / f"out{extension}"
    line = refused(lambda: dgex("predict", model_files / "plate.gct", "-m", model_files / "model", "-o", output))
    assert "make room" in line
    assert names_in(tmp_path) == []


def test_flags_choose_rows_and_profiles(model_files, tmp_path):
    dgex("predict", model_files / "plate.gct", "-m", model_files / "model", "-o", tmp_path / "out.h5ad")
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert found.var.well_inferred.dtype == bool and found.obs.out_of_range.dtype == bool
    measured = found.var.kind == "measured"
    assert found[:, found.var.well_inferred & measured].n_vars == measured.sum()


def test_a_pipe_is_no_file(model_files, tmp_path, refused):
    os.mkfifo(tmp_path / "pipe")
    arguments = [tmp_path / "pipe", "-m", model_files / "model", "-o", tmp_path / "out.gctx"]
    assert "save it to a file first" in refused(lambda: dgex("predict", *arguments))


def test_a_name_that_is_too_long(model_files, tmp_path, refused):
    arguments = [model_files / "plate.gct", "-m", model_files / "model", "-o", tmp_path / f"{'x' * 250}.csv"]
    assert "is too long a name" in refused(lambda: dgex("predict", *arguments))
    assert not names_in(tmp_path)


@pytest.mark.filterwarnings("ignore:.* out of range:UserWarning")
def test_a_layer_of_a_file_without_x(shared, tmp_path, capsys, refused):
    """Its counts are read as those of a file that has them as X."""
    case = shared / "data" / "cases" / "nox.h5ad"
    output = tmp_path / "out.h5ad"
    line = refused(partial(dgex, "predict", case, "-o", output))
    assert "has no X; choose one of its 'counts' (--layer NAME)" in line
    assert "has no layer 'spliced'" in refused(partial(dgex, "predict", case, "-o", output, "--layer", "spliced"))
    dgex("predict", case, "-o", output, "--layer", "counts")
    assert f"{case}: h5ad, layer counts, 943 of 943" in capsys.readouterr().out
    adata = anndata.read_h5ad(case)
    wanted = predict(load_model(), adata, layer="counts")
    np.testing.assert_array_equal(anndata.read_h5ad(output).X, wanted.X)
    adata.X = adata.layers.pop("counts")
    adata.write_h5ad(tmp_path / "x.h5ad")
    dgex("predict", tmp_path / "x.h5ad", "-o", tmp_path / "x_out.h5ad")
    np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "x_out.h5ad").X, wanted.X)


def test_layers_are_for_h5ad(model_files, tmp_path, refused):
    line = refused(partial(dgex, "predict", model_files / "plate.gct", "-o", tmp_path / "o.csv", "--layer", "counts"))
    assert "plate.gct: is a GCT 1.3 and has no layers, which h5ad has; leave out --layer" in line


def test_tables_of_public_portals(model_files, small_data, tmp_path, published, capsys):
    """One experiment in every layout gives one prediction, as ranks within a profile do not depend on the unit."""
    random = np.random.default_rng(0)
    genes = small_data.landmark_genes
    level = random.permutation(len(genes))[:, None] / len(genes) * 12
    tpm = np.exp2(level + random.normal(0, 0.5, (len(genes), 6)))
    tpm[0] = 0
    tpm *= 1e6 / tpm.sum(axis=0)
    counts = np.rint(tpm * 1000).astype(int)  # so deep that they keep the order of TPM
    first = None
    for name, scale in published(tmp_path, list(genes.ensembl), list(genes.symbol), tpm, counts).items():
        dgex("predict", tmp_path / name, "-m", model_files / "model", "-o", tmp_path / "out.csv", "--max-missing", 0)
        printed = capsys.readouterr().out
        assert f"taken as {scale.replace('counts', 'linear')}: " in printed, name
        values = pd.read_csv(tmp_path / "out.csv", index_col=0)
        first = values if first is None else first
        np.testing.assert_allclose(values, first, atol=0.05, err_msg=name)
    assert "sums of base coverage (recount3)" in printed


def test_shallow_cells_are_counts(shared, tmp_path, capsys):
    """One cell stays below 32; sparse, in whole numbers."""
    dgex("predict", shared / "data" / "cases" / "umi.h5ad", "-o", tmp_path / "out.gctx")
    assert "taken as linear" in capsys.readouterr().out


def test_ids_stay_what_they_are(model_files, small_data, tmp_path, capsys):
    """They are keys, also where a spreadsheet would take them for a formula."""
    values = small_data.landmark[:1]
    table = in_memory(values, small_data.landmark_genes.ensembl, ["=cmd|' /C calc'!A0"])
    write_gctx(tmp_path / "some.gctx", table)
    dgex("predict", tmp_path / "some.gctx", "-m", model_files / "model", "-o", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == "id,=cmd|' /C calc'!A0"
