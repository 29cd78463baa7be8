"""Whole profiles, against ranks, quantiles, z-scores and the network's formula in float64; and what must not matter.

What ``dgex predict`` refuses is in ``test_cli_predict``.
"""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from dgex import parallel
from dgex.data.dataset import Reference
from dgex.data.genes import Genes, read_gene_tables
from dgex.data.normalization import Scaler
from dgex.data.platforms import Platforms
from dgex.errors import DgexError
from dgex.formats.expression import Expression, in_memory
from dgex.formats.opening import open_expression
from dgex.model import Model
from dgex.model.imputation import Factors
from dgex.model.prediction import Prediction, Request, predict_table, rows_of
from dgex.model.reliability import Expectation, Reliability
from dgex.networks import NetworkConfig, init_params

NAN = np.nan
NAME = "plate.gct"
PLATE = "l1000/LJP009_A375_24H_X1_B20_QNORM_n371x978.gct.gz"
TOLD = (
    "expected_zscore_mae", "expected_log2_mae", "self_check_error", "platform", "out_of_range", "landmarks_imputed"
)  # fmt: skip


def predicted(model, table, devices=1, **request) -> tuple[Prediction, np.ndarray]:
    with predict_table(model, NAME, table, Request(**request), parallel.devices(devices), Path(".")) as prediction:
        return prediction, prediction.expression.load()


def values_of(model, table, **request) -> np.ndarray:
    return predicted(model, table, **request)[1]


@pytest.fixture(scope="module")
def landmark(small_data) -> np.ndarray:
    """log2 landmarks of 60 test profiles."""
    return small_data.landmark[small_data.split == 2]


@pytest.fixture(scope="module")
def table(small_model, landmark) -> Expression:
    return table_of(small_model, landmark)


def table_of(model, values) -> Expression:
    samples = [f"s{row}" for row in range(len(values))]
    return in_memory(np.asarray(values, np.float32), model.reference.landmark_genes.ensembl, samples)


def network(model, zscores) -> np.ndarray:
    """The target z-scores of landmark z-scores, in float64."""
    p = jax.tree.map(lambda leaf: leaf.astype(np.float64), model.params)
    taaf = p["H0_taaf"]
    logistic = 1 / (1 + np.exp(-taaf["beta"] * (zscores @ p["H0"]["kernel"]) - taaf["gamma"]))
    return (taaf["alpha"] * logistic + taaf["delta"]) @ p["outputs"]["kernel"] + p["outputs"]["bias"]


def normal(model, profile) -> np.ndarray:
    """z-scores of one profile without ties, NaN where it is: the k-th of its m values takes the k-th of m quantiles."""
    own = ~np.isnan(profile)
    quantiles = model.reference.quantiles.astype(np.float64)
    level = np.interp(np.linspace(0, 1, own.sum()), np.linspace(0, 1, len(quantiles)), quantiles)
    result = np.full(len(profile), NAN)
    result[own] = level[profile[own].argsort().argsort()]
    return (result - model.reference.landmark_scaler.mean) / model.reference.landmark_scaler.sd


def fill(model, zscores) -> tuple[np.ndarray, float]:
    """A profile's gaps by the conditional mean of a Gaussian, and its distance."""
    own = ~np.isnan(zscores)
    loadings = model.factors.loadings.astype(np.float64)
    covariance = loadings @ loadings.T + model.factors.noise * np.eye(len(loadings))
    weights = np.linalg.solve(covariance[np.ix_(own, own)], zscores[own])
    filled = zscores.copy()
    filled[~own] = covariance[np.ix_(~own, own)] @ weights
    return filled, np.sqrt(zscores[own] @ weights / own.sum())


def expected(model, values) -> tuple[np.ndarray, np.ndarray]:
    """log2 landmarks and then targets that are no landmarks; and the distances."""
    filled, distance = zip(*(fill(model, normal(model, profile)) for profile in values), strict=True)
    targets = network(model, np.array(filled))[:, 8:]  # the first eight are landmarks too
    scalers = model.reference.landmark_scaler, model.reference.target_scaler
    log2 = np.array(filled) * scalers[0].sd + scalers[0].mean, targets * scalers[1].sd[8:] + scalers[1].mean[8:]
    return np.hstack(log2), np.array(distance)


