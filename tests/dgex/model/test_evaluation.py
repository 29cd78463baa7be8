"""Scores of predictions for tables that hold landmarks and targets, against numpy and scipy in float64."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm, rankdata

import dgex
from dgex import parallel
from dgex.cli import app
from dgex.data.dataset import Dataset
from dgex.data.normalization import Scaler
from dgex.data.platforms import Platforms
from dgex.errors import DgexError
from dgex.formats.expression import Expression, in_memory, text_column
from dgex.formats.gct import write_gct
from dgex.formats.gctx import write_gctx
from dgex.model import Model
from dgex.model.directory import load_model, save_model
from dgex.model.evaluation import evaluate_model, evaluate_table
from dgex.model.prediction import Request

LANDMARKS, TARGETS, BOTH = 24, 60, 8


@pytest.fixture(scope="module")
def whole(small_data: Dataset) -> Expression:
    """Every profile of the made-up data, a row a gene: a target that is a landmark too is that landmark."""
    values = np.hstack([small_data.landmark, small_data.target[:, BOTH:]])
    genes = small_data.landmark_genes.ensembl + small_data.target_genes.ensembl[BOTH:]
    return in_memory(values, genes, small_data.sample_id, {}, {"study_id": text_column(small_data.study)})


@pytest.fixture(scope="module")
def model(small_model: Model, small_data: Dataset) -> Model:
    """With quantiles that the training profiles have."""
    training = np.hstack([small_data.landmark, small_data.target])[small_data.split == 0]
    return replace(small_model, gene_quantiles=np.sort(training, axis=1).mean(axis=0).astype(np.float32))


def with_values(table: Expression, values: np.ndarray, **changes) -> Expression:
    made = in_memory(values, table.row_id, table.sample_id, table.row_metadata, table.sample_metadata)
    return replace(made, **changes)


def evaluate(model: Model, table: Expression, **request):
    return evaluate_table(model, "it.gctx", table, Request(**request), parallel.devices(1), Path("/tmp"))


def truth_of(model: Model, table: Expression) -> np.ndarray:
    """The targets' z-scores, of profiles without gaps: the quantile at each value's average rank."""
    values = table.load().astype(np.float64)
    values = np.hstack([values[:, :LANDMARKS], values[:, :BOTH], values[:, LANDMARKS:]])
    ranks = rankdata(values, axis=1) - 1
    normal = np.interp(ranks, np.arange(LANDMARKS + TARGETS), model.gene_quantiles)
    scaler = model.reference.target_scaler
    return (normal[:, LANDMARKS:] - scaler.mean) / scaler.sd


@pytest.fixture(scope="module")
def inferred(small_model: Model, small_data: Dataset) -> np.ndarray:
    """The targets' z-scores, as predicted."""
    asked = {"input_scale": "log2", "output_scale": "zscore", "all_targets": True}
    with pytest.warns(UserWarning, match="out of range"):
        return dgex.predict(small_model, small_data.landmark, **asked)[:, LANDMARKS:]


def test_a_table_is_scored_by_the_splits_of_its_studies(model, whole, small_data, inferred):
    found = evaluate(model, whole)
    assert (found.comparison.landmarks.found, found.comparison.targets.found, found.comparison.scale) == (
        24,
        60,
        "log2",
    )
    assert list(found.scores) == ["train", "validation", "test"]
    error = np.abs(inferred - truth_of(model, whole))
    study = np.array(small_data.study)
    for split, names in (("train", ["GSE1", "GSE2", "GSE3"]), ("validation", ["GSE4", "GSE5"]), ("test", ["GSE6"])):
        scores, rows = found.scores[split], np.isin(study, names)
        assert (scores["profiles"], scores["studies"]) == (rows.sum(), names)
        assert scores["network"]["zscore_mae"] == pytest.approx(error[rows].mean(), abs=2e-3)
        alone = scores["network"]["without_overlap"]["zscore_mae"]
        assert alone == pytest.approx(error[rows, BOTH:].mean(), abs=2e-3)
        assert (scores["targets"], scores["missing"]) == (60, 0)


def test_without_studies_a_table_is_one(model, whole):
    bare = replace(whole, sample_metadata={})
    scores = evaluate(model, bare).scores
    assert list(scores) == ["unknown studies"] and scores["unknown studies"]["profiles"] == 240
    share = scores["unknown studies"]["coverage"]["0.9"]
    assert share["lowest"] == share["highest"] == share["all"]


def test_studies_that_no_split_has_are_new(model, whole):
    other = text_column(["GSE100"] * 100 + ["GSE6"] * 140)
    scores = evaluate(model, replace(whole, sample_metadata={"study_id": other})).scores
    assert {name: group["profiles"] for name, group in scores.items()} == {"test": 140, "new studies": 100}


