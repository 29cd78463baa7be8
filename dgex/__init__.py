"""Gene expression inference with transformative adaptive activation functions (TAAF).

This package imports nothing by itself, so that ``import dgex.taaf`` costs what jax and flax cost.
"""

TYPE_CHECKING = False  # as type checkers know it, without importing typing
if TYPE_CHECKING:
    import os

    from dgex.model import Model

__version__ = "0.1.0"


def load_model(path: "str | os.PathLike[str] | None" = None) -> "Model":
    """Reads a model directory, by default that of the model that comes with the package.

    Raises:
      DgexError: it is no model directory, or a file in it is missing or altered.
    """
    from dgex.model_directory import load_model as load

    return load(path)
