"""Predictions and scores for arrays, DataFrames and AnnData objects."""

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dgex import parallel
from dgex.errors import DgexError
from dgex.evaluation import Scores, evaluate_table
from dgex.formats.matrix import Expression, finite, first_repeated, in_memory, text_column
from dgex.formats.table import ENTREZ
from dgex.model import Model
from dgex.prediction import Request, predict


def predict_data(model: Model, data: Any, **request: Any) -> Any:
    """``Model.predict``."""
    asked = Request(**request)
    if asked.interval is not None and not _is(data, "anndata", "AnnData"):
        raise DgexError(
            "interval: only an AnnData has a place for the half widths; dgex.prediction.rows_of gives them too"
        )
    name, table = _named_table(model, data, "predict")
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


def evaluate_data(model: Model, data: Any, **request: Any) -> dict[str, Scores]:
    """``Model.evaluate``."""
    if isinstance(data, np.ndarray):
        raise DgexError("an array names no genes; give a DataFrame or an AnnData of landmarks and targets")
    name, table = _named_table(model, data, "evaluate")
    return evaluate_table(
        model, name, table, Request(**request), parallel.devices(), Path(tempfile.gettempdir())
    ).scores


def _named_table(model: Model, data: Any, command: str) -> tuple[Path, Expression]:
    """A name for messages and the table, which is not empty."""
    if isinstance(data, str | os.PathLike):
        raise DgexError(f"{data}: is a path; give what is in it, or use the command `dgex {command}`")
    name, table = Path(f"<{type(data).__name__}>"), _table(model, data)
    if not all(table.shape):
        raise DgexError(f"{name}: holds {table.shape[0]} rows and {table.shape[1]} columns of numbers, is empty")
    return name, table


def _table(model: Model, data: Any) -> Expression:
    """Whatever it is, as profiles x genes; which of a table's axes is which is found out later."""
    if _is(data, "anndata", "AnnData"):
        from dgex.formats.h5ad import from_anndata

        return from_anndata(data)
    if _is(data, "pandas", "DataFrame"):
        numbers = _numbers(data)
        ids = [tuple(map(str, axis)) for axis in (numbers.columns, numbers.index)]
        for axis in ids:
            if repeated := first_repeated(axis):
                raise DgexError(f"the DataFrame holds the label {repeated} twice; make its labels unique")
        others = data.drop(columns=numbers.columns)
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
    """The columns of a DataFrame that are measurements."""
    numbers = frame.select_dtypes("number")
    return numbers.drop(columns=[name for name in numbers.columns if str(name).lower() in ENTREZ])


def _is(data: Any, package: str, name: str) -> bool:
    """Whether it is of that class; what was not imported cannot have made it."""
    module = sys.modules.get(package)
    return module is not None and isinstance(data, getattr(module, name))
