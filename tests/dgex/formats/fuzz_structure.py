"""Changes what valid files say, in the terms of their formats: mutations of the kinds "structure" and "model".

fuzz_worker.py makes them and reads what comes out.
"""

import gzip
import hashlib
import json
import os
import random
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

HOLE = 2**33
TEXTS = (
    "", " ", "NA", "nan", "-666", "inf", "-inf", "1e999", "1e38", "-1", "0", "1_0", "\u0661", "1,5", '"', '""', "'",
    "\t", "\r", "\n", "\0", "\ufeff", "\u202e", "\x1b[31m", "=1+1", "x" * 100_000, "9" * 5000, str(10**18),
    "#1.2", "#1.3", "id",    "!series_matrix_table_begin", "!series_matrix_table_end", "<html>", "s1", "a",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 3, 0.5, -666, 10**6, 10**12, 2**31, 2**63, 2**64, 10**30, 1e-30, 1e38, 1e300)
VALUES = (
    *NUMBERS,
    True,
    None,
    "",
    "x",
    "float32",
    [],
    [1],
    [300] * 100_000,
    {},
    {"x": 1},
    [[]],
    float("nan"),
    float("inf"),
)
ARRAYS: tuple[Callable[[int], np.ndarray], ...] = (
    lambda n: np.arange(n), lambda n: np.zeros(n), lambda n: np.full(n, np.nan), lambda n: np.full(n, np.inf, "f4"),
    lambda n: np.full(n, 1e38, "f4"), lambda n: np.full(n, -1e38, "f4"), lambda n: np.full(n, 1e300),
    lambda n: np.arange(n, dtype="i1"), lambda n: np.arange(n, dtype=">u8"), lambda n: np.arange(n, dtype="f2"),
    lambda n: np.full(n, -1), lambda n: np.full(n, 2**62), lambda n: np.ones(n, bool), lambda n: np.ones(n, complex),
    lambda n: np.full(n, b"a"), lambda n: np.array([b"%d" % i for i in range(n)], "S8"),
    lambda n: np.full(n, b"\xff\xfe"),    lambda n: np.zeros(n, [("a", "f4"), ("b", "S3")]),
    lambda n: np.zeros(n, "V5"), lambda n: np.zeros((n, 2), "f4"),
    lambda n: np.zeros((2, n)), lambda n: np.float32(7), lambda n: np.zeros((n, 1, 1)), lambda n: np.zeros(n + 1, "f4"),
    lambda n: np.zeros(0, "f4"), lambda n: np.arange(n)[::-1] / 3,
)  # fmt: skip


def restructure(dice: random.Random, path: Path) -> None:
    """Changes what a file says, in the terms of its format."""
    start = path.read_bytes()[:8]
    if start.startswith(b"\x1f\x8b") and gzip.decompress(path.read_bytes()).startswith(b"\x89HDF"):
        path.write_bytes(gzip.decompress(path.read_bytes()))
        restructure_hdf5(dice, path)
        path.write_bytes(gzip.compress(path.read_bytes(), 1, mtime=0))
    elif start.startswith(b"\x89HDF"):
        restructure_hdf5(dice, path)
    elif start.startswith(b"PAR1"):
        restructure_parquet(dice, path)
    else:
        restructure_text(dice, path)


# -- HDF5 --------------------------------------------------------------------------------------------------------------


def restructure_hdf5(dice: random.Random, path: Path) -> None:
    """Changes members, links and attributes of an HDF5 file, each change a sound one of HDF5."""
    with h5py.File(path, "r+") as file:
        for _ in range(dice.choice([1, 1, 1, 2, 4])):
            names: list[str] = []
            file.visit(names.append)
            if not names:
                return
            name = dice.choice(names)
            if dice.random() < 0.3:
                change_attribute(dice, file[name] if dice.random() < 0.8 else file)
            else:
                change_member(dice, file, name)


