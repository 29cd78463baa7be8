"""Split conformal intervals against their textbook, correlations within studies, and the other marks of a gene."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest

from dgex.errors import DgexError
from dgex.model.reliability import (
    GENES,
    LEVELS,
    Expectation,
    Reliability,
    agreement,
    coverage,
    fit_expectation,
    is_well_inferred,
    measure,
    quantiles,
)

NAN = np.nan


def reliability(**fields):
    zeros = np.zeros(3, np.float32)
    default = {name: zeros for name in ("pearson", "zscore_mae", "r2")}
    return Reliability(
        **default
        | {"quantile": np.ones((len(LEVELS), 3), np.float32), "expectation": Expectation(0.0, 0.0, 2.0, 1.0, 0.0)}
        | fields
    )


def textbook(errors, level):
    """Of n absolute errors the ceil((n + 1) level)-th smallest, in whole numbers throughout."""
    rank = math.ceil((len(errors) + 1) * Fraction(str(level)))
    return sorted(map(abs, errors.tolist()))[rank - 1] if rank <= len(errors) else math.inf


@pytest.mark.parametrize("profiles", [1, 2, 3, 9, 10, 18, 19, 20, 39, 99, 100, 199])
def test_quantiles_are_the_order_statistics(profiles):
    error = np.random.default_rng(profiles).standard_cauchy((profiles, 300)).astype(np.float32)
    result = quantiles(error, ["a"] * profiles)
    assert result.dtype == np.float32
    expected = [[textbook(gene, level) for gene in error.T] for level in LEVELS]
    np.testing.assert_array_equal(result, np.float32(expected))


def test_too_few_profiles_for_a_level():
    """0.95 needs 19 profiles: of these all but one in twenty-first place are nearer than the farthest."""
    error = np.ones((19, 2), np.float32)
    assert np.isfinite(quantiles(error, ["a"] * 19)).all()
    assert np.isfinite(quantiles(error[1:], ["a"] * 18)).all(axis=1).tolist() == [True, True, True, False]


@pytest.mark.parametrize("profiles", [30, 99])
def test_intervals_hold_their_share_of_values_like_these(profiles):
    """Skewed errors of another size in every gene; the share is k / (n + 1), not less than the level."""
    random = np.random.default_rng(profiles)
    genes, new = 4000, 10
    error = (random.gamma(1.0, 1.0, (profiles + new, genes)) - 0.4) * random.gamma(2.0, 1.0, genes)
    shares = coverage(error[profiles:], quantiles(error[:profiles], ["one"] * profiles), np.ones(new), ["one"] * new)
    assert len(shares) == 4
    for level, share in shares.items():
        exact = Fraction(math.ceil((profiles + 1) * Fraction(level)), profiles + 1)
        assert exact >= Fraction(level)
        assert share["all"] == pytest.approx(float(exact), abs=0.008)  # five standard errors


def test_coverage_of_all_and_of_the_studies_with_least_and_most():
    """Of two genes: the ends of an interval lie in it; studies need not lie side by side, nor be of one size."""
    half_width = np.array([[0, 1], [1, 2], [2, 3], [3, 9]], np.float32)
    error = np.array([[1, -1], [-1.5, 2.5], [0, 0], [-3, 8], [2, 3]], np.float32)
    shares = coverage(error, half_width, np.ones(5), ["b", "a", "b", "c", "b"])
    assert {level: list(share) for level, share in shares.items()} == {
        str(level): ["all", "lowest", "highest", "by_study"] for level in (0.5, 0.8, 0.9, 0.95)
    }
    # Values inside, by profile: of "b" the first, third and fifth, of "a" the second, of "c" the fourth.
    inside = {"0.5": [1, 0, 2, 0, 0], "0.8": [2, 0, 2, 0, 0], "0.9": [2, 2, 2, 0, 2], "0.95": [2, 2, 2, 2, 2]}
    for level, counts in inside.items():
        by_study = [(counts[0] + counts[2] + counts[4]) / 6, counts[1] / 2, counts[3] / 2]
        expected = {"all": sum(counts) / 10, "lowest": min(by_study), "highest": max(by_study)}
        told = shares[level].pop("by_study")
        assert shares[level] == pytest.approx(expected)
        assert told == pytest.approx(dict(zip("bac", by_study, strict=True)))


def test_infinite_widths_have_no_coverage():
    """Neither a target that too few validation profiles have, nor a level for which all have too few."""
    half_width = np.array([[1, 1], [1, 1], [1, math.inf], [math.inf, math.inf]], np.float32)
    shares = coverage(np.array([[0, 0], [0, 9]], np.float32), half_width, np.ones(2), ["a", "b"])
    some = {"all": 0.75, "lowest": 0.5, "highest": 1, "by_study": {"a": 1, "b": 0.5}}
    assert shares == {
        "0.5": some,
        "0.8": some,
        "0.9": {"all": 1, "lowest": 1, "highest": 1, "by_study": {"a": 1, "b": 1}},
    }


def test_coverage_of_measured_values_alone():
    """A share is of the values that there are; a study without any has none."""
    error = np.array([[0, 2, math.nan], [math.nan, 0, math.nan], [math.nan] * 3, [3, 0, 0]], np.float32)
    shares = coverage(error, np.ones((4, 3), np.float32), np.ones(4), ["a", "a", "b", "c"])
    assert shares["0.5"].pop("by_study") == pytest.approx({"a": 2 / 3, "c": 2 / 3})
    assert shares["0.5"] == pytest.approx({"all": 4 / 6, "lowest": 2 / 3, "highest": 2 / 3})


def test_missing_targets_say_nothing_of_reliability():
    """Each target's numbers are those of the profiles that have it; of one that none has there are none."""
    random = np.random.default_rng(3)
    inferred, target = random.normal(size=(2, 40, 3)).astype(np.float32)
    target += inferred
    study = ["a"] * 15 + ["b"] * 15 + ["c"] * 10
    measured = np.arange(40) % 3 > 0
    target[~measured, 1] = math.nan
    target[:, 2] = math.nan
    found = measure(inferred, target, study, np.ones(40))
    own = np.flatnonzero(measured)
    alone = measure(inferred[own], target[own], [study[row] for row in own], np.ones(len(own)))
    r = within_studies(inferred[own, 1], target[own, 1], [study[row] for row in own])
    assert found.pearson[1] == pytest.approx(r, rel=1e-5)
    error = np.abs(inferred[own, 1] - target[own, 1], dtype=np.float64)
    assert found.zscore_mae[1] == pytest.approx(error.mean(), rel=1e-5)
    assert np.isfinite(found.quantile[:3, 1]).all()
    # The expected errors differ, since the other targets' errors count in them, but by one factor.
    ratio = found.quantile[:3, 1] / alone.quantile[:3, 1]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert found.r2[1] == pytest.approx(1 - (error**2).sum() / np.square(target[own, 1], dtype=np.float64).sum())
    assert np.isnan([found.pearson[2], found.r2[2], found.zscore_mae[2]]).all()
    assert np.isinf(found.quantile[:, 2]).all() and not found.well_inferred[2]
    assert np.isnan(found.quantile_at(0.9)).tolist() == [False, False, True]


