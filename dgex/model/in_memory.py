"""Predicts, scores and calibrates to profiles held in memory: arrays, DataFrames and AnnData objects."""

import os
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike

from dgex import parallel
from dgex.errors import DgexError
from dgex.formats.annotation import measured, measurements
from dgex.formats.column_names import column_names
from dgex.formats.expression import Expression, finite, in_memory, plain_ids, text_column
from dgex.formats.missing_values import without_stand_ins
from dgex.inference import PROFILES
from dgex.model import Model
from dgex.model.calibration import NAME, calibrate_table
from dgex.model.evaluation import Scores, evaluate_table
from dgex.model.input_scale import InputScale
from dgex.model.prediction import OutputScale, Request, predict_table
from dgex.reporting import Page, check_packages

if TYPE_CHECKING:
    import anndata
    import pandas


@overload
def predict(
    model: Model,
    data: "pandas.DataFrame",
    *,
    layer: None = None,
    input_scale: InputScale = "auto",
    output_scale: OutputScale = "log2",
    all_targets: bool = False,
    interval: None = None,
    max_missing: float = 0.2,
    platform: str = "auto",
) -> "pandas.DataFrame": ...
@overload
def predict(
    model: Model,
    data: "anndata.AnnData",
    *,
    layer: str | None = None,
    input_scale: InputScale = "auto",
    output_scale: OutputScale = "log2",
    all_targets: bool = False,
    interval: float | None = None,
    max_missing: float = 0.2,
    platform: str = "auto",
) -> "anndata.AnnData": ...
@overload
def predict(  # type: ignore[overload-cannot-match]
    model: Model,
    data: ArrayLike,
    *,
    layer: None = None,
    input_scale: InputScale = "auto",
    output_scale: OutputScale = "log2",
    all_targets: bool = False,
    interval: None = None,
    max_missing: float = 0.2,
    platform: str = "auto",
) -> np.ndarray: ...
def predict(
    model: Model,
    data: Any,
    *,
    layer: str | None = None,
    input_scale: InputScale = "auto",
    output_scale: OutputScale = "log2",
    all_targets: bool = False,
    interval: float | None = None,
    max_missing: float = 0.2,
    platform: str = "auto",
) -> object:
    """Infers whole profiles from landmarks in memory.

    Warnings tell how many profiles had missing landmarks imputed, how many are out of distribution, and which values
    were taken as missing.

    Args:
      model: the model to predict with, as ``load_model`` reads it.
      data: an array ``[profiles, landmarks]`` with the landmarks in the order of ``model.reference.landmark_genes``; a
        pandas DataFrame or an AnnData with genes on either axis, by any of their names.
      layer: the matrix of an AnnData to take instead of X: a name in its ``layers``, or "raw".
      input_scale: scale of the data; "auto" tells log2 from linear values and refuses all others.
      output_scale: "log2", on the scale of the training data, or "zscore".
      all_targets: whether targets that are landmarks too are also inferred, in rows of their own.
      interval: level of the prediction intervals whose half widths ``var`` has; only for an AnnData.
      max_missing: share of the landmarks that may be missing in a profile.
      platform: one of the model's, whose scale the outputs have; "auto" takes for each profile the one that brings its
        landmarks nearest to the training data.

    Returns:
      The same type as the data: a float32 array ``[profiles, rows]`` in the order of
      ``dgex.model.prediction.rows_of``; a DataFrame in the orientation of the given one; or an AnnData of profiles x
      rows, whose ``var`` has the metadata of each row. The provenance (dgex's version, the model, the options) is
      ``attrs["provenance"]`` of a DataFrame and ``uns["provenance"]`` of an AnnData.

    Raises:
      DgexError: as ``dgex.model.prediction.predict_table``; the data name no landmarks; intervals or a layer are
        requested for data that have no place for them.

    Examples:
      A profile whose landmarks are all at their training means:

      >>> import numpy as np
      >>> import dgex
      >>> model = dgex.load_model()
      >>> predict(model, model.reference.landmark_scaler.mean[None]).shape
      (1, 10018)
    """
    request = Request(input_scale, output_scale, all_targets, interval, max_missing, platform)
    if request.interval is not None and not _is(data, "anndata", "AnnData"):
        raise DgexError(
            "interval: only an AnnData has a place for the half widths; dgex.model.prediction.rows_of gives them too"
        )
    label, table = _labelled_table(model, data, layer, "predict")
    with predict_table(model, label, table, request, parallel.devices(), Path(tempfile.gettempdir())) as prediction:
        values = prediction.expression.load()
    for warning in prediction.warnings() + ([prediction.check.text] if prediction.check.failed else []):
        warnings.warn(warning, stacklevel=2)
    whole = prediction.expression
    if _is(data, "pandas", "DataFrame"):
        import pandas

        measured_rows, measured_columns = _numbers(data)
        profiles = data.iloc[measured_rows, measured_columns].axes[prediction.match.transposed]  # labels of any kind
        frame = pandas.DataFrame(values, profiles, whole.row_id)
        frame = frame.T if prediction.match.transposed else frame
        frame.attrs["provenance"] = whole.provenance
        return frame
    if _is(data, "anndata", "AnnData"):
        from dgex.formats.h5ad import to_anndata

        table = in_memory(values, whole.row_id, whole.sample_id, whole.row_metadata, whole.sample_metadata)
        return to_anndata(replace(table, provenance=whole.provenance))
    return values


