"""Altered model directories: nothing that was damaged is taken, nor what no model has, be its checksums right.

What older versions wrote is read, which is a directory with less in it.
"""

import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from dgex.errors import DgexError
from dgex.model.directory import FILES, SUMS, load_model, read_card


@pytest.fixture
def folder(model_files, tmp_path) -> Path:
    """A copy to do damage to."""
    (tmp_path / "model").mkdir()
    for path in (model_files / "model").iterdir():
        (tmp_path / "model" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "model"


def signed(folder: Path, name: str, content: bytes) -> None:
    """Puts other content into a file, and its checksum into the list, as someone would who means it."""
    before = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / name).write_bytes(content)
    sums = (folder / SUMS).read_text()
    assert before in sums
    (folder / SUMS).write_text(sums.replace(before, hashlib.sha256(content).hexdigest()))


def changed_header(folder: Path, change) -> None:
    header = json.loads((folder / "model.json").read_text())
    change(header)
    signed(folder, "model.json", json.dumps(header).encode())


def changed_arrays(folder: Path, name: str, change) -> None:
    arrays = safetensors.numpy.load((folder / name).read_bytes())
    change(arrays)
    signed(folder, name, safetensors.numpy.save(arrays))


def refuses(folder: Path, said: str) -> None:
    with pytest.raises(DgexError, match=said) as refusal:
        load_model(folder)
    assert str(folder) in str(refusal.value) and "\n" not in str(refusal.value)


def test_the_card_comes_with_checked_files(folder):
    metadata, text = (folder / "README.md").read_text().removeprefix("---\n").split("---\n", 1)
    assert "library_name: dgex" in metadata and read_card(folder) == text
    (folder / "weights.safetensors").write_bytes(b"")
    with pytest.raises(DgexError, match="weights.safetensors is not as it was written"):
        read_card(folder)


def test_a_card_of_the_former_name(folder):
    """Cards once had no metadata and another name; a README.md beside such a one is not the model's."""
    text = read_card(folder)
    signed(folder, "README.md", text.encode())
    (folder / "README.md").rename(folder / "MODEL_CARD.md")
    (folder / SUMS).write_text((folder / SUMS).read_text().replace("README.md", "MODEL_CARD.md"))
    (folder / "README.md").write_text("Of the Hub.")
    assert read_card(folder) == text
    (folder / "MODEL_CARD.md").write_text("altered")
    refuses(folder, "MODEL_CARD.md is not as it was written")


def test_a_card_that_is_no_text(folder):
    signed(folder, "README.md", "Müller".encode("latin-1"))
    with pytest.raises(DgexError, match=f"^{folder}: README.md is not UTF-8 text; fetch or make the model again$"):
        read_card(folder)


def remove(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def lead_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def lead_elsewhere(path: Path) -> None:
    other = path.parent / next(name for name in FILES if name != path.name)
    path.unlink()
    path.symlink_to(other)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [remove, make_folder, lead_nowhere, lead_elsewhere, flip, truncate, lengthen, empty])
def test_damaged_files_are_named(folder, name, damage):
    damage(folder / name)
    refuses(folder, name)


@pytest.mark.parametrize("damage", [remove, make_folder, lead_nowhere, lead_elsewhere, flip, truncate, empty])
def test_a_damaged_list_of_checksums(folder, damage):
    damage(folder / SUMS)
    refuses(folder, SUMS)


def test_a_loop_of_links(folder):
    (folder / "genes.tsv").unlink()
    (folder / "genes.tsv").symlink_to(folder / "genes.tsv")
    refuses(folder, "genes.tsv cannot be read")


def test_what_is_no_model_directory(tmp_path):
    refuses(tmp_path / "none", "there is no such directory; make a model with `dgex train`")
    refuses(tmp_path, "is not a model directory, it has no SHA256SUMS")
    (tmp_path / "file").write_text("text")
    refuses(tmp_path / "file", "is not a model directory")


def older(arrays) -> None:
    """Makes the arrays those of schema 2, with half widths of 0.1, 0.2, ... in all levels, and of one platform."""
    for name in [name for name in arrays if name.startswith(("expectation/", "platform/"))]:
        del arrays[name]
    arrays.pop("reliability/quantile")
    arrays["reliability/half_width"] = np.tile(np.arange(1, 61, dtype=np.float32) / 10, (4, 1))
    arrays["reliability/farthest"] = np.full((), 2, np.float32)


def test_the_second_schema_is_read_with_one_expected_error_for_all(folder, small_model):
    changed_header(folder, lambda header: (header.update(schema_version=2), header.pop("platforms")))
    changed_arrays(folder, "reference.safetensors", older)
    model = load_model(folder)
    expected = model.reliability.expectation.expect(np.array([0.1, 5.0]))
    np.testing.assert_allclose(expected, small_model.reliability.zscore_mae.mean(), rtol=1e-5)
    np.testing.assert_allclose(model.reliability.quantile[2] * expected[0], np.arange(1, 61) / 10, rtol=1e-5)
    assert model.reliability.expectation.farthest == np.inf
    assert model.reference.platforms.name == ("array",) and not model.reference.platforms.target.any()


