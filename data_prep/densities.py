"""Counts histograms of each study's values, from which the pictures of their distribution are drawn."""

import numpy as np

from dgex.data.dataset_members import HISTOGRAM_EDGES

BINS = len(HISTOGRAM_EDGES) - 1


def histograms(values: np.ndarray, study: np.ndarray) -> dict[str, np.ndarray]:
    """Counts each study's values in bins; those outside ``HISTOGRAM_EDGES`` are counted in the first or last bin.

    Args:
      values: log2 [profiles, genes], NaN where not measured.
      study: str [profiles].

    Returns:
      int [bins] by study.
    """
    studies, number = np.unique(study, return_inverse=True)
    low, high = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]
    bins = np.clip((values - low) * (BINS / (high - low)), 0, BINS - 1)
    measured = ~np.isnan(bins)
    cells = (number[:, None] * BINS + np.nan_to_num(bins).astype(np.int32))[measured]
    counts = np.bincount(cells, minlength=len(studies) * BINS).reshape(len(studies), BINS)
    return dict(zip(studies.tolist(), counts, strict=True))
