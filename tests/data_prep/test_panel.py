"""The choice of a panel: each step against brute force, exact cases, and errors against ridge regression in NumPy."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep.__main__ import app
from data_prep.panel import choose_panel, select
from data_prep.pipeline import Settings, prepare, prepare_onto
from data_prep.steps import Steps
from dgex.baselines.linear import PENALTIES
from dgex.data.dataset import read_dataset
from dgex.data.genes import Genes, gene_table_paths, read_gene_table, write_gene_table
from dgex.errors import DgexError
from dgex.formats.expression import in_memory
from dgex.formats.gctx import write_gctx

LANDMARKS, GENES = 6, 40


def lower(values: np.ndarray) -> np.ndarray:
    """Sums of products of the columns, of which the upper triangle is not to be read."""
    gram = np.asfortranarray(values.T @ values)
    gram[np.triu_indices(len(gram), 1)] = np.nan
    return gram


def objective(values: np.ndarray, panel: list[int], penalty: float) -> float:
    """The minimum of ridge regression of all columns on some, by least squares on augmented rows."""
    x = np.vstack([values[:, panel], np.sqrt(penalty) * np.eye(len(panel))])
    y = np.vstack([values, np.zeros((len(panel), values.shape[1]))])
    return float(((y - x @ np.linalg.lstsq(x, y)[0]) ** 2).sum())


@pytest.mark.parametrize("penalty", [0, 0.3, 20])
@pytest.mark.parametrize("profiles", [9, 60])
def test_each_step_is_that_of_brute_force(profiles, penalty):
    random = np.random.default_rng(profiles)
    values = random.normal(size=(profiles, 4)) @ random.normal(size=(4, 25)) + 0.4 * random.normal(size=(profiles, 25))
    values *= random.uniform(0.5, 2, 25)
    panel: list[int] = []
    for _ in range(8):
        others = [gene for gene in range(25) if gene not in panel]
        panel.append(min(others, key=lambda gene: objective(values, [*panel, gene], penalty)))
    assert select(lower(values), 8, penalty).tolist() == panel


def test_a_panel_of_the_datas_rank_leaves_nothing_over():
    random = np.random.default_rng(0)
    values = random.normal(size=(50, 5)) @ random.normal(size=(5, 30))
    panel = select(lower(values), 5, 0).tolist()
    assert objective(values, panel, 0) < 1e-18 * (values**2).sum()
    assert objective(values, panel[:4], 0) > 1e-6 * (values**2).sum()
    with pytest.raises(DgexError, match="^5 genes determine all others on the training profiles; give --size 5 or"):
        select(lower(values), 6, 0)


def test_a_copy_is_never_chosen_beside_its_gene():
    independent = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 4)))[0]
    copies = np.array([0, 1, 1, 2, 2, 2, 3])  # the gene with most copies stands for most variance
    values = np.hstack([independent[:, copies], np.zeros((20, 1))])  # a constant gene tells nothing
    assert copies[select(lower(values), 2, 0)].tolist() == [2, 1]
    assert sorted(copies[select(lower(values), 4, 0)].tolist()) == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Nine studies of ten arrays, of which one lacks two genes: three factors, and a target that is a landmark too."""
    folder = tmp_path_factory.mktemp("panel")
    random = np.random.default_rng(2)
    values = random.normal(8, 3, GENES + 1) + random.normal(size=(90, 3)) @ random.normal(size=(3, GENES + 1))
    values += 0.3 * random.normal(size=values.shape)
    values[40:50, [20, 30]] = np.nan
    study = np.repeat([f"GSE{number}" for number in range(9)], 10)
    rows, samples = ([f"{letter}{i}" for i in range(n)] for letter, n in (("p", GENES + 1), ("GSM", 90)))
    source = folder / "arrays.gctx"
    write_gctx(source, in_memory(values.astype(np.float32), rows, samples, sample_metadata={"study_id": study}))
    names = [(f"ENSG9{i:010d}", f"MADEUP{i}", f"p{i}") for i in range(GENES)]
    twin = (*names[2][:2], f"p{GENES}")
    for path, genes in zip(gene_table_paths(folder), (names[:LANDMARKS], [*names[LANDMARKS:], twin]), strict=True):
        write_gene_table(path, Genes(*map(tuple, zip(*genes, strict=True))))
    prepare(source, folder, folder / "prepared.h5", Settings(fold=(1, 3)), command="prepare")
    return folder


def ridge_errors(train: np.ndarray, validation: np.ndarray, test: np.ndarray, panel, targets) -> tuple[float, float]:
    """The z-score MAE of ridge regression, averaged by gene; the penalty is the best for the validation profiles."""
    x, y = np.nan_to_num(train[:, panel]), np.nan_to_num(train[:, targets])
    errors = []
    for penalty in PENALTIES:
        centred = x - x.mean(0)
        weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(len(panel)), centred.T @ (y - y.mean(0)))
        inferred = (
            (np.nan_to_num(each[:, panel]) - x.mean(0)) @ weights + y.mean(0) - each[:, targets]
            for each in (validation, test)
        )
        errors.append(tuple(float(np.nanmean(np.abs(each), axis=0).mean()) for each in inferred))
    return min(errors)


