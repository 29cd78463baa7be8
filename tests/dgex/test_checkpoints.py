"""Checkpoints: what goes in comes out, and what cannot be read is said in one line."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dgex import parallel
from dgex.checkpoints import open_checkpoints, restore_latest, save
from dgex.errors import DgexError

# When one array cannot be read, Orbax abandons the coroutines that read the others, and they complain when they are
# collected: here, and not in whatever test comes later.
pytestmark = [
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def collected():
    yield
    gc.collect()


def tree(value):
    leaves = {"step": np.int32(value), "params": {"H0": {"kernel": np.full((3, 2), value / 3, np.float32)}}}
    return parallel.share(leaves, parallel.devices(2))


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of the epochs 1, 2 and 3."""
    folder = tmp_path / "checkpoints"
    with open_checkpoints(folder, 0) as checkpoints:
        for epoch in (1, 2, 3):
            save(checkpoints, epoch, tree(epoch), force=True)
    return folder


def test_latest_comes_back_as_it_was(folder):
    with open_checkpoints(folder, 0) as checkpoints:
        assert [checkpoint.step for checkpoint in checkpoints.checkpoints] == [3]
        epoch, restored = restore_latest(checkpoints, tree(0))
    assert epoch == 3
    wanted = tree(3)
    jax.tree.map(np.testing.assert_array_equal, restored, wanted)
    assert jax.tree.map(lambda leaf: (leaf.dtype, leaf.sharding), restored) == jax.tree.map(
        lambda leaf: (leaf.dtype, leaf.sharding), wanted
    )


def test_without_a_checkpoint_nothing_changes(tmp_path):
    like = tree(7)
    with open_checkpoints(tmp_path / "new", 0) as checkpoints:
        epoch, restored = restore_latest(checkpoints, like)
    assert epoch == 0 and restored is like


def test_saves_only_what_is_due(tmp_path):
    with open_checkpoints(tmp_path / "new", 3600) as checkpoints:
        for epoch in (1, 2, 3):
            save(checkpoints, epoch, tree(epoch))
    with open_checkpoints(tmp_path / "new", 3600) as checkpoints:
        assert restore_latest(checkpoints, tree(0))[0] == 1
        save(checkpoints, 4, tree(4), force=True)
    with open_checkpoints(tmp_path / "new", 3600) as checkpoints:
        assert restore_latest(checkpoints, tree(0))[0] == 4


def test_reused_memory_does_not_reach_a_checkpoint_under_way(tmp_path):
    """The next epoch donates the state while its checkpoint is still being written."""
    overwrite = jax.jit(lambda array: array * 0 - 1, donate_argnums=0)
    value = np.random.default_rng(0).normal(size=(500, 500)).astype(np.float32)
    array = jnp.array(value)
    with open_checkpoints(tmp_path / "new", 0) as checkpoints:
        save(checkpoints, 1, {"a": array})
        array = overwrite(array).block_until_ready()
    with open_checkpoints(tmp_path / "new", 0) as checkpoints:
        _, restored = restore_latest(checkpoints, {"a": array})
    np.testing.assert_array_equal(restored["a"], value)


def every_file(folder, change):
    for path in folder.rglob("*"):
        if path.is_file():
            change(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(bytes(255 - byte for byte in path.read_bytes())),
        lambda path: path.unlink() if path.parent.name == "d" else None,
        lambda path: path.unlink() if path.name == "manifest.ocdbt" else None,
        lambda path: path.unlink() if path.name == "_METADATA" else None,
    ],
    ids=["emptied", "halved", "flipped", "no data", "no manifest", "no metadata"],
)
def test_damaged(folder, damage):
    every_file(folder / "3" if (folder / "3").exists() else folder, damage)
    with (
        open_checkpoints(folder, 0) as checkpoints,
        pytest.raises(DgexError, match="checkpoint of epoch 3 cannot be read .* delete the run's folder"),
    ):
        restore_latest(checkpoints, tree(0))


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
        restore_latest(checkpoints, like())
