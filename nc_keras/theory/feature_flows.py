"""Gradient flows of features whose head is always the best."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from nc_keras.arguments import checked
from nc_keras.labels import class_labels
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.metrics.snr import snr
from nc_keras.metrics.snr import whitening
from nc_keras.theory.integration import integrate


@dataclasses.dataclass(frozen=True, eq=False)
class GradientFlow:
    """Features along their gradient flow.

    Attributes:
        times: Array of shape `(T,)`.
        features: Array of shape `(T, N, D)`, centred.
        snr: Array of shape `(T, r)`, their signal-to-noise singular values.
        loss: Array of shape `(T,)`, that of the least-squares head.

    Args:
        times: See the attributes; so for the other arguments.

    Example:

    >>> from nc_keras.theory import central_path
    >>> flow = central_path.gradient_flow(
    ...     [[0.0], [1.0], [3.0], [3.5]], [0, 0, 1, 1], [0.0, 1.0]
    ... )
    >>> flow.features.shape, bool(flow.loss[1] < flow.loss[0])
    ((2, 4, 1), True)
    """

    times: np.ndarray
    features: np.ndarray
    snr: np.ndarray
    loss: np.ndarray


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
    small `N D`. `central_path.predicted_snr` has the values at once.

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
    start = flow.start @ whitening(flow.statistics(flow.start))
    path = integrate(flow.tangent, start, times, rtol, progress)
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
    >>> np.allclose(*moments) and bool(flow.loss[1] < flow.loss[0])
    True

    Reference:

    - [Han, Papyan & Donoho, 2022](https://arxiv.org/abs/2106.02073), for the
      loss as a function of the features.
    """
    flow = _Flow(features, labels)
    snr(flow.statistics(flow.start))
    path = integrate(flow.velocity, flow.start, times, rtol, progress)
    return GradientFlow(
        times=np.asarray(times, "float64"),
        features=path,
        snr=np.array([snr(flow.statistics(x)) for x in path]),
        loss=np.array([flow.loss(x) for x in path]),
    )


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
