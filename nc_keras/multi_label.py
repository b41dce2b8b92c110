"""Neural collapse where an example can have several labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from nc_keras.arguments import real_array
from nc_keras.errors import NonFiniteError
from nc_keras.measuring.class_statistics import validate_features
from nc_keras.measuring.extractor import extractor_of
from nc_keras.metrics.collapse_metrics import collapse_metrics

__all__ = ["LabelSets", "collapse_of_sets", "measure"]


@dataclasses.dataclass(frozen=True)
class LabelSets:
    """What is known of the features of each set of labels.

    Args:
        metrics: Dictionary of floats: the ordinary metrics of the examples
            with one label, and

            - `nc_m`: the mean angle of the mean of two labels to the sum of
              the means of each, over the mean angle of all such means to all
              such sums; it goes to 0, and is NaN where no example has two
              labels;
            - `nc_m_angle`: the mean angle, in degrees, of the mean of each
              set of two labels or more to the sum of its labels' means;
            - `nc_m_span`: the same to the span of its labels' means, which
              is smaller where they are summed with unequal weights.
        counts: Dictionary from a set, a tuple of labels, to its examples.
        angles: Dictionary from each set of two labels or more to the angle of
            its mean to the sum of its labels' means, in degrees.
    """

    metrics: dict[str, Any]
    counts: dict[tuple[int, ...], int]
    angles: dict[tuple[int, ...], float]


def measure(
    model: keras.Model,
    x: Any,
    labels: Any,
    batch_size: int | None = None,
    metrics: Any = None,
) -> LabelSets:
    """Measures the features before a model's head by their sets of labels.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(16,))
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 4))
    >>> y = np.tile([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], (15, 1))
    >>> found = nc_keras.multi_label.measure(model, x, y, metrics=["nc1"])
    >>> sorted(found.metrics)
    ['nc1', 'nc_m', 'nc_m_angle', 'nc_m_span']

    Args:
        model: A built `keras.Model` with a linear head.
        x: Array of `N` examples.
        labels: Array of shape `(N, C)` of zeros and ones.
        batch_size: Integer; by default one that suits the model.
        metrics: As in `nc_keras.metrics.collapse_metrics`.

    Raises:
        ValueError: As `collapse_of_sets` does.
    """
    extractor = extractor_of(model)
    features, _ = extractor(x, np.zeros(len(x), "int64"), batch_size)
    head = extractor.kernel, extractor.bias
    return collapse_of_sets(features, labels, *head, metrics=metrics)


def collapse_of_sets(
    features: Any,
    labels: Any,
    kernel: Any = None,
    bias: Any = None,
    *,
    metrics: Any = None,
) -> LabelSets:
    """Measures features by their sets of labels.

    Example:

    >>> means = np.eye(3)
    >>> y = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]])
    >>> features = np.concatenate([y @ means, y @ means])
    >>> labels = np.concatenate([y, y])
    >>> found = nc_keras.multi_label.collapse_of_sets(features, labels)
    >>> print(f"{found.metrics['nc1']:.3f} {found.metrics['nc_m']:.3f}")
    0.000 0.000

    Args:
        features: Array of shape `(N, D)`.
        labels: Array of shape `(N, C)` of zeros and ones. Examples of no
            label are left out.
        kernel: Array of shape `(D, C)`, the head's, or `None`.
        bias: Array of shape `(C,)` or `None`.
        metrics: Tags of the ordinary metrics, which are measured of the
            examples with one label. As in `nc_keras.metrics.collapse_metrics`.

    Raises:
        NonFiniteError: If a feature is NaN or infinite (a `ValueError`).
        ValueError: If the shapes do not fit, a label is neither 0 nor 1, or
            some label never stands alone.

    Reference:

    - [Li et al., 2023](https://arxiv.org/abs/2310.15903): neural collapse in
      multi-label learning. Its code divides the centre of examples with one
      label by the number of all; here each mean is one.
    """
    labels = _multi_hot(labels)
    features = validate_features(features, labels)
    if not np.isfinite(features).all():
        raise NonFiniteError("Some features are NaN or infinite.")
    sets, group, counts = np.unique(
        labels, axis=0, return_inverse=True, return_counts=True
    )
    group = group.reshape(-1)
    sizes = sets.sum(axis=1)
    _require_single(sets[sizes == 1])
    alone = sizes[group] == 1
    found = collapse_metrics(
        features[alone],
        labels[alone].argmax(axis=1),
        kernel,
        bias,
        labels.shape[1],
        metrics=metrics,
    )
    means = _means(features, group, counts)
    of_label = np.empty((labels.shape[1], features.shape[1]))
    of_label[sets[sizes == 1].argmax(axis=1)] = means[sizes == 1]
    several = sizes > 1
    angles = _angles(means[several], sets[several] @ of_label)
    spans = [
        _to_span(mean, of_label[labels > 0])
        for mean, labels in zip(means[several], sets[several], strict=True)
    ]
    found |= {
        "nc_m": _nc_m(means[sizes == 2], sets[sizes == 2], of_label),
        "nc_m_angle": _mean(angles),
        "nc_m_span": _mean(spans),
    }
    names = [tuple(np.flatnonzero(one).tolist()) for one in sets]
    named = [name for name in names if len(name) > 1]
    return LabelSets(
        found,
        dict(zip(names, counts.tolist(), strict=True)),
        dict(zip(named, angles.tolist(), strict=True)),
    )


def _means(features, group, counts):
    """The mean of each group, of features in float64."""
    order = np.argsort(group, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(features[order].astype("float64"), starts, axis=0)
    return sums / counts[:, None]


def _nc_m(means, pairs, of_label):
    """The angles to the own sums, over those to the sums of any two."""
    if not len(means):
        return np.nan
    first, second = np.triu_indices(len(of_label), 1)
    sums = of_label[first] + of_label[second]
    own = _angles(means, pairs @ of_label).mean()
    return float(own / _between(means, sums).mean())


def _angles(a, b):
    """The angle of each row of `a` to that of `b`, in degrees."""
    a, b = _unit(a), _unit(b)
    # Of two unit vectors, exact for small angles too.
    chords = np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1)
    return np.degrees(2 * np.arctan2(*chords))


def _between(a, b):
    """The angles of all rows of `a` to all of `b`, in degrees."""
    cosines = _unit(a) @ _unit(b).T
    return np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))


def _to_span(vector, rows):
    basis, singular, _ = np.linalg.svd(rows.T, full_matrices=False)
    small = len(rows) * np.finfo("float64").eps * singular[0]
    basis = basis[:, singular > small]
    inside = basis @ (basis.T @ vector)
    outside = np.linalg.norm(vector - inside)
    return np.degrees(np.arctan2(outside, np.linalg.norm(inside)))


def _unit(rows):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(
        rows, norms, out=np.full_like(rows, np.nan), where=norms > 0
    )


def _mean(values):
    return float(np.mean(values)) if len(values) else np.nan


def _multi_hot(labels):
    array = real_array(labels, "`labels`")
    if array.ndim != 2 or array.shape[1] < 2 or not len(array):
        raise ValueError(
            "`labels` must have the shape (N, C), with a 1 for each label of "
            f"an example. Received: labels of shape {array.shape}."
        )
    if not np.isin(array, (0, 1)).all():
        wrong = array[~np.isin(array, (0, 1))][0]
        raise ValueError(
            f"`labels` must be zeros and ones. Received: {wrong} among them."
        )
    return array.astype("int64")


def _require_single(sets):
    missing = np.flatnonzero(~sets.any(axis=0))
    if len(missing):
        raise ValueError(
            "Each label needs an example that has no other one, for its mean "
            f"is that of these. Received: none of label {missing[0]}, and of "
            f"{len(missing)} labels in all."
        )