def report(
    model: Model,
    data: Any,
    *,
    layer: str | None = None,
    input_scale: InputScale = "auto",
    max_missing: float = 0.2,
    platform: str = "auto",
) -> Page:
    """Draws a page that tells how far the profiles inferred from landmarks in memory can be trusted.

    Args:
      model: the model to predict with, as ``load_model`` reads it.
      data: as in ``predict``.
      layer: as in ``predict``.
      input_scale: as in ``predict``.
      max_missing: as in ``predict``.
      platform: as in ``predict``.

    Returns:
      The page, which a notebook shows; its ``save(path)`` writes it.

    Raises:
      DgexError: as ``predict``; matplotlib or jinja2 is not installed.
    """
    check_packages()
    from dgex.reporting.page import page_of

    request = Request(input_scale, max_missing=max_missing, platform=platform)
    label, table = _labelled_table(model, data, layer, "predict")
    with predict_table(model, label, table, request, parallel.devices(), Path(tempfile.gettempdir())) as prediction:
        for _ in prediction.expression.blocks(PROFILES):
            pass
    return page_of(model, prediction, table.kind)


def evaluate(
    model: Model,
    data: "pandas.DataFrame | anndata.AnnData",
    *,
    layer: str | None = None,
    input_scale: InputScale = "auto",
    max_missing: float = 0.2,
    platform: str = "auto",
    against: Model | None = None,
) -> dict[str, Scores]:
    """Scores a model's predictions against the targets measured in whole profiles in memory.

    Args:
      model: the model to score, as ``load_model`` reads it.
      data: a pandas DataFrame or an AnnData with landmarks and targets on either axis, by any of their names; studies
        are those of a column ``study_id``, if there is one.
      layer: the matrix of an AnnData to take instead of X.
      input_scale: as in ``predict``.
      max_missing: as in ``predict``.
      platform: as in ``predict``.
      against: another model, of the same training data, to compare with on the same profiles and measured values, such
        as ridge regression (`dgex train --hidden none`).

    Returns:
      The scores that ``dgex.model.evaluation.judge`` gives, by group of profiles; with another model also "against",
      as ``dgex.model.evaluation.beside`` gives it.

    Raises:
      DgexError: as ``dgex.model.evaluation.evaluate_table``; the data name no genes.
    """
    label, table = _whole_profiles(model, data, layer, "evaluate")
    request = Request(input_scale, max_missing=max_missing, platform=platform)
    folder = Path(tempfile.gettempdir())
    return evaluate_table(model, label, table, request, parallel.devices(), folder, against).scores