def test_missing_values_are_not_scored(model, whole, inferred):
    values = whole.load()
    values[:, 30] = np.nan  # of the landmarks and targets the 15th target
    values[::2, 40] = np.nan
    scores = evaluate(model, replace(with_values(whole, values), sample_metadata={})).scores["unknown studies"]
    assert (scores["targets"], scores["missing"]) == (59, 120)
    error = np.abs(inferred - truth_of(model, whole))
    error[:, 14] = error[::2, 24] = np.nan
    expected = np.nanmean(np.delete(error, 14, axis=1), axis=0).mean()
    assert scores["network"]["zscore_mae"] == pytest.approx(expected, abs=5e-3)


def test_truth_of_a_profile_does_not_depend_on_the_others(model, whole):
    values = whole.load()
    values[3, 50:] = np.nan
    profiles = np.hstack([values[:, :LANDMARKS], values[:, :BOTH], values[:, LANDMARKS:]])
    together = model.standardize_targets(profiles)
    for row in (0, 3):
        np.testing.assert_array_equal(model.standardize_targets(profiles[row : row + 1])[0], together[row])
    np.testing.assert_array_equal(model.standardize_targets(2 * profiles + 1), together)  # log2 of any level


def test_some_genes_take_their_own_quantiles(small_model):
    """A table of highly expressed targets alone is not spread over the quantiles of all genes."""
    random = np.random.default_rng(2)
    mean = np.sort(random.uniform(4, 14, LANDMARKS + TARGETS))
    random.shuffle(mean[:LANDMARKS])
    sd = random.uniform(0.3, 1.2, len(mean))
    scalers = [Scaler(mean[part].astype("f4"), sd[part].astype("f4")) for part in (slice(24), slice(24, None))]
    reference = replace(small_model.reference, landmark_scaler=scalers[0], target_scaler=scalers[1])
    profiles = (mean + sd * random.normal(size=(400, len(mean)))).astype(np.float32)
    quantiles = np.sort(profiles, axis=1).mean(axis=0).astype(np.float32)
    few = np.where(np.arange(len(mean)) >= 54, profiles, np.nan)
    expected = np.sort(profiles[:, 54:], axis=1).mean(axis=0)
    for known in (None, quantiles):  # of schema 1 and 2
        model = replace(small_model, reference=reference, gene_quantiles=known)
        truth = model.standardize_targets(few)[:, 30:] * scalers[1].sd[30:] + scalers[1].mean[30:]
        np.testing.assert_allclose(np.sort(truth, axis=1).mean(axis=0)[2:-2], expected[2:-2], atol=0.15)
        assert np.isnan(model.standardize_targets(few)[:, :30]).all()
    model = replace(small_model, reference=reference, gene_quantiles=None)
    levels = norm.ppf((np.arange(31) + 0.5) / 31)
    pool = np.sort((mean[54:, None].astype("f4") + sd[54:, None].astype("f4") * levels).ravel())
    taken = np.sort(model.standardize_targets(few)[0, 30:] * scalers[1].sd[30:] + scalers[1].mean[30:])
    assert (taken.min(), taken.max()) == pytest.approx((pool[0], pool[-1]), abs=0.2)


@pytest.mark.filterwarnings("ignore:.*out of range")
def test_zscores_are_taken_as_they_are(model, whole, small_data):
    zscores = np.hstack(
        [
            (small_data.landmark - model.reference.landmark_scaler.mean) / model.reference.landmark_scaler.sd,
            (small_data.target[:, BOTH:] - small_data.target_scaler.mean[BOTH:]) / small_data.target_scaler.sd[BOTH:],
        ]
    )
    scores = evaluate(model, replace(with_values(whole, zscores), sample_metadata={}), input_scale="zscore").scores
    asked = {"input_scale": "zscore", "output_scale": "zscore", "all_targets": True}
    predicted = dgex.predict(model, zscores[:, :LANDMARKS], **asked)[:, LANDMARKS:]
    measured = np.hstack([zscores[:, :BOTH], zscores[:, LANDMARKS:]])
    mae = scores["unknown studies"]["network"]["zscore_mae"]
    assert mae == pytest.approx(np.abs(predicted - measured).mean(), abs=1e-5)


def test_linear_values_and_either_orientation(model, whole):
    expected = evaluate(model, whole).scores["test"]
    linear = with_values(whole, 2.0 ** whole.load().astype(np.float64) - 1)
    for table in (linear, whole.transposed()):
        scores = evaluate(model, table).scores["test"]
        assert scores["network"]["zscore_mae"] == pytest.approx(expected["network"]["zscore_mae"], abs=1e-5)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (slice(0, LANDMARKS), "holds no target but those that are landmarks too; give a table of whole profiles"),
        (slice(LANDMARKS, None), "lacks 16 of the 24 landmarks|the landmarks are not recognised|no value of any"),
    ],
)
def test_tables_without_targets_or_landmarks(model, whole, columns, said):
    part = in_memory(whole.load()[:, columns], whole.row_id[columns], whole.sample_id, {}, whole.sample_metadata)
    with pytest.raises(DgexError, match=f"^it.gctx: .*({said})"):
        evaluate(model, part)


