"""Preparation in blocks: resources, block sizes and interruptions never show in the result."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep import staging
from data_prep.blocks import Resources, Work
from data_prep.pipeline import Settings, prepare
from data_prep.simulate import Scale, simulate
from dgex.data.dataset import read_dataset
from dgex.data.genes import write_gene_table
from dgex.formats.expression import Expression, in_memory
from dgex.formats.gctx import open_gctx, write_gctx

# Profiles for three blocks, of which the last is not full, in twelve studies of which one lacks probe sets.
SCALE = Scale(30, 90, overlap=14, rows=300, profiles=700, profiles_per_study=60, duplicates=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    expression, landmark, target = simulate(SCALE, SCALE.profiles, seed=3)
    write_gctx(folder / "source.gctx", expression)
    write_gene_table(folder / "map_lm.txt", landmark)
    write_gene_table(folder / "map_tg.txt", target)
    return folder


@pytest.fixture(scope="module")
def first(folder):
    """The report of one preparation, and its bytes."""
    report = prepare(folder / "source.gctx", folder, folder / "first.h5", Settings(), "prepare")
    return report, (folder / "first.h5").read_bytes()


def loaded(path: Path) -> tuple[np.ndarray, Expression]:
    with open_gctx(path) as source:
        values = source.load()
        return values, in_memory(values, source.row_id, source.sample_id, {}, source.sample_metadata)


def test_all_planted_copies_go_and_nothing_else(folder, first):
    _, expression = loaded(folder / "source.gctx")
    position = {name: number for number, name in enumerate(expression.sample_id)}
    pairs = [(position[one], other) for other, one in enumerate(expression.sample_metadata["copy_of"]) if one]
    later = {expression.sample_id[max(pair)] for pair in pairs}
    assert len(later) == 70
    assert set(first[0].duplicates_removed) == later


@pytest.mark.parametrize(("memory", "workers"), [(0.45, 1), (8, 5)])
def test_neither_memory_nor_workers_show_in_the_bytes(folder, first, tmp_path, memory, workers):
    work = Work(Resources(memory, workers))
    prepare(folder / "source.gctx", folder, tmp_path / "again.h5", Settings(), "prepare", work)
    assert (tmp_path / "again.h5").read_bytes() == first[1]


@pytest.mark.parametrize("most", [1, 7000])
def test_nor_do_the_blocks_of_the_source(folder, first, tmp_path, monkeypatch, most):
    monkeypatch.setattr(staging, "BLOCK", most)
    prepare(folder / "source.gctx", folder, tmp_path / "again.h5", Settings(), "prepare")
    assert (tmp_path / "again.h5").read_bytes() == first[1]


def test_a_source_that_comes_gene_by_gene_gives_the_same(folder, first, tmp_path):
    values, expression = loaded(folder / "source.gctx")
    lines = ["#1.3", f"{values.shape[1]}\t{values.shape[0]}\t0\t1", "\t".join(["id", *expression.sample_id])]
    lines += ["\t".join(["study_id", *expression.sample_metadata["study_id"]])]
    lines += [
        "\t".join([name, *map(repr, row.tolist())]) for name, row in zip(expression.row_id, values.T, strict=True)
    ]
    (tmp_path / "source.gct").write_text("\n".join(lines) + "\n")
    report = prepare(tmp_path / "source.gct", folder, tmp_path / "text.h5", Settings(), "prepare")
    assert report == replace(first[0], kind="GCT 1.3")
    text, whole = read_dataset(tmp_path / "text.h5"), read_dataset(folder / "first.h5")
    for name in ("landmark", "target", "split", "quantiles"):
        np.testing.assert_array_equal(getattr(text, name), getattr(whole, name))


def test_the_order_of_rows_is_nothing(folder, first, tmp_path):
    values, expression = loaded(folder / "source.gctx")
    order = np.random.default_rng(0).permutation(values.shape[1])
    shuffled = in_memory(values[:, order], np.array(expression.row_id)[order].tolist(), expression.sample_id)
    write_gctx(tmp_path / "shuffled.gctx", replace(shuffled, sample_metadata=expression.sample_metadata))
    prepare(tmp_path / "shuffled.gctx", folder, tmp_path / "shuffled.h5", Settings(), "prepare")
    again, whole = read_dataset(tmp_path / "shuffled.h5"), read_dataset(folder / "first.h5")
    np.testing.assert_array_equal(again.target, whole.target)


def test_permuted_samples_give_permuted_results(folder, first, tmp_path):
    values, expression = loaded(folder / "source.gctx")
    # Without the duplicates, of which the first in the file stays.
    order = np.flatnonzero(~np.isin(expression.sample_id, first[0].duplicates_removed))[::-1]
    names = np.array(expression.sample_id)[order]
    study = {"study_id": expression.sample_metadata["study_id"][order]}
    write_gctx(tmp_path / "turned.gctx", in_memory(values[order], expression.row_id, names.tolist(), {}, study))
    prepare(tmp_path / "turned.gctx", folder, tmp_path / "turned.h5", Settings(), "prepare")
    again, whole = read_dataset(tmp_path / "turned.h5"), read_dataset(folder / "first.h5")
    assert again.sample_id == whole.sample_id[::-1]
    np.testing.assert_array_equal(again.split, whole.split[::-1])
    np.testing.assert_allclose(again.target, whole.target[::-1], rtol=1e-6)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "data_prep", *map(str, arguments)]


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path):
    subprocess.run(command("simulate", "--scale", "full", "--profiles", 1500, "-o", tmp_path), check=True)
    source, output = tmp_path / "simulated.gctx", tmp_path / "out" / "prepared.h5"
    arguments = command("prepare", source, "--genes", tmp_path, "-o", output)
    subprocess.run(arguments, check=True)
    whole = output.read_bytes()
    output.unlink()
    for wait in (0.2, 1.5, None):  # seconds; or until the output is being written
        with subprocess.Popen(arguments) as process:
            if wait is None:
                while not any(entry.stat().st_size > 2**24 for entry in output.parent.iterdir()):
                    assert process.poll() is None
                    time.sleep(0.01)
            else:
                time.sleep(wait)
            process.kill()
        assert not output.exists()
    assert len(list(output.parent.iterdir())) == 1  # hidden, and named partial
    subprocess.run(arguments, check=True)
    assert output.read_bytes() == whole
    assert list(output.parent.iterdir()) == [output]  # what the killed runs left is gone too


PEAK = "import resource, runpy, sys; sys.argv = ['data_prep', *sys.argv[1:]]\n" + (
    "try: runpy.run_module('data_prep', run_name='__main__')\n"
    "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
)


@pytest.mark.slow
def test_memory_stays_within_what_was_allowed(tmp_path):
    subprocess.run(command("simulate", "--scale", "full", "--profiles", 12_000, "-o", tmp_path), check=True)
    arguments = ["prepare", tmp_path / "simulated.gctx", "--genes", tmp_path, "-o", tmp_path / "prepared.h5"]
    for memory in (1.0, 2.0):  # GiB; the source alone has 1.0
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *map(str, arguments), "--memory", str(memory)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        peak = int(done.stderr.split()[-1]) * (1 if sys.platform == "darwin" else 1024)
        assert peak < memory * 2**30
