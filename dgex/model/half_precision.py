"""Weights of half precision: rounded to it where a model is to be small, stored as such where that loses nothing."""

import numpy as np


def rounded_to_half(values: np.ndarray) -> np.ndarray:
    """Rounds float32 numbers to those of half precision, float32; numbers beyond its range stay as they are."""
    with np.errstate(over="ignore"):
        half = values.astype(np.float16).astype(np.float32)
    return half if np.isfinite(half).all() else values


def shortest(values: np.ndarray) -> np.ndarray:
    """Converts float32 numbers to float16 if that loses nothing."""
    half = rounded_to_half(values)
    return half.astype(np.float16) if np.array_equal(half, values) else values
