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
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from nc_keras.arguments import checked
from nc_keras.labels import class_labels
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.class_statistics import validate_statistics


class SingularError(ValueError):
    """`Sigma_W` is singular where features vary: the ratio is infinite."""


@dataclasses.dataclass(frozen=True, eq=False)
class GradientFlow:
    """Features along their gradient flow.

    Attributes:
        times: Array of shape `(T,)`.
        features: Array of shape `(T, N, D)`, centred.
        snr: Array of shape `(T, r)`, their signal-to-noise singular values.
        loss: Array of shape `(T,)`, that of the least-squares head.

    Args:
        times: As above, and so are all the others.

    Example:

    >>> from nc_keras.theory import central_path
    >>> flow = central_path.gradient_flow(
    ...     [[0.0], [1.0], [3.0], [3.5]], [0, 0, 1, 1], [0.0, 1.0]
    ... )
    >>> flow.features.shape, flow.loss[1] < flow.loss[0]
    ((2, 4, 1), np.True_)
    """

    times: np.ndarray
    features: np.ndarray
    snr: np.ndarray
    loss: np.ndarray


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
        scale: As above, and so are all the others.

    Example:

    >>> from nc_keras.theory import central_path
    >>> fit = central_path.fit_time_scale([0, 1], [[0.5], [0.5]], 2, 10)
    >>> fit.scale, fit.residual
    (0.0, 0.0)
    """

    scale: float
    residual: float
    predicted: np.ndarray


def snr(statistics: ClassStatistics) -> np.ndarray:
    """Singular values of the signal-to-noise matrix `Sigma_W^{-1/2} M`.

    All grow without bound, and to the same value, as a network collapses.

    Directions in which no feature varies, such as a unit that is dead for
    all examples, are left out, which changes nothing; where features vary in
    fewer than `C - 1` directions, the last values are zero. A direction in
    which class means differ while every example is at the mean of its class
    has an infinite ratio, and is an error.

    Args:
        statistics: `ClassStatistics` with scatter.

    Returns:
        A float64 array of shape `(min(C - 1, D),)`, the largest first.

    Raises:
        SingularError: If `Sigma_W` is singular where features vary.
        ValueError: If there is no scatter, or a class has no example.

    Example:

    >>> from nc_keras.theory import central_path
    >>> h, y = [[0.0, 1.0], [2.0, -1.0], [5.0, 5.0], [5.5, 5.5]], [0, 0, 1, 1]
    >>> statistics = nc_keras.metrics.ClassStatistics.from_features(h, y)
    >>> central_path.snr(statistics).shape
    (1,)

    Reference:

    - [Han, Papyan & Donoho, 2022](https://arxiv.org/abs/2106.02073).
    """
    whitened = _centered(statistics) @ _whitening(statistics)
    values = np.zeros(min(len(whitened) - 1, statistics.means.shape[1]))
    found = np.linalg.svd(whitened, compute_uv=False)[: len(values)]
    values[: len(found)] = found
    return values


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


@checked(features="array", labels="array", times="array", rtol="number")
def renormalized_flow(
    features: Any,
    labels: Any,
    times: Any,
    rtol: float = 1e-10,
    progress: bool = False,
) -> np.ndarray:
    """Integrates the continually renormalised gradient flow of the features.

    `dX/dt` is minus the gradient of the loss, projected on the tangent space
    of `{Sigma_W(X) = I}`. The features are centred and whitened first; the
    head has no bias.

    All features are integrated, by an explicit method: this is for checks at
    small `N D`. `predicted_snr` has the values at once.

    Args:
        features: Array of shape `(N, D)`, with `N >= C + D`.
        labels: Integer or one-hot labels.
        times: Array of shape `(T,)`, increasing, not negative.
        rtol: Float, the relative tolerance of the integration.
        progress: Boolean, whether to draw a progress bar over the time of
            the flow.

    Returns:
        A float64 array of shape `(T, r)`: the singular values of the
        signal-to-noise matrix at each time.

    Raises:
        ValueError: If `Sigma_W` is singular, `times` are none, or the
            integration fails.

    Example:

    >>> from nc_keras.theory import central_path
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1, 2], 10)
    >>> h = np.eye(3, 4)[y] + rng.normal(size=(30, 4))
    >>> flow = central_path.renormalized_flow(h, y, [0.0, 50.0])
    >>> closed = central_path.predicted_snr(flow[0], [0.0, 50.0], 3, 30)
    >>> np.allclose(flow, closed, rtol=1e-6)
    True

    Reference:

    - [Han, Papyan & Donoho, 2022](https://arxiv.org/abs/2106.02073).
    """
    flow = _Flow(features, labels)
    start = flow.start @ _whitening(flow.statistics(flow.start))
    path = _integrate(flow.tangent, start, times, rtol, progress)
    return np.array([snr(flow.statistics(x)) for x in path])


@checked(features="array", labels="array", times="array", rtol="number")
def gradient_flow(
    features: Any,
    labels: Any,
    times: Any,
    rtol: float = 1e-10,
    progress: bool = False,
) -> GradientFlow:
    """Integrates the gradient flow of the features as it is.

    `dX/dt` is minus the gradient of the loss with the least-squares head of
    every moment, which has no bias; nothing is renormalised. The features are
    centred first, and stay so, as if the bias were free.

    A linear map of all features changes the best head but not the loss, so
    that `X'X` stays what it was: within-class variance turns into distance of
    the means. From features with `Sigma_W = I` the singular values begin to
    grow `(C + w^2) / C` times as fast as in the renormalised flow, and are
    `w exp(t / (C N (C + w^2)))` at all times: the small ones overtake the
    large ones, and their ratio does not go to one. (Derived here, and checked
    against the integration.)

    All features are integrated, by an explicit method: this is for checks at
    small `N D`. Features whose variance differs much between directions take
    many steps.

    Args:
        features: Array of shape `(N, D)`, with `N >= C + D`.
        labels: Integer or one-hot labels.
        times: Array of shape `(T,)`, increasing, not negative.
        rtol: Float, the relative tolerance of the integration.
        progress: Boolean, whether to draw a progress bar over the time of
            the flow.

    Returns:
        A `GradientFlow`.

    Raises:
        ValueError: If `Sigma_W` is singular, `times` are none, or the
            integration fails.

    Example:

    >>> from nc_keras.theory import central_path
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1, 2], 10)
    >>> h = np.eye(3, 4)[y] + rng.normal(size=(30, 4))
    >>> flow = central_path.gradient_flow(h, y, [0.0, 50.0])
    >>> moments = [x.T @ x for x in flow.features]
    >>> np.allclose(*moments) and flow.loss[1] < flow.loss[0]
    np.True_

    Reference:

    - [Han, Papyan & Donoho, 2022](https://arxiv.org/abs/2106.02073), for the
      loss as a function of the features.
    """
    flow = _Flow(features, labels)
    snr(flow.statistics(flow.start))
    path = _integrate(flow.velocity, flow.start, times, rtol, progress)
    return GradientFlow(
        times=np.asarray(times, "float64"),
        features=path,
        snr=np.array([snr(flow.statistics(x)) for x in path]),
        loss=np.array([flow.loss(x) for x in path]),
    )


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


class _Flow:
    """The gradient flow of features with the least-squares head."""

    def __init__(self, features, labels):
        self._labels, self._classes = class_labels(labels)
        start = self.statistics(features)
        self._targets = np.eye(self._classes)[self._labels]
        self._share = self._targets / start.counts.clip(1)
        self.start = np.asarray(features, "float64") - start.means.mean(axis=0)

    def statistics(self, x):
        return ClassStatistics.from_features(x, self._labels, self._classes)

    def loss(self, x):
        head = self._head(x)
        return np.mean((x @ head - self._targets) ** 2) / 2

    def velocity(self, x):
        """Minus the gradient at `X`: that of a head that stands still."""
        head = self._head(x)
        return (self._targets - x @ head) @ head.T / self._targets.size

    def tangent(self, x):
        """Minus the gradient at `X`, along `{Sigma_W(X) = I}`.

        `X` is whitened first: what the integration errs across that set
        would otherwise grow.
        """
        count = len(x)
        within = x - self._targets @ (self._share.T @ x)
        values, vectors = np.linalg.eigh(within.T @ within / count)
        whiten = vectors / np.sqrt(values) @ vectors.T
        x, within = x @ whiten, within @ whiten
        z = self.velocity(x)
        products = z.T @ within
        normal = (products + products.T) / (2 * count)
        return z - within @ normal

    def _head(self, x):
        return np.linalg.lstsq(x, self._targets, rcond=None)[0]


def _centered(statistics):
    validate_statistics(statistics)
    if statistics.scatter is None or not statistics.counts.all():
        raise ValueError(
            "The signal-to-noise matrix needs the scatter matrix, and an "
            "example of every class. Received: "
            f"counts={statistics.counts.tolist()}, "
            f"scatter={'None' if statistics.scatter is None else 'given'}."
        )
    return statistics.means - statistics.means.mean(axis=0)


def _whitening(statistics):
    """`B` of shape `(D, r)`, `B' Sigma_W B = I`, where features vary."""
    means = _centered(statistics)
    covariance = statistics.scatter / statistics.counts.sum()
    # What a feature is measured in matters for the rounding alone.
    unit = np.sqrt(np.diag(covariance))
    unit = np.where(unit > 0, unit, np.sqrt(np.mean(means**2, axis=0)))
    unit = np.where(unit > 0, unit, 1.0)
    within = covariance / np.outer(unit, unit)
    between = (means / unit).T @ (means / unit)
    # Each to its own scale: collapsed features vary much less within.
    both = sum(part / (np.trace(part) or 1.0) for part in (within, between))
    tolerance = np.finfo("float64").eps * len(both)
    values, vectors = np.linalg.eigh(both)
    basis = vectors[:, values > 10 * tolerance * values[-1]]
    values, vectors = np.linalg.eigh(basis.T @ within @ basis)
    rank = np.sum(values > tolerance * max(values, default=0.0))
    if not 0 < rank == len(values):
        raise SingularError(
            "Sigma_W must have full rank where features vary: there must be "
            "more examples than dimensions and classes together, and no "
            "feature that is constant in every class but not between them. "
            f"Received: features that vary in {len(values)} directions, and "
            f"Sigma_W of rank {rank}."
        )
    return basis @ vectors / np.sqrt(values) / unit[:, None]


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
    _require_increasing(times)
    return times, snr


def _require_increasing(times):
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError(
            f"`times` must increase, and be finite. Received: times={times}."
        )


def _integrate(
    velocity: Callable, start: Any, times: Any, rtol: float, progress: bool
) -> np.ndarray:
    """The path of `dX/dt = velocity(X)`, of shape `(T, N, D)`."""
    # Not for everybody who imports the library.
    from scipy.integrate import solve_ivp

    times = np.asarray(times, "float64")
    if times.ndim != 1 or not times.size or times[0] < 0:
        raise ValueError(
            "`times` must be an array of times that are not negative. "
            f"Received: times={times}."
        )
    _require_increasing(times)
    end = max(times[-1], 1e-12)
    bar = keras.utils.Progbar(100, unit_name="%") if progress else None

    def derivative(time, x):
        if bar is not None:
            bar.update(int(100 * time / end))
        return velocity(x.reshape(start.shape)).ravel()

    solution = solve_ivp(
        derivative,
        (0.0, end),
        start.ravel(),
        method="DOP853",
        t_eval=times,
        rtol=rtol,
        atol=1e-12,
    )
    if not solution.success:
        raise ValueError(
            "The flow could not be integrated. Received: times up to "
            f"{times[-1]}. {solution.message}"
        )
    return solution.y.T.reshape(len(times), *start.shape)
