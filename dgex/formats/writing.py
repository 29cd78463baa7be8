"""Writes an expression table in the format that the extension of the file name stands for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dgex.errors import DgexError
from dgex.files.atomic import check_writable
from dgex.files.optional import need
from dgex.formats.column_names import column_names
from dgex.formats.companions import AXES, companion, provenance_companion
from dgex.formats.expression import Expression
from dgex.formats.gct import write_gct
from dgex.formats.gctx import write_gctx
from dgex.formats.h5ad import write_h5ad
from dgex.formats.parquet import write_parquet
from dgex.formats.table import write_table

WRITERS: dict[str, Callable[[Path, Expression], None]] = {
    ".gct": write_gct,
    ".gct.gz": write_gct,
    ".gctx": write_gctx,
    ".csv": write_table,
    ".csv.gz": write_table,
    ".tsv": write_table,
    ".tsv.gz": write_table,
    ".parquet": write_parquet,
    ".h5ad": write_h5ad,
}
NEEDED = {write_h5ad: ("anndata", "anndata"), write_parquet: ("pyarrow", "parquet")}  # optional package, and its extra


def write_expression(path: Path, expression: Expression) -> None:
    """Writes an expression table atomically, with companion files for what its format cannot hold.

    See ``dgex.formats.companions`` for these files. A metadata column called id is written as id_2, since files store
    the ids under that name.

    Args:
      path: the output file.
      expression: the table to write.

    Raises:
      DgexError: as ``check_output``; the disk is full; whatever ``expression.blocks`` raises.
    """
    check_output(path)
    rows, samples = (
        dict(zip(column_names(metadata, {"id"}), metadata.values(), strict=True))
        for metadata in (expression.row_metadata, expression.sample_metadata)
    )
    _writer(path)(path, replace(expression, row_metadata=rows, sample_metadata=samples))


def check_output(path: Path, *inputs: Path) -> Path:
    """Checks before the computation that ``write_expression`` will be able to write to ``path``; creates nothing.

    Args:
      path: the output file.
      *inputs: the files that are read to make the output, and which it must not replace.

    Returns:
      The folder of the output, or its nearest parent that exists.

    Raises:
      DgexError: the extension is none of ``WRITERS``; a package for the format is not installed; the output or one of
        its companion files cannot be written or is one of the inputs; a companion file exists without the output.
    """
    writer = _writer(path)
    if writer in NEEDED:
        package, extra = NEEDED[writer]
        need(package, extra=extra, what=str(path))
    nearest = check_writable(path, *inputs)
    companion_files = [companion(path, axis) for axis in AXES] if writer in (write_table, write_parquet) else []
    companion_files += [provenance_companion(path)] if writer in (write_table, write_gct) else []
    for file in companion_files:
        check_writable(file, *inputs)
        if file.exists() and not path.exists():
            raise DgexError(
                f"{file}: is there without {path.name}, which would replace it; move it away, or give the output "
                "another name"
            )
    return nearest


def _writer(path: Path) -> Callable[[Path, Expression], None]:
    """Returns the writer of the format that the extension of ``path`` stands for."""
    for extension, writer in WRITERS.items():
        if path.name.lower().endswith(extension):
            return writer
    raise DgexError(f"{path}: has an unknown extension; name the output with one of: {', '.join(WRITERS)}")
