"""Predictions and scores for arrays, DataFrames and AnnData objects."""

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
from dgex.model import Model
from dgex.model.evaluation import Scores, evaluate_table
from dgex.model.prediction import InputScale, OutputScale, Request, predict_table

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
) -> object:
    """Infers whole profiles from landmarks in memory; the result has a row for every profile.

    Warns of landmarks that are imputed, of profiles that are out of distribution, and of values taken as missing.

    Args:
      model: what ``load_model`` reads.
      data: an array ``[profiles, landmarks]`` with the landmarks in the order of ``model.reference.landmark_genes``; a
        pandas DataFrame or an AnnData with genes on either axis, by any of their names.
      layer: of an AnnData, the matrix to take instead of X: a name in its ``layers``, or "raw".
      input_scale: of the data; "auto" tells log2 from linear values and refuses the rest.
      output_scale: "log2", on the scale of the training data, or "zscore".
      all_targets: whether targets that are landmarks too are also inferred, in rows of their own.
      interval: level of the prediction intervals whose half widths ``var`` tells; for an AnnData only.
      max_missing: share of the landmarks that a profile may lack.

    Returns:
      What was given: a float32 array ``[profiles, rows]`` in the order of ``dgex.model.prediction.rows_of``; a
      DataFrame in the orientation it came in; or an AnnData of profiles x rows, with what is said of each row in
      ``var``. What made it (dgex's version, the model, the options) is ``attrs["provenance"]`` of a DataFrame and
      ``uns["provenance"]`` of an AnnData.

    Raises:
      DgexError: as ``dgex.model.prediction.predict_table``; the data name no landmarks; intervals or a layer are asked
        for where there is no place for them.

    Example: the mean of the training data, with every landmark at its training mean.

      >>> import numpy as np
      >>> import dgex
      >>> model = dgex.load_model()
      >>> predict(model, model.reference.landmark_scaler.mean[None]).shape
      (1, 10018)
    """
    request = Request(input_scale, output_scale, all_targets, interval, max_missing)
    if request.interval is not None and not _is(data, "anndata", "AnnData"):
        raise DgexError(
            "interval: only an AnnData has a place for the half widths; dgex.model.prediction.rows_of gives them too"
        )
    name, table = _named_table(model, data, layer, "predict")
    with predict_table(model, name, table, request, parallel.devices(), Path(tempfile.gettempdir())) as prediction:
        values = prediction.expression.load()
    for warning in prediction.warnings():
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


def evaluate(
    model: Model,
    data: "pandas.DataFrame | anndata.AnnData",
    *,
    layer: str | None = None,
    input_scale: InputScale = "auto",
    max_missing: float = 0.2,
) -> dict[str, Scores]:
    """Scores a model's predictions against the targets measured in whole profiles in memory.

    Args:
      model: what ``load_model`` reads.
      data: a pandas DataFrame or an AnnData with landmarks and targets on either axis, by any of their names; studies
        are those of a column ``study_id``, if there is one.
      layer: of an AnnData, the matrix to take instead of X.
      input_scale: as in ``predict``.
      max_missing: as in ``predict``.

    Returns:
      What ``dgex.model.evaluation.judge`` says, by group of profiles.

    Raises:
      DgexError: as ``dgex.model.evaluation.evaluate_table``; the data name no genes.
    """
    if isinstance(data, np.ndarray):
        raise DgexError("an array names no genes; give a DataFrame or an AnnData of landmarks and targets")
    name, table = _named_table(model, data, layer, "evaluate")
    request = Request(input_scale, max_missing=max_missing)
    return evaluate_table(model, name, table, request, parallel.devices(), Path(tempfile.gettempdir())).scores


def _named_table(model: Model, data: object, layer: str | None, command: str) -> tuple[Path, Expression]:
    """A name for messages and the table, which is not empty."""
    if isinstance(data, str | os.PathLike):
        raise DgexError(f"{data}: is a path; give what is in it, or use the command `dgex {command}`")
    if layer is not None and not _is(data, "anndata", "AnnData"):
        raise DgexError("layer: only an AnnData has layers; leave it out")
    name, table = Path(f"<{type(data).__name__}>"), without_stand_ins(_table(model, data, layer))
    if not all(table.shape):
        raise DgexError(f"{name}: holds {table.shape[0]} rows and {table.shape[1]} columns of numbers, is empty")
    return name, table


def _table(model: Model, data: Any, layer: str | None = None) -> Expression:
    """Whatever it is, as profiles x genes; which of a table's axes is which is found out later."""
    if _is(data, "anndata", "AnnData"):
        from dgex.formats.h5ad import from_anndata

        return measured(Path("AnnData"), from_anndata(data, layer))
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
    """The positions of the rows and of the columns of a DataFrame that are measurements."""
    # Turned frames with a column of text have objects for numbers.
    kinds = frame.set_axis(range(frame.shape[1]), axis=1).infer_objects()
    numeric = kinds.select_dtypes("number").columns.to_numpy(int)
    axes = frame.index, frame.columns[numeric]
    rows, columns = (np.array(measurements("the DataFrame", plain_ids(map(str, axis))), int) for axis in axes)
    return rows, numeric[columns]


def _is(data: Any, package: str, name: str) -> bool:
    """Whether it is of that class; what was not imported cannot have made it."""
    module = sys.modules.get(package)
    return module is not None and isinstance(data, getattr(module, name))
