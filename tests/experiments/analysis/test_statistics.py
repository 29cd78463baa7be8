"""Comparisons against closed forms and scipy; what must not matter; too few studies or seeds."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dgex.errors import DgexError
from experiments.analysis.bootstrap import interval, once_a_study, resampled_means
from experiments.analysis.statistics import Errors, compare, correct, holm, signed_rank

SEEDS, GENES = 3, 20
STUDY = tuple(np.repeat(["GSE2", "GSE1", "GSE5", "GSE3", "GSE4", "GSE6"], [1, 3, 2, 4, 1, 2]))


def draw(shift, seed, seeds=SEEDS):
    """Absolute errors [seeds, samples, genes]."""
    return np.random.default_rng(seed).uniform(0.1, 1, (seeds, len(STUDY), GENES)) + shift


def average(model, runs, study, seeded=True, measure="z-score MAE"):
    """Absolute errors [seeds, samples, genes] as the means that are compared."""
    runs, of = np.asarray(runs), np.asarray(study)
    gene = np.stack([runs[:, of == name].mean(1) for name in np.unique(of)], 1).astype(np.float32)
    return Errors(model, tuple(study), runs.mean(2), gene, seeded, measure)


A, B = draw(0, 0), draw(0.02, 1)


@pytest.fixture(scope="module")
def compared():
    return compare(average("TAAF", A, STUDY), average("tanh", B, STUDY))


def by_study(values):
    """Means over each study's samples, studies in sorted order, of [samples, ...]."""
    return np.array([values[[of == name for of in STUDY]].mean(0) for name in sorted(set(STUDY))])


def test_difference_and_effect_sizes(compared):
    assert (compared.studies, compared.samples, compared.genes, compared.seeds) == (6, 13, GENES, SEEDS)
    assert (compared.mean_a, compared.mean_b) == pytest.approx((A.mean(), B.mean()))
    assert compared.difference == pytest.approx((A - B).mean())
    assert compared.improvement == pytest.approx(100 * (B.mean() - A.mean()) / B.mean())
    # d_z is the t statistic of the one-sample test over sqrt(n).
    differences = by_study((A - B).mean((0, 2)))
    assert compared.cohens_d == pytest.approx(stats.ttest_1samp(differences, 0).statistic / np.sqrt(6))


def test_every_study_once(compared):
    names, code = np.unique(STUDY, return_inverse=True)
    values, weight = (A - B).mean(2), once_a_study(code)
    assert compared.study_difference == pytest.approx(by_study(values.T).mean())
    ends = interval(values, code, resampled_means(values, code, weight=weight), weight)
    assert compared.study_interval == pytest.approx(ends)
    assert ends[0] < compared.study_difference < ends[1]


def test_studies_of_one_size_have_one_difference_and_the_same_draws():
    study = [str(i % 6) for i in range(12)]
    compared = compare(*(average("m", errors[:, :12], study) for errors in (A, B)))
    assert compared.study_difference == pytest.approx(compared.difference)
    assert compared.study_interval == pytest.approx(compared.interval)


def test_d_has_the_sign_of_the_difference_beside_it():
    """One large study says the one, nine small ones the other."""
    study = np.repeat([f"s{i}" for i in range(10)], [100] + [6] * 9)
    shift = np.where(study == "s0", -0.05, 0.02)[:, None] + 0.01 * np.random.default_rng(0).normal(size=(3, 154, 5))
    compared = compare(average("a", 0.5 + shift, study), average("b", np.full((3, 154, 5), 0.5), study))
    assert compared.difference == pytest.approx(-0.0256, abs=0.002)
    assert compared.study_difference == pytest.approx(0.013, abs=0.002)
    assert compared.cohens_d == pytest.approx(0.59, abs=0.05)


def test_shares_of_genes(compared):
    assert compared.genes_lower == ((A - B).mean((0, 1)) < 0).mean()
    lower = np.array([by_study(run) < 0 for run in A - B]).mean((0, 2))
    sizes = [STUDY.count(name) for name in sorted(set(STUDY))]
    assert compared.genes_lower_once == pytest.approx(np.average(lower, weights=sizes))


def test_all_genes_but_one():
    """D-GEX's share: a gene that is lower on the whole counts, though it is higher in a study."""
    a, b = np.full((2, 13, GENES), 0.5), np.full((2, 13, GENES), 0.6)
    a[:, :, 0] = 0.61
    a[:, STUDY.index("GSE2"), 1] = 0.7
    compared = compare(average("a", a, STUDY), average("b", b, STUDY))
    assert compared.genes_lower == (GENES - 1) / GENES
    assert compared.genes_lower_once == pytest.approx((13 * (GENES - 1) - 1) / (13 * GENES))


