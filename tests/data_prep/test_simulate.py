"""The simulator: the form of the real files, and what its docstring promises; what it draws can be prepared."""

import os
import shutil

import numpy as np
import pytest
from scipy.stats import spearmanr

from data_prep.__main__ import app
from data_prep.simulate import (
    FULL,
    LABORATORY_SHIFT_SD,
    ORIGIN,
    RNA_SEQ_OFFSET_SD,
    SMALL,
    Scale,
    simulate,
    simulate_laboratory,
    simulate_rna_seq,
)
from dgex.data.dataset import read_dataset
from dgex.data.genes import overlap, read_gene_tables
from dgex.formats.expression import BLOCK
from dgex.formats.gctx import open_gctx

TINY = Scale(20, 60, overlap=9, rows=200, profiles=400, profiles_per_study=40, duplicates=0.14)


@pytest.fixture(scope="module")
def small():
    expression, landmark, target = simulate(SMALL, SMALL.profiles, seed=0)
    return expression, expression.load(), landmark, target


@pytest.fixture(scope="module")
def full():
    return simulate(FULL, FULL.profiles, seed=0)


@pytest.fixture(scope="module")
def tiny():
    expression, *_ = simulate(TINY, TINY.profiles, seed=3)
    return expression, expression.load()


def probes_of(genes):
    return [probes.split(",") for probes in genes.probes]


def shares_by_probe_sets(genes):
    count = np.array([len(probes) for probes in probes_of(genes)])
    return [(count == number).mean() for number in range(1, 6)]


def test_form_and_scale(small):
    expression, values, landmark, target = small
    assert (expression.shape, values.dtype, len(landmark), len(target)) == ((2000, 2470), np.float32, 200, 1000)
    assert len(set(expression.row_id)) == 2470 and len(set(expression.sample_id)) == 2000
    assert overlap(landmark, target).sum() == 94
    measured = values[~np.isnan(values)]
    assert 0 <= measured.min() and measured.max() < 16.1  # 16 bits, and a copy's step
    assert 4 < np.quantile(measured, 0.01) < np.quantile(measured, 0.99) < 15
    assert 0.5 < np.median(np.nanstd(values, axis=0)) < 2


def test_the_full_scale_has_the_form_of_the_real_tables(full, shared):
    expression, *tables = full
    real = read_gene_tables(shared / "data" / "genes")
    assert expression.shape == (129158, 22268)
    assert [len(genes) for genes in tables] == [len(genes) for genes in real]
    assert overlap(*tables).sum() == overlap(*real).sum() == 445
    for genes, like in zip(tables, real, strict=True):
        np.testing.assert_allclose(shares_by_probe_sets(genes), shares_by_probe_sets(like), atol=0.02)
    named = sum(probes_of(tables[0]) + probes_of(tables[1]), [])
    assert len(named) == len(set(named)) == pytest.approx(16687, rel=0.02)
    assert set(named) < set(expression.row_id)
    assert np.count_nonzero(expression.sample_metadata["copy_of"] != "") == round(0.14 * 129158)


def test_a_large_compendium_is_drawn_as_it_is_read(full):
    samples, rows, values = next(full[0].blocks(5 * 22268 + 1))
    assert (samples, rows) == (slice(0, 5), slice(0, 22268))
    assert values.shape == (5, 22268) and values.dtype == np.float32
    assert 6 < np.nanmedian(values) < 10


def test_studies_are_uneven_but_none_is_tiny(small):
    _, sizes = np.unique(small[0].sample_metadata["study_id"], return_counts=True)
    assert len(sizes) == 20 and sizes.min() >= 6 and sizes.max() > 3 * np.median(sizes)


def test_planted_copies_are_all_that_is_near(tiny):
    expression, values = tiny
    difference = values[:, None, :].astype(np.float64) - values
    distance = np.sqrt(np.nansum(difference**2, axis=2))  # over the probe sets that both have
    planted = {
        frozenset((expression.sample_id[copy], original))
        for copy, original in enumerate(expression.sample_metadata["copy_of"])
        if original
    }
    near = np.argwhere(np.triu(distance < 1, k=1))
    assert {frozenset((expression.sample_id[i], expression.sample_id[j])) for i, j in near} == planted
    assert len(planted) == 56 and len(frozenset.union(*planted)) == 112  # of 400; no profile is in two pairs
    lengths = distance[*near.T]
    assert 0 < lengths.min() < 0.1 and 0.8 < lengths.max() < 0.9001
    assert np.any(near[:, 1] - near[:, 0] > 200)


