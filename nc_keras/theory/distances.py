"""Metrics: how far head and class means are from what theory predicts.

Both predictions know how many training examples each class has. That of
vanishing decay, SELI, is reached only with the logarithm of the decay; that of
unconstrained features is at the network's own decay. Values are NaN where a
class has no training example, of more than 1,024 classes, and, for
unconstrained features, of more than 128 different sizes of classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from nc_keras.measuring.examples import Examples
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import metric
from nc_keras.theory import unconstrained_features
from nc_keras.theory.simplex_labels import seli

_SHARED: dict[str, Any] = {
    "default": False,
    "group": "Imbalance",
    "title": "distance of Gram matrices to theory",
    "goal": "0",
}


# Gram matrices, and the program for them, of more would take minutes.
_MOST_CLASSES, _MOST_SIZES = 1024, 128


def gram_distance(gram: Any, other: Any) -> float:
    """`||A / ||A|| - B / ||B|| ||_F` of two Gram matrices, from 0 to 2.

    Args:
        gram: Array of shape `(C, C)`, `A`.
        other: Array of shape `(C, C)`, `B`.
    """
    difference = gram / np.linalg.norm(gram) - other / np.linalg.norm(other)
    return float(np.linalg.norm(difference))


def _gram(layer: LastLayer, of: str) -> np.ndarray | None:
    """`W W'` or `M M'`, or `None` where there is no theory of it."""
    rows, sizes = layer.centered_means, layer.sizes_of_means
    if of == "weights":
        rows, sizes = layer.kernel, layer.class_sizes
    if len(rows) > _MOST_CLASSES or not (sizes > 0).all():
        return None
    return rows @ rows.T


def _of_seli(of: str) -> None:
    def distance(layer):
        gram = _gram(layer, of)
        if gram is None:
            return float("nan")
        if of == "weights":
            return gram_distance(gram, seli(layer.class_sizes).weight_gram)
        return gram_distance(gram, seli(layer.sizes_of_means).mean_gram)

    metric(
        f"seli_{of}",
        *(["kernel"] if of == "weights" else []),
        "class_sizes",
        **_SHARED,
        note="Gram matrix to SELI's",
        formula="Frobenius norm of AA'/|AA'| - G/|G|, A = M, W, G of SELI",
        source="Thrampoulidis et al. 2022",
    )(distance)


def _pull(examples: Examples) -> np.ndarray:
    """`z_y - sum_c p_c z_c` of each example: how cross-entropy pulls at `W`.

    At a minimum its mean is `lw ||W||^2`, and `lh sum_i ||h_i||^2`.
    """
    logits = examples.logits
    logits = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits)
    mean = np.sum(exponentials * logits, axis=1) / exponentials.sum(axis=1)
    return logits[np.arange(len(logits)), examples.labels] - mean


def _decay(layer: LastLayer, pulls: np.ndarray) -> float:
    """`sqrt(lw lh)` at which features and head are as long as they are."""
    if np.ptp(layer.bias):
        return float("nan")  # Beyond the theory.
    pull = pulls @ layer.counts / layer.counts.sum()
    squares = layer.variances + np.sum(layer.means**2, axis=1)
    sizes = np.sum(layer.kernel**2) * (squares @ layer.counts)
    return float(pull / np.sqrt(sizes))


@functools.lru_cache(maxsize=1)
def _minimizer(counts: tuple[int, ...], decay: float) -> Any:
    return unconstrained_features.cross_entropy(
        len(counts), list(counts), decay, decay
    )


def _of_unconstrained(of: str) -> Callable:
    def distance(layer, pulls):
        decay, gram = _decay(layer, pulls), _gram(layer, of)
        sizes = len(np.unique(layer.counts))
        if not decay > 0 or layer.classes is not None or gram is None:
            return float("nan")
        if sizes > _MOST_SIZES:
            return float("nan")
        best = _minimizer(tuple(layer.counts.tolist()), decay)
        if of == "weights":
            return gram_distance(gram, best.weight_gram)
        means = best.features - best.features.mean(axis=0)
        return gram_distance(gram, means @ means.T)

    return distance


def _of_examples(tag: str, reduce: Callable, **about: str) -> None:
    metric(
        tag,
        "kernel",
        "class_sizes",
        "training_set",
        over="examples",
        reduce=reduce,
        degrees=None,
        **_SHARED | about,
    )(_pull)


_of_seli("means")
_of_seli("weights")
for _of in ("means", "weights"):
    _of_examples(
        f"ufm_{_of}",
        _of_unconstrained(_of),
        note="to unconstrained features",
        formula=(
            "Frobenius norm of AA'/|AA'| - G/|G|, A = M, W, G of unconstrained "
            "features at `ufm_decay`"
        ),
        source="derived here",
    )
_of_examples(
    "ufm_decay",
    _decay,
    title="decay of head and features, their geometric mean",
    note="sqrt(lw lh), if at a minimum",
    formula="mean of (z_y - sum_c p_c z_c) / (|W| sqrt(sum |h|²))",
    goal="",
    source="derived here",
)
