"""Predictions and scores for arrays, DataFrames and AnnData objects."""

import os
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dgex import parallel
from dgex.errors import DgexError
from dgex.evaluation import Scores, evaluate_table
from dgex.formats.annotation import measured, measurements
from dgex.formats.matrix import Expression, finite, in_memory, plain_ids, text_column
from dgex.formats.names import column_names
from dgex.missing import without_stand_ins
from dgex.model import Model
from dgex.prediction import Request, predict


def predict_data(model: Model, data: Any, layer: str | None = None, **request: Any) -> Any:
    """``Model.predict``."""
    asked = Request(**request)
    if asked.interval is not None and not _is(data, "anndata", "AnnData"):
        raise DgexError(
            "interval: only an AnnData has a place for the half widths; dgex.prediction.rows_of gives them too"
        )
    name, table = _named_table(model, data, layer, "predict")
    with predict(model, name, table, asked, parallel.devices(), Path(tempfile.gettempdir())) as prediction:
        values = prediction.expression.load()
    for told in prediction.warnings():
        warnings.warn(told, stacklevel=3)
    whole = prediction.expression
    if _is(data, "pandas", "DataFrame"):
        import pandas

        profiles = data.iloc[_numbers(data)].axes[prediction.match.transposed]  # with labels of their own kind
        frame = pandas.DataFrame(values, profiles, whole.row_id)
        frame = frame.T if prediction.match.transposed else frame
        frame.attrs["provenance"] = whole.provenance
        return frame
    if _is(data, "anndata", "AnnData"):
        from dgex.formats.h5ad import to_anndata

        table = in_memory(values, whole.row_id, whole.sample_id, whole.row_metadata, whole.sample_metadata)
        return to_anndata(replace(table, provenance=whole.provenance))
    return values


def evaluate_data(model: Model, data: Any, layer: str | None = None, **request: Any) -> dict[str, Scores]:
    """``Model.evaluate``."""
    if isinstance(data, np.ndarray):
        raise DgexError("an array names no genes; give a DataFrame or an AnnData of landmarks and targets")
    name, table = _named_table(model, data, layer, "evaluate")
    return evaluate_table(
        model, name, table, Request(**request), parallel.devices(), Path(tempfile.gettempdir())
    ).scores


def _named_table(model: Model, data: Any, layer: str | None, command: str) -> tuple[Path, Expression]:
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
    numeric = frame.set_axis(range(frame.shape[1]), axis=1).select_dtypes("number").columns.to_numpy(int)
    axes = frame.index, frame.columns[numeric]
    rows, columns = (np.array(measurements("the DataFrame", plain_ids(map(str, axis))), int) for axis in axes)
    return rows, numeric[columns]


def _is(data: Any, package: str, name: str) -> bool:
    """Whether it is of that class; what was not imported cannot have made it."""
    module = sys.modules.get(package)
    return module is not None and isinstance(data, getattr(module, name))
