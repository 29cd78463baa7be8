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


def errors_by_number(
    residual: npt.NDArray[np.floating],
    study: npt.NDArray[np.generic],
    platform: npt.NDArray[np.generic],
    shrinkage: float,
    numbers: tuple[int, ...] = (0, 1, 2, 5),
    seed: int = 0,
) -> dict[int, dict[int, float]]:
    """Measures the error that remains after 0, 1, 2, 5 profiles of a study and platform have given offsets.

    The same profiles are scored for every number: those that not even the largest number takes, in one random order.

    Args:
        residual: Measured - inferred z-scores [profiles, targets], all finite.
        study: Study of each profile [profiles].
        platform: Code of the platform of each profile [profiles].
        shrinkage: k of the weight n / (n + k).
        numbers: Numbers of profiles to calibrate with.
        seed: Seed of the order of a study's profiles.

    Returns:
        z-score MAE by platform code and number, mean over studies; a platform without a study of more than
        `max(numbers)` profiles is left out.
    """
    generator = np.random.default_rng(seed)
    result: dict[int, dict[int, float]] = {}
    for code in np.unique(platform):
        errors = []
        for name in np.unique(study[platform == code]):
            rows = generator.permutation(np.flatnonzero((study == name) & (platform == code)))
            rest = residual[rows[max(numbers) :]]
            if not len(rest):
                continue
            offsets = [residual[rows[:n]].sum(axis=0) / (n + shrinkage) if n else 0.0 for n in numbers]
            errors.append([float(np.abs(rest - offset).mean()) for offset in offsets])
        if errors:
            result[int(code)] = dict(zip(numbers, np.mean(errors, axis=0).tolist(), strict=True))
    return result
