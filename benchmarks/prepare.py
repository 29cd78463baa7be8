"""Times the preparation of expression tables by dgex, and by cmapPy, pandas and qnorm, and the disk and memory alone.

    python -m benchmarks.prepare --folder /where/there/is/room -o prepare.json

See benchmarks/README.md for what is measured and how.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import h5py
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.predict import disk_rate
from benchmarks.train_step import environment, write
from dgex import console
from dgex.errors import DgexError
from dgex.files.atomic import need_room
from dgex.formats.gctx import write_gctx
from dgex.formats.opening import open_expression

PIECE = 2**26  # bytes in a read when the disk's rate is measured
DGEX, CMAP = "dgex, all of its preparation", "cmapPy, pandas and qnorm"
PROBE_SETS = 22_268  # of a simulated profile
PACKAGES = ("numpy", "h5py", "cmapPy", "pandas", "qnorm")


def seconds_of(*arguments: object) -> tuple[float, float]:
    """Runs a Python module as a process: the seconds that it took, start-up included, and its peak memory in GiB."""
    started = time.monotonic()
    process = os.posix_spawn(sys.executable, [sys.executable, "-m", *map(str, arguments)], os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise DgexError(f"{arguments[0]}: did not finish; what it wrote stands above")
    return time.monotonic() - started, usage.ru_maxrss / 2**20


def forget(path: Path) -> None:
    """Drops a file from the operating system's cache, so that it is read from the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def reading(path: Path) -> float:
    """Measures a plain read of a file from the disk, in seconds."""
    started = time.monotonic()
    with path.open("rb", buffering=0) as file:
        while file.read(PIECE):
            pass
    return time.monotonic() - started


def copying(nbytes: int) -> float:
    """Measures a copy of so many bytes in memory, in seconds."""
    values = np.ones(nbytes // 4, np.float32)
    copy = values.copy()  # so that no page of it is new
    started = time.monotonic()
    np.copyto(copy, values)
    return time.monotonic() - started


def same_order(prepared: Path, table: Path) -> float:
    """Compares the two results: the least rank correlation of a profile's targets, over some profiles of both.

    Quantile normalisation keeps the order of a profile's genes, whatever the quantiles are. Profiles with gaps are left
    out, as only dgex fills these in.
    """
    import pandas

    with h5py.File(prepared) as file:
        incomplete = file["missing/patterns"][:].any(axis=1)[file["missing/pattern"][:]]
        some = np.flatnonzero(~incomplete)[:: max(1, len(incomplete) // 10)]
        samples = file["sample/id"].asstr()[some]
        targets = [f"target {ensembl}" for ensembl in file["gene/target/ensembl"].asstr()[:]]
        ours = file["target"][some]
    theirs = pandas.read_pickle(table).loc[targets, list(samples)].to_numpy().T
    rank = [np.argsort(np.argsort(values, axis=1), axis=1) for values in (ours, theirs)]
    return min(np.corrcoef(a, b)[0, 1] for a, b in zip(*rank, strict=True))


def measure(source: Path, genes: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Measures the preparation of one source by both, in turn, and the floors."""
    plain, prepared, table = (folder / name for name in ("plain.gctx", "prepared.h5", "table.pickle"))
    # cmapPy reads ASCII alone, and some studies' metadata hold other letters.
    with open_expression(source) as expression:
        profiles, rows = expression.shape
        write_gctx(plain, replace(expression, row_metadata={}, sample_metadata={}))
    work: dict[str, Callable[[], tuple[float, float]]] = {
        DGEX: lambda: seconds_of("data_prep", "prepare", source, "--genes", genes, "-o", prepared),
        CMAP: lambda: seconds_of("benchmarks.cmap_preparation", plain, genes, table),
        "disk alone: the source read": lambda: (reading(source), 0.0),
        "disk alone: the prepared file written": lambda: (
            prepared.stat().st_size / disk_rate(folder, prepared.stat().st_size),
            0.0,
        ),
        "memory alone: the values copied": lambda: (copying(4 * profiles * rows), 0.0),
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            for path in (source, plain):
                forget(path)
            measured[name].append(run())
    if (agreement := same_order(prepared, table)) < 0.9999:
        raise DgexError(
            f"{source}: the two prepare it differently: the rank correlation of a profile is {agreement:.5f}"
        )
    return {
        "source": source.name,
        "profiles": profiles,
        "probe_sets": rows,
        "rows": {
            name: {
                "seconds": statistics.median(seconds for seconds, _ in runs),
                "rounds": [seconds for seconds, _ in runs],
                "peak_gib": max(peak for _, peak in runs),
            }
            for name, runs in measured.items()
        },
    }


def show(case: dict[str, Any], out: Console) -> None:
    """Prints a source's table."""
    table = Table("", title=f"{case['source']}: {case['profiles']:,} profiles of {case['probe_sets']:,} probe sets")
    for heading in ("seconds", "times dgex's", "peak GiB"):
        table.add_column(heading, justify="right")
    dgex = case["rows"][DGEX]["seconds"]
    for name, row in case["rows"].items():
        peak = f"{row['peak_gib']:.1f}" if row["peak_gib"] else ""
        table.add_row(name, f"{row['seconds']:.2f}", f"{row['seconds'] / dgex:.2f}", peak)
    out.print(table)


app = console.command_line(__doc__.splitlines()[0])


@app.command()
def main(
    folder: Annotated[Path, typer.Option(help="Folder for the files, which are removed at the end.")],
    arrays: Annotated[Path | None, typer.Option(help="A GCTX file of real arrays to prepare as well.")] = None,
    genes: Annotated[Path | None, typer.Option(help="Folder of the gene tables of --arrays.")] = None,
    profiles: Annotated[int, typer.Option(min=6, help="How many profiles to simulate.")] = 20_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is timed; medians are reported.")] = 1,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write all numbers to this JSON file.")] = None,
) -> None:
    """Times the preparation of expression tables by dgex, and by cmapPy, pandas and qnorm."""
    if (arrays is None) != (genes is None):
        raise DgexError("--arrays and --genes belong together; give both or neither")
    folder.mkdir(parents=True, exist_ok=True)
    need_room(folder, 6 * 4 * profiles * PROBE_SETS)
    out = Console(width=110)
    results: dict[str, Any] = {"environment": environment(PACKAGES), "rounds": rounds, "cases": []}
    out.print(results["environment"])
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        simulated = Path(scratch) / "simulated"
        seconds_of("data_prep", "simulate", "--scale", "full", "--profiles", profiles, "-o", simulated)
        sources = [(simulated / "simulated.gctx", simulated)]
        if arrays and genes:
            sources.insert(0, (arrays, genes))
        for source, tables in sources:
            case = measure(source, tables, Path(scratch), rounds)
            show(case, out)
            results["cases"].append(case)
    if output:
        write(results, output)


if __name__ == "__main__":
    console.main(app)
