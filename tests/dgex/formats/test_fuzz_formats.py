"""Damaged files of every format, and ones that nobody meant: a table or one line comes out, in bounded time and memory.

The readers run in a process of their own (fuzz_worker.py), which dies of what it is asked to read rather than take the
tests with it: native libraries may loop or crash on damaged files, and no Python code can stop that.
"""

import gzip
import os
import select
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import dgex
from dgex.data.dataset_writing import write_dataset
from dgex.formats.expression import in_memory
from dgex.formats.writing import write_expression

WORKER = Path(__file__).with_name("fuzz_worker.py")
SECONDS = 10  # for a file that takes milliseconds
SERIES = """!Series_geo_accession\t"GSE1"
!Sample_title\t"one"\t"two"
!Sample_geo_accession\t"s1"\t"s2"
!Sample_platform_id\t"GPL96"\t"GPL96"
!series_matrix_table_begin
"ID_REF"\t"s1"\t"s2"
"a"\t1\t4
"b"\t2\t5
!series_matrix_table_end
"""
GEUVADIS = "TargetID\tGene_Symbol\tChr\tCoord\ts1\ts2\na\tA\t1\t1\t1\t4\nb\tB\t1\t2\t2\t5\nc\tC\tX\t3\t3\t6.5\n"

HDF5 = (".gctx", ".gctx.gz", ".h5ad", ".h5")


@pytest.fixture(scope="module")
def valid(small_data, tmp_path_factory) -> Path:
    """A folder of small valid files, one or more of each format."""
    pytest.importorskip("resource")
    pytest.importorskip("pyarrow")
    anndata = pytest.importorskip("anndata")
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux's account of memory")
    folder = tmp_path_factory.mktemp("valid")
    values = np.random.default_rng(0).normal(8, 2, (4, 5)).astype(np.float32)
    table = in_memory(
        values,
        [f"{i}_at" for i in range(5)],
        [f"s{i}" for i in range(4)],
        {"symbol": np.array(list("ABCDE")), "entrez": np.arange(5)},
        {"dose": np.array([0.1, np.nan, 1, 10]), "drug": np.array(["x", "", "y", "y"])},
    )
    for name in ("a.gct", "a.gct.gz", "a.gctx", "a.csv", "a.tsv.gz", "a.parquet", "a.h5ad"):
        write_expression(folder / name, table)
    for path in [*folder.glob("*.genes.*"), *folder.glob("*.samples.*")]:
        path.unlink()
    (folder / "a.gctx.gz").write_bytes(gzip.compress((folder / "a.gctx").read_bytes(), mtime=0))
    (folder / "quoted.csv").write_text('"","gene","s 1","s 2"\n"1","A, b","1.5","2"\n"2","C","NA","-3e-2"\n')
    (folder / "series.txt").write_text(SERIES)
    (folder / "geuvadis.txt").write_text(GEUVADIS)
    frame = pd.DataFrame(values, [f"s{i}" for i in range(4)], list("abcde"))
    frame.to_hdf(folder / "frame.h5", key="table")
    frame.assign(group=pd.Categorical(["x", "y", "x", None])).to_parquet(folder / "frame.parquet")
    with h5py.File(folder / "chunked.gctx", "w") as file:
        file.create_dataset("0/DATA/0/matrix", data=values, chunks=(2, 2), compression="gzip", fletcher32=True)
        file["0/META/COL/id"], file["0/META/ROW/id"] = np.array([b"p", b"q", b"r", b"s"]), np.arange(5)
    with h5py.File(folder / "archs4.h5", "w") as file:
        counts = np.arange(20, dtype="u4").reshape(5, 4)
        file.create_dataset("data/expression", data=counts, chunks=(2, 1), compression="gzip")
        file["meta/genes/ensembl_gene"], file["meta/genes/symbol"] = [f"ENSG{i}" for i in range(5)], list("ABCDE")
        file["meta/samples/geo_accession"] = [f"GSM{i}" for i in range(4)]
        file["meta/samples/series_id"] = ["GSE1", "GSE1,GSE2", "", "GSE3"]
        file["meta/samples/singlecellprobability"], file["meta/info/version"] = np.arange(4) / 4, "2.5"
    for name, layout in (("rows.h5ad", sparse.csr_matrix), ("columns.h5ad", sparse.csc_matrix)):
        obs = pd.DataFrame({"batch": pd.Categorical(["x", "y", "x", "y"])}, [f"s{i}" for i in range(4)])
        anndata.AnnData(layout(np.where(values > 8, values, 0)), obs).write_h5ad(folder / name)
    write_dataset(folder / "prepared.h5", small_data)
    return folder