def test_one_study_lacks_some_probe_sets(small):
    expression, values, *_ = small
    gaps = np.isnan(values)
    lacking = gaps.any(axis=1)
    assert 0 < gaps.any(axis=0).mean() < 0.03
    assert (gaps[lacking] == gaps.any(axis=0)).all()
    study = expression.sample_metadata["study_id"]
    assert len(set(study[lacking])) == 1 and not set(study[lacking]) & set(study[~lacking])


def test_probe_sets_of_a_gene_agree_and_studies_differ(small):
    expression, values, _, target = small
    column = {probe: i for i, probe in enumerate(expression.row_id)}
    pairs = [probes[:2] for probes in probes_of(target) if len(probes) > 1]
    filled = np.nan_to_num(values)
    agreement = [spearmanr(filled[:, column[a]], filled[:, column[b]]).statistic for a, b in pairs[:50]]
    assert np.median(agreement) > 0.7
    study = expression.sample_metadata["study_id"]
    medians = [np.nanmedian(values[study == name]) for name in np.unique(study)]
    assert np.ptp(medians) > 1


def test_rna_seq_counts_the_same_genes_on_its_own_scale(small):
    expression, values, landmark, target = small
    rna_seq = simulate_rna_seq(SMALL, seed=0)
    assert set(rna_seq.row_id) == {*landmark.ensembl, *target.ensembl} and rna_seq.shape == (160, 1106)
    study = rna_seq.sample_metadata["study_id"]
    assert np.unique(study, return_counts=True)[1].tolist() == [20] * 8
    assert not set(study) & set(expression.sample_metadata["study_id"])
    counted = rna_seq.load().astype(np.float64)
    np.testing.assert_allclose((np.exp2(counted) - 1).sum(axis=1), 1e6, rtol=1e-5)  # counts per million
    assert 0.01 < (counted == 0).mean() < 0.2
    # Gene by gene, both platforms differ by more than the means of two studies do.
    row = {probe: i for i, probe in enumerate(expression.row_id)}
    column = {gene: i for i, gene in enumerate(rna_seq.row_id)}
    on_array = values[:, [row[probe] for probe in landmark.probes]]
    gap = counted.mean(axis=0)[[column[gene] for gene in landmark.ensembl]] - np.nanmean(on_array, axis=0)
    assert RNA_SEQ_OFFSET_SD < gap.std() < 2 * RNA_SEQ_OFFSET_SD
    # And a second draw has the same offsets, so that one platform lies behind all of its studies.
    halves = [counted[np.isin(study, names)].mean(axis=0) for names in np.split(np.unique(study), 2)]
    assert (halves[0] - halves[1]).std() < 0.5 * gap.std()


def test_a_laboratory_shifts_genes_more_than_a_study_does(small):
    expression, values, *_ = small
    laboratory = simulate_laboratory(SMALL, seed=0)
    assert laboratory.row_id == expression.row_id and laboratory.shape == (10, 2470)
    assert set(laboratory.sample_metadata["study_id"]) == {"LABORATORY"}
    study = expression.sample_metadata["study_id"]
    complete = ~np.isnan(values).any(axis=0)
    mean = values.mean(axis=0)[complete]
    usual = [(values[study == name].mean(axis=0)[complete] - mean).std() for name in np.unique(study)]
    shift = (laboratory.load().mean(axis=0)[complete] - mean).std()
    assert max(usual) < shift < np.hypot(max(usual), 1.2 * LABORATORY_SHIFT_SD)


def test_further_tables_follow_the_seed_and_say_that_they_are_simulated():
    for draw in (simulate_rna_seq, simulate_laboratory):
        first, again, other = (draw(TINY, seed) for seed in (1, 1, 2))
        assert set(first.sample_metadata["data_origin"]) == {ORIGIN} and "simulated" in ORIGIN
        np.testing.assert_array_equal(first.load(), again.load())
        assert (first.load() != other.load()).mean() > 0.8


