"""How each study's values were distributed before normalisation, counted while they pass by."""

import numpy as np

from dgex.data.dataset import HISTOGRAM_EDGES

BINS = len(HISTOGRAM_EDGES) - 1


def histograms(values: np.ndarray, study: np.ndarray) -> dict[str, np.ndarray]:
    """Counts log2 values [profiles, genes] by study, in ``HISTOGRAM_EDGES``; what lies outside goes to the end bins."""
    studies, number = np.unique(study, return_inverse=True)
    low, high = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]
    bins = np.clip((values - low) * (BINS / (high - low)), 0, BINS - 1)
    measured = ~np.isnan(bins)
    cells = (number[:, None] * BINS + np.nan_to_num(bins).astype(np.int32))[measured]
    counts = np.bincount(cells, minlength=len(studies) * BINS).reshape(len(studies), BINS)
    return dict(zip(studies.tolist(), counts, strict=True))
