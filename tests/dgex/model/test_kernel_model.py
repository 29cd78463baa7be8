"""A model beside kernel ridge regression: cross-fitted, stored in half precision, and read again."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from dgex import parallel
from dgex.data.dataset import Dataset
from dgex.model import Model
from dgex.model.card import model_card
from dgex.model.directory import load_model, save_model
from dgex.model.evaluation import infer
from dgex.model.fitting import train_model
from dgex.model.half_precision import rounded_to_half
from dgex.networks import NetworkConfig
from dgex.protocols import RESIDUAL


@pytest.fixture(scope="module")
def model(small_data: Dataset) -> Model:
    genes = small_data.landmark.shape[1], small_data.target.shape[1]
    config = NetworkConfig(*genes, (4,), taaf="hidden", linear=True, linear_rate=0.0, linear_rank=12, kernel=1)
    protocol = replace(RESIDUAL, epochs=2)
    return train_model(small_data, {"file": "a.h5", "sha256": "0"}, config, protocol, 0, parallel.devices(1))


def test_the_kernel_is_of_all_profiles_that_the_refit_is_fitted_to(model: Model, small_data: Dataset) -> None:
    assert model.config.kernel == len(model.params["kernel"]["profiles"]) == (small_data.split < 2).sum()
    assert f"arc-cosine kernel ridge regression of rank 12 on {model.config.kernel} training" in model_card(model)


def test_half_precision_is_stored_as_such_and_read_as_it_was(model: Model, tmp_path: Path) -> None:
    half = replace(model, params=jax.tree.map(rounded_to_half, model.params))
    save_model(tmp_path / "full", model)
    save_model(tmp_path / "half", half)
    files = [tmp_path / name / "weights.safetensors" for name in ("full", "half")]
    assert {values.dtype for values in safetensors.numpy.load_file(files[1]).values()} == {np.dtype(np.float16)}
    assert files[1].stat().st_size < 0.6 * files[0].stat().st_size
    read = load_model(tmp_path / "half")
    for layer, values in half.params.items():
        for name in values:
            np.testing.assert_array_equal(read.params[layer][name], values[name], strict=True)
    x = np.random.default_rng(0).normal(size=(5, model.config.landmarks)).astype(np.float32)
    inferred = [infer(each.config, each.params, x, parallel.devices(1)) for each in (model, read)]
    difference = np.abs(inferred[0] - inferred[1]).max()
    assert 0 < difference < 0.02  # eleven bits of weights, whose products are of the order of 1


def test_numbers_beyond_half_precision_stay_as_they_are() -> None:
    np.testing.assert_array_equal(rounded_to_half(np.float32([1e6, 0.1])), np.float32([1e6, 0.1]))
    np.testing.assert_array_equal(rounded_to_half(np.float32([2049, 1])), np.float32([2048, 1]))
