"""Directional CDNV: spread along the lines between class means alone."""

import numpy as np

from nc_keras.measuring.examples import Examples
from nc_keras.measuring.registry import metric


@metric(
    "nc1_cdnv_directional",
    "means",
    "training_set",
    over="examples",
    reduce=lambda layer, means: means.mean() / (len(means) - 1),
    default=False,
    group="NC1",
    scale="log",
    title="class-distance normalised variance",
    note="spread along the line, pairs",
    formula=(
        "mean over c ≠ c' of (u'Sigma_c u + u'Sigma_c' u) / (2 |mu_c - "
        "mu_c'|²), u the direction of mu_c - mu_c'"
    ),
    goal="0",
    source="Luthra et al. 2026, with the 2 of nc1_cdnv",
)
def nc1_cdnv_directional(examples: Examples) -> np.ndarray:
    """CDNV of the spread along the line between two means, no other.

    Luthra et al. 2026 (https://arxiv.org/abs/2603.03530). It is at most
    `nc1_cdnv`, and as large if classes spread along these lines alone. It is
    NaN if two means are equal, which have no line. The function returns
    `sum_c' ((h - mu_y)'u)^2 / |mu_y - mu_c'|^2` of each example.
    """
    toward, distances = examples.toward_means
    distances = np.where(distances > 0, distances, np.nan)
    return np.sum((toward / distances) ** 2, axis=1)
