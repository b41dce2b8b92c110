"""Gradient flows, integrated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def integrate(
    velocity: Callable,
    start: np.ndarray,
    times: Any,
    rtol: float,
    progress: bool,
    method: str = "DOP853",
    atol: float = 1e-12,
) -> np.ndarray:
    """Integrates `dX/dt = velocity(X)`, by an explicit method.

    Args:
        velocity: Function of an array of the shape of `start`.
        start: Array, at time 0.
        times: Array of shape `(T,)`, increasing, not negative.
        rtol: Float, the relative tolerance.
        progress: Boolean, whether to draw a progress bar over the time.
        method: String, of SciPy.
        atol: Float, the absolute tolerance.

    Returns:
        A float64 array of shape `(T, ...)`.

    Raises:
        ValueError: If `times` are none, or the integration fails.

    Example:

    >>> from nc_keras.theory.integration import integrate
    >>> path = integrate(np.negative, np.ones(1), [0.0, 1.0], 1e-9, False)
    >>> np.allclose(path[:, 0], [1, np.exp(-1)])
    True
    """
    # Not for everybody who imports the library.
    from scipy.integrate import solve_ivp

    times = np.asarray(times, "float64")
    if times.ndim != 1 or not times.size or times[0] < 0:
        raise ValueError(
            "`times` must be an array of times that are not negative. "
            f"Received: times={times}."
        )
    require_increasing(times)
    end = max(times[-1], 1e-12)
    bar = keras.utils.Progbar(100, unit_name="%") if progress else None

    def derivative(time, x):
        if bar is not None:
            bar.update(min(int(100 * time / end), 100))
        return velocity(x.reshape(start.shape)).ravel()

    solution = solve_ivp(
        derivative,
        (0.0, end),
        start.ravel(),
        method=method,
        t_eval=times,
        rtol=rtol,
        atol=atol,
    )
    if not solution.success:
        raise ValueError(
            "The flow could not be integrated. Received: times up to "
            f"{times[-1]}. {solution.message}"
        )
    return solution.y.T.reshape(len(times), *start.shape)


def require_increasing(times: np.ndarray) -> None:
    """Raises an error if times do not increase, or are not finite."""
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError(
            f"`times` must increase, and be finite. Received: times={times}."
        )
