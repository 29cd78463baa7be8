"""Reads mutations of valid files by number, and says of each what became of it: run by test_fuzz_formats.py.

    python fuzz_worker.py KIND VALID TARGET

VALID is a folder of valid files, or for the kind "model" of one model directory. Numbers come on stdin, a line each; of
every one the mutation is put at TARGET and read, and a line says "read", "refused", or what must not be. The same
number is the same mutation.
"""

import gzip
import random
import resource
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz_structure import restructure, restructure_model

from data_prep.inspection import inspect
from data_prep.steps import Steps
from dgex.data.dataset import read_dataset
from dgex.errors import DgexError
from dgex.formats.opening import open_expression
from dgex.model.directory import load_model, read_card
from dgex.model.in_memory import predict

ROOM = 2**30  # bytes of memory beyond what the valid files take


# -- bytes of any file -------------------------------------------------------------------------------------------------


def damage(dice: random.Random, path: Path) -> None:
    """Changes bytes of a file, or of what is packed in it."""
    content = bytearray(path.read_bytes())
    packed = content.startswith(b"\x1f\x8b") and dice.random() < 0.7
    if packed:
        content = bytearray(gzip.decompress(content))
    for _ in range(dice.choice([1, 1, 2, 5, 20])):
        kind, at = dice.randrange(5), dice.randrange(len(content) + 1)
        if kind == 0:
            content[at : at + 1] = bytes([dice.randrange(256)])
        elif kind == 1:
            content[at : at + 1] = bytes([content[min(at, len(content) - 1)] ^ 1 << dice.randrange(8)])
        elif kind == 2:
            del content[at : at + dice.choice([1, 4, 64, 4096])]
        elif kind == 3:
            other = dice.choice(valid).read_bytes()
            start = dice.randrange(len(other))
            content[at : at + dice.choice([0, 8])] = other[start : start + dice.choice([1, 8, 100])]
        else:
            content[at : at + 4] = dice.choice([b"\xff" * 4, b"\0" * 4, b"\0\0\0\x7f", b"1e99"])
        content = content or bytearray(b"\n")
    path.write_bytes(gzip.compress(content, 1, mtime=0) if packed else bytes(content))


# -- reading -----------------------------------------------------------------------------------------------------------


def read_table(path: Path) -> None:
    """Reads a table or a prepared file in every way there is."""
    try:
        with open_expression(path) as expression:
            for _ in expression.blocks(7):
                pass
    except DgexError as error:
        if "prepared data set" not in str(error):
            raise
        read_dataset(path)
    str(inspect(path, Steps()))


def read_model(path: Path) -> None:
    """Reads a model directory and infers two profiles with it, of which one lacks a landmark."""
    read_card(path)
    model = load_model(path)
    landmarks = np.random.default_rng(0).normal(8, 2, (2, model.config.landmarks)).astype(np.float32)
    landmarks[1, 0] = np.nan
    values = predict(model, landmarks, input_scale="log2")
    assert np.isfinite(values).all(), "not finite"


def outcome(read: Callable[[Path], None], path: Path) -> str:
    try:
        read(path)
    except DgexError as error:
        return "refused" if str(error) else "SILENT"
    except BaseException as error:
        return f"ESCAPED {traceback.format_exception(error)[-3:]!r}"
    return "read"


def put(source: Path, path: Path) -> None:
    """Copies a file or folder in place of what is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    if source.is_dir():
        shutil.copytree(source, path)
    else:
        shutil.copyfile(source, path)


MUTATIONS = {"bytes": damage, "structure": restructure, "model": restructure_model}

if __name__ == "__main__":
    kind, folder, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    read = read_model if kind == "model" else read_table
    valid = sorted(folder.iterdir())
    for source in valid:  # imports what the readers need, before the memory is limited
        put(source, target)
        assert outcome(read, target) == "read", (source, outcome(read, target))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    print("ready", flush=True)
    for number in map(int, sys.stdin):
        put(valid[number % len(valid)], target)
        MUTATIONS[kind](random.Random(number), target)
        resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.RLIM_INFINITY))
        print(outcome(read, target), flush=True)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