def test_a_gene_that_a_study_lacks_counts_in_the_others():
    a, b = np.full((2, 13, GENES), 0.5), np.full((2, 13, GENES), 0.6)
    a[:, :, 0] = 0.7
    errors = [average(name, values, STUDY) for name, values in (("a", a), ("b", b))]
    lacks = sorted(set(STUDY)).index("GSE2")
    for each in errors:
        each.gene[:, lacks, 0] = np.nan
    compared = compare(*errors)
    assert compared.genes_lower == (GENES - 1) / GENES
    inside, outside = STUDY.count("GSE2"), 13 - STUDY.count("GSE2")
    assert compared.genes_lower_once == pytest.approx((inside + outside * (GENES - 1) / GENES) / 13)


def test_intervals_are_those_of_samples_and_of_their_studies(compared):
    names, code = np.unique(STUDY, return_inverse=True)
    shares = np.array([by_study(run) < 0 for run in A - B]).mean(2)
    of_samples = [[shares[s, list(names).index(name)] for name in STUDY] for s in range(SEEDS)]
    for values, ends in (
        ((A - B).mean(2), compared.interval),
        (np.array(of_samples), compared.genes_lower_once_interval),
    ):
        assert ends == pytest.approx(interval(values, code, resampled_means(values, code)))
        assert ends[0] < values.mean() < ends[1]


def test_tests_over_studies_and_seeds_match_scipy():
    a, b = draw(0, 2, seeds=7), draw(0.01, 3, seeds=7)
    compared = compare(average("a", a, STUDY), average("b", b, STUDY))
    assert compared.p_studies == stats.wilcoxon(by_study((a - b).mean((0, 2)))).pvalue
    assert compared.p_seeds == stats.wilcoxon((a - b).mean((1, 2))).pvalue


FOLD = dict(zip(sorted(set(STUDY)), ["f1", "f1", "f2", "f3", "f4", "f5"], strict=True))


def in_folds(model, errors, fold):
    return replace(average(model, errors, STUDY), fold=tuple(fold[name] for name in STUDY))


def test_folds_are_drawn_whole(compared):
    """With folds the ends are those of drawing folds; nothing else changes, and the two seldom agree."""
    folds = compare(in_folds("TAAF", A, FOLD), in_folds("tanh", B, FOLD))
    assert (folds.folds, folds.studies, compared.folds) == (5, 6, None)
    code = np.unique([FOLD[name] for name in STUDY], return_inverse=True)[1]
    weight = once_a_study(np.unique(STUDY, return_inverse=True)[1])
    values = (A - B).mean(2)
    assert folds.interval == pytest.approx(interval(values, code, resampled_means(values, code)))
    once = interval(values, code, resampled_means(values, code, weight=weight), weight)
    assert folds.study_interval == pytest.approx(once)
    assert folds.interval != pytest.approx(compared.interval)
    ends = ("interval", "study_interval", "genes_lower_once_interval", "folds")
    assert {k: v for k, v in asdict(folds).items() if k not in ends} == {
        k: v for k, v in asdict(compared).items() if k not in ends
    }


def test_folds_of_one_study_are_studies(compared):
    alone = {name: name for name in STUDY}
    folds = asdict(compare(in_folds("TAAF", A, alone), in_folds("tanh", B, alone)))
    assert folds.pop("folds") == 6
    assert folds == {key: value for key, value in asdict(compared).items() if key != "folds"}


def test_what_studies_of_a_fold_share_widens_the_interval():
    """Five folds of four studies that move together: four times the studies are no four times the evidence."""
    random = np.random.default_rng(4)
    study = [f"GSE{i:02}" for i in range(20) for _ in range(5)]
    shared = np.repeat(random.normal(0, 0.1, 5), 20)[None, :, None]
    a = 1 + shared + random.normal(0, 0.01, (3, 100, 4))
    b = np.ones((3, 100, 4))
    fold = tuple(f"fold-{i // 20}" for i in range(100))
    models = [average(name, errors, study) for name, errors in (("a", a), ("b", b))]
    (low, high), (fold_low, fold_high) = (
        compare(*pair).interval for pair in (models, [replace(model, fold=fold) for model in models])
    )
    assert fold_high - fold_low > 2 * (high - low)


