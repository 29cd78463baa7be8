"""Sums over samples: against numpy in float64, for any devices, blocks and numbers of samples."""

import jax
import numpy as np
import pytest

from dgex import parallel
from dgex.baselines import sufficient_statistics
from dgex.batches import Samples
from dgex.errors import DgexError

LANDMARKS, TARGETS = 5, 7


def draw(samples, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(3, 2, (samples, LANDMARKS)).astype("f4"),
        rng.normal(-1, 4, (samples, TARGETS)).astype("f4"),
    )


def check(found, x, y, rtol=1e-13):
    x, y = x.astype(np.float64), y.astype(np.float64)
    expected = {
        "count": len(x), "landmark": x.sum(0), "target": y.sum(0), "target_squared": (y**2).sum(0),
        "gram": x.T @ x, "cross": x.T @ y,
    }  # fmt: skip
    assert set(expected) == set(found.__dataclass_fields__)
    for name, value in expected.items():
        member = getattr(found, name)
        assert isinstance(member, np.ndarray | np.float64) and member.dtype == np.float64, name
        np.testing.assert_allclose(member, value, rtol, err_msg=name)
    centred = x - x.mean(0)
    np.testing.assert_allclose(found.landmark_mean, x.mean(0), rtol)
    np.testing.assert_allclose(found.target_mean, y.mean(0), rtol)
    np.testing.assert_allclose(found.centred_gram, centred.T @ centred, 1e-10, atol=1e-10)
    np.testing.assert_allclose(found.centred_cross, centred.T @ (y - y.mean(0)), 1e-10, atol=1e-10)


@pytest.mark.parametrize("devices", [1, 3, 4])
@pytest.mark.parametrize("block", [1000, 40])  # resident; streamed in several blocks, the last one uneven
def test_sums_are_those_of_numpy(monkeypatch, devices, block):
    monkeypatch.setattr(sufficient_statistics, "BATCH", 13)
    x, y = draw(101)
    check(sufficient_statistics.products(Samples(x, y, parallel.devices(devices), block)), x, y)


@pytest.mark.parametrize("samples", [1, 2])
def test_fewer_samples_than_devices(samples):
    x, y = draw(samples)
    check(sufficient_statistics.products(Samples(x, y, parallel.devices(4), 10)), x, y)


def test_float64_stays_inside():
    x, y = draw(3)
    samples = Samples(x, y, parallel.devices(1), 10)
    sufficient_statistics.products(samples)
    assert not jax.config.jax_enable_x64
    assert {part.dtype for part in samples._resident} == {np.dtype(np.float32)}


def test_values_far_from_zero_keep_their_covariance():
    # log2 intensities instead of z-scores: float32 sums would leave nothing of an SD of 0.001 at a mean of 12.
    rng = np.random.default_rng(1)
    x = (12 + 1e-3 * rng.normal(size=(3000, LANDMARKS))).astype("f4")
    y = (12 + 1e-3 * rng.normal(size=(3000, TARGETS))).astype("f4")
    found = sufficient_statistics.products(Samples(x, y, parallel.devices(2), 5000))
    np.testing.assert_allclose(found.centred_gram / 3000, np.cov(x.T.astype("f8"), ddof=0), rtol=1e-6, atol=1e-12)


def test_results_add_up_in_float64():
    x, y = draw(101)
    parts = [
        sufficient_statistics.products(Samples(x[rows], y[rows], parallel.devices(2), 1000))
        for rows in (slice(40), slice(40, None))
    ]
    check(parts[0] + parts[1], x, y)


@pytest.mark.parametrize("wide", ["landmark", "target"])
def test_float64_samples_are_refused(wide):
    x, y = draw(3)
    values = {"landmark": x, "target": y}
    values[wide] = values[wide].astype("f8")
    with pytest.raises(DgexError, match="^samples are float64; give them as float32$"):
        sufficient_statistics.products(Samples(**values, devices=parallel.devices(1), block=10))
