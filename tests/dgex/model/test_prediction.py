"""Whole profiles, against ranks, quantiles, z-scores and the network's formula in float64; and what must not matter.

What values are refused is in ``test_input_scale``, what is told of rows and samples in ``test_prediction_metadata``,
what ``dgex predict`` refuses in ``test_cli_predict``.
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
from dgex.model.prediction import Request, predict_table
from dgex.model.reliability import Expectation, Reliability
from dgex.networks import NetworkConfig, init_params

NAN = np.nan
PLATE = "l1000/LJP009_A375_24H_X1_B20_QNORM_n371x978.gct.gz"


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
def whole(small_model, small_plate, predicted) -> np.ndarray:
    return predicted(small_model, small_plate)[1]


def test_log2_profiles(small_model, landmark, small_plate, predicted):
    prediction, values = predicted(small_model, small_plate)
    wanted, _ = expected(small_model, landmark)
    assert values.dtype == np.float32 and values.shape == (60, 24 + 52)
    np.testing.assert_allclose(values, wanted, atol=2e-5)
    assert prediction.scale == "log2" and prediction.match.naming == "Ensembl id"
    assert prediction.expression.sample_id == small_plate.sample_id
    genes = small_model.reference
    assert prediction.expression.row_id == genes.landmark_genes.ensembl + genes.target_genes.ensembl[8:]


def test_measured_landmarks_are_carried_through_on_the_scale_of_the_model(small_data, whole, landmark):
    """The profile's order of genes stays, and the values are those of the training data."""
    np.testing.assert_array_equal(whole[:, :24].argsort(axis=1), landmark.argsort(axis=1))
    assert np.abs(np.sort(whole[:, :24]).mean(axis=0) - np.sort(small_data.landmark).mean(axis=0)).max() < 0.1


def test_zscore_output_is_log2_output_by_the_scaler(small_model, small_plate, whole, predicted):
    zscores = predicted(small_model, small_plate, output_scale="zscore")[1]
    scalers = small_model.reference.landmark_scaler, small_model.reference.target_scaler
    mean, sd = (np.append(getattr(scalers[0], field), getattr(scalers[1], field)[8:]) for field in ("mean", "sd"))
    np.testing.assert_allclose(zscores * sd + mean, whole, atol=1e-5)


def test_zscore_input_passes_through(small_model, landmark, table_of, predicted):
    zscores = np.array([normal(small_model, profile) for profile in landmark], np.float32)
    zscores[3, 5] = NAN
    table = table_of(zscores)
    prediction, values = predicted(small_model, table, input_scale="zscore", output_scale="zscore")
    assert prediction.scale == "zscore"
    measured = ~np.isnan(zscores)
    np.testing.assert_array_equal(values[:, :24][measured], zscores[measured])
    filled = np.array([fill(small_model, profile)[0] for profile in zscores.astype(np.float64)])
    np.testing.assert_allclose(values[:, :24], filled, atol=1e-5)
    np.testing.assert_allclose(values[:, 24:], network(small_model, filled)[:, 8:], atol=1e-5)


def test_linear_values_are_their_logarithms(small_model, landmark, whole, table_of, predicted):
    table = table_of(np.exp2(landmark.astype(np.float64)) - 1)
    for scale in ("auto", "linear"):
        prediction, values = predicted(small_model, table, input_scale=scale)
        assert prediction.scale == "linear"
        np.testing.assert_allclose(values, whole, atol=1e-5)