def test_few_folds_have_no_interval():
    four = {name: f"f{i % 4}" for i, name in enumerate(sorted(set(STUDY)))}
    compared = compare(in_folds("TAAF", A, four), in_folds("tanh", B, four))
    assert compared.no_interval == "4 folds, at least 5 needed" and compared.interval is None
    assert compared.p_studies is not None  # of six studies


def test_folds_must_agree_and_hold_whole_studies():
    with pytest.raises(ValueError, match="not the same samples, folds"):
        compare(in_folds("TAAF", A, FOLD), average("tanh", B, STUDY))
    with pytest.raises(ValueError, match="TAAF: a study is in two folds"):
        replace(average("TAAF", A, STUDY), fold=tuple(f"f{i}" for i in range(len(STUDY))))


def test_signed_rank_by_hand():
    """All of n on one side: two of the 2^n sign patterns. One small difference on the other: two more."""
    six = np.array([1.0, 2, 3, 4, 5, 6])
    assert signed_rank(six) == pytest.approx(2 / 64)
    assert signed_rank(six * [-1, 1, 1, 1, 1, 1]) == pytest.approx(4 / 64)
    assert signed_rank(np.append(six, 0)) == pytest.approx(2 / 64)
    assert signed_rank(six[1:]) is None
    assert signed_rank(np.append(six[1:], 0)) is None
    assert signed_rank(np.zeros(8)) is None


def test_holm_by_hand():
    """.01 x 4; .02 x 3; .022 x 2 = .044 lies below the .06 before it; .8 x 1."""
    assert holm([0.02, 0.8, 0.01, 0.022]) == pytest.approx([0.06, 0.8, 0.04, 0.06])
    assert holm([0.7, 0.6]) == [1, 1]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_holm_is_the_closure_of_the_bonferroni_test(p, random):
    """The corrected p is the largest Bonferroni p among all subsets with it; a permutation permutes the result."""
    corrected = holm(p)
    for i, value in enumerate(p):
        # The largest of a given size leaves the smaller p-values out first.
        others = sorted(p[:i] + p[i + 1 :])
        largest = max((1 + n) * min([value, *others[len(others) - n :]]) for n in range(len(p)))
        assert corrected[i] == pytest.approx(min(1, largest))
    order = random.sample(range(len(p)), len(p))
    assert holm([p[i] for i in order]) == [corrected[i] for i in order]


def test_correct_leaves_out_what_was_not_tested(compared):
    tested = [replace(compared, p_studies=p) for p in (0.04, None, 0.01)]
    assert [c.p_holm for c in correct(tested)] == pytest.approx([0.04, None, 0.02])


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(SEEDS)), st.permutations(range(len(STUDY))), st.permutations(range(GENES)))
def test_orders_do_not_matter(compared, seeds, samples, genes):
    a, b = (errors[np.ix_(seeds, samples, genes)] for errors in (A, B))
    study = [STUDY[i] for i in samples]
    permuted = asdict(compare(average("TAAF", a, study), average("tanh", b, study)))
    expected = asdict(compared)
    # Other draws of the same bootstrap. With six studies the percentiles lie so far out that other draws move the ends.
    for ends in ("interval", "study_interval", "genes_lower_once_interval"):
        low, high = expected.pop(ends)
        assert permuted.pop(ends) == pytest.approx((low, high), abs=0.4 * (high - low))
    for key, value in expected.items():
        assert permuted[key] == (pytest.approx(value) if isinstance(value, float) else value), key


def test_exchanging_the_models_changes_signs(compared):
    back = compare(average("tanh", B, STUDY), average("TAAF", A, STUDY))
    assert back.difference == pytest.approx(-compared.difference)
    assert back.cohens_d == pytest.approx(-compared.cohens_d)
    assert back.study_difference == pytest.approx(-compared.study_difference)
    for ends in ("interval", "study_interval"):
        low, high = getattr(compared, ends)
        assert getattr(back, ends) == pytest.approx((-high, -low))
    assert back.genes_lower == pytest.approx(1 - compared.genes_lower)
    assert back.p_studies == compared.p_studies


def test_another_unit(compared):
    """log2 MAE of genes with the same SD: everything in proportion."""
    scaled = compare(*(average("m", 0.5 * errors, STUDY, measure="log2 MAE") for errors in (A, B)))
    assert scaled.interval == pytest.approx(tuple(0.5 * end for end in compared.interval))
    assert scaled.cohens_d == pytest.approx(compared.cohens_d)
    assert (scaled.p_studies, scaled.genes_lower) == (compared.p_studies, compared.genes_lower)


