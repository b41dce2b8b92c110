"""Perturbed examples, and whether they stay with the class means."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from nc_keras.arguments import checked
from nc_keras.input_gradients import InputGradients
from nc_keras.input_gradients import chunks
from nc_keras.input_gradients import images_of
from nc_keras.input_gradients import require_raw
from nc_keras.labels import class_labels
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.class_statistics import validate_features
from nc_keras.measuring.extractor import extractor_of
from nc_keras.metrics.collapse_metrics import collapse_metrics

__all__ = ["collapse_of_perturbed", "measure", "pgd"]

# What depends on class means and within-class covariance alone.
_OF_SCATTER = ("nc1", "nc1_trace_ratio", "nc1_cdnv")


@checked(epsilon="number", steps="integer", rate="number", batch_size="integer")
def pgd(
    model: keras.Model,
    x: Any,
    y: Any,
    epsilon: float,
    steps: int = 10,
    rate: float | None = None,
    *,
    norm: str = "linf",
    targeted: bool = False,
    bounds: tuple[float, float] | None = None,
    seed: int | None = 0,
    batch_size: int = 256,
) -> np.ndarray:
    """Perturbs examples within a ball, by projected gradient descent.

    Each step goes up the cross-entropy of the labels, by the sign of the
    gradient (`"linf"`) or by its direction (`"l2"`), and back into the ball
    around the example. It begins at a random point of the ball.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x = np.random.default_rng(0).normal(size=(6, 4))
    >>> moved = nc_keras.adversarial.pgd(model, x, np.arange(6) % 3, 0.1)
    >>> bool(np.abs(moved - x).max() <= 0.1 + 1e-6)
    True

    Args:
        model: A built `keras.Model` with raw outputs, one per class.
        x: Float array of examples, as the model was trained with them.
        y: Integer or one-hot labels, shape `(N,)` or `(N, C)`.
        epsilon: Float, the radius of the ball, in units of `x`.
        steps: Integer.
        rate: Float, the length of a step. Defaults to `2.5 epsilon / steps`.
        norm: `"linf"` or `"l2"`.
        targeted: Boolean, whether to go down instead, to labels that the
            examples shall be taken for.
        bounds: Smallest and largest value that an example may have, or
            `None`.
        seed: Integer, of where it begins; `None` begins at the examples.
        batch_size: Integer.

    Returns:
        Array of the shape of `x`, float32.

    Raises:
        ValueError: If an argument is out of range, the outputs are
            probabilities, or something is not finite.

    Reference:

    - [Madry et al., 2018](https://arxiv.org/abs/1706.06083).
    """
    is_rate = rate is None or rate > 0
    if not epsilon > 0 or steps < 1 or not is_rate or batch_size < 1:
        raise ValueError(
            "`epsilon`, `steps`, `rate` and `batch_size` must be positive. "
            f"Received: {epsilon=}, {steps=}, {rate=}, {batch_size=}."
        )
    if norm not in _NORMS:
        raise ValueError(
            f'`norm` must be "linf" or "l2". Received: norm={norm!r}.'
        )
    x = images_of(x)
    if bounds is not None and not bounds[0] <= x.min() <= x.max() <= bounds[1]:
        raise ValueError(
            "The examples must lie within `bounds`, from the smallest value to "
            f"the largest. Received: {bounds=}, and examples from {x.min():.6g}"
            f" to {x.max():.6g}."
        )
    network = InputGradients(model, x.shape[1:], batch_size)
    network.read_variables()
    outputs = network.outputs(x)
    require_raw(outputs)
    labels, _ = class_labels(y, outputs.shape[1])
    if len(labels) != len(x):
        raise ValueError(
            "There must be one label per example. "
            f"Received: {len(x)} examples, {len(labels)} labels."
        )
    direction, within = _NORMS[norm]
    rate = 2.5 * epsilon / steps if rate is None else rate
    rate = -rate if targeted else rate
    shift = np.zeros_like(x)
    if seed is not None:
        shift = _random(np.random.default_rng(seed), x.shape, norm, epsilon)
    target = np.eye(outputs.shape[1])[labels]
    for _ in range(steps):
        gradient = _of_cross_entropy(
            network, _clipped(x + shift, bounds), target
        )
        shift = within(shift + rate * direction(gradient), epsilon)
        shift = _clipped(x + shift, bounds) - x
    return _clipped(x + shift, bounds)


def measure(
    model: keras.Model,
    x: Any,
    perturbed: Any,
    y: Any,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Measures perturbed examples by the class means of the clean ones.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x, y = np.random.default_rng(0).normal(size=(6, 4)), np.arange(6) % 3
    >>> moved = nc_keras.adversarial.pgd(model, x, y, 0.5)
    >>> found = nc_keras.adversarial.measure(model, x, moved, y)
    >>> found["nc1"] > nc_keras.measure(model, x, y)["nc1"]
    True

    Args:
        model: A built `keras.Model` with a linear head.
        x: Array of clean examples.
        perturbed: Array of the same examples, perturbed.
        y: Integer or one-hot labels of both.
        batch_size: Integer; by default one that suits the model.

    Returns:
        Dictionary as that of `collapse_of_perturbed`.

    Raises:
        ValueError: As `collapse_of_perturbed` does.
    """
    extractor = extractor_of(model)
    features, labels = extractor(x, y, batch_size)
    moved, _ = extractor(perturbed, y, batch_size)
    head = extractor.kernel, extractor.bias
    return collapse_of_perturbed(features, moved, labels, *head)


def collapse_of_perturbed(
    features: Any,
    perturbed: Any,
    labels: Any,
    kernel: Any = None,
    bias: Any = None,
) -> dict[str, float]:
    """Collapse of perturbed features, by the class means of clean ones.

    Means are those of clean features, and the within-class covariance is that
    of the perturbed ones around them: where perturbed examples leave their
    class together, it grows, as it would not around a mean of their own.

    Example:

    >>> features = np.array([[1.0, 0], [1.2, 0], [-1.0, 0], [-1.2, 0]])
    >>> labels = np.array([0, 0, 1, 1])
    >>> adversarial = nc_keras.adversarial
    >>> found = adversarial.collapse_of_perturbed(
    ...     features, features + [0.5, 0], labels
    ... )
    >>> sorted(found)
    ['nc1', 'nc1_cdnv', 'nc1_trace_ratio', 'ncc_accuracy']

    Args:
        features: Array of shape `(N, D)`, of clean examples.
        perturbed: Array of shape `(N, D)`, of the same examples.
        labels: Integer or one-hot labels of both.
        kernel: Array of shape `(D, C)`, the head's, or `None`.
        bias: Array of shape `(C,)` or `None`.

    Returns:
        Dictionary of floats: `nc1`, `nc1_trace_ratio` and `nc1_cdnv` of this
        covariance, `ncc_accuracy` of perturbed examples by the nearest clean
        mean, and, with a head, `nc4` and `accuracy` of the perturbed ones.
        Where nothing is perturbed they are those of
        `nc_keras.metrics.collapse_metrics`. NC2 and NC3 are the clean ones.

    Raises:
        NonFiniteError: If a feature or weight is NaN or infinite (a
            `ValueError`).
        ValueError: If the shapes do not fit, or a class has no example.

    Reference:

    - [Su, Zhang, Tsilivis & Kempe, 2024](https://arxiv.org/abs/2311.07444).
    """
    labels, classes = class_labels(labels)
    statistics = ClassStatistics.from_features(features, labels, classes)
    moved = validate_features(perturbed, labels).astype("float64")
    means = statistics.means
    if moved.shape[1] != means.shape[1]:
        raise ValueError(
            "Clean and perturbed features must have the same length. Received: "
            f"{means.shape[1]} and {moved.shape[1]}."
        )
    # What lies as far on the other side of its mean leaves the mean alone.
    mirrored = np.concatenate([moved, 2 * means[labels] - moved])
    found = collapse_metrics(
        mirrored,
        np.tile(labels, 2),
        num_classes=len(means),
        metrics=_OF_SCATTER,
    )
    decided = ["ncc_accuracy"]
    if kernel is not None:
        decided += ["nc4", "accuracy"]
    return found | collapse_metrics(
        moved,
        labels,
        kernel,
        bias,
        len(means),
        train_means=means,
        metrics=decided,
    )


def _of_cross_entropy(network, x, target):
    """The gradient of each example's cross-entropy by its inputs."""
    outputs = network.outputs(x)
    shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    error = shares / shares.sum(axis=1, keepdims=True) - target
    return np.concatenate(
        [
            network.gradients(x[rows], error[rows].astype("float32"))
            for rows in chunks(len(x), network.batch_size)
        ]
    )


def _random(rng, shape, norm, epsilon):
    """Uniform in the ball, float32."""
    if norm == "linf":
        return rng.uniform(-epsilon, epsilon, shape).astype("float32")
    direction = _along(rng.normal(size=shape))
    radius = rng.uniform(size=len(direction)) ** (1 / np.prod(shape[1:]))
    radius = radius.reshape(-1, *[1] * (len(shape) - 1))
    return (epsilon * radius * direction).astype("float32")


def _along(gradient):
    lengths = _lengths(gradient)
    return np.divide(
        gradient, lengths, out=np.zeros_like(gradient), where=lengths > 0
    )


def _lengths(array):
    squares = np.sum(
        array.astype("float64") ** 2, axis=tuple(range(1, array.ndim))
    )
    return (
        np.sqrt(squares)
        .reshape(-1, *[1] * (array.ndim - 1))
        .astype(array.dtype)
    )


def _in_cube(shift, epsilon):
    return np.clip(shift, -epsilon, epsilon)


def _in_ball(shift, epsilon):
    lengths = _lengths(shift)
    return shift * np.minimum(1, epsilon / np.maximum(lengths, epsilon))


def _clipped(x, bounds):
    x = x.astype("float32")
    return x if bounds is None else np.clip(x, *bounds)


_NORMS: dict[str, Any] = {"linf": (np.sign, _in_cube), "l2": (_along, _in_ball)}
