"""Fits lasso regression of all targets at once from sufficient statistics: proximal gradients, then exact solutions.

The targets share their landmarks, so a step of ten thousand regressions is one matrix product, whatever the number of
samples. In float32 such steps soon show which weights are not zero, but would need many more to find their values. Once
it is known which weights are not zero, their values solve a small linear system for each target, in float64.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dgex.baselines.linear import LinearModel, choose, with_intercept
from dgex.baselines.sufficient_statistics import Products
from dgex.batches import Samples
from dgex.errors import DgexError

# For z-scores, where a penalty of 1 or more makes all weights zero. Largest first, as each solution starts the next.
PENALTIES = (0.2, 0.1, 0.05, 0.03, 0.02, 0.01)

# Pooled duality gaps, as fractions of the targets' variance, at which proximal gradients stop. At the first, ``finish``
# can solve most targets, and only the others go on to the next. Float32 allows no less than the last.
TOLERANCES = (1e-3, 1e-4, 1e-5)
STEPS = 20  # between two computations of the gap, each of which costs as much as a step
LIMIT = 20_000  # steps at most
ROUNDS = 20  # of ``finish`` at most; it takes few where the start is close
SOLVED = 1e-9  # of the largest covariance: residual that Newton's linear equations may have, far above rounding


def soft_threshold(value: jax.Array, threshold: jax.Array) -> jax.Array:
    """Computes ``sign(v) max(|v| - t, 0)``, the proximal map of ``t |v|``, elementwise."""
    return jnp.sign(value) * jnp.maximum(jnp.abs(value) - threshold, 0)


def duality_gap(
    gram: jax.Array, cross: jax.Array, variance: jax.Array, weights: jax.Array, penalty: jax.Array
) -> jax.Array:
    """Computes the duality gap, an upper bound on how far each target's objective is above its minimum, ``[targets]``.

    With ``r = y - x w``, the primal is ``||r||^2 / 2n + penalty ||w||_1``, and ``s r`` with ``s = min(1, penalty /
    ||x^T r / n||_inf)`` is feasible for the dual ``||y||^2 / 2n - ||y - s r||^2 / 2n`` (Kim et al. 2007, J. Sel. Topics
    Signal Process. 1:606, section III).

    Args:
      gram: as for ``solve``.
      cross: as for ``solve``.
      variance: as for ``solve``.
      weights: ``[landmarks, targets]``.
      penalty: as for ``solve``.
    """
    gradient = cross - jnp.matmul(gram, weights, precision="highest")
    fitted = jnp.sum(weights * cross, 0)
    residual_squared = variance - fitted - jnp.sum(weights * gradient, 0)  # ||r||^2 / n
    scale = jnp.minimum(1, penalty / jnp.maximum(jnp.max(jnp.abs(gradient), 0), jnp.finfo(gradient.dtype).tiny))
    primal = residual_squared / 2 + penalty * jnp.sum(jnp.abs(weights), 0)
    dual = scale * (variance - fitted) - scale**2 * residual_squared / 2
    return primal - dual


def solve(
    gram: jax.Array,
    cross: jax.Array,
    variance: jax.Array,
    largest: jax.Array,
    penalty: jax.Array,
    start: jax.Array,
    tolerance: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Minimises ``||y - x w||^2 / 2n + penalty ||w||_1`` for every target by accelerated proximal gradients.

    The method is FISTA (Beck and Teboulle 2009, SIAM J. Imaging Sci. 2:183, section 4), restarted for each target
    separately whenever its momentum points uphill (O'Donoghue and Candes 2015, Found. Comput. Math. 15:715, section
    3.2).

    Args:
      gram: ``x^T x / n`` of centred x, ``[landmarks, landmarks]``.
      cross: ``x^T y / n`` of centred x and y, ``[landmarks, targets]``.
      variance: ``||y||^2 / n`` of centred y, ``[targets]``.
      largest: the largest eigenvalue of ``gram``.
      penalty: on the scale of scikit-learn's ``Lasso(alpha=...)``.
      start: weights to start from, ``[landmarks, targets]``.
      tolerance: the sum of the targets' duality gaps, as a fraction of the sum of their variances, at which to stop.

    Returns:
      Weights ``[landmarks, targets]``, and the fraction that was reached.
    """

    def step(_: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        weights, ahead, momentum = state
        gradient = jnp.matmul(gram, ahead, precision="highest") - cross
        new = soft_threshold(ahead - gradient / largest, penalty / largest)
        uphill = jnp.sum((ahead - new) * (new - weights), 0) > 0
        grown = jnp.where(uphill, 1, (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2)
        return new, new + jnp.where(uphill, 0, (momentum - 1) / grown)[None] * (new - weights), grown

    def advance(state: tuple[Any, ...]) -> tuple[Any, ...]:
        done, _, *rest = state
        weights, ahead, momentum = jax.lax.fori_loop(0, STEPS, step, tuple(rest))
        gap = jnp.sum(duality_gap(gram, cross, variance, weights, penalty)) / jnp.sum(variance)
        return done + STEPS, gap, weights, ahead, momentum

    def unfinished(state: tuple[Any, ...]) -> jax.Array:
        return (state[0] < LIMIT) & (state[1] > tolerance)

    beginning = (jnp.int32(0), jnp.full((), jnp.inf, gram.dtype), start, start, jnp.ones(cross.shape[1], gram.dtype))
    _, gap, weights, *_ = jax.lax.while_loop(unfinished, advance, beginning)
    return weights, gap


def finish(gram: np.ndarray, cross: np.ndarray, penalty: float, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the exact minimum for every target whose weights are close to it.

    Newton's method solves ``w = soft_threshold(w + c - G w, penalty)``, which holds only at the minimum: where the
    right side is not zero, with signs s, ``G w = c - penalty s``; elsewhere w is zero (the semismooth or active-set
    Newton method: Hintermueller, Ito and Kunisch 2003, SIAM J. Optim. 13:865). It has converged when a round does not
    change the signs. Close to the minimum that takes few rounds. From further away, or where landmarks are copies of
    each other, it may never converge, and the target keeps its weights.

    Args:
      gram: as for ``solve``, float64.
      cross: as for ``solve``, float64.
      penalty: as for ``solve``.
      weights: weights to start from, ``[landmarks, targets]``.

    Returns:
      Weights ``[landmarks, targets]``, and which targets are exact, bool ``[targets]``.
    """
    exact = np.zeros(cross.shape[1], bool)
    finished = weights.copy()
    arguments = weights + cross - gram @ weights
    for target in range(cross.shape[1]):
        signs = np.sign(arguments[:, target]) * (np.abs(arguments[:, target]) > penalty)
        for _ in range(ROUNDS):
            chosen = np.flatnonzero(signs)
            try:
                values = np.linalg.solve(gram[np.ix_(chosen, chosen)], cross[chosen, target] - penalty * signs[chosen])
            except np.linalg.LinAlgError:
                break
            gradient = cross[:, target] - gram[:, chosen] @ values
            residual = np.abs(gradient[chosen] - penalty * signs[chosen]).max(initial=0)
            if residual > SOLVED * np.abs(cross[:, target]).max():
                break  # the matrix is nearly singular, which the solver did not notice
            argument = gradient.copy()
            argument[chosen] += values
            before, signs = signs, np.sign(argument) * (np.abs(argument) > penalty)
            if (signs == before).all():
                finished[:, target] = 0
                finished[chosen, target] = values
                exact[target] = True
                break
    return finished, exact


def lasso_models(train: Products, penalties: Sequence[float] = PENALTIES) -> Iterator[tuple[float, LinearModel]]:
    """Fits lasso regression with each penalty: minimises ``||y - x w - b||^2 / 2n + penalty ||w||_1``.

    The intercept b is not penalised. Proximal gradients run in float32, and ``finish`` makes their solution exact in
    float64. Where it cannot, as with landmarks that are copies of each other, the solution of the proximal gradients
    is kept, which is within the last of ``TOLERANCES``.

    Args:
      train: sufficient statistics of the training samples.
      penalties: on the scale of scikit-learn's ``Lasso(alpha=...)``, largest first.

    Yields:
      Each penalty and its model.

    Raises:
      DgexError: proximal gradients do not get within a tolerance, as the penalty is too small.
    """
    gram, cross = train.centred_gram / train.count, train.centred_cross / train.count
    variance = train.target_squared / train.count - train.target_mean**2
    largest = np.linalg.eigvalsh(gram)[-1]
    weights = np.zeros(cross.shape)
    for penalty in penalties:
        weights, left = weights.copy(), np.arange(cross.shape[1])  # a copy, as the model before keeps the array
        for tolerance in TOLERANCES:
            problem = (gram, cross[:, left], variance[left], largest, penalty, weights[:, left], tolerance)
            near, gap = jax.jit(solve)(*(jnp.asarray(a, jnp.float32) for a in problem))
            if not gap <= tolerance:
                raise DgexError(
                    f"lasso: penalty {penalty:g} within {LIMIT:,} steps leaves a duality gap of {gap:.3g} of the "
                    f"variance, not {tolerance:g}; use a larger penalty"
                )
            weights[:, left], exact = finish(gram, cross[:, left], penalty, np.asarray(near, np.float64))
            left = left[~exact]
            if not left.size:
                break
        yield penalty, with_intercept(train, weights)


def lasso_path(
    train: Products, validation: Samples, penalties: Sequence[float] = PENALTIES
) -> tuple[LinearModel, dict[float, float]]:
    """Fits lasso regression with the penalty of the lowest validation MAE; also gives that MAE for every penalty."""
    return choose(lasso_models(train, penalties), validation)