@pytest.fixture(scope="module")
def whole(small_model, table) -> np.ndarray:
    return values_of(small_model, table)


def test_log2_profiles(small_model, landmark, table):
    prediction, values = predicted(small_model, table)
    wanted, _ = expected(small_model, landmark)
    assert values.dtype == np.float32 and values.shape == (60, 24 + 52)
    np.testing.assert_allclose(values, wanted, atol=2e-5)
    assert prediction.scale == "log2" and prediction.match.naming == "Ensembl id"
    assert prediction.expression.sample_id == table.sample_id
    genes = small_model.reference
    assert prediction.expression.row_id == genes.landmark_genes.ensembl + genes.target_genes.ensembl[8:]


def test_measured_landmarks_are_carried_through_on_the_scale_of_the_model(small_data, whole, landmark):
    """The profile's order of genes stays, and the values are those of the training data."""
    np.testing.assert_array_equal(whole[:, :24].argsort(axis=1), landmark.argsort(axis=1))
    assert np.abs(np.sort(whole[:, :24]).mean(axis=0) - np.sort(small_data.landmark).mean(axis=0)).max() < 0.1


def test_zscore_output_is_log2_output_by_the_scaler(small_model, table, whole):
    zscores = values_of(small_model, table, output_scale="zscore")
    scalers = small_model.reference.landmark_scaler, small_model.reference.target_scaler
    mean, sd = (np.append(getattr(scalers[0], field), getattr(scalers[1], field)[8:]) for field in ("mean", "sd"))
    np.testing.assert_allclose(zscores * sd + mean, whole, atol=1e-5)


def test_zscore_input_passes_through(small_model, landmark):
    zscores = np.array([normal(small_model, profile) for profile in landmark], np.float32)
    zscores[3, 5] = NAN
    table = table_of(small_model, zscores)
    prediction, values = predicted(small_model, table, input_scale="zscore", output_scale="zscore")
    assert prediction.scale == "zscore"
    measured = ~np.isnan(zscores)
    np.testing.assert_array_equal(values[:, :24][measured], zscores[measured])
    filled = np.array([fill(small_model, profile)[0] for profile in zscores.astype(np.float64)])
    np.testing.assert_allclose(values[:, :24], filled, atol=1e-5)
    np.testing.assert_allclose(values[:, 24:], network(small_model, filled)[:, 8:], atol=1e-5)


def test_linear_values_are_their_logarithms(small_model, landmark, whole):
    table = table_of(small_model, np.exp2(landmark.astype(np.float64)) - 1)
    for scale in ("auto", "linear"):
        prediction, values = predicted(small_model, table, input_scale=scale)
        assert prediction.scale == "linear"
        np.testing.assert_allclose(values, whole, atol=1e-5)


