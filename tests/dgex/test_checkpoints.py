"""Checkpoints: what goes in comes out, and of damaged ones none is used."""

import hashlib
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgex import parallel
from dgex.checkpoints import open_checkpoints
from dgex.errors import DgexError


def tree(value):
    leaves = {"step": np.int32(value), "params": {"H0": {"kernel": np.full((3, 2), value / 3, np.float32)}}}
    return parallel.replicate(leaves, parallel.devices(2))


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of the epochs 1, 2 and 3."""
    folder = tmp_path / "checkpoints"
    with open_checkpoints(folder, 0) as checkpoints:
        for epoch in (1, 2, 3):
            checkpoints.save(epoch, tree(epoch), force=True)
    return folder


def test_latest_comes_back_as_it_was(folder, assert_trees_close):
    with open_checkpoints(folder, 0) as checkpoints:
        assert checkpoints.epochs == [3, 2]
        epoch, restored = checkpoints.restore_latest(tree(0))
    assert epoch == 3
    wanted = tree(3)
    assert_trees_close(restored, wanted)
    assert jax.tree.map(lambda leaf: (leaf.dtype, leaf.sharding), restored) == jax.tree.map(
        lambda leaf: (leaf.dtype, leaf.sharding), wanted
    )


def test_without_a_checkpoint_nothing_changes(tmp_path):
    like = tree(7)
    with open_checkpoints(tmp_path / "new", 0) as checkpoints:
        epoch, restored = checkpoints.restore_latest(like)
    assert epoch == 0 and restored is like


def test_saves_only_what_is_due(tmp_path):
    with open_checkpoints(tmp_path / "new", 3600) as checkpoints:
        for epoch in (1, 2, 3):
            checkpoints.save(epoch, tree(epoch))
    with open_checkpoints(tmp_path / "new", 3600) as checkpoints:
        assert checkpoints.restore_latest(tree(0))[0] == 1
        checkpoints.save(4, tree(4), force=True)
    with open_checkpoints(tmp_path / "new", 3600) as checkpoints:
        assert checkpoints.restore_latest(tree(0))[0] == 4


def test_reused_memory_does_not_reach_a_checkpoint_under_way(tmp_path):
    """The next epoch donates the state while its checkpoint is still being written."""
    overwrite = jax.jit(lambda array: array * 0 - 1, donate_argnums=0)
    value = np.random.default_rng(0).normal(size=(500, 500)).astype(np.float32)
    array = jnp.array(value)
    with open_checkpoints(tmp_path / "new", 0) as checkpoints:
        checkpoints.save(1, {"a": array})
        array = overwrite(array).block_until_ready()
    with open_checkpoints(tmp_path / "new", 0) as checkpoints:
        _, restored = checkpoints.restore_latest({"a": array})
    np.testing.assert_array_equal(restored["a"], value)


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def latest(folder):
    """The epoch and step of what is restored, and what else is kept then."""
    with open_checkpoints(folder, 0) as checkpoints:
        epoch, restored = checkpoints.restore_latest(tree(0))
        return epoch, int(restored["step"]), checkpoints.epochs


def test_digests_are_those_of_the_files(folder):
    """As ``sha256sum -c SHA256SUMS`` checks them."""
    for epoch in ("2", "3"):
        lines = (folder / epoch / "SHA256SUMS").read_text().splitlines()
        others = [path for path in files_of(folder / epoch) if path.name != "SHA256SUMS"]
        assert lines == [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder / epoch)}" for path in others
        ]


def test_a_flipped_bit_is_noticed_wherever_it_is(folder, tmp_path, capsys):
    """A random bit in each file of the latest checkpoint, also in the digests: the one before is used, in a line."""
    draw = random.Random(0)
    for number, path in enumerate(files_of(folder / "3")):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        damaged = copy / path.relative_to(folder)
        if not damaged.stat().st_size:
            continue
        flip(damaged, draw.randrange(8 * damaged.stat().st_size))
        assert latest(copy) == (2, 2, [2])
        line = capsys.readouterr().err
        assert line.startswith(f"warning: {copy}/3: is damaged (") and line.count("\n") == 1
        assert line.endswith("; training goes on from epoch 2\n")


def test_training_goes_on_after_damage(folder):
    """The epoch of the damaged checkpoint is saved again."""
    flip(max(files_of(folder / "3"), key=lambda path: path.stat().st_size), 99)
    with open_checkpoints(folder, 0) as checkpoints:
        assert checkpoints.restore_latest(tree(0))[0] == 2
        checkpoints.save(3, tree(3), force=True)
    assert latest(folder) == (3, 3, [3, 2])


def test_one_without_digests_is_not_used(folder):
    """The process was killed before they were written."""
    (folder / "3" / "SHA256SUMS").unlink()
    assert latest(folder) == (2, 2, [2])
    (folder / "2" / "SHA256SUMS").unlink()
    assert latest(folder) == (0, 0, [])


DAMAGES = {
    "emptied": lambda path: path.write_bytes(b""),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "inverted": lambda path: path.write_bytes(bytes(255 - byte for byte in path.read_bytes())),
    "no data": lambda path: path.unlink() if path.parent.name == "d" else None,
    "no manifest": lambda path: path.unlink() if path.name == "manifest.ocdbt" else None,
    "no metadata": lambda path: path.unlink() if path.name == "_METADATA" else None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_all(folder, damage):
    for path in files_of(folder):
        if path.name != "SHA256SUMS":
            DAMAGES[damage](path)
    with pytest.raises(DgexError, match="checkpoint of epoch 3 cannot be read .* delete the run's folder"):
        with open_checkpoints(folder, 0) as checkpoints:
            checkpoints.restore_latest(tree(0))


@pytest.mark.parametrize(
    "like",
    [
        lambda: tree(0) | {"more": jnp.zeros(3)},
        lambda: {"step": tree(0)["step"]},
        lambda: tree(0) | {"params": {"H0": {"kernel": jnp.zeros((3, 4))}}},
    ],
    ids=["a leaf more", "a leaf less", "another shape"],
)
def test_other_structure(folder, like):
    with (
        open_checkpoints(folder, 0) as checkpoints,
        pytest.raises(DgexError, match="checkpoint of epoch 3 cannot be read"),
    ):
        checkpoints.restore_latest(like())
