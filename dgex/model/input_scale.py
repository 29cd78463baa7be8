"""Determines the scale of a table of landmarks, and refuses tables and profiles that cannot be predicted from."""

from typing import Literal

import numpy as np

from dgex.data.intensity_scale import (
    LARGEST_LOG2,
    Intensities,
    MixedScalesError,
    NoIntensitiesError,
    check_value_ranges,
    intensity_scale,
    value_ranges,
)
from dgex.errors import DgexError
from dgex.formats.expression import Expression
from dgex.formats.profiles import Profiles

InputScale = Literal["auto", "log2", "linear", "zscore"]  # what a user may say
TableScale = Intensities | Literal["zscore"]  # what a table is on

LEAST_NEGATIVE = 0.1  # share of z-scores that are negative; in training it is a half


def scale_of(label: str, table: Expression, profiles: Profiles, requested: InputScale) -> TableScale:
    """Determines the scale of the table from its first profiles, or checks the requested scale against them."""
    where, values = next(profiles())
    ids = table.sample_id[where]
    if requested == "auto":
        try:
            return intensity_scale(label, ids, value_ranges(values), lambda rows: values[rows])
        except NoIntensitiesError as error:
            raise DgexError(f"{error}; for z-scores of each gene, say --input-scale zscore") from error
        except MixedScalesError as error:
            raise DgexError(f"{error}, or say --input-scale linear if that is what all of them are on") from error
    known = values[~np.isnan(values)]
    if requested == "log2" and (known > LARGEST_LOG2).any():
        raise DgexError(
            f"{label}: its values reach {known.max():g}, so they are counts or linear, not log2; say --input-scale "
            "linear"
        )
    if requested == "zscore" and len(known) and (known < 0).mean() < LEAST_NEGATIVE:
        raise DgexError(
            f"{label}: {(known < 0).mean():.0%} of its values are negative, so they are not z-scores; leave out "
            "--input-scale"
        )
    return requested


def check_profiles(
    label: str, sample_id: tuple[str, ...], values: np.ndarray, scale: TableScale, requested: InputScale
) -> None:
    """Refuses profiles that cannot be on this scale; ``check_missing`` refuses those without any value."""
    ranges = value_ranges(values)
    smallest, largest, whole = ranges.T
    measured = largest > -np.inf
    small = measured & (largest <= LARGEST_LOG2) & (whole == 0)
    for wrong, problem in (
        (measured & (smallest == largest), "has one value throughout; leave it out"),
        (small & (scale == "linear") & (requested == "auto"), f"stays below {LARGEST_LOG2:g}, as log2 values do, and "
         "the first ones are linear; bring all profiles to one scale, or say --input-scale linear"),
    ):  # fmt: skip
        if wrong.any():
            raise DgexError(f"{label}: the profile {sample_id[int(wrong.argmax())]} {problem}")
    check_value_ranges(label, sample_id, ranges, scale)


def check_missing(label: str, profile: str, missing: int, landmarks: int, most: float, remark: str = "") -> None:
    """Refuses a profile that lacks all landmarks, or more than the share ``most`` of them."""
    if missing == landmarks:
        raise DgexError(f"{label}: {profile} has no value of any landmark; leave it out")
    if missing > most * landmarks:
        raise DgexError(
            f"{label}: {profile} lacks {missing} of the {landmarks} landmarks{remark}, more than {most:.0%}; use a "
            "fuller table, name its genes otherwise, or allow more (--max-missing)"
        )