class Reader:
    """The process that reads; a new one where the last died or did not come back."""

    def __init__(self, kind: str, valid: Path, target: Path) -> None:
        command = [sys.executable, "-W", "ignore", WORKER, kind, valid, target]
        root = str(Path(dgex.__file__).parent.parent)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONPATH": root}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )
        started = self._answer(60)
        if started != "ready":
            self.close()
            raise AssertionError(started)

    def read(self, number: int) -> str:
        """What became of the mutation of this number: read, refused, or what must not be."""
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        return self._answer(SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _answer(self, seconds: float) -> str:
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return "HUNG"
        answer = self.process.stdout.readline().strip()
        return answer or f"DIED {self.process.wait()}"


def fuzz(kind: str, valid: Path, folder: Path, numbers: range) -> tuple[Counter, dict[int, str]]:
    """Reads these mutations: how often each format came to what, and all that must not be."""
    names = [path.name for path in sorted(valid.iterdir())]
    counts, wrong = Counter(), {}
    reader = Reader(kind, valid, folder / "mutated")
    try:
        for number in numbers:
            answer = reader.read(number)
            name = names[number % len(names)]
            counts[name, answer.split(" ")[0]] += 1
            if answer not in ("read", "refused"):
                wrong[number] = f"{name}: {answer}"
            if answer.startswith(("HUNG", "DIED")):
                reader.close()
                reader = Reader(kind, valid, folder / "mutated")
    finally:
        reader.close()
    return counts, wrong


@pytest.fixture
def report(capsys):
    """Prints what a campaign came to."""

    def report(counts: Counter, wrong: dict[int, str]) -> None:
        with capsys.disabled():
            for (name, answer), count in sorted(counts.items()):
                print(f"\n{name:15} {answer:8} {count:6}", end="")
            for number, answer in wrong.items():
                print(f"\n{number}: {answer}", end="")

    return report


@pytest.mark.parametrize("kind", ["bytes", "structure"])
def test_some_mutated_files(valid, tmp_path, kind):
    counts, wrong = fuzz(kind, valid, tmp_path, range(200))
    assert not wrong and counts.total() == 200


@pytest.fixture
def models(valid, model_files, tmp_path) -> Path:
    """A folder of one model directory, where ``valid`` does not skip."""
    shutil.copytree(model_files / "model", tmp_path / "models" / "model")
    return tmp_path / "models"


def test_some_model_directories(models, tmp_path):
    counts, wrong = fuzz("model", models, tmp_path, range(500, 540))
    assert not wrong and counts.total() == 40


@pytest.mark.slow
def test_twelve_thousand_damaged_files(valid, tmp_path, report):
    counts, wrong = fuzz("bytes", valid, tmp_path, range(1000, 13000))
    report(counts, wrong)
    # On a damaged heap of variable-length strings the HDF5 library itself goes round in circles, or reads where nothing
    # is. That is counted above and bounded here; whatever else happens is a fault of the readers.
    by_hdf5 = [
        line for line in wrong.values() if line.split(": ")[0].endswith(HDF5) and line.endswith(("HUNG", "DIED -11"))
    ]
    assert len(wrong) == len(by_hdf5) <= 10


@pytest.mark.slow
def test_eight_thousand_files_of_another_structure(valid, tmp_path, report):
    counts, wrong = fuzz("structure", valid, tmp_path, range(1000, 9000))
    report(counts, wrong)
    assert not wrong


@pytest.mark.slow
def test_five_hundred_model_directories(models, tmp_path, report):
    counts, wrong = fuzz("model", models, tmp_path, range(500))
    report(counts, wrong)
    assert not wrong
