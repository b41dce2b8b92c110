"""Class means and the weights of a layer: do they span the same space?"""

from typing import Any

import numpy as np


def alignment(class_means: Any, matrix: Any) -> float:
    """Mean cosine of the principal angles of class means and a layer's weights.

    Of the span of the class means (not centred) of what a dense layer sees,
    and the span of as many of its leading right singular vectors: NC3 of
    intermediate neural collapse, which goes to 1 in the top layers.

    Args:
        class_means: Array of shape `(C, D)`.
        matrix: Array of shape `(outputs, D)`, the weights of the layer.

    Returns:
        Float in `[0, 1]`; NaN where all means or all weights are zero.

    Raises:
        ValueError: If the shapes do not fit, or a value is not finite.

    Example:

    >>> from nc_keras.layerwise import alignment
    >>> means = [[1.0, 1.0, 0.0], [1.0, -1.0, 0.0]]
    >>> print(round(alignment(means, np.diag([2.0, 3.0, 1.0])), 6))
    1.0

    Reference:

    - [Rangamani et al., 2023](https://proceedings.mlr.press/v202/rangamani23a.html),
      as in the authors' code, `AngleBetweenSubspaces` of
      mariuslindegaard/Intermediate_Neural_Collapse.
    """
    means = np.asarray(class_means, "float64")
    matrix = np.asarray(matrix, "float64")
    if means.ndim != 2 or matrix.ndim != 2 or len(means.T) != len(matrix.T):
        raise ValueError(
            "The class means must be of what the layer sees. Received: means "
            f"of shape {means.shape}, weights of shape {matrix.shape}."
        )
    if not (np.isfinite(means).all() and np.isfinite(matrix).all()):
        raise ValueError("Class means and weights must be finite.")
    # Beyond its rank the basis of a span is arbitrary.
    rank = min(np.linalg.matrix_rank(means), np.linalg.matrix_rank(matrix))
    if rank == 0:
        return float("nan")
    of_means = np.linalg.svd(means, full_matrices=False)[2][:rank]
    of_weights = np.linalg.svd(matrix, full_matrices=False)[2][:rank]
    cosines = np.linalg.svd(of_means @ of_weights.T, compute_uv=False)
    return float(cosines.mean())