def within_studies(inferred, target, study):
    """Pearson's r of one gene, in numpy, its study means taken away."""
    x, y = np.array(inferred, np.float64), np.array(target, np.float64)
    for name in set(study):
        own = np.array(study) == name
        x[own] -= x[own].mean()
        y[own] -= y[own].mean()
    return np.corrcoef(x, y)[0, 1]


def test_agreement():
    """More genes than are worked on at once, studies of all sizes in any order."""
    random = np.random.default_rng(0)
    study = random.choice(["GSE1", "GSE2", "GSE30", ""], 50, p=[0.5, 0.3, 0.1, 0.1]).tolist() + ["alone"]
    levels = {name: random.normal(0, 3, GENES + 9) for name in set(study)}
    target = np.array([levels[name] for name in study]) + random.normal(size=(51, GENES + 9))
    inferred = (0.6 * target + random.normal(size=target.shape)).astype(np.float32)
    target = target.astype(np.float32)
    pearson, r2 = agreement(inferred, target, study)
    assert pearson.dtype == r2.dtype == np.float32
    expected = [within_studies(x, y, study) for x, y in zip(inferred.T, target.T, strict=True)]
    np.testing.assert_allclose(pearson, expected, atol=1e-6)
    wrong = np.square(inferred.astype(np.float64) - target).sum(axis=0)
    np.testing.assert_allclose(r2, 1 - wrong / np.square(target.astype(np.float64)).sum(axis=0), atol=1e-6)


def test_what_differs_between_studies_alone_is_not_inferred():
    """A first gene whose studies are told apart and nothing else; a second of the same pooled r within studies."""
    random = np.random.default_rng(1)
    study, level = ["a"] * 40 + ["b"] * 40, np.repeat([-3.0, 3.0], 40)
    noise, shared = random.normal(size=(2, 80)), random.normal(size=80) * 3
    target = np.stack([level + noise[0], shared + noise[0]], axis=1).astype(np.float32)
    inferred = np.stack([level + noise[1], shared + noise[1]], axis=1).astype(np.float32)
    pooled = [np.corrcoef(x, y)[0, 1] for x, y in zip(inferred.T, target.T, strict=True)]
    assert min(pooled) > 0.85
    pearson, r2 = agreement(inferred, target, study)
    assert abs(pearson[0]) < 0.3 and pearson[1] > 0.85 and (r2 > 0.7).all()
    assert is_well_inferred(pearson, r2).tolist() == [False, True]


