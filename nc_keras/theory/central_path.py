"""The central path of the MSE loss: features whose head is always the best.

With the least-squares head for the features of every moment, the loss is a
function of the features alone, `L = (1/2CN) ||W_LS X - Y||^2`. Its gradient
flow, continually renormalised so that the within-class covariance stays the
identity, is governed by the singular values `w` of the signal-to-noise matrix
`Sigma_W^{-1/2} M`. Closed forms are for classes of equal size.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from nc_keras.arguments import checked
from nc_keras.metrics.snr import SingularError as SingularError
from nc_keras.metrics.snr import snr as snr
from nc_keras.theory.feature_flows import GradientFlow as GradientFlow
from nc_keras.theory.feature_flows import gradient_flow as gradient_flow
from nc_keras.theory.feature_flows import renormalized_flow as renormalized_flow
from nc_keras.theory.integration import require_increasing


@dataclasses.dataclass(frozen=True, eq=False)
class TimeFit:
    """The closed form with the time scale that fits a training best.

    Attributes:
        scale: Float, how much time of the flow goes by in a unit of the
            training's time.
        residual: Float, the root mean square of the natural logarithms of
            predicted over measured singular values, without the first row,
            where they agree. 0.1 is about 10 %.
        predicted: Array of shape `(T, r)`, the closed form.

    Args:
        scale: See the attributes; so for the other arguments.

    Example:

    >>> from nc_keras.theory import central_path
    >>> fit = central_path.fit_time_scale([0, 1], [[0.5], [0.5]], 2, 10)
    >>> fit.scale, fit.residual
    (0.0, 0.0)
    """

    scale: float
    residual: float
    predicted: np.ndarray


@checked(
    initial="array", times="array", num_classes="integer", num_examples="values"
)
def predicted_snr(
    initial: Any, times: Any, num_classes: int, num_examples: Any
) -> np.ndarray:
    """Singular values along the renormalised flow, from the closed form.

    `c1 log w + c2 w^2 + c3 w^4 = a + t`, with `c1 = N C^2`, `c2 = N C` and
    `c3 = N / 4` for the loss `(1/2CN) sum`: the integral of
    `dw/dt = w / (N (C + w^2)^2)`. So `w` grows as `(4t/N)^{1/4}`, and the
    ratio of any two goes to one.

    The form and the rate are the paper's, as others transcribe it; the
    constants are derived for this loss, zero mean of all features and plain
    gradient flow, and hold against the integrated flow.

    Args:
        initial: Array of shape `(r,)`, positive singular values at time 0.
        times: Array of shape `(T,)`, times of the flow, not negative.
        num_classes: Integer, `C`.
        num_examples: Integer, `N`; or the number of examples of each class,
            which must be equal.

    Returns:
        A float64 array of shape `(T, r)`.

    Raises:
        ValueError: If a singular value is not positive, a time negative, or
            the classes are of different sizes.

    Example:

    >>> from nc_keras.theory import central_path
    >>> w = central_path.predicted_snr([0.5, 2.0], [0.0, 1e9], 3, 30)
    >>> print(w.round(2))
    [[  0.5   2. ]
     [107.43 107.43]]

    Reference:

    - [Han, Papyan & Donoho, 2022](https://arxiv.org/abs/2106.02073).
    """
    initial, times = (
        np.asarray(initial, "float64"),
        np.asarray(times, "float64"),
    )
    if not (initial > 0).all() or not (times >= 0).all():
        raise ValueError(
            "Singular values must be positive, and times not negative. "
            f"Received: initial={initial}, times={times}."
        )
    if initial.ndim != 1 or times.ndim != 1:
        raise ValueError(
            "`initial` must have the shape (r,) and `times` the shape (T,). "
            f"Received: shapes {initial.shape} and {times.shape}."
        )
    equation = _Equation(num_classes, num_examples)
    begin = np.log(initial)
    target = equation.left(begin) + times[:, None]
    # From above Newton's steps on a convex function never overshoot.
    u = np.minimum(begin + times[:, None] / equation.c1, equation.above(target))
    u = np.maximum(u, begin)
    for _ in range(200):
        step = (equation.left(u) - target) / equation.slope(u)
        u = u - step
        if np.max(np.abs(step)) < 1e-14:
            break
    return np.exp(u)


@checked(
    times="array", snr="array", num_classes="integer", num_examples="values"
)
def fit_time_scale(
    times: Any, snr: Any, num_classes: int, num_examples: Any
) -> TimeFit:
    """Finds the time scale at which the closed form is nearest a training.

    A training has a time of its own, such as the sum of its learning rates,
    and what the flow of the features makes of it is not known: one number
    `s` is fitted. The closed form begins at the first row, at time zero, and
    the row of time `t` is compared with it at `s (t - times[0])`; `s` has the
    least squared differences of the logarithms. It is zero if standing still
    is nearest.

    Args:
        times: Array of shape `(T,)`, increasing, with `T` at least 2.
        snr: Array of shape `(T, r)`, the measured singular values.
        num_classes: Integer, `C`.
        num_examples: As in `predicted_snr`.

    Returns:
        The `TimeFit`.

    Raises:
        ValueError: If shapes do not fit, there are fewer than two rows, times
            do not increase, a singular value is not positive, or classes
            are of different sizes.

    Example:

    >>> from nc_keras.theory import central_path
    >>> times = np.array([0.0, 1.0, 10.0])
    >>> w = central_path.predicted_snr([0.5, 2.0], 500 * times, 3, 30)
    >>> print(f"{central_path.fit_time_scale(times, w, 3, 30).scale:.6g}")
    500

    Reference:

    - [Han, Papyan & Donoho, 2022](https://arxiv.org/abs/2106.02073), for the
      closed form; the fit is ours.
    """
    # Not for everybody who imports the library.
    from scipy.optimize import minimize_scalar

    times, measured = _validate_measured(times, snr)
    elapsed = times - times[0]

    def compared(scale):
        closed = predicted_snr(
            measured[0], scale * elapsed, num_classes, num_examples
        )
        ratios = np.log(closed[1:] / measured[1:])
        return math.sqrt(np.mean(ratios**2)), closed

    left = _Equation(num_classes, num_examples).left(np.log(measured))
    scales = (left - left[0])[1:] / elapsed[1:, None]
    best = 0.0
    if (scales > 0).any():
        # The scales of single values enclose that of all, unless some fall.
        low = np.log(scales[scales > 0].min())
        if (scales <= 0).any():
            low -= 20.0
        grid = np.linspace(low, np.log(scales.max()), 201)
        near = min(grid, key=lambda u: compared(math.exp(u))[0])
        width = grid[1] - grid[0] + 1e-6
        # About zero, where the search is most exact.
        shift = minimize_scalar(
            lambda u: compared(math.exp(near + u))[0] ** 2,
            bounds=(-width, width),
            method="bounded",
            options={"xatol": 1e-12},
        ).x
        found = math.exp(near + shift)
        best = min(0.0, found, key=lambda s: compared(s)[0])
    residual, closed = compared(best)
    return TimeFit(best, residual, closed)


class _Equation:
    """`c1 u + c2 e^2u + c3 e^4u`, convex in `u = log w`."""

    def __init__(self, num_classes, num_examples):
        if np.ndim(num_examples):
            counts = np.asarray(num_examples)
            if counts.shape != (num_classes,) or np.ptp(counts):
                raise ValueError(
                    "The closed form is for classes of equal size. Take as "
                    "many examples of each. Received: "
                    f"num_examples={counts.tolist()}, {num_classes=}."
                )
            num_examples = int(counts.sum())
        if num_classes < 2 or not num_examples > 0:
            raise ValueError(
                "At least two classes and an example are needed. "
                f"Received: {num_classes=}, {num_examples=}."
            )
        self.c1 = num_examples * num_classes**2
        self._c2 = num_examples * num_classes
        self._c3 = num_examples / 4

    def left(self, u):
        squares = np.exp(2 * u)
        return self.c1 * u + self._c2 * squares + self._c3 * squares**2

    def above(self, target):
        """More than the `u` whose left side that is."""
        return 0.25 * np.log(np.maximum(target / self._c3, 1.0)) + 1.0

    def slope(self, u):
        squares = np.exp(2 * u)
        return self.c1 + 2 * self._c2 * squares + 4 * self._c3 * squares**2


def _validate_measured(times, snr):
    times, snr = np.asarray(times, "float64"), np.asarray(snr, "float64")
    if snr.ndim != 2 or times.shape != snr.shape[:1] or len(snr) < 2:
        raise ValueError(
            "`snr` must have the shape (T, r), and `times` the shape (T,), "
            "with T at least 2. Received: snr of shape "
            f"{snr.shape}, times of shape {times.shape}."
        )
    if not (np.isfinite(snr).all() and snr.size and (snr > 0).all()):
        raise ValueError(
            "Singular values must be positive and finite; leave out the rows "
            "in which they are not. Received: "
            f"{np.sum(~(np.isfinite(snr) & (snr > 0)))} others of {snr.size}."
        )
    require_increasing(times)
    return times, snr
