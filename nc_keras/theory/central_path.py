"""The central path of the MSE loss: features whose head is always the best.

With the least-squares head for the features of every moment, the loss is a
function of the features alone, `L = (1/2CN) ||W_LS X - Y||^2`. Its gradient
flow, continually renormalised so that the within-class covariance stays the
identity, is governed by the singular values `w` of the signal-to-noise matrix
`Sigma_W^{-1/2} M`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nc_keras.labels import class_labels
from nc_keras.metrics.class_statistics import ClassStatistics


def snr(statistics: ClassStatistics) -> np.ndarray:
    """Singular values of the signal-to-noise matrix `Sigma_W^{-1/2} M`.

    All grow without bound, and to the same value, as a network collapses.

    Args:
        statistics: `ClassStatistics` with scatter.

    Returns:
        A float64 array of shape `(min(C - 1, D),)`, the largest first.

    Raises:
        ValueError: If there is no scatter, a class has no example, or
            `Sigma_W` is singular.

    Example:

    >>> from nc_keras.theory import central_path
    >>> h, y = [[0.0, 1.0], [2.0, -1.0], [5.0, 5.0], [5.5, 5.5]], [0, 0, 1, 1]
    >>> statistics = nc_keras.metrics.ClassStatistics.from_features(h, y)
    >>> central_path.snr(statistics).shape
    (1,)

    Reference:

    - [Han, Papyan & Donoho, 2022](https://arxiv.org/abs/2106.02073).
    """
    if statistics.scatter is None or not statistics.counts.all():
        raise ValueError(
            "The signal-to-noise matrix needs the scatter matrix, and an "
            "example of every class. Received: "
            f"counts={statistics.counts.tolist()}, "
            f"scatter={'None' if statistics.scatter is None else 'given'}."
        )
    means = statistics.means - statistics.means.mean(axis=0)
    covariance = statistics.scatter / statistics.counts.sum()
    values, vectors = np.linalg.eigh(covariance)
    if values[0] <= values[-1] * np.finfo("float64").eps * len(values):
        rank = np.sum(values > values[-1] * 1e-15 * len(values))
        raise ValueError(
            "Sigma_W must have full rank: there must be more examples than "
            "dimensions and classes together, and no dead unit. "
            f"Received: Sigma_W of shape {covariance.shape} and rank {rank}."
        )
    whitened = means @ vectors / np.sqrt(values)
    rank = min(len(means) - 1, len(values))
    return np.linalg.svd(whitened, compute_uv=False)[:rank]


def predicted_snr(
    initial: Any, times: Any, num_classes: int, num_examples: int
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
        num_examples: Integer, `N`.

    Returns:
        A float64 array of shape `(T, r)`.

    Raises:
        ValueError: If a singular value is not positive, or a time negative.

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
    c1, c2 = num_examples * num_classes**2, num_examples * num_classes
    c3 = num_examples / 4

    def left(u):
        """The left side as a function of `u = log w`, convex in it."""
        squares = np.exp(2 * u)
        return c1 * u + c2 * squares + c3 * squares**2

    def slope(u):
        squares = np.exp(2 * u)
        return c1 + 2 * c2 * squares + 4 * c3 * squares**2

    target = left(np.log(initial)) + times[:, None]
    # From above Newton's steps on a convex function never overshoot.
    u = np.log(initial) + times[:, None] / c1
    u = np.minimum(u, 0.25 * np.log(np.maximum(target / c3, 1.0)) + 1.0)
    u = np.maximum(u, np.log(initial))
    for _ in range(200):
        step = (left(u) - target) / slope(u)
        u = u - step
        if np.max(np.abs(step)) < 1e-14:
            break
    return np.exp(u)


def renormalized_flow(
    features: Any, labels: Any, times: Any, rtol: float = 1e-10
) -> np.ndarray:
    """Integrates the continually renormalised gradient flow of the features.

    `dX/dt` is minus the gradient of the loss, projected on the tangent space
    of `{Sigma_W(X) = I}`. The features are centred and whitened first; the
    head has no bias.

    Args:
        features: Array of shape `(N, D)`, with `N >= C + D`.
        labels: Integer or one-hot labels.
        times: Array of shape `(T,)`, increasing, not negative.
        rtol: Float, the relative tolerance of the integration.

    Returns:
        A float64 array of shape `(T, r)`: the singular values of the
        signal-to-noise matrix at each time.

    Raises:
        ValueError: If `Sigma_W` is singular, or the integration fails.

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
    # Not for everybody who imports the library.
    from scipy.integrate import solve_ivp

    labels, classes = class_labels(labels)
    start = ClassStatistics.from_features(features, labels, classes)
    snr(start)
    features = np.asarray(features, "float64")
    centered = features - start.means.mean(axis=0)
    covariance = start.scatter / len(labels)
    values, vectors = np.linalg.eigh(covariance)
    whitened = centered @ vectors / np.sqrt(values) @ vectors.T
    flow = _Flow(labels, classes)
    times = np.asarray(times, "float64")
    solution = solve_ivp(
        lambda _, x: flow.tangent(x.reshape(whitened.shape)).ravel(),
        (0.0, max(times[-1], 1e-12)),
        whitened.ravel(),
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
    return np.array(
        [
            snr(
                ClassStatistics.from_features(
                    x.reshape(whitened.shape), labels, classes
                )
            )
            for x in solution.y.T
        ]
    )


class _Flow:
    """The projected gradient flow of features with the least-squares head."""

    def __init__(self, labels, classes):
        self._targets = np.eye(classes)[labels]
        self._share = self._targets / self._targets.sum(axis=0)

    def tangent(self, x):
        """Minus the gradient at `X`, along `{Sigma_W(X) = I}`.

        `X` is whitened first: what the integration errs across that set
        would otherwise grow.
        """
        count, classes = self._targets.shape
        within = x - self._targets @ (self._share.T @ x)
        values, vectors = np.linalg.eigh(within.T @ within / count)
        whiten = vectors / np.sqrt(values) @ vectors.T
        x, within = x @ whiten, within @ whiten
        head = np.linalg.lstsq(x, self._targets, rcond=None)[0]
        z = -(x @ head - self._targets) @ head.T / (classes * count)
        products = z.T @ within
        normal = (products + products.T) / (2 * count)
        return z - within @ normal