@pytest.mark.parametrize("names", [[], ["array", "array"], ["array", "rnaseq"], 5])
def test_names_of_platforms_that_do_not_fit(folder, names):
    changed_header(folder, lambda header: header.update(platforms=names))
    refuses(folder, "fetch or make the model again")


def test_the_first_schema_is_still_read(folder, small_model):
    """It had no quantiles of all genes."""
    changed_header(folder, lambda header: header.update(schema_version=1))
    changed_arrays(folder, "reference.safetensors", lambda arrays: (older(arrays), arrays.pop("gene_quantiles")))
    model = load_model(folder)
    assert model.gene_quantiles is None
    np.testing.assert_array_equal(model.reference.quantiles, small_model.reference.quantiles)


def test_another_schema_version(folder):
    changed_header(folder, lambda header: header.update(schema_version=4))
    refuses(folder, "has schema version 4, this dgex reads up to 3; fetch or make the model again")


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("schema_version"),
        lambda header: header.pop("network"),
        lambda header: header.pop("provenance"),
        lambda header: header.update(network=[]),
        lambda header: header.update(provenance=3),
        lambda header: header["network"].update(more=1),
        lambda header: header["network"].pop("targets"),
        lambda header: header["network"].update(hidden=5),
        lambda header: header["network"].update(hidden=[-1]),
        lambda header: header["network"].update(dropout="much"),
        lambda header: header["network"].update(activation="exec"),
        lambda header: header["network"].update(activation=["tanh"]),
        lambda header: header["network"].update(landmarks=None),
    ],
)
def test_a_header_that_makes_no_sense(folder, change):
    changed_header(folder, change)
    refuses(folder, "model.json")


@pytest.mark.parametrize("text", [b"", b"[]", b"[1, 2]", b"3", b'"text"', b"{", b"\xff", b"[" * 100_000, b"null"])
def test_a_header_that_is_no_json_object(folder, text):
    signed(folder, "model.json", text)
    refuses(folder, "model.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda arrays: arrays.update(extra=np.zeros(1, np.float32)), "does not hold the network"),
        (lambda arrays: arrays.pop("outputs/bias"), "does not hold the network"),
        (lambda arrays: arrays.update({"outputs/bias": np.zeros(59, np.float32)}), "does not hold the network"),
        (lambda arrays: arrays.update({"H0/kernel": np.zeros((16, 24), np.float32)}), "does not hold the network"),
        (lambda arrays: arrays["H0/kernel"].fill(np.nan), "H0/kernel does not hold finite float32"),
        (lambda arrays: arrays["outputs/bias"].__setitem__(3, np.inf), "outputs/bias does not hold finite float32"),
        (lambda arrays: arrays.update({"outputs/bias": np.zeros(60)}), "outputs/bias does not hold finite float32"),
        (lambda arrays: arrays.update({"outputs/bias": np.zeros(60, np.int32)}), "outputs/bias does not hold finite"),
    ],
)
def test_other_weights(folder, change, said):
    changed_arrays(folder, "weights.safetensors", change)
    refuses(folder, f"weights.safetensors.*{said}")


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.update(extra=np.zeros(1, np.float32)),
        lambda arrays: arrays.pop("quantiles"),
        lambda arrays: arrays.update(quantiles=np.zeros(23, np.float32)),
        lambda arrays: arrays.update(quantiles=np.zeros(24)),
        lambda arrays: arrays.update(quantiles=arrays["quantiles"][::-1].copy()),
        lambda arrays: arrays["quantiles"].__setitem__(0, np.nan),
        lambda arrays: arrays["quantiles"].__setitem__(-1, 1e6),
        lambda arrays: arrays["landmark/mean"].__setitem__(5, -1e6),
        lambda arrays: arrays["factors/loadings"].fill(1e38),
        lambda arrays: arrays["factors/noise"].fill(1e38),
        lambda arrays: arrays["landmark/sd"].fill(1e-38),
        lambda arrays: arrays["landmark/sd"].fill(1e3),
        lambda arrays: arrays["landmark/sd"].__setitem__(5, 0),
        lambda arrays: arrays["target/sd"].__setitem__(5, -1),
        lambda arrays: arrays["target/mean"].__setitem__(5, np.inf),
        lambda arrays: arrays.update(gene_quantiles=arrays["gene_quantiles"][::-1].copy()),
        lambda arrays: arrays.update(gene_quantiles=np.zeros((2, 2), np.float32)),
        lambda arrays: arrays.update(gene_quantiles=np.zeros(0, np.float32)),
        lambda arrays: arrays["gene_quantiles"].__setitem__(0, np.nan),
        lambda arrays: arrays.update({"reliability/quantile": arrays["reliability/quantile"][:3].copy()}),
        lambda arrays: arrays["reliability/quantile"].__setitem__((1, 5), np.nan),
        lambda arrays: arrays["reliability/quantile"].__setitem__((1, 5), -0.1),
        lambda arrays: arrays.update({"expectation/farthest": np.zeros(1, np.float32)}),
        lambda arrays: arrays.update({"factors/noise": np.zeros((), np.float32)}),
        lambda arrays: arrays.update({"factors/loadings": np.zeros((), np.float32)}),
        lambda arrays: arrays.update({"factors/loadings": np.zeros((23, 5), np.float32)}),
        lambda arrays: arrays.update({"factors/loadings": np.zeros((24, 5, 1), np.float32)}),
        lambda arrays: arrays.pop("map/position"),
        lambda arrays: arrays.update({"map/position": np.zeros((120, 3), np.float32)}),
        lambda arrays: arrays["map/platform"].__setitem__(3, 1),
        lambda arrays: arrays["map/position"].__setitem__((3, 1), np.nan),
        lambda arrays: arrays["map/self_check_error"].__setitem__(3, np.inf),
    ],
)
def test_other_arrays(folder, change):
    changed_arrays(folder, "reference.safetensors", change)
    refuses(folder, "reference.safetensors")


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_unpickled(folder, name):
    trap = pickle.dumps(Trap(folder / "sprung"))
    signed(folder, name, trap)
    if name == "README.md":  # for people, and never parsed
        load_model(folder)
    else:
        refuses(folder, name)
    assert not (folder / "sprung").exists()
    pickle.loads(trap)
    assert (folder / "sprung").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "reference.safetensors"])