def test_a_panel_is_chosen_compared_and_written(folder, tmp_path):
    panel = choose_panel(folder / "prepared.h5", tmp_path / "panel.txt", 4, 0, Steps())
    assert read_gene_table(tmp_path / "panel.txt") == panel.genes

    dataset = read_dataset(folder / "prepared.h5")
    splits = []
    for name in ("train", "validation", "test"):
        landmark, target = dataset.zscores(name)
        splits.append(np.hstack([landmark, target[:, ~dataset.overlap]]).astype(np.float64))
    ids = (*dataset.landmark_genes.ensembl, *np.array(dataset.target_genes.ensembl)[~dataset.overlap])
    assert len(ids) == GENES
    chosen = [ids.index(name) for name in panel.genes.ensembl]
    random = np.random.default_rng(0).permutation(GENES)[:4]
    targets = np.setdiff1d(np.arange(GENES), [*chosen, *random, *range(LANDMARKS)])
    for name, genes in (
        ("4 genes chosen", chosen),
        ("4 genes at random", random),
        ("6 landmarks of the file", range(6)),
    ):
        expected = ridge_errors(*splits, list(genes), targets)
        np.testing.assert_allclose(panel.errors[name], expected, rtol=1e-4)
        assert f"{expected[0]:.4f}  {expected[1]:.4f}" in panel.text
    by_mean = [np.nanmean(np.abs(each[:, targets]), axis=0).mean() for each in splits[1:]]
    np.testing.assert_allclose(panel.errors["mean predictor"], by_mean, rtol=1e-4)
    # The data have three factors, which four genes at random tell less of.
    assert panel.errors["4 genes chosen"][0] < panel.errors["4 genes at random"][0] < by_mean[0]


def test_test_profiles_do_not_choose(folder, tmp_path):
    changed = tmp_path / "changed.h5"
    changed.write_bytes((folder / "prepared.h5").read_bytes())
    with h5py.File(changed, "r+") as file:
        rows = np.flatnonzero(file["split"][:] == 2)
        for side in ("landmark", "target"):
            values = file[side][:]
            values[rows] = values[rows][:, ::-1]
            file[side][...] = values
    panels = [choose_panel(path, tmp_path / "panel.txt", 4, 0, Steps()) for path in (folder / "prepared.h5", changed)]
    assert panels[0].genes == panels[1].genes
    assert panels[0].errors["4 genes chosen"][0] == panels[1].errors["4 genes chosen"][0]
    assert panels[0].errors["4 genes chosen"][1] != panels[1].errors["4 genes chosen"][1]


@pytest.mark.parametrize("size", [GENES + 1, GENES, GENES - LANDMARKS])
def test_a_panel_larger_than_the_genes_is_refused(folder, tmp_path, refused, size):
    arguments = ["panel", str(folder / "prepared.h5"), "--size", str(size), "-o", str(tmp_path / "panel.txt")]
    assert f"its 40 genes are too few for a panel of {size}" in refused(lambda: app(arguments))
    assert not any(tmp_path.iterdir())


def test_a_source_and_the_prepared_file_itself_are_refused(folder, tmp_path, refused):
    prepared, source = str(folder / "prepared.h5"), str(folder / "arrays.gctx")
    assert "replace it" in refused(lambda: app(["panel", prepared, "--size", "3", "-o", prepared]))
    assert source in refused(lambda: app(["panel", source, "--size", "3", "-o", str(tmp_path / "panel.txt")]))


def test_a_cohort_is_refused(folder, tmp_path, refused):
    """It has test profiles alone."""
    cohort, panel = tmp_path / "cohort.h5", tmp_path / "panel.txt"
    landmark, target = (read_gene_table(path) for path in gene_table_paths(folder))
    rows = [*landmark.ensembl, *(name for name in target.ensembl if name not in landmark.ensembl)]
    values = np.random.default_rng(3).uniform(2, 12, (4, 1)) * np.ones(len(rows)) + np.arange(len(rows))
    source = tmp_path / "cohort.gctx"
    write_gctx(source, in_memory(values.astype(np.float32) / 4, rows, ["R1", "R2", "R3", "R4"]))
    prepare_onto(folder / "prepared.h5", source, cohort, False, command="prepare")
    line = refused(lambda: app(["panel", str(cohort), "--size", "3", "-o", str(panel)]))
    assert "has no train profiles; give a file that was prepared without --onto" in line


def test_too_little_memory_is_noticed_before(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.panel.machine_memory", lambda: 8 * GENES * (GENES - 1))
    with pytest.raises(DgexError, match="40 genes need 0.0 GiB of memory, and this machine has 0.0; prepare it with"):
        choose_panel(folder / "prepared.h5", tmp_path / "panel.txt", 4, 0, Steps())


def test_a_panel_goes_all_the_way(folder, tmp_path, capsys):
    """The panel's table makes gene tables, and these a prepared file whose landmarks are the panel."""
    source, table, genes = folder / "arrays.gctx", tmp_path / "panel.txt", tmp_path / "genes"
    panel = choose_panel(folder / "prepared.h5", table, 4, 0, Steps())
    targets = tmp_path / "all.txt"
    targets.write_text("".join(path.read_text() for path in gene_table_paths(folder)).rsplit("\n", 2)[0] + "\n")
    app(
        ["genes", "--from", str(source), "--landmarks", str(table), "--targets", str(targets), "-o", str(genes)],
    )
    assert "4 landmark and 36 target genes" in capsys.readouterr().out
    prepare(source, genes, tmp_path / "prepared.h5", Settings(fold=(1, 3)), command="prepare")
    dataset = read_dataset(tmp_path / "prepared.h5")
    assert dataset.landmark_genes == panel.genes
    assert not dataset.overlap.any() and len(dataset.target_genes) == 36
