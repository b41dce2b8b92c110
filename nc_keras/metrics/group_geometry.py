"""Head and class means of frequent and rare classes: cosines and lengths.

Class means are taken from the mean of the class means, where every class
counts the same; rows of the head as they are, as Fang et al. 2021 do.
"""

from typing import Any

import numpy as np

from nc_keras import geometry
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import metric
from nc_keras.metrics import class_groups

_GROUPS = ("majority", "minority")


def _rows(layer: LastLayer, of: str) -> tuple[Any, Any]:
    """Rows of the head or centred class means, and the sizes of classes."""
    if of == "weights":
        return layer.kernel, layer.class_sizes
    return layer.centered_means, layer.sizes_of_means


def _cosine(of, name, first, second, pairs):
    def cosine(layer):
        rows, sizes = _rows(layer, of)
        rare = class_groups.minority(sizes).astype(int)
        return geometry.group_cosines(rows, rare, 2)[first, second]

    metric(
        f"cosine_{name}_{of}",
        *(["kernel"] if of == "weights" else []),
        "class_sizes",
        default=False,
        group="Imbalance",
        title=f"cosines of {of} by the size of classes",
        note=f"cosine, {pairs}",
        formula=f"mean cosine of the rows of M, of W, {pairs}",
        source="Fang et al. 2021, Fig. 3" if of == "weights" else "",
    )(cosine)


for _of in ("means", "weights"):
    _cosine(_of, "majority", 0, 0, "pairs of frequent ones")
    _cosine(_of, "minority", 1, 1, "pairs of rare ones")
    _cosine(_of, "across", 0, 1, "frequent and rare")


def _slope(of):
    def slope(layer):
        rows, sizes = _rows(layer, of)
        lengths = np.sqrt(np.sum(rows**2, axis=1))
        present = sizes > 0
        x, y = np.log(sizes[present]), np.log(lengths[present])
        x = x - x.mean()
        return np.sum(x * y) / np.sum(x * x)

    metric(
        f"norm_slope_{of}",
        *(["kernel"] if of == "weights" else []),
        "class_sizes",
        default=False,
        group="Imbalance",
        title="norms by the size of classes, slope of logarithms",
        note="of log norm over log size",
        formula="slope of log norm of the rows of M, of W over log n_c",
    )(slope)


_slope("means")
_slope("weights")


def _spread(name, number):
    def spread(layer):
        rare = class_groups.minority(layer.sizes_of_means)
        chosen = layer.variances[rare == bool(number)]
        between = np.sum(layer.centered_means**2) / layer.num_classes
        return class_groups.mean_or_nan(chosen) / between

    metric(
        f"nc1_{name}",
        "class_sizes",
        default=False,
        group="Imbalance",
        scale="log",
        title="nc1 by the size of classes",
        note=f"spread of the {name}",
        formula="mean v_c of the group / tr Sigma_B",
        goal="0",
    )(spread)


for _number, _name in enumerate(_GROUPS):
    _spread(_name, _number)