def change_attribute(dice: random.Random, member: h5py.HLObject) -> None:
    name = dice.choice([*member.attrs, "encoding-type", "shape"])
    if dice.random() < 0.25:
        if name in member.attrs:
            del member.attrs[name]
        return
    values = [0, -1, 2**40, 0.5, "", "array", "csr_matrix", "categorical", "dataframe", "x" * 10_000, b"\xff", True]
    values += [np.arange(3), np.zeros(0), h5py.Empty("f4"), np.array(["a", "b"], object), member.ref]
    member.attrs[name] = dice.choice(values)


def change_member(dice: random.Random, file: h5py.File, name: str) -> None:
    before = file[name]
    # What replaces one of the huge members below cannot be as long.
    length = min(len(before), 1000) if isinstance(before, h5py.Dataset) and before.shape else dice.randrange(6)
    attributes = dict(before.attrs)
    folder, _, last = name.rpartition("/")
    group = file[folder] if folder else file

    def typed(kind: object, values: list) -> None:
        group.create_dataset(last, data=values, dtype=kind)

    def virtual() -> None:
        layout = h5py.VirtualLayout((length,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "m", (length,))
        group.create_virtual_dataset(last, layout)

    def link(target: object) -> Callable[[], None]:
        return lambda: group.__setitem__(last, target)

    def sized(shape: tuple[int, ...], kind: object, chunks: tuple[int, ...] | None = None) -> Callable[[], None]:
        return lambda: group.create_dataset(last, shape, kind, chunks=chunks)

    texts = [dice.choice(TEXTS).replace("\0", "") or "e" for _ in range(length)]
    changes: list[Callable[[], None]] = [
        lambda: None,  # it is gone
        *[lambda make=make: group.create_dataset(last, data=make(length)) for make in ARRAYS],
        lambda: typed(h5py.string_dtype(), texts),
        lambda: typed(h5py.string_dtype(), [f"g{i}" for i in range(length)]),
        lambda: typed(h5py.ref_dtype, [file.ref] * length),
        lambda: typed(h5py.enum_dtype({"a": 0, "b": 1}, "i1"), [0] * length),
        lambda: typed(h5py.string_dtype("ascii", 3), [b"a"] * length),
        sized((length,), h5py.vlen_dtype("i4")),
        sized((length, length), "f4"),
        sized((10**6, 10**6), "f4", (1000, 1000)),
        sized((10**12,), "f4"),
        sized((10**10,), h5py.string_dtype(), (10**5,)),
        sized((30_000_000,), "i4"),
        sized((length,), "S1000000"),
        lambda: group.create_group(last).create_dataset("x", data=1),
        lambda: group.create_dataset(last, (length,), "S8", external=[("/etc/passwd", 0, 8 * length or 8)]),
        link(h5py.SoftLink("/nowhere")), link(h5py.SoftLink(f"/{name}")), link(h5py.SoftLink("..")),
        link(h5py.ExternalLink("/etc/passwd", "/")), link(h5py.ExternalLink("other.h5", "m")), link(file["/"]), virtual,
        lambda: group.create_dataset(last, data=h5py.Empty("f4")),
    ]  # fmt: skip
    if dice.random() < 0.2 and f"{last} moved" not in group:
        group[f"{last} moved"] = before
    del group[last]
    dice.choice(changes)()
    if last in group and group.get(last, getlink=True).__class__ is h5py.HardLink and dice.random() < 0.7:
        for key, value in attributes.items():
            with suppress(UnicodeEncodeError):  # that was read from a damaged attribute
                group[last].attrs[key] = value


# -- Parquet -----------------------------------------------------------------------------------------------------------


def restructure_parquet(dice: random.Random, path: Path) -> None:
    """Changes columns, their types and the notes of a Parquet file."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    count = len(table)
    columns = dict(zip(table.column_names, [column.combine_chunks() for column in table.columns], strict=True))
    kinds = [
        arrow.int8(),
        arrow.uint64(),
        arrow.float16(),
        arrow.float64(),
        arrow.bool_(),
        arrow.null(),
        arrow.date32(),
    ]
    kinds += [arrow.timestamp("ns"), arrow.duration("s"), arrow.decimal128(10, 2), arrow.binary(), arrow.large_string()]
    names = list(columns)
    for _ in range(dice.choice([1, 1, 2, 4])):
        name = dice.choice(names)
        change = dice.randrange(8)
        if change == 0:
            columns.pop(name, None)
        elif change == 1:
            columns[name] = arrow.nulls(count, dice.choice([*kinds, arrow.string(), arrow.float32()]))
        elif change == 2:
            columns[name] = arrow.array([dice.choice(TEXTS) for _ in range(count)]).dictionary_encode()
        elif change == 3:
            columns[name] = arrow.array([dice.choice([None, [], [1.0], [None]]) for _ in range(count)])
        elif change == 4:
            columns[name] = arrow.array([{"x": 1, "y": "a"}] * count)
        elif change == 5:
            columns[name] = arrow.array(
                dice.choice([np.arange(count), np.full(count, 1e38), np.full(count, np.inf), np.full(count, -1)])
            )
        elif change == 6:
            columns[dice.choice(TEXTS)] = columns.pop(name, arrow.nulls(count))
        else:
            columns[name] = arrow.array([bytes([dice.randrange(256)]) for _ in range(count)])
        columns = {each: column for each, column in columns.items() if len(column) == count}
    rows = dice.choice([0, count, count, count])
    notes = ["", "{", "[]", "null", "{}", '{"index_columns": 3}', '{"index_columns": [{"kind": "range"}]}']
    notes += ['{"index_columns": ["none"]}', '{"index_columns": [["x"]]}', json.dumps({"index_columns": names})]
    pandas = dice.choice([None, *notes])
    note = {b"pandas": pandas.encode()} if pandas is not None else table.schema.metadata
    made = arrow.Table.from_arrays(list(columns.values()), names=list(columns)).slice(0, rows)
    parquet.write_table(made.replace_schema_metadata(note), path, row_group_size=dice.choice([1, 3, 1000]))


# -- text --------------------------------------------------------------------------------------------------------------


def restructure_text(dice: random.Random, path: Path) -> None:
    """Changes fields and lines of a text file, gzipped or not."""
    content = path.read_bytes()
    packed = content.startswith(b"\x1f\x8b")
    text = (gzip.decompress(content) if packed else content).decode()
    mark = "\t" if "\t" in text else ","
    lines = [line.split(mark) for line in text.splitlines()]
    for _ in range(dice.choice([1, 1, 2, 5])):
        change, at = dice.randrange(11), dice.randrange(len(lines) + 1)
        line = lines[min(at, len(lines) - 1)]
        field = dice.randrange(len(line) + 1)
        if change < 4:
            line[field : field + 1] = [dice.choice(TEXTS)]
        elif change == 4:
            line[field:field] = [dice.choice(TEXTS)]
        elif change == 5:
            del line[field : field + 1]
        elif change == 6:
            lines.insert(at, list(dice.choice(lines)))
        elif change == 7:
            del lines[at : at + 1]
        elif change == 8:
            for each in lines[at:]:
                each[field : field + 1] = dice.choice([[], ["", ""], each[:1]])
        elif change == 9:
            lines[at:at] = dice.choice([[[""]], [[""] * len(line)], [[""] * 10**5], [["", ""] for _ in range(10**4)]])
        else:
            line += dice.choice([[dice.choice(TEXTS)], [""] * 10**5, ["1"] * 10**5])
        lines = lines or [[""]]
    mark, end = dice.choice([mark] * 8 + ["\t", ",", ";", " "]), dice.choice(["\n"] * 6 + ["\r\n", "\r", "\n\n"])
    content = end.join(mark.join(line) for line in lines).encode(dice.choice(["utf-8"] * 6 + ["utf-16", "utf-8-sig"]))
    if packed:
        content = gzip.compress(content, 1, mtime=0) + dice.choice(
            [b""] * 6 + [b"\0" * 9, b"x", gzip.compress(b"a\tb\n", mtime=0)]
        )
    path.write_bytes(content)


# -- a model directory -------------------------------------------------------------------------------------------------


def restructure_model(dice: random.Random, path: Path) -> None:
    """Changes files of a model directory, mostly with the right checksums of what they then are."""
    names = ["model.json", "genes.tsv", "weights.safetensors", "reference.safetensors"] * 3
    names += ["README.md", "SHA256SUMS"]
    for name in dict.fromkeys(dice.choice(names) for _ in range(dice.choice([1, 1, 2]))):
        file = path / name
        if dice.random() < 0.15:
            replace_file(dice, file)
        elif file.suffix == ".json":
            header = json.loads(file.read_bytes())
            change_json(dice, header)
            file.write_text(json.dumps(header))
        elif file.suffix == ".safetensors":
            change_arrays(dice, file)
        elif file.suffix == ".tsv":
            restructure_text(dice, file)
        else:
            file.write_bytes(dice.choice([b"", b"\xff", b"\n" * 1000, bytes(2**25)]))
    if dice.random() < 0.9 and (path / "SHA256SUMS").is_file():
        names = ("model.json", "weights.safetensors", "reference.safetensors", "genes.tsv", "README.md")
        files = [path / name for name in names if (path / name).is_file() and (path / name).stat().st_size < HOLE]
        sums = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
        (path / "SHA256SUMS").write_text("".join(sums))


def replace_file(dice: random.Random, file: Path) -> None:
    content = file.read_bytes()
    file.unlink()
    change = dice.randrange(7)
    if change == 0:
        file.mkdir()
    elif change == 1:
        file.symlink_to(file)
    elif change == 2:
        os.mkfifo(file)
    elif change == 3:
        file.symlink_to("/dev/zero")
    elif change == 4:
        file.write_bytes(content[: dice.randrange(len(content) + 1)])
    elif change == 5:
        with file.open("wb") as hole:
            hole.truncate(HOLE)  # it takes no room
    # else it is gone


def change_json(dice: random.Random, tree: object) -> None:
    """Puts another value, or none, somewhere into a tree of dictionaries and lists."""
    while isinstance(tree, (dict, list)) and tree:
        key = dice.choice(list(tree)) if isinstance(tree, dict) else dice.randrange(len(tree))
        if isinstance(tree[key], (dict, list)) and tree[key] and dice.random() < 0.8:
            tree = tree[key]
            continue
        if isinstance(tree, dict) and dice.random() < 0.2:
            del tree[key]
        else:
            tree[key] = dice.choice(VALUES)
        return


def change_arrays(dice: random.Random, file: Path) -> None:
    import safetensors.numpy

    if dice.random() < 0.2:
        content = bytearray(file.read_bytes())
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        change_json(dice, header)
        text = json.dumps(header).encode()
        announced = dice.choice([len(text)] * 4 + [0, 2**27, 2**63, 2**64 - 1])
        file.write_bytes(struct.pack("<Q", announced) + text + content[8 + length :])
        return
    arrays = safetensors.numpy.load(file.read_bytes())
    name = dice.choice(list(arrays))
    values = arrays.pop(name)
    change = dice.randrange(6)
    flat = values.copy().reshape(-1)
    if change == 0:
        flat[dice.randrange(len(flat))] = dice.choice([np.nan, np.inf, 1e38, -1e38, 0, -1, 1e-38, 5e3])
        arrays[name] = flat.reshape(values.shape)
    elif change == 1:
        arrays[name] = np.full_like(values, dice.choice([np.nan, np.inf, 1e38, -1e38, 0, -1, 1, 1e-38, 5e3]))
    elif change == 2:
        made = dice.choice(ARRAYS)(len(flat))
        arrays[name] = made if made.dtype.kind in "fiub" and made.dtype.byteorder != ">" else flat
    elif change == 3:
        arrays[name + "x"] = values
    elif change == 4:
        arrays[name] = values.T.copy() if values.ndim > 1 else values.reshape(1, -1).copy()
    file.write_bytes(safetensors.numpy.save({each: np.ascontiguousarray(array) for each, array in arrays.items()}))