def test_dataframes_and_anndata(model, whole):
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    expected = evaluate(model, whole).scores
    frame = pandas.DataFrame(whole.load(), whole.sample_id, whole.row_id)
    frame["study_id"] = whole.sample_metadata["study_id"].tolist()
    data = anndata.AnnData(
        whole.load(),
        obs=pandas.DataFrame({"study_id": whole.sample_metadata["study_id"].tolist()}, list(whole.sample_id)),
        var=pandas.DataFrame(index=list(whole.row_id)),
    )
    assert dgex.evaluate(model, frame) == dgex.evaluate(model, data, input_scale="log2") == expected
    both = dgex.evaluate(model, frame, against=model)["test"]["against"]
    study = both["by_study"]["GSE6"]
    assert study["model"] == study["other"] and both["name"] == "other model"
    assert both["zscore_mae"] == expected["test"]["network"]["zscore_mae"]
    with pytest.raises(DgexError, match="an array names no genes; give a DataFrame or an AnnData"):
        dgex.evaluate(model, whole.load())
    with pytest.raises(DgexError, match="truth.gctx: is a path; .* `dgex evaluate`"):
        dgex.evaluate(model, "truth.gctx")


def command(*arguments) -> None:
    app(["evaluate", *map(str, arguments)])


@pytest.mark.parametrize("write", [write_gctx, write_gct])
def test_the_command_on_a_table(model_files, small_model, whole, tmp_path, capsys, write):
    path = tmp_path / "truth"
    write(path, whole)
    command(model_files / "model", path)
    printed = capsys.readouterr().out
    assert "24 of 24 landmarks found by Ensembl id (row ids); 52 rows unused" in printed
    assert "60 of 60 targets found by Ensembl id (row ids); 16 rows unused" in printed
    mae = evaluate(small_model, whole).scores["test"]["network"]["zscore_mae"]
    (row,) = [line for line in printed.splitlines() if line.startswith(" test") and "network" in line]
    assert f" {mae:.4f} " in row
    command("-m", model_files / "model", path)
    assert capsys.readouterr().out == printed


@pytest.fixture(scope="module")
def ridge(model_files, small_data) -> Path:
    """Ridge regression of the training and validation z-scores, made by the command."""
    app(
        ["train", str(model_files / "made-up.h5"), "-o", str(model_files / "ridge"), "--hidden", "none"],
        standalone_mode=False,
    )
    return model_files / "ridge"


def test_ridge_regression_is_a_model(ridge, small_data):
    """In float64, by the normal equations; it has no run and no hidden layer."""
    made = load_model(ridge)
    assert made.config.hidden == () and set(made.params) == {"outputs"}
    training = small_data.split < 2
    x = made.standardize(small_data.landmark[training]).astype(np.float64)
    scaler = small_data.target_scaler
    y = (small_data.target[training].astype(np.float64) - scaler.mean) / scaler.sd
    centred = x - x.mean(axis=0)
    weights = np.linalg.solve(centred.T @ centred + made.provenance["penalty"] * np.eye(LANDMARKS), centred.T @ y)
    np.testing.assert_allclose(made.params["outputs"]["kernel"], weights, atol=1e-4)
    np.testing.assert_allclose(made.params["outputs"]["bias"], y.mean(axis=0) - x.mean(axis=0) @ weights, atol=1e-4)
    scores = made.provenance["scores"]["test"]
    assert scores["network"] == scores["ridge regression"]
    card = (ridge / "README.md").read_text()
    penalty = f"{made.provenance['penalty']:g}"
    assert (
        f"24 → no hidden layer → 60: ridge regression in closed form, penalty {penalty}, of validation; 1,500" in card
    )
    assert not ridge.with_name("ridge.training").exists()