@pytest.mark.parametrize("most", [1, 3 * TINY.rows + 1, BLOCK])
def test_the_block_size_changes_no_bit(tiny, most):
    expression, values = tiny
    blocks = list(expression.blocks(most))
    assert all(block.size <= max(most, TINY.rows) for *_, block in blocks)
    assert [samples.start for samples, *_ in blocks[1:]] == [samples.stop for samples, *_ in blocks[:-1]]
    assert np.concatenate([block for *_, block in blocks]).tobytes() == values.tobytes()


@pytest.mark.parametrize("workers", [1, 5])
def test_the_number_of_threads_changes_no_bit(tiny, workers, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: workers)
    expression, values = tiny
    assert expression.load().tobytes() == values.tobytes()


def test_the_seed_decides():
    first, again, other = (simulate(TINY, 60, seed) for seed in (1, 1, 2))
    assert first[1:] == again[1:] and first[2] != other[2]
    np.testing.assert_array_equal(first[0].load(), again[0].load())
    assert (first[0].load() != other[0].load()).mean() > 0.9


def test_the_command_writes_what_was_drawn(tmp_path, capsys):
    app(["simulate", "-o", f"{tmp_path}", "--profiles", "60", "--seed", "4"], standalone_mode=False)
    drawn, landmark, target = simulate(SMALL, 60, seed=4)
    with open_gctx(tmp_path / "simulated.gctx") as written:
        np.testing.assert_array_equal(written.load(), drawn.load())
        assert (written.row_id, written.sample_id) == (drawn.row_id, drawn.sample_id)
        for field in ("study_id", "copy_of"):
            assert written.sample_metadata[field].tolist() == drawn.sample_metadata[field].tolist()
    for name, draw in (("simulated_rnaseq", simulate_rna_seq), ("laboratory", simulate_laboratory)):
        with open_gctx(tmp_path / f"{name}.gctx") as written:
            np.testing.assert_array_equal(written.load(), draw(SMALL, 4).load())
    assert read_gene_tables(tmp_path) == (landmark, target)
    printed = capsys.readouterr()
    assert "60 profiles of 2470 probe sets, 3 of them near-duplicates; 200 landmark and 1000 target" in printed.out
    assert "\nsimulating " in printed.out  # what the step cost


def test_room_is_looked_for_before_anything_is_drawn(tmp_path, refused):
    arguments = ["simulate", "--scale", "full", "--profiles", "2000000", "-o", f"{tmp_path / 'new'}"]
    if shutil.disk_usage(tmp_path).free > 4 * 2_000_000 * 22_268:
        pytest.skip("the disk has room even for that")
    assert "MiB left; make room" in refused(lambda: app(arguments))
    assert not list(tmp_path.iterdir())


def test_the_command_replaces_no_other_gene_table(tmp_path, refused):
    (tmp_path / "map_tg.txt").write_text("A\tE1\tp1\n")
    assert "map_tg.txt: is a different gene table" in refused(lambda: app(["simulate", "-o", f"{tmp_path}"]))
    assert [path.name for path in tmp_path.iterdir()] == ["map_tg.txt"]


def test_the_command_refuses_an_output_it_cannot_write(tmp_path, refused):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(lambda: app(["simulate", "--scale", "full", "-o", f"{tmp_path / 'file'}"]))
    (tmp_path / "simulated.gctx").mkdir()
    assert "simulated.gctx: cannot be written" in refused(lambda: app(["simulate", "-o", f"{tmp_path}"]))
    assert {path.name for path in tmp_path.iterdir()} == {"file", "simulated.gctx"}


def test_simulated_sources_can_be_prepared(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app(["simulate", "-o", "."])
    sources = "simulated.gctx", "simulated_rnaseq.gctx"
    app(["prepare", *sources, "--genes", ".", "--train-only", "rnaseq", "-o", "out.h5"])
    printed = capsys.readouterr().out
    assert "duplicates removed  100\n" in printed and f"origin              {ORIGIN}\n" in printed
    dataset = read_dataset(tmp_path / "out.h5")
    assert dataset.provenance["preparation"]["origin"] == [ORIGIN]
    assert dataset.platforms.name == ("array", "rnaseq") and (dataset.split[dataset.platform == 1] == 0).all()
    assert 1 < dataset.platforms.landmark[1].std() < 3  # log2
    assert (dataset.landmark.shape[1], dataset.target.shape[1], dataset.overlap.sum()) == (200, 1000, 94)
