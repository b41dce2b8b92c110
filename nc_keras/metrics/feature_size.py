"""How large features are and how many directions they fill: early signals."""

from typing import Any

import numpy as np

from nc_keras.measuring.examples import Examples
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import metric
from nc_keras.metrics.ranks import ranks

_ADDED = 1e-7  # to each share, as RankMe has it


@metric(
    "feature_norm",
    over="examples",
    default=False,
    degrees=(1, 0),
    title="size of the features",
    note="mean length",
    formula="mean |h|",
)
def feature_norm(examples: Examples) -> np.ndarray:
    """The mean length of features."""
    return np.linalg.norm(examples.features, axis=1)


@metric(
    "feature_drift",
    default=False,
    degrees=(1, 0),
    title="size of the features",
    note="length of the mean",
    formula="|mean h|",
    source="code of yinboliu-git/ImbNN",
)
def feature_drift(layer: LastLayer) -> Any:
    """How far the mean of all features is from the origin."""
    return np.linalg.norm(layer.counts @ layer.means / layer.counts.sum())


def _singular_values(layer):
    """Those of the matrix of all features, over the root of their number.

    By the eigenvalues of the second moments: what is below 1e-8 of the
    largest is rounding.
    """
    shares = layer.counts / layer.counts.sum()
    moments = layer.scatter + (layer.means * shares[:, None]).T @ layer.means
    return np.sqrt(np.maximum(np.linalg.eigvalsh(moments), 0.0))


@metric(
    "feature_rankme",
    "scatter",
    default=False,
    title="rank of the features",
    note="effective rank, C or less",
    formula=(
        "exp(-sum p log p), p = s / sum s + 1e-7, s the singular values of all "
        "features"
    ),
    source="Garrido et al. 2023",
)
def feature_rankme(layer: LastLayer) -> Any:
    """RankMe of Garrido et al. 2023: the effective rank of the features.

    Of features that have collapsed it is at most the number of classes: one
    less for means that add up to zero.
    """
    values = _singular_values(layer)
    shares = values / values.sum() + _ADDED
    return np.exp(-np.sum(shares * np.log(shares)))


@metric(
    "feature_stable_rank",
    "scatter",
    default=False,
    title="rank of the features",
    note="stable rank",
    formula="sum s² / max s², s the singular values of all features",
)
def feature_stable_rank(layer: LastLayer) -> Any:
    """The stable rank of the matrix of all features."""
    return ranks(_singular_values(layer)).stable