@pytest.mark.parametrize("transform", [lambda x: x + 1, lambda x: 2 * x - 3, np.sqrt, lambda x: np.exp(x / 8)])
def test_a_monotone_transform_changes_nothing(small_model, landmark, whole, transform):
    profiles = transform(landmark.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(profiles.argsort(axis=1), landmark.argsort(axis=1))  # no two became one
    np.testing.assert_array_equal(values_of(small_model, table_of(small_model, profiles), input_scale="log2"), whole)


def test_a_profile_does_not_depend_on_its_company(small_model, landmark):
    """Nor on the order, to the last bit, whatever it lacks."""
    gaps = np.where(np.random.default_rng(0).random(landmark.shape) < 0.08, NAN, landmark)
    both, request = np.vstack([landmark, gaps]), {"input_scale": "log2", "max_missing": 0.5}
    prediction, values = predicted(small_model, table_of(small_model, both), **request)
    told = prediction.expression.sample_metadata
    reverse, backwards = predicted(small_model, table_of(small_model, both[::-1]), **request)
    np.testing.assert_array_equal(backwards[::-1], values)
    for name in TOLD:
        np.testing.assert_array_equal(reverse.expression.sample_metadata[name][::-1], told[name])
    for row in (0, 59, 60, 75, 119):
        alone, own = predicted(small_model, table_of(small_model, both[row : row + 1]), **request)
        np.testing.assert_array_equal(own[0], values[row])
        for name in TOLD:
            assert alone.expression.sample_metadata[name][0] == told[name][row]


def test_many_profiles_come_in_order(small_model, landmark, whole):
    """More than a block of them, on several devices; those read later than the first ones too."""
    many = np.tile(landmark, (36, 1))  # 2,160
    prediction, values = predicted(small_model, table_of(small_model, many), devices=3)
    np.testing.assert_array_equal(values, np.tile(whole, (36, 1)))
    error = prediction.expression.sample_metadata["self_check_error"]
    np.testing.assert_array_equal(error, np.tile(error[:60], 36))


def test_blocks_may_be_read_again(small_model, table, whole):
    with predict_table(small_model, NAME, table, Request(), parallel.devices(1), Path(".")) as prediction:
        for _ in range(2):
            np.testing.assert_array_equal(prediction.expression.load(), whole)


def test_genes_in_columns(small_model, table, whole):
    """Metadata are exchanged with the axes: those of the lines are the samples'."""
    told = {"tissue": np.array(["liver"] * 60)}
    given = replace(table.transposed(), row_metadata=told)
    prediction, values = predicted(small_model, given)
    assert prediction.match.transposed
    np.testing.assert_array_equal(values, whole)
    assert prediction.expression.sample_id == table.sample_id
    assert prediction.expression.sample_metadata["tissue"].tolist() == ["liver"] * 60


def test_genes_in_any_order_among_others(small_model, table, landmark, whole):
    order = np.random.default_rng(1).permutation(24)
    rows = [name for number in order for name in (table.row_id[number], f"other {number}")]
    values = np.repeat(landmark[:, order], 2, axis=1)
    values[:, 1::2] += 1
    prediction, found = predicted(small_model, in_memory(values, rows, table.sample_id))
    np.testing.assert_array_equal(found, whole)
    assert prediction.match.unused == 24


def test_probe_sets_of_a_gene_are_averaged_in_log2(small_model, landmark):
    """The odd landmarks have two probe sets, here a unit above and below, or one of them and NaN."""
    names, columns, single = [], [], landmark.copy()
    for number, probes in enumerate(small_model.reference.landmark_genes.probes):
        names += probes.split(",")
        apart = [-1, 1] if "," in probes else [0]
        columns += [landmark[:, number] + shift for shift in apart]
    values = np.array(columns, np.float32).T
    assert values.shape == (60, 36)
    values[4, 1], single[4, 1] = NAN, landmark[4, 1] + 1  # the lower probe set of the second gene
    for scale, given in (("log2", values), ("linear", np.exp2(values.astype(np.float64)) - 1)):
        table = in_memory(given.astype(np.float32), names, [f"s{row}" for row in range(60)])
        prediction, found = predicted(small_model, table)
        assert (prediction.scale, prediction.match.naming) == (scale, "probe set")
        np.testing.assert_allclose(found, expected(small_model, single)[0], atol=2e-5)


def test_a_missing_landmark_is_filled_in_and_told(small_model, table, landmark):
    kept = np.delete(np.arange(24), [3, 20])
    fewer = in_memory(landmark[:, kept], [table.row_id[row] for row in kept], table.sample_id)
    prediction, values = predicted(small_model, fewer, interval=0.9)
    gaps = landmark.copy()
    gaps[:, [3, 20]] = NAN
    np.testing.assert_allclose(values, expected(small_model, gaps)[0], atol=3e-5)
    told = prediction.expression
    assert told.sample_metadata["landmarks_imputed"].tolist() == [2] * 60
    assert np.flatnonzero(told.row_metadata["kind"] == "imputed").tolist() == [3, 20]
    assert np.flatnonzero(told.row_metadata["well_inferred"][:24] == 0).tolist() == [3, 20]
    # Nobody measured how far off an imputed value is.
    assert np.isnan(told.row_metadata["interval_90_per_expected_error"]).tolist() == [True] * 24 + [False] * 52
    assert prediction.match.missing == ("MADEUP3 (ENSG90000000003)", "MADEUP20 (ENSG90000000020)")
    assert prediction.warnings()[0].startswith("60 of 60 profiles lack landmarks (up to 2), which were imputed")


def test_gaps_of_single_profiles_are_filled_in_and_told(small_model, landmark):
    gaps = landmark.copy()
    gaps[2, [0, 7]], gaps[5, 7] = NAN, NAN
    prediction, values = predicted(small_model, table_of(small_model, gaps))
    wanted, _ = expected(small_model, gaps)
    np.testing.assert_allclose(values, wanted, atol=3e-5)
    imputed = prediction.expression.sample_metadata["landmarks_imputed"]
    assert {row: imputed[row] for row in np.flatnonzero(imputed)} == {2: 2, 5: 1}
    assert set(prediction.expression.row_metadata["kind"][:24]) == {"measured"}
    assert prediction.warnings()[0].startswith("2 of 60 profiles lack landmarks (up to 2)")


@pytest.mark.parametrize(("lacking", "most", "fine"), [(4, 0.2, True), (5, 0.2, False), (5, 0.25, True), (1, 0, False)])
def test_too_few_landmarks(small_model, table, landmark, lacking, most, fine):
    fewer = in_memory(landmark[:, lacking:], table.row_id[lacking:], table.sample_id)
    gaps = landmark.copy()
    gaps[7, :lacking] = NAN
    for given, which in ((fewer, "every profile"), (table_of(small_model, gaps), "s7")):
        if fine:
            assert np.isfinite(values_of(small_model, given, max_missing=most)).all()
        else:
            said = rf"plate.gct: {which} lacks {lacking} of the 24 landmarks, more than {most:.0%}; .*--max-missing"
            with pytest.raises(DgexError, match=said):
                values_of(small_model, given, max_missing=most)


def test_landmarks_that_are_missing_since_they_are_ambiguous(small_model, table, landmark):
    """Two versions of each of five ids: the way out is to name them otherwise."""
    versions = [f"{gene}.{version}" for gene in table.row_id[:5] for version in (1, 2)]
    twice = in_memory(landmark[:, np.repeat(np.arange(24), [2] * 5 + [1] * 19)], [*versions, *table.row_id[5:]],
                      table.sample_id)  # fmt: skip
    gene = r"MADEUP0 \(ENSG90000000000\): ENSG90000000000 \(2 times\)"
    said = (
        rf"lacks 5 of the 24 landmarks, of which 5 are ambiguous \({gene}, ...\), more than 20%; .* name its genes oth"
    )
    with pytest.raises(DgexError, match=said):
        values_of(small_model, twice)
    assert values_of(small_model, twice, max_missing=0.3).shape == (60, 76)


def test_an_inferred_twin_of_every_measured_target(small_model, landmark, table, whole):
    prediction, values = predicted(small_model, table, all_targets=True)
    ids, genes = prediction.expression.row_id, small_model.reference
    assert len(ids) == len(set(ids)) == 24 + 60
    assert ids[24:32] == tuple(f"{gene}:inferred" for gene in genes.target_genes.ensembl[:8])
    assert ids[32:] == genes.target_genes.ensembl[8:]
    assert prediction.expression.row_metadata["kind"].tolist() == ["measured"] * 24 + ["inferred"] * 60
    np.testing.assert_allclose(np.delete(values, np.arange(24, 32), axis=1), whole, atol=1e-5)
    filled = np.array([normal(small_model, profile) for profile in landmark])
    scaler = genes.target_scaler
    np.testing.assert_allclose(values[:, 24:], network(small_model, filled) * scaler.sd + scaler.mean, atol=2e-5)


@pytest.mark.parametrize("scale", ["log2", "zscore"])
@pytest.mark.parametrize("all_targets", [False, True])
def test_what_is_said_of_each_row(small_model, scale, all_targets):
    ids, told = rows_of(small_model, Request(output_scale=scale, all_targets=all_targets, interval=0.9))
    trusted, kept = small_model.reliability, np.arange(0 if all_targets else 8, 60)
    sd = small_model.reference.target_scaler.sd
    assert all(len(column) == len(ids) == 24 + len(kept) for column in told.values())
    assert told["symbol"].tolist() == [f"MADEUP{n}" for n in (*range(24), *range(8)[: 8 * all_targets], *range(24, 76))]
    for name, column in {
        "validation_pearson": trusted.pearson,
        "validation_r2": trusted.r2,
        "validation_zscore_mae": trusted.zscore_mae,
        "validation_log2_mae": trusted.zscore_mae * sd,
    }.items():
        assert np.isnan(told[name][:24]).all()
        np.testing.assert_array_equal(told[name][24:], column[kept])
    well = (trusted.pearson >= 0.5) & (trusted.r2 > 0)
    assert told["well_inferred"].tolist() == [1] * 24 + well[kept].astype(int).tolist()
    width = trusted.quantile[2] * (sd if scale == "log2" else 1)
    np.testing.assert_array_equal(told["interval_90_per_expected_error"], [NAN] * 24 + width[kept].tolist())
    assert "interval_90_per_expected_error" not in rows_of(small_model, Request())[1]


def test_an_interval_that_the_model_lacks(small_model, table):
    with pytest.raises(DgexError, match="interval 0.7: is not available; choose from 0.5, 0.8, 0.9, 0.95"):
        values_of(small_model, table, interval=0.7)


def test_intervals_hold_their_share_of_the_test_values(small_data, small_model, table):
    """The measured values of profiles that nothing was fitted on, by what the output says of each row.

    More of them than that: errors are smaller after the refit, before which the intervals were calibrated.
    """
    prediction, values = predicted(small_model, table, interval=0.8)
    width = prediction.expression.row_metadata["interval_80_per_expected_error"][24:]
    width = width * prediction.expression.sample_metadata["expected_zscore_mae"][:, None]
    inside = np.abs(values[:, 24:] - small_data.target[small_data.split == 2][:, 8:]) <= width
    assert 0.8 < inside.mean() < 0.92


def test_sample_metadata_are_kept(small_model, table, landmark):
    told = {"dose": np.arange(60.0), "drug": np.array(["a", ""] * 30)}
    prediction, _ = predicted(small_model, replace(table, sample_metadata=told))
    found = prediction.expression.sample_metadata
    assert list(found) == ["dose", "drug", *TOLD]
    for name, column in told.items():
        np.testing.assert_array_equal(found[name], column)


def test_strangers_are_told_and_others_not(small_model, small_data, landmark):
    training = small_data.landmark[small_data.split == 0]
    prediction, _ = predicted(small_model, table_of(small_model, training))
    assert prediction.expression.sample_metadata["out_of_range"].mean() < 0.05
    strangers = landmark[:5][:, np.random.default_rng(0).permutation(24)]  # another gene's value in every place
    prediction, _ = predicted(
        small_model, table_of(small_model, np.vstack([training[:3], strangers])), input_scale="log2"
    )
    assert prediction.expression.sample_metadata["out_of_range"].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    line, _ = prediction.warnings()
    assert line.startswith("5 of 8 profiles, such as s3, are out of range")


def test_nothing_to_warn_of(small_model, landmark):
    prediction, _ = predicted(small_model, table_of(small_model, landmark[:1]))
    assert prediction.warnings() == []


@pytest.mark.parametrize(
    ("change", "request_", "said"),
    [
        (
            lambda x: np.exp2(x),
            {"input_scale": "log2"},
            "its values reach .* counts or linear, not log2; say --input-s",
        ),
        (lambda x: x - x.mean(axis=0), {}, "centred gene by gene.*for z-scores of each gene, say --input-scale zscore"),
        (lambda x: x, {"input_scale": "zscore"}, "0% of its values are negative, so they are not z-scores"),
        (lambda x: np.where(np.arange(60)[:, None] == 7, 0, x), {}, "the profile s7 has one value throughout"),
        (lambda x: np.zeros_like(x), {}, "every profile has one value throughout"),
        (lambda x: np.full_like(x, NAN), {}, "has no value of any gene"),
        (lambda x: np.where(np.arange(60)[:, None] == 7, NAN, x), {}, "s7 has no value of any landmark; leave it out"),
        (
            lambda x: np.where(np.arange(60)[:, None] > 50, np.exp2(x), x),
            {},
            "9 of 60 profiles, such as s51, are linear",
        ),
        (lambda x: np.where(np.arange(24) == 3, -999, x), {}, "reaches -999, which is no log2 value"),
        (
            lambda x: np.where(np.arange(24) == 3, -999, x),
            {"input_scale": "log2"},
            "s0 reaches -999, and log2",
        ),
        (lambda x: np.full_like(x, NAN), {"input_scale": "zscore"}, "s0 has no value of any landmark"),
        (lambda x: np.full_like(x, NAN), {"input_scale": "log2"}, "s0 has no value of any landmark"),
    ],
)
def test_values_that_are_refused(small_model, landmark, change, request_, said):
    with pytest.raises(DgexError, match=f"^plate.gct: .*{said}"):
        values_of(small_model, table_of(small_model, change(landmark)), **request_)


@pytest.mark.parametrize(
    ("change", "hinted"),
    [
        (lambda x: x - x.mean(axis=0), True),
        (lambda x: np.where(np.arange(24) == 3, -40, x - x.mean(axis=0)), True),
        (lambda x: np.where(np.arange(60)[:, None] > 50, np.exp2(x), x), False),
        (lambda x: np.full_like(x, NAN), False),
    ],
)
def test_zscores_are_hinted_at_where_they_may_be(small_model, landmark, change, hinted):
    with pytest.raises(DgexError) as refusal:
        values_of(small_model, table_of(small_model, change(landmark)))
    assert str(refusal.value).endswith("; for z-scores of each gene, say --input-scale zscore") == hinted


def test_later_profiles_that_seem_log2_among_linear_ones_are_refused(small_model, landmark):
    """Unless the scale is given; what seems to be counts of a shallow cell is none of these."""
    many = np.exp2(np.tile(landmark, (36, 1)))
    many[2000] = np.rint(landmark[0])
    values_of(small_model, table_of(small_model, many))
    many[2000] = landmark[0]
    with pytest.raises(DgexError, match="the profile s2000 stays below 32, .* or say --input-scale linear"):
        values_of(small_model, table_of(small_model, many))
    values_of(small_model, table_of(small_model, many), input_scale="linear")
    few = table_of(small_model, many[1990:2010])
    with pytest.raises(DgexError, match="such as s0, are linear .* 1, such as s10, log2; .* say --input-scale linear"):
        values_of(small_model, few)
    values_of(small_model, few, input_scale="linear")


def altered(model, change) -> Model:
    """The model with other weights of its last layer."""
    params = jax.tree.map(np.array, model.params)
    change(params["outputs"])
    return replace(model, params=params)


@pytest.mark.parametrize("request_", [{}, {"output_scale": "zscore"}, {"all_targets": True}])
@pytest.mark.parametrize(
    ("change", "value"),
    [
        (lambda outputs: outputs["kernel"].__setitem__((slice(None), 20), 3e38), "(inf|-inf|nan)"),
        (lambda outputs: outputs["bias"].__setitem__(20, -1e6), r"-\S+"),
        (lambda outputs: outputs["kernel"].__imul__(1e4), r"-?\S+"),
    ],
)
def test_absurd_weights_are_refused(small_model, table, request_, change, value):
    """Gene 20 is no landmark; with other weights any may come first."""
    said = rf"^plate.gct: the model infers {value} \((log2|z-score)\) of ENSG\d+ for s\d+, far beyond its training data"
    with pytest.raises(DgexError, match=said):
        values_of(altered(small_model, change), table, **request_)


def test_what_is_believable(small_model, table, landmark):
    """The range of the training quantiles, and as much again to either side, in log2 and in z-scores."""
    least, most = small_model.believable
    quantiles = small_model.reference.quantiles
    assert least + most == pytest.approx(quantiles[0] + quantiles[-1])
    assert most - least == pytest.approx(3 * (quantiles[-1] - quantiles[0]))
    scaler, gene = small_model.reference.target_scaler, np.array([20])
    for limit, out in ((least, -0.01), (most, 0.01)):
        zscore = (np.array([[limit]]) - scaler.mean[gene]) / scaler.sd[gene]
        small_model.check_inferred(NAME, ["s"], np.array([[limit - out]]), gene, log2=True)
        small_model.check_inferred(NAME, ["s"], zscore - out, gene, log2=False)
        for values, log2 in ((np.array([[limit + out]]), True), (zscore + out, False)):
            with pytest.raises(DgexError, match="plate.gct: the model infers"):
                small_model.check_inferred(NAME, ["s"], values, gene, log2=log2)


def test_later_profiles_of_another_scale_are_refused(small_model, landmark):
    many = np.tile(landmark, (36, 1))
    many[2000] = np.exp2(many[2000])
    with pytest.raises(DgexError, match=r"the profile s2000 reaches \d+\.\d+, and log2 values are 32 at most"):
        values_of(small_model, table_of(small_model, many))


def test_no_landmark_is_recognised(small_model, landmark):
    table = in_memory(landmark, [f"gene-{row}" for row in range(24)], [f"well {row}" for row in range(60)])
    said = "not recognised; its rows are named like 'gene-0'.*its columns like 'well 0'.*Ensembl ids .ENSG9000"
    with pytest.raises(DgexError, match=said):
        values_of(small_model, table)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"input_scale": "log10"}, "input_scale is one of auto, log2, linear, zscore, not 'log10'"),
        ({"output_scale": "auto"}, "output_scale is one of log2, zscore, not 'auto'"),
        *(({"max_missing": share}, "max_missing is a share .* 0 or more and below 1") for share in (-0.1, 1.0, NAN)),
    ],
)
def test_requests_that_make_no_sense(request_, said):
    with pytest.raises(DgexError, match=said):
        Request(**request_)