def calibrate(
    model: Model,
    data: "pandas.DataFrame | anndata.AnnData",
    *,
    name: str = NAME,
    layer: str | None = None,
    input_scale: InputScale = "auto",
    max_missing: float = 0.2,
    platform: str = "auto",
) -> Model:
    """Calibrates a model to a laboratory's own whole profiles in memory.

    Args:
      model: the model to calibrate, as ``load_model`` reads it.
      data: a pandas DataFrame or an AnnData with landmarks and targets on either axis, by any of their names.
      name: of the platform that is added to the model; one of this name that was added before is replaced.
      layer: the matrix of an AnnData to take instead of X.
      input_scale: as in ``predict``; not "zscore".
      max_missing: as in ``predict``.
      platform: that measured the profiles, one that the model was trained with; "auto" takes the one that most of the
        profiles are nearest to.

    Returns:
      The model with one more platform, which ``predict`` takes for profiles of the platform that it is based on.

    Raises:
      DgexError: as ``dgex.model.calibration.calibrate_table``; the data name no genes.
    """
    label, table = _whole_profiles(model, data, layer, "calibrate")
    request = Request(input_scale, max_missing=max_missing, platform=platform)
    folder = Path(tempfile.gettempdir())
    return calibrate_table(model, label, table, request, name, {"file": label}, parallel.devices(), folder).model


def _whole_profiles(model: Model, data: object, layer: str | None, command: str) -> tuple[str, Expression]:
    """Converts whole profiles to a table as ``_labelled_table`` does; an array is refused, since it names no genes."""
    if isinstance(data, np.ndarray):
        raise DgexError("an array names no genes; give a DataFrame or an AnnData of landmarks and targets")
    return _labelled_table(model, data, layer, command)


def _labelled_table(model: Model, data: object, layer: str | None, command: str) -> tuple[str, Expression]:
    """Converts the data to a table, which is not empty, and gives a label for messages about it."""
    if isinstance(data, str | os.PathLike):
        raise DgexError(f"{data}: is a path; give what is in it, or use the command `dgex {command}`")
    if layer is not None and not _is(data, "anndata", "AnnData"):
        raise DgexError("layer: only an AnnData has layers; leave it out")
    label, table = f"<{type(data).__name__}>", without_stand_ins(_table(model, data, layer))
    if not all(table.shape):
        raise DgexError(f"{label}: holds {table.shape[0]} rows and {table.shape[1]} columns of numbers, is empty")
    return label, table


def _table(model: Model, data: Any, layer: str | None = None) -> Expression:
    """Converts the data to a table whose rows are genes, unless ``match_genes`` later finds them to be samples."""
    if _is(data, "anndata", "AnnData"):
        from dgex.formats.h5ad import from_anndata

        return measured("AnnData", from_anndata(data, layer))
    if _is(data, "pandas", "DataFrame"):
        rows, columns = _numbers(data)
        numbers = data.iloc[rows, columns]
        others = data.iloc[rows, np.setdiff1d(np.arange(data.shape[1]), columns)]
        text = [column.astype(object).where(column.notna(), "").astype(str).tolist() for _, column in others.items()]
        metadata = dict(zip(column_names(map(str, others.columns), ()), map(text_column, text), strict=True))
        ids = [plain_ids(map(str, axis)) for axis in (numbers.columns, numbers.index)]
        return in_memory(finite("the DataFrame", numbers.to_numpy(np.float32)), ids[0], ids[1], {}, metadata)
    values = np.asarray(data, np.float32)
    genes = model.reference.landmark_genes.ensembl
    if values.ndim != 2 or values.shape[1] != len(genes) or not len(values):
        raise DgexError(
            f"an array of shape {values.shape} is not [profiles, {len(genes)} landmarks]; order its columns as "
            "model.reference.landmark_genes, or give a DataFrame with the genes' names"
        )
    return in_memory(finite("the array", values), genes, [str(number) for number in range(len(values))])


def _numbers(frame: Any) -> tuple[np.ndarray, np.ndarray]:
    """Finds the positions of the rows and of the columns of a DataFrame that are measurements."""
    # A frame that was transposed with a column of text holds numbers as objects.
    kinds = frame.set_axis(range(frame.shape[1]), axis=1).infer_objects()
    numeric = kinds.select_dtypes("number").columns.to_numpy(int)
    axes = frame.index, frame.columns[numeric]
    rows, columns = (np.array(measurements("the DataFrame", plain_ids(map(str, axis))), int) for axis in axes)
    return rows, numeric[columns]


def _is(data: Any, package: str, name: str) -> bool:
    """Tells whether the data are of a class without importing its package, which made them only if it is imported."""
    module = sys.modules.get(package)
    return module is not None and isinstance(data, getattr(module, name))