def test_genes_that_do_not_vary_have_no_agreement():
    """Of the columns: no value differs; none within its study; the inferred ones alone are constant; all is well."""
    study = ["a", "a", "b", "b"]
    target = np.array([[0, 1, 1, 1], [0, 1, 2, 2], [0, 5, 3, 3], [0, 5, 5, 5]], np.float32)
    inferred = np.array([[0, 1, 2, 1], [0, 2, 2, 2], [0, 5, 2, 3], [0, 6, 2, 5]], np.float32)
    pearson, r2 = agreement(inferred, target, study)
    np.testing.assert_allclose(pearson, [NAN, NAN, NAN, 1], atol=1e-6)
    np.testing.assert_allclose(r2, [NAN, 1 - 2 / 52, 1 - 11 / 39, 1], atol=1e-6)
    assert is_well_inferred(pearson, r2).tolist() == [False, False, False, True]


def test_well_inferred():
    pearson = np.array([0.5, 0.49, 0.9, 0.9, NAN, 0.9], np.float32)
    r2 = np.array([0.01, 0.2, 0.0, -1, 0.5, NAN], np.float32)
    expected = [True, False, False, False, False, False]
    assert is_well_inferred(pearson, r2).tolist() == reliability(pearson=pearson, r2=r2).well_inferred.tolist()
    assert is_well_inferred(pearson, r2).tolist() == expected


def test_fields_in_the_order_in_which_a_prediction_tells_them():
    names = [field.name for field in dataclasses.fields(Reliability)]
    assert names == ["pearson", "r2", "zscore_mae", "quantile", "expectation"]


def test_half_width_of_a_level():
    half_width = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = reliability(quantile=half_width)
    for level, expected in zip((0.5, 0.8, 0.9, 0.95), half_width, strict=True):
        np.testing.assert_array_equal(found.quantile_at(level), expected)


@pytest.mark.parametrize("level", [0.7, 0.0, 1.0, 90, -0.5, NAN])
def test_other_levels_are_refused(level):
    with pytest.raises(DgexError, match=r"is not available; choose from 0.5, 0.8, 0.9, 0.95$"):
        reliability().quantile_at(level)


def test_levels_with_too_few_profiles_are_refused():
    found = reliability(quantile=quantiles(np.ones((18, 3), np.float32), ["a"] * 18))
    assert found.quantile_at(0.9).tolist() == [1, 1, 1]
    with pytest.raises(DgexError, match=r"interval 0.95: the model's validation had too few profiles"):
        found.quantile_at(0.95)


def test_measure():
    target = np.array([[1, 0], [2, 0], [-4, 0]], np.float32)
    error = np.array([[1, -2], [3, 4], [-2, 0]], np.float32)
    found = measure(target + error, target, ["a", "a", "a"], np.array([3.0, 1.0, 2.0]))
    assert found.zscore_mae.tolist() == [2, 2]
    r = np.corrcoef([2, 5, -6], [1, 2, -4])[0, 1]
    np.testing.assert_allclose(found.pearson, [r, NAN], rtol=1e-6)
    np.testing.assert_allclose(found.r2, [1 - 14 / 21, NAN], rtol=1e-6)
    assert found.well_inferred.tolist() == [True, False]
    assert found.expectation.farthest == 3 and found.expectation.reference_error == 2
    assert all(getattr(found, name).dtype == np.float32 for name in ("pearson", "r2", "zscore_mae", "quantile"))
    apart = measure(target + error, target, ["a", "a", "b"], np.array([3.0, 1.0, 2.0]))
    assert apart.pearson[0] == pytest.approx(1)  # two profiles of one study, whose r is 1 or -1, and one alone


def test_studies_weigh_equally_in_quantiles():
    """Of 90 profiles of one study and 10 of another each has half of the weight, a new profile a 101st of it all."""
    error = np.concatenate([np.linspace(0, 1, 90), np.linspace(2, 3, 10)])[:, None].astype(np.float32)
    found = quantiles(-error, ["large"] * 90 + ["small"] * 10)[:, 0]
    expected = []
    for level in LEVELS:
        rest = level * Fraction(101, 100) - Fraction(1, 2)  # beyond the whole of the large study, in tenths of a half
        expected.append(error[90 + math.ceil(rest * 20) - 1, 0])
    np.testing.assert_array_equal(found, np.float32(expected))


def test_the_expected_error_is_a_weighted_regression_in_logarithms():
    """By numpy's polyfit, in which a profile of a study of three counts a third of one that is alone in its study."""
    random = np.random.default_rng(4)
    check = np.concatenate([random.uniform(0.3, 0.6, 30), random.uniform(0.6, 1.2, 10)])
    error = (0.9 * check**0.8 * np.exp(random.normal(0, 0.05, 40)))[:, None] * np.ones((1, 5))
    study = ["a"] * 30 + ["b"] * 10
    found = fit_expectation(error, study, check, [0.4, 0.6, NAN])
    weight = np.array([1 / 30] * 30 + [1 / 10] * 10)
    slope, intercept = np.polyfit(np.log(check), np.log(error[:, 0]), 1, w=np.sqrt(weight))
    assert (found.intercept, found.slope) == pytest.approx((intercept, slope), rel=1e-5)
    assert found.farthest == pytest.approx(check.max()) and found.least_pearson == pytest.approx(0.25)
    some = np.array([0.5, 1.0])
    np.testing.assert_allclose(found.expect(some), np.exp(intercept + slope * np.log(some)), rtol=1e-5)
