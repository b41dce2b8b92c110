"""Minimisers of unconstrained-features models with unequal classes.

`min (1/N) sum loss(W h, y) + (lw/2) ||W||^2 + (lh/2) sum_i ||h_i||^2`, with
`n_k` features of class `k`. The decays add up to `l ||D^(1/2) Z||_*` of the
logits `Z` of the class means, `l = sqrt(lw lh)`, `D` diagonal with `n_k`.
"""

from __future__ import annotations

import math

import numpy as np

from nc_keras.theory.class_groups import ClassGroups
from nc_keras.theory.imbalanced import ImbalancedMinimizer


def cross_entropy(
    groups: ClassGroups,
    weight_decay: float,
    feature_decay: float,
    label_smoothing: float = 0.0,
) -> ImbalancedMinimizer:
    """Under cross-entropy, a convex program.

    Classifiers of classes with `n` examples coincide from `sqrt(n) <= l N`
    on: the gradient of what is across their mean is `(1 - a) sqrt(n) / N`
    there, whatever the other classes do.

    Args:
        groups: The classes.
        weight_decay: Float, `lw`.
        feature_decay: Float, `lh`.
        label_smoothing: Float, `a`.
    """
    price = math.sqrt(weight_decay * feature_decay)
    rows = np.sqrt(groups.sizes)

    def gradient(at):
        logits = groups.scaled_rows(at, 1 / rows)
        slope = groups.cross_entropy(logits, label_smoothing)[1]
        return groups.scaled_rows(slope, 1 / rows)

    total = groups.counts.sum()
    scaled = groups.minimized(
        gradient, 2.0 * total, lambda at, step: groups.shrunk(at, step * price)
    )
    logits = groups.scaled_rows(scaled, 1 / rows)
    loss, _ = groups.cross_entropy(logits, label_smoothing)
    features, weights, values = groups.factors(scaled)
    features = groups.scaled_rows(features, 1 / rows)
    nuclear = (groups.members - 1) @ values.across + values.among.sum()
    scale = (feature_decay / weight_decay) ** 0.25
    is_alike = (1 - label_smoothing) * rows <= price * total
    is_alike &= groups.members > 1
    return ImbalancedMinimizer(
        groups.counts,
        groups.expanded(weights * scale),
        groups.expanded(features * (1 / scale)),
        loss + price * float(nuclear),
        is_alike[groups.group],
    )


def rectified_cross_entropy(
    groups: ClassGroups, weight_decay: float, feature_decay: float
) -> ImbalancedMinimizer:
    """Under cross-entropy, with features that are not negative.

    Class means are orthogonal, and classes do not see each other: each has
    the margin `log((K - 1) (1 - q) / q)`, `q = N l sqrt((K - 1) / (K n))`,
    or none where `n <= N^2 lw lh K / (K - 1)`.

    Args:
        groups: The classes.
        weight_decay: Float, `lw`.
        feature_decay: Float, `lh`.
    """
    counts = groups.counts
    classes, total = counts.size, counts.sum()
    price = math.sqrt(weight_decay * feature_decay)
    wrong = total * price * np.sqrt((classes - 1) / (classes * counts))
    is_zero = wrong >= (classes - 1) / classes
    wrong = np.minimum(wrong, (classes - 1) / classes)
    margin = np.log((classes - 1) * (1 - wrong) / wrong)
    margin = np.where(is_zero, 0.0, margin)
    size = margin * math.sqrt((classes - 1) / classes)
    of_features = np.sqrt(weight_decay / (feature_decay * counts)) * size
    of_weights = np.sqrt(counts * feature_decay / weight_decay) * size
    centred = np.eye(classes) - 1 / classes
    centred *= math.sqrt(classes / (classes - 1))
    missed = np.log1p((classes - 1) * np.exp(-margin))
    loss = counts @ missed / total + price * np.sqrt(counts) @ size
    return ImbalancedMinimizer(
        counts,
        centred * np.sqrt(of_weights),
        np.diag(np.sqrt(of_features)),
        float(loss),
        is_zero,
    )


def mean_squared_error(
    groups: ClassGroups,
    weight_decay: float,
    feature_decay: float,
    target: float = 1.0,
    factor: float = 1.0,
) -> ImbalancedMinimizer:
    """Under `factor / 2` times the squared error, without a bias.

    An orthogonal frame: classes have the singular values
    `(M sqrt(n) - N l / factor)_+`, zero where `n <= (N l / (M factor))^2`.

    Args:
        groups: The classes.
        weight_decay: Float, `lw`.
        feature_decay: Float, `lh`.
        target: Float, `M`.
        factor: Float.
    """
    counts = groups.counts
    total = counts.sum()
    price = math.sqrt(weight_decay * feature_decay)
    values = target * np.sqrt(counts) - total * price / factor
    values = np.maximum(values, 0.0)
    misses = counts @ (values / np.sqrt(counts) - target) ** 2
    loss = factor * misses / (2 * total) + price * values.sum()
    scale = math.sqrt(feature_decay / weight_decay)
    return ImbalancedMinimizer(
        counts,
        np.diag(np.sqrt(scale * values)),
        np.diag(np.sqrt(values / scale / counts)),
        float(loss),
        values == 0,
    )