@pytest.fixture(scope="module")
def plate(shared) -> Expression:
    """The first 40 profiles of the real plate, in memory."""
    with open_expression(shared / "data" / PLATE) as expression:
        return in_memory(expression.load()[:40], expression.row_id, expression.sample_id[:40], expression.row_metadata)


@pytest.fixture(scope="module")
def real_model(shared) -> Model:
    """A network of the real landmarks that nothing has trained: for what matters here any will do."""
    landmark, target = read_gene_tables(shared / "data" / "genes")
    target = target.take(np.arange(0, len(target), 100))
    config, random = NetworkConfig(len(landmark), len(target), (20,)), np.random.default_rng(0)

    def ones(*shape) -> np.ndarray:
        return np.ones(shape, np.float32)

    scalers = [Scaler(8 * ones(count), ones(count)) for count in (config.landmarks, config.targets)]
    quantiles = np.sort(random.normal(8, 2, config.landmarks)).astype(np.float32)
    loadings = random.normal(size=(config.landmarks, 5)).astype(np.float32)
    reliability = Reliability(
        *[ones(config.targets)] * 3, ones(4, config.targets), Expectation(0.0, 0.0, 9.0, 1.0, 0.0)
    )
    reference = Reference(landmark, target, *scalers, quantiles, Platforms.single(len(landmark), len(target)))
    params = jax.device_get(init_params(config, jax.random.key(0)))
    return Model(config, params, reference, Factors(loadings, 0.5), reliability, {})


