"""Infers gene expression with transformative adaptive activation functions (TAAF).

The public functions are imported when they are first used, so that ``import dgex.taaf`` imports little besides jax and
flax.
"""

from dgex.version import __version__ as __version__

TYPE_CHECKING = False  # type checkers take it for typing.TYPE_CHECKING, which would have to be imported
if TYPE_CHECKING:
    from dgex.model import Model as Model
    from dgex.model.directory import load_model as load_model
    from dgex.model.in_memory import calibrate as calibrate
    from dgex.model.in_memory import evaluate as evaluate
    from dgex.model.in_memory import predict as predict
    from dgex.model.in_memory import report as report

HOMES = {
    "Model": "dgex.model",
    "load_model": "dgex.model.directory",
    "calibrate": "dgex.model.in_memory",
    "evaluate": "dgex.model.in_memory",
    "predict": "dgex.model.in_memory",
    "report": "dgex.model.in_memory",
}


def __getattr__(name: str) -> object:
    """Imports a public name on first use (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(HOMES[name]), name)
