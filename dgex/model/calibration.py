"""Shrinkage of the offsets that a laboratory's own profiles give."""

import numpy as np
import numpy.typing as npt


def learn_shrinkage(residual: npt.NDArray[np.floating], study: npt.NDArray[np.generic]) -> float:
    """Learns k of the weight n / (n + k) from out-of-fold residuals, studies weighted equally.

    With q the mean square of a residual and p the mean product of two profiles of a study (same gene), the squared
    error of a further profile after n profiles is least at weight n p / (q + (n - 1) p): k = (q - p) / p for every n.

    Args:
        residual: Measured - inferred z-scores [profiles, targets], all finite.
        study: Study of each profile [profiles]; those of one profile are left out.

    Returns:
        k; infinite where the profiles of a study share nothing, so that no offset helps.

    Raises:
        ValueError: No study has two profiles.
    """
    squares, products = [], []
    for name in np.unique(study):
        rows = residual[study == name].astype(np.float64)
        count = len(rows)
        if count < 2:
            continue
        square = np.square(rows).sum(axis=0)
        squares.append(float((square / count).mean()))
        products.append(float(((np.square(rows.sum(axis=0)) - square) / (count * (count - 1))).mean()))
    if not squares:
        raise ValueError("no study has two profiles")
    q, p = float(np.mean(squares)), float(np.mean(products))
    return max(0.0, (q - p) / p) if p > 0 else float("inf")