@pytest.mark.parametrize("naming", ["Entrez id", "symbol", "symbol of the table", "Ensembl id", "Ensembl id.version"])
def test_a_real_plate_by_any_name(real_model, plate, naming):
    """Rows that are no landmark's keep names that no gene has, so that the same rows are found."""
    genes: Genes = real_model.reference.landmark_genes
    wanted = values_of(real_model, plate)
    of_probe = {probe: number for number, probe in enumerate(genes.probes)}
    names = {
        "Entrez id": lambda row, gene: f"{plate.row_metadata['pr_gene_id'][row]}",
        "symbol": lambda row, gene: plate.row_metadata["pr_gene_symbol"][row],
        "symbol of the table": lambda row, gene: genes.symbol[gene],
        "Ensembl id": lambda row, gene: genes.ensembl[gene],
        "Ensembl id.version": lambda row, gene: f"{genes.ensembl[gene]}.{row % 19 + 1}",
    }
    ids = [
        names[naming](row, of_probe[probe]) if probe in of_probe else f"row {row}"
        for row, probe in enumerate(plate.row_id)
    ]
    renamed = replace(plate, row_id=tuple(map(str, ids)), row_metadata={})
    for given in (renamed, renamed.transposed()):
        prediction, values = predicted(real_model, given)
        assert prediction.match.naming == naming.split(" of")[0].removesuffix(".version")
        assert prediction.match.found == 943 and prediction.match.missing == ()
        np.testing.assert_array_equal(values, wanted)


