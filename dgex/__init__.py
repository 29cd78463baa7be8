"""Gene expression inference with transformative adaptive activation functions (TAAF).

This package imports nothing by itself, so that ``import dgex.taaf`` costs what jax and flax cost.
"""

__version__ = "0.1.0"
