"""A platform of a laboratory's own: its offsets, what predictions take from it, and their shrinkage learnt."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dgex
from dgex import parallel
from dgex.cli import app
from dgex.data.dataset import Dataset, sha256_of
from dgex.data.platforms import Platforms
from dgex.errors import DgexError
from dgex.formats.expression import Expression, in_memory
from dgex.formats.gctx import write_gctx
from dgex.model import Model
from dgex.model.calibration import calibrate_model, calibrate_table, errors_by_number, learn_shrinkage, shrunk_mean
from dgex.model.directory import load_model
from dgex.model.evaluation import evaluate_table
from dgex.model.prediction import Request, predict_table

LANDMARKS, TARGETS, BOTH = 24, 60, 8
NAN = np.nan
TOLD = {"file": "own.gctx", "profiles": 2, "genes": 60}


@pytest.fixture(scope="module")
def model(small_model: Model, small_data: Dataset) -> Model:
    """Of two platforms: all landmarks of the second differ by up to 3 log2."""
    random = np.random.default_rng(6)
    offsets = [np.stack([np.zeros(n), random.uniform(-3, 3, n)]).astype(np.float32) for n in (LANDMARKS, TARGETS)]
    training = np.hstack([small_data.landmark, small_data.target])[small_data.split == 0]
    quantiles = np.sort(training, axis=1).mean(axis=0).astype(np.float32)
    reference = replace(small_model.reference, platforms=Platforms(("array", "rnaseq"), *offsets))
    return replace(small_model, reference=reference, gene_quantiles=quantiles)


@pytest.fixture(scope="module")
def own(small_data: Dataset) -> Expression:
    """Whole profiles of the test study, a row a gene, whose targets lie up to 2 log2 off."""
    values = np.hstack([small_data.landmark, small_data.target[:, BOTH:]])[small_data.split == 2]
    values[:, LANDMARKS:] += np.random.default_rng(1).uniform(-2, 2, TARGETS - BOTH).astype(np.float32)
    genes = small_data.landmark_genes.ensembl + small_data.target_genes.ensembl[BOTH:]
    return in_memory(values, genes, [f"s{row}" for row in range(len(values))])


def some(table: Expression, rows: slice, columns: slice = slice(None)) -> Expression:
    return in_memory(table.load()[rows, columns], table.row_id[columns], table.sample_id[rows])


def calibrated(model: Model, table: Expression, name: str = "mine", **request):
    return calibrate_table(
        model, "own.gctx", table, Request(**request), name, {"file": "own.gctx"}, parallel.devices(1), Path("/tmp")
    )


def predicted(model: Model, table: Expression, **request) -> tuple[np.ndarray, np.ndarray]:
    """The targets of a table of landmarks, and the platform of each profile."""
    with predict_table(model, "it", table, Request(**request), parallel.devices(1), Path("/tmp")) as prediction:
        values = prediction.expression.load()
        return values[:, LANDMARKS:], prediction.expression.sample_metadata["platform"]


def test_offsets_are_shrunk_mean_residuals_on_top_of_the_base(model):
    residual = np.full((2, TARGETS), NAN)
    residual[:, 0], residual[0, 1] = (1, 3), 6
    made = calibrate_model(model, residual, "mine", "rnaseq", 2.0, TOLD)
    old, new, sd = model.reference.platforms, made.reference.platforms, model.reference.target_scaler.sd
    assert new.name == ("array", "rnaseq", "mine")
    np.testing.assert_array_equal(new.landmark, old.landmark[[0, 1, 1]])
    np.testing.assert_array_equal(new.target[:2], old.target)
    shift = np.zeros(TARGETS)
    shift[:2] = 2 / 4 * 2, 1 / 3 * 6  # of two profiles with a mean of 2, and of one
    np.testing.assert_allclose(new.target[2], old.target[1] + sd * shift, rtol=1e-6)
    assert new.target.dtype == new.landmark.dtype == np.float32
    entry = made.provenance["calibrated"]["mine"]
    assert entry.items() >= {**TOLD, "base": "rnaseq", "shrinkage": 2.0}.items()
    assert "calibrated" not in model.provenance
    assert made.training_map is model.training_map is not None


def test_the_last_platform_is_taken_and_shifts_predictions_by_the_offset(model, own):
    landmarks = some(own, slice(30, 60), slice(0, LANDMARKS))
    result = calibrated(model, some(own, slice(0, 5)))
    before, platform = predicted(model, landmarks)
    after, taken = predicted(result.model, landmarks)
    array = platform == "array"
    assert result.base == "array" and array.mean() > 0.9
    assert set(taken[array]) == {"mine"} and set(taken[~array]) <= {"rnaseq"}
    target = result.model.reference.platforms.target[:, BOTH:]
    assert np.abs(target[2]).mean() > 0.3
    np.testing.assert_allclose(after[array], before[array] + target[2], atol=1e-5)
    np.testing.assert_array_equal(after[~array], before[~array])
    for name in ("array", "rnaseq"):
        unchanged = predicted(model, landmarks, platform=name)[0]
        np.testing.assert_array_equal(predicted(result.model, landmarks, platform=name)[0], unchanged)


def test_other_profiles_of_the_laboratory_are_inferred_better(model, own):
    rest = some(own, slice(30, 60))
    result = calibrated(model, some(own, slice(0, 5)), platform="array")

    def evaluate(one: Model, platform: str) -> float:
        request = Request(platform=platform)
        scores = evaluate_table(one, "it", rest, request, parallel.devices(1), Path("/tmp")).scores
        return scores["unknown studies"]["network"]["without_overlap"]["zscore_mae"]

    assert evaluate(result.model, "mine") < 0.8 * evaluate(model, "array")


def test_a_profile_that_is_nearest_to_another_platform_counts_on_the_base(model, own):
    """Residuals of all profiles are on the platform that most are nearest to."""
    values = some(own, slice(0, 5)).load()
    values[4, :LANDMARKS] += model.reference.platforms.landmark[1]
    mixed = in_memory(values, own.row_id, own.sample_id[:5])
    nearest = model.nearest_platform(values[:, :LANDMARKS])
    assert nearest[4] == 1 and (nearest[:4] == 0).sum() >= 3
    offsets = calibrated(model, mixed).model.reference.platforms.target
    np.testing.assert_array_equal(offsets, calibrated(model, mixed, platform="array").model.reference.platforms.target)


def test_calibrating_again(model, own):
    """A platform of the same name is replaced, one of another name stays, and neither is ever a base."""
    first = calibrated(model, some(own, slice(0, 2))).model
    second = calibrated(first, some(own, slice(2, 7)))
    directly = calibrated(model, some(own, slice(2, 7))).model
    assert second.base == "array" and second.model.reference.platforms.name == ("array", "rnaseq", "mine")
    np.testing.assert_array_equal(second.model.reference.platforms.target, directly.reference.platforms.target)
    both = calibrated(first, some(own, slice(2, 7)), "theirs").model
    assert both.reference.platforms.name == ("array", "rnaseq", "mine", "theirs")
    np.testing.assert_array_equal(both.reference.platforms.target[2], first.reference.platforms.target[2])
    np.testing.assert_array_equal(both.reference.platforms.target[3], directly.reference.platforms.target[2])
    assert list(both.provenance["calibrated"]) == ["mine", "theirs"]
    with pytest.raises(DgexError, match="platform 'mine': is unknown; choose from array, rnaseq$"):
        calibrated(first, some(own, slice(0, 2)), platform="mine")


def test_the_learnt_shrinkage_is_taken(model, own):
    learnt = replace(model, provenance={**model.provenance, "calibration": {"shrinkage": 4.0}})
    one, other = (calibrated(each, some(own, slice(0, 4))) for each in (model, learnt))
    assert (one.shrinkage, other.shrinkage) == (1.0, 4.0)
    shifts = [each.model.reference.platforms.target[2] for each in (one, other)]
    np.testing.assert_allclose(shifts[0] / (4 / 5), shifts[1] / (4 / 8), rtol=1e-5)


def test_genes_that_were_not_measured_keep_the_offset_of_the_base(model, own):
    part = some(own, slice(0, 3), slice(0, 40))  # 16 of the 52 targets that are no landmarks
    target = calibrated(model, part, platform="rnaseq").model.reference.platforms.target
    np.testing.assert_array_equal(target[2, 24:], target[1, 24:])
    assert (target[2, BOTH:24] != target[1, BOTH:24]).all()


def test_dataframes(model, own):
    pandas = pytest.importorskip("pandas")
    table = some(own, slice(0, 3))
    found = dgex.calibrate(model, pandas.DataFrame(table.load(), table.sample_id, table.row_id))
    np.testing.assert_array_equal(
        found.reference.platforms.target, calibrated(model, table).model.reference.platforms.target
    )
    assert found.provenance["calibrated"]["mine"]["file"] == "<DataFrame>"
    with pytest.raises(DgexError, match="an array names no genes"):
        dgex.calibrate(model, table.load())


@pytest.mark.parametrize("name", ["", " ", "auto", "a\nb", "x" * 61])
def test_what_cannot_be_a_name(model, own, name):
    with pytest.raises(DgexError, match="cannot be the name"):
        calibrated(model, some(own, slice(0, 3)), name)


def command(*arguments) -> None:
    app(["calibrate", *map(str, arguments)])


def test_the_command(model_files, small_model, own, tmp_path, capsys):
    write_gctx(tmp_path / "own.gctx", some(own, slice(0, 3)))
    command(model_files / "model", tmp_path / "own.gctx", "-o", tmp_path / "lab", "--name", "lab")
    assert (
        "platform lab, its offsets from 3 profiles, on top of array, shrunk by n / (n + 1)" in capsys.readouterr().out
    )
    found = load_model(tmp_path / "lab")
    assert found.reference.platforms.name == ("array", "lab")
    entry = found.provenance["calibrated"]["lab"]
    digest = sha256_of(tmp_path / "own.gctx")
    said = {"file": "own.gctx", "sha256": digest, "profiles": 3, "genes": 60, "base": "array", "shrinkage": 1.0}
    assert entry.items() >= said.items() and entry["model"]["name"] == "model"
    expected = calibrated(small_model, some(own, slice(0, 3))).model.reference.platforms.target
    np.testing.assert_array_equal(found.reference.platforms.target, expected)
    (line,) = [line for line in (tmp_path / "lab/README.md").read_text().splitlines() if "*lab*" in line]
    assert f"3 profiles of `own.gctx`, SHA-256 `{digest}`, on top of *array*; 60 targets" in line
    command("-m", tmp_path / "lab", tmp_path / "own.gctx", "-o", tmp_path / "again", "--name", "lab")
    assert load_model(tmp_path / "again").reference.platforms.name == ("array", "lab")


@pytest.mark.parametrize(
    ("columns", "change", "options", "said"),
    [
        (
            slice(0, LANDMARKS),
            0,
            (),
            "own.gctx: holds no target but those that are landmarks too; give a table of whole",
        ),
        (slice(None), -9, (), r"own.gctx: its values are centred .*; use values that keep each gene's level\n$"),
        (
            slice(None),
            0,
            ("--name", "array"),
            "platform 'array': is one that the model was trained with; choose another",
        ),
        (slice(None), 0, ("--platform", "nanopore"), "platform 'nanopore': is unknown; choose from array"),
        (slice(None), 0, ("--input-scale", "zscore"), "--input-scale"),
    ],
)
def test_bad_input_writes_nothing(model_files, own, tmp_path, refused, columns, change, options, said):
    table = some(own, slice(0, 3), columns)
    write_gctx(tmp_path / "own.gctx", in_memory(table.load() + np.float32(change), table.row_id, table.sample_id))
    arguments = (model_files / "model", tmp_path / "own.gctx", "-o", tmp_path / "made", *options)
    assert re.search(said, refused(lambda: command(*arguments)))
    assert [path.name for path in tmp_path.iterdir()] == ["own.gctx"]


def test_an_output_that_exists_is_refused(model_files, own, tmp_path, refused):
    write_gctx(tmp_path / "own.gctx", some(own, slice(0, 3)))
    (tmp_path / "made").mkdir()
    line = refused(lambda: command(model_files / "model", tmp_path / "own.gctx", "-o", tmp_path / "made"))
    assert "made: exists already" in line and not any((tmp_path / "made").iterdir())


def test_z_scores_have_no_level(model, own):
    with pytest.raises(DgexError, match="own.gctx: z-scores have no level of their own"):
        calibrated(model, own, input_scale="zscore")


def test_the_mean_of_what_was_measured_is_shrunk():
    residual = np.array([[1.0, NAN, NAN], [3.0, 6.0, NAN]])
    np.testing.assert_allclose(shrunk_mean(residual, 2.0), [1.0, 2.0, 0.0])
    np.testing.assert_allclose(shrunk_mean(residual, 0.0), [2.0, 6.0, 0.0])
    np.testing.assert_array_equal(shrunk_mean(residual, float("inf")), np.zeros(3))


def test_shrinkage_is_the_ratio_of_the_variances() -> None:
    # Study 0: q = (1 + 9) / 2 = 5, p = 1 x 3 = 3, so that k = 2 / 3; the lone profile of study 1 does not count.
    residual = np.array([[1.0], [3.0], [7.0]])
    assert learn_shrinkage(residual, np.array([0, 0, 1])) == pytest.approx(2 / 3)


def test_opposite_profiles_share_nothing() -> None:
    assert learn_shrinkage(np.array([[1.0], [-1.0]]), np.array([0, 0])) == float("inf")


def test_lone_profiles_are_refused() -> None:
    with pytest.raises(ValueError, match="two profiles"):
        learn_shrinkage(np.ones((2, 1)), np.array([0, 1]))


def test_errors_fall_as_the_shared_offset_is_taken_off() -> None:
    # Six equal residuals of 3: after n profiles 3 - 3 n / (n + 1) remain. The platform of two profiles has no number.
    residual = np.full((8, 2), 3.0)
    platform = np.array([4] * 6 + [5] * 2)
    errors = errors_by_number(residual, np.zeros(8, int), platform, 1.0)
    assert list(errors) == [4]
    assert errors[4] == pytest.approx({0: 3.0, 1: 1.5, 2: 1.0, 5: 0.5})


def test_shrinkage_of_genes_that_some_profiles_lack() -> None:
    # Gene 0 as above, 5 and 3; gene 1 of the first and third profile: q = (4 + 4) / 2, p = 4; gene 2 counts nowhere.
    residual = np.array([[1.0, 2.0, 1.0], [3.0, NAN, NAN], [NAN, 2.0, NAN]])
    q, p = (5 + 4) / 2, (3 + 4) / 2
    assert learn_shrinkage(residual, np.zeros(3, int)) == pytest.approx((q - p) / p)


def test_errors_of_measured_values_alone() -> None:
    residual = np.full((6, 3), 3.0)
    residual[:, 1] = NAN
    errors = errors_by_number(residual, np.zeros(6, int), np.zeros(6, int), 1.0)
    assert errors[0] == pytest.approx({0: 3.0, 1: 1.5, 2: 1.0, 5: 0.5})