@pytest.fixture(scope="module")
def two_platforms(small_model):
    """A second platform, all of whose landmarks differ by up to 3 log2."""
    random = np.random.default_rng(6)
    offsets = [np.stack([np.zeros(n), random.uniform(-3, 3, n)]).astype(np.float32) for n in (24, 60)]
    return replace(
        small_model, reference=replace(small_model.reference, platforms=Platforms(("array", "mine"), *offsets))
    )


def test_a_platform_given_shifts_inputs_and_outputs(small_model, two_platforms, landmark):
    """What is z-scored after the offsets is the reference's; log2 outputs have them added again."""
    prediction, values = predicted(two_platforms, table_of(small_model, landmark), platform="mine")
    offsets, genes = two_platforms.reference.platforms, small_model.reference
    zscores = np.array([normal(small_model, row) for row in landmark])
    zscores -= offsets.landmark[1] / genes.landmark_scaler.sd
    scaler = genes.target_scaler
    targets = network(small_model, zscores) * scaler.sd + scaler.mean + offsets.target[1]
    np.testing.assert_allclose(values[:, 24:], targets[:, 8:], atol=1e-4)
    measured = zscores * genes.landmark_scaler.sd + genes.landmark_scaler.mean + offsets.landmark[1]
    np.testing.assert_allclose(values[:, :24], measured, atol=1e-4)
    assert set(prediction.expression.sample_metadata["platform"]) == {"mine"}
    assert prediction.platform_report() == "platform: mine (60), as given"