def test_two_models_are_paired_by_study(model_files, small_model, ridge, whole, tmp_path, capsys):
    """Errors of both are those on their own; the network's differences are told study by study."""
    other = load_model(ridge)
    scores = evaluate_table(
        small_model, "it", whole, Request(), parallel.devices(1), Path("/tmp"), other
    ).scores["test"]  # fmt: skip
    alone = {name: evaluate(one, whole).scores["test"] for name, one in (("model", small_model), ("other", other))}
    against = scores.pop("against")
    assert scores == alone["model"] and against["name"] == "ridge"
    assert against["zscore_mae"] == alone["other"]["network"]["zscore_mae"]
    found = {name: evaluate(one, whole).comparison for name, one in (("model", small_model), ("other", other))}
    errors = {name: np.abs(one.inferred - one.measured) for name, one in found.items()}
    rows = whole.sample_metadata["study_id"] == "GSE6"
    assert against["by_study"] == {
        "GSE6": {"profiles": rows.sum()} | {name: pytest.approx(error[rows].mean()) for name, error in errors.items()}
    }
    write_gctx(tmp_path / "truth.gctx", whole)
    command(model_files / "model", tmp_path / "truth.gctx", "--against", ridge)
    printed = capsys.readouterr().out
    study = against["by_study"]["GSE6"]
    difference = study["model"] - study["other"]
    assert difference > 0.01  # the data are linear
    assert f"test, z-score MAE against ridge: lower in 0 of 1 studies (0%), by study {difference:+.4f}" in printed
    assert f"  GSE6: {study['model']:.4f}, ridge {study['other']:.4f}, {difference:+.4f} (40 profiles)\n" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith(" test") and "against: ridge" in line]
    assert f" {against['zscore_mae']:.4f} " in row


def test_two_models_on_a_prepared_file(small_model, ridge, small_data):
    """The other way round too; on what ridge regression was chosen by and fitted on it is better in every study."""
    other = load_model(ridge)
    devices = parallel.devices(1)
    found = dict(evaluate_model(small_model, "it", small_data, devices, other))
    turned = dict(evaluate_model(other, "it", small_data, devices, small_model))
    for split, studies in (("train", 3), ("validation", 2), ("test", 2)):
        pairs, back = found[split]["against"]["by_study"], turned[split]["against"]["by_study"]
        assert len(pairs) == studies and all(pair["other"] < pair["model"] for pair in pairs.values())
        assert {name: (pair["other"], pair["model"]) for name, pair in pairs.items()} == {
            name: (pair["model"], pair["other"]) for name, pair in back.items()
        }
        assert turned[split]["against"]["name"] == "other model"
        assert found[split]["network"]["zscore_mae"] == turned[split]["against"]["zscore_mae"]


def test_an_offset_of_a_platform_does_not_change_errors(model, whole):
    """A calibrated model is compared with the one that it was made of; here, with all targets 1 SD off."""
    shift = model.reference.target_scaler.sd
    platforms = Platforms(("array", "mine"), np.zeros((2, LANDMARKS), "f4"), np.stack([0 * shift, shift]))
    mine = replace(model, reference=replace(model.reference, platforms=platforms))
    found = evaluate_table(mine, "it", whole, Request(), parallel.devices(1), Path("/tmp"), model).scores["test"]
    base = evaluate(model, whole).comparison
    rows = whole.sample_metadata["study_id"] == "GSE6"
    error = (base.inferred - base.measured)[rows]
    pair = found["against"]["by_study"]["GSE6"]
    assert pair["other"] == pytest.approx(np.abs(error).mean(), abs=1e-5)
    assert pair["model"] == pytest.approx(np.abs(error + 1).mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: {"target_genes": replace(one.target_genes, symbol=("X",) * 60)}, "has other genes than the model"),
        (lambda one: {"quantiles": one.quantiles + 1}, "was trained on other data than the model"),
        (
            lambda one: {"target_scaler": Scaler(one.target_scaler.mean, one.target_scaler.sd * 2)},
            "was trained on other data than the model",
        ),
    ],
)
def test_models_that_cannot_be_compared(model_files, small_model, ridge, tmp_path, refused, change, said):
    other = replace(small_model, reference=replace(small_model.reference, **change(small_model.reference)))
    save_model(tmp_path / "other", other)
    for data in ("plate.gct", "made-up.h5"):
        arguments = ["evaluate", model_files / "model", model_files / data, "--against", tmp_path / "other"]
        line = refused(lambda given=arguments: app([str(argument) for argument in given]))
        assert line.startswith(f"error: other: {said}") and "train both on the same data" in line


def test_two_models_are_refused(model_files, refused):
    model = model_files / "model"
    line = refused(lambda: app(["evaluate", str(model), str(model_files / "plate.gct"), "-m", str(model)]))
    assert "are 2 models; give one, and one table" in line


@pytest.mark.slow
def test_the_real_compendium_is_inferred_better_than_out_of_fold(shared, tmp_path):
    """By the model that comes with dgex, whose weights were fitted to these profiles."""
    from dgex.formats.opening import open_expression

    model, path = load_model(), shared / "data" / "geo" / "geo_compendium_n704x16687.gctx"
    with open_expression(path) as table:
        scores = evaluate_table(model, str(path), table, Request(), parallel.devices(), tmp_path).scores
    card = model.provenance["scores"]["out-of-fold, array"]["network"]["zscore_mae"]
    assert list(scores) == ["train"]
    assert 0.3 < scores["train"]["network"]["zscore_mae"] < card
    assert scores["train"]["missing"] == 49 * 25