def test_no_safetensors(folder, name):
    whole = (folder / name).read_bytes()
    for content in (b"", b"\x00" * 8, b"\xff" * 64, whole[:100], whole[:-4], whole.replace(b'"F32"', b'"F16"', 1),
                    whole.replace(b'"F32"', b'"XYZ"', 1)):  # fmt: skip
        signed(folder, name, content)
        refuses(folder, name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: "", "not a table"),
        (lambda text: text.replace("side\t", "sides\t"), "not a table"),
        (lambda text: text.replace("landmark\t", "landmarks\t", 1), "not a table"),
        (lambda text: text.replace("\t900000_at", "", 1), "not a table"),
        (lambda text: text.replace("MADEUP0", '"MADEUP0', 1), "not a table"),
        (lambda text: text.replace("landmark\t", "target\t"), "has no landmark|twice"),
        (lambda text: text.replace("ENSG90000000001", "ENSG90000000000", 1), "twice"),
        (lambda text: text[: text.rindex("target\t")], "has 24 landmarks and 59 targets"),
    ],
)
def test_other_genes(folder, change, said):
    signed(folder, "genes.tsv", change((folder / "genes.tsv").read_text()).encode())
    refuses(folder, f"genes.tsv.*({said})")


@pytest.mark.parametrize("name", [*FILES, SUMS])
@pytest.mark.parametrize("what", ["pipe", "device"])
def test_what_never_ends_is_not_read(folder, name, what):
    (folder / name).unlink()
    if what == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")
    refuses(folder, name)


@pytest.mark.parametrize("name", ["README.md", "genes.tsv", "model.json", SUMS])
def test_texts_of_gigabytes_are_not_read(folder, name):
    os.truncate(folder / name, 2**36)  # a hole, which takes no room
    refuses(folder, f"{name} cannot be read .larger than 16 MiB")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda arrays: arrays["factors/loadings"].fill(1e38),
            "factors/loadings holds numbers that are not finite, or",
        ),
        (
            lambda arrays: (arrays["factors/loadings"].fill(9e3), arrays["factors/noise"].fill(1e-6)),
            "the factors do not fit z-scores",
        ),
        (
            lambda arrays: arrays["landmark/mean"].fill(-1e38),
            "landmark/mean holds numbers that are not finite, or beyond",
        ),
        (lambda arrays: arrays["target/sd"].fill(1e-38), "holds an SD or variance that is not positive"),
        (lambda arrays: arrays["factors/noise"].fill(1e-38), "factors/noise is too small"),
    ],
)
def test_numbers_that_no_profile_has(folder, change, said):
    changed_arrays(folder, "reference.safetensors", change)
    refuses(folder, said)


@pytest.mark.parametrize(
    ("hidden", "said"),
    [([300] * 100_000, "100000 hidden layers are more than can be trained"), ([10**30], "at most: 24 -> .10000000")],
)
def test_networks_that_no_machine_holds(folder, hidden, said):
    changed_header(folder, lambda header: header["network"].update(hidden=hidden))
    refuses(folder, said)
