"""Predictions for arrays, DataFrames and AnnData objects."""

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
from dgex.formats.annotation import measured, measurements
from dgex.formats.matrix import Expression, finite, first_repeated, in_memory, text_column
from dgex.missing import without_stand_ins
from dgex.model import Model
from dgex.prediction import Request, predict


def predict_data(model: Model, data: Any, layer: str | None = None, **request: Any) -> Any:
    """``Model.predict``."""
    asked = Request(**request)
    if isinstance(data, str | os.PathLike):
        raise DgexError(f"{data}: is a path; give what is in it, or use the command `dgex predict`")
    if asked.interval is not None and not _is(data, "anndata", "AnnData"):
        raise DgexError(
            "interval: only an AnnData has a place for the half widths; dgex.prediction.rows_of gives them too"
        )
    if layer is not None and not _is(data, "anndata", "AnnData"):
        raise DgexError("layer: only an AnnData has layers; leave it out")
    table = without_stand_ins(_table(model, data, layer))
    name = Path(f"<{type(data).__name__}>")
    if not all(table.shape):
        raise DgexError(f"{name}: holds {table.shape[0]} rows and {table.shape[1]} columns of numbers, is empty")
    with predict(model, name, table, asked, parallel.devices(), Path(tempfile.gettempdir())) as prediction:
        values = prediction.expression.load()
    for told in prediction.warnings():
        warnings.warn(told, stacklevel=3)
    whole = prediction.expression
    if _is(data, "pandas", "DataFrame"):
        import pandas

        profiles = _numbers(data).axes[prediction.match.transposed]  # with labels of their own kind
        frame = pandas.DataFrame(values, profiles, whole.row_id)
        frame = frame.T if prediction.match.transposed else frame
        frame.attrs["provenance"] = whole.provenance
        return frame
    if _is(data, "anndata", "AnnData"):
        from dgex.formats.h5ad import to_anndata

        table = in_memory(values, whole.row_id, whole.sample_id, whole.row_metadata, whole.sample_metadata)
        return to_anndata(replace(table, provenance=whole.provenance))
    return values


def _table(model: Model, data: Any, layer: str | None = None) -> Expression:
    """Whatever it is, as profiles x genes; which of a table's axes is which is found out later."""
    if _is(data, "anndata", "AnnData"):
        from dgex.formats.h5ad import from_anndata

        return measured(Path("AnnData"), from_anndata(data, layer))
    if _is(data, "pandas", "DataFrame"):
        numbers = _numbers(data)
        ids = [_labels(axis) for axis in (numbers.columns, numbers.index)]
        for axis in ids:
            if repeated := first_repeated(axis):
                raise DgexError(f"the DataFrame holds the label {repeated} twice; make its labels unique")
        others = data.loc[numbers.index].drop(columns=numbers.columns)
        text = {str(name): column.astype(object).where(column.notna(), "") for name, column in others.items()}
        metadata = {name: text_column(column.astype(str).tolist()) for name, column in text.items()}
        return in_memory(finite("the DataFrame", numbers.to_numpy(np.float32)), ids[0], ids[1], {}, metadata)
    values = np.asarray(data, np.float32)
    genes = model.reference.landmark_genes.ensembl
    if values.ndim != 2 or values.shape[1] != len(genes) or not len(values):
        raise DgexError(
            f"an array of shape {values.shape} is not [profiles, {len(genes)} landmarks]; order its columns as "
            "model.reference.landmark_genes, or give a DataFrame with the genes' names"
        )
    return in_memory(finite("the array", values), genes, [str(number) for number in range(len(values))])


def _numbers(frame: Any) -> Any:
    """The rows and columns of a DataFrame that are measurements."""
    numbers = frame.select_dtypes("number")
    return numbers.iloc[*(measurements("the DataFrame", _labels(axis)) for axis in numbers.axes)]


def _labels(axis: Any) -> tuple[str, ...]:
    return tuple(str(label).strip() for label in axis)


def _is(data: Any, package: str, name: str) -> bool:
    """Whether it is of that class; what was not imported cannot have made it."""
    module = sys.modules.get(package)
    return module is not None and isinstance(data, getattr(module, name))
