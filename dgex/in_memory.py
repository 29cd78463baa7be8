"""Predictions for arrays, DataFrames and AnnData objects."""

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dgex import parallel
from dgex.errors import DgexError
from dgex.formats.matrix import Expression, finite, in_memory, text_column
from dgex.formats.names import column_names
from dgex.formats.table import ENTREZ
from dgex.model import Model
from dgex.prediction import Request, predict


def predict_data(model: Model, data: Any, **request: Any) -> Any:
    """``Model.predict``."""
    asked = Request(**request)
    if isinstance(data, str | os.PathLike):
        raise DgexError(f"{data}: is a path; give what is in it, or use the command `dgex predict`")
    if asked.interval is not None and not _is(data, "anndata", "AnnData"):
        raise DgexError(
            "interval: only an AnnData has a place for the half widths; dgex.prediction.rows_of gives them too"
        )
    table = _table(model, data)
    name = Path(f"<{type(data).__name__}>")
    if not all(table.shape):
        raise DgexError(f"{name}: holds {table.shape[0]} rows and {table.shape[1]} columns of numbers, is empty")
    with predict(model, name, table, asked, parallel.devices(), Path(tempfile.gettempdir())) as prediction:
        values = prediction.expression.load()
    for told in prediction.warnings():
        warnings.warn(told, stacklevel=3)
    whole = in_memory(
        values,
        prediction.expression.row_id,
        prediction.expression.sample_id,
        prediction.expression.row_metadata,
        prediction.expression.sample_metadata,
    )
    if _is(data, "pandas", "DataFrame"):
        import pandas

        profiles = _numbers(data).axes[prediction.match.transposed]  # with labels of their own kind
        frame = pandas.DataFrame(values, profiles, whole.row_id)
        return frame.T if prediction.match.transposed else frame
    if _is(data, "anndata", "AnnData"):
        from dgex.formats.h5ad import to_anndata

        return to_anndata(whole)
    return values


def _table(model: Model, data: Any) -> Expression:
    """Whatever it is, as profiles x genes; which of a table's axes is which is found out later."""
    if _is(data, "anndata", "AnnData"):
        from dgex.formats.h5ad import from_anndata

        return from_anndata(data)
    if _is(data, "pandas", "DataFrame"):
        numbers = _numbers(data)
        ids = [tuple(map(str, axis)) for axis in (numbers.columns, numbers.index)]
        others = data.loc[:, ~_are_numbers(data)]
        text = [column.astype(object).where(column.notna(), "").astype(str).tolist() for _, column in others.items()]
        metadata = dict(zip(column_names(map(str, others.columns), ()), map(text_column, text), strict=True))
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
    """The columns of a DataFrame that are measurements."""
    return frame.loc[:, _are_numbers(frame)]


def _are_numbers(frame: Any) -> np.ndarray:
    """Which columns these are, bool [columns]; labels may repeat."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return np.array(
        [
            is_numeric_dtype(kind) and not is_bool_dtype(kind) and str(name).lower() not in ENTREZ
            for name, kind in zip(frame.columns, frame.dtypes, strict=True)
        ],
        bool,
    )


def _is(data: Any, package: str, name: str) -> bool:
    """Whether it is of that class; what was not imported cannot have made it."""
    module = sys.modules.get(package)
    return module is not None and isinstance(data, getattr(module, name))