def test_a_model_without_seeds_holds_for_every_seed():
    ridge = average("ridge", B[:1], STUDY, seeded=False)
    compared = asdict(compare(average("TAAF", A, STUDY), ridge))
    expected = asdict(compare(average("TAAF", A, STUDY), average("ridge", [B[0]] * SEEDS, STUDY)))
    assert compared["seeds"] == SEEDS
    for key, value in expected.items():
        assert compared[key] == (pytest.approx(value) if isinstance(value, float) else value), key


def test_two_models_without_seeds_have_an_interval():
    compared = compare(*(average("m", errors[:1], STUDY, seeded=False) for errors in (A, B)))
    assert compared.seeds is None
    assert compared.interval[0] < compared.difference < compared.interval[1]


@pytest.mark.parametrize(("seeds", "named"), [(1, "1 seed"), (2, "2 seeds")])
def test_few_seeds_have_no_interval(seeds, named):
    compared = compare(average("TAAF", A[:seeds], STUDY), average("tanh", B[:seeds], STUDY))
    assert (compared.interval, compared.study_interval, compared.genes_lower_once_interval) == (None, None, None)
    assert compared.no_interval == f"{named}, at least 3 needed"
    assert compared.p_seeds is None and compared.p_studies is not None


@pytest.mark.parametrize(("studies", "named"), [(1, "1 study"), (4, "4 studies")])
def test_few_studies_have_no_interval(studies, named):
    study = [str(i % studies) for i in range(len(STUDY))]
    compared = compare(average("TAAF", A, study), average("tanh", B, study))
    assert compared.studies == studies
    assert compared.interval is None and compared.study_interval is None and compared.p_studies is None
    assert compared.no_interval == f"{named}, at least 5 needed"
    assert (compared.cohens_d is None) == (studies == 1)


def test_five_studies_have_an_interval_but_no_test():
    study = [str(i % 5) for i in range(len(STUDY))]
    compared = compare(average("TAAF", A, study), average("tanh", B, study))
    assert compared.interval is not None and compared.p_studies is None


def test_a_model_against_itself():
    compared = compare(average("a", A, STUDY), average("b", A, STUDY))
    assert (compared.difference, compared.interval, compared.improvement) == (0, (0, 0), 0)
    assert (compared.genes_lower, compared.genes_lower_once) == (0, 0)
    assert (compared.study_difference, compared.study_interval) == (0, (0, 0))
    assert (compared.cohens_d, compared.p_studies, compared.p_seeds) == (None, None, None)


def test_no_error_at_all():
    assert compare(average("a", A, STUDY), average("b", 0 * B, STUDY)).improvement is None


@pytest.mark.parametrize(
    ("of_samples", "of_studies", "shown"),
    [
        ((-0.03, -0.01), (-0.02, -0.001), "lower"),
        ((0.01, 0.03), (0.001, 0.02), "higher"),
        ((-0.03, -0.01), (-0.02, 0.001), None),
        ((-0.03, 0.001), (-0.02, -0.01), None),
        ((0.01, 0.03), (-0.001, 0.02), None),
        ((-0.001, 0.03), (0.01, 0.02), None),
        ((-0.03, -0.01), (0.01, 0.03), None),
        ((-0.03, 0.0), (-0.02, -0.01), None),
        ((0.01, 0.03), (0.0, 0.02), None),
        (None, (-0.02, -0.01), None),
        ((-0.02, -0.01), None, None),
        (None, None, None),
    ],
)
def test_a_difference_is_shown_where_both_intervals_say_so(compared, of_samples, of_studies, shown):
    assert replace(compared, interval=of_samples, study_interval=of_studies).shown == shown


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (average("b", B[:2], STUDY), "TAAF has 3 seeds and b 2"),
        (average("b", B, STUDY[::-1]), "not the same samples"),
        (average("b", B[..., 1:], STUDY), "not the same samples, folds, genes"),
        (average("b", B, STUDY, measure="log2 MAE"), "measure"),
    ],
)
def test_what_cannot_be_paired(other, said):
    with pytest.raises(ValueError, match=said):
        compare(average("TAAF", A, STUDY), other)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_errors_are_finite(wrong):
    spoilt = A.copy()
    spoilt[1, 2, 3] = wrong
    with pytest.raises(DgexError, match="TAAF: has errors that are not finite"):
        average("TAAF", spoilt, STUDY)


def test_a_model_without_seeds_has_one_run():
    with pytest.raises(ValueError, match="one run, not 3"):
        average("ridge", A, STUDY, seeded=False)