@pytest.mark.parametrize("transform", [lambda x: x + 1, lambda x: 2 * x - 3, np.sqrt, lambda x: np.exp(x / 8)])
def test_a_monotone_transform_changes_nothing(small_model, landmark, whole, transform, table_of, predicted):
    profiles = transform(landmark.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(profiles.argsort(axis=1), landmark.argsort(axis=1))  # no two became one
    np.testing.assert_array_equal(predicted(small_model, table_of(profiles), input_scale="log2")[1], whole)


def test_a_profile_does_not_depend_on_its_company(small_model, landmark, table_of, predicted):
    """Nor on the order, to the last bit, whatever it lacks."""
    gaps = np.where(np.random.default_rng(0).random(landmark.shape) < 0.08, NAN, landmark)
    both, request = np.vstack([landmark, gaps]), {"input_scale": "log2", "max_missing": 0.5}
    prediction, values = predicted(small_model, table_of(both), **request)
    told = prediction.expression.sample_metadata
    reverse, backwards = predicted(small_model, table_of(both[::-1]), **request)
    np.testing.assert_array_equal(backwards[::-1], values)
    for name, column in told.items():
        np.testing.assert_array_equal(reverse.expression.sample_metadata[name][::-1], column)
    for row in (0, 59, 60, 75, 119):
        alone, own = predicted(small_model, table_of(both[row : row + 1]), **request)
        np.testing.assert_array_equal(own[0], values[row])
        for name, column in told.items():
            assert alone.expression.sample_metadata[name][0] == column[row]


def test_many_profiles_come_in_order(small_model, landmark, whole, table_of, predicted):
    """More than a block of them, on several devices; those read later than the first ones too."""
    many = np.tile(landmark, (36, 1))  # 2,160
    prediction, values = predicted(small_model, table_of(many), devices=3)
    np.testing.assert_array_equal(values, np.tile(whole, (36, 1)))
    error = prediction.expression.sample_metadata["self_check_error"]
    np.testing.assert_array_equal(error, np.tile(error[:60], 36))


def test_blocks_may_be_read_again(small_model, small_plate, whole):
    with predict_table(small_model, "plate.gct", small_plate, Request(), parallel.devices(1), Path(".")) as prediction:
        for _ in range(2):
            np.testing.assert_array_equal(prediction.expression.load(), whole)


def test_genes_in_columns(small_model, small_plate, whole, predicted):
    """Metadata are exchanged with the axes: those of the lines are the samples'."""
    told = {"tissue": np.array(["liver"] * 60)}
    given = replace(small_plate.transposed(), row_metadata=told)
    prediction, values = predicted(small_model, given)
    assert prediction.match.transposed
    np.testing.assert_array_equal(values, whole)
    assert prediction.expression.sample_id == small_plate.sample_id
    assert prediction.expression.sample_metadata["tissue"].tolist() == ["liver"] * 60


def test_genes_in_any_order_among_others(small_model, small_plate, landmark, whole, predicted):
    order = np.random.default_rng(1).permutation(24)
    rows = [name for number in order for name in (small_plate.row_id[number], f"other {number}")]
    values = np.repeat(landmark[:, order], 2, axis=1)
    values[:, 1::2] += 1
    prediction, found = predicted(small_model, in_memory(values, rows, small_plate.sample_id))
    np.testing.assert_array_equal(found, whole)
    assert prediction.match.unused == 24


def test_probe_sets_of_a_gene_are_averaged_in_log2(small_model, landmark, predicted):
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


def test_a_missing_landmark_is_filled_in_and_told(small_model, small_plate, landmark, predicted):
    kept = np.delete(np.arange(24), [3, 20])
    fewer = in_memory(landmark[:, kept], [small_plate.row_id[row] for row in kept], small_plate.sample_id)
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


def test_gaps_of_single_profiles_are_filled_in_and_told(small_model, landmark, table_of, predicted):
    gaps = landmark.copy()
    gaps[2, [0, 7]], gaps[5, 7] = NAN, NAN
    prediction, values = predicted(small_model, table_of(gaps))
    wanted, _ = expected(small_model, gaps)
    np.testing.assert_allclose(values, wanted, atol=3e-5)
    imputed = prediction.expression.sample_metadata["landmarks_imputed"]
    assert {row: imputed[row] for row in np.flatnonzero(imputed)} == {2: 2, 5: 1}
    assert set(prediction.expression.row_metadata["kind"][:24]) == {"measured"}
    assert prediction.warnings()[0].startswith("2 of 60 profiles lack landmarks (up to 2)")


def test_an_inferred_twin_of_every_measured_target(small_model, landmark, small_plate, whole, predicted):
    prediction, values = predicted(small_model, small_plate, all_targets=True)
    ids, genes = prediction.expression.row_id, small_model.reference
    assert len(ids) == len(set(ids)) == 24 + 60
    assert ids[24:32] == tuple(f"{gene}:inferred" for gene in genes.target_genes.ensembl[:8])
    assert ids[32:] == genes.target_genes.ensembl[8:]
    assert prediction.expression.row_metadata["kind"].tolist() == ["measured"] * 24 + ["inferred"] * 60
    np.testing.assert_allclose(np.delete(values, np.arange(24, 32), axis=1), whole, atol=1e-5)
    filled = np.array([normal(small_model, profile) for profile in landmark])
    scaler = genes.target_scaler
    np.testing.assert_allclose(values[:, 24:], network(small_model, filled) * scaler.sd + scaler.mean, atol=2e-5)


def test_no_landmark_is_recognised(small_model, landmark, predicted):
    table = in_memory(landmark, [f"gene-{row}" for row in range(24)], [f"well {row}" for row in range(60)])
    said = "not recognised; its rows are named like 'gene-0'.*its columns like 'well 0'.*Ensembl ids .ENSG9000"
    with pytest.raises(DgexError, match=said):
        predicted(small_model, table)


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
def test_a_real_plate_by_any_name(real_model, plate, naming, predicted):
    """Rows that are no landmark's keep names that no gene has, so that the same rows are found."""
    genes: Genes = real_model.reference.landmark_genes
    wanted = predicted(real_model, plate)[1]
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


def test_a_platform_given_shifts_inputs_and_outputs(small_model, two_platforms, landmark, table_of, predicted):
    """What is z-scored after the offsets is the reference's; log2 outputs have them added again."""
    prediction, values = predicted(two_platforms, table_of(landmark), platform="mine")
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


def test_the_nearest_platform_is_taken_profile_by_profile(two_platforms, landmark, whole, table_of, predicted):
    both = np.vstack([landmark[:20], landmark[20:40] + two_platforms.reference.platforms.landmark[1]])
    prediction, values = predicted(two_platforms, table_of(both))
    taken = prediction.expression.sample_metadata["platform"]
    assert (taken[:20] == "array").mean() > 0.9 and (taken[20:] == "mine").mean() > 0.9
    same = taken[:20] == "array"
    np.testing.assert_array_equal(values[:20][same], whole[:20][same])
    counts = {name: int((taken == name).sum()) for name in ("array", "mine")}
    assert prediction.platform_report().startswith(
        f"platform: array ({counts['array']}), mine ({counts['mine']}), which"
    )


def test_of_equally_near_platforms_the_last_is_taken(small_model, landmark, table_of, predicted):
    same = Platforms(("array", "mine"), *(np.zeros((2, n), np.float32) for n in (24, 60)))
    model = replace(small_model, reference=replace(small_model.reference, platforms=same))
    assert set(predicted(model, table_of(landmark))[0].expression.sample_metadata["platform"]) == {"mine"}


def test_an_unknown_platform(small_model, small_plate, predicted):
    with pytest.raises(DgexError, match="platform 'nanopore': is unknown; choose from array$"):
        predicted(small_model, small_plate, platform="nanopore")