def test_the_nearest_platform_is_taken_profile_by_profile(small_model, two_platforms, landmark, whole):
    both = np.vstack([landmark[:20], landmark[20:40] + two_platforms.reference.platforms.landmark[1]])
    prediction, values = predicted(two_platforms, table_of(small_model, both))
    taken = prediction.expression.sample_metadata["platform"]
    assert (taken[:20] == "array").mean() > 0.9 and (taken[20:] == "mine").mean() > 0.9
    same = taken[:20] == "array"
    np.testing.assert_array_equal(values[:20][same], whole[:20][same])
    counts = {name: int((taken == name).sum()) for name in ("array", "mine")}
    assert prediction.platform_report().startswith(
        f"platform: array ({counts['array']}), mine ({counts['mine']}), which"
    )


def test_of_equally_near_platforms_the_last_is_taken(small_model, landmark):
    same = Platforms(("array", "mine"), *(np.zeros((2, n), np.float32) for n in (24, 60)))
    model = replace(small_model, reference=replace(small_model.reference, platforms=same))
    assert set(predicted(model, table_of(model, landmark))[0].expression.sample_metadata["platform"]) == {"mine"}


def test_an_unknown_platform(small_model, table):
    with pytest.raises(DgexError, match="platform 'nanopore': is unknown; choose from array$"):
        values_of(small_model, table, platform="nanopore")


def test_well_inferred_is_withheld_where_the_self_check_fails(small_model, landmark):
    strangers = landmark[:, np.random.default_rng(0).permutation(24)]
    prediction, _ = predicted(small_model, table_of(small_model, strangers))
    assert prediction.check.failed and np.isnan(prediction.expression.row_metadata["well_inferred"]).all()
    prediction, _ = predicted(small_model, table_of(small_model, landmark))
    assert not prediction.check.failed and prediction.expression.row_metadata["well_inferred"].dtype == bool
